"""PrintStudio, asked: statuses, orders, lists, errors and registration."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import AskFailed, Denied, Malformed, Missing, Throttled, TokenRefused
from gateway.models import Fact, Line, Listed, Millis, Money, Page, Query, Reply, Shipment, Watched
from gateway.orders.tables import FULFILMENT_TYPES, RANKS
from gateway.providers.base import Calling, Polled
from gateway.providers.printstudio import (
    FIRST_STATUS,
    ORDER_EVENTS,
    STATUSES,
    PrintStudio,
    PrintStudioOptions,
)
from tests.providers.callbacks import as_bytes
from tests.providers.test_fuzz import JSON, NASTY, WHOLE, places, replaced

PAGE = Path(__file__).parents[2] / "docs/providers/printstudio.md"
ASKED = Millis(1_705_400_000_000)
PLACED = Millis(1_705_315_800_000)
NUMBER = "ord-abc123"
KEY = f"printstudio:{NUMBER}"
ORDER = {
    "id": NUMBER,
    "status": "pending_payment",
    "customerId": "cust-1",
    "lineItems": [
        {"id": "li-1", "skuId": "sku-1", "quantity": 2, "unitPrice": 19.99, "total": 39.98}
    ],
    "subtotal": 39.98,
    "shipping": 5.0,
    "tax": 4.28,
    "total": 49.26,
    "createdAt": "2024-01-15T10:50:00Z",
}
JSON_TYPE = {"content-type": "application/json"}


def provider(**options: Any) -> PrintStudio:
    return PrintStudio(PrintStudioOptions(**options))


def answered(value: Any, status: int = 200) -> Reply:
    return Reply(status=status, headers=JSON_TYPE, body=as_bytes(value), at=ASKED)


def read(value: Any, **options: Any) -> Sequence[Fact]:
    return provider(**options).read(Watched(number=NUMBER), [answered(value)]).facts


def listed(value: Any, **asked: Any) -> Page:
    return provider().read_page(answered(value), **asked)


def many(amount: int) -> list[dict[str, Any]]:
    return [{"id": f"ord-{number}", "status": "paid"} for number in range(amount)]


def test_it_calls_and_is_asked() -> None:
    calling: Calling = provider()
    polled: Polled = provider()
    assert calling.name == polled.name == "printstudio"
    assert polled.base_url == ""


# Statuses.

SAYS: dict[str, list[tuple[str, str, str | None, bool]]] = {
    "pending_payment": [("created", "created", None, False), ("fulfilment", "created", KEY, False)],
    "paid": [
        ("created", "created", None, True),
        ("payment", "paid", None, False),
        ("fulfilment", "created", KEY, False),
    ],
    **{
        status: [
            ("created", "created", None, True),
            ("payment", "paid", None, True),
            ("fulfilment", status, KEY, False),
        ]
        for status in ("processing", "printing", "post_processing", "ready", "shipped")
    },
    "cancelled": [
        ("created", "created", None, True),
        ("fulfilment", "cancelled", KEY, False),
    ],
    "refunded": [
        ("created", "created", None, True),
        ("payment", "paid", None, True),
        ("fulfilment", "created", KEY, False),
        ("refund", "succeeded", None, False),
    ],
    "in_customs": [
        ("created", "created", None, True),
        ("fulfilment", "created", KEY, False),
        ("change", "in_customs", None, False),
    ],
}


@pytest.mark.parametrize(("status", "says"), SAYS.items())
def test_a_status_says_its_facts(
    status: str, says: list[tuple[str, str, str | None, bool]]
) -> None:
    reading = provider().read(Watched(number=NUMBER), [answered(ORDER | {"status": status})])
    found = [(fact.track.value, fact.state, fact.key, fact.implied) for fact in reading.facts]
    assert found == says
    assert (reading.event_id, reading.event_type, reading.at) == (NUMBER, status, ASKED)
    assert reading.ignored is None
    for fact in reading.facts:
        assert (fact.order, fact.ids) == (NUMBER, {"printstudio": (NUMBER,)})
        assert (fact.own, fact.links, fact.soft, fact.reason) == (None, (), False, None)
        assert (fact.amount, fact.cumulative, fact.group, fact.quantity) == (None,) * 4
        assert fact.what == ("status" if fact.track.value == "change" else None)


def test_every_status_is_tested() -> None:
    assert list(SAYS) == [*STATUSES, "in_customs"]
    assert next(iter(STATUSES)) == FIRST_STATUS
    assert {row.fulfilment for row in STATUSES.values()} <= set(FULFILMENT_TYPES)


@pytest.mark.parametrize("status", ["Paid", "PAID", " paid", "paid ", "x" * 255, "§"])
def test_a_status_is_known_by_its_exact_word(status: str) -> None:
    facts = read(ORDER | {"status": status})
    assert [fact.state for fact in facts] == ["created", "created", status]


# The order.


def test_facts_have_the_time_of_asking_but_created() -> None:
    assert [fact.at for fact in read(ORDER | {"status": "paid"})] == [PLACED, ASKED, ASKED]


@pytest.mark.parametrize(
    "created", [None, "", "yesterday", 1705315800, "2024-13-01T00:00:00Z", "2999-01-01T00:00:00Z"]
)
def test_a_time_that_is_none_or_to_come_is_the_time_of_asking(created: object) -> None:
    assert {fact.at for fact in read(ORDER | {"createdAt": created})} == {ASKED}
    without = {name: value for name, value in ORDER.items() if name != "createdAt"}
    assert {fact.at for fact in read(without)} == {ASKED}


def test_the_documented_order() -> None:
    for fact in read(ORDER, currency="eur"):
        assert fact.total == Money(value="49.26", minor=4926, currency="EUR")
        assert fact.lines == (
            Line(
                id="li-1",
                sku="sku-1",
                quantity=2,
                unit_price=Money(value="19.99", minor=1999, currency="EUR"),
                total=Money(value="39.98", minor=3998, currency="EUR"),
            ),
        )
        assert (fact.shipment, fact.customer) == (None, None)


def test_the_webhooks_names_of_a_shipment_are_read_here_too() -> None:
    more = {
        "trackingNumber": "1Z999",
        "carrier": "UPS",
        "estimatedDelivery": "2024-01-17",
        "trackingUrl": "https://track.example/1Z999",
    }
    for fact in read(ORDER | {"status": "shipped"} | more):
        assert fact.shipment == Shipment(
            tracking_number="1Z999",
            tracking_url="https://track.example/1Z999",
            carrier="UPS",
            expected="2024-01-17",
        )


@pytest.mark.parametrize(
    ("digits", "value", "minor"),
    [
        ("49.26", "49.26", 4926),
        ("49.260", "49.260", 4926),
        ("49.2", "49.2", 4920),
        ("0.1", "0.1", 10),
        ("39.980000000000004", "39.980000000000004", None),
        ("12345678901234567890.12", "12345678901234567890.12", None),
        ("5e1", "50", 5000),
        ("-0.0", "0.0", 0),
    ],
)
def test_amounts_are_the_digits_that_were_sent(digits: str, value: str, minor: int | None) -> None:
    body = as_bytes(ORDER | {"total": "?"}).replace(b'"?"', digits.encode())
    (fact, *_) = read(body, currency="EUR")
    assert fact.total == Money(value=value, minor=minor, currency="EUR")
    (fact, *_) = read(body)
    assert fact.total == Money(value=value)


@pytest.mark.parametrize("wrap", [lambda o: o, lambda o: {"order": o}, lambda o: {"data": o}])
def test_an_order_may_be_wrapped(wrap: Any) -> None:
    assert read(wrap(ORDER)) == read(ORDER)


def test_a_bare_order_may_have_members_of_those_names() -> None:
    assert read(ORDER | {"order": {"id": "x"}, "data": {}}) == read(ORDER)


def test_the_order_id_is_the_shops_own_whatever_name_it_was_given() -> None:
    """As in callbacks, which know no other: two names would make two orders."""
    named = Watched(number=NUMBER, order="1001")
    assert provider().read(named, [answered(ORDER)]).facts == read(ORDER)


ODD = ["null", "true", "5", "-1.5", "1e400", '"\\u0000"', '""', "[]", "[5]", "{}", "9" * 90]


@pytest.mark.parametrize("field", [*(set(ORDER) - {"id", "status"}), "carrier", "customer", "x"])
def test_what_does_not_decide_may_be_anything(field: str) -> None:
    for odd in ODD:
        body = as_bytes(ORDER | {field: "?"}).replace(b'"?"', odd.encode())
        assert [fact.state for fact in read(body)] == ["created", "created"], odd


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({}, "$.id"),
        ({"id": NUMBER}, "$.status"),
        ({"id": 5, "status": "paid"}, "$.id"),
        ({"id": "ord-other", "status": "paid"}, "$.id"),
        (ORDER | {"status": None}, "$.status"),
        (ORDER | {"status": 5}, "$.status"),
        (ORDER | {"status": ""}, "$.status"),
        (ORDER | {"status": "a\x00"}, "$.status"),
        ({"order": None}, "$.order"),
        ({"order": ORDER | {"id": "x"}}, "$.order.id"),
        ({"data": [ORDER]}, "$.data"),
        ({"data": ORDER | {"status": {}}}, "$.data.status"),
        ({"error": "Not found"}, "$.id"),
    ],
)
def test_what_decides_must_be_right(value: Any, path: str) -> None:
    with pytest.raises(Malformed) as caught:
        read(value)
    assert caught.value.path == path


# Asking.


@pytest.mark.parametrize(
    ("number", "path"),
    [
        (NUMBER, "api/orders/ord-abc123"),
        ("a/../b?c#d", "api/orders/a%2F..%2Fb%3Fc%23d"),
        ("é %", "api/orders/%C3%A9%20%25"),
    ],
)
def test_an_order_is_asked_for_by_its_number(number: str, path: str) -> None:
    assert provider().order(number) == Query(path=path)


def test_one_question_is_enough() -> None:
    assert provider().more(answered(ORDER)) == ()
    assert provider().authorize("key-1") == {"X-API-Key": "key-1"}


def error(code: str, text: str) -> dict[str, Any]:
    return {"error": text, "code": code, "details": {"orderId": NUMBER}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "says"),
    [
        (400, error("VALIDATION_ERROR", "Invalid id"), AskFailed, "400 Bad Request (Invalid id)"),
        (401, error("UNAUTHENTICATED", "Bad key"), TokenRefused, "the token is not taken"),
        (403, error("FORBIDDEN", "No"), Denied, "the token may not read this"),
        (404, error("ORDER_NOT_FOUND", "Not found"), Missing, "404 Not Found (Not found)"),
        (404, b"404 Not Found", AskFailed, "is base_url right?"),
        (409, error("CONFLICT", "No"), AskFailed, "409 Conflict"),
        (429, error("RATE_LIMITED", "Slow down"), Throttled, "429 Too Many Requests (Slow down)"),
        (500, error("INTERNAL", "Oops"), AskFailed, "500 Internal Server Error (Oops)"),
        (302, b"", AskFailed, "is base_url right?"),
        (200, b"<html>", AskFailed, "no JSON"),
        (200, b"", AskFailed, "no JSON"),
    ],
)
def test_an_answer_that_says_no(status: int, body: Any, kind: type[AskFailed], says: str) -> None:
    reply = answered(body, status)
    for ask in (
        lambda: provider().read(Watched(number=NUMBER), [reply]),
        lambda: provider().read_page(reply),
    ):
        with pytest.raises(AskFailed) as caught:
            ask()
        assert type(caught.value) is kind
        assert says in str(caught.value)


def test_an_order_is_no_array() -> None:
    with pytest.raises(AskFailed, match="no JSON object "):
        read([ORDER])


# Lists.


def test_pages_are_asked_for_by_number() -> None:
    assert provider().page(None) == Query(
        path="api/orders", params=(("page", "1"), ("limit", "100"))
    )
    assert provider().page("7") == Query(
        path="api/orders", params=(("page", "7"), ("limit", "100"))
    )


@pytest.mark.parametrize("wrap", [lambda o: {"orders": o}, lambda o: {"data": o}, lambda o: o])
def test_entries_are_whole_orders(wrap: Any) -> None:
    page = listed(wrap([ORDER, ORDER | {"id": "ord-2", "status": "paid"}]))
    assert [order.number for order in page.orders] == [NUMBER, "ord-2"]
    assert page.cursor is None
    (first, _) = page.orders
    assert first.body is not None
    assert read(first.body) == read(ORDER)


def test_an_entry_keeps_its_digits() -> None:
    body = as_bytes({"orders": [ORDER | {"total": "?"}]}).replace(b'"?"', b"49.260")
    (entry,) = listed(body).orders
    assert entry.body is not None
    assert b'"total": 49.260' in entry.body


def test_an_entry_without_a_status_is_asked_for() -> None:
    assert listed({"orders": [{"id": "ord-1"}]}).orders == [Listed(number="ord-1")]


def test_an_entry_without_an_id_does_not_stop_the_others() -> None:
    entries = [5, None, {}, {"id": 7}, {"id": ""}, {"id": "ord-1"}]
    assert listed({"orders": entries}).orders == [Listed(number="ord-1")]
    with pytest.raises(Malformed, match=r"\$\.data: no order of the list has an id"):
        listed({"data": entries[:-1]})


PAGED: list[tuple[Any, dict[str, Any], str | None]] = [
    ({"orders": []}, {"cursor": None}, None),
    ({"orders": many(99)}, {"cursor": None}, None),
    ({"orders": many(100)}, {"cursor": None}, "2"),
    ({"orders": many(100)}, {"cursor": "2"}, "3"),
    (many(100), {"cursor": None}, "2"),
    (many(100), {"cursor": "9"}, "10"),
    ({"data": many(100), "total": 250, "page": 2, "limit": 100}, {}, "3"),
    ({"data": many(100), "total": 250, "page": 2, "limit": 100}, {"cursor": "4"}, "5"),
    # What it says of itself may be a cap, or nonsense.
    ({"orders": many(50), "limit": 50}, {"cursor": None}, "2"),
    ({"orders": many(50), "limit": 100}, {"cursor": None}, None),
    ({"orders": many(100), "limit": 0, "page": "x"}, {"cursor": None}, "2"),
    ({"orders": many(100), "limit": True}, {"cursor": None}, "2"),
    # Nobody knows which page it is.
    ({"orders": many(100)}, {}, None),
    ({"orders": many(100), "page": 1.5}, {}, None),
    ({"orders": many(100)}, {"cursor": "next"}, None),
    ({"orders": many(100)}, {"cursor": "9" * 5000}, None),
    # All at once, whatever was asked for.
    ({"orders": many(101)}, {"cursor": None}, None),
    (many(230), {"cursor": None}, None),
]


@pytest.mark.parametrize(("value", "asked", "cursor"), PAGED)
def test_a_full_page_has_a_next(value: Any, asked: dict[str, Any], cursor: str | None) -> None:
    assert listed(value, **asked).cursor == cursor


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({}, "$.orders"),
        ({"orders": None}, "$.orders"),
        ({"orders": {}}, "$.orders"),
        ({"data": 5}, "$.data"),
        ({"orders": 5, "data": []}, "$.orders"),
    ],
)
def test_a_list_is_one_of_three_shapes(value: Any, path: str) -> None:
    with pytest.raises(Malformed) as caught:
        listed(value)
    assert caught.value.path == path


# Registration.


def test_callbacks_of_all_order_events_are_asked_for() -> None:
    query = provider().registration(url="https://gw.example/hooks/shop", secret="s3cret")
    assert (query.method, query.path, query.params) == ("POST", "api/webhooks/endpoints", ())
    assert json.loads(query.body) == {
        "url": "https://gw.example/hooks/shop",
        "events": list(ORDER_EVENTS),
        "secret": "s3cret",
    }


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"id": "whe-1"}, "whe-1"),
        ({"id": 7}, "7"),
        ({"endpoint": {"id": "whe-1"}}, "whe-1"),
        ({"data": {"id": "whe-1"}}, "whe-1"),
        ({"success": True}, ""),
        ({"id": None}, ""),
        ({"id": ["x"]}, ""),
        ({"data": "whe-1"}, ""),
        (b"", ""),
        (b" \n", ""),
    ],
)
def test_the_new_endpoints_id_is_read_where_it_is_told(body: Any, name: str) -> None:
    assert provider().read_registration(answered(body, 201)) == name


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, error("UNAUTHENTICATED", "Bad key"), TokenRefused),
        (409, error("CONFLICT", "Endpoint exists"), AskFailed),
        (429, error("RATE_LIMITED", "Slow down"), Throttled),
        (200, b"<html>", AskFailed),
        (200, [], AskFailed),
    ],
)
def test_a_registration_may_be_refused(status: int, body: Any, kind: type[AskFailed]) -> None:
    with pytest.raises(AskFailed) as caught:
        provider().read_registration(answered(body, status))
    assert type(caught.value) is kind


# Whatever is answered.


def tried(body: bytes, status: int = 200) -> None:
    """Each way of reading ends in a value of the contract, or in an error of the contract."""
    reply = Reply(status=status, headers={}, body=body, at=ASKED)
    shop = provider(currency="EUR")
    try:
        reading = shop.read(Watched(number=NUMBER), [reply])
        assert reading.event_id == NUMBER
        assert all(0 <= fact.at <= ASKED for fact in reading.facts)
        json.loads(msgspec.json.encode(reading))
    except (AskFailed, Malformed) as failure:
        str(failure).encode()
    try:
        page = shop.read_page(reply, "1")
        assert all(order.number for order in page.orders)
        assert page.cursor in (None, "2")
    except (AskFailed, Malformed) as failure:
        str(failure).encode()
    try:
        shop.read_registration(reply).encode()
    except AskFailed as failure:
        str(failure).encode()


@pytest.mark.parametrize("status", [200, 404, 503])
def test_hostile_bodies_are_read_or_refused(status: int) -> None:
    for body in WHOLE:
        tried(body, status)


@given(body=st.binary(max_size=200), status=st.integers(100, 599))
@settings(deadline=None, max_examples=100)
def test_any_bytes_are_read_or_refused(body: bytes, status: int) -> None:
    tried(body, status)


@given(data=st.data())
@settings(deadline=None, max_examples=200)
def test_any_subtree_may_be_anything(data: st.DataObject) -> None:
    whole = [ORDER | {"status": "refunded"}, {"order": ORDER}, {"orders": [ORDER, ORDER]}, [ORDER]]
    value = data.draw(st.sampled_from(whole))
    path = data.draw(st.sampled_from(list(places(value))))
    tried(replaced(value, path, data.draw(JSON | st.sampled_from(NASTY))))


# The page.


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    below = PAGE.read_text("utf-8").split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = re.findall(r"^\| (.*) \|$", below, re.MULTILINE)[1:]
    return [[cell.strip() for cell in line.split(" | ")] for line in lines]


def test_the_table_of_statuses_is_the_codes() -> None:
    payments = {"": "–", "said": "paid", "implied": "paid, implied"}
    expected = [
        [
            f"`{status}`",
            row.fulfilment,
            str(RANKS.get(row.fulfilment, "–")),
            payments[row.payment],
            "refunded" if row.refunded else "–",
        ]
        for status, row in STATUSES.items()
    ]
    assert [row[:5] for row in rows("What a status says")] == [
        *expected,
        ["any other", "created", "0", "–", "–"],
    ]


def test_the_table_of_events_is_the_codes() -> None:
    expected = [
        [f"`{event}`", ", ".join(f"{track} {state}" for track, state in facts)]
        for event, facts in ORDER_EVENTS.items()
    ]
    assert rows("What a callback says")[: len(expected)] == expected
