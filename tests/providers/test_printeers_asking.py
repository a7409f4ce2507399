"""Printeers: what is asked, answers that say no, the list, options, and any bytes."""

import json
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
from gateway.models import Listed, Page, Query, Reading, Watched
from gateway.providers.base import Polled, is_polled
from gateway.providers.printeers import Printeers, PrinteersOptions
from tests.providers.printeers_replies import (
    CREATED,
    MAP,
    OPEN,
    REF,
    order,
    provider,
    read,
    reply,
    shipment,
    told,
)
from tests.unit.order_shop import Shop

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


@settings(max_examples=100, deadline=None)
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
