"""Lists in pages, newest first; a page goes on where the one before ended, whatever came meanwhile.

There is no index for every filter: a page looks at `SCANNED` rows at most, and may be short.
"""

from collections.abc import Sequence

import msgspec

from gateway.errors import NotFound
from gateway.stores.sqlite.keys import EVENT_ROW, key, marks
from gateway.stores.sqlite.reading import (
    CALLBACK,
    DELIVERY,
    EVENT,
    STATES,
    Reading,
    Row,
    callback_row,
    delivery_row,
)
from gateway.stores.views import (
    CallbackFilter,
    CallbackRow,
    DeliveryFilter,
    DeliveryRow,
    EventFilter,
    EventRow,
    Page,
)

SCANNED = 50_000  # rows that one page looks at

Asked = list[tuple[str, list[object]]]


class _Listed(msgspec.Struct, frozen=True):
    """What is listed: its table, the statement of its rows, the column that numbers them.

    `indexed`: what is asked for is found by an index, so that nothing has to be looked at in vain.
    """

    table: str
    select: str
    number: str
    indexed: bool


class Listing:
    """Reads pages; `before` is the row behind which a page begins, None for the newest."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    async def events(
        self, wanted: EventFilter, *, before: int | None, limit: int
    ) -> Page[EventRow]:
        """Events, newest first."""
        asked = _given(
            ("type = ?", wanted.type),
            ("source = ?", wanted.source),
            ("shop = ?", wanted.shop),
            ("recorded >= ?", wanted.since),
            ("recorded < ?", wanted.until),
        )
        if wanted.order is not None:
            orders = await self._orders(wanted.order)
            asked.append((f"order_row IN ({marks(orders)})", orders))
        listed = _Listed("events", EVENT, "id", indexed=wanted.order is not None)
        rows, following = await self._page(listed, asked, before, limit)
        return Page(rows=[await self._reading.event(row) for row in rows], following=following)

    async def deliveries(
        self, wanted: DeliveryFilter, *, before: int | None, limit: int
    ) -> Page[DeliveryRow]:
        """Deliveries, newest first; `NotFound` for an event that is not there."""
        code = next((code for code, name in STATES.items() if name == wanted.state), None)
        asked = _given(("s.name = ?", wanted.subscription), ("d.state = ?", code))
        if wanted.event is not None:
            events = await self._reading.fetch(EVENT_ROW, (wanted.event, wanted.event))
            if not events:
                raise NotFound(f"there is no event {wanted.event}")
            asked.append(("d.event = ?", [events[0][0]]))
        listed = _Listed("deliveries", DELIVERY, "d.id", indexed=wanted.event is not None)
        rows, following = await self._page(listed, asked, before, limit)
        return Page(rows=[delivery_row(row) for row in rows], following=following)

    async def callbacks(
        self, wanted: CallbackFilter, *, before: int | None, limit: int
    ) -> Page[CallbackRow]:
        """Callbacks, newest first."""
        asked = _given(
            ("source = ?", wanted.source),
            ("verdict = ?", wanted.verdict),
            ("received_at >= ?", wanted.since),
            ("received_at < ?", wanted.until),
        )
        listed = _Listed("callbacks", CALLBACK, "id", indexed=wanted.verdict == "quarantined")
        rows, following = await self._page(listed, asked, before, limit)
        return Page(rows=[callback_row(row) for row in rows], following=following)

    async def _page(
        self, listed: _Listed, asked: Asked, before: int | None, limit: int
    ) -> tuple[Sequence[Row], int | None]:
        """The rows of one page, and the row before which the next one begins."""
        ((newest,),) = await self._reading.fetch(
            f"SELECT coalesce(max(id), 0) FROM {listed.table}"  # noqa: S608
        )
        top = newest + 1 if before is None else min(before, newest + 1)
        floor = 0 if listed.indexed else max(top - SCANNED, 0)
        terms = [f"{listed.number} < ?", f"{listed.number} >= ?", *(term for term, _ in asked)]
        values = [value for _, part in asked for value in part]
        rows = await self._reading.fetch(
            f"{listed.select} WHERE {' AND '.join(terms)} ORDER BY {listed.number} DESC LIMIT ?",
            [top, floor, *values, limit],
        )
        if len(rows) == limit:
            return rows, int(rows[-1][0])
        return rows, floor or None

    async def _orders(self, order: str) -> list[object]:
        """The rows of an order in all shops."""
        shops = await self._reading.fetch("SELECT shop FROM shops")
        keys = [key(shop, order) for (shop,) in shops]
        rows = await self._reading.fetch(
            f"SELECT id FROM orders WHERE key IN ({marks(keys)})",  # noqa: S608
            keys,
        )
        return [row for (row,) in rows]


def _given(*conditions: tuple[str, object]) -> Asked:
    """Those that are asked for."""
    return [(term, [value]) for term, value in conditions if value is not None]
