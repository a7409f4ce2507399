"""Design 6.4: names, texts and times of events, and the two modes in which they travel."""

import hashlib
import json
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from msgspec import Raw

from gateway.events import (
    LATEST,
    UnfitEvent,
    Writer,
    binary,
    escape,
    event_id,
    line,
    money,
    order_schema,
    parse,
    rfc3339,
)
from gateway.models import Event, Line, Millis, Money
from tests.unit.order_shop import ORDER, TRACE, Shop, at, body, created, data, eur, paid

CUSTOMER = {"name": "Ada", "email": "ada@example.com", "address": {"city": "Köln"}}


def other(raw: bytes = b"{}", **more: Any) -> Event:
    """An event that is no order's."""
    attributes: dict[str, Any] = {
        "event_type": "printstudio.job.failed",
        "occurrence": ("ps_1",),
        "subject": "job_1",
        "shop": "default",
        "source": "studio",
        "at": at(1),
        "recorded": at(2),
    }
    url = more.pop("public_url", "")
    return Writer(url).other_event(Raw(raw), **attributes | more)


def test_id_is_the_hash_of_a_json_array() -> None:
    name = '["default","1001","order.paid",["pi_ü"]]'.encode()
    expected = "evt_" + hashlib.sha256(name).hexdigest()[:40]
    assert event_id("default", "1001", "order.paid", ("pi_ü",)) == expected


def test_id_has_no_dot() -> None:
    """Standard Webhooks joins id, time and body with dots."""
    assert "." not in event_id("a.b", "1.2", "order.paid", ("x.y",))


def test_ids_of_different_occurrences_differ() -> None:
    names = [
        ("a", "b", "t", ()),
        ("ab", "", "t", ()),
        ("a", "bt", "", ()),
        ("a", "b", "t", ("",)),
        ("a", "b", "t", ("x", "y")),
        ("a", "b", "t", ('x","y',)),
    ]
    assert len({event_id(*name) for name in names}) == len(names)


def test_id_does_not_depend_on_who_told_it_or_where_it_runs() -> None:
    told = [
        Shop(url).tell(paid(1, "pi_1"), source=source, event_id=source)[1].id
        for url in ("", "https://hooks.example.com")
        for source in ("shop", "stripe-live")
    ]
    assert len(set(told)) == 1


def test_id_of_other_events_depends_on_source_and_provider_event() -> None:
    events = [other(), other(source="b"), other(occurrence=("ps_2",)), other(shop="b")]
    assert len({event.id for event in events}) == 4
    assert other().id == other().id


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("1001", "1001"),
        ("A 1/2 #3?&=+\"'", "A 1/2 #3?&=+\"'"),
        ("50%", "50%25"),
        ("%41", "%2541"),
        ("Nº1", "N%C2%BA1"),
        ("Nº 50%", "N%C2%BA 50%25"),
        ("a\tb\x7f", "a%09b%7F"),
        ("😀", "%F0%9F%98%80"),
        ("~`{|}^[]\\<>@!$(),:;_*-.", "~`{|}^[]\\<>@!$(),:;_*-."),
    ],
)
def test_escape(text: str, escaped: str) -> None:
    assert escape(text) == escaped
    assert unquote(escaped) == text


def test_subject_is_escaped_and_the_true_order_stands_in_data() -> None:
    (event,) = Shop().tell(created(1, order="Nº 1001"), shop="Größe")
    assert body(event)["subject"] == "N%C2%BA 1001"
    assert body(event)["partitionkey"] == "Gr%C3%B6%C3%9Fe/N%C2%BA 1001"
    assert data(event)["order"] == event.order == "Nº 1001"
    assert data(event)["shop"] == event.shop == "Größe"


@pytest.mark.parametrize(
    ("millis", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_750_000_000_000, "2025-06-15T15:06:40Z"),
        (1_750_000_000_001, "2025-06-15T15:06:40.001Z"),
        (1_750_000_000_120, "2025-06-15T15:06:40.120Z"),
        (LATEST, "9999-12-31T23:59:59Z"),
        (-62_135_596_800_000, "0001-01-01T00:00:00Z"),
    ],
)
def test_rfc3339(millis: int, text: str) -> None:
    assert rfc3339(Millis(millis)) == text


def test_envelope_of_an_order_event() -> None:
    (event,) = Shop().tell(created(1))
    envelope = body(event)
    assert list(envelope) == [
        "specversion",
        "id",
        "source",
        "type",
        "subject",
        "time",
        "datacontenttype",
        "dataschema",
        "partitionkey",
        "orderseq",
        "recordedtime",
        "traceparent",
        "data",
    ]
    assert envelope["source"] == "https://hooks.example.com/sources/stripe-live"
    assert envelope["dataschema"] == "https://hooks.example.com/schemas/v1/order.created.json"
    assert envelope["partitionkey"] == f"default/{ORDER}"
    assert (envelope["orderseq"], envelope["traceparent"]) == (1, TRACE)
    assert b" " not in event.body.replace(TRACE.encode(), b"")


