"""An order event that was published says what it said before: the canonical order, read backwards."""

import contextlib
import copy
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.catalogue import example
from gateway.config.values import SHOP as CONFIGURED
from gateway.errors import Unprocessable
from gateway.fitting import SHOP
from gateway.models import Event, Unknown, Verdict
from gateway.orders.tables import OrderType
from gateway.publisher import PublishState
from tests.unit.order_relay import NOW, Relay, essence
from tests.unit.order_shop import (
    NOTHING,
    Shop,
    body,
    charge,
    created,
    data,
    dispute,
    hold,
    linked,
    paid,
    part,
    refund,
    stranger,
    tracked,
)
from tests.unit.test_order_properties_providers import Telling, arrivals, told

EXAMPLES = settings(
    max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
ORDER = "1001"


def made(*facts: Any) -> Event:
    """The last event that another gateway makes of these facts, each told on its own."""
    shop = Shop()
    for fact in facts:
        shop.tell(fact)
    return shop.events[-1]


def written(kind: str, *, order: str = ORDER, **changes: Any) -> dict[str, Any]:
    """An event as a small service writes it by hand; `changes` go into `data`, or `data.change`."""
    change = dict.fromkeys(("id", "what", "value", "amount", "reason", "quantity", "full"))
    change |= dict.fromkeys(("partial", "implied", "additional", "baseline"), False)
    payment: dict[str, Any] = {
        "paid": None,
        "refunded": None,
        "payments": [],
        "refunds": [],
        "disputes": [],
    }
    content: dict[str, Any] = {
        "shop": "default",
        "order": order,
        "aliases": [],
        "ids": {},
        "livemode": None,
        "state": NOTHING,
        "previous": NOTHING,
        "change": change,
        "total": None,
        "lines": [],
        "parts": [],
        "shipment": None,
        "payment": payment,
        "cause": {"provider": "warehouse", "event_id": "7", "type": "left"},
    }
    for name, value in changes.items():
        if name in change:
            change[name] = value
        else:
            content[name] = payment | value if name == "payment" else value
    return {
        "specversion": "1.0",
        "id": f"{kind}-{len(order)}-{order[:1]}",
        "source": "/warehouse",
        "type": f"order.{kind}",
        "time": "2026-01-15T14:30:00Z",
        "data": content,
    }


def eur(value: str) -> dict[str, Any]:
    return {"value": value, "minor": int(value.replace(".", "")), "currency": "EUR"}


# Round trips.


@pytest.mark.parametrize("kind", list(OrderType))
def test_every_example_can_be_published_into_an_empty_gateway(kind: str) -> None:
    event, relay = example(kind), Relay()
    again = relay.made(relay.publish(event))
    assert essence(again) == essence(event)
    assert data(relay.shop.events[0])["change"]["implied"] == (kind != OrderType.CREATED)
    cause = {"provider": "cloudevents", "event_id": f'["{body(event)["source"]}","{event.id}"]'}
    assert data(again)["cause"] == cause | {"type": kind}
    assert body(again)["source"] == "https://second.example.com/sources/published"
    assert relay.publish(event).state is not PublishState.EMITTED


def unnamed(event: Event) -> bool:
    """A refund that is known by the sum so far: its amount hangs on the sum before."""
    return event.type == OrderType.REFUNDED and data(event)["change"]["id"] is None


@EXAMPLES
@given(arrivals())
def test_any_event_can_be_published_into_an_empty_gateway(arrival: list[Telling]) -> None:
    for event in told(arrival).events:
        relay = Relay()
        again = relay.made(relay.publish(event))
        assert again.type == event.type
        if not unnamed(event):
            assert essence(again) == essence(event)


def reopened(events: Sequence[Event]) -> bool:
    return any(data(event)["change"]["what"] == "reopened" for event in events)


@EXAMPLES
@given(arrivals())
def test_what_its_sources_told_is_not_told_again(arrival: list[Telling]) -> None:
    """But for soft cancels, which an event does not show to be soft, and a parcel's older number."""
    first, relay = told(arrival), Relay()
    for telling in arrival:
        more = {"source": telling.source, "provider": telling.source}
        relay.shop.tell(*telling.facts, **more, baseline=telling.baseline)
    before = len(relay.shop.events)
    for event in first.events:
        relay.publish(event)
    again = [event for event in relay.shop.events[before:] if not unnamed(event)]
    changes = [data(event)["change"]["what"] for event in again]
    assert [what for what in changes if what != "shipment"] == [] or reopened(first.events)


# What is not told by one event alone.


def test_a_hold_that_ends_is_told_though_its_begin_was_not() -> None:
    event, relay = made(created(1), hold(2, "paper"), hold(3)), Relay()
    assert relay.publish(event).state is PublishState.EMITTED
    assert relay.shop.types() == ["created", "updated"]
    late = Relay()
    late.shop.tell(created(1))
    assert (
        late.publish(event).state is PublishState.MERGED
    )  # of an order that is known, the hold counts
    held = Relay()
    held.shop.tell(created(1))
    held.shop.tell(hold(2, "paper"))
    held.publish(event)
    assert held.shop.state().hold == ""


def test_a_name_that_is_learnt_leads_to_the_order() -> None:
    shop, relay = Shop(), Relay()
    shop.tell(stranger(created(1), "stripe:cs_1", own="cs_1", unknown=Unknown.OWN))
    shop.tell(linked(paid(2, "pi_1"), "stripe:cs_1"))
    for event in shop.events:
        assert relay.made(relay.publish(event)).type == event.type
    assert [data(event)["change"]["what"] for event in relay.shop.events][1] == "alias"
    assert relay.shop.state("cs_1").aliases == [ORDER]
    relay.shop.tell(part(5, "printing"))
    assert data(relay.shop.events[-1])["order"] == "cs_1"


def test_the_name_of_another_order_stays_its_own() -> None:
    relay = Relay()
    relay.shop.tell(created(1))
    event = written("updated", order="cs_1", what="alias", value=ORDER)
    relay.publish(event)
    relay.shop.tell(part(5, "printing"))
    assert data(relay.shop.events[-1])["order"] == ORDER


def test_a_payment_that_several_tell_is_one_event() -> None:
    relay = Relay()
    relay.shop.tell(linked(paid(2, "pi_1", "49.26"), "stripe:pi_1"))
    event = written("paid", id="pi_1", amount=eur("49.26"))
    accepted = relay.publish(event)
    assert (accepted.id, accepted.state) == (None, PublishState.MERGED)
    assert relay.shop.types() == ["created", "paid"]


def test_an_event_that_names_both_links_what_waits() -> None:
    relay = Relay()
    relay.shop.tell(stranger(refund(5, "re_1", "5.00"), "stripe:pi_1"))
    assert relay.shop.verdict() is Verdict.UNLINKED
    accepted = relay.publish(written("paid", id="pi_1", amount=eur("49.26")))
    assert relay.shop.types() == ["created", "paid", "refunded"]
    assert relay.made(accepted).type == OrderType.PAID


def test_a_customer_of_many_orders_links_nothing() -> None:
    relay = Relay()
    relay.publish(written("paid", order="1", id="pi_1", ids={"stripe": ["cus_1", "pi_1"]}))
    relay.publish(written("paid", order="2", id="pi_2", ids={"stripe": ["cus_1", "pi_2"]}))
    assert [event.order for event in relay.shop.events] == ["1", "1", "2", "2"]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({}, "warehouse:1001"),
        ({"id": "7"}, "warehouse:7"),
        ({"id": "7", "parts": ["printstudio:7"]}, "printstudio:7"),
        ({"parts": ["printstudio:7"]}, "printstudio:7"),
        ({"parts": ["printstudio:7", "tiger:8"]}, "warehouse:1001"),
        ({"id": "7", "parts": ["printstudio:7", "warehouse:7"]}, "warehouse:7"),
    ],
)
def test_which_provider_order_it_is(changes: dict[str, Any], key: str) -> None:
    rest: dict[str, Any] = {"state": "created", "shipped": None, "cancelled": None}
    parts = [
        {"provider": name.split(":")[0], "id": name.split(":")[1], "shipment": None, **rest}
        for name in changes.get("parts", [])
    ]
    relay = Relay()
    relay.publish(written("shipped", **changes | {"parts": parts}))
    assert list(relay.shop.state().fulfilments) == [key]


