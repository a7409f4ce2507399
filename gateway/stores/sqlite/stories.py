"""The story of one order, event, delivery or callback, by whatever id a person has of it."""

from collections.abc import Iterator, Sequence
from itertools import chain

import msgspec

from gateway.errors import NotFound
from gateway.models import Millis
from gateway.stores.sqlite.keys import EVENT_ROW, key, plain_key
from gateway.stores.sqlite.reading import (
    CALLBACK,
    DELIVERY,
    EVENT,
    Reading,
    Row,
    callback_row,
    delivery_row,
    notes,
    number_of,
)
from gateway.stores.views import MappingRow, Story

CANDIDATES = 1000  # orders whose state has this text: what so many share is no id of one of them
TOLD = 20  # of the orders that have it as an id


class Part(msgspec.Struct, array_like=True):
    """A provider's order, of which only what is said of its parcel counts here."""

    state: msgspec.Raw
    hard: msgspec.Raw
    soft: msgspec.Raw
    shipped: msgspec.Raw
    cancelled: msgspec.Raw
    parcel: dict[str, tuple[str, Millis]] = {}


class Named(msgspec.Struct):
    """What providers named in an order; the rest of its state is left out."""

    ids: dict[str, list[str]] = {}
    payments: dict[str, msgspec.Raw] = {}
    refunds: dict[str, msgspec.Raw] = {}
    cumulative: dict[str, msgspec.Raw] = {}
    same_payment: dict[str, str] = {}
    disputes: dict[str, msgspec.Raw] = {}
    fulfilments: dict[str, Part] = {}

    def every(self) -> Iterator[str]:
        """The ids of its objects, and the numbers of its parcels."""
        yield from chain.from_iterable(self.ids.values())
        yield from chain(self.payments, self.refunds, self.cumulative, self.disputes)
        yield from chain(self.same_payment, self.same_payment.values(), self.fulfilments)
        parcels = (part.parcel.get("tracking_number") for part in self.fulfilments.values())
        yield from (number for number, _ in filter(None, parcels))


_pack = msgspec.msgpack.Encoder().encode
_named = msgspec.msgpack.Decoder(Named)


