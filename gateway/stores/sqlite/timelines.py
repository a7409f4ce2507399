"""Orders in pages, and the timeline of one.

There is no index of when an order was last changed, which every callback would have to write: the
newest event of each order stands for that. A cursor above 0 is an event's row; below 0 it is that
of an order without events, which come last.
"""

from collections.abc import Sequence

from gateway.stores.sqlite.keys import key
from gateway.stores.sqlite.reading import (
    CALLBACK,
    DELIVERY,
    EVENT,
    Reading,
    Row,
    callback_row,
    delivery_row,
)
from gateway.stores.sqlite.stories import Stories
from gateway.stores.timelines import KnownOrder, Timeline
from gateway.stores.views import Page

SCANNED = 50_000  # rows that one page looks at
MOST = 1_000  # callbacks and events of one order that are told, and deliveries five times that

_COLUMNS = "o.id, o.shop, o.order_id, o.seq, o.updated_at, o.state"
_TOLD = (
    f"SELECT {_COLUMNS}, e.id FROM events e JOIN orders o ON o.id = e.order_row"  # noqa: S608
    " WHERE e.id < ? AND e.id >= ? AND (? IS NULL OR e.shop = ?)"
    " AND NOT EXISTS (SELECT 1 FROM events n INDEXED BY events_order"
    " WHERE n.order_row = e.order_row AND n.id > e.id) ORDER BY e.id DESC LIMIT ?"
)
_SILENT = (
    f"SELECT {_COLUMNS}, o.id FROM orders o"  # noqa: S608
    " WHERE o.id < ? AND o.id >= ? AND (? IS NULL OR o.shop = ?)"
    " AND NOT EXISTS (SELECT 1 FROM events n INDEXED BY events_order WHERE n.order_row = o.id)"
    " ORDER BY o.id DESC LIMIT ?"
)


async def order_page(
    reading: Reading, *, shop: str | None, before: int | None, limit: int
) -> Page[KnownOrder]:
    """See `gateway.stores.timelines.OrderRecords`."""
    told: list[Row] = []
    if before is None or before > 0:
        told, following = await _slice(reading, _TOLD, "events", before, shop=shop, limit=limit)
        if following is not None:
            return Page(rows=[_order(row) for row in told], following=following)
    start = -before if before is not None and before < 0 else None
    rest = limit - len(told)
    silent, following = await _slice(reading, _SILENT, "orders", start, shop=shop, limit=rest)
    return Page(
        rows=[_order(row) for row in (*told, *silent)],
        following=None if following is None else -following,
    )


async def _slice(
    reading: Reading, sql: str, table: str, before: int | None, *, shop: str | None, limit: int
) -> tuple[list[Row], int | None]:
    """The rows that a look at `SCANNED` rows of the table finds, and the row behind which to go on."""
    ((newest,),) = await reading.fetch(
        f"SELECT coalesce(max(id), 0) FROM {table}"  # noqa: S608
    )
    top = newest + 1 if before is None else min(before, newest + 1)
    floor = max(top - SCANNED, 1)
    rows = await reading.fetch(sql, (top, floor, shop, shop, limit))
    if len(rows) == limit:
        return rows, int(rows[-1][6])
    return rows, floor if floor > 1 else None


async def orders_named(reading: Reading, name: str, *, shop: str | None) -> Sequence[KnownOrder]:
    """See `gateway.stores.timelines.OrderRecords`."""
    shops = [one for (one,) in await reading.fetch("SELECT shop FROM shops ORDER BY shop")]
    looked = [one for one in shops if shop in {None, one}]
    found = [order for one in looked for order in await _kept(reading, one, name)]
    if found:
        return found
    stories = Stories(reading)
    return [
        order
        for one in looked
        for named in await stories.names(one, name)
        for order in await _kept(reading, one, named)
    ]


async def _kept(reading: Reading, shop: str, order: str) -> list[KnownOrder]:
    rows = await reading.fetch(
        f"SELECT {_COLUMNS} FROM orders o WHERE o.key = ?",  # noqa: S608
        (key(shop, order),),
    )
    return [_order(row) for row in rows]


async def timeline(reading: Reading, order: KnownOrder) -> Timeline:
    """See `gateway.stores.timelines.OrderRecords`."""
    callbacks = await reading.fetch(
        CALLBACK + " WHERE order_row = ? ORDER BY id DESC LIMIT ?", (order.row, MOST)
    )
    events = await reading.fetch(
        EVENT + " WHERE order_row = ? ORDER BY id DESC LIMIT ?", (order.row, MOST)
    )
    deliveries = await reading.fetch(
        DELIVERY + " WHERE e.order_row = ? ORDER BY d.id DESC LIMIT ?", (order.row, 5 * MOST)
    )
    return Timeline(
        callbacks=[callback_row(row) for row in reversed(callbacks)],
        events=[await reading.event(row) for row in reversed(events)],
        deliveries=[delivery_row(row) for row in reversed(deliveries)],
        truncated=max(len(callbacks), len(events)) == MOST or len(deliveries) == 5 * MOST,
    )


def _order(row: Row) -> KnownOrder:
    return KnownOrder(
        row=row[0], shop=row[1], order=row[2], events=row[3], updated_at=row[4], state=row[5]
    )