def test_without_an_id_the_order_itself_is_cancelled() -> None:
    relay = Relay()
    relay.shop.tell(part(1, "printing"))
    relay.publish(written("cancelled"))
    assert relay.shop.state().fulfilment() == "cancelled"


def test_what_was_overtaken_is_superseded() -> None:
    relay = Relay()
    relay.shop.tell(part(1, "shipped", "warehouse:1001"))
    accepted = relay.publish(written("printing"))
    assert (accepted.id, accepted.state) == (None, PublishState.SUPERSEDED)


def test_sums_count_into_the_payment_that_is_known() -> None:
    relay = Relay()
    relay.shop.tell(paid(1, "pi_1", "49.26"))
    relay.shop.tell(charge(2, "5.00", "pi_1"))
    first = relay.shop.events[-1]
    assert relay.publish(first).state is PublishState.MERGED
    relay.shop.tell(charge(3, "12.00", "pi_1"))
    assert data(relay.shop.events[-1])["payment"]["refunded"]["value"] == "12.00"


def test_a_sum_of_one_of_several_payments_is_not_added_to_theirs() -> None:
    relay = Relay()
    relay.shop.tell(paid(1, "pi_1", "49.26"))
    relay.shop.tell(paid(2, "pi_2", "49.26"))
    relay.shop.tell(charge(3, "5.00", "pi_2"))
    assert relay.publish(relay.shop.events[-1]).state is PublishState.MERGED
    refunded = relay.shop.state().refund_sum()
    assert refunded is not None
    assert refunded.value == "5.00"