class Stories:
    """Finds out what belongs together."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    async def explain(self, name: str) -> Sequence[Story]:
        """See `gateway.stores.base.Records`."""
        stories = [
            *await self._by_delivery(name),
            *await self._by_event(name),
            *await self._by_callback(name),
            *await self._by_order(name),
        ]
        if not stories:
            stories = await self._by_provider_id(name)
        if not stories:
            raise NotFound(
                f"nothing is known under {name!r}: no order, event, delivery or callback"
            )
        return stories

    async def _by_delivery(self, name: str) -> list[Story]:
        if (number := number_of(name, "dl_")) is None:
            return []
        rows = await self._reading.fetch(
            "SELECT d.event FROM deliveries d JOIN events e ON e.id = d.event WHERE d.id = ?",
            (number,),
        )
        return [await self._event_story(f"delivery {name}", row[0], number) for row in rows]

    async def _by_event(self, name: str) -> list[Story]:
        rows = await self._reading.fetch(EVENT_ROW, (name, name))
        return [await self._event_story(f"event {name}", row[0], None) for row in rows]

    async def _event_story(self, found_as: str, event: int, delivery: int | None) -> Story:
        events = await self._reading.fetch(EVENT + " WHERE id = ?", (event,))
        callbacks = await self._reading.fetch(CALLBACK + " WHERE id = ?", (events[0][9],))
        deliveries = await self._reading.fetch(
            DELIVERY + " WHERE d.event = ? AND (? IS NULL OR d.id = ?) ORDER BY d.id",
            (event, delivery, delivery),
        )
        return await self._story(found_as, events[0][5], callbacks, events, deliveries)

    async def _by_callback(self, name: str) -> list[Story]:
        """A callback by its own id, or by the id that the provider gave to its event."""
        if (number := number_of(name, "cb_")) is not None:
            rows = await self._reading.fetch(CALLBACK + " WHERE id = ?", (number,))
            return [await self._callback_story(f"callback {name}", row) for row in rows]
        sources = await self._reading.fetch("SELECT source FROM source_states")
        hashes = [key(source[0], name) for source in sources]
        marks = ", ".join("?" for _ in hashes)
        rows = await self._reading.fetch(CALLBACK + f" WHERE dedupe IN ({marks})", hashes)
        return [await self._callback_story(f"the provider's event {name}", row) for row in rows]

    async def _callback_story(self, found_as: str, callback: Row) -> Story:
        events = await self._reading.fetch(
            EVENT + " WHERE callback = ? ORDER BY id", (callback[0],)
        )
        deliveries = await self._reading.fetch(
            DELIVERY + " WHERE e.callback = ? ORDER BY d.id", (callback[0],)
        )
        order = next((note.order for note in notes.decode(callback[8]) if note.order), None)
        return await self._story(found_as, order, [callback], events, deliveries)

    async def _by_order(self, name: str) -> list[Story]:
        """An order by its id, or by what leads to it: an alias, a payment intent, a session."""
        shops = await self._reading.fetch("SELECT shop FROM shops")
        stories: list[Story] = []
        for (shop,) in shops:
            for order, found_as in (await self.names(shop, name)).items():
                stories.append(await self._order_story(found_as, shop, order))
        return stories

    async def names(self, shop: str, name: str) -> dict[str, str]:
        """The orders of a shop that `name` leads to, and how."""
        found: dict[str, str] = {}
        if await self._reading.fetch("SELECT 1 FROM orders WHERE key = ?", (key(shop, name),)):
            found[name] = f"order {name}"
        for link in (f"name:{name}", f"stripe:{name}"):
            rows = await self._reading.fetch(
                "SELECT order_id FROM links WHERE key IN (?, ?)",
                (key(shop, link), plain_key(shop, link)),
            )
            for (order,) in rows:
                found.setdefault(order, f"{name}, which belongs to order {order}")
        return found

    async def _order_story(self, found_as: str, shop: str, order: str) -> Story:
        rows = await self._reading.fetch("SELECT id FROM orders WHERE key = ?", (key(shop, order),))
        row = rows[0] if rows else (None,)
        callbacks = await self._reading.fetch(CALLBACK + " WHERE order_row = ? ORDER BY id", row)
        events = await self._reading.fetch(EVENT + " WHERE order_row = ? ORDER BY id", row)
        deliveries = await self._reading.fetch(
            DELIVERY + " WHERE e.order_row = ? ORDER BY d.id", row
        )
        return await self._story(found_as, order, callbacks, events, deliveries, shop=shop)

    async def _by_provider_id(self, name: str) -> list[Story]:
        """A provider's object (a refund, a dispute) that no index knows: look into the orders."""
        rows = await self._reading.fetch(
            "SELECT shop, order_id, state FROM orders WHERE instr(state, ?) LIMIT ?",
            (_pack(name), CANDIDATES),  # packed with its length, so no part of a longer one
        )
        found = [
            (shop, order) for shop, order, state in rows if name in _named.decode(state).every()
        ]
        return [
            await self._order_story(f"{name}, which belongs to order {order}", shop, order)
            for shop, order in found[:TOLD]
        ]

    async def _mappings(self, callbacks: Sequence[Row]) -> dict[str, MappingRow]:
        """What each was read by: of its source's mappings the last one that began before."""
        known: dict[str, list[MappingRow]] = {}
        for source in {row[1] for row in callbacks}:
            rows = await self._reading.fetch(
                "SELECT provider, version, options, since FROM mappings WHERE source = ?"
                " ORDER BY id DESC",
                (source,),
            )
            known[source] = [_mapping(row) for row in rows]
        found: dict[str, MappingRow] = {}
        for row in callbacks:
            by = next((one for one in known[row[1]] if one.since <= _read_at(row)), None)
            if by is not None:
                found[f"cb_{row[0]}"] = by
        return found

    async def _story(
        self,
        found_as: str,
        order: str | None,
        callbacks: Sequence[Row],
        events: Sequence[Row],
        deliveries: Sequence[Row],
        *,
        shop: str | None = None,
    ) -> Story:
        return Story(
            found_as=found_as,
            shop=shop or (events[0][4] if events else None),
            order=order,
            callbacks=[callback_row(row) for row in callbacks],
            mappings=await self._mappings(callbacks),
            events=[await self._reading.event(row) for row in events],
            deliveries=[delivery_row(row) for row in deliveries],
            attempts=await self._reading.attempts([row[0] for row in deliveries]),
        )


def _read_at(callback: Row) -> Millis:
    """When it was read last: when it came, but for what was in quarantine."""
    received: Millis = callback[5]
    again: Millis | None = callback[10]
    return received if again is None else again


def _mapping(row: Row) -> MappingRow:
    provider, version, options, since = row
    return MappingRow(
        provider=provider, version=version, options=msgspec.json.decode(options), since=since
    )
