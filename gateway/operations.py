"""Operational events: what the gateway says about itself, through ordinary subscriptions."""

from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec
from msgspec import Raw

from gateway.events import SupersededData, Writer
from gateway.models import Delivery, Event, Millis, Subscription

SOURCE = "gateway"
SHOP = "default"

_encoder = msgspec.json.Encoder()


class SubscriptionData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`data` of `gateway.subscription.gone` and `gateway.subscription.paused`."""

    subscription: str
    origin: str
    reason: str


class ExhaustedData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`data` of `gateway.delivery.exhausted`."""

    delivery: str
    subscription: str
    event: str
    type: str
    reason: str


class SourceData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`data` of `gateway.source.failing`."""

    source: str
    reason: str


TYPES: dict[str, type[msgspec.Struct]] = {
    "gateway.subscription.gone": SubscriptionData,
    "gateway.subscription.paused": SubscriptionData,
    "gateway.delivery.exhausted": ExhaustedData,
    "gateway.source.failing": SourceData,
    "gateway.fact.superseded": SupersededData,  # made where facts are decided upon
}


class Operations:
    """Makes operational events; `clock` is the time at which they happen."""

    def __init__(self, writer: Writer, *, clock: Callable[[], Millis]) -> None:
        self._writer, self._clock = writer, clock

    def subscription(self, kind: str, subscription: Subscription, reason: str) -> Event:
        """`gateway.subscription.<kind>`: `gone` or `paused`."""
        # The origin only: a path or a query may hold the consumer's token.
        parts = urlsplit(subscription.url)
        data = SubscriptionData(subscription.name, f"{parts.scheme}://{parts.netloc}", reason)
        return self._event(f"gateway.subscription.{kind}", subscription.name, data)

    def exhausted(self, subscription: Subscription, delivery: Delivery, reason: str) -> Event:
        """`gateway.delivery.exhausted`: a delivery has become a dead letter."""
        data = ExhaustedData(
            f"dl_{delivery.id}", subscription.name, delivery.event_id, delivery.event_type, reason
        )
        return self._event("gateway.delivery.exhausted", f"dl_{delivery.id}", data)

    def source_failing(self, source: str, reason: str) -> Event:
        """`gateway.source.failing`: the API of a polled source refuses, or has failed for long."""
        return self._event("gateway.source.failing", source, SourceData(source, reason))

    def _event(self, kind: str, subject: str, data: msgspec.Struct) -> Event:
        now = self._clock()
        return self._writer.other_event(
            Raw(_encoder.encode(data)),
            event_type=kind,
            occurrence=(subject, str(now)),
            subject=subject,
            shop=SHOP,
            source=SOURCE,
            at=now,
            recorded=now,
        )
