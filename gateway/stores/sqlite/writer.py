"""The one writing connection of a SQLite database, on a thread of its own, with group commit.

Everything that waits is written in one transaction with one fsync. Each isolated job has a
savepoint of its own, so that a bad one never fails its neighbours.
"""

import asyncio
import contextlib
import itertools
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from gateway.errors import StartupError, Unavailable
from gateway.models import Delivery, Millis
from gateway.stores.base import Handover
from gateway.stores.migrate import IDENTITY, check_identity, migrate

SYNCHRONOUS = "FULL"  # NORMAL lost acknowledged rows in 129 of 150 simulated power cuts
WAL_AUTOCHECKPOINT = 1000  # pages
CAPACITY = 2_000  # jobs that may wait; above it ingest answers 503
BATCH = 256  # jobs in one transaction
CACHE = 8 * 1024  # KiB of pages kept in memory

FATAL = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Batch:
    """One transaction in the making, on the writer's thread.

    `room` says how many deliveries may be born leased, by subscription; `born` collects them;
    `waiting` says for whom something was written that nobody has claimed.
    """

    def __init__(self, connection: sqlite3.Connection, room: dict[int, int], claim: int) -> None:
        self.connection, self.room, self.claim = connection, room, claim
        self.born: list[Delivery] = []
        self.waiting: dict[int, Millis] = {}
        self.behind: dict[int, bool] = {}

    def rollback_to(self, mark: int) -> None:
        """Give back the room of what was born since `mark`."""
        for delivery in self.born[mark:]:
            self.room[delivery.subscription] += 1
        del self.born[mark:]


Work = Callable[[Batch, Any], Any]


class Job:
    """One piece of work; `take` is called on the loop right before the batch starts."""

    __slots__ = ("future", "isolated", "take", "taken", "work")

    def __init__(
        self,
        work: Work,
        future: "asyncio.Future[Any]",
        *,
        take: Callable[[], Any] | None,
        isolated: bool,
    ) -> None:
        self.work, self.future, self.take, self.isolated = work, future, take, isolated
        self.taken: Any = None


class BatchFailed(Exception):
    """The whole transaction was lost."""


