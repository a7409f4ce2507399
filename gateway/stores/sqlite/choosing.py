"""Finds the deliveries that a replay is about, on a connection that only reads.

A million deliveries may have to be looked at, so nothing here runs on the writing connection. What
is chosen is fixed by `upto`, but for the states, which the job looks at once more when it sends.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from gateway.errors import NotFound
from gateway.matching import QUIET
from gateway.retries import CODES, DeliveryState
from gateway.stores.replaying import Chosen, Preview
from gateway.stores.sqlite.keys import EVENT_ROW, key, marks
from gateway.stores.sqlite.lanes import BEHIND, LEASED

SCANNED = 20_000  # ids that are looked at in one statement
FIRST = 10  # deliveries that a preview names

Fetch = Callable[[str, Sequence[object]], Awaitable[list[Sequence[Any]]]]

# The order of the joins is spelled out: without statistics the planner may take the longer way.
_SCAN = "deliveries d NOT INDEXED CROSS JOIN events e ON e.id = d.event"
_OF_EVENTS = "events e CROSS JOIN deliveries d INDEXED BY deliveries_event ON d.event = e.id"
_LAST = (
    "NOT EXISTS (SELECT 1 FROM deliveries n INDEXED BY deliveries_event WHERE n.event = d.event"
    " AND n.id > d.id AND n.id <= ? AND n.subscription = d.subscription)"
)


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """A `Chosen` whose names have been looked up; `events` and `orders` are rows, None for all."""

    chosen: Chosen
    events: tuple[int, ...] | None = None
    orders: tuple[int, ...] | None = None
    subscription: int | None = None

    @property
    def whole(self) -> bool:
        """Whether all deliveries have to be looked at, and not only those of a few events."""
        return self.events is None and self.orders is None


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """The next deliveries of a job; `looked` were looked at for them, up to `cursor`."""

    deliveries: Sequence[int]
    looked: int
    cursor: int


Condition = tuple[str, Sequence[object]]


async def resolve(fetch: Fetch, chosen: Chosen) -> Scope:
    """Look up the names; `NotFound`."""
    subscription = events = orders = None
    if chosen.subscription is not None:
        rows = await fetch("SELECT id FROM subscriptions WHERE name = ?", (chosen.subscription,))
        ((subscription,),) = rows or _missing(f"subscription {chosen.subscription}")
    if chosen.delivery is not None:
        rows = await fetch("SELECT event FROM deliveries WHERE id = ?", (chosen.delivery,))
        events = tuple(row[0] for row in rows or _missing(f"delivery dl_{chosen.delivery}"))
    elif chosen.event is not None:
        rows = await fetch(EVENT_ROW, (chosen.event, chosen.event))
        events = tuple(row[0] for row in rows or _missing(f"event {chosen.event}"))
    elif chosen.order is not None:
        orders = await _orders(fetch, chosen.order, chosen.shop)
    return Scope(chosen=chosen, events=events, orders=orders, subscription=subscription)


async def _orders(fetch: Fetch, order: str, shop: str | None) -> tuple[int, ...]:
    shops = await fetch("SELECT shop FROM shops WHERE ? IS NULL OR shop = ?", (shop, shop))
    keys = [key(row[0], order) for row in shops]
    rows = await fetch(f"SELECT id FROM orders WHERE key IN ({marks(keys)})", keys)  # noqa: S608
    whose = "" if shop is None else f" of shop {shop}"
    return tuple(row[0] for row in rows or _missing(f"order {order}{whose}"))


def _missing(what: str) -> Sequence[Sequence[Any]]:
    raise NotFound(f"there is no {what}")


async def newest(fetch: Fetch) -> int:
    """The last delivery that there is, 0 without any."""
    ((last,),) = await fetch("SELECT coalesce(max(id), 0) FROM deliveries", ())
    return int(last)


async def count(fetch: Fetch, scope: Scope, after: int, upto: int) -> int:
    """How many deliveries are looked at, from the one behind `after` on."""
    base, parameters = _base(scope, after, upto)
    if scope.whole:
        base = "deliveries d NOT INDEXED WHERE d.id > ? AND d.id <= ?"
    ((found,),) = await fetch(f"SELECT count(*) FROM {base}", parameters)  # noqa: S608
    return int(found)


async def next_slice(fetch: Fetch, scope: Scope, after: int, upto: int, limit: int) -> Slice:
    """The next chosen deliveries behind `after`, at most `limit`; `cursor` is where to go on."""
    end = min(after + SCANNED, upto) if scope.whole else upto
    sql, parameters = _chosen(scope, after, end, upto)
    rows = await fetch(f"SELECT d.id FROM {sql} ORDER BY d.id LIMIT ?", [*parameters, limit])  # noqa: S608
    cursor = rows[-1][0] if len(rows) == limit else end
    looked = await count(fetch, scope, after, cursor)
    return Slice(deliveries=[row[0] for row in rows], looked=looked, cursor=cursor)


async def preview(fetch: Fetch, chosen: Chosen) -> Preview:
    """What a replay would send again, without those that it would skip; `NotFound`."""
    scope = await resolve(fetch, chosen)
    upto = await newest(fetch)
    subscriptions: dict[str, int] = {}
    first: list[str] = []
    step = SCANNED if scope.whole else max(upto, 1)
    for after in range(0, upto, step):
        sql, parameters = _sendable(scope, after, min(after + step, upto), upto)
        rows = await fetch(
            f"SELECT s.name, count(*) FROM {sql} GROUP BY s.name",  # noqa: S608
            parameters,
        )
        for name, found in rows:
            subscriptions[name] = subscriptions.get(name, 0) + found
        if rows and len(first) < FIRST:
            left = FIRST - len(first)
            named = await fetch(
                f"SELECT d.id FROM {sql} ORDER BY d.id LIMIT ?",  # noqa: S608
                [*parameters, left],
            )
            first.extend(f"dl_{row[0]}" for row in named)
    total = sum(subscriptions.values())
    return Preview(total=total, subscriptions=dict(sorted(subscriptions.items())), first=first)


def _base(scope: Scope, after: int, end: int) -> Condition:
    """The deliveries that have to be looked at, as FROM and WHERE."""
    where, parameters = "d.id > ? AND d.id <= ?", [after, end]
    if scope.chosen.delivery is not None:
        where, parameters = f"{where} AND d.id = ?", [*parameters, scope.chosen.delivery]
    if scope.whole:
        return f"{_SCAN} WHERE {where}", parameters
    column, rows = ("id", scope.events) if scope.events is not None else ("order_row", scope.orders)
    found = rows or ()
    return f"{_OF_EVENTS} WHERE e.{column} IN ({marks(found)}) AND {where}", [*found, *parameters]


def _chosen(scope: Scope, after: int, end: int, upto: int) -> Condition:
    """Those of them that are chosen."""
    sql, parameters = _base(scope, after, end)
    for condition, values in conditions(scope, upto):
        sql, parameters = f"{sql} AND {condition}", [*parameters, *values]
    return sql, parameters


def _sendable(scope: Scope, after: int, end: int, upto: int) -> Condition:
    """Those of them that are not skipped."""
    sql, parameters = _chosen(scope, after, end, upto)
    tables, where = sql.split(" WHERE ", 1)
    joined = f"{tables} JOIN subscriptions s ON s.id = d.subscription WHERE {where}"
    can = f"s.enabled AND s.state != 'gone' AND d.state NOT IN ({LEASED}, {BEHIND})"
    return f"{joined} AND {can}", parameters


def conditions(scope: Scope, upto: int) -> list[Condition]:
    """What must hold of a chosen delivery, the costly last."""
    chosen = scope.chosen
    found: list[Condition] = []
    if scope.subscription is not None:
        found.append(("d.subscription = ?", [scope.subscription]))
    if chosen.state is not None:
        found.append(("d.state = ?", [CODES[DeliveryState(chosen.state)]]))
    if chosen.event is not None:
        found.append(("e.event_id = ?", [chosen.event]))
    if chosen.order is not None:
        found.append(("e.order_id = ?", [chosen.order]))
    if chosen.shop is not None:
        found.append(("e.shop = ?", [chosen.shop]))
    if chosen.type is not None:
        found.append(of_type(chosen.type))
    if chosen.since is not None:
        found.append(("e.recorded >= ?", [chosen.since]))
    if chosen.until is not None:
        found.append(("e.recorded < ?", [chosen.until]))
    if chosen.delivery is None:
        found.append((_LAST, [upto]))
    return found


def of_type(pattern: str) -> Condition:
    """`gateway.matching.wants_type` of one pattern, in SQL."""
    if pattern == "*":
        return " AND ".join("substr(e.type, 1, ?) != ?" for _ in QUIET), [
            part for prefix in QUIET for part in (len(prefix), prefix)
        ]
    if pattern.endswith(".*"):
        return "(e.type = ? OR substr(e.type, 1, ?) = ?)", [pattern, len(pattern) - 1, pattern[:-1]]
    return "e.type = ?", [pattern]