def test_without_a_public_url_no_dataschema() -> None:
    (event,) = Shop("").tell(created(1))
    assert "dataschema" not in body(event)
    assert body(event)["source"] == "/sources/stripe-live"


def test_other_events_have_no_order() -> None:
    event = other(b'{"jobId":"job_1"}', public_url="https://hooks.example.com")
    envelope = body(event)
    assert not {"dataschema", "partitionkey", "orderseq", "traceparent"} & set(envelope)
    assert (envelope["subject"], envelope["data"]) == ("job_1", {"jobId": "job_1"})
    assert "subject" not in body(other(subject=None))
    assert body(other(source="gateway"))["source"] == "/gateway"


def test_other_events_pass_their_data_byte_exact() -> None:
    raw = b'{ "price": 1.10,"big": 123456789012345678901234567890 }'
    event = other(raw)
    assert raw in event.body
    assert binary(event.body)[1] == raw


@pytest.mark.parametrize(
    ("value", "header"),
    [
        ("plain", "plain"),
        ("a b", "a%20b"),
        ('a"b', "a%22b"),
        ("50%25", "50%2525"),
        ("!#$&'()*+,-./:;<=>?@[\\]^_`{|}~", "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"),
        ("é\x07", "%C3%A9%07"),
    ],
)
def test_binary_encodes_header_values(value: str, header: str) -> None:
    """HTTP binding 3.1.3.2: space, double quote, percent, and all beyond printable ASCII."""
    event = json.dumps(
        {"id": "1", "subject": value, "datacontenttype": "application/json", "data": {}}
    ).encode()
    headers, payload = binary(event)
    assert headers == [
        ("content-type", "application/json"),
        ("ce-id", "1"),
        ("ce-subject", header),
    ]
    assert payload == b"{}"


def test_binary_carries_data_byte_for_byte() -> None:
    (event,) = Shop().tell(created(1, order="Nº 1"))
    headers, payload = binary(event.body)
    assert event.body.endswith(b'"data":' + payload + b"}")
    assert dict(headers)["ce-subject"] == "N%25C2%25BA%201"
    assert dict(headers)["ce-orderseq"] == "1"
    assert all(value.isascii() and " " not in value for _, value in headers)


@pytest.mark.parametrize(
    ("kind", "written", "payload"),
    [
        ("text/plain", b'"h\\u00e9 \\"x\\"\\n"', 'hé "x"\n'.encode()),
        ("text/csv; charset=utf-8", b'""', b""),
        ("application/xml", b'"<a/>"', b"<a/>"),
        ("text/plain", b'{"a": 1}', b'{"a": 1}'),
        ("application/json", b'"text"', b'"text"'),
        ("application/vnd.shop+json", b'"text"', b'"text"'),
        ("", b'"text"', b'"text"'),
    ],
)
def test_binary_carries_text_that_is_no_json_as_what_it_is(
    kind: str, written: bytes, payload: bytes
) -> None:
    """JSON format 3.1.1: only there it is a JSON string."""
    event = b'{"specversion":"1.0","datacontenttype":"%b","data":%b}' % (kind.encode(), written)
    headers, body = binary(event)
    assert (dict(headers)["content-type"], body) == (kind or "application/json", payload)


def test_binary_carries_bytes_as_they_are() -> None:
    """Also those that look like a string of JSON."""
    event = b'{"specversion":"1.0","datacontenttype":"text/csv","data_base64":"ImEiLCJiIg=="}'
    assert binary(event)[1] == b'"a","b"'


@pytest.mark.parametrize("kind", ["application/cloudevents+json", "Application/CloudEvents-x"])
def test_data_that_would_be_read_as_another_event_are_not_sent_in_binary_mode(kind: str) -> None:
    """HTTP binding 3: the content type alone tells a consumer that the body is an event."""
    inner = {"specversion": "1.0", "id": "1", "source": "/a", "type": "order.paid"}
    event = inner | {"type": "com.example", "datacontenttype": kind, "data": inner}
    with pytest.raises(ValueError, match="read as another event"):
        binary(json.dumps(event).encode())


@pytest.mark.parametrize("kind", [b"5", b"true", b'"text"'])
def test_what_an_older_program_took_as_a_content_type_is_no_bug(kind: bytes) -> None:
    with pytest.raises(ValueError, match="expected a content-type"):
        binary(b'{"specversion":"1.0","datacontenttype":%b,"data":1}' % kind)


@pytest.mark.parametrize(
    "content_type",
    ["application/cloudevents+json; charset=utf-8", "application/json"],
)
def test_sdk_reads_structured_and_json_mode(content_type: str) -> None:
    (event,) = Shop().tell(created(1))
    read = parse({"content-type": content_type}, event.body)
    assert read.get_id() == event.id
    assert read.get_data() == data(event)


MONEY = [
    Money(value="49.26", minor=4926, currency="EUR"),
    Money(value="5.120", minor=5120, currency="KWD"),
    Money(value="500", minor=500, currency="JPY"),
    Money(value="0.10"),
    Money(value="9007199254740993.00", minor=900719925474099300, currency="EUR"),
    Money(),
]


