"""Which subscription wants which event, and why not."""

import pytest

from gateway.filters.reading import read_filters
from gateway.matching import REASONS, Match, match, pack, unpack, wants_type
from gateway.models import Event, Millis, Subscription

EVENT = Event(
    id="evt_1",
    type="order.paid",
    source="stripe-live",
    shop="berlin",
    order="1001",
    seq=2,
    time=Millis(0),
    recorded=Millis(0),
    body=b'{"type":"order.paid","subject":"1001"}',
)


@pytest.mark.parametrize(
    ("pattern", "event_type", "wanted"),
    [
        ("order.*", "order.paid", True),
        ("order.paid", "order.paid", True),
        ("order.paid", "order.paid.x", False),
        ("order.*", "order", False),
        ("order.*", "orders.paid", False),
        ("order.pai", "order.paid", False),
        ("*", "order.paid", True),
        ("*", "printstudio.job.failed", False),
        ("*", "gateway.subscription.gone", False),
        ("printstudio.*", "printstudio.job.failed", True),
        ("printstudio.job.failed", "printstudio.job.failed", True),
        ("gateway.*", "gateway.subscription.gone", True),
        ("gateway.subscription.*", "gateway.subscription.gone", True),
        ("gateway.delivery.*", "gateway.subscription.gone", False),
    ],
)
def test_types(pattern: str, event_type: str, wanted: bool) -> None:
    assert wants_type([pattern], event_type) is wanted
    assert wants_type(["nothing.at.all", pattern], event_type) is wanted


@pytest.mark.parametrize(
    ("subscription", "gone", "verdict", "reason"),
    [
        ({}, False, Match.MATCHED, "matched"),
        ({"types": ("order.shipped",)}, False, Match.TYPE, "its types do not include order.paid"),
        ({"sources": ("shop",)}, False, Match.SOURCE, "its sources do not include stripe-live"),
        ({"sources": ("shop", "stripe-live")}, False, Match.MATCHED, "matched"),
        ({"shops": ("paris",)}, False, Match.SHOP, "its shops do not include berlin"),
        ({"shops": ("berlin",)}, False, Match.MATCHED, "matched"),
        ({"enabled": False}, True, Match.DISABLED, "it was disabled"),
        ({}, True, Match.GONE, "it was gone (its endpoint had answered 410)"),
        ({"filters": ({"exact": {"subject": "1001"}},)}, False, Match.MATCHED, "matched"),
        (
            {"filters": ({"exact": {"subject": "1002"}},)},
            False,
            Match.FILTER,
            "its filters did not let it through",
        ),
        (
            {"filters": ({"exact": {"subject": "1002"}},), "shops": ("paris",)},
            False,
            Match.SHOP,
            "its shops do not include berlin",
        ),
    ],
)
def test_the_first_reason_why_not(
    subscription: dict[str, object], gone: bool, verdict: Match, reason: str
) -> None:
    wanted = Subscription(id=1, name="a", url="", **subscription)  # type: ignore[arg-type]
    found = match(wanted, EVENT, gone=gone, filters=read_filters(wanted.filters))
    assert found is verdict
    words = {"type": EVENT.type, "source": EVENT.source, "shop": EVENT.shop}
    assert REASONS[found].format(**words) == reason


def test_verdicts_pack_into_one_value() -> None:
    verdicts = list(Match)
    packed = pack(7, verdicts)
    assert len(packed) == 4 + len(verdicts)
    assert unpack(packed) == (7, verdicts)
