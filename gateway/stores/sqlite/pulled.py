"""What is read in the order of its commits: deliveries that are fetched, and all events.

With one writer, the ids of a table grow from commit to commit, and what has a smaller id than a row
that is seen is there too. So a cursor is the id of a row, and nothing behind it comes before it.
"""

import asyncio
import sqlite3
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import aiosqlite

from gateway.errors import Unavailable
from gateway.models import Millis
from gateway.news import News
from gateway.stores.feed import Fetched, Head
from gateway.stores.sqlite.beginning import last_before
from gateway.stores.sqlite.keys import marks
from gateway.stores.sqlite.lanes import PULLED
from gateway.stores.sqlite.queue import DELIVERED, MADE_AS
from gateway.stores.sqlite.writer import Batch, Writer

ACKNOWLEDGED = "acknowledged by its consumer"
SLICE = 200  # deliveries that are acknowledged in one transaction
HEADS = 500  # events that are looked at, at once
KEPT = 4 << 20  # bytes of events that are kept for the next one who asks for them

_UNFINISHED = (
    "deliveries d INDEXED BY deliveries_lane"
    f" WHERE d.subscription = ? AND d.lane = {PULLED} AND d.state < 2"
)
_FETCHED = (
    "SELECT d.id, e.id, e.event_id, length(e.body)"  # noqa: S608
    " FROM deliveries d INDEXED BY deliveries_lane CROSS JOIN events e ON e.id = d.event"
    f" WHERE d.subscription = ? AND d.lane = {PULLED} AND d.state < 2 AND d.id > ?"
    " ORDER BY d.id LIMIT ?"
)
_LEFT = f"SELECT count(*) FROM {_UNFINISHED}"  # noqa: S608
_HEADS = (
    "SELECT id, event_id, type, source, shop, length(body) FROM events"
    " WHERE id > ? ORDER BY id LIMIT ?"
)
_ACKNOWLEDGE = (
    "UPDATE deliveries SET state = ?, claim = NULL, finished_at = ?,"  # noqa: S608
    f" reason = {MADE_AS} || ? WHERE id IN"
    f" (SELECT d.id FROM {_UNFINISHED} AND d.id <= ? ORDER BY d.id LIMIT {SLICE})"
)

Row = Sequence[Any]


class SqlitePulls:
    """`Pulls` on the writer's thread."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def acknowledge(self, subscription: int, upto: int, now: Millis) -> int:
        """See `gateway.stores.feed.Pulls`."""
        total = 0
        while True:
            count: int = await self._writer.submit(
                lambda batch: _acknowledge(batch, subscription, upto, now)
            )
            total += count
            if count < SLICE:
                return total


def _acknowledge(batch: Batch, subscription: int, upto: int, now: Millis) -> int:
    execute = batch.connection.execute
    count = execute(_ACKNOWLEDGE, (DELIVERED, now, ACKNOWLEDGED, subscription, upto)).rowcount
    if count:
        execute(
            "UPDATE subscriptions SET last_success = max(coalesce(last_success, 0), ?)"
            " WHERE id = ?",
            (now, subscription),
        )
    return count


class SqliteFeed:
    """`Feed` over one connection that cannot write, which all who follow share.

    Those who have come to the end ask for the same rows at the same time: what one of them read is
    kept for the others, as long as `news` has told of nothing since.
    """

    def __init__(self, path: Path, news: News) -> None:
        self._path, self._news = path, news
        self._connection: aiosqlite.Connection | None = None
        self._lock = asyncio.Lock()
        self._heads: tuple[tuple[int, int], Sequence[Head]] | None = None
        self._bodies: OrderedDict[int, bytes] = OrderedDict()
        self._size = 0
        self._closed = False

    async def fetched(self, subscription: int, after: int, limit: int) -> Sequence[Fetched]:
        """See `gateway.stores.feed.Feed`."""
        async with self._lock:
            rows = await self._read(_FETCHED, (subscription, after, limit))
        return [Fetched(*row) for row in rows]

    async def left(self, subscription: int) -> int:
        """See `gateway.stores.feed.Feed`."""
        async with self._lock:
            ((count,),) = await self._read(_LEFT, (subscription,))
        return int(count)

    async def heads(self, after: int) -> Sequence[Head]:
        """See `gateway.stores.feed.Feed`."""
        async with self._lock:
            key = (after, self._news.count)
            if self._heads is None or self._heads[0] != key:
                rows = await self._read(_HEADS, (after, HEADS))
                self._heads = key, [Head(*row) for row in rows]
            return self._heads[1]

    async def bodies(self, events: Sequence[int]) -> Sequence[bytes | None]:
        """See `gateway.stores.feed.Feed`."""
        async with self._lock:
            missing = [event for event in events if event not in self._bodies]
            if missing:
                rows = await self._read(
                    f"SELECT id, body FROM events WHERE id IN ({marks(missing)})",  # noqa: S608
                    missing,
                )
                for number, body in rows:
                    self._bodies[number] = body
                    self._size += len(body)
            found = [self._bodies.get(event) for event in events]
            while self._size > KEPT:
                self._size -= len(self._bodies.popitem(last=False)[1])
        return found

    async def place(self, start: Millis | None) -> int:
        """See `gateway.stores.feed.Feed`."""
        if start is None:
            async with self._lock:
                ((newest,),) = await self._read("SELECT coalesce(max(id), 0) FROM events", ())
            return int(newest)
        return await asyncio.to_thread(self._place, start)

    def _place(self, start: Millis) -> int:
        try:
            with closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
                connection.execute("PRAGMA query_only = 1")
                connection.execute("PRAGMA busy_timeout = 2000")
                return last_before(connection, start)
        except sqlite3.Error as error:
            raise Unavailable(f"the store failed: {error}") from None

    async def _read(self, sql: str, parameters: Sequence[object]) -> list[Row]:
        """All rows; the caller holds the lock. `Unavailable`."""
        if self._closed:
            raise Unavailable("the gateway is stopping")
        try:
            if self._connection is None:
                self._connection = await aiosqlite.connect(self._path, isolation_level=None)
                await self._connection.execute_fetchall("PRAGMA query_only = 1")
                await self._connection.execute_fetchall("PRAGMA busy_timeout = 2000")
            return list(await self._connection.execute_fetchall(sql, parameters))
        except sqlite3.Error as error:
            raise Unavailable(f"the store failed: {error}") from None

    async def close(self) -> None:
        """Close the connection; nothing is read any more."""
        self._closed = True
        async with self._lock:
            if self._connection is not None:
                await self._connection.close()
                self._connection = None
