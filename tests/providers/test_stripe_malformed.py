"""What of a Stripe event must be right, and what may be anything."""

from typing import Any

import pytest

from gateway.errors import Malformed
from gateway.models import Track
from gateway.providers.stripe import EVENTS, Kind
from tests.providers.callbacks import (
    as_bytes,
    charge,
    dispute,
    intent,
    read_stripe,
    refund,
    session,
    stripe_event,
    stripe_facts,
)

SESSION = "checkout.session.completed"


@pytest.mark.parametrize(
    ("event", "path"),
    [
        ([], "$"),
        ("evt_1", "$"),
        ({}, "$"),
        (stripe_event(SESSION, session(), id=5), "$.id"),
        (stripe_event(SESSION, session(), id=""), "$.id"),
        (stripe_event(SESSION, session(), id="e" * 256), "$.id"),
        (stripe_event(SESSION, session(), id="evt\x00"), "$.id"),
        (stripe_event(SESSION, session(), type=None), "$.type"),
        (stripe_event(SESSION, session(), type="a\nb"), "$.type"),
        (stripe_event(SESSION, session(), created=None), "$.created"),
        (stripe_event(SESSION, session(), created=1.5), "$.created"),
        (stripe_event(SESSION, session(), created=True), "$.created"),
        (stripe_event(SESSION, session(), created=10**18), "$.created"),
        (stripe_event(SESSION, session(), data=None), "$.data"),
        (stripe_event(SESSION, session(), data={}), "$.data"),
        (stripe_event(SESSION, None), "$.data.object"),
        (stripe_event(SESSION, session(id=5)), "$.data.object.id"),
        (stripe_event(SESSION, session(id="")), "$.data.object.id"),
        (stripe_event(SESSION, session(mode=None)), "$.data.object.mode"),
        (stripe_event(SESSION, session(payment_status="maybe")), "$.data.object.payment_status"),
        (stripe_event(SESSION, session(payment_status=["paid"])), "$.data.object.payment_status"),
        (stripe_event(SESSION, session(payment_intent=5)), "$.data.object.payment_intent"),
        (stripe_event(SESSION, session(payment_intent={})), "$.data.object.payment_intent.id"),
        (
            stripe_event(SESSION, session(metadata={"order_id": "a\x00b"})),
            "$.data.object.metadata.order_id",
        ),
        (
            stripe_event(SESSION, session(metadata={"orderId": "x" * 256})),
            "$.data.object.metadata.orderId",
        ),
        (
            stripe_event(SESSION, session(metadata={}, client_reference_id=5)),
            "$.data.object.client_reference_id",
        ),
        (stripe_event("refund.created", refund(status="new")), "$.data.object.status"),
        (stripe_event("refund.created", refund(status=None)), "$.data.object.status"),
        (stripe_event("refund.created", refund(amount="1000")), "$.data.object.amount"),
        (stripe_event("refund.created", refund(amount=True)), "$.data.object.amount"),
        (stripe_event("refund.created", refund(amount=10.0)), "$.data.object.amount"),
        (stripe_event("refund.created", refund(amount=-1)), "$.data.object.amount"),
        (stripe_event("refund.created", refund(amount=2**63)), "$.data.object.amount"),
        (stripe_event("refund.created", refund(amount=10**41)), "$.data.object.amount"),
        (stripe_event("refund.created", refund(currency=None)), "$.data.object.currency"),
        (stripe_event("refund.created", refund(charge=[])), "$.data.object.charge"),
        (
            stripe_event("charge.refunded", charge(amount_refunded=None)),
            "$.data.object.amount_refunded",
        ),
    ],
)
def test_what_decides_must_be_right(event: Any, path: str) -> None:
    with pytest.raises(Malformed) as caught:
        read_stripe(event)
    assert caught.value.path == path
    named = isinstance(event, dict) and path != "$.id" and event
    assert caught.value.event_id == ("evt_1" if named else None)


@pytest.mark.parametrize("livemode", [None, "true", 1])
def test_a_source_of_one_livemode_needs_to_be_told(livemode: object) -> None:
    with pytest.raises(Malformed) as caught:
        read_stripe(stripe_event(SESSION, session(), livemode=livemode), livemode=True)
    assert caught.value.path == "$.livemode"


ODD = [None, True, 5, 1.5, "", "x", [], [5], {}, {"id": 5}, {"data": 5}, {"address": "x"}]
OPTIONAL = {
    Kind.SESSION: "amount_total currency customer_details customer_email shipping_details "
    "collected_information shipping metadata payment_link status",
    Kind.INTENT: "amount amount_received currency latest_charge charges last_payment_error "
    "shipping receipt_email metadata status",
    Kind.CHARGE: "metadata status amount reason",
    Kind.REFUND: "metadata reason",
    Kind.DISPUTE: "metadata amount currency reason status",
}
THINGS = {
    Kind.SESSION: session(),
    Kind.INTENT: intent(),
    Kind.CHARGE: charge(),
    Kind.REFUND: refund(),
    Kind.DISPUTE: dispute(),
}


@pytest.mark.parametrize("kind", sorted(EVENTS))
def test_what_does_not_decide_may_be_anything(kind: str) -> None:
    row = EVENTS[kind]
    cancels = tuple(name for name in EVENTS if EVENTS[name].track is Track.FULFILMENT)
    for field in OPTIONAL[row.kind].split():
        for odd in ODD:
            assert stripe_facts(kind, THINGS[row.kind] | {field: odd}, cancel_from=cancels)


@pytest.mark.parametrize("number", ["1e400", "-1e99999", "9" * 4000, "0.1", "-1"])
def test_an_absurd_number_in_an_optional_field_is_nothing(number: str) -> None:
    body = as_bytes(stripe_event(SESSION, session(amount_total="?", customer_details="?")))
    created, _ = read_stripe(body.replace(b'"?"', number.encode())).facts
    assert (created.total, created.customer) == (None, None)


def test_of_a_name_that_is_given_twice_the_last_value_counts() -> None:
    body = as_bytes(stripe_event(SESSION, session()))
    twice = body.replace(b'"id": "evt_1"', b'"id": "evt_0", "id": "evt_1"')
    twice = twice.replace(b'"order_id": "1001"', b'"order_id": "7", "order_id": "8"')
    reading = read_stripe(twice)
    assert reading.event_id == "evt_1"
    assert {fact.order for fact in reading.facts} == {"8"}
