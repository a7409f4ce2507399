"""Design 6.3: how facts that name no order find theirs."""

import itertools
from typing import Any

import jsonschema
import pytest

from gateway.catalogue import schema_of
from gateway.models import Event, Fact, Unknown, Verdict
from gateway.orders.decide import VERDICT_ORDER, verdict_of
from tests.unit.order_shop import (
    ORDER,
    Shop,
    at,
    body,
    charge,
    created,
    data,
    dispute,
    failed,
    identity,
    linked,
    paid,
    part,
    refund,
    stranger,
)

INTENT, CHARGE, SESSION = "stripe:pi_1", "stripe:ch_1", "stripe:cs_1"


def session(second: int, number: int = 1, order: str | None = ORDER, **more: Any) -> list[Fact]:
    """A completed and paid session; without an order's name an order of its own."""
    links = (f"stripe:pi_{number}", f"stripe:cs_{number}")
    common = {"order": order, "links": links, "own": f"cs_{number}"} | more
    return [created(second, **common), paid(second, f"pi_{number}", "10.00", **common)]


def intent(second: int, number: int = 1, **more: Any) -> Fact:
    """A payment intent that names no order."""
    links = (f"stripe:pi_{number}", f"stripe:ch_{number}")
    return stranger(paid(second, f"pi_{number}", "10.00"), *links, own=f"pi_{number}", **more)


def declined(second: int, number: int = 1, **more: Any) -> Fact:
    links = (f"stripe:pi_{number}",)
    return stranger(failed(second, f"pi_{number}"), *links, own=f"pi_{number}", **more)


def refunded(second: int, **more: Any) -> Fact:
    return stranger(refund(second, "re_1", "4.00"), INTENT, CHARGE, own="pi_1", **more)


def disputed(second: int, state: str) -> Fact:
    return stranger(dispute(second, state), INTENT, CHARGE, own="pi_1")


def ids(events: list[Event]) -> set[str]:
    return {event.id for event in events}


SESSION_FACTS = session(2)
CALLBACKS: dict[str, list[Fact]] = {
    "session": SESSION_FACTS,
    "intent": [intent(1)],
    "refund": [refunded(4)],
    "charge": [stranger(charge(4, "4.00"), INTENT, CHARGE, own="pi_1")],
    "dispute": [disputed(5, "open")],
}


@pytest.mark.parametrize("names", list(itertools.permutations(CALLBACKS)), ids="-".join)
def test_any_arrival_ends_alike_and_tells_nothing_twice(names: tuple[str, ...]) -> None:
    """Payment intent first, refund first, session first; each of them last as well."""
    shop = Shop()
    for name in names:
        shop.tell(*CALLBACKS[name])
    assert shop.waiting == {}
    assert shop.types() == ["created", "paid", *shop.types()[2:]]
    assert sorted(shop.types()[2:]) == ["disputed", "refunded"]
    assert len(ids(shop.events)) == 4
    assert [event.seq for event in shop.events] == [1, 2, 3, 4]
    assert not data(shop.events[0])["change"]["implied"]
    state = shop.state()
    assert (state.paid(), str(state.refunded()), state.dispute()) == (True, "4.00", "open")
    assert shop.links == dict.fromkeys((INTENT, CHARGE, SESSION), ORDER)


def test_what_waited_comes_in_order() -> None:
    """Created first, payments next, the rest by time; and every callback gets its verdict."""
    shop = Shop()
    for fact in (disputed(6, "open"), refunded(5), intent(4), declined(3)):
        assert shop.tell(fact) == []
        assert shop.verdict() is Verdict.UNLINKED
    assert len(shop.waiting) == 4
    events = shop.tell(created(9, links=(INTENT, SESSION), own="cs_1"))
    assert [e.type for e in events] == [
        f"order.{kind}" for kind in ("created", "payment_failed", "paid", "refunded", "disputed")
    ]
    assert [shop.verdicts[number] for number in range(1, 6)] == [Verdict.EVENT] * 5
    assert [body(event)["data"]["cause"]["event_id"] for event in events] == [
        "e_5",
        "e_4",
        "e_3",
        "e_2",
        "e_1",
    ]
    assert {event.recorded for event in events} == {at(10_005)}


