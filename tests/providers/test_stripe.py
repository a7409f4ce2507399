import json
import os
from pathlib import Path
from typing import Any

import pytest

from gateway.models import Millis, Money, Track, Unknown
from gateway.providers.stripe import EVENTS
from tests.providers.callbacks import (
    CREATED,
    RECEIVED,
    charge,
    dispute,
    intent,
    read_stripe,
    refund,
    session,
    stripe_event,
    stripe_facts,
)

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "stripe"
EUR_49_26 = Money(value="49.26", minor=4926, currency="EUR")
EUR_10 = Money(value="10.00", minor=1000, currency="EUR")
EUR_15 = Money(value="15.00", minor=1500, currency="EUR")

CREATED_FACT = ("created", "created", None)
PAID_FACT = ("payment", "paid", "pi_1")
FAILED_FACT = ("payment", "failed", "pi_1")

REFUND_FACTS: dict[str, tuple[str, str, str | None]] = {
    state: ("refund", state, "re_1") for state in ("pending", "succeeded", "failed")
}

SAYS: list[tuple[str, dict[str, Any], list[tuple[str, str, str | None]]]] = [
    ("checkout.session.completed", session(), [CREATED_FACT, PAID_FACT]),
    (
        "checkout.session.completed",
        session(payment_status="no_payment_required", payment_intent=None),
        [CREATED_FACT, ("payment", "paid", "cs_1")],
    ),
    ("checkout.session.completed", session(payment_status="unpaid"), [CREATED_FACT]),
    ("checkout.session.async_payment_succeeded", session(), [PAID_FACT]),
    (
        "checkout.session.async_payment_succeeded",
        session(payment_intent=None),
        [("payment", "paid", "cs_1")],
    ),
    (
        "checkout.session.async_payment_failed",
        session(payment_status="unpaid"),
        [FAILED_FACT],
    ),
    ("payment_intent.succeeded", intent(), [PAID_FACT]),
    ("payment_intent.payment_failed", intent(), [FAILED_FACT]),
    *[
        (kind, refund(status=status), [REFUND_FACTS[state]])
        for kind in ("refund.created", "refund.updated", "charge.refund.updated")
        for status, state in (
            ("succeeded", "succeeded"),
            ("pending", "pending"),
            ("requires_action", "pending"),
            ("failed", "failed"),
            ("canceled", "failed"),
        )
    ],
    ("refund.failed", refund(status="failed"), [("refund", "failed", "re_1")]),
    ("charge.refunded", charge(), [("refund", "succeeded", None)]),
    ("charge.dispute.created", dispute(), [("dispute", "open", "dp_1")]),
    ("charge.dispute.closed", dispute(status="lost"), [("dispute", "closed", "dp_1")]),
]


@pytest.mark.parametrize(("kind", "thing", "facts"), SAYS)
def test_event_says_its_facts(
    kind: str, thing: dict[str, Any], facts: list[tuple[str, str, str | None]]
) -> None:
    reading = read_stripe(stripe_event(kind, thing))
    assert [(fact.track.value, fact.state, fact.key) for fact in reading.facts] == facts
    assert reading.ignored is None
    assert (reading.event_id, reading.event_type) == ("evt_1", kind)


def test_every_type_of_the_table_is_tested() -> None:
    soft = {kind for kind, row in EVENTS.items() if row.track is Track.FULFILMENT}
    assert {kind for kind, _, _ in SAYS} == set(EVENTS) - soft


@pytest.mark.parametrize(
    ("kind", "thing"),
    [
        ("checkout.session.expired", session(payment_status="unpaid")),
        ("payment_intent.canceled", intent()),
    ],
)
def test_expiry_is_a_soft_cancel_only_when_the_source_lists_it(
    kind: str, thing: dict[str, Any]
) -> None:
    ignored = read_stripe(stripe_event(kind, thing))
    assert ignored.facts == ()
    assert ignored.ignored == f"{kind} is not listed in the source's cancel_from"
    (fact,) = stripe_facts(kind, thing, cancel_from=(kind,))
    assert (fact.track, fact.state, fact.key) == (Track.FULFILMENT, "cancelled", None)
    assert fact.soft


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (
            stripe_event("invoice.paid", {}),
            "events of the type invoice.paid say nothing about orders",
        ),
        (stripe_event("charge.dispute.updated", dispute()), "charge.dispute.updated"),
        (stripe_event("charge.dispute.funds_withdrawn", dispute()), "funds_withdrawn"),
        (stripe_event("payment_intent.processing", intent()), "payment_intent.processing"),
        (stripe_event("balance.available", None), "balance.available"),
        (stripe_event("checkout.session.completed", session(mode="setup")), "mode is setup"),
        (
            stripe_event("checkout.session.completed", session(mode="subscription")),
            "the session's mode is subscription, not payment",
        ),
    ],
)
def test_what_is_not_about_orders_is_ignored_with_the_reason(
    event: dict[str, Any], reason: str
) -> None:
    reading = read_stripe(event)
    assert reading.facts == ()
    assert reading.ignored is not None
    assert reason in reading.ignored