@pytest.mark.parametrize("amount", MONEY)
def test_money_is_text_as_it_was_said(amount: Money) -> None:
    (event,) = Shop().tell(created(1, total=amount, lines=(Line(unit_price=amount),)))
    expected = {"value": amount.value, "minor": amount.minor, "currency": amount.currency}
    assert data(event)["total"] == data(event)["lines"][0]["unit_price"] == expected
    assert list(data(event)["total"]) == ["value", "minor", "currency"]


@pytest.mark.parametrize(
    ("one", "two", "total"),
    [
        (eur("0.10"), eur("0.20"), ("0.30", 30, "EUR")),
        (Money(value="0.1"), Money(value="0.20"), ("0.30", None, None)),
        (eur("1.00"), Money(value="1", currency="EUR"), ("2.00", None, "EUR")),
        (eur("1.00"), Money(value="1.00", minor=100, currency="USD"), (None, None, None)),
        (Money(value="0.0000001"), Money(value="0.0000002"), ("0.0000003", None, None)),
        (
            Money(value="1", minor=2**63 - 1, currency="EUR"),
            eur("1.00"),
            ("2.00", None, "EUR"),
        ),
    ],
)
def test_money_is_added_exactly(
    one: Money, two: Money, total: tuple[str | None, int | None, str | None]
) -> None:
    shop = Shop()
    shop.tell(created(1))
    for number, amount in enumerate((one, two)):
        fact = msgspec.structs.replace(paid(2 + number, f"pi_{number}"), amount=amount)
        shop.tell(fact)
    found = data(shop.events[-1])["payment"]["paid"]
    assert (found["value"], found["minor"], found["currency"]) == total


@pytest.mark.parametrize(
    ("said", "minor"),
    [
        (Money(value="49.2", minor=4920, currency="EUR"), 9840),
        (Money(value="5", minor=5, currency="ISK"), 10),
        (Money(value="5.120", minor=5120, currency="KWD"), 10240),
        (Money(value="5.005", currency="EUR"), None),
    ],
)
def test_sum_of_refunds_keeps_the_unit(said: Money, minor: int | None) -> None:
    shop = Shop()
    shop.tell(created(1))
    for number in range(2):
        fact = msgspec.structs.replace(created(1), track="refund", state="succeeded")
        shop.tell(msgspec.structs.replace(fact, key=f"re_{number}", amount=said))
    found = data(shop.events[-1])["payment"]["refunded"]
    assert found["minor"] == minor
    assert Decimal(found["value"]) == 2 * Decimal(said.value or 0)


def test_no_event_holds_a_json_float() -> None:
    (event,) = Shop().tell(created(1, total=eur("49.26"), lines=(Line(total=eur("49.26")),)))

    def refuse(digits: str) -> float:
        raise AssertionError(digits)

    json.loads(event.body, parse_float=refuse)


@pytest.mark.parametrize("value", ["1e5", "1.", ".5", "NaN", "١", " 1", "1 ", "", "1,00"])
def test_amount_that_is_no_number_never_leaves(value: str) -> None:
    with pytest.raises(UnfitEvent, match="does not fit its schema"):
        Shop().tell(created(1, total=Money(value=value)))


@pytest.mark.parametrize(
    "fact",
    [
        created(1, order="x" * 256),
        created(1, total=Money(value="1", currency="eur")),
    ],
)
def test_what_does_not_fit_never_leaves(fact: Any) -> None:
    with pytest.raises(UnfitEvent):
        Shop().tell(fact)


def test_no_personal_data_unless_included() -> None:
    shop = Shop()
    (event,) = shop.tell(created(1, customer=CUSTOMER))
    assert not {"customer", "original"} & set(data(event))
    assert b"Ada" not in event.body
    assert b"Ada" not in shop.states[ORDER]
    (event,) = shop.tell(paid(2, customer=CUSTOMER), include=("original",), original=Raw(b"1"))
    assert "customer" not in data(event)


def test_customer_leaves_where_the_source_includes_it() -> None:
    events = Shop().tell(paid(1, customer=CUSTOMER), include=("customer",))
    assert [data(event)["customer"] for event in events] == [CUSTOMER, CUSTOMER]
    (event,) = Shop().tell(created(1), include=("customer",))
    assert "customer" not in data(event)


def test_original_leaves_byte_for_byte() -> None:
    raw = b'{ "a" : 1.10, "\xc3\xbc":null}'
    (event,) = Shop().tell(created(1), include=("original",), original=Raw(raw))
    assert b'"original":' + raw in event.body


def test_money_and_lines_of_nothing() -> None:
    assert money(None) is None
    assert line(Line()).unit_price is None


def test_schema_knows_every_word() -> None:
    definitions = order_schema()["$defs"]
    summary = definitions["OrderSummary"]["properties"]
    assert summary["refund"]["anyOf"][0]["enum"] == ["partial", "full", "unknown"]
    assert "cancelled" in summary["fulfilment"]["anyOf"][0]["enum"]
