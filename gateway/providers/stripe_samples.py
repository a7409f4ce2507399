"""Test callbacks as Stripe would send them, one of each type that is read.

Objects as in https://docs.stripe.com/api/events/types, with the fields that shops meet most.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.providers.base import Occasion

API_VERSION: Final = "2026-06-24.dahlia"
CURRENCY: Final = "eur"
_PLAIN = re.compile(r"[A-Za-z0-9]{1,40}")

Object = dict[str, Any]


def samples(occasion: Occasion, order_key: str | None) -> Mapping[str, bytes]:
    """A body of each type; objects name the order in the metadata `order_key`.

    Without a key sessions alone name it, as their `client_reference_id`. Objects of one order have
    the same ids each time, so that what is said later of it finds it; events have the tag in
    theirs.
    """
    shop = _Shop(occasion, order_key)
    return {name: _envelope(name, thing, occasion) for name, thing in shop.objects()}


class _Shop:
    """The objects of one order, in the states that the types say."""

    def __init__(self, occasion: Occasion, order_key: str | None) -> None:
        self._about = occasion
        self._named = {} if order_key is None else {order_key: occasion.order}
        self._reference = occasion.order if order_key is None else None
        part = _part(occasion.order)
        self._session_id = f"cs_test_{part}"
        self._intent_id, self._charge_id = f"pi_3{part}", f"ch_3{part}"
        self._refund_id, self._dispute_id = f"re_3{part}", f"du_1{part}"

    def objects(self) -> Iterator[tuple[str, Object]]:
        """Each type with its object."""
        paid, unpaid = {"payment_status": "paid"}, {"payment_status": "unpaid"}
        yield "checkout.session.completed", self._session(**paid)
        yield "checkout.session.async_payment_succeeded", self._session(**paid)
        yield "checkout.session.async_payment_failed", self._session(**unpaid)
        yield "checkout.session.expired", self._session(**unpaid, status="expired")
        yield "payment_intent.succeeded", self._intent(amount_received=self._about.minor)
        yield "payment_intent.payment_failed", self._failed_intent()
        yield "payment_intent.canceled", self._intent(status="canceled", latest_charge=None)
        yield "refund.created", self._refund()
        yield "refund.updated", self._refund()
        yield "charge.refund.updated", self._refund()
        yield (
            "refund.failed",
            self._refund(status="failed", failure_reason="expired_or_canceled_card"),
        )
        yield "charge.refunded", self._charge()
        yield "charge.dispute.created", self._dispute(status="needs_response")
        yield "charge.dispute.closed", self._dispute(status="lost")

    def _common(self, name: str, kind: str, **fields: Any) -> Object:
        """What objects of all kinds have; they were made a minute ago."""
        made = self._about.at // 1000 - 60
        return {"id": name, "object": kind, "created": made, "currency": CURRENCY} | fields

    def _session(self, **fields: Any) -> Object:
        session = {
            "amount_subtotal": self._about.minor,
            "amount_total": self._about.minor,
            "client_reference_id": self._reference,
            "customer_details": {
                "address": {"city": "Berlin", "country": "DE", "postal_code": "10115"},
                "email": "buyer@example.com",
                "name": "Robin Example",
            },
            "livemode": False,
            "metadata": self._named,
            "mode": "payment",
            "payment_intent": self._intent_id,
            "payment_link": None,
            "payment_method_types": ["card"],
            "status": "complete",
        }
        return self._common(self._session_id, "checkout.session", **session | fields)

    def _intent(self, **fields: Any) -> Object:
        intent = {
            "amount": self._about.minor,
            "amount_received": 0,
            "capture_method": "automatic",
            "last_payment_error": None,
            "latest_charge": self._charge_id,
            "livemode": False,
            "metadata": self._named,
            "payment_method_types": ["card"],
            "status": "succeeded",
        }
        return self._common(self._intent_id, "payment_intent", **intent | fields)

    def _failed_intent(self) -> Object:
        error = {
            "code": "card_declined",
            "message": "Your card was declined.",
            "type": "card_error",
        }
        return self._intent(status="requires_payment_method", last_payment_error=error)

    def _charge(self) -> Object:
        return self._common(
            self._charge_id,
            "charge",
            amount=self._about.minor,
            amount_refunded=self._about.refunded,
            livemode=False,
            metadata=self._named,
            payment_intent=self._intent_id,
            refunded=self._about.refunded == self._about.minor,
            status="succeeded",
        )

    def _refund(self, **fields: Any) -> Object:
        refund = {
            "amount": self._about.refunded,
            "charge": self._charge_id,
            "metadata": self._named,
            "payment_intent": self._intent_id,
            "reason": "requested_by_customer",
            "status": "succeeded",
        }
        return self._common(self._refund_id, "refund", **refund | fields)

    def _dispute(self, *, status: str) -> Object:
        return self._common(
            self._dispute_id,
            "dispute",
            amount=self._about.minor,
            charge=self._charge_id,
            livemode=False,
            metadata=self._named,
            payment_intent=self._intent_id,
            reason="fraudulent",
            status=status,
        )


def _part(order: str) -> str:
    """The order as a part of Stripe's ids, which are of letters and digits."""
    return order if _PLAIN.fullmatch(order) else hashlib.sha256(order.encode()).hexdigest()[:24]


def _envelope(name: str, thing: Object, occasion: Occasion) -> bytes:
    """Stripe's envelope; it sends its JSON indented."""
    event = {
        "id": f"evt_1{occasion.tag}{name.replace('.', '').replace('_', '')}",
        "object": "event",
        "api_version": API_VERSION,
        "created": occasion.at // 1000,
        "data": {"object": thing},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": name,
    }
    return json.dumps(event, indent=2).encode()