def test_verdict_of_what_waited_may_be_superseded() -> None:
    shop = Shop()
    shop.tell(declined(1))
    shop.tell(stranger(failed(3, "pi_2"), INTENT))
    shop.tell(*session(2))
    assert shop.types() == ["created", "payment_failed", "paid"]
    assert shop.verdicts[1] is Verdict.EVENT
    assert shop.verdicts[2] is Verdict.SUPERSEDED
    assert shop.verdicts[3] is Verdict.EVENT


def test_link_leads_on_to_what_knows_other_ids() -> None:
    """The refund knows only its charge; the intent, which waited too, knows both."""
    shop = Shop()
    shop.tell(stranger(refund(5, "re_1", "4.00"), CHARGE, own="ch_1"))
    shop.tell(intent(2))
    assert shop.types() == []
    shop.tell(*session(1))
    assert shop.types() == ["created", "paid", "refunded"]
    assert shop.waiting == {}


def test_session_never() -> None:
    shop = Shop()
    shop.tell(refunded(3))
    shop.tell(disputed(4, "open"))
    assert shop.events == []
    assert [note.reason for note in shop.notes[1]] == [
        "no order is known for stripe:pi_1, stripe:ch_1"
    ]
    assert shop.states == {}
    assert shop.links == {}


def test_intent_that_names_its_order_links_the_rest() -> None:
    shop = Shop()
    shop.tell(refunded(3))
    shop.tell(linked(paid(2, "pi_1", "10.00"), INTENT, CHARGE))
    assert shop.types() == ["created", "paid", "refunded"]
    assert data(shop.events[0])["change"]["implied"]
    shop.tell(*session(1))
    assert len(shop.events) == 3


def test_unnamed_session_is_an_order_of_its_own() -> None:
    shop = Shop()
    shop.tell(*session(1, order=None))
    shop.tell(refunded(2))
    assert [(e.order, e.type) for e in shop.events] == [
        ("cs_1", "order.created"),
        ("cs_1", "order.paid"),
        ("cs_1", "order.refunded"),
    ]


def test_unnamed_session_finds_the_order_of_its_intent() -> None:
    shop = Shop()
    shop.tell(linked(paid(2, "pi_1", "10.00"), INTENT))
    shop.tell(*session(1, order=None))
    assert set(shop.states) == {ORDER}
    assert shop.types() == ["created", "paid"]
    assert shop.links[SESSION] == ORDER


def test_unnamed_session_waits_for_its_intent() -> None:
    shop = Shop()
    shop.tell(*session(1, order=None, unknown=Unknown.WAIT))
    assert (shop.events, len(shop.waiting)) == ([], 2)
    shop.tell(linked(paid(2, "pi_1", "10.00"), INTENT))
    assert {event.order for event in shop.events} == {ORDER}
    assert shop.types() == ["created", "paid"]
    assert shop.verdicts == {1: Verdict.EVENT, 2: Verdict.MERGED}
    assert shop.waiting == {}


def test_unnamed_session_waits_in_vain() -> None:
    """Then it is an order under its own id, and takes along what waited for it."""
    shop = Shop()
    shop.tell(refunded(4))
    shop.tell(intent(3))
    shop.tell(*session(1, order=None, unknown=Unknown.WAIT))
    shop.wait_over()
    assert shop.waiting == {}
    assert set(shop.states) == {"cs_1"}
    assert shop.types() == ["created", "paid", "refunded"]
    assert shop.verdicts == {1: Verdict.EVENT, 2: Verdict.MERGED, 3: Verdict.EVENT}
    assert shop.links == dict.fromkeys((INTENT, CHARGE, SESSION), "cs_1")


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_wait_over_names_the_order_by_its_payment_intent(order: tuple[int, ...]) -> None:
    """Whichever of its objects waits longest, even one that knows no intent."""
    shop = Shop()
    facts = [
        stranger(refund(4, "re_1", "4.00"), CHARGE, own="ch_1"),
        stranger(dispute(3, "open"), CHARGE, INTENT, own="pi_1"),
        stranger(charge(4, "4.00"), CHARGE, own="ch_1"),
        intent(9),
    ]
    for number in order:
        shop.tell(facts[number])
    events = shop.wait_over()
    assert {event.order for event in events} == {"pi_1"}
    assert shop.types() == ["created", "paid", "disputed", "refunded"]
    assert shop.waiting == {}


