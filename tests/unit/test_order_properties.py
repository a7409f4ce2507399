"""What holds for any arrival of an order's facts, from any mix of sources, any number of times."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gateway.events import binary, order_schema, parse
from gateway.models import Entry, Event, Fact, Millis, Money, Origin, Shipment, Track, Unknown
from gateway.orders.tables import RANKS
from tests.unit.order_shop import (
    NOTHING,
    ORDER,
    PART,
    TRACE,
    Shop,
    body,
    change,
    charge,
    created,
    data,
    dispute,
    eur,
    failed,
    hold,
    linked,
    paid,
    part,
    refund,
    stranger,
    tracked,
)

pytestmark = pytest.mark.slow

EXAMPLES = settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
FEW = settings(EXAMPLES, max_examples=40)
OTHER = "printeers:8"
INTENT, CHARGE = "stripe:pi_1", "stripe:ch_1"
VALIDATOR = Draft202012Validator(order_schema())


def stripes(fact: Fact) -> Fact:
    """As Stripe tells it: by ids that a session links to the order."""
    return stranger(fact, INTENT, CHARGE, own="pi_1")


SESSION = linked(created(0, total=eur("10.00"), livemode=True), INTENT, CHARGE)
POOL: Sequence[Fact] = (
    created(0),
    created(0, total=eur("12.00"), ids={"printstudio": ("7",)}),
    paid(0),
    paid(0, implied=True),
    paid(0, "pi_2", "2.00"),
    stripes(paid(0, "pi_1", "10.00")),
    stripes(failed(0, "pi_1")),
    failed(0),
    failed(0, "pi_3"),
    *(
        stripes(refund(0, key, amount, state))
        for key, amount in (("re_1", "4.00"), ("re_2", "6.00"))
        for state in ("pending", "succeeded", "failed")
    ),
    stripes(charge(0, "4.00")),
    stripes(charge(0, "10.00")),
    refund(0, None),
    *(stripes(dispute(0, state, key)) for key in ("dp_1", "dp_2") for state in ("open", "closed")),
    hold(0, "address"),
    hold(0, "material"),
    hold(0),
    *(part(0, state, key) for key in (PART, OTHER) for state in (*RANKS, "cancelled")),
    part(0, "cancelled", soft=True),
    part(0, "cancelled", None, soft=True),
    part(0, "cancelled", None),
    part(0, "shipped", quantity=1),
    part(0, "shipped", quantity=2),
    part(0, "cancelled", quantity=1),
    tracked(0, "shipped", "JJD1"),
    tracked(0, "ready", "JJD2"),
    change(0, "deadline", "Friday"),
    change(0, "deadline", "Monday"),
)
SOURCES = ("stripe-live", "studio", "poll")


def at_times(facts: Sequence[Fact], times: Sequence[int]) -> list[Fact]:
    return [
        msgspec.structs.replace(fact, at=Millis(1_750_000_000_000 + time))
        for fact, time in zip(facts, times, strict=True)
    ]


@st.composite
def histories(draw: st.DrawFn, *, distinct: bool) -> list[Fact]:
    """Facts of one order, with the session that links Stripe's, in the order in which they happened."""
    facts = draw(st.lists(st.sampled_from(POOL), min_size=1, max_size=10))
    facts.insert(draw(st.integers(0, len(facts))), SESSION)
    times = st.lists(
        st.integers(0, 20 if not distinct else 10_000),
        min_size=len(facts),
        max_size=len(facts),
        unique=distinct,
    )
    return at_times(facts, draw(times))


@st.composite
def arrivals(draw: st.DrawFn) -> list[tuple[str, list[Fact]]]:
    """Any order and duplication of a history, in callbacks of one or two facts, from any source."""
    history = draw(histories(distinct=False))
    more = draw(st.lists(st.sampled_from(history), max_size=8))
    facts = draw(st.permutations([*history, *more]))
    found: list[tuple[str, list[Fact]]] = []
    while facts:
        size = draw(st.integers(1, 2))
        found.append((draw(st.sampled_from(SOURCES)), facts[:size]))
        facts = facts[size:]
    return found


def told(arrival: Sequence[tuple[str, list[Fact]]]) -> Shop:
    shop = Shop()
    for source, facts in arrival:
        shop.tell(*facts, source=source, provider=source)
    return shop


def whole(event: Event) -> bool:
    return not data(event)["change"]["partial"]


