"""3YOURMIND: what is asked where, how lists are read, and which options are refused."""

import re
from typing import Any

import pytest

from gateway.errors import ConfigError, Malformed
from gateway.models import Query
from gateway.providers.base import Polled, is_polled
from gateway.providers.threeyourmind import EMPTY_MAP, ENDLESS_MAP, ThreeYourMindOptions
from tests.providers.test_threeyourmind import order, provider, read, reply

SERVICE = "service-panel/services/{service_id}/internal-ordering/orders/{id}/"


def test_how_it_is_asked() -> None:
    asked: Polled = provider()
    assert is_polled(asked)
    assert (asked.name, asked.base_url) == ("threeyourmind", "")
    assert asked.authorize("t0") == {"Authorization": "Token t0"}
    assert asked.order("501") == Query(path="user-panel/orders/501/")
    assert asked.order("a/../b?c#d").path == "user-panel/orders/a%2F..%2Fb%3Fc%23d/"
    assert asked.more(reply(order())) == ()
    assert asked.page(None) == Query(path="user-panel/orders/")
    assert asked.page("2") == Query(path="user-panel/orders/", params=(("page", "2"),))


@pytest.mark.parametrize(
    ("path", "one", "above"),
    [
        (SERVICE, "service-panel/services/4%2F2/internal-ordering/orders/7/", True),
        ("s/{service_id}/orders/{id}", "s/4%2F2/orders/7", True),
        ("s/{service_id}/orders/{id}/status/", "s/4%2F2/orders/7/status/", False),
        ("orders/{id}.json/{service_id}", "orders/7.json/4%2F2", False),
    ],
)
def test_where_the_service_panel_stands(path: str, one: str, above: bool) -> None:
    asked = provider(panel="service", order_path=path, service_id="4/2")
    assert asked.order("7").path == one
    listed = asked.page(None)
    assert (listed is not None) is above
    assert listed is None or listed.path == one.rstrip("/").removesuffix("7")


def test_lists_are_read_page_by_page() -> None:
    listed = provider().read_page(
        reply(
            {
                "count": 3,
                "currentPage": 1,
                "totalPages": 2,
                "pageSize": 2,
                "results": [order(), {"id": "x", "number": 1}],
            }
        )
    )
    assert [entry.number for entry in listed.orders] == ["501", "x"]
    assert listed.cursor == "2"
    assert listed.orders[1].body is None
    whole = listed.orders[0].body
    assert whole is not None
    assert read(whole) == read(order())


@pytest.mark.parametrize(
    ("current", "pages"), [(2, 2), (3, 2), (None, 2), (1, None), ("1", "2"), (True, 9), (1, 0)]
)
def test_the_last_page_has_no_next(current: object, pages: object) -> None:
    body = {"currentPage": current, "totalPages": pages, "results": []}
    assert provider().read_page(reply(body)).cursor is None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "results"),
        ({"results": {}}, r"\$\.results"),
        ({"results": [order(), 7]}, r"\$\.results\[1\]"),
        ({"results": [order(), {"number": 1}]}, r"\$\.results\[1\]\.id: must be"),
    ],
)
def test_malformed_lists(body: object, words: str) -> None:
    with pytest.raises(Malformed, match=words):
        provider().read_page(reply(body))


@pytest.mark.parametrize(
    ("options", "key", "words"),
    [
        ({"panel": "service"}, "order_path", "is required"),
        ({"panel": "service", "service_id": "4"}, "order_path", "is required"),
        ({"order_path": "orders/"}, "order_path", 'must contain "{id}" once'),
        ({"order_path": "{id}/{id}"}, "order_path", 'must contain "{id}" once'),
        ({"order_path": "/orders/{id}"}, "order_path", "below base_url"),
        ({"order_path": "orders?id={id}"}, "order_path", "below base_url"),
        ({"order_path": "orders /{id}"}, "order_path", "below base_url"),
        ({"order_path": "orders/{id}/{line}"}, "order_path", "no other braces"),
        ({"order_path": "{service_id}/{id}"}, "service_id", "is required"),
        ({"order_path": "{service_id}/{id}", "service_id": ""}, "service_id", "is required"),
        ({"service_id": "4"}, "service_id", "is not used"),
        ({"status_path": "status"}, "status_path", "JSON pointer"),
        ({"status_path": "/a~b"}, "status_path", "~0"),
        ({"status_path": ""}, "status_path", "must lead to a value"),
        ({"status_map": {"x": "delivered"}}, "status_map", '"x" leads to "delivered", not to one'),
    ],
)
def test_wrong_options(options: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        ThreeYourMindOptions(**options)
    assert caught.value.path == key


def test_warnings() -> None:
    assert provider(status_map={}).warnings() == (EMPTY_MAP,)
    assert provider(status_map={"x": "printing"}).warnings() == (ENDLESS_MAP,)
    assert provider(status_map={"x": "printing", "y": "cancelled"}).warnings() == ()
