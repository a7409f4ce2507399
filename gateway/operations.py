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
    """`data` of `gateway.subscription.gone`, `paused`, `failing` and `recovered`."""

    subscription: str
    origin: str
    reason: str


class ExhaustedData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`data` of `gateway.delivery.exhausted`; of a batch, `event` is its id and `events` how many."""

    delivery: str
    subscription: str
    event: str
    type: str
    reason: str
    events: int = 1


class SourceData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`data` of `gateway.source.failing`, `silent` and `rejecting`."""

    source: str
    reason: str


TYPES: dict[str, type[msgspec.Struct]] = {
    "gateway.subscription.gone": SubscriptionData,
    "gateway.subscription.paused": SubscriptionData,
    "gateway.subscription.failing": SubscriptionData,
    "gateway.subscription.recovered": SubscriptionData,
    "gateway.delivery.exhausted": ExhaustedData,
    "gateway.source.failing": SourceData,
    "gateway.source.silent": SourceData,
    "gateway.source.rejecting": SourceData,
    "gateway.fact.superseded": SupersededData,  # made where facts are decided upon
}


class Operations:
    """Makes operational events; `clock` is the time at which they happen."""

    def __init__(self, writer: Writer, *, clock: Callable[[], Millis]) -> None:
        self._writer, self._clock = writer, clock
        self._stamp = 0  # of the newest

    def subscription(self, kind: str, subscription: Subscription, reason: str) -> Event:
        """`gateway.subscription.<kind>`: `gone`, `paused`, `failing` or `recovered`."""
        # The origin only: a path or a query may hold the consumer's token.
        parts = urlsplit(subscription.url)
        data = SubscriptionData(subscription.name, f"{parts.scheme}://{parts.netloc}", reason)
        return self._event(f"gateway.subscription.{kind}", subscription.name, data)

    def exhausted(self, subscription: Subscription, delivery: Delivery, reason: str) -> Event:
        """`gateway.delivery.exhausted`: a delivery has become a dead letter, or is parked."""
        data = ExhaustedData(
            f"dl_{delivery.id}",
            subscription.name,
            delivery.event_id,
            delivery.event_type,
            reason,
            delivery.size,
        )
        return self._event("gateway.delivery.exhausted", f"dl_{delivery.id}", data)

    def source(self, kind: str, source: str, reason: str) -> Event:
        """`gateway.source.<kind>`.

        `failing`: the API of a polled source refuses, or has failed for long. `silent`: no callback
        came for as long as is configured. `rejecting`: what comes is not signed with its secrets.
        """
        return self._event(f"gateway.source.{kind}", source, SourceData(source, reason))

    def _event(self, kind: str, subject: str, data: msgspec.Struct) -> Event:
        now = self._clock()
        # A subscription may fail, recover and fail again within a millisecond: two events.
        self._stamp = max(now, self._stamp + 1)
        return self._writer.other_event(
            Raw(_encoder.encode(data)),
            event_type=kind,
            occurrence=(subject, str(self._stamp)),
            subject=subject,
            shop=SHOP,
            source=SOURCE,
            at=now,
            recorded=now,
        )
