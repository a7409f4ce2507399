"""Takes events that internal services publish: stored, routed and delivered like all others."""

import asyncio
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Raw

from gateway.errors import BadRequest, Unprocessable
from gateway.models import Callback, Entry, Fact, Millis, Origin, Track, Verdict
from gateway.orders.decide import Orders
from gateway.published import Published
from gateway.stores.base import Intake, Outbox

SOURCE = "published"  # the name of the source that all of them have
PROVIDER = "cloudevents"
OWN, ORDERS = "gateway.", "order."

_encoder = msgspec.json.Encoder()


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one: the gateway's id for it, which is its `webhook-id`; stored durably."""

    id: str
    duplicate: bool


class Publisher:
    """`random` gives random bytes for trace ids."""

    def __init__(
        self,
        outbox: Outbox,
        orders: Orders,
        *,
        clock: Callable[[], Millis],
        random: Callable[[int], bytes],
    ) -> None:
        self._outbox, self._orders = outbox, orders
        self._clock, self._random = clock, random

    async def publish(self, events: Sequence[Published], *, shop: str) -> list[Accepted]:
        """Store events; a repeat, by `source` and `id`, is what the first one was.

        Raises `Unprocessable` before any of them is stored, and `Unavailable`.
        """
        for place, event in enumerate(events):
            _check(event, "$" if len(events) == 1 else f"$[{place}]")
        # Together, so that they share a transaction; they are stored in their order all the same.
        return await asyncio.gather(*(self._publish(event, shop) for event in events))

    async def _publish(self, event: Published, shop: str) -> Accepted:
        now = self._clock()
        span = self._random(24).hex()
        origin = Origin(
            source=SOURCE,
            provider=PROVIDER,
            shop=shop,
            event_id=_encoder.encode([event.source, event.id]).decode(),
            event_type=event.type,
            recorded=now,
            traceparent=f"00-{span[:32]}-{span[32:]}-01",
        )
        fact = Fact(
            track=Track.EVENT,
            at=event.time if event.time is not None else now,
            type=event.type,
            subject=event.subject,
            data=Raw(event.data or b"null"),
            envelope=event.envelope,
        )
        callback = Callback(source=SOURCE, headers=[], body=event.envelope, received_at=now)
        intake = Intake(
            callback=callback,
            provider=PROVIDER,
            shop=shop,
            event_id=origin.event_id,
            event_type=event.type,
            entries=[Entry(fact=fact, origin=origin)],
        )
        receipt = await self._outbox.accept(intake, self._orders.decide)
        if receipt.verdict is Verdict.QUARANTINED or not receipt.events:
            raise BadRequest(f"the event was stored as {receipt.id}, but cannot be sent")
        return Accepted(id=receipt.events[0], duplicate=receipt.duplicate)


def _check(event: Published, path: str) -> None:
    if event.type.startswith(OWN):
        raise Unprocessable(f"{path}.type: {OWN}* are the gateway's own events")
    if event.type.startswith(ORDERS):
        raise Unprocessable(
            f"{path}.type: {ORDERS}* are made from what sources say of an order; they cannot be"
            " published yet"
        )
