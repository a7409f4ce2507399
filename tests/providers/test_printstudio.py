from typing import Any

import msgspec
import pytest

from gateway.errors import ConfigError, Malformed
from gateway.models import Line, Money, Shipment, Track
from gateway.providers.printstudio import ORDER_EVENTS, OTHER_EVENTS, PrintStudioOptions
from gateway.providers.reading import hashed_id
from tests.providers.callbacks import CREATED, RECEIVED, as_bytes, envelope, read_printstudio

KEY = "printstudio:ord-abc123"
ORDER = {"orderId": "ord-abc123"}

SAYS: list[tuple[str, list[tuple[str, str, str | None]]]] = [
    ("order.created", [("created", "created", None), ("fulfilment", "created", KEY)]),
    ("order.paid", [("payment", "paid", None)]),
    ("order.printing", [("fulfilment", "printing", KEY)]),
    ("order.ready", [("fulfilment", "ready", KEY)]),
    ("order.shipped", [("fulfilment", "shipped", KEY)]),
    ("order.cancelled", [("fulfilment", "cancelled", KEY)]),
]


@pytest.mark.parametrize(("event", "facts"), SAYS)
def test_event_says_its_facts(event: str, facts: list[tuple[str, str, str | None]]) -> None:
    reading = read_printstudio(envelope(event, ORDER))
    assert [(fact.track.value, fact.state, fact.key) for fact in reading.facts] == facts
    assert (reading.event_id, reading.event_type, reading.ignored) == ("evt-1", event, None)
    assert reading.at == CREATED * 1000
    for fact in reading.facts:
        assert fact.order == "ord-abc123"
        assert fact.ids == {"printstudio": ("ord-abc123",)}
        assert (fact.own, fact.links, fact.soft) == (None, (), False)
        assert fact.at == CREATED * 1000


def test_every_order_event_is_tested() -> None:
    assert [event for event, _ in SAYS] == list(ORDER_EVENTS)


@pytest.mark.parametrize("event", ORDER_EVENTS)
def test_what_data_does_not_have_is_null(event: str) -> None:
    for fact in read_printstudio(envelope(event, ORDER)).facts:
        assert (fact.total, fact.amount, fact.lines) == (None, None, None)
        assert (fact.shipment, fact.customer) == (None, None)


def test_the_documented_shipment() -> None:
    data = ORDER | {
        "trackingNumber": "1Z999",
        "carrier": "UPS",
        "estimatedDelivery": "2024-01-17",
        "trackingUrl": "https://track.example/1Z999",
    }
    (fact,) = read_printstudio(envelope("order.shipped", data)).facts
    assert fact.shipment == Shipment(
        tracking_number="1Z999",
        carrier="UPS",
        expected="2024-01-17",
        tracking_url="https://track.example/1Z999",
    )


@pytest.mark.parametrize(
    ("option", "told", "minor", "currency"),
    [
        (None, None, None, None),
        ("eur", None, 4926, "EUR"),
        (None, "usd", 4926, "USD"),
        ("EUR", "USD", 4926, "EUR"),
        (None, 978, None, None),
    ],
)
def test_amounts_are_the_digits_that_were_sent(
    option: str | None, told: object, minor: int | None, currency: str | None
) -> None:
    data = ORDER | {"total": 49.26, "currency": told}
    (fact,) = read_printstudio(envelope("order.paid", data), currency=option).facts
    assert fact.total == Money(value="49.26", minor=minor, currency=currency)


def test_amounts_never_pass_through_a_float() -> None:
    body = as_bytes(envelope("order.paid", ORDER | {"total": "?"}))
    exact = body.replace(b'"?"', b"12345678901234567890.120")
    assert read_printstudio(exact).facts[0].total == Money(value="12345678901234567890.120")


def test_lines_are_read_as_far_as_they_are_told() -> None:
    items = [
        {"id": "li-1", "skuId": "sku-1", "quantity": 2, "unitPrice": 5.5, "total": 11.0},
        {"id": 5, "name": "Cube", "quantity": 1.5, "unitPrice": "5", "total": None},
        {},
    ]
    data = ORDER | {"lineItems": items}
    (fact,) = read_printstudio(envelope("order.paid", data), currency="EUR").facts
    assert fact.lines == (
        Line(
            id="li-1",
            sku="sku-1",
            quantity=2,
            unit_price=Money(value="5.5", minor=550, currency="EUR"),
            total=Money(value="11.0", minor=1100, currency="EUR"),
        ),
        Line(name="Cube"),
        Line(),
    )


def test_the_customer_is_read_where_it_is_one() -> None:
    customer = {"email": "a@b.example", "address": {"city": "Bonn"}, "vat": "x"}
    (fact,) = read_printstudio(envelope("order.paid", ORDER | {"customer": customer})).facts
    assert fact.customer == {
        "email": "a@b.example",
        "name": None,
        "phone": None,
        "address": {"city": "Bonn"},
    }


OPTIONAL = (
    *("total", "currency", "lineItems", "customer"),
    *("trackingNumber", "trackingUrl", "carrier", "estimatedDelivery"),
)
ODD = ["null", "true", "5", "-1.5", "1e400", '"\\u0000"', '""', "[]", "[5]", "[{}]", "{}", "9" * 90]


@pytest.mark.parametrize("event", ORDER_EVENTS)
@pytest.mark.parametrize("field", OPTIONAL)
def test_what_does_not_decide_may_be_anything(event: str, field: str) -> None:
    for odd in ODD:
        body = as_bytes(envelope(event, ORDER | {field: "?"})).replace(b'"?"', odd.encode())
        assert read_printstudio(body).facts, odd