def test_without_a_time_it_happened_now() -> None:
    relay = Relay()
    event = written("paid")
    del event["time"]
    assert relay.made(relay.publish(event)).time == NOW


def test_an_id_of_any_length_is_one() -> None:
    relay = Relay()
    event = written("paid") | {"id": "x" * 5_000}
    cause = data(relay.made(relay.publish(event)))["cause"]
    assert cause["event_id"].startswith("sha256:")


def test_personal_data_stay_with_the_callback() -> None:
    relay = Relay()
    event = written("paid", customer={"email": "a@example.com"}, original={"any": [1]})
    assert {"customer", "original"}.isdisjoint(data(relay.made(relay.publish(event))))
    assert b"a@example.com" in relay.store.intakes[0].callback.body


def test_what_the_gateway_derives_is_its_own() -> None:
    relay = Relay()
    event = written("paid", amount=eur("5.00"), additional=True, baseline=True)
    event |= {"orderseq": 70, "partitionkey": "x", "recordedtime": "2020-01-01T00:00:00Z"}
    again = relay.made(relay.publish(event))
    assert (again.seq, again.recorded) == (2, NOW)
    change = data(again)["change"]
    assert (change["additional"], change["baseline"]) == (False, False)
    assert data(again)["payment"]["paid"]["value"] == "5.00"


# What does not fit.

MONEY = {"value": "5.00", "minor": 500, "currency": "EUR"}
PART = {"provider": "a", "id": "7", "state": "created", "shipped": None, "cancelled": None}


@pytest.mark.parametrize(
    ("event", "path"),
    [
        (written("lost"), "$.type: "),
        (written("paid") | {"data": None}, "$.data: "),
        (written("paid") | {"datacontenttype": "text/plain"}, "$.data: "),
        (written("paid") | {"subject": "1002"}, "$.subject: "),
        (written("paid") | {"gatewaytest": True}, "$.gatewaytest: "),
        (written("paid") | {"gatewaytest": "true"}, "$.gatewaytest: "),
        (written("paid", extra=1), "$.data: "),
        (written("paid", order=""), "$.data.order: "),
        (written("paid", order="a\nb"), "$.data.order: "),
        (written("paid", shop="a b"), "$.data.shop: "),
        (written("paid", lines=[{"id": 5}]), "$.data.lines[0].id: "),
        (written("paid", amount=MONEY | {"value": "5,00"}), "$.data.change.amount.value: "),
        (written("paid", amount=MONEY | {"value": "-5.00", "minor": -500}), "change.amount.value"),
        (written("paid", amount=MONEY | {"minor": 501}), "$.data.change.amount.minor: "),
        (written("paid", amount=MONEY | {"currency": None}), "$.data.change.amount.minor: "),
        (written("paid", amount=MONEY | {"value": "5" * 41}), "$.data.change.amount.value: "),
        (written("paid", amount=MONEY | {"value": "5.00\n"}), "$.data.change.amount.value: "),
        (written("paid", reason="x" * 2_001), "$.data.change.reason: "),
        (written("paid", ids={"stripe": ["a\x00"]}), "$.data.ids.stripe[0]: "),
        (written("shipped", partial=True), "$.data.change.quantity: "),
        (written("shipped", partial=True, quantity=0), "$.data.change.quantity: "),
        (written("shipped", quantity=2**70), "$.data.change.quantity: "),
        (written("shipped", parts=[PART | {"provider": "a:b", "shipment": None}]), "parts[0]"),
        (
            written(
                "shipped", id="7", parts=[PART | {"provider": p, "shipment": None} for p in "ab"]
            ),
            "$.data.cause.provider: ",
        ),
        (written("refunded", amount=MONEY), "$.data.payment.refunded: "),
        (written("disputed"), "$.data.change.id: "),
        (written("on_hold"), "$.data.change.reason: "),
        (written("updated"), "$.data.change.what: "),
        (written("updated", what="status"), "$.data.change.value: "),
        (written("updated", what="fulfilment", value="shipped"), "$.data.change.value: "),
        (written("updated", what="hold", value="begun"), "$.data.change.value: "),
        (written("updated", what="refund", value="new", id="re_1"), "$.data.change.value: "),
        (written("updated", what="shipment", value="GLS1"), "$.data.shipment: "),
        (written("updated", what="amount", value="5"), "$.data.change.amount: "),
        (written("updated", what="alias", value="x" * 300), "$.data.change.value: "),
    ],
)
def test_what_does_not_fit_is_named(event: dict[str, Any], path: str) -> None:
    relay = Relay()
    with pytest.raises(Unprocessable) as refused:
        relay.publish(event)
    assert path in str(refused.value)
    assert relay.store.intakes == []


