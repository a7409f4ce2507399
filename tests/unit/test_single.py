"""One delivery in words: where it stands, and all that keeps it from being sent."""

from typing import Any

import msgspec
import pytest

from gateway.cli.single import attempt_view, standing
from gateway.cli.tables import local
from gateway.models import Millis
from gateway.stores.base import Consent
from gateway.stores.views import DeliveryStory, Standing
from tests.unit.test_tables import AT, attempt, delivery, event


def told(now: int = AT, **standing_fields: Any) -> str:
    """Where a delivery stands, in a sentence; of the delivery as `row`, and its subscription."""
    row = standing_fields.pop("row", delivery(reason=None))
    subscription = Standing(
        name="sink",
        state="active",
        reason=None,
        hold_until=None,
        broken_until=None,
        failing_since=None,
        consent=None,
        consent_reason="",
        catching_up=False,
    )
    subscription = msgspec.structs.replace(subscription, **standing_fields)
    whole = DeliveryStory(
        delivery=row, event=event(), subscription=subscription, attempts=(), batch=()
    )
    return standing(whole, Millis(now))


DUE = local(Millis(AT + 60_000))


def test_one_delivery_says_when_it_goes_on() -> None:
    assert told() == f"due {DUE}"
    assert told(now=AT + 60_000) == f"due since {DUE}"
    assert told(row=delivery(state="leased", reason=None)) == "an attempt is under way"
    ended = {"finished_at": AT, "reason": None}
    assert told(row=delivery(state="delivered", **ended)) == f"delivered {local(AT)}"
    assert told(row=delivery(state="dead", finished_at=AT, reason="gone")) == (
        f"gone; given up {local(AT)}; `gateway replay --delivery dl_1` sends it again"
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"state": "paused", "reason": "too much"}, "subscription sink is paused: too much;"),
        ({"state": "paused"}, "`gateway subscriptions resume sink` lets it go on"),
        ({"state": "disabled"}, "subscription sink is disabled"),
        ({"hold_until": AT + 1}, f"its endpoint asked to wait until {local(Millis(AT + 1))}"),
        ({"broken_until": AT + 1}, f"the breaker is open until {local(Millis(AT + 1))}"),
        ({"broken_until": AT}, "the breaker lets single attempts through"),
        ({"failing_since": AT}, f"its endpoint fails since {local(AT)}"),
        ({"consent": Consent.PENDING}, "its endpoint has not consented yet"),
        ({"consent": Consent.DENIED, "consent_reason": "no"}, "does not want deliveries: no"),
        ({"catching_up": True}, "is given past events"),
    ],
)
def test_one_delivery_says_all_that_holds_it(fields: dict[str, Any], words: str) -> None:
    assert words in told(**fields)
    assert told(**fields).startswith(f"due {DUE}; ")
    ended = delivery(state="delivered", finished_at=AT, reason=None)
    assert told(row=ended, **fields) == f"delivered {local(AT)}"


def test_what_holds_no_more_is_not_said() -> None:
    assert told(hold_until=AT, consent=Consent.GRANTED) == f"due {DUE}"


def test_an_attempt_has_a_line_for_each_part_as_far_as_it_came() -> None:
    rows = attempt_view(attempt()).rows
    assert rows == [
        ("queued", local(Millis(AT + 1_000))),
        ("started", local(Millis(AT + 2_000))),
        ("connected", "1.5 ms"),
        ("address", "127.0.0.1:5678"),
        ("first byte", "3.7 ms"),
        ("done", "4.3 ms"),
        ("answer", "500"),
        ("error", "status"),
        ("", "answered 500"),
        ("body", "no"),
    ]
    reused = attempt(connected=0.0, first_byte=None, status=None, failure="reset", head="")
    told = {row[0]: row[1] for row in attempt_view(reused).rows}
    assert told["connected"] == "open already"
    assert told.keys().isdisjoint({"first byte", "answer", "body"})
