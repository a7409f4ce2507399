"""Removes what is too old, a slice at a time, and remembers what is known of sources.

Slices go along the primary keys, which grow with time: no index is kept for this alone. The newest
row of a table stays, because SQLite would give its id to the next one.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.matching import unpack
from gateway.models import Event, Millis
from gateway.stores.sqlite.publish import Route, publish
from gateway.stores.sqlite.writer import Batch, Writer
from gateway.stores.upkeep import Cutoffs, Removed, SourceState

LOOKED = 500  # rows that one slice looks at
SLICE = 100  # rows that it takes, each with what belongs to it
BUDGET = 0.002  # seconds after which it ends all the same: callbacks wait for it
AGAIN = 86_400_000  # milliseconds after which what had to stay is looked at again
SPARE = 10  # one page in so many may be free: new rows need it soon

ATTEMPTS = (
    "SELECT a.delivery, a.number, a.started_at, d.state < 2 FROM attempts a"
    " LEFT JOIN deliveries d ON d.id = a.delivery"
    " WHERE (a.delivery, a.number) > (?, ?) ORDER BY a.delivery, a.number LIMIT ?"
)
EVENTS = (  # up to where those have come that are being told the history
    "SELECT id, recorded, callback FROM events WHERE id > ?"
    " AND id < (SELECT max(id) FROM events)"
    " AND id <= (SELECT coalesce(min(history), 9e18) FROM subscriptions"
    " WHERE enabled AND state != 'gone')"
    " ORDER BY id LIMIT ?"
)
CALLBACKS = (
    "SELECT id, received_at, EXISTS (SELECT 1 FROM events WHERE callback = callbacks.id)"
    " FROM callbacks WHERE id > ? ORDER BY id LIMIT ?"
)
BODIES = (
    "SELECT id, received_at, length(headers) + length(body) FROM callbacks"
    " WHERE id > ? ORDER BY id LIMIT ?"
)
NEEDED = (  # unfinished, the newest of all, or a replay job has yet to look at it
    "SELECT id, state < 2 OR id = (SELECT max(id) FROM deliveries) OR EXISTS (SELECT 1 FROM replays"
    " WHERE finished_at IS NULL AND deliveries.id > cursor AND deliveries.id <= upto)"
    " FROM deliveries WHERE event = ?"
)
REVISIONS = (
    "DELETE FROM revisions WHERE revision IN (SELECT revision FROM revisions"
    " WHERE revision < min(?, (SELECT max(revision) FROM revisions)) ORDER BY revision LIMIT ?)"
)
ANSWERS = (  # nothing goes by their ids, so that the newest may go too
    "SELECT id FROM (SELECT id, kept_at FROM answers ORDER BY id LIMIT ?) WHERE kept_at < ?"
)
REMOVE = (
    "DELETE FROM callbacks WHERE id = ? AND received_at < ? AND verdict != 'quarantined'"
    " AND id < (SELECT max(id) FROM callbacks)"
    " AND NOT EXISTS (SELECT 1 FROM events WHERE callback = callbacks.id)"
    " AND NOT EXISTS (SELECT 1 FROM unlinked WHERE callback = callbacks.id)"
)
EMPTY = (  # x'90' is a list without headers in MessagePack
    "UPDATE callbacks SET headers = x'90', body = x'' WHERE id = ? AND verdict != 'quarantined'"
    " AND NOT EXISTS (SELECT 1 FROM unlinked WHERE callback = callbacks.id)"
)

Row = Sequence[Any]
Take = Callable[[Row], int | None]  # how many were removed; None when the row has to stay


class SqliteUpkeep:
    """`Upkeep` on the writer's thread; `seconds` measures how long a slice takes."""

    def __init__(
        self,
        writer: Writer,
        *,
        route: Callable[[], Route],
        seconds: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._writer, self._route, self._seconds = writer, route, seconds
        self._walks = {
            "attempts": Walk(select=ATTEMPTS, at=(0, 0)),
            "events": Walk(select=EVENTS, at=(0,)),
            "callbacks": Walk(select=CALLBACKS, at=(0,)),
            "emptied": Walk(select=BODIES, at=(0,)),
        }

    async def prune(self, cutoffs: Cutoffs) -> Removed:
        """See `gateway.stores.upkeep.Upkeep`."""
        # Heavy: old pages are read from the disk, for which the loop must not wait.
        removed, walks = await self._writer.submit(
            lambda batch: self._prune(batch, cutoffs), heavy=True
        )
        self._walks.update(walks)  # only now: a transaction may be lost, or run twice
        return Removed(**removed, more=bool(removed))

    def _prune(self, batch: Batch, cutoffs: Cutoffs) -> tuple[dict[str, int], dict[str, "Walk"]]:
        """A slice of the first kind of which something is too old; and where the walks are then."""
        walks = {}
        end = self._seconds() + BUDGET
        for kind, cutoff, take in _kinds(batch, cutoffs):
            walks[kind], removed = self._walks[kind].slice(
                batch, cutoff, take, spent=lambda: self._seconds() >= end
            )
            if removed is not None:
                return {kind: removed}, walks
        revisions = _revisions(batch)
        if revisions:
            return {"revisions": revisions}, walks
        answers = self._answers(batch, cutoffs.answers, end)
        return {"answers": answers} if answers else {}, walks

    def _answers(self, batch: Batch, cutoff: Millis, end: float) -> int:
        """Those at the front; younger ones among them, of before the clock was set, come later."""
        removed = 0
        for row in batch.connection.execute(ANSWERS, (SLICE, cutoff)).fetchall():
            batch.connection.execute("DELETE FROM answers WHERE id = ?", row)
            removed += 1
            if self._seconds() >= end:
                break
        return removed

    def _shrink(self, batch: Batch) -> bool:
        """Page by page: a statement that gives back many ends with its first row, which has none."""
        end = self._seconds() + BUDGET
        (pages,) = batch.connection.execute("PRAGMA page_count").fetchone()
        free = before = _free(batch)
        while free > pages // SPARE and self._seconds() < end:
            batch.connection.execute("PRAGMA incremental_vacuum(1)").close()
            free -= 1
        return free > pages // SPARE and _free(batch) < before

    async def shrink(self) -> bool:
        """See `gateway.stores.upkeep.Upkeep`."""
        more: bool = await self._writer.submit(self._shrink, heavy=True)
        return more

    async def sources(self) -> Mapping[str, SourceState]:
        """See `gateway.stores.upkeep.Upkeep`."""
        rows = await self._writer.submit(
            lambda batch: batch.connection.execute(
                "SELECT source, last_at, silent_since FROM source_states"
            ).fetchall()
        )
        return {row[0]: SourceState(last_at=row[1], silent_since=row[2]) for row in rows}

    async def remember(
        self, states: Mapping[str, SourceState], events: Sequence[Event] = ()
    ) -> None:
        """See `gateway.stores.upkeep.Upkeep`."""

        def work(batch: Batch) -> None:
            batch.connection.executemany(
                "INSERT OR REPLACE INTO source_states (source, last_at, silent_since)"
                " VALUES (?, ?, ?)",
                [(source, *msgspec.structs.astuple(state)) for source, state in states.items()],
            )
            for event in events:
                publish(batch, self._route(), event, now=event.recorded)

        await self._writer.submit(work)


class Walk(msgspec.Struct, frozen=True, kw_only=True):
    """A place in a table, on the way from the oldest row to the first that is young enough.

    Each row that `select` gives starts with its key and its time. What has to stay is passed by; a
    day after it `turned` last, the walk turns back to before the first that it `passed`.
    """

    select: str
    at: tuple[int, ...]
    passed: tuple[int, ...] | None = None
    turned: Millis | None = None

    def slice(
        self, batch: Batch, cutoff: Millis, take: Take, *, spent: Callable[[], bool]
    ) -> tuple["Walk", int | None]:
        """Go on for a slice; what `take` removed in all, None when nothing is too old."""
        start = self._turn(cutoff)
        at, passed, size = start.at, start.passed, len(start.at)
        looked = batch.connection.execute(self.select, (*at, LOOKED)).fetchall()
        # Clocks are set, and the attempts of a delivery lie together: young rows may be among old.
        last = max((i for i, row in enumerate(looked) if row[size] < cutoff), default=None)
        if last is None:
            return start, None
        taken = removed = 0
        for row in looked[: last + 1]:
            count = take(row) if row[size] < cutoff else None
            if count is None and passed is None:
                passed = at
            at = tuple(row[:size])
            taken += bool(count)
            removed += count or 0
            if taken >= SLICE or spent():
                break
        return msgspec.structs.replace(start, at=at, passed=passed), removed

    def _turn(self, cutoff: Millis) -> "Walk":
        if self.turned is None:
            return msgspec.structs.replace(self, turned=cutoff)
        if cutoff - self.turned < AGAIN:
            return self
        at = self.at if self.passed is None else self.passed
        return msgspec.structs.replace(self, at=at, passed=None, turned=cutoff)


def _kinds(batch: Batch, cutoffs: Cutoffs) -> Sequence[tuple[str, Millis, Take]]:
    hashes = cutoffs.hashes
    return (
        ("attempts", cutoffs.attempts, lambda row: _attempt(batch, row)),
        ("events", cutoffs.events, lambda row: _event(batch, row, hashes)),
        ("callbacks", hashes, lambda row: _callback(batch, row, hashes)),
        ("emptied", cutoffs.callbacks, lambda row: _body(batch, row)),
    )


def _attempt(batch: Batch, row: Row) -> int | None:
    delivery, number, _, unfinished = row
    if unfinished:
        return None
    return batch.connection.execute(
        "DELETE FROM attempts WHERE delivery = ? AND number = ?", (delivery, number)
    ).rowcount


def _event(batch: Batch, row: Row, hashes: Millis) -> int | None:
    """An event with its deliveries, and its callback, which had to stay as long as the event."""
    execute, (event, _, callback) = batch.connection.execute, row
    deliveries = execute(NEEDED, (event,)).fetchall()
    if any(needed for _, needed in deliveries):
        return None
    for delivery, _ in deliveries:
        execute("DELETE FROM attempts WHERE delivery = ?", (delivery,))
    execute("DELETE FROM deliveries WHERE event = ?", (event,))
    execute("DELETE FROM events WHERE id = ?", (event,))
    if callback is not None:
        execute(REMOVE, (callback, hashes))
    return 1


def _callback(batch: Batch, row: Row, hashes: Millis) -> int | None:
    """A callback without events; one that has some goes with the last of them.

    Read anew, it might make an event under the id of one that is still there.
    """
    callback, _, has_events = row
    if has_events:
        return 0
    return batch.connection.execute(REMOVE, (callback, hashes)).rowcount or None


def _body(batch: Batch, row: Row) -> int | None:
    callback, _, size = row
    if size <= 1:  # it is empty
        return 0
    return batch.connection.execute(EMPTY, (callback,)).rowcount or None


def _revisions(batch: Batch) -> int:
    """Those of the catalog that no event refers to any more: of later events, they only grow."""
    oldest = batch.connection.execute("SELECT routing FROM events ORDER BY id LIMIT 1").fetchone()
    if oldest is None:
        return 0
    before, _ = unpack(oldest[0])
    return batch.connection.execute(REVISIONS, (before, SLICE)).rowcount


def _free(batch: Batch) -> int:
    (free,) = batch.connection.execute("PRAGMA freelist_count").fetchone()
    return int(free)