def test_the_shop_that_was_asked_for_has_to_agree() -> None:
    relay = Relay()
    with pytest.raises(Unprocessable, match=r"\$\.data\.shop"):
        relay.publish(written("paid"), shop="north")
    assert relay.publish(written("paid"), shop="default").state is PublishState.EMITTED
    assert CONFIGURED.pattern == SHOP.pattern


# Whatever comes.

NAMES = ["1001", "1002", "pi_1", "re_1", "ch_1", "7", "stripe", "printstudio", "a:b"]
WORDS = ["hold", "released", "refund", "failed", "amount", "alias", "shipment", "status", "dispute"]
ODD = ["", "-1", "1e9", "9" * 41, "0", "5.00", "a\x1fb", "\x00", "x" * 300, "name:1001", "EUR"]
TEXTS = st.text(max_size=4) | st.sampled_from([*NAMES, *WORDS, *ODD, "paid", "closed", "created"])
NUMBERS = st.integers(-(2**70), 2**70) | st.integers(-1, 3) | st.just(500)
LEAVES = st.none() | st.booleans() | NUMBERS | st.floats(-9, 9) | TEXTS
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


def like(value: Any) -> st.SearchStrategy[Any]:
    """Mostly what the schema may take in the place of this value."""
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int):
        return NUMBERS | st.none()
    if isinstance(value, dict | list):
        return st.none() | st.just([])
    return TEXTS | st.none() | NUMBERS


STORIES = [
    *(body(example(kind)) for kind in OrderType),
    body(made(created(1), paid(2, "pi_1", "49.26"), charge(3, "5.00"))),
    body(made(created(1), tracked(2, "shipped", "GLS1", quantity=2))),
    body(made(created(1), dispute(2, "open"), dispute(3, "closed"))),
    body(made(created(1), part(2, "shipped"), tracked(3, "shipped", "GLS1"))),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in JSON."""
    found = [path]
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for name, one in inner:
            found += places(one, (*path, name))
    return found


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A real event, some of whose data is something else."""
    event: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(STORIES)))
    for _ in range(draw(st.integers(1, 4))):
        path: list[Any] = ["data", *draw(st.sampled_from(places(event["data"])))]
        target: Any = event
        for name in path[:-1]:
            target = target[name]
        rarely = draw(st.integers(0, 9)) == 9
        target[path[-1]] = draw(ANYTHING if rarely else like(target[path[-1]]))
    return event | {"type": draw(st.sampled_from([event["type"], *OrderType]))}


@settings(EXAMPLES, max_examples=300)
@given(st.lists(damaged(), min_size=1, max_size=3))
def test_whatever_data_come_are_taken_or_refused(events: list[dict[str, Any]]) -> None:
    relay = Relay()
    for event in events:
        with contextlib.suppress(Unprocessable):
            accepted = relay.publish(event)
            assert (accepted.id is None) == (accepted.state is not PublishState.EMITTED)
