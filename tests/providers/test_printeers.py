"""Printeers: what its lines and statuses say, as facts; the page's tables."""

import re
from pathlib import Path
from typing import Any

import pytest

from gateway.models import Line, Track
from gateway.providers.pointer import STATES
from gateway.providers.printeers import ADDRESS, CREATED_AT, LINES, STATUSES, TRACKING, UPDATED_AT
from tests.providers.printeers_replies import (
    AT,
    CANCELLED,
    CREATED,
    KEY,
    MAP,
    OPEN,
    REF,
    SHIPPED,
    line,
    order,
    read,
    some,
    told,
)

PAGE = Path(__file__).parents[2] / "docs/providers/printeers.md"

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
