"""Printeers: what its lines, statuses and shipments say, and what becomes of it over polls."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import (
    AskFailed,
    ConfigError,
    Denied,
    GatewayError,
    Malformed,
    Missing,
    Throttled,
    TokenRefused,
)
from gateway.models import (
    Fact,
    Line,
    Listed,
    Millis,
    Page,
    Query,
    Reading,
    Reply,
    Shipment,
    Track,
    Watched,
)
from gateway.providers.base import Polled, is_polled
from gateway.providers.pointer import STATES
from gateway.providers.printeers import (
    ADDRESS,
    CREATED_AT,
    LINES,
    SHIPMENT_LIMIT,
    STATUSES,
    TRACKING,
    UPDATED_AT,
    Printeers,
    PrinteersOptions,
)
from tests.unit.order_shop import Shop, body, data

AT = Millis(1_750_000_000_000)  # 2025-06-15T15:06:40Z
REF = "Order_5jcavdegg8n9pvgxq887jq0zbc"
KEY = f"printeers:{REF}"
PAGE = Path(__file__).parents[2] / "docs/providers/printeers.md"
MAP = {
    "new": "created",
    "settled": "paid",
    "accepted": "processing",
    "printing": "printing",
    "finishing": "post_processing",
    "packed": "ready",
    "sent": "shipped",
    "void": "cancelled",
    "waiting": "on_hold",
}


def provider(**options: Any) -> Printeers:
    return Printeers(PrinteersOptions(**options))


def reply(value: object, status: int = 200, at: int = AT) -> Reply:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    headers = {"content-type": "application/json"}
    return Reply(status=status, headers=headers, body=content, at=Millis(at))


def line(quantity: object, shipped: object, cancelled: object, index: int = 0) -> dict[str, Any]:
    return {
        "index": index,
        "quantity": quantity,
        "shippedQuantity": shipped,
        "canceledQuantity": cancelled,
    }


def order(*lines: tuple[object, object, object], **more: Any) -> dict[str, Any]:
    found = [line(*amounts, index=index) for index, amounts in enumerate(lines)]
    return {"order": {"reference": REF, "orderlines": found} | more}


def shipment(place: int) -> str:
    return f"Shipment_{place:026d}"


def read(value: object, *shipments: Reply, at: int = AT, **options: Any) -> Reading:
    watched = Watched(number=REF, order=options.pop("name", None))
    return provider(**options).read(watched, [reply(value, at=at), *shipments])


def told(reading: Reading) -> list[tuple[str, str, int | None]]:
    """Track, state and quantity of all facts."""
    return [(fact.track.value, fact.state, fact.quantity) for fact in reading.facts]


def only(reading: Reading, track: Track) -> Fact:
    (fact,) = (fact for fact in reading.facts if fact.track is track)
    return fact


CREATED = ("created", "created", None)
OPEN = ("fulfilment", "created", None)
SHIPPED = ("fulfilment", "shipped", None)
CANCELLED = ("fulfilment", "cancelled", None)


def some(state: str, quantity: int) -> tuple[str, str, int | None]:
    return ("fulfilment", state, quantity)


# (quantity, shipped, cancelled) of each line; the row; the facts after `created`.
QUANTITIES: list[tuple[list[tuple[object, object, object]], str, list[Any]]] = [
    ([(3, 0, 0)], "open", [OPEN]),
    ([(3, 1, 0)], "partly_shipped", [OPEN, some("shipped", 1)]),
    ([(3, 1, 0), (2, 2, 0)], "partly_shipped", [OPEN, some("shipped", 3)]),
    ([(3, 0, 1)], "partly_cancelled", [OPEN, some("cancelled", 1)]),
    ([(3, 0, 0), (2, 0, 2)], "partly_cancelled", [OPEN, some("cancelled", 2)]),
    (
        [(3, 1, 1)],
        "partly_shipped_and_cancelled",
        [OPEN, some("shipped", 1), some("cancelled", 1)],
    ),
    ([(3, 3, 0)], "shipped", [SHIPPED]),
    ([(3, 3, 0), (1, 1, 0)], "shipped", [SHIPPED]),
    ([(3, 2, 1)], "shipped_rest_cancelled", [some("cancelled", 1), SHIPPED]),
    ([(3, 3, 0), (2, 0, 2)], "shipped_rest_cancelled", [some("cancelled", 2), SHIPPED]),
    ([(3, 0, 3)], "cancelled", [CANCELLED]),
    ([(3, 0, 3), (1, 0, 1)], "cancelled", [CANCELLED]),
    # Strange ones.
    ([], "open", [OPEN]),
    ([(0, 0, 0)], "open", [OPEN]),
    ([(0, 0, 0), (2, 2, 0)], "shipped", [SHIPPED]),
    ([(0, 5, 0), (2, 0, 0)], "open", [OPEN]),
    ([(2, 5, 0)], "shipped", [SHIPPED]),
    ([(2, 5, 0), (2, 0, 0)], "partly_shipped", [OPEN, some("shipped", 2)]),
    ([(2, 2, 2)], "shipped", [SHIPPED]),
    ([(2, 1, 5)], "shipped_rest_cancelled", [some("cancelled", 1), SHIPPED]),
    ([(2, -1, 0)], "open", [OPEN]),
    ([(-2, 1, 0)], "open", [OPEN]),
    ([(2, 2, None)], "shipped", [SHIPPED]),
    ([(2, None, 2)], "cancelled", [CANCELLED]),
    ([(2, None, None)], "open", [OPEN]),
    ([(None, 2, 0)], "open", [OPEN]),
    ([(2, 2, 0), (2, None, None)], "partly_shipped", [OPEN, some("shipped", 2)]),
    ([(2, 0, 2), (None, 0, 0)], "partly_cancelled", [OPEN, some("cancelled", 2)]),
    ([(True, True, False)], "open", [OPEN]),
    ([("2", "2", "0")], "open", [OPEN]),
    ([(2.0, 2.0, 0.0)], "open", [OPEN]),
    ([(10**9 + 1, 10**9 + 1, 0)], "open", [OPEN]),
    ([(10**30, 10**30, 0)], "open", [OPEN]),
]


@pytest.mark.parametrize(("lines", "row", "facts"), QUANTITIES)
def test_quantities_say_what_was_shipped_and_cancelled(
    lines: list[tuple[object, object, object]], row: str, facts: list[Any]
) -> None:
    reading = read(order(*lines))
    assert (reading.event_id, reading.event_type, reading.at) == (REF, row, AT)
    assert told(reading) == [CREATED, *facts]
    assert reading.facts[0].implied == (row != "open")
    for fact in reading.facts:
        assert fact.key == (KEY if fact.track is Track.FULFILMENT else None)
        assert (fact.order, fact.links, fact.ids) == (REF, (KEY,), {"printeers": (REF,)})
        assert (fact.soft, fact.total, fact.amount, fact.at) == (False, None, None, AT)


def test_every_row_is_tested() -> None:
    assert {row for _, row, _ in QUANTITIES} == set(LINES)


@pytest.mark.parametrize("lines", [None, {}, "x", 5, [5, None, "x"], [[]]])
def test_lines_that_are_none_say_nothing(lines: object) -> None:
    assert told(read(order(orderlines=lines))) == [CREATED, OPEN]


STATUS: dict[str, list[Any]] = {
    "created": [OPEN],
    "paid": [("payment", "paid", None), OPEN],
    "processing": [("fulfilment", "processing", None)],
    "printing": [("fulfilment", "printing", None)],
    "post_processing": [("fulfilment", "post_processing", None)],
    "ready": [("fulfilment", "ready", None)],
    "shipped": [SHIPPED],
    "cancelled": [CANCELLED],
    "on_hold": [("hold", "raw", None), OPEN],
}


@pytest.mark.parametrize("word", STATUSES)
def test_a_mapped_status_says_its_word(word: str) -> None:
    lines = (3, None, None)
    reading = read(order(lines, status="raw"), status_map={"raw": word})
    assert told(reading) == [CREATED, *STATUS[word]]
    assert reading.event_type == "raw"
    assert reading.facts[0].implied == (word != "created")
    assert not any(fact.implied for fact in reading.facts[1:])


def test_the_words_are_those_of_an_order_but_for_refunds() -> None:
    assert set(STATUSES) == set(STATUS) == STATES - {"refunded"}


@pytest.mark.parametrize("status", [*MAP, "unheard of", None])
@pytest.mark.parametrize(("lines", "row", "_facts"), QUANTITIES)
def test_nothing_implies_a_payment(
    lines: list[tuple[object, object, object]], row: str, _facts: object, status: str | None
) -> None:
    facts = read(order(*lines, status=status), status_map=MAP).facts
    assert [fact.implied for fact in facts if fact.track is Track.PAYMENT] == (
        [False] if status == "settled" else []
    )


CHANGE = ("change", "{}", None)
# A status beside quantities: (lines, the status's word, facts after `created`).
BESIDE: list[tuple[tuple[object, object, object], str | None, list[Any]]] = [
    ((3, 1, 0), "printing", [("fulfilment", "printing", None), some("shipped", 1)]),
    ((3, 3, 0), "printing", [SHIPPED]),
    ((3, 0, 3), "printing", [CANCELLED]),
    ((3, 0, 0), "shipped", [OPEN, CHANGE]),
    ((3, 1, 0), "shipped", [OPEN, some("shipped", 1), CHANGE]),
    ((3, 3, 0), "shipped", [SHIPPED]),
    ((3, 2, 1), "shipped", [some("cancelled", 1), SHIPPED]),
    ((3, 0, 3), "shipped", [CHANGE, CANCELLED]),
    ((3, 0, 0), "cancelled", [OPEN, CHANGE]),
    ((3, 1, 1), "cancelled", [OPEN, some("shipped", 1), CHANGE, some("cancelled", 1)]),
    ((3, 0, 3), "cancelled", [CANCELLED]),
    ((3, 3, 0), "cancelled", [SHIPPED, CHANGE]),
    ((0, 0, 0), "shipped", [SHIPPED]),
    ((3, 0, 0), None, [OPEN, CHANGE]),
    ((3, 3, 0), None, [SHIPPED, CHANGE]),
    ((3, 0, 1), None, [OPEN, CHANGE, some("cancelled", 1)]),
]


@pytest.mark.parametrize(("lines", "word", "facts"), BESIDE)
def test_quantities_overrule_the_status_and_nothing_is_lost(
    lines: tuple[object, object, object], word: str | None, facts: list[Any]
) -> None:
    reading = read(order(lines, status="raw"), status_map={"raw": word} if word else {})
    expected = [(track, state.replace("{}", "raw"), number) for track, state, number in facts]
    assert told(reading) == [CREATED, *expected]
    assert {fact.what for fact in reading.facts if fact.track is Track.CHANGE} <= {"status"}


@pytest.mark.parametrize(
    ("silent", "word", "facts"),
    [
        ((2, None, None), "shipped", [some("cancelled", 1), SHIPPED]),
        ((2, None, None), "cancelled", [CANCELLED]),
        ((2, 1, None), "cancelled", [OPEN, some("shipped", 1), CHANGE, some("cancelled", 1)]),
    ],
)
def test_the_status_counts_where_a_line_is_silent(
    silent: tuple[object, object, object], word: str, facts: list[Any]
) -> None:
    lines = (1, 0, 1), silent, (1, None, None)
    reading = read(order(*lines, status="raw"), status_map={"raw": word})
    expected = [(track, state.replace("{}", "raw"), number) for track, state, number in facts]
    assert told(reading) == [CREATED, *expected]


@pytest.mark.parametrize(
    ("status", "path", "raw"),
    [
        ("open", "/status", "open"),
        ({"name": "open"}, "/status", None),
        ({"name": "open"}, "/status/name", "open"),
        ({"code": 3}, "/status/code", "3"),
        ([{"name": "x"}, {"name": "y"}], "/status/1/name", "y"),
        ("open", "", None),
        (None, "/status", None),
        ("", "/status", None),
        ("  ", "/status", None),
        (True, "/status", None),
        (1.5, "/status", None),
        (-1, "/status", None),
        (10**40, "/status", None),
        ("x" * 2001, "/status", None),
        ("a\0b", "/status", None),
    ],
)
def test_the_status_is_read_where_it_is_said_to_stand(
    status: object, path: str, raw: str | None
) -> None:
    reading = read(order((1, 0, 0), status=status), status_path=path)
    assert reading.event_type == (raw or "open")
    changes = [fact.state for fact in reading.facts if fact.track is Track.CHANGE]
    assert changes == ([raw] if raw else [])


@pytest.mark.parametrize(
    ("mapping", "status", "held"),
    [
        ({"waiting": "on_hold"}, "waiting", ("waiting", "waiting")),
        ({"waiting": "on_hold"}, "open", ("", None)),
        ({"waiting": "on_hold"}, {"no": "text"}, None),
        ({}, "waiting", None),
        ({"open": "created"}, "open", None),
    ],
)
def test_holds_are_known_where_the_map_names_one(
    mapping: dict[str, str], status: object, held: tuple[str, str | None] | None
) -> None:
    facts = read(order((1, 0, 0), status=status), status_map=mapping).facts
    found = [(fact.state, fact.reason) for fact in facts if fact.track is Track.HOLD]
    assert found == ([held] if held else [])


# Names, times, lines, customers.


@pytest.mark.parametrize(
    ("watched", "custom", "name"),
    [
        (None, None, REF),
        (None, "my-order-123", "my-order-123"),
        ("1001", "my-order-123", "1001"),
        (None, "", REF),
        (None, " ", REF),
        (None, 123, REF),
        (None, "a\nb", REF),
        (None, "x" * 256, REF),
    ],
)
def test_the_order_is_named_by_who_watches_then_by_the_shop(
    watched: str | None, custom: object, name: str
) -> None:
    reading = read(order((1, 0, 0), customIdentifier=custom), name=watched)
    assert {fact.order for fact in reading.facts} == {name}


@pytest.mark.parametrize(
    ("more", "created", "updated"),
    [
        ({}, AT, AT),
        ({"createdAt": "2025-06-15T15:00:00Z"}, AT - 400_000, AT),
        ({"created": "2025-06-15T15:00:00Z"}, AT - 400_000, AT),
        ({"updatedAt": "2025-06-15T15:06:00Z"}, AT, AT - 40_000),
        ({"updated": "2025-06-15T17:06:00+02:00"}, AT, AT - 40_000),
        ({"createdAt": "2030-01-01T00:00:00Z", "updatedAt": "2030-01-01T00:00:00Z"}, AT, AT),
        ({"createdAt": True, "created": "2025-06-15T15:00:00Z"}, AT - 400_000, AT),
        ({"createdAt": 1, "updatedAt": {}, "updated": "soon"}, AT, AT),
    ],
)
def test_times_are_the_providers_where_it_tells_them(
    more: dict[str, Any], created: int, updated: int
) -> None:
    reading = read(order((3, 1, 1), **more))
    assert reading.facts[0].at == created
    assert {fact.at for fact in reading.facts[1:]} == {updated}
    assert reading.at == updated


def test_lines_are_read_as_far_as_they_are_told() -> None:
    lines = [line(2, 0, 0), {"index": "a", "quantity": -1}, 5, {"price": 1.5}]
    expected = (Line(id="0", quantity=2), Line(id="a"), Line(), Line())
    assert {fact.lines for fact in read(order(orderlines=lines)).facts} == {expected}
    assert read(order()).facts[0].lines is None
    assert read(order(*[(1, 0, 0)] * 1001)).facts[0].lines is None
    assert told(read(order(*[(1, 1, 0)] * 1001)))[1:] == [SHIPPED]


def test_amounts_of_unknown_fields_are_not_guessed_at() -> None:
    raw = b'{"order": {"reference": "%s", "total": 1e400, "price": 9e99}}' % REF.encode()
    reading = read(raw)
    assert {fact.total for fact in reading.facts} == {None}


@pytest.mark.parametrize("name", ["shippingAddress", "address"])
def test_the_customer_is_read_from_an_address(name: str) -> None:
    address = {"name": "Ada", "email": "a@b.example", "city": "Bonn", "geo": [1]}
    for fact in read(order((1, 0, 0), **{name: address})).facts:
        assert fact.customer == {
            "email": "a@b.example",
            "name": "Ada",
            "phone": None,
            "address": {"city": "Bonn"},
        }


@pytest.mark.parametrize("more", [{}, {"shippingAddress": None}, {"address": []}, {"address": {}}])
def test_combined_shipping_has_no_customer(more: dict[str, Any]) -> None:
    assert {fact.customer for fact in read(order((1, 0, 0), **more)).facts} == {None}


# Shipments.


@pytest.mark.parametrize(
    ("more", "places"),
    [
        ({}, []),
        ({"shipments": None}, []),
        ({"shipments": shipment(1)}, []),
        ({"shipments": [shipment(1), {"reference": shipment(2)}, shipment(1)]}, [1, 2]),
        ({"orderlines": [{"shipments": [shipment(3)]}, {"shipments": [shipment(4)]}, 5]}, [3, 4]),
        ({"shipments": [shipment(1)], "orderlines": [{"shipments": [shipment(1)]}]}, [1]),
        ({"shipments": ["Shipment_short", "../x", shipment(1) + "0", REF, 5, {}, {"id": 1}]}, []),
        ({"shipments": [shipment(place) for place in range(25)]}, list(range(5, 25))),
    ],
)
def test_shipments_are_asked_for_once_each(more: dict[str, Any], places: list[int]) -> None:
    queries = provider().more(reply(order(**more)))
    assert queries == [Query(path=f"shipments/{shipment(place)}") for place in places]
    assert len(queries) <= SHIPMENT_LIMIT


def parcel(number: str, **more: Any) -> Reply:
    return reply({"shipment": {"reference": shipment(1), "trackingNumber": number} | more})


@pytest.mark.parametrize(
    ("field", "name"), [(field, name) for field, names in TRACKING.items() for name in names]
)
def test_tracking_is_read_under_every_name(field: str, name: str) -> None:
    found = read(order((1, 1, 0)), reply({"shipment": {name: "x-1", "status": {}}}))
    assert only(found, Track.FULFILMENT).shipment == Shipment(**{field: "x-1"})


@pytest.mark.parametrize(
    ("replies", "number"),
    [
        ([], None),
        ([parcel("a")], "a"),
        ([parcel("a"), parcel("b")], "b"),
        (
            [
                parcel("a", createdAt="2025-01-02T00:00:00Z"),
                parcel("b", created="2025-01-01T00:00"),
            ],
            "a",
        ),
        ([parcel("a"), reply({"shipment": {"trackingNumber": None}})], "a"),
        ([parcel("a"), reply({"error": {"code": "not_found"}}, 404)], "a"),
        ([parcel("a"), reply({"error": "no"}, 403)], "a"),
        ([parcel("a"), reply({"shipment": 5})], "a"),
        ([parcel("a"), reply({})], "a"),
        # What fails now may be had later: an older tracking would look like a change.
        ([parcel("a"), reply(b"<html>", 502)], None),
        ([reply(b"<html>", 404), parcel("a")], None),
        ([parcel("a"), reply(b"<html>")], None),
    ],
)
def test_the_latest_shipment_counts_and_a_lost_one_loses_no_fact(
    replies: list[Reply], number: str | None
) -> None:
    reading = read(order((3, 2, 1)), *replies)
    assert told(reading) == [CREATED, some("cancelled", 1), SHIPPED]
    shipments = [fact.shipment for fact in reading.facts]
    assert shipments == [None, None, Shipment(tracking_number=number) if number else None]


@pytest.mark.parametrize(("status", "error"), [(401, TokenRefused), (429, Throttled)])
def test_a_shipment_that_stops_the_asking(status: int, error: type[AskFailed]) -> None:
    with pytest.raises(error):
        read(order((1, 1, 0)), reply({"error": "no"}, status))


@pytest.mark.parametrize(
    ("lines", "bearer"),
    [((3, 0, 0), 1), ((3, 1, 0), 2), ((3, 1, 1), 2), ((3, 0, 1), 1), ((3, 0, 3), None)],
)
def test_the_fact_that_says_shipped_bears_the_shipment(
    lines: tuple[int, int, int], bearer: int | None
) -> None:
    facts = read(order(lines), parcel("a")).facts
    assert [place for place, fact in enumerate(facts) if fact.shipment] == (
        [bearer] if bearer else []
    )


# What follows from polls.


class Polls:
    """A shop that is polled; the events of each poll as (type, quantity or new value)."""

    def __init__(self, **options: Any) -> None:
        self.shop, self.options, self.at = Shop(), options, int(AT)

    def poll(self, value: object, *shipments: Reply) -> list[tuple[str, object]]:
        self.at += 60_000
        events = self.shop.tell(*read(value, *shipments, at=self.at, **self.options).facts)
        changes = [(event.type, data(event)["change"]) for event in events]
        return [
            (kind.removeprefix("order."), change.get("quantity") or change.get("value"))
            for kind, change in changes
        ]


def test_partial_shipments_then_the_whole() -> None:
    polls = Polls()
    assert polls.poll(order((3, 0, 0))) == [("created", None)]
    assert polls.poll(order((3, 1, 0))) == [("shipped", 1)]
    assert polls.poll(order((3, 1, 0))) == []
    assert polls.poll(order((3, 2, 1))) == [("cancelled", 1), ("shipped", None)]
    assert polls.poll(order((3, 2, 1))) == []
    assert polls.shop.state(REF).fulfilment() == "shipped"
    assert [body(event)["orderseq"] for event in polls.shop.events] == [1, 2, 3, 4]


def test_each_partial_quantity_is_an_event_of_its_own() -> None:
    polls = Polls()
    assert polls.poll(order((2, 1, 0), (2, 0, 0))) == [("created", None), ("shipped", 1)]
    assert polls.poll(order((2, 1, 0), (2, 1, 0))) == [("shipped", 2)]
    assert polls.poll(order((2, 1, 1), (2, 1, 0))) == [("cancelled", 1)]
    assert polls.poll(order((2, 1, 1), (2, 1, 1))) == [("cancelled", 2), ("shipped", None)]
    assert polls.poll(order((2, 1, 1), (2, 1, 1))) == []


def test_first_seen_whole() -> None:
    polls = Polls()
    first = polls.poll(order((3, 2, 1)))
    assert first == [("created", None), ("cancelled", 1), ("shipped", None)]
    assert data(polls.shop.events[0])["change"]["implied"]
    assert polls.poll(order((3, 2, 1))) == []


def test_cancelled_piece_by_piece() -> None:
    polls = Polls()
    assert polls.poll(order((2, 0, 1))) == [("created", None), ("cancelled", 1)]
    assert polls.poll(order((2, 0, 2))) == [("cancelled", None)]
    assert polls.poll(order((2, 0, 2))) == []
    assert polls.shop.state(REF).fulfilment() == "cancelled"


def test_tracking_comes_with_the_shipment_or_after_it() -> None:
    polls = Polls()
    assert polls.poll(order((2, 0, 0))) == [("created", None)]
    assert polls.poll(order((2, 1, 0)), parcel("a")) == [("shipped", 1)]
    assert data(polls.shop.events[-1])["shipment"]["tracking_number"] == "a"
    assert polls.poll(order((2, 2, 0)), parcel("a"), reply({"shipment": {}})) == [("shipped", None)]
    assert polls.poll(order((2, 2, 0)), parcel("a"), reply(b"", 503)) == []
    assert polls.poll(order((2, 2, 0)), parcel("a"), parcel("b")) == [("updated", "b")]
    assert polls.poll(order((2, 2, 0)), parcel("a"), reply(b"", 503)) == []
    assert polls.poll(order((2, 2, 0)), parcel("a"), parcel("b")) == []


def test_a_mapped_status_moves_the_order() -> None:
    polls = Polls(status_map=MAP)
    assert polls.poll(order((1, 0, 0), status="new")) == [("created", None)]
    assert polls.poll(order((1, 0, 0), status="settled")) == [("paid", None)]
    assert polls.poll(order((1, 0, 0), status="accepted")) == [("updated", "processing")]
    assert polls.poll(order((1, 0, 0), status="waiting")) == [("on_hold", None)]
    assert polls.poll(order((1, 0, 0), status="waiting")) == []
    assert polls.poll(order((1, 0, 0), status="printing")) == [
        ("updated", "released"),
        ("printing", None),
    ]
    assert polls.poll(order((1, 0, 0), status="odd")) == [("updated", "odd")]
    assert polls.poll(order((1, 1, 0), status="sent")) == [("shipped", None)]


def test_a_name_that_is_learnt_later_finds_the_same_order() -> None:
    polls = Polls()
    polls.poll(order((1, 0, 0), customIdentifier="1001"))
    polls.options["name"] = "A-1"
    assert polls.poll(order((1, 1, 0), customIdentifier="1001")) == [
        ("updated", "A-1"),
        ("shipped", None),
    ]
    assert set(polls.shop.states) == {"1001"}


# Answers that say no, and those that cannot be read.

REFUSALS: list[tuple[int, bytes, type[GatewayError]]] = [
    (401, b'{"error": {"message": "no key"}}', TokenRefused),
    (403, b'{"error": {"code": "forbidden"}}', Denied),
    (404, b'{"error": {"code": "not_found"}}', Missing),
    (404, b"<html>", AskFailed),
    (429, b"", Throttled),
    (500, b"", AskFailed),
    (302, b"", AskFailed),
    (200, b"", AskFailed),
    (200, b"[]", AskFailed),
    (200, b"<html>", AskFailed),
    (200, b'{"order": {"ref', AskFailed),
    (200, b"\xff", AskFailed),
    (200, b"{}", Malformed),
    (200, b'{"order": null, "orders": null}', Malformed),
    (200, b'{"order": [], "orders": {}}', Malformed),
]


@pytest.mark.parametrize(("status", "content", "error"), REFUSALS)
def test_answers_that_say_no(status: int, content: bytes, error: type[GatewayError]) -> None:
    answer = reply(content, status)
    asks: list[Any] = [
        lambda: provider().read(Watched(number=REF), [answer]),
        lambda: provider().more(answer),
        lambda: provider().read_page(answer),
    ]
    for ask in asks:
        with pytest.raises(error) as raised:
            ask()
        assert type(raised.value) is error


@pytest.mark.parametrize("number", [None, 5, "", "Order_other", "a\nb", "x" * 256])
def test_the_reference_must_be_the_one_asked_for(number: object) -> None:
    with pytest.raises(Malformed) as raised:
        read(order(reference=number))
    assert raised.value.path == "$.order.reference"


# Asking.


def test_the_key_goes_in_the_documented_header() -> None:
    assert provider().authorize("sk_1") == {"X-Printeers-Secret-Key": "sk_1"}
    assert Printeers.base_url == "https://api.printeers.com/v2"
    asked: Polled = provider()  # the type checker sees that it fits
    assert is_polled(asked)


@pytest.mark.parametrize(
    ("path", "number", "order_path", "list_path"),
    [
        ("orders/{id}", REF, f"orders/{REF}", "orders"),
        ("orders/{id}", "a/b?c#d %", "orders/a%2Fb%3Fc%23d%20%25", "orders"),
        ("stores/7/orders/{id}", REF, f"stores/7/orders/{REF}", "stores/7/orders"),
        ("orders/{id}/state", REF, f"orders/{REF}/state", None),
        ("{id}", REF, REF, None),
    ],
)
def test_paths(path: str, number: str, order_path: str, list_path: str | None) -> None:
    asked = provider(order_path=path)
    assert asked.order(number) == Query(path=order_path)
    pages = [asked.page(None), asked.page("x&y")]
    if list_path is None:
        assert pages == [None, None]
    else:
        assert pages == [
            Query(path=list_path),
            Query(path=list_path, params=(("cursor", "x&y"),)),
        ]


def test_a_page_is_read_and_whole_entries_keep_their_bytes() -> None:
    whole = b'{"reference": "%s", "orderlines": [], "price": 1.50, "x": 1e400}' % REF.encode()
    content = b'{"orders": [%s, {"reference": "Order_2"}, 5, {"id": 1}], "nextCursor": "c"}' % whole
    page = provider().read_page(reply(content))
    listed = (Listed(number=REF, body=b'{"order":' + whole + b"}"), Listed(number="Order_2"))
    assert page == Page(orders=list(listed), cursor="c")
    assert listed[0].body is not None
    assert told(read(listed[0].body)) == [CREATED, OPEN]


@pytest.mark.parametrize(
    ("value", "cursor"), [("c", "c"), (None, None), ("", None), ("missing", None)]
)
def test_the_last_page_has_no_cursor(value: str | None, cursor: str | None) -> None:
    content: object = {"orders": [], "nextCursor": value} if value != "missing" else {"orders": []}
    assert provider().read_page(reply(content)) == Page(orders=[], cursor=cursor)


@pytest.mark.parametrize(
    ("content", "path"),
    [
        ({"orders": [], "nextCursor": 5}, "$.nextCursor"),
        ({"orders": [], "nextCursor": "x" * 2001}, "$.nextCursor"),
        ({"orders": [{"id": 1}, 5]}, "$.orders"),
        ({"orders": [{"reference": 5}]}, "$.orders"),
    ],
)
def test_pages_that_cannot_be_read(content: object, path: str) -> None:
    with pytest.raises(Malformed) as raised:
        provider().read_page(reply(content))
    assert raised.value.path == path


# Options.


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"order_path": "orders/"}, "order_path"),
        ({"order_path": ""}, "order_path"),
        ({"order_path": "/orders/{id}"}, "order_path"),
        ({"order_path": "https://elsewhere.example/{id}"}, "order_path"),
        ({"order_path": "orders/{id}?x=1"}, "order_path"),
        ({"order_path": "orders/{id}/{id}"}, "order_path"),
        ({"order_path": "orders/{id} "}, "order_path"),
        ({"order_path": "{service_id}/{id}"}, "order_path"),
        ({"status_path": "status"}, "status_path"),
        ({"status_path": "/a~2"}, "status_path"),
        ({"status_map": {"x": "refunded"}}, "status_map"),
        ({"status_map": {"x": "Shipped"}}, "status_map"),
    ],
)
def test_options_that_are_wrong(options: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as raised:
        PrinteersOptions(**options)
    assert raised.value.path == key


# Whatever the bytes are.

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from([REF, shipment(1), "2025-06-15T15:00:00Z", "sent", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
NAMES = [
    *("status", "orderlines", "shipments", "customIdentifier", "createdAt", "updated", "address"),
    *("reference", "index", "quantity", "shippedQuantity", "canceledQuantity", "nextCursor"),
    *("trackingNumber", "shipper", "created"),
]
MEMBERS = st.dictionaries(st.sampled_from(NAMES), JSON)
LINE = st.dictionaries(
    st.sampled_from(["quantity", "shippedQuantity", "canceledQuantity"]), st.integers(-1, 4) | JSON
)
HUGE = json.dumps(order(status="?")).replace('"?"', "9" * 5000)
BODIES: st.SearchStrategy[bytes] = st.one_of(
    st.binary(max_size=40),
    MEMBERS.map(lambda more: json.dumps(order((3, 1, 1)) | {"shipment": more, "orders": [more]})),
    st.builds(lambda more: json.dumps(order((3, 1, 1), **more)), MEMBERS),
    st.builds(lambda lines: json.dumps(order(orderlines=lines)), st.lists(LINE, max_size=4)),
    st.builds(lambda many: json.dumps({"orders": many, "nextCursor": "c"}), st.lists(MEMBERS)),
    st.sampled_from(
        [
            '{"order":' * 500,
            "[" * 5000,
            '{"order":{"reference":"\\ud800"}}',
            '{"orders":[NaN]}',
            HUGE,
        ]
    ),
).map(lambda found: found.encode() if isinstance(found, str) else found)


@settings(max_examples=200, deadline=None)
@given(first=BODIES, second=BODIES, status=st.sampled_from([200, 200, 200, 204, 404, 500, 999]))
def test_any_bytes_are_read_or_refused(first: bytes, second: bytes, status: int) -> None:
    asked = provider(status_map=MAP)
    answers = [reply(first), reply(second, status)]
    try:
        reading = asked.read(Watched(number=REF), answers)
    except (AskFailed, Malformed):
        pass
    else:
        assert isinstance(reading, Reading)
        msgspec.msgpack.encode(reading)
        Shop().tell(*reading.facts)
    for answer in answers:
        try:
            queries, page = asked.more(answer), asked.read_page(answer)
        except (AskFailed, Malformed):
            continue
        assert all(query.path.startswith("shipments/") for query in queries)
        assert all(listed.body is None or json.loads(listed.body) for listed in page.orders)


# The page.


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of the page."""
    section = PAGE.read_text("utf-8").partition(f"### {heading}\n")[2].partition("\n#")[0]
    return [row.split(" | ") for row in re.findall(r"^\| `(.*) \|$", section, re.MULTILINE)]


def test_the_page_shows_the_tables() -> None:
    lines = {name.rstrip("`"): (facts, pays) for name, _, facts, pays in rows("What the lines say")}
    assert lines == {row: (", ".join(steps), "no") for row, steps in LINES.items()}
    words = {name.rstrip("`"): (track, pays) for name, track, pays in rows("What a status says")}
    assert words == {word: (track.value, "no") for word, track in STATUSES.items()}


def test_the_page_names_every_name_that_is_tried() -> None:
    text = PAGE.read_text("utf-8")
    names = [
        name for names in (*TRACKING.values(), CREATED_AT, UPDATED_AT, ADDRESS) for name in names
    ]
    camel = {"trackAndTraceCode", "trackAndTraceUrl"}  # "the same in camel case"
    assert [name for name in names if f"`{name}`" not in text and name not in camel] == []
