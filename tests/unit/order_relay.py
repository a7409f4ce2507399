"""A gateway into which order events are published: `Publisher` and `Orders` round a shop in memory."""

import asyncio
from typing import Any

import msgspec

from gateway.events import Writer
from gateway.models import Event, Millis, Receipt, Verdict
from gateway.orders.decide import Orders
from gateway.orders.tables import OrderType
from gateway.published import STRUCTURED, Published, read
from gateway.publisher import Accepted, Publisher
from gateway.stores.base import Decide, Intake
from tests.unit.order_shop import Shop, body, data

NOW = Millis(1_770_000_000_000)
FLAGS = ("implied", "partial", "quantity", "reason", "what", "value", "id", "amount")


class Kept:
    """What a store does with an intake, as far as `Publisher` sees it."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.intakes = shop, list[Intake]()

    async def accept(self, intake: Intake, decide: Decide) -> Receipt:
        self.intakes.append(intake)
        self.shop.callbacks += 1
        self.shop._write(decide(intake.entries, self.shop.known(intake.entries)))
        notes = self.shop.notes[self.shop.callbacks]
        return Receipt(
            id=f"cb_{self.shop.callbacks}",
            events=[event for note in notes for event in note.events],
            duplicate=False,
            verdict=self.shop.verdict(),
        )


class Relay:
    """`shop` has what was made of it."""

    def __init__(self) -> None:
        self.shop = Shop()
        self.store = Kept(self.shop)
        orders = Orders(Writer("https://second.example.com"))
        store: Any = self.store
        self.publisher = Publisher(store, orders, clock=lambda: NOW, random=bytes)

    def publish(self, event: Event | dict[str, Any] | bytes, shop: str | None = None) -> Accepted:
        """Publish one event of another gateway; what became of it."""
        (accepted,) = asyncio.run(self.publisher.publish([published(event)], shop=shop))
        assert self.shop.verdict() is not Verdict.QUARANTINED
        return accepted

    def made(self, accepted: Accepted) -> Event:
        """The event that it made."""
        return next(event for event in self.shop.events if event.id == accepted.id)


def published(event: Event | dict[str, Any] | bytes) -> Published:
    raw = event.body if isinstance(event, Event) else event
    text = raw if isinstance(raw, bytes) else msgspec.json.encode(raw)
    (one,) = read(STRUCTURED, [], text)
    return one


def essence(event: Event) -> dict[str, Any]:
    """What an event says of itself, and nothing that hangs on what was said before it."""
    said, envelope = data(event), body(event)
    found = {name: said["change"][name] for name in FLAGS}
    found |= {name: said[name] for name in ("shop", "order", "livemode", "total", "lines")}
    found |= {"type": event.type, "time": envelope["time"], "subject": envelope["subject"]}
    kind = event.type
    if kind in {OrderType.PRINTING, OrderType.READY, OrderType.SHIPPED, OrderType.CANCELLED}:
        parts = [part for part in said["parts"] if part["id"] == found["id"]]
        found["shipment"] = [part["shipment"] for part in parts]
    if kind == OrderType.ON_HOLD:
        found["hold"] = said["state"]["hold"]
    if kind == OrderType.UPDATED:
        money = said["payment"]
        every = [*money["payments"], *money["refunds"], *money["disputes"]]
        found["amount"] = [one["amount"] for one in every if one["id"] == found["id"] is not None]
    return found
