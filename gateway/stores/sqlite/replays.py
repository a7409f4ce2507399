"""Past events once more: replay jobs, history, and lanes that were parked."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosqlite
import msgspec

from gateway.errors import Conflict, NotFound, Unavailable
from gateway.models import Millis
from gateway.retries import CODES, DeliveryState
from gateway.stores.base import Status
from gateway.stores.replaying import Again, Chosen, Lane, Preview, Replay
from gateway.stores.sqlite import resending
from gateway.stores.sqlite.catching_up import catch_up
from gateway.stores.sqlite.choosing import (
    Fetch,
    Scope,
    Slice,
    count,
    newest,
    next_slice,
    preview,
    resolve,
)
from gateway.stores.sqlite.lanes import BEHIND
from gateway.stores.sqlite.writer import Batch, Writer

SENT = 200  # deliveries that one slice sends again

_chosen = msgspec.json.Decoder(Chosen)
JOB = (
    "SELECT id, chosen, made_at, upto, looked, total, sent, waiting, skipped, finished_at, cursor"
    " FROM replays"
)

Judge = Callable[[Batch, resending.Parked, Millis], int | None]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A replay and where it stands: the deliveries up to `cursor` have been looked at."""

    replay: Replay
    cursor: int


class SqliteReplays:
    """`Replays` on the writer's thread; what has to look at much reads on a connection of its own."""

    def __init__(
        self, writer: Writer, path: Path, *, statuses: Callable[[], Sequence[Status]]
    ) -> None:
        self._writer, self._path, self._statuses = writer, path, statuses
        self._scopes: dict[int, Scope] = {}

    async def again(self, delivery: int, now: Millis) -> Again:
        """See `gateway.stores.replaying.Replays`."""

        def work(batch: Batch) -> Again:
            one = resending.past(batch, delivery)
            to = resending.standing(batch, one.subscription, now)
            return resending.send_again(batch, one, to, now)

        again: Again = await self._writer.submit(work)
        return again

    async def preview(self, chosen: Chosen) -> Preview:
        """See `gateway.stores.replaying.Replays`."""
        async with _reading(self._path) as fetch:
            return await preview(fetch, chosen)

    async def start(self, chosen: Chosen, now: Millis) -> Replay:
        """See `gateway.stores.replaying.Replays`."""
        async with _reading(self._path) as fetch:
            scope = await resolve(fetch, chosen)
            upto = await newest(fetch)
            total = await count(fetch, scope, 0, upto)
        job: Job = await self._writer.submit(lambda batch: _begin(batch, chosen, now, upto, total))
        self._scopes[job.replay.id] = scope
        return job.replay

    async def find(self, job: int) -> Replay:
        """See `gateway.stores.replaying.Replays`."""
        found: Job = await self._writer.submit(lambda batch: _find(batch, job))
        return found.replay

    async def unfinished(self) -> Sequence[Replay]:
        """See `gateway.stores.replaying.Replays`."""
        found: Sequence[Replay] = await self._writer.submit(_unfinished)
        return found

    async def step(self, job: int, now: Millis) -> Replay:
        """See `gateway.stores.replaying.Replays`."""
        found: Job = await self._writer.submit(lambda batch: _find(batch, job))
        if found.replay.finished_at is not None:
            return found.replay
        async with _reading(self._path) as fetch:
            scope = await self._scope(fetch, found.replay)
            part = await next_slice(fetch, scope, found.cursor, found.replay.upto, SENT)
        done: Job = await self._writer.submit(lambda batch: _send(batch, found, part, now))
        if done.replay.finished_at is not None:
            self._scopes.pop(job, None)
        return done.replay

    async def _scope(self, fetch: Fetch, replay: Replay) -> Scope:
        """What its names mean; nothing at all when all that they named is pruned by now."""
        if replay.id not in self._scopes:
            try:
                self._scopes[replay.id] = await resolve(fetch, replay.chosen)
            except NotFound:
                self._scopes[replay.id] = Scope(chosen=replay.chosen, events=())
        return self._scopes[replay.id]

    async def catch_up(self, subscription: int, now: Millis) -> bool:
        """See `gateway.stores.replaying.Replays`."""
        status = self._status(subscription)
        if status is None:
            return False
        more: bool = await self._writer.submit(
            lambda batch: catch_up(batch, status.subscription, now)
        )
        return more

    async def release(
        self, subscription: str, order: str, now: Millis, *, shop: str | None = None
    ) -> Lane:
        """See `gateway.stores.replaying.Replays`."""
        return await self._judge(resending.release, subscription, order, now, shop)

    async def skip(
        self, subscription: str, order: str, now: Millis, *, shop: str | None = None
    ) -> Lane:
        """See `gateway.stores.replaying.Replays`."""
        return await self._judge(resending.skip, subscription, order, now, shop)

    async def _judge(
        self, judge: Judge, subscription: str, order: str, now: Millis, shop: str | None
    ) -> Lane:
        def work(batch: Batch) -> Lane | None:
            lane = resending.parked(batch, subscription, order, shop)
            if lane is None:
                return None
            following = judge(batch, lane, now)
            to = resending.standing(batch, lane.subscription, now)
            return resending.told(lane, order, to, following)

        done: Lane | None = await self._writer.submit(work)
        if done is not None:
            return done
        async with _reading(self._path) as fetch:
            await resolve(fetch, Chosen(subscription=subscription, order=order))
        raise Conflict(f"order {order} is not parked for subscription {subscription}")

    def _status(self, subscription: int) -> Status | None:
        for status in self._statuses():
            if status.subscription.id == subscription:
                return status
        return None