@EXAMPLES
@given(arrivals())
def test_events_of_an_order(arrival: list[tuple[str, list[Fact]]]) -> None:
    shop = told(arrival)
    assert shop.waiting == {}
    kinds = shop.types()
    assert kinds[0] == "created"
    assert kinds.count("created") == 1
    assert [event.seq for event in shop.events] == list(range(1, len(kinds) + 1))
    assert shop.seqs == {ORDER: len(kinds)}
    assert len({event.id for event in shop.events}) == len(kinds)
    assert data(shop.events[0])["previous"] == NOTHING


@EXAMPLES
@given(arrivals())
def test_nothing_is_told_twice(arrival: list[tuple[str, list[Fact]]]) -> None:
    """Without trusting ids: what an event says has happened, no other event says."""
    shop = told(arrival)
    seen: list[tuple[Any, ...]] = []
    for kind, event in zip(shop.types(), shop.events, strict=True):
        change = data(event)["change"]
        if kind == "updated":
            seen.append((kind, change["what"], change["id"], change["value"], event.time))
        elif kind == "on_hold":
            seen.append((kind, data(event)["state"]["hold"], event.time))
        elif kind != "cancelled":  # it may come again when an expiry was undone
            amount = change["id"] or change["amount"] if kind == "refunded" else None
            seen.append((kind, change["id"], change["quantity"], str(amount)))
    assert len(seen) == len(set(seen))
    named = [
        data(e)["change"] for k, e in zip(shop.types(), shop.events, strict=True) if k == "paid"
    ]
    assert sum(not change["additional"] for change in named) <= 1


@EXAMPLES
@given(arrivals())
def test_rank_of_a_provider_order_never_falls(arrival: list[tuple[str, list[Fact]]]) -> None:
    highest: dict[str, int] = {}
    for event in filter(whole, told(arrival).events):
        change = data(event)["change"]
        state = event.type.removeprefix("order.")
        if change["what"] == "fulfilment":
            state = change["value"]
        if state not in RANKS or state == "created":
            continue
        assert RANKS[state] > highest.get(change["id"], -1)
        highest[change["id"]] = RANKS[state]


@EXAMPLES
@given(arrivals())
def test_refunds_that_were_told_add_up(arrival: list[tuple[str, list[Fact]]]) -> None:
    """As long as none failed and each has an amount, their sum is what the last of them says."""
    facts = [fact for _, found in arrival for fact in found if fact.track is Track.REFUND]
    if any(fact.state == "failed" or not (fact.amount or fact.cumulative) for fact in facts):
        return
    if sums_fall(facts):
        return
    minor = 0
    for event in told(arrival).events:
        if event.type == "order.refunded":
            minor += data(event)["change"]["amount"]["minor"]
            assert data(event)["payment"]["refunded"]["minor"] == minor


def sums_fall(facts: Sequence[Fact]) -> bool:
    """Whether a charge said less later: something failed that nobody told."""
    sums = sorted((fact.at, fact.cumulative.minor or 0) for fact in facts if fact.cumulative)
    return [minor for _, minor in sums] != sorted(minor for _, minor in sums)


def tracks(shop: Shop) -> bytes:
    """The saved state without what depends on the order of arrival."""
    (order,) = shop.states
    state = shop.state(order)
    state.order, state.seq, state.told, state.aliases = "", 0, set(), []
    return msgspec.json.encode(state, order="deterministic")


@EXAMPLES
@given(histories(distinct=False).flatmap(lambda h: st.tuples(st.just(h), st.permutations(h))))
def test_permutations_end_in_the_same_state(orders: tuple[list[Fact], list[Fact]]) -> None:
    """Even when some of them happened in one second."""
    first, second = (told([("studio", [fact]) for fact in order]) for order in orders)
    assert tracks(first) == tracks(second)
    assert first.links == second.links


STRIPE_ONLY = [fact for fact in POOL if fact.order is None]
UNNAMED = msgspec.structs.replace(SESSION, order=None, own="cs_1", unknown=Unknown.OWN)
NAMED_INTENT = linked(paid(0, "pi_1", "10.00"), INTENT, CHARGE)


@EXAMPLES
@given(st.lists(st.sampled_from(STRIPE_ONLY), max_size=6), st.data())
def test_permutations_with_an_unnamed_session_end_in_one_order(
    some: list[Fact], more: st.DataObject
) -> None:
    """Under the session's id with the name as its alias, or under the name: the tracks are one."""
    facts = [*some, UNNAMED, NAMED_INTENT]
    history = at_times(facts, more.draw(st.permutations(range(len(facts)))))
    first, second = (
        told([("stripe-live", [fact]) for fact in more.draw(st.permutations(history))])
        for _ in range(2)
    )
    for shop in (first, second):
        assert shop.waiting == {}
        (order,) = shop.states
        assert order == ORDER or shop.state(order).aliases == [ORDER]
    assert tracks(first) == tracks(second)