@pytest.mark.parametrize(("wanted", "mode"), [(True, "live"), (False, "test")])
def test_livemode_of_the_source_decides_what_it_takes(wanted: bool, mode: str) -> None:
    kind = "payment_intent.succeeded"
    taken = read_stripe(stripe_event(kind, intent(), livemode=wanted), livemode=wanted)
    assert [fact.livemode for fact in taken.facts] == [wanted]
    other = read_stripe(stripe_event(kind, intent(), livemode=not wanted), livemode=wanted)
    assert other.facts == ()
    said = str(not wanted).lower()
    assert other.ignored == f"livemode is {said}, the source takes only {mode} events"


def test_livemode_is_passed_on_when_the_source_takes_both() -> None:
    for livemode, told in ((True, True), (False, False), (None, None), ("yes", None)):
        event = stripe_event("payment_intent.succeeded", intent(), livemode=livemode)
        assert read_stripe(event).facts[0].livemode is told


@pytest.mark.parametrize(
    ("created", "at"),
    [("2022-02-15T00:27:45.330Z", Millis(1644884865330)), (None, RECEIVED), (5, RECEIVED)],
)
def test_thin_events_are_recognised_and_ignored(created: object, at: Millis) -> None:
    event = {
        "id": "evt_234",
        "object": "v2.core.event",
        "type": "v1.billing.meter.error_report_triggered",
        "livemode": True,
        "created": created,
        "related_object": {"id": "mtr_123", "type": "billing.meter", "url": "/v1/x"},
    }
    reading = read_stripe(event, livemode=False)
    assert reading.ignored == "a thin event carries no state; choose snapshot payloads at Stripe"
    assert (reading.event_id, reading.at, reading.facts) == ("evt_234", at, ())


# What a fact carries.


def test_the_time_is_that_of_the_event_not_of_its_object() -> None:
    reading = read_stripe(stripe_event("charge.refunded", charge(created=5)))
    assert {reading.at, reading.facts[0].at} == {CREATED * 1000}


def test_a_session_tells_total_ids_and_links() -> None:
    created, paid = stripe_facts("checkout.session.completed", session())
    for fact in (created, paid):
        assert fact.order == "1001"
        assert fact.own == "cs_1"
        assert fact.links == ("stripe:pi_1", "stripe:cs_1")
        assert fact.ids == {"stripe": ("pi_1", "cs_1")}
        assert fact.total == EUR_49_26
    assert (created.amount, paid.amount) == (None, EUR_49_26)


@pytest.mark.parametrize(
    ("kind", "thing", "links", "ids", "own"),
    [
        ("payment_intent.succeeded", intent(), "pi_1 ch_1", "pi_1 ch_1", "pi_1"),
        ("payment_intent.succeeded", intent(latest_charge=None), "pi_1", "pi_1", "pi_1"),
        ("charge.refunded", charge(), "pi_1 ch_1", "pi_1 ch_1", "pi_1"),
        ("charge.refunded", charge(payment_intent=None), "ch_1", "ch_1", "ch_1"),
        ("refund.created", refund(), "pi_1 ch_1", "pi_1 ch_1 re_1", "pi_1"),
        ("refund.created", refund(payment_intent=None), "ch_1", "ch_1 re_1", "ch_1"),
        ("refund.created", refund(charge=None, payment_intent=None), "", "re_1", "re_1"),
        ("charge.dispute.created", dispute(), "pi_1 ch_1", "pi_1 ch_1 dp_1", "pi_1"),
    ],
)
def test_other_objects_are_known_by_their_payment(
    kind: str, thing: dict[str, Any], links: str, ids: str, own: str
) -> None:
    (fact,) = stripe_facts(kind, thing)
    assert fact.order is None
    assert fact.links == tuple("stripe:" + name for name in links.split())
    assert fact.ids == {"stripe": tuple(ids.split())}
    assert fact.own == own
    assert fact.total is None


