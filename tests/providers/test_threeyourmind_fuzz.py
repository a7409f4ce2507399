"""3YOURMIND: whatever is answered, reading ends in a `Reading`, `Malformed` or `AskFailed`."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import AskFailed, Malformed
from gateway.models import Millis, Reply, Watched
from gateway.providers.reading import is_id
from gateway.providers.threeyourmind import ThreeYourMind, ThreeYourMindOptions
from tests.providers.test_fuzz import NASTY, WHOLE
from tests.unit.order_shop import Shop

pytestmark = pytest.mark.slow

ASKED = Millis(1_760_000_600_000)
WATCHED = Watched(number="501")
PROVIDERS = (
    ThreeYourMind(ThreeYourMindOptions()),
    ThreeYourMind(ThreeYourMindOptions(status_map={"x": "on_hold", "y": "refunded"})),
    ThreeYourMind(ThreeYourMindOptions(status_path="/lines/0/status", status_map={"x": "paid"})),
)
ORDER: dict[str, Any] = {
    "id": 501,
    "fullNumber": "100001-3D-Project-O2",
    "status": "x",
    "dateCreated": "2025-10-09T08:53:20Z",
    "lastModified": "2025-10-09T08:58:20Z",
    "currency": "EUR",
    "totalPrice": {"inclusiveTax": "49.20", "currency": "EUR"},
    "total": "1.00",
    "price": "1.00",
    "additionalInformation": {"reference": "1001"},
    "lines": [{"id": 7, "name": "a", "quantity": 1, "totalPrice": "1.0", "status": "x"}],
    "customer": {"name": "Ada", "email": "a@b.example", "phone": "1"},
    "shippingAddress": {"city": "Bonn"},
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


def check(body: bytes, status: int = 200) -> None:
    reply = Reply(status=status, headers={}, body=body, at=ASKED)
    for provider in PROVIDERS:
        check_order(provider, reply)
        check_page(provider, reply)


def check_order(provider: ThreeYourMind, reply: Reply) -> None:
    try:
        reading = provider.read(WATCHED, [reply])
    except (Malformed, AskFailed):
        return
    assert is_id(reading.event_type)
    for fact in reading.facts:
        assert is_id(fact.order)
        assert all(is_id(found) for found in fact.ids["threeyourmind"])
        assert 0 <= fact.at <= ASKED
    assert Shop().tell(*reading.facts)


def check_page(provider: ThreeYourMind, reply: Reply) -> None:
    try:
        page = provider.read_page(reply)
    except (Malformed, AskFailed):
        return
    for listed in page.orders:
        provider.order(listed.number)
        if listed.body is not None:
            whole = Reply(status=200, headers={}, body=listed.body, at=ASKED)
            assert provider.read(Watched(number=listed.number), [whole]).facts


@pytest.mark.parametrize("body", WHOLE, ids=range(len(WHOLE)))
def test_nasty_bodies(body: bytes) -> None:
    check(body)
    check(b'{"results":[' + body + b"]}")


@pytest.mark.parametrize("name", [*ORDER, "inclusiveTax", "reference", "quantity", "city"])
def test_nasty_values(name: str) -> None:
    place = json.dumps(ORDER | {name: "HERE"})
    if name not in ORDER:
        place = json.dumps(ORDER).replace(f'"{name}": ', f'"{name}": "HERE", "was": ', 1)
    assert '"HERE"' in place
    for nasty in NASTY:
        body = place.replace('"HERE"', nasty, 1).encode("utf-8", "surrogatepass")
        check(body)
        check(b'{"currentPage":1,"totalPages":2,"results":[' + body + b"]}")


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([*ORDER]), VALUES, max_size=5))
def test_any_values(changed: dict[str, Any]) -> None:
    check(json.dumps(ORDER | changed).encode())


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(["results", "currentPage", "totalPages"]), VALUES))
def test_any_pages(changed: dict[str, Any]) -> None:
    page = {"currentPage": 1, "totalPages": 3, "results": [ORDER]}
    check(json.dumps(page | changed).encode())


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=200) | VALUES.map(lambda v: json.dumps(v).encode()), st.integers(100, 999)
)
def test_any_answers(body: bytes, status: int) -> None:
    check(body, status)
