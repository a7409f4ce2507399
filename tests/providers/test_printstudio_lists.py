"""PrintStudio, asked: lists, the registration of an endpoint, and answers that nobody expects."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import AskFailed, Malformed, Throttled, TokenRefused
from gateway.models import Listed, Query, Reply, Watched
from gateway.providers.printstudio import ORDER_EVENTS
from tests.providers.callbacks import as_bytes
from tests.providers.printstudio_replies import (
    ASKED,
    NUMBER,
    ORDER,
    answered,
    error,
    listed,
    many,
    provider,
    read,
)
from tests.providers.test_fuzz import JSON, NASTY, WHOLE, places, replaced

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
    ({"data": many(100), "total": 250, "page": 2, "limit": 100}, {"cursor": "4"}, "5"),
    # What it says of itself may be a cap, or nonsense.
    ({"orders": many(50), "limit": 50}, {"cursor": None}, "2"),
    ({"orders": many(50), "limit": 100}, {"cursor": None}, None),
    ({"orders": many(100), "limit": 0, "page": "x"}, {"cursor": None}, "2"),
    ({"orders": many(100), "limit": True}, {"cursor": None}, "2"),
    # Nobody knows which page it is.
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
