"""What Stripe and PrintStudio write and sign, and what Marketiger answers when it is asked.

Formats: https://docs.stripe.com/api/events/object, https://docs.stripe.com/webhooks (signature),
https://docs.printstudio.r5i.io/api/webhooks and https://docs.marketiger3d.com/docs/status-codes.
"""

import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

STRIPE, PRINTSTUDIO, MARKETIGER = "stripe", "printstudio", "marketiger"
CURRENCY = "EUR"

Body = dict[str, Any]


def headers(source: str, body: bytes, secret: str, now: int) -> Mapping[str, str]:
    """The headers with which a provider sends this body at `now` (Unix seconds)."""
    if source == STRIPE:
        signature = f"t={now},v1={_hmac(secret, b'%d.%b' % (now, body))}"
        sent = {"user-agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)"}
        sent["stripe-signature"] = signature
    else:
        sent = {"x-printstudio-signature": f"sha256={_hmac(secret, body)}"}
    return {"content-type": "application/json; charset=utf-8", **sent}


def _hmac(secret: str, content: bytes) -> str:
    return hmac.digest(secret.encode(), content, "sha256").hex()


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Shopping:
    """What a buyer does for one order, in the words of all providers.

    `cents` is the price; Marketiger knows the order as `guid`, since `placed`. All times are Unix
    seconds.
    """

    def __init__(self, order: str, *, cents: int, placed: int = 0) -> None:
        self._order, self._cents, self._placed = order, cents, placed
        self._intent, self._session = f"pi_3Demo{order}", f"cs_test_demo{order}"
        self.guid = str(uuid5(NAMESPACE_DNS, order))

    def session_completed(self, at: int) -> bytes:
        """Stripe's `checkout.session.completed`: a paid session that names the order."""
        session = {
            "id": self._session,
            "object": "checkout.session",
            "amount_subtotal": self._cents,
            "amount_total": self._cents,
            "client_reference_id": None,
            "created": at - 60,
            "currency": CURRENCY.lower(),
            "customer_details": {
                "address": {"city": "Berlin", "country": "DE", "postal_code": "10115"},
                "email": "buyer@example.com",
                "name": "Robin Example",
            },
            "livemode": False,
            "metadata": {"order_id": self._order},
            "mode": "payment",
            "payment_intent": self._intent,
            "payment_link": None,
            "payment_method_types": ["card"],
            "payment_status": "paid",
            "status": "complete",
        }
        return self._stripe("checkout.session.completed", session, at)

    def intent_succeeded(self, at: int) -> bytes:
        """Stripe's `payment_intent.succeeded`: its metadata say nothing of the order."""
        intent = {
            "id": self._intent,
            "object": "payment_intent",
            "amount": self._cents,
            "amount_received": self._cents,
            "capture_method": "automatic",
            "created": at - 60,
            "currency": CURRENCY.lower(),
            "latest_charge": f"ch_3Demo{self._order}",
            "livemode": False,
            "metadata": {},
            "payment_method_types": ["card"],
            "status": "succeeded",
        }
        return self._stripe("payment_intent.succeeded", intent, at)

    def refund_created(self, at: int, *, cents: int) -> bytes:
        """Stripe's `refund.created`, which has succeeded at once."""
        refund = {
            "id": f"re_3Demo{self._order}",
            "object": "refund",
            "amount": cents,
            "charge": f"ch_3Demo{self._order}",
            "created": at,
            "currency": CURRENCY.lower(),
            "metadata": {},
            "payment_intent": self._intent,
            "reason": "requested_by_customer",
            "status": "succeeded",
        }
        return self._stripe("refund.created", refund, at)

    def printstudio(self, event: str, at: int, **data: object) -> bytes:
        """PrintStudio's envelope round one of its order events."""
        envelope = {
            "id": f"evt-{self._order}-{event.removeprefix('order.')}",
            "event": event,
            "timestamp": _iso(at),
            "data": {"orderId": self._order, **data},
        }
        return json.dumps(envelope, separators=(",", ":")).encode()

    def printstudio_created(self, at: int) -> bytes:
        """PrintStudio's `order.created`, with the one line of the order."""
        price = round(self._cents / 100, 2)
        line = {"id": "line-1", "skuId": "sku-pla-black-dragon", "quantity": 1}
        line |= {"unitPrice": price, "total": price}
        return self.printstudio("order.created", at, lineItems=[line], total=price)

    def marketiger(self, status: int, at: int, *, tracking: str = "") -> bytes:
        """Marketiger's answer about the order: its status since `at`, and its parcel."""
        parcel = {"trackingNumber": tracking, "shippingMethodId": 7, "trackingUrl": None}
        model = {"poId": 4711, "modelId": "dragon-01", "modelName": "dragon.stl"}
        model |= {"imageUrl": None, "price": None, "status": 0, "bounds": None, "quantity": 1}
        order = {
            "id": self.guid,
            "status": status,
            "createdDate": _iso(self._placed),
            "updated": _iso(at),
            "trackAndTrace": parcel if tracking else None,
            "shippingMethodId": 7,
            "projectName": "Demo",
            "paymentLink": None,
            "shippingRate": None,
            "orderModels": [model],
        }
        return json.dumps({"success": True, "data": {"order": order}}).encode()

    def _stripe(self, event_type: str, thing: Body, at: int) -> bytes:
        """Stripe's envelope; it sends its JSON indented."""
        event = {
            "id": f"evt_1Demo{self._order}{event_type.replace('.', '').replace('_', '')}",
            "object": "event",
            "api_version": "2026-06-24.dahlia",
            "created": at,
            "data": {"object": thing},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": event_type,
        }
        return json.dumps(event, indent=2).encode()