# Events that are no order's.


@pytest.mark.parametrize(
    ("event", "data", "subject"),
    [
        ("job.failed", {"jobId": "job-7", "orderId": "ord-1", "error": "clog"}, "job-7"),
        ("job.completed", {"id": "job-8"}, "job-8"),
        ("job.paused", {"orderId": "ord-1"}, "evt-1"),
        ("job.failed", {"jobId": 7, "id": "job-9"}, "job-9"),
        ("job.failed", {"jobId": "a\x00b"}, "evt-1"),
        ("inventory.low", {"sku": "pla-black", "skuId": "x"}, "pla-black"),
        ("inventory.low", {"materialId": "pla"}, "pla"),
        ("printer.offline", {"printerId": "mk4-2"}, "mk4-2"),
        ("printer.offline", {}, "evt-1"),
    ],
)
def test_other_events_are_passed_on(event: str, data: dict[str, Any], subject: str) -> None:
    reading = read_printstudio(envelope(event, data))
    (fact,) = reading.facts
    assert (fact.track, fact.type, fact.subject) == (Track.EVENT, f"printstudio.{event}", subject)
    assert (fact.order, fact.at, fact.key) == (None, CREATED * 1000, None)
    assert fact.data is not None
    assert msgspec.json.decode(fact.data) == data


@pytest.mark.parametrize("value", ["[" * 100 + "]" * 100, "1e400", "9" * 5000])
def test_data_that_some_consumer_could_not_read_is_not_passed_on(value: str) -> None:
    body = as_bytes(envelope("job.failed", {"jobId": "job-7", "log": "?"}))
    with pytest.raises(Malformed) as caught:
        read_printstudio(body.replace(b'"?"', value.encode()))
    assert caught.value.path.startswith("$.data")


def test_every_other_event_is_tested() -> None:
    assert set(OTHER_EVENTS) == {"job.*", "inventory.low", "printer.offline"}


@pytest.mark.parametrize(
    "event",
    [
        *("order.refunded", "order.", "orders.created", "printer.online", "inventory.low ", "x"),
        *("job.", "job", "job.*", "job.a b", "job.é", "job." + "x" * 65, "JOB.failed"),
    ],
)
def test_unknown_events_are_ignored_with_the_reason(event: str) -> None:
    reading = read_printstudio(envelope(event, ORDER))
    assert reading.facts == ()
    assert reading.ignored == f"events of the type {event} are not known"


# The envelope.


@pytest.mark.parametrize("told", [None, "", 5, True, [], {}])
def test_without_an_id_equal_bytes_are_the_same_event(told: object) -> None:
    body = as_bytes(envelope("order.paid", ORDER, id=told))
    assert read_printstudio(body).event_id == hashed_id(body)


def test_an_envelope_without_id_and_timestamp_is_enough() -> None:
    reading = read_printstudio({"event": "order.paid", "data": ORDER})
    assert reading.at == reading.facts[0].at == RECEIVED


@pytest.mark.parametrize("timestamp", [None, "", "now", 1705329000, True, [], "2024-13-01T00:00Z"])
def test_an_unreadable_timestamp_is_the_time_of_receipt(timestamp: object) -> None:
    reading = read_printstudio(envelope("order.paid", ORDER, timestamp=timestamp))
    assert reading.at == reading.facts[0].at == RECEIVED


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ([], "$"),
        ("order.paid", "$"),
        ({}, "$"),
        (envelope(5, ORDER), "$.event"),
        (envelope("", ORDER), "$.event"),
        (envelope("order\x00paid", ORDER), "$.event"),
        (envelope("e" * 256, ORDER), "$.event"),
        (envelope("order.paid", ORDER, id="e" * 256), "$.id"),
        (envelope("order.paid", ORDER, id="evt\x00"), "$.id"),
        (envelope("order.paid", None), "$.data"),
        (envelope("order.paid", [ORDER]), "$.data"),
        ({"event": "order.paid", "id": "evt-1"}, "$.data"),
        (envelope("order.paid", {}), "$.data.orderId"),
        (envelope("order.paid", {"orderId": None}), "$.data.orderId"),
        (envelope("order.paid", {"orderId": 7}), "$.data.orderId"),
        (envelope("order.paid", {"orderId": ""}), "$.data.orderId"),
        (envelope("order.paid", {"orderId": "x" * 256}), "$.data.orderId"),
        (envelope("order.paid", {"orderId": "a\nb"}), "$.data.orderId"),
        (envelope("job.failed", None), "$.data"),
        (envelope("job.failed", [1]), "$.data"),
        ({"event": "job.failed", "id": "evt-1"}, "$.data"),
    ],
)
def test_what_decides_must_be_right(body: Any, path: str) -> None:
    with pytest.raises(Malformed) as caught:
        read_printstudio(body)
    assert caught.value.path == path
    named = isinstance(body, dict) and path != "$.id" and body
    assert caught.value.event_id == ("evt-1" if named else None)


def test_of_a_name_that_is_given_twice_the_last_value_counts() -> None:
    body = b'{"event":"x","event":"order.paid","data":{"orderId":"1","orderId":"2"},"id":"e"}'
    reading = read_printstudio(body)
    assert (reading.event_type, reading.facts[0].order) == ("order.paid", "2")


@pytest.mark.parametrize("currency", ["", "EURO", "€", "E1R"])
def test_the_currency_of_a_source_is_three_letters(currency: str) -> None:
    with pytest.raises(ConfigError, match="currency: must be three letters"):
        PrintStudioOptions(currency=currency)
