"""Lists parked lanes: orders whose deliveries wait for the operator."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gateway.stores.sqlite.lanes import PARKED
from gateway.stores.views import LaneRow, Page

PLACES = 1 << 63  # more than there can be deliveries

Fetch = Callable[[str, Sequence[object]], Awaitable[list[Sequence[Any]]]]

# Without `likely` the planner would read all that is unfinished, to find the few that are parked.
_HEADS = (
    "SELECT d.id, d.subscription, d.lane, d.event, d.due, d.reason, s.name FROM subscriptions s"
    " CROSS JOIN deliveries d INDEXED BY deliveries_open ON d.subscription = s.id"
    " WHERE d.state = ? AND likely(d.state < 2) AND (? IS NULL OR s.name = ?)"
    " AND (d.due, d.id) > (?, ?) ORDER BY d.due, d.id LIMIT ?"
)
_LANES = (
    "SELECT h.name, o.shop, o.order_id, h.id, e.type, h.due, h.reason,"  # noqa: S608
    " (SELECT count(*) FROM deliveries b INDEXED BY deliveries_lane WHERE b.lane = h.lane"
    " AND b.subscription = h.subscription AND b.state < 2 AND b.id > h.id)"
    f" FROM ({_HEADS}) h JOIN events e ON e.id = h.event JOIN orders o ON o.id = h.lane"
    " ORDER BY h.due, h.id"
)


async def lane_page(
    fetch: Fetch, subscription: str | None, after: int | None, limit: int
) -> Page[LaneRow]:
    """The lanes that are parked, those first that have been for longest.

    `after` is since when the last lane of the page before is parked and its delivery, in one number.
    """
    due, number = (-1, 0) if after is None else divmod(after, PLACES)
    rows = await fetch(_LANES, (PARKED, subscription, subscription, due, number, limit))
    shown = [
        LaneRow(
            subscription=row[0],
            shop=row[1],
            order=row[2],
            delivery=f"dl_{row[3]}",
            type=row[4],
            since=row[5],  # what is parked was due when it ended
            reason=row[6],
            behind=row[7],
        )
        for row in rows
    ]
    full = len(rows) == limit
    return Page(rows=shown, following=rows[-1][5] * PLACES + rows[-1][3] if full else None)
