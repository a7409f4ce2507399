"""Printeers: shipments, and what becomes of its facts over polls."""

from typing import Any

import pytest

from gateway.errors import AskFailed, Throttled, TokenRefused
from gateway.models import Query, Reply, Shipment, Track
from gateway.providers.printeers import SHIPMENT_LIMIT, TRACKING
from tests.providers.printeers_replies import (
    AT,
    CREATED,
    MAP,
    REF,
    SHIPPED,
    only,
    order,
    parcel,
    provider,
    read,
    reply,
    shipment,
    some,
    told,
)
from tests.unit.order_shop import Shop, body, data

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
