"""Design 6.2 as a table: facts of one order, told one by one, and what follows from them."""

from collections.abc import Sequence
from typing import Any

import pytest

from gateway.models import Fact, Money, Shipment, Track, Unknown, Verdict
from gateway.orders.state import OrderState, save
from gateway.orders.tables import (
    FULFILMENT_TYPES,
    OCCURRENCES,
    PAYMENT_RANKS,
    RANKS,
    REFUND_RANKS,
    OrderType,
)
from tests.unit.order_money_rows import PAYMENT, REFUND
from tests.unit.order_rows import FULFILMENT, REST, SOFT
from tests.unit.order_shop import (
    NOTHING,
    ORDER,
    START,
    Shop,
    at,
    body,
    change,
    charge,
    created,
    data,
    dispute,
    eur,
    failed,
    hold,
    identity,
    linked,
    paid,
    part,
    refund,
    tracked,
)

FLAGS = ("implied", "additional", "partial")


ROWS = {
    f"{table}: {name}": row
    for table, rows in {
        "fulfilment": FULFILMENT,
        "soft": SOFT,
        "payment": PAYMENT,
        "refund": REFUND,
        "rest": REST,
    }.items()
    for name, row in rows.items()
}


@pytest.mark.parametrize("name", ROWS)
def test_facts_make_these_events(name: str) -> None:
    facts, expected, words = ROWS[name]
    shop = Shop()
    for fact in facts:
        shop.tell(fact)
    flags = [
        " ".join(flag for flag in FLAGS if data(event)["change"][flag]) for event in shop.events
    ]
    assert list(zip(shop.types(), flags, strict=True)) == [(e.kind, e.flags) for e in expected]
    assert [event.id for event in shop.events] == [
        identity(e.kind, *e.occurrence) for e in expected
    ]
    assert [event.seq for event in shop.events] == list(range(1, len(expected) + 1))
    if expected:
        assert summary(shop) == NOTHING | words


def summary(shop: Shop) -> dict[str, Any]:
    """The order in five words after all that was told: that of a probe which changes nothing."""
    (event,) = shop.tell(change(99, "probe", "now"))
    state = data(event)["state"]
    assert isinstance(state, dict)
    return state


def test_every_type_and_state_has_a_row() -> None:
    """A type that no row makes, or a state that no row tells, would be a hole in the table."""
    kinds = {f"order.{e.kind}" for _, expected, _ in ROWS.values() for e in expected}
    assert kinds == set(OrderType) == set(OCCURRENCES)
    told = {(fact.track, fact.state) for facts, _, _ in ROWS.values() for fact in facts}
    states = {Track.FULFILMENT: {*RANKS, "cancelled"}, Track.PAYMENT: set(PAYMENT_RANKS)}
    states |= {Track.REFUND: set(REFUND_RANKS), Track.DISPUTE: {"open", "closed"}}
    assert told >= {(track, state) for track, found in states.items() for state in found}
    assert set(FULFILMENT_TYPES) == {*RANKS, "cancelled"}