def test_expanded_objects_count_like_their_ids() -> None:
    (fact,) = stripe_facts(
        "refund.created", refund(payment_intent={"id": "pi_9", "x": 1}, charge={"id": "ch_9"})
    )
    assert fact.links == ("stripe:pi_9", "stripe:ch_9")
    assert fact.group == "pi_9"
    (fact,) = stripe_facts("payment_intent.succeeded", intent(latest_charge={"id": "ch_9"}))
    assert fact.links == ("stripe:pi_1", "stripe:ch_9")


def test_old_payment_intents_list_their_charges() -> None:
    charges = {"data": [{"id": "ch_0"}, {"id": "ch_1"}, {"id": 5}, None, {"id": "ch_0"}]}
    (fact,) = stripe_facts(
        "payment_intent.payment_failed", intent(latest_charge="ch_1", charges=charges)
    )
    assert fact.links == ("stripe:pi_1", "stripe:ch_1", "stripe:ch_0")


def test_a_named_refund_tells_its_own_amount_and_the_payment_it_counts_into() -> None:
    (fact,) = stripe_facts("refund.updated", refund())
    assert (fact.key, fact.group, fact.amount, fact.cumulative) == ("re_1", "pi_1", EUR_10, None)


@pytest.mark.parametrize(("payment_intent", "group"), [("pi_1", "pi_1"), (None, "ch_1")])
def test_a_refunded_charge_tells_only_the_sum(payment_intent: str | None, group: str) -> None:
    (fact,) = stripe_facts("charge.refunded", charge(payment_intent=payment_intent))
    assert (fact.key, fact.group, fact.amount, fact.cumulative) == (None, group, None, EUR_15)


@pytest.mark.parametrize(
    ("kind", "fields", "amount"),
    [
        ("payment_intent.succeeded", {"amount_received": 1000}, EUR_10),
        ("payment_intent.succeeded", {"amount_received": None}, EUR_49_26),
        ("payment_intent.payment_failed", {"amount_received": 1000}, EUR_49_26),
        ("payment_intent.succeeded", {"amount": True, "amount_received": 10.5}, None),
        ("payment_intent.succeeded", {"amount": "4926", "amount_received": None}, None),
        ("payment_intent.succeeded", {"currency": "euros"}, None),
    ],
)
def test_payment_amounts_are_what_was_received_or_nothing(
    kind: str, fields: dict[str, Any], amount: Money | None
) -> None:
    (fact,) = stripe_facts(kind, intent(**fields))
    assert fact.amount == amount


@pytest.mark.parametrize(("total", "amount"), [(0, "0.00"), (4926, None), (None, None)])
def test_a_session_that_needs_no_payment_has_not_paid_its_total(
    total: int | None, amount: str | None
) -> None:
    thing = session(payment_status="no_payment_required", amount_total=total)
    _, paid = stripe_facts("checkout.session.completed", thing)
    assert (paid.amount.value if paid.amount else None) == amount


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            {"message": "Your card was declined.", "code": "card_declined"},
            "Your card was declined.",
        ),
        ({"message": None, "code": "card_declined"}, "card_declined"),
        ({}, None),
        (None, None),
        ("declined", None),
    ],
)
def test_a_failed_payment_says_why(error: object, reason: str | None) -> None:
    (fact,) = stripe_facts("payment_intent.payment_failed", intent(last_payment_error=error))
    assert fact.reason == reason


def test_a_paid_intent_does_not_repeat_an_earlier_failure() -> None:
    thing = intent(last_payment_error={"message": "Your card was declined."})
    assert stripe_facts("payment_intent.succeeded", thing)[0].reason is None


@pytest.mark.parametrize(
    ("kind", "fields", "reason"),
    [
        ("charge.dispute.created", {}, "fraudulent"),
        ("charge.dispute.closed", {"status": "lost"}, "fraudulent: lost"),
        ("charge.dispute.closed", {"status": "won", "reason": None}, "won"),
        ("charge.dispute.closed", {"status": 1, "reason": 2}, None),
    ],
)
def test_disputes_say_why_and_how_they_ended(
    kind: str, fields: dict[str, Any], reason: str | None
) -> None:
    (fact,) = stripe_facts(kind, dispute(**fields))
    assert (fact.reason, fact.amount) == (reason, EUR_49_26)