def test_wait_over_without_a_payment_names_it_by_its_intent_all_the_same() -> None:
    shop = Shop()
    shop.tell(stranger(refund(2, "re_1", "4.00"), CHARGE, own="ch_1"))
    shop.tell(disputed(3, "open"))
    assert {event.order for event in shop.wait_over()} == {"pi_1"}


def test_name_learnt_after_the_wait_is_an_alias() -> None:
    shop = Shop()
    shop.tell(intent(1))
    shop.wait_over()
    shop.tell(*session(2))
    assert shop.types() == ["created", "paid", "updated"]
    assert data(shop.events[-1])["aliases"] == [ORDER]
    shop.tell(part(3, "printing"))
    assert shop.types()[-1] == "printing"
    assert {event.order for event in shop.events} == {"pi_1"}
    assert shop.links[f"name:{ORDER}"] == "pi_1"


def test_alias_is_learnt_from_the_callback_that_links() -> None:
    shop = Shop()
    shop.tell(*session(1, order=None))
    (alias,) = shop.tell(linked(paid(2, "pi_1", "10.00"), INTENT))
    assert alias.id == identity("updated", "alias", ORDER, str(at(2)), order="cs_1")
    assert shop.verdict() is Verdict.EVENT
    events = shop.tell(part(3, "shipped"))
    assert {event.order for event in events} == {"cs_1"}
    assert set(shop.states) == {"cs_1"}


def test_name_that_is_another_orders_stays_so() -> None:
    """The link decides; the other order keeps its name and its events."""
    shop = Shop()
    shop.tell(*session(1, order=None))
    shop.tell(created(2))
    assert shop.tell(linked(paid(3, "pi_1", "10.00"), INTENT)) == []
    assert shop.state("cs_1").aliases == []
    (event,) = shop.tell(part(4, "printing"))
    assert event.order == ORDER
    assert f"name:{ORDER}" not in shop.links


def test_name_that_is_another_orders_alias_stays_so() -> None:
    shop = Shop()
    shop.tell(*session(1, order=None))
    shop.tell(*session(1, 2, order=None))
    shop.tell(linked(paid(2, "pi_1", "10.00"), INTENT))
    assert shop.tell(linked(paid(3, "pi_2", "10.00"), "stripe:pi_2")) == []
    assert shop.links[f"name:{ORDER}"] == "cs_1"
    assert shop.state("cs_2").aliases == []


def test_order_named_by_a_fact_of_the_same_callback_is_no_alias() -> None:
    shop = Shop()
    shop.tell(*session(1, order=None))
    shop.tell(created(2), linked(paid(3, "pi_1", "10.00"), INTENT))
    assert shop.state("cs_1").aliases == []
    assert set(shop.states) == {"cs_1", ORDER}


def test_unlinked_own_without_a_name_of_its_own_keeps_waiting() -> None:
    """Nothing could name the order: the fact stays, and stays listed."""
    shop = Shop()
    shop.tell(stranger(refund(1, "re_1", "4.00")))
    assert [note.reason for note in shop.notes[1]] == ["it names no order"]
    first = next(iter(shop.waiting.values()))
    decision = shop.orders.wait_over([first], shop.known([]))
    assert (decision.events, len(decision.wait), decision.linked) == ([], 1, [first.id])


def test_unlinked_ignore() -> None:
    shop = Shop()
    shop.tell(refunded(1, unknown=Unknown.IGNORE))
    assert (shop.events, shop.waiting, shop.verdict()) == ([], {}, Verdict.IGNORED)
    shop.tell(*session(2))
    shop.tell(refunded(3, unknown=Unknown.IGNORE))
    assert shop.types() == ["created", "paid", "refunded"]