VERDICTS: dict[str, tuple[Sequence[Fact], Verdict, str]] = {
    "a repeat": ([created(1), created(2)], Verdict.MERGED, "made before"),
    "below the rank": ([part(2, "ready"), part(1, "printing")], Verdict.SUPERSEDED, "is ready by"),
    "after a cancel": ([part(2, "cancelled"), part(3, "ready")], Verdict.SUPERSEDED, "cancelled"),
    "a failure after success": (
        [paid(1, "pi_1"), failed(2, "pi_2")],
        Verdict.SUPERSEDED,
        "has succeeded",
    ),
    "a name for a payment": ([paid(1), paid(2, "pi_1")], Verdict.MERGED, "is pi_1"),
    "no name for a payment": ([paid(1, "pi_1"), paid(2)], Verdict.MERGED, "with a name"),
    "a pending refund": ([refund(1, "re_1", "1.00", "pending")], Verdict.MERGED, "pending"),
    "an older dispute": (
        [dispute(2, "closed"), dispute(1, "open")],
        Verdict.SUPERSEDED,
        "something later",
    ),
    "an older hold": ([hold(2, "a"), hold(1, "b")], Verdict.SUPERSEDED, "something later"),
    "a void soft cancel": (
        [paid(1), part(2, "cancelled", soft=True)],
        Verdict.SUPERSEDED,
        "cancels nothing",
    ),
    "an amount": ([paid(1), paid(2, "pi_1", "1.00")], Verdict.EVENT, ""),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_last_fact_gets_the_verdict_and_says_why(name: str) -> None:
    facts, verdict, reason = VERDICTS[name]
    shop = Shop()
    for fact in facts:
        shop.tell(fact)
    (note,) = shop.notes[shop.callbacks]
    assert (note.verdict, shop.verdict(), note.order) == (verdict, verdict, ORDER)
    assert reason in note.reason
    assert bool(note.reason) is (verdict is not Verdict.EVENT)


def test_callback_gets_the_strongest_verdict() -> None:
    shop = Shop()
    shop.tell(created(1), paid(1, "pi_1"))
    shop.tell(created(2), paid(2, "pi_2"))
    assert [note.verdict for note in shop.notes[2]] == [Verdict.MERGED, Verdict.EVENT]
    assert shop.verdict() is Verdict.EVENT
    shop.tell(created(3), failed(3, "pi_3"))
    assert shop.verdict() is Verdict.MERGED


def test_notes_name_the_events() -> None:
    shop = Shop()
    events = shop.tell(part(2, "printing"))
    (note,) = shop.notes[1]
    assert note.events == tuple(event.id for event in events)
    assert len(note.events) == 2


def test_implied_created_says_the_order_before_the_fact() -> None:
    """So that a consumer who acts on a state that is new to it acts once."""
    shop = Shop()
    first, second = shop.tell(paid(2, "pi_1", "49.26", total=eur("49.26"), reason="why"))
    begun, payment = data(first), data(second)
    assert begun["state"] == begun["previous"] == NOTHING
    assert begun["payment"]["payments"] == begun["parts"] == []
    assert begun["total"] == {"value": "49.26", "minor": 4926, "currency": "EUR"}
    assert begun["change"] == payment["change"] | {
        "implied": True,
        "id": None,
        "amount": None,
        "reason": None,
    }
    assert payment["previous"] == NOTHING
    assert payment["state"] == NOTHING | {"payment": "paid"}
    assert payment["change"]["id"] == "pi_1"
    assert payment["change"]["reason"] == "why"
    assert not payment["change"]["implied"]


def test_previous_is_the_state_of_the_event_before() -> None:
    shop = Shop()
    shop.tell(part(1, "printing"))
    shop.tell(paid(2, "pi_1", "4.00"))
    shop.tell(refund(3, "re_1", "1.00"))
    shop.tell(hold(4, "address"))
    shop.tell(dispute(5, "open"))
    states = [data(event)["state"] for event in shop.events]
    assert [data(event)["previous"] for event in shop.events] == [NOTHING, *states[:-1]]


def test_created_by_several_facts_of_a_callback() -> None:
    shop = Shop()
    events = shop.tell(created(1), paid(1, "pi_1", "1.00"))
    assert [data(event)["change"]["implied"] for event in events] == [False, False]
    assert [data(event)["state"]["payment"] for event in events] == [None, "paid"]


def test_change_names_the_provider_order() -> None:
    """Under the id that it has among the parts."""
    shop = Shop()
    *_, event = shop.tell(part(1, "printing"))
    assert data(event)["change"]["id"] == data(event)["parts"][0]["id"] == "7"
    assert data(event)["parts"][0]["provider"] == "printstudio"


def test_refund_says_how_much_in_all() -> None:
    shop = Shop()
    shop.tell(created(1), paid(1, "pi_1", "10.00"))
    seen = []
    for fact in (
        refund(2, "re_1", "4.00"),
        charge(3, "10.00"),
        refund(3, "re_2", "6.00"),
        refund(4, "re_2", "6.00", "failed"),
    ):
        for event in shop.tell(fact):
            change, payment = data(event)["change"], data(event)["payment"]
            seen.append((change["amount"]["value"], payment["refunded"]["value"], change["full"]))
    assert seen == [("4.00", "4.00", False), ("6.00", "10.00", True), ("6.00", "4.00", None)]


def test_unnamed_refund_tells_only_what_is_new() -> None:
    shop = Shop()
    shop.tell(refund(1, "re_1", "4.00"))
    (event,) = shop.tell(charge(2, "10.00"))
    assert data(event)["change"]["amount"] == {"value": "6.00", "minor": 600, "currency": "EUR"}
    assert data(event)["change"]["id"] is None


@pytest.mark.parametrize(
    ("amount", "full"),
    [
        (Money(value="10.00", minor=1000, currency="EUR"), True),
        (Money(value="10.00", minor=1000, currency="USD"), None),
        (Money(value="10.00"), True),
        (Money(value="9.99"), False),
        (Money(value="10.01"), True),
    ],
)
def test_full_compares_like_with_like(amount: Money, full: bool | None) -> None:
    shop = Shop()
    shop.tell(paid(1, "pi_1", "10.00"))
    (event,) = shop.tell(refund(2, "re_1"))
    assert data(event)["change"]["full"] is None
    (event,) = shop.tell(
        Fact(
            track=Track.REFUND, at=at(3), state="succeeded", key="re_2", order=ORDER, amount=amount
        )
    )
    assert data(event)["change"]["full"] is full


def test_full_compares_with_the_total_when_the_payment_has_no_amount() -> None:
    shop = Shop()
    shop.tell(created(1, total=eur("10.00")))
    shop.tell(paid(2))
    (event,) = shop.tell(refund(3, "re_1", "10.00"))
    assert data(event)["change"]["full"] is True


def test_amount_that_differs_from_the_total_is_flagged() -> None:
    shop = Shop()
    shop.tell(created(1, total=eur("10.00")))
    (first,) = shop.tell(paid(2, "pi_1", "10.00"))
    (second,) = shop.tell(paid(3, "pi_2", "9.00"))
    assert [p["amount_mismatch"] for p in data(first)["payment"]["payments"]] == [False]
    assert [p["amount_mismatch"] for p in data(second)["payment"]["payments"]] == [False, True]
    assert data(second)["payment"]["paid"]["value"] == "19.00"


def test_merge_that_adds_an_amount_tells_it_once() -> None:
    """A session names both: its created merges silently, its payment says the amount."""
    shop = Shop()
    shop.tell(created(1))
    shop.tell(paid(2))
    session = {"total": eur("49.26")}
    (event,) = shop.tell(created(3, **session), paid(3, "pi_1", "49.26", **session))
    assert event.type == "order.updated"
    assert (
        data(event)["change"] | {"what": "amount", "value": "49.26", "id": "pi_1"}
        == data(event)["change"]
    )
    assert data(event)["payment"]["paid"]["value"] == "49.26"
    (payment,) = data(event)["payment"]["payments"]
    assert (payment["id"], payment["implied"]) == ("pi_1", False)


def test_implied_payment_is_marked_until_a_real_one_is_known() -> None:
    shop = Shop()
    shop.tell(created(1))
    (event,) = shop.tell(paid(2, implied=True))
    assert [p["implied"] for p in data(event)["payment"]["payments"]] == [True]
    shop.tell(paid(3, "pi_1"))
    assert [p.implied for _, p in shop.state().visible_payments()] == [False]


def test_details_are_filled_in_and_older_ones_overwrite_nothing() -> None:
    shop = Shop()
    shop.tell(created(5, livemode=True, total=eur("5.00"), ids={"stripe": ("pi_1",)}))
    shop.tell(created(4, livemode=False, total=eur("4.00"), ids={"stripe": ("cs_1", "pi_1")}))
    shop.tell(created(6))
    (event,) = shop.tell(paid(7))
    order = data(event)
    assert order["livemode"] is True
    assert order["total"]["value"] == "5.00"
    assert order["ids"] == {"stripe": ["cs_1", "pi_1"]}


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (created(1, total=eur("4.00")), created(1, total=eur("5.00"))),
        (created(1, livemode=True), created(1, livemode=False)),
        (paid(1, "pi_1", "4.00"), paid(1, "pi_1", "5.00")),
        (refund(1, "re_1", "4.00"), refund(1, "re_1", "5.00")),
        (charge(1, "4.00"), charge(1, "5.00")),
        (tracked(1, "shipped", "JJD1"), tracked(1, "shipped", "JJD2")),
        (hold(1, "address"), hold(1, "material")),
        (hold(1, "address"), hold(1)),
        (dispute(1, "open"), dispute(1, "closed")),
        (change(1, "deadline", "Friday"), change(1, "deadline", "Monday")),
    ],
)
def test_facts_of_one_second_end_alike(one: Fact, two: Fact) -> None:
    """Stripe counts seconds, so what contradicts itself within one must not hang on arrival."""
    ends = []
    for facts in ((one, two), (two, one), (one, two, one)):
        shop = Shop()
        for fact in facts:
            shop.tell(fact)
        state = shop.state()
        state.seq, state.told = 0, set()
        ends.append(save(state))
    assert ends[0] == ends[1] == ends[2]