def test_the_customer_comes_from_details_and_shipping() -> None:
    details = {"email": "a@b.example", "name": "Ada", "phone": None, "address": {"city": "Bonn"}}
    shipping = {"name": "Bob", "phone": "+49", "address": {"city": "Kiel", "line2": None}}
    thing = session(customer_details=details, shipping_details=shipping)
    assert stripe_facts("checkout.session.completed", thing)[0].customer == {
        "email": "a@b.example",
        "name": "Ada",
        "phone": None,
        "address": {"city": "Kiel"},
    } | {"phone": "+49"}
    nested = session(collected_information={"shipping_details": shipping}, customer_email="c@d.e")
    assert stripe_facts("checkout.session.completed", nested)[0].customer == {
        "email": "c@d.e",
        "name": "Bob",
        "phone": "+49",
        "address": {"city": "Kiel"},
    }
    assert stripe_facts("payment_intent.succeeded", intent())[0].customer is None


# Which order (design 6.3).


@pytest.mark.parametrize(
    ("fields", "options", "order"),
    [
        ({"metadata": {"order_id": "7", "orderId": "8"}}, {}, "7"),
        ({"metadata": {"orderId": "8"}}, {}, "8"),
        ({"metadata": {"order_id": "", "orderId": "8"}}, {}, "8"),
        ({"metadata": {"order_id": 7, "orderId": "8"}}, {}, "8"),
        ({"metadata": {"ref": "9", "order_id": "7"}}, {"order_id": ("ref",)}, "9"),
        ({"metadata": {"order_id": "7"}}, {"order_id": ()}, None),
        ({"metadata": {"order_id": "7"}, "client_reference_id": "c"}, {}, "7"),
        ({"metadata": {}, "client_reference_id": "c"}, {}, "c"),
        ({"metadata": None, "client_reference_id": "c"}, {}, "c"),
        ({"metadata": [], "client_reference_id": ""}, {}, None),
        ({"metadata": {}, "client_reference_id": "c", "payment_link": "plink_1"}, {}, None),
        (
            {"metadata": {}, "client_reference_id": "c", "payment_link": "plink_1"},
            {"trust_client_reference": True},
            "c",
        ),
        ({"metadata": {"order_id": "7"}, "payment_link": "plink_1"}, {}, "7"),
    ],
)
def test_a_session_names_its_order(
    fields: dict[str, Any], options: dict[str, Any], order: str | None
) -> None:
    for fact in stripe_facts("checkout.session.completed", session(**fields), **options):
        assert fact.order == order


def test_only_sessions_have_a_client_reference() -> None:
    (fact,) = stripe_facts("payment_intent.succeeded", intent(client_reference_id="c"))
    assert fact.order is None


@pytest.mark.parametrize(
    ("option", "unknown", "patience"), [("own", Unknown.OWN, None), ("wait", Unknown.WAIT, 7)]
)
def test_a_session_without_an_order_is_its_own_or_waits(
    option: str, unknown: Unknown, patience: int | None
) -> None:
    facts = stripe_facts(
        "checkout.session.completed", session(metadata={}), unnamed_session=option, link_wait=7
    )
    assert {(fact.unknown, fact.patience) for fact in facts} == {(unknown, patience)}


@pytest.mark.parametrize(
    ("option", "unknown", "patience"),
    [
        ("wait", Unknown.WAIT, None),
        ("own", Unknown.WAIT, 7),
        ("ignore", Unknown.IGNORE, None),
    ],
)
@pytest.mark.parametrize(
    ("kind", "thing"),
    [
        ("payment_intent.succeeded", intent()),
        ("refund.created", refund()),
        ("charge.refunded", charge()),
        ("charge.dispute.created", dispute()),
    ],
)
def test_an_object_without_an_order_waits_as_the_source_says(
    kind: str, thing: dict[str, Any], option: str, unknown: Unknown, patience: int | None
) -> None:
    (fact,) = stripe_facts(kind, thing, unlinked=option, link_wait=7)
    assert (fact.unknown, fact.patience) == (unknown, patience)
    named = thing | {"metadata": {"order_id": "1001"}}
    (fact,) = stripe_facts(kind, named, unlinked=option, link_wait=7)
    assert (fact.order, fact.unknown, fact.patience) == ("1001", Unknown.OWN, None)


# Recorded events.


def fixtures() -> list[Path]:
    return sorted(FIXTURES.glob("*.json"))


@pytest.mark.skipif(
    not FIXTURES.is_dir() and os.environ.get("CI") != "true",
    reason="the recorded events are not beside this checkout",
)
def test_recorded_events_are_read_or_ignored_with_a_reason() -> None:
    assert fixtures(), f"no recorded events in {FIXTURES}"
    for path in fixtures():
        reading = read_stripe(json.loads(path.read_bytes()))
        known = reading.event_type in EVENTS
        assert bool(reading.facts) is known, path.name
        assert bool(reading.ignored) is not known, path.name
        assert reading.at > 1_600_000_000_000
