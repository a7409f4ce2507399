"""For consumers: drop repeats by `webhook-id`, so that each delivery takes effect once.

The gateway repeats a delivery until a 2xx comes back, always under the same `webhook-id`. An answer
that was lost on its way therefore brings a delivery a second time. With a file of its own:

    inbox = Inbox("inbox.db")
    with inbox.once(verify(body, headers, secret)) as new:
        if new:
            process(body)
    # and answer 200, to a repeat too

This module uses the standard library only, and nothing else of the gateway, so that consumers can
take the file as it is.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Protocol

KEEP = timedelta(days=30)  # a delivery is tried for three, unless its schedule is another
WAIT = timedelta(seconds=10)  # less than the 15 s after which the gateway gives an attempt up
SLICE = 100  # ids forgotten at a time, so that no delivery waits for a great clearing

TABLE = "CREATE TABLE IF NOT EXISTS webhook_inbox (id TEXT PRIMARY KEY, at BIGINT NOT NULL)"
INDEX = "CREATE INDEX IF NOT EXISTS webhook_inbox_at ON webhook_inbox (at)"


class Connection(Protocol):
    """What is needed of a DB-API connection (PEP 249)."""

    def cursor(self) -> Any:
        """A cursor in the connection's transaction."""
        ...


class Memory:
    """The ids in the consumer's own database, remembered by the transaction that does the work.

    It never commits: the id and the work last together, or neither does. That is exactly once, also
    when the power fails. `TABLE` and `INDEX` make what it needs. SQLite and PostgreSQL know its SQL;
    the connection must not commit by itself. `mark` is the driver's placeholder.

        memory = Memory(connection, mark="%s")
        if memory.new(webhook_id):
            process(body, connection)
        connection.commit()
    """

    def __init__(
        self,
        connection: Connection,
        *,
        mark: Literal["?", "%s"] = "?",
        keep: timedelta = KEEP,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._connection, self._keep, self._clock = connection, keep, clock
        self._insert = f"INSERT INTO webhook_inbox (id, at) VALUES ({mark}, {mark}) ON CONFLICT (id) DO NOTHING"  # noqa: S608
        self._delete = (
            "DELETE FROM webhook_inbox WHERE id IN"  # noqa: S608
            f" (SELECT id FROM webhook_inbox WHERE at < {mark} ORDER BY at LIMIT {SLICE})"
        )

    def new(self, webhook_id: str) -> bool:
        """Whether the id was not known; it is now, if the transaction is committed.

        While another transaction has the same id, it waits for how that one ends.
        """
        cursor = self._connection.cursor()
        cursor.execute(self._insert, (webhook_id, int(self._clock())))
        return bool(cursor.rowcount == 1)

    def forget(self) -> None:
        """Drop a slice of the ids that are older than `keep`; best in a transaction of its own."""
        before = int(self._clock() - self._keep.total_seconds())
        self._connection.cursor().execute(self._delete, (before,))


class Inbox:
    """The ids in an SQLite file of their own, for consumers without a database.

    Threads and processes may share the file. One block runs at a time, others wait up to `wait`.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        keep: timedelta = KEEP,
        wait: timedelta = WAIT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._keep, self._wait, self._clock = Path(path).resolve(), keep, wait, clock
        with closing(self._connect()) as connection:
            connection.execute(TABLE)
            connection.execute(INDEX)

    @contextmanager
    def once(self, webhook_id: str) -> Iterator[bool]:
        """A block in which to process a delivery, if it is new; `webhook_id` as `verify` returned it.

        The id is remembered when the block ends, and not when it ends with an exception, or the
        process with it: the repeat is new again. What the block had done by then is done twice,
        unless it is all in one transaction: see `Memory`. Raises `sqlite3.OperationalError` when
        other blocks take too long, or the disk is full: answer 503, and the gateway tries again.

        The block belongs to one thread, with no `await` in it: `asyncio.to_thread` is for that.
        """
        with closing(self._connect()) as connection:
            # Taken before the id is looked for: of two repeats at the same time one has to wait.
            connection.execute("BEGIN IMMEDIATE")
            memory = Memory(connection, keep=self._keep, clock=self._clock)
            yield memory.new(webhook_id)
            memory.forget()
            connection.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        """A connection for one block: threads, and processes after a fork, must not share one."""
        connection = sqlite3.connect(
            self._path, timeout=self._wait.total_seconds(), isolation_level=None
        )
        # Also the removal of the journal is on the disk before a block has ended.
        connection.execute("PRAGMA synchronous = EXTRA")
        return connection
