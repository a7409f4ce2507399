"""Lists parked lanes: orders whose deliveries wait for the operator."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gateway.stores.sqlite.lanes import PARKED
from gateway.stores.views import LaneRow

Fetch = Callable[[str, Sequence[object]], Awaitable[list[Sequence[Any]]]]

# Without `likely` the planner would read all that is unfinished, to find the few that are parked.
_HEADS = (
    "SELECT d.id, d.subscription, d.lane, d.event, d.due, d.reason, s.name FROM subscriptions s"
    " CROSS JOIN deliveries d INDEXED BY deliveries_open ON d.subscription = s.id"
    " WHERE d.state = ? AND likely(d.state < 2) AND (?2 IS NULL OR s.name = ?2)"
    " ORDER BY d.due, d.id LIMIT ?3"
)
_LANES = (
    "SELECT h.name, o.shop, o.order_id, h.id, e.type, h.due, h.reason,"  # noqa: S608
    " (SELECT count(*) FROM deliveries b INDEXED BY deliveries_lane WHERE b.lane = h.lane"
    " AND b.subscription = h.subscription AND b.state < 2 AND b.id > h.id)"
    f" FROM ({_HEADS}) h JOIN events e ON e.id = h.event JOIN orders o ON o.id = h.lane"
    " ORDER BY h.due, h.id"
)


async def read_lanes(fetch: Fetch, subscription: str | None, limit: int) -> Sequence[LaneRow]:
    """The lanes that are parked, those first that have been for longest."""
    return [
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
        for row in await fetch(_LANES, (PARKED, subscription, limit))
    ]