def test_two_paid_sessions_of_one_order() -> None:
    shop = Shop()
    shop.tell(*session(1))
    shop.tell(*session(2, 2))
    assert shop.types() == ["created", "paid", "paid"]
    assert [data(event)["change"]["additional"] for event in shop.events] == [False, False, True]
    assert data(shop.events[-1])["payment"]["paid"]["value"] == "20.00"
    assert shop.verdict() is Verdict.EVENT


def test_declined_card_before_a_success() -> None:
    shop = Shop()
    shop.tell(declined(1))
    assert shop.verdict() is Verdict.UNLINKED
    shop.tell(*session(3))
    assert shop.types() == ["created", "payment_failed", "paid"]
    shop.tell(declined(2))
    assert shop.verdict() is Verdict.SUPERSEDED
    assert len(shop.events) == 3


def test_dispute_opened_closed_and_opened_again() -> None:
    shop = Shop()
    shop.tell(*session(1))
    for second, state in ((2, "open"), (3, "closed"), (4, "open")):
        shop.tell(disputed(second, state))
    assert shop.types() == ["created", "paid", "disputed", "updated", "updated"]
    assert [data(event)["state"]["dispute"] for event in shop.events[2:]] == [
        "open",
        "closed",
        "open",
    ]


def test_dispute_that_waited_comes_in_its_own_order() -> None:
    shop = Shop()
    for second, state in ((4, "open"), (3, "closed"), (2, "open")):
        shop.tell(disputed(second, state))
    shop.tell(*session(1))
    assert shop.types() == ["created", "paid", "disputed", "updated", "updated"]


def test_two_sources_of_one_shop() -> None:
    """The payment that the studio told without a name is Stripe's."""
    shop = Shop()
    shop.tell(created(1), source="studio", provider="printstudio")
    shop.tell(paid(2), source="studio", provider="printstudio")
    shop.tell(*session(3))
    shop.tell(intent(3))
    assert shop.types() == ["created", "paid", "updated"]
    assert [body(event)["source"].rpartition("/")[2] for event in shop.events] == [
        "studio",
        "studio",
        "stripe-live",
    ]
    assert data(shop.events[-1])["cause"]["provider"] == "stripe"


def test_verdicts_by_strength() -> None:
    shop = Shop()
    shop.tell(created(1), intent(2), refunded(3, unknown=Unknown.IGNORE))
    assert shop.verdict() is Verdict.EVENT
    shop.tell(intent(2, 5), refunded(3, unknown=Unknown.IGNORE))
    assert shop.verdict() is Verdict.UNLINKED
    notes = [shop.notes[1][0], *shop.notes[2]]
    for count in (1, 2, 3):
        for some in itertools.permutations(notes, count):
            strongest = min(some, key=lambda note: VERDICT_ORDER.index(note.verdict))
            assert verdict_of(some) is strongest.verdict


@pytest.mark.parametrize("arrival", list(itertools.permutations(range(3))))
def test_a_payment_told_by_intent_or_charge_is_one_payment(arrival: tuple[int, ...]) -> None:
    """A refund may name only its intent, and the charge's sum only the charge."""
    facts = [
        paid(1, "pi_1", "10.00", same_payment=("pi_1", "ch_1")),
        charge(3, "4.00", group="ch_1"),
        refund(2, "re_1", "4.00", group="pi_1"),
    ]
    shop = Shop()
    shop.tell(created(0))
    for number in arrival:
        shop.tell(facts[number])
    assert data(shop.events[-1])["payment"]["refunded"]["value"] == "4.00"


def test_a_superseded_fact_is_told_to_who_asks() -> None:
    shop = Shop()
    shop.tell(created(0))
    shop.tell(part(3, "shipped"))
    assert shop.tell(part(2, "printing")) == []
    (aside,) = shop.asides
    assert (aside.type, aside.order, aside.seq) == ("gateway.fact.superseded", None, None)
    told = body(aside)
    jsonschema.validate(told["data"], schema_of("gateway.fact.superseded"))
    assert told["subject"] == ORDER
    assert told["data"]["state"] == "printing"
    assert told["data"]["reason"] == "this provider order is shipped by now"
    assert "orderseq" not in told
