"""Takes events that internal services publish: stored, routed and delivered like all others."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from enum import StrEnum

import msgspec
from msgspec import Raw

from gateway.catalogue import TEST
from gateway.errors import BadRequest, Unprocessable
from gateway.models import (
    Callback,
    Decision,
    Entry,
    Fact,
    Known,
    Millis,
    Origin,
    Receipt,
    Track,
    Verdict,
)
from gateway.orders.decide import Orders
from gateway.orders.state import load
from gateway.orders.tables import OrderType
from gateway.published import Published
from gateway.stores.base import Decide, Intake, Outbox
from gateway.told import tell

SOURCE = "published"  # the name of the source that all of them have
PROVIDER = "cloudevents"
SHOP = "default"
OWN, ORDERS = "gateway.", "order."

_encoder = msgspec.json.Encoder()


class PublishState(StrEnum):
    """What became of it: an event; or, of an order, nothing but what was known, or too late."""

    EMITTED = "emitted"
    MERGED = "merged"
    SUPERSEDED = "superseded"


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one, stored durably: the gateway's id for the event that it made, if any.

    That id is the `webhook-id`.
    """

    id: str | None
    duplicate: bool
    state: PublishState


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

    async def publish(self, events: Sequence[Published], *, shop: str | None) -> list[Accepted]:
        """Store events; a repeat, by `source` and `id`, is what the first one was.

        Without a `shop` an order event is of the shop that its data name, another one of the
        default one. Raises `Unprocessable` before any of them is stored, and `Unavailable`.
        """
        ready = []
        for place, event in enumerate(events):
            path = "$" if len(events) == 1 else f"$[{place}]"
            ready.append(self._ready(event, shop, path))
        # Together, so that they share a transaction; they are stored in their order all the same.
        return await asyncio.gather(*(self._accept(intake, decide) for intake, decide in ready))

    def _ready(self, event: Published, shop: str | None, path: str) -> tuple[Intake, Decide]:
        if event.type.startswith(OWN):
            raise Unprocessable(f"{path}.type: {OWN}* are the gateway's own events")
        if event.type.startswith(ORDERS):
            return self._of_an_order(event, shop, path)
        now = self._clock()
        fact = Fact(
            track=Track.EVENT,
            at=event.time if event.time is not None else now,
            type=event.type,
            subject=event.subject,
            data=Raw(event.data or b"null"),
            envelope=event.envelope,
        )
        intake, _ = self._intake(event, shop or SHOP, now, [fact], ())
        return intake, self._orders.decide

    def _of_an_order(self, event: Published, shop: str | None, path: str) -> tuple[Intake, Decide]:
        if str(event.attributes.get(TEST, False)).lower() == "true":
            raise Unprocessable(f"{path}.{TEST}: a test event tells of what never happened")
        now = self._clock()
        told = tell(event, shop=shop, now=now, path=path)
        intake, unheard = self._intake(event, told.shop, now, told.facts, told.unheard)
        return intake, self._decider(unheard) if unheard else self._orders.decide

    def _intake(
        self,
        event: Published,
        shop: str,
        now: Millis,
        facts: Sequence[Fact],
        others: Sequence[Fact],
    ) -> tuple[Intake, list[Entry]]:
        """What is stored of it, with the entries of its facts; and those of other facts."""
        span = self._random(24).hex()
        event_id = _encoder.encode([event.source, event.id]).decode()
        origin = Origin(
            source=SOURCE,
            provider=PROVIDER,
            shop=shop,
            event_id=event_id if facts[0].track is Track.EVENT else _short(event_id),
            event_type=event.type,
            recorded=now,
            traceparent=f"00-{span[:32]}-{span[32:]}-01",
        )
        intake = Intake(
            callback=Callback(source=SOURCE, headers=[], body=event.envelope, received_at=now),
            provider=PROVIDER,
            shop=shop,
            event_id=event_id,
            event_type=event.type,
            entries=[Entry(fact=fact, origin=origin) for fact in facts],
        )
        return intake, [Entry(fact=fact, origin=origin) for fact in others]

    def _decider(self, unheard: Sequence[Entry]) -> Decide:
        """Decides upon `unheard` instead where that is needed, see `gateway.told.Told`."""

        def decide(entries: Sequence[Entry], known: Known) -> Decision:
            decision = self._orders.decide(entries, known)
            order = decision.notes[0][0].order or ""
            state = known.orders.get(order)
            told = any(
                event.type == OrderType.UPDATED for late, event in decision.events if not late
            )
            if told or (state is not None and load(state).begun()):
                return decision
            return self._orders.decide(unheard, known)

        return decide

    async def _accept(self, intake: Intake, decide: Decide) -> Accepted:
        receipt = await self._outbox.accept(intake, decide)
        if receipt.verdict is Verdict.QUARANTINED:
            raise BadRequest(f"the event was stored as {receipt.id}, but cannot be sent")
        return _accepted(receipt)


def _accepted(receipt: Receipt) -> Accepted:
    """What it said itself comes last, behind what had to be told before it."""
    if receipt.events:
        return Accepted(
            id=receipt.events[-1], duplicate=receipt.duplicate, state=PublishState.EMITTED
        )
    late = receipt.verdict is Verdict.SUPERSEDED
    state = PublishState.SUPERSEDED if late else PublishState.MERGED
    return Accepted(id=None, duplicate=receipt.duplicate, state=state)


def _short(event_id: str) -> str:
    """As it stands in `cause` of an event, whose schema allows no more than 255 characters."""
    if len(event_id) <= 255:
        return event_id
    return f"sha256:{hashlib.sha256(event_id.encode()).hexdigest()}"