class Writer:
    """Owns the thread and its connection; `submit` is called on the loop only."""

    def __init__(self, path: Path, *, on_fatal: Callable[[str], None]) -> None:
        self._path, self._on_fatal = path, on_fatal
        self._handover: Handover | None = None
        self._jobs: list[Job] = []
        self._busy = False
        self._failed: str | None = None
        self._closing = False
        self._batches: SimpleQueue[tuple[list[Job], dict[int, int]] | None] = SimpleQueue()
        self._claims = itertools.count(time.time_ns() >> 10)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open, migrate and check the database; `StartupError`. Called before the thread runs."""
        self._connection = connect(self._path)
        migrate(self._connection, str(self._path))

    def start(self) -> None:
        """Start the thread; from now on the connection is its alone."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def attach(self, handover: Handover) -> None:
        """Name who takes deliveries that are born leased."""
        self._handover = handover

    @property
    def waiting(self) -> int:
        """How many jobs wait for their transaction."""
        return len(self._jobs)

    def submit(
        self, work: Work, *, take: Callable[[], Any] | None = None, isolated: bool = True
    ) -> "asyncio.Future[Any]":
        """Queue a job; its result is there after the commit. Raises `Unavailable` when full."""
        if self._failed is not None or self._closing:
            raise Unavailable(self._failed or "the gateway is stopping")
        if isolated and len(self._jobs) >= CAPACITY:
            raise Unavailable("too many callbacks wait to be stored", retry_after=2)
        assert self._loop is not None
        future: asyncio.Future[Any] = self._loop.create_future()
        self._jobs.append(Job(work, future, take=take, isolated=isolated))
        if not self._busy:
            self._start_batch()
        return future

    def _start_batch(self) -> None:
        jobs, self._jobs = self._jobs[:BATCH], self._jobs[BATCH:]
        self._busy = True
        for job in jobs:
            if job.take is not None:
                job.taken = job.take()
        room = self._handover.offer() if self._handover is not None else {}
        self._batches.put((jobs, room))

    def _run(self) -> None:
        assert self._connection is not None
        assert self._loop is not None
        while (item := self._batches.get()) is not None:
            jobs, room = item
            batch = Batch(self._connection, dict(room), next(self._claims))
            results: list[Any]
            try:
                results = self._transact(batch, jobs)
            except BatchFailed as error:
                results = [Unavailable(str(error)) for _ in jobs]
                batch = Batch(self._connection, dict(room), 0)
            # The loop may have been closed under us at a hurried stop: nobody listens any more.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._done, jobs, results, batch)
        self._connection.close()

    def _transact(self, batch: Batch, jobs: list[Job]) -> list[Any]:
        execute = batch.connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            results = [self._run_job(batch, job) for job in jobs]
            execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                if batch.connection.in_transaction:
                    execute("ROLLBACK")
            raise BatchFailed(self._explain(error)) from error
        return results

    @staticmethod
    def _run_job(batch: Batch, job: Job) -> Any:
        """The result of one job, or its exception as a value; only a lost transaction is raised."""
        if not job.isolated:
            return job.work(batch, job.taken)
        execute, mark = batch.connection.execute, len(batch.born)
        execute("SAVEPOINT job")
        try:
            result = job.work(batch, job.taken)
        except Exception as error:
            if not batch.connection.in_transaction:
                raise  # SQLite itself rolled everything back: disk full, I/O error
            execute("ROLLBACK TO job")
            execute("RELEASE job")
            batch.rollback_to(mark)
            return error
        execute("RELEASE job")
        return result

    def _explain(self, error: sqlite3.Error) -> str:
        code = getattr(error, "sqlite_errorcode", 0) or 0
        if code & 0xFF == sqlite3.SQLITE_FULL:
            return "the disk is full: make space, and the gateway goes on by itself"
        if code & 0xFF == sqlite3.SQLITE_IOERR or code & 0xFF in FATAL:
            # After a failed fsync nothing is known of what was written (security facts, section 0).
            self._failed = f"{self._path}: {error}: the gateway stops, restart it to recover"
        return f"the store failed: {error}"

    def _done(self, jobs: list[Job], results: list[Any], batch: Batch) -> None:
        self._busy = False
        if self._handover is not None:
            self._handover.hand_over(batch.born, batch.room, batch.waiting)
        for job, result in zip(jobs, results, strict=True):
            if job.future.done():
                continue
            if isinstance(result, Exception):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)
        if self._failed is not None:
            self._on_fatal(self._failed)
        if self._jobs:
            self._start_batch()

    async def close(self) -> None:
        """Write what waits, then close the connection."""
        while self._busy or self._jobs:
            await self.submit(lambda _batch, _taken: None, isolated=False)
        self._closing = True
        self._batches.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)


def connect(path: Path) -> sqlite3.Connection:
    """The writing connection: WAL, and `synchronous` read back; `StartupError` in one sentence."""
    try:
        # Callbacks hold personal data: the file, and so its journal, is its owner's alone.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StartupError(
            f"{path} cannot be opened ({error.strerror}): name a writable file in store.url"
        ) from None
    try:
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        _configure(connection, path)
    except sqlite3.Error as error:
        raise StartupError(_open_error(path, error)) from None
    return connection


def _configure(connection: sqlite3.Connection, path: Path) -> None:
    if sqlite3.sqlite_version_info < (3, 37):
        raise StartupError(f"SQLite {sqlite3.sqlite_version} is too old: 3.37 or later is needed")
    connection.execute("PRAGMA busy_timeout = 2000")
    # Before anything is changed: it may be another program's.
    check_identity(connection.execute(IDENTITY).fetchone(), str(path))
    connection.execute(f"PRAGMA cache_size = -{CACHE}")
    if not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_AUTOCHECKPOINT}")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    connection.execute("PRAGMA foreign_keys = OFF")  # every row is written by this package alone
    levels: Mapping[int, str] = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}
    level = levels[connection.execute("PRAGMA synchronous").fetchone()[0]]
    if mode != "wal" or level != SYNCHRONOUS:
        raise StartupError(
            f"{path}: SQLite refuses write-ahead logging with synchronous={SYNCHRONOUS} here "
            f"(journal_mode={mode}, synchronous={level}): use a local disk"
        )


def _open_error(path: Path, error: sqlite3.Error) -> str:
    code = (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return (
            f"{path} is not a SQLite database: name a new file in store.url, or move that one away"
        )
    if code == sqlite3.SQLITE_BUSY:
        return f"{path} is locked by another program: close it there first"
    if code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}:
        return f"{path} cannot be written ({error}): name a writable file in store.url"
    return f"{path}: {error}"
