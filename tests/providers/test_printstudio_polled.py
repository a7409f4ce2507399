"""PrintStudio, asked: what its statuses, orders and errors say."""

from typing import Any

import pytest

from gateway.errors import AskFailed, Denied, Malformed, Missing, Throttled, TokenRefused
from gateway.models import Line, Money, Query, Shipment, Watched
from gateway.orders.tables import FULFILMENT_TYPES
from gateway.providers.base import Calling, Polled
from gateway.providers.printstudio import FIRST_STATUS, STATUSES
from tests.providers.callbacks import as_bytes
from tests.providers.printstudio_replies import (
    ASKED,
    KEY,
    NUMBER,
    ORDER,
    PLACED,
    answered,
    error,
    provider,
    read,
)


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


@pytest.mark.parametrize(
    "field", [*sorted(set(ORDER) - {"id", "status"}), "carrier", "customer", "x"]
)
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