def test_shipment_keeps_what_each_fact_knew() -> None:
    shop = Shop()
    shop.tell(part(2, "shipped", shipment=Shipment(tracking_number="JJD2", carrier="DHL")))
    shop.tell(part(1, "printing", shipment=Shipment(tracking_number="JJD1", expected="2026-11-24")))
    (event,) = shop.tell(hold(3, "address"))
    assert data(event)["shipment"] == data(event)["parts"][0]["shipment"]
    assert data(event)["shipment"] == {
        "tracking_number": "JJD2",
        "tracking_url": None,
        "carrier": "DHL",
        "expected": "2026-11-24",
    }


def test_alias_is_one_update_before_the_fact() -> None:
    shop = Shop()
    own = created(1, order=None, own="cs_1", unknown=Unknown.OWN, links=("stripe:pi_1",))
    shop.tell(own)
    events = shop.tell(linked(paid(2, "pi_1", "1.00"), "stripe:pi_1"))
    assert [event.id for event in events] == [
        identity("updated", "alias", ORDER, str(at(2)), order="cs_1"),
        identity("paid", "pi_1", order="cs_1"),
    ]
    assert data(events[0])["aliases"] == [ORDER]
    assert data(events[0])["state"]["payment"] is None
    assert data(events[0])["change"]["id"] is None
    assert shop.tell(linked(paid(3, "pi_1", "1.00"), "stripe:pi_1")) == []


