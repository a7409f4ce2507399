"""The routes: remembered by three words, and only what has filters looks into each event."""

from typing import Any

import msgspec
import pytest

from gateway.filters.opened import Opened
from gateway.filters.reading import read_filters
from gateway.filters.terms import Filter
from gateway.matching import Match, unpack
from gateway.models import Event, Millis, Mode, Ordering, Subscription
from gateway.stores.base import Status
from gateway.stores.sqlite import routes
from gateway.stores.sqlite.routes import Addressee, Routes

EVENT = Event(
    id="evt_1",
    type="order.paid",
    source="shop",
    shop="default",
    order="1001",
    seq=2,
    time=Millis(0),
    recorded=Millis(0),
    body=b'{"subject":"1001","data":{"total":{"value":"49.26"}}}',
)
OTHER = msgspec.structs.replace(EVENT, body=b'{"subject":"1002","data":{"total":{"value":"9.00"}}}')
MUCH = ({"data": {"/total/value": {"ge": 20}}},)


def status(number: int, *, state: str = "active", **settings: Any) -> Status:
    wanted = Subscription(id=number, name=f"s{number}", url="https://example.com", **settings)
    return Status(subscription=wanted, state=state)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The events that were looked into."""
    found: list[bytes] = []

    class Spied(Opened):
        @classmethod
        def of(cls, body: bytes) -> Opened:
            found.append(body)
            return Opened.of(body)

    monkeypatch.setattr(routes, "Opened", Spied)
    return found


def test_each_event_is_judged_by_the_filters(opened: list[bytes]) -> None:
    route = Routes(
        7,
        [
            status(4, filters=({"exact": {"subject": "1002"}},), ordering=Ordering.ORDER),
            status(1),
            status(3, filters=MUCH, mode=Mode.BATCH, batch_size=5),
            status(2, filters=MUCH, types=("order.shipped",)),
            status(5, filters=MUCH, state="gone"),
        ],
    )
    for _ in range(2):
        packed, matched = route(EVENT)
        assert unpack(packed) == (
            7,
            [Match.MATCHED, Match.TYPE, Match.MATCHED, Match.FILTER, Match.GONE],
        )
        assert matched == (Addressee(id=1), Addressee(id=3, batch=5, wait=Millis(1_000)))
        packed, matched = route(OTHER)
        assert unpack(packed)[1][2:4] == [Match.FILTER, Match.MATCHED]
        assert matched == (Addressee(id=1), Addressee(id=4, ordered=True))
    assert opened == [EVENT.body, OTHER.body] * 2


def test_what_no_filter_may_be_about_is_remembered_and_not_looked_into(opened: list[bytes]) -> None:
    route = Routes(1, [status(1), status(2, filters=MUCH, types=("order.shipped",))])
    first = route(EVENT)
    assert route(OTHER) is first
    assert unpack(first[0])[1] == [Match.MATCHED, Match.TYPE]
    shipped = msgspec.structs.replace(EVENT, type="order.shipped")
    assert [to.id for to in route(shipped)[1]] == [1, 2]
    assert opened == [EVENT.body]


def test_filters_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []

    def spy(plain: object) -> tuple[Filter, ...]:
        read.append(plain)
        return read_filters(plain)

    monkeypatch.setattr(routes, "read_filters", spy)
    route = Routes(1, [status(1, filters=MUCH), status(2)])
    for event_type in ("order.paid", "order.created", "order.paid"):
        route(msgspec.structs.replace(EVENT, type=event_type))
    assert read == [MUCH]


def test_more_words_than_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "CACHED", 1)
    route = Routes(1, [status(1, sources=("shop",)), status(2, sources=("b", "c"), filters=MUCH)])
    for _ in range(2):
        for source, wanted in (("shop", [1]), ("a", []), ("b", [2]), ("c", [2])):
            event = msgspec.structs.replace(EVENT, source=source)
            assert [to.id for to in route(event)[1]] == wanted
