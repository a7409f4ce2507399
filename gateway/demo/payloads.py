"""What Stripe and PrintStudio write and sign, and what Marketiger answers when it is asked.

The former are the samples of their providers; the latter is as in
https://docs.marketiger3d.com/docs/status-codes.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from uuid import NAMESPACE_DNS, uuid5

import msgspec

from gateway.models import Millis
from gateway.providers.base import Occasion, Sampling, can_sample
from gateway.providers.registry import provider_class

STRIPE, PRINTSTUDIO, MARKETIGER = "stripe", "printstudio", "marketiger"
CURRENCY = "EUR"
TRACKING = "1Z999AA10123456784"


def headers(source: str, body: bytes, secret: str, now: int) -> Mapping[str, str]:
    """The headers with which a provider sends this body at `now` (Unix seconds)."""
    return _provider(source).sign(body, secret=secret.encode(), now=Millis(now * 1000))


@cache
def _provider(name: str) -> Sampling:
    """A provider of callbacks; at Stripe, this shop names its orders in sessions alone."""
    provider = provider_class(name)
    assert can_sample(provider)
    options = {"order_id": ()} if name == STRIPE else {}
    return provider(msgspec.convert(options, provider.Options))


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Shopping:
    """What a buyer does for one order, in the words of all providers.

    `cents` is the price; Marketiger knows the order as `guid`, since `placed`. All times are Unix
    seconds.
    """

    def __init__(self, order: str, *, cents: int, placed: int = 0) -> None:
        self._order, self._cents, self._placed = order, cents, placed
        self.guid = str(uuid5(NAMESPACE_DNS, order))

    def session_completed(self, at: int) -> bytes:
        """Stripe's `checkout.session.completed`: a paid session that names the order."""
        return self._told(STRIPE, "checkout.session.completed", at)

    def intent_succeeded(self, at: int) -> bytes:
        """Stripe's `payment_intent.succeeded`: it says nothing of the order."""
        return self._told(STRIPE, "payment_intent.succeeded", at)

    def refund_created(self, at: int, *, cents: int) -> bytes:
        """Stripe's `refund.created`, which has succeeded at once."""
        return self._told(STRIPE, "refund.created", at, refunded=cents)

    def printstudio(self, event: str, at: int) -> bytes:
        """One of PrintStudio's order events."""
        return self._told(PRINTSTUDIO, event, at)

    def _told(self, source: str, kind: str, at: int, *, refunded: int = 0) -> bytes:
        occasion = Occasion(
            order=self._order,
            tag=f"Demo{self._order}",
            at=Millis(at * 1000),
            minor=self._cents,
            refunded=refunded,
            tracking=TRACKING,
        )
        return _provider(source).samples(occasion)[kind]

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