def test_alias_of_an_order_of_which_nothing_was_told() -> None:
    """It still begins with `order.created`."""
    shop = Shop()
    pending = refund(1, "re_1", "1.00", "pending")
    assert shop.tell(linked(pending, "stripe:pi_1", order="A")) == []
    (event,) = shop.tell(linked(created(2), "stripe:pi_1", order="B"))
    assert (event.type, event.seq, data(event)["aliases"]) == ("order.created", 1, ["B"])


def test_what_was_told_is_never_told_again() -> None:
    """Whatever else the saved state has lost or does not know yet."""
    shop = Shop()
    shop.tell(part(1, "printing"))
    shop.states[ORDER] = save(OrderState("default", ORDER, seq=2, told=shop.state().told))
    assert shop.tell(part(1, "printing")) == []
    (note,) = shop.notes[2]
    assert (note.verdict, note.reason) == (Verdict.MERGED, "this was told before")


def test_time_and_recorded_time() -> None:
    """What the provider says, and when the callback that made the event came."""
    shop = Shop()
    events = shop.tell(paid(2, "pi_1"))
    assert {event.time for event in events} == {START + 2000}
    assert {event.recorded for event in events} == {at(10_001)}
    assert body(events[0])["time"] == "2025-06-15T15:06:42Z"


def test_event_that_is_no_orders_passes_through() -> None:
    shop = Shop()
    fact = Fact(track=Track.EVENT, at=at(1), type="printstudio.job.failed", subject="job_1")
    (event,) = shop.tell(fact, source="studio", event_id="ps_1")
    assert (event.order, event.seq, shop.verdict()) == (None, None, Verdict.EVENT)
    assert shop.states == {}
