"""Batches: deliveries of one subscription that share their attempts (CloudEvents HTTP binding 3.3).

The first of a batch leads it: `leader` of all of them is its id, and its row has the attempts and
the due time. Until then it is `GATHERED`. Which ones belong together is written once, so that a
retry sends the same bytes.
"""

import hashlib
from collections.abc import Iterator

import msgspec

from gateway.models import Delivery, Millis
from gateway.stores.base import Wanted
from gateway.stores.sqlite.lanes import BATCHED, COLUMNS, GATHERED, leased
from gateway.stores.sqlite.writer import Batch

MOST_BYTES = 1 << 20  # of a batch's events together; one alone may be longer
ENOUGH = 250  # events after which a claim takes no further batch


def gathered(batch: Batch, subscription: int, size: int) -> bool:
    """Whether enough deliveries for a batch wait."""
    (count,) = batch.connection.execute(
        "SELECT count(*) FROM (SELECT 1 FROM deliveries INDEXED BY deliveries_gathered"
        " WHERE subscription = ? AND state = 0 AND leader = 0 LIMIT ?)",
        (subscription, size),
    ).fetchone()
    return bool(count >= size)


def claim_batches(
    batch: Batch, subscription: int, wanted: Wanted, now: Millis
) -> tuple[list[Delivery], Millis | None]:
    """Lease batches that are due, the frozen ones first; and when the next one will be.

    Few when they are large: all else waits for as long as this takes.
    """
    found: list[Delivery] = []
    for leader in _leaders(batch, subscription, wanted, now):
        found.append(_lease(batch, subscription, leader))
        if sum(delivery.size for delivery in found) >= ENOUGH:
            break
    (due,) = batch.connection.execute(
        "SELECT min(due) FROM deliveries WHERE subscription = ? AND state = 0 AND likely(state < 2)",
        (subscription,),
    ).fetchone()
    return found, now if gathered(batch, subscription, wanted.batch) else due


def _leaders(batch: Batch, subscription: int, wanted: Wanted, now: Millis) -> Iterator[int]:
    """Of at most as many batches as are wanted; new ones are formed when they are asked for."""
    frozen = batch.connection.execute(
        "SELECT id FROM deliveries INDEXED BY deliveries_led WHERE subscription = ? AND state = 0"
        " AND leader > 0 AND due <= ? ORDER BY due, id LIMIT ?",
        (subscription, now, wanted.count),
    ).fetchall()
    yield from (row[0] for row in frozen)
    for _ in range(wanted.count - len(frozen)):
        members = _together(batch, subscription, wanted.batch, now)
        if not members:
            return
        yield _freeze(batch, members)


def _together(batch: Batch, subscription: int, size: int, now: Millis) -> list[int]:
    """The next members of a batch; none while neither enough nor enough time has come together."""
    rows = batch.connection.execute(
        "SELECT d.id, d.due, length(e.body) FROM deliveries d INDEXED BY deliveries_gathered"
        " JOIN events e ON e.id = d.event"
        " WHERE d.subscription = ? AND d.state = 0 AND d.leader = 0"
        " ORDER BY d.due, d.id LIMIT ?",
        (subscription, size),
    ).fetchall()
    if not rows or (len(rows) < size and rows[0][1] > now):
        return []
    members: list[int] = []
    total = 0
    for number, _, length in rows:
        total += length
        if members and total > MOST_BYTES:
            break
        members.append(number)
    return sorted(members)


def _freeze(batch: Batch, members: list[int]) -> int:
    leader = members[0]
    batch.connection.executemany(
        "UPDATE deliveries SET leader = ?, state = ? WHERE id = ?",
        [(leader, BATCHED, member) for member in members[1:]],
    )
    batch.connection.execute("UPDATE deliveries SET leader = id WHERE id = ?", (leader,))
    return leader


def _lease(batch: Batch, subscription: int, leader: int) -> Delivery:
    batch.connection.execute(
        "UPDATE deliveries SET state = 1, claim = ? WHERE id = ?", (batch.claim, leader)
    )
    row = batch.connection.execute(
        f"SELECT {COLUMNS} FROM deliveries d JOIN events e ON e.id = d.event WHERE d.id = ?",  # noqa: S608
        (leader,),
    ).fetchone()
    members = batch.connection.execute(
        "SELECT e.event_id, e.body FROM deliveries d JOIN events e ON e.id = d.event"
        " WHERE d.leader = ? ORDER BY d.id",
        (leader,),
    ).fetchall()
    return msgspec.structs.replace(
        leased(row, subscription, batch.claim),
        event_id=batch_id(leader, [event_id for event_id, _ in members]),
        body=b"[" + b",".join(body for _, body in members) + b"]",
        size=len(members),
    )


def batch_id(leader: int, event_ids: list[str]) -> str:
    """The `webhook-id` of a batch: the same for every attempt, another for every other batch."""
    name = msgspec.json.encode([leader, event_ids])
    return "bat_" + hashlib.blake2b(name, digest_size=16).hexdigest()


def end_members(batch: Batch, leader: int, *, state: int, now: Millis, reason: str | None) -> None:
    """What happened to a batch happened to each of its members; not when its claim was lost."""
    batch.connection.execute(
        "UPDATE deliveries SET state = ?, finished_at = ?, reason = ?"
        " WHERE leader = ? AND state = ? AND ? = (SELECT state FROM deliveries WHERE id = ?)",
        (state, now, reason, leader, BATCHED, state, leader),
    )


def gather(batch: Batch, subscription: int) -> None:
    """Let what is unfinished wait for company: the subscription takes batches from now on."""
    batch.connection.execute(
        "UPDATE deliveries SET leader = ? WHERE subscription = ? AND leader IS NULL AND state < 2",
        (GATHERED, subscription),
    )


def dissolve(batch: Batch, subscription: int) -> None:
    """Take unfinished batches apart: the subscription does not take batches any more.

    What waited for company waits no longer.
    """
    batch.connection.execute(
        "UPDATE deliveries SET leader = NULL, state = iif(state = ?, 0, state)"
        " WHERE subscription = ? AND leader IS NOT NULL AND state < 2",
        (BATCHED, subscription),
    )
    batch.connection.execute(
        "UPDATE deliveries SET due = (SELECT recorded FROM events e WHERE e.id = event)"
        " WHERE subscription = ? AND number = 0 AND state = 0 AND likely(state < 2)",
        (subscription,),
    )