@EXAMPLES
@given(histories(distinct=True), st.data())
def test_repeats_change_no_state(history: list[Fact], more: st.DataObject) -> None:
    once = told([("studio", [fact]) for fact in history])
    again = more.draw(st.lists(st.sampled_from(history), max_size=6))
    twice = told([("studio", [fact]) for fact in (*history, *again)])
    assert tracks(once) == tracks(twice)
    assert [event.id for event in once.events] == [event.id for event in twice.events]


@FEW
@given(arrivals())
def test_decide_is_deterministic(arrival: list[tuple[str, list[Fact]]]) -> None:
    first, second = told(arrival), told(arrival)
    assert first.events == second.events
    assert first.states == second.states
    assert first.notes == second.notes


def test_decide_changes_nothing_that_it_is_given() -> None:
    shop = Shop()
    shop.tell(stripes(paid(1, "pi_1", "1.00")))
    shop.tell(created(1), part(2, "printing"))
    origin = Origin(
        source="shop",
        provider="stripe",
        shop="default",
        event_id="e",
        event_type="t",
        recorded=Millis(1),
        traceparent=TRACE,
    )
    entries = [Entry(fact=SESSION, origin=origin)]
    known = shop.known(entries)
    before = msgspec.json.encode((entries, known), order="deterministic")
    first, second = (shop.orders.decide(entries, known) for _ in range(2))
    assert msgspec.json.encode((entries, known), order="deterministic") == before
    assert first == second
    assert first.linked


@FEW
@given(arrivals())
def test_events_fit_their_schema(arrival: list[tuple[str, list[Fact]]]) -> None:
    for event in told(arrival).events:
        VALIDATOR.validate(data(event))


names = st.text(
    st.characters(min_codepoint=1, exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20
)
amounts = st.decimals(0, 10**20, places=2).map(
    lambda value: Money(value=format(value, "f"), currency="EUR")
)
strange_facts = st.builds(
    Fact,
    track=st.just(Track.FULFILMENT),
    at=st.integers(0, 253_402_300_799_999).map(Millis),
    state=st.sampled_from(sorted(RANKS)),
    key=names.map(lambda name: f"studio:{name}"),
    order=names,
    total=amounts,
    shipment=st.builds(Shipment, tracking_number=names, carrier=names),
    customer=st.fixed_dictionaries({"name": names}),
)


@settings(EXAMPLES, max_examples=100)
@given(strange_facts, names, st.sampled_from(["", "https://hooks.example.com/"]))
def test_sdk_reads_back_the_same_event(fact: Fact, event_id: str, url: str) -> None:
    """In structured and binary mode, whatever a provider's texts hold."""
    shop = Shop(url)
    more = {"event_id": event_id, "include": ("customer",)}
    for event in shop.tell(fact, **more):
        VALIDATOR.validate(data(event))
        expected = body(event)
        content = expected.pop("data")
        assert content["customer"] == fact.customer
        assert all(str(value).isascii() for value in expected.values())
        headers, payload = binary(event.body)
        texts = {name: str(value) for name, value in expected.items()}
        for kind, found_headers, found_body, wanted in (
            ("structured", {"content-type": "application/cloudevents+json"}, event.body, expected),
            ("binary", dict(headers), payload, texts),
        ):
            read = parse(found_headers, found_body)
            attributes = dict(read.get_attributes())
            moment = attributes.pop("time")
            assert round(moment.timestamp() * 1000) == fact.at, kind
            assert attributes == {k: v for k, v in wanted.items() if k != "time"}, kind
            assert read.get_data() == content, kind


def test_large_amounts_stay_exact() -> None:
    """Forty digits are let in, and their sums are not rounded."""
    shop = Shop()
    value = "9" * 40
    for fact in (paid(1, "pi_1"), paid(2, "pi_2"), refund(3, "re_1"), refund(4, "re_2")):
        shop.tell(msgspec.structs.replace(fact, amount=Money(value=value)))
    payment = data(shop.events[-1])["payment"]
    assert payment["paid"]["value"] == payment["refunded"]["value"] == str(2 * int(value))
    assert data(shop.events[-1])["change"]["full"] is True
