"""The deliveries of one subscription and one order, one after the other (design 5, lanes).

At most one delivery of a lane can be claimed, its head; those behind it become so when it ends.
The states are those of `gateway/retries.py`.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

from gateway.models import Delivery, Millis, Ordering
from gateway.retries import CODES, ITS_LANE, DeliveryState
from gateway.stores.sqlite.writer import Batch

BATCHED = CODES[DeliveryState.BATCHED]
PARKED = CODES[DeliveryState.PARKED]
BEHIND = CODES[DeliveryState.BEHIND]
PENDING = CODES[DeliveryState.PENDING]
LEASED = CODES[DeliveryState.LEASED]

PULLED = 0
"""The lane of all deliveries of a subscription whose consumer fetches them; no order has this row.

So the index of the lanes has what is unfinished of it in the order of its ids, which is that of the
commits; a due time is taken before its transaction, and is not.
"""

GATHERED = 0
"""The leader of what waits for company, because its subscription takes batches.

So that the index in which a batch is looked for holds nothing else: to write an entry into it for
each delivery that waits was a fifth of what a backlog wrote.
"""

COLUMNS = (
    "d.id, e.event_id, e.type, e.body, d.attempts, d.number, d.first_at, d.due, d.lane, d.manual,"
    " CASE d.number WHEN 0 THEN 0 ELSE (SELECT count(*) FROM attempts a WHERE a.delivery = d.id"
    " AND a.failure = 'internal' AND a.started_at >= d.first_at) END"
)
"""What `leased` needs, of `deliveries d JOIN events e`."""


def leased(row: Sequence[Any], subscription: int, claim: int) -> Delivery:
    """A delivery from its `COLUMNS`."""
    number, event_id, event_type, body, attempts, made, first_at, due, lane, manual, bugs = row
    return Delivery(
        id=number,
        subscription=subscription,
        event_id=event_id,
        event_type=event_type,
        body=body,
        attempts=attempts,
        number=made,
        first_at=first_at,
        claim=claim,
        due=due,
        lane=lane,
        manual=manual,
        bugs=bugs,
    )


def occupied(batch: Batch, subscription: int, lane: int) -> bool:
    """Whether anything of this lane is unfinished."""
    return head(batch, subscription, lane) is not None


def head(batch: Batch, subscription: int, lane: int) -> int | None:
    """The delivery that all others of the lane wait for."""
    row = batch.connection.execute(
        "SELECT id FROM deliveries INDEXED BY deliveries_lane"
        " WHERE subscription = ? AND lane = ? AND state < 2 ORDER BY id LIMIT 1",
        (subscription, lane),
    ).fetchone()
    return None if row is None else row[0]


def line_waits(batch: Batch, subscription: int, now: Millis) -> bool:
    """Whether due deliveries of this subscription wait already: nothing new may overtake them."""
    known = batch.behind.get(subscription)
    if known is None:
        found = batch.connection.execute(
            "SELECT 1 FROM deliveries WHERE subscription = ? AND state = 0 AND likely(state < 2)"
            " AND due <= ? LIMIT 1",
            (subscription, now),
        ).fetchone()
        known = batch.behind[subscription] = found is not None
    return known


def append(
    batch: Batch,
    *,
    event: int,
    subscription: int,
    lane: int | None,
    batches: bool,
    now: Millis,
    reason: str | None,
) -> tuple[int, int | None]:
    """Make a delivery of a past event, at the end of its lane; its id, and the head that it waits for.

    `batches` says that the subscription takes them.
    """
    before = None if lane is None or lane == PULLED else head(batch, subscription, lane)
    made = batch.connection.execute(
        "INSERT INTO deliveries (event, subscription, state, due, lane, leader, reason)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            event,
            subscription,
            PENDING if before is None else BEHIND,
            now,
            lane,
            GATHERED if batches else None,
            reason,
        ),
    ).lastrowid
    assert made is not None
    if lane == PULLED:
        batch.pulled.add(subscription)
    elif before is None:
        batch.behind[subscription] = True
        batch.waits(subscription, now)
    return made, before


def advance(batch: Batch, subscription: int, lane: int, now: Millis) -> int | None:
    """Let the next of a lane go whose head has ended, leased where there is room; its id."""
    row = batch.connection.execute(
        f"SELECT {COLUMNS}, d.state FROM deliveries d INDEXED BY deliveries_lane"  # noqa: S608
        " JOIN events e ON e.id = d.event"
        " WHERE d.subscription = ? AND d.lane = ? AND d.state < 2 ORDER BY d.id LIMIT 1",
        (subscription, lane),
    ).fetchone()
    if row is None or row[-1] != BEHIND:
        return None
    number: int = row[0]
    if batch.room_for(subscription) > 0 and not line_waits(batch, subscription, now):
        batch.connection.execute(
            "UPDATE deliveries SET state = 1, claim = ? WHERE id = ?", (batch.claim, number)
        )
        batch.bear(leased(row[:-1], subscription, batch.claim))
    else:
        batch.connection.execute("UPDATE deliveries SET state = 0 WHERE id = ?", (number,))
        batch.waits(subscription, now)
    return number


def reorder(connection: sqlite3.Connection, subscription: int, ordering: Ordering) -> None:
    """Follow a change of `ordering`: what is unfinished gets lanes, or leaves them.

    Nothing may be in flight. A parked delivery that leaves its lane is a dead letter.
    """
    if ordering is Ordering.NONE:
        connection.execute(
            "UPDATE deliveries SET state = 3, finished_at = due, reason = replace(reason, ?, '')"
            " WHERE subscription = ? AND state = ? AND state < 2",
            (ITS_LANE, subscription, PARKED),
        )
        connection.execute(
            "UPDATE deliveries SET lane = NULL, state = iif(state = ?, 0, state)"
            " WHERE subscription = ? AND lane IS NOT NULL AND state < 2",
            (BEHIND, subscription),
        )
        return
    connection.execute(
        "UPDATE deliveries SET lane = (SELECT order_row FROM events e WHERE e.id = event)"
        " WHERE subscription = ? AND lane IS NULL AND state < 2",
        (subscription,),
    )
    connection.execute(
        "UPDATE deliveries SET state = ? WHERE subscription = ? AND state = 0 AND lane IS NOT NULL"
        " AND likely(state < 2) AND id > (SELECT min(o.id) FROM deliveries o WHERE o.state < 2"
        " AND o.subscription = deliveries.subscription AND o.lane = deliveries.lane)",
        (BEHIND, subscription),
    )
