"""Callbacks as Stripe and PrintStudio would send them, made from the fields that a test is about."""

import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

from gateway.models import Callback, Duration, Fact, Millis, Reading
from gateway.providers.printstudio import PrintStudio, PrintStudioOptions
from gateway.providers.stripe import Stripe, StripeOptions

CREATED = 1_700_000_000  # seconds; the provider's time of every event made here
RECEIVED = Millis(1_700_000_005_000)
TOLERANCE = Duration(300_000)
SECRET = b"whsec_test_secret"


def digest(message: bytes, secret: bytes = SECRET) -> str:
    return hmac.new(secret, message, hashlib.sha256).hexdigest()


def callback(body: bytes, headers: Sequence[tuple[bytes, bytes]] = ()) -> Callback:
    return Callback(source="shop", headers=headers, body=body, received_at=RECEIVED)


def as_bytes(value: Any) -> bytes:
    """JSON; bytes are taken as they are, for what `json` would not write."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()


# Stripe.


def stripe_event(kind: str, thing: Any, **envelope: Any) -> dict[str, Any]:
    return {
        "id": "evt_1",
        "object": "event",
        "type": kind,
        "created": CREATED,
        "livemode": False,
        "data": {"object": thing},
    } | envelope


def session(**fields: Any) -> dict[str, Any]:
    return {
        "id": "cs_1",
        "object": "checkout.session",
        "mode": "payment",
        "payment_status": "paid",
        "payment_intent": "pi_1",
        "payment_link": None,
        "client_reference_id": None,
        "amount_total": 4926,
        "currency": "eur",
        "metadata": {"order_id": "1001"},
    } | fields


def intent(**fields: Any) -> dict[str, Any]:
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "amount": 4926,
        "amount_received": 4926,
        "currency": "eur",
        "latest_charge": "ch_1",
        "metadata": {},
    } | fields


def refund(**fields: Any) -> dict[str, Any]:
    return {
        "id": "re_1",
        "object": "refund",
        "status": "succeeded",
        "amount": 1000,
        "currency": "eur",
        "payment_intent": "pi_1",
        "charge": "ch_1",
        "metadata": {},
    } | fields


def charge(**fields: Any) -> dict[str, Any]:
    return {
        "id": "ch_1",
        "object": "charge",
        "amount": 4926,
        "amount_refunded": 1500,
        "currency": "eur",
        "payment_intent": "pi_1",
        "metadata": {},
    } | fields


def dispute(**fields: Any) -> dict[str, Any]:
    return {
        "id": "dp_1",
        "object": "dispute",
        "amount": 4926,
        "currency": "eur",
        "reason": "fraudulent",
        "status": "needs_response",
        "payment_intent": "pi_1",
        "charge": "ch_1",
        "metadata": {},
    } | fields


def read_stripe(event: Any, **options: Any) -> Reading:
    return Stripe(StripeOptions(**options)).normalize(callback(as_bytes(event)))


def stripe_facts(kind: str, thing: Any, **options: Any) -> Sequence[Fact]:
    return read_stripe(stripe_event(kind, thing), **options).facts


# PrintStudio.


def envelope(event: Any, data: Any, **fields: Any) -> dict[str, Any]:
    return {
        "id": "evt-1",
        "event": event,
        "timestamp": "2023-11-14T22:13:20Z",
        "data": data,
    } | fields


def read_printstudio(value: Any, **options: Any) -> Reading:
    return PrintStudio(PrintStudioOptions(**options)).normalize(callback(as_bytes(value)))