@asynccontextmanager
async def _reading(path: Path) -> AsyncIterator[Fetch]:
    """A connection that cannot write; `Unavailable` when the file cannot be read."""
    try:
        async with aiosqlite.connect(path, isolation_level=None) as connection:

            async def fetch(sql: str, parameters: Sequence[object]) -> list[Sequence[Any]]:
                return list(await connection.execute_fetchall(sql, parameters))

            await fetch("PRAGMA query_only = 1", ())
            await fetch("PRAGMA busy_timeout = 2000", ())
            yield fetch
    except sqlite3.Error as error:
        raise Unavailable(f"the store failed: {error}") from None


def _begin(batch: Batch, chosen: Chosen, now: Millis, upto: int, total: int) -> Job:
    number = batch.connection.execute(
        "INSERT INTO replays (chosen, made_at, upto, cursor, looked, total, sent, waiting, skipped)"
        " VALUES (?, ?, ?, 0, 0, ?, 0, 0, 0)",
        (msgspec.json.encode(chosen), now, upto, total),
    ).lastrowid
    assert number is not None
    return _find(batch, number)


def _send(batch: Batch, before: Job, part: Slice, now: Millis) -> Job:
    """Send one slice again, and write how far the job is."""
    job = _find(batch, before.replay.id)
    if job != before:
        return job  # another one did this slice
    sent = waiting = skipped = 0
    known: dict[int, resending.Standing] = {}
    for one in _present(batch, part.deliveries, job.replay.chosen):
        to = known.get(one.subscription)
        if to is None:
            to = known[one.subscription] = resending.standing(batch, one.subscription, now)
        try:
            again = None if one.state == BEHIND else resending.send_again(batch, one, to, now)
        except Conflict:
            again = None
        sent += again is not None
        skipped += again is None
        waiting += again is not None and again.behind is not None
    batch.connection.execute(
        "UPDATE replays SET cursor = ?, looked = looked + ?, sent = sent + ?,"
        " waiting = waiting + ?, skipped = skipped + ?, finished_at = ? WHERE id = ?",
        (
            *(part.cursor, part.looked, sent, waiting, skipped),
            *(now if part.cursor >= job.replay.upto else None, job.replay.id),
        ),
    )
    return _find(batch, job.replay.id)


def _find(batch: Batch, job: int) -> Job:
    row = batch.connection.execute(JOB + " WHERE id = ?", (job,)).fetchone()
    if row is None:
        raise NotFound(f"there is no replay job {job}")
    return job_of(row)


def _unfinished(batch: Batch) -> list[Replay]:
    rows = batch.connection.execute(JOB + " WHERE finished_at IS NULL ORDER BY id")
    return [job_of(row).replay for row in rows]


def job_of(row: Sequence[Any]) -> Job:
    """A job from its `JOB` row."""
    return Job(
        replay=Replay(
            id=row[0],
            chosen=_chosen.decode(row[1]),
            made_at=row[2],
            upto=row[3],
            looked=row[4],
            total=row[5],
            sent=row[6],
            waiting=row[7],
            skipped=row[8],
            finished_at=row[9],
        ),
        cursor=row[10],
    )


def _present(batch: Batch, deliveries: Sequence[int], chosen: Chosen) -> list[resending.Past]:
    """These deliveries as they stand now: some have gone on, or were pruned, since they were found."""
    state = None if chosen.state is None else CODES[DeliveryState(chosen.state)]
    found = []
    for number in deliveries:
        row = batch.connection.execute(resending.PAST + " WHERE d.id = ?", (number,)).fetchone()
        if row is not None and (state is None or row[3] == state):
            found.append(resending.Past(*row))
    return found
