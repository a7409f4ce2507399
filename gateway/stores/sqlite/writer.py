"""The one writing connection of a SQLite database, with group commit.

Everything that waits is written in one transaction with one fsync, and a job that fails never
fails its neighbours. The statements run on the
loop, and only the COMMIT, which waits for the disk, on a thread: see docs/decisions/0007.
"""

import asyncio
import contextlib
import itertools
import logging
import math
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from gateway.errors import Unavailable
from gateway.models import Delivery, Millis
from gateway.news import News
from gateway.stores.base import Handover
from gateway.stores.callers import Callers, Calling
from gateway.stores.migrate import migrate
from gateway.stores.sqlite.checkpoints import Checkpoints
from gateway.stores.sqlite.opening import connect, is_full

CAPACITY = 2_000  # jobs that may wait; above it ingest answers 503
BATCH = 256  # jobs in one transaction
SLICE = 0.002  # seconds of statements, during which the loop does nothing else
LONGEST = 0.012  # seconds that a transaction stays open while more comes all the time
FULL_LOAD = 0.03  # the same where callbacks come so fast that they wait for each other anyway
GAP = 0.001  # seconds without a new job after which it is committed all the same
PATIENCE = 2_000  # ms that the thread waits for another program which writes in the file

logger = logging.getLogger("gateway.store")

FATAL = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
OF_A_JOB = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_RANGE,
    sqlite3.SQLITE_TOOBIG,
}
"""What a statement itself may be wrong in; every other code tells of the disk or the file."""


class Batch:
    """One transaction in the making.

    `offer` reserves room for a subscription; `room` is what is left of it, by subscription; `born`
    collects the deliveries that took it; `waiting` says for whom something was written that nobody
    has claimed.
    """

    def __init__(
        self, connection: sqlite3.Connection, offer: Callable[[int], int], claim: int
    ) -> None:
        self.connection, self._offer, self.claim = connection, offer, claim
        self.room: dict[int, int] = {}
        self.born: list[Delivery] = []
        self.waiting: dict[int, Millis] = {}
        self.behind: dict[int, bool] = {}
        self.unlinked: bool | None = None  # whether any fact waits for its order, once known
        self.plain_keys: bool | None = None  # whether there are keys of before schema 3, once known
        self.shops: set[str] = set()  # that were written down in this transaction
        self.sources: set[str] = set()
        self.published = False  # whether events were written
        self.pulled: set[int] = set()  # of which deliveries were written that are fetched

    def waits(self, subscription: int, due: Millis) -> None:
        """Note that something was written which can be claimed from `due` on."""
        known = self.waiting.get(subscription)
        if known is None or due < known:
            self.waiting[subscription] = due

    def room_for(self, subscription: int) -> int:
        """How many more deliveries of a subscription may be born leased."""
        room = self.room.get(subscription)
        if room is None:
            room = self.room[subscription] = self._offer(subscription)
        return room

    def bear(self, delivery: Delivery) -> None:
        """Take room for a delivery that is leased already; it is handed over after the commit."""
        self.room[delivery.subscription] -= 1
        self.born.append(delivery)

    def undo(self, mark: int) -> None:
        """Give back the room of what was born since `mark`."""
        for delivery in self.born[mark:]:
            self.room[delivery.subscription] += 1
        del self.born[mark:]
        self.shops.clear()  # they may have been written by what is undone
        self.sources.clear()

    def reset(self) -> None:
        """Forget everything: the transaction was lost."""
        self.undo(0)
        self.waiting.clear()
        self.behind.clear()
        self.unlinked = None


Work = Callable[[Batch], Any]


class Job:
    """One piece of work; a heavy one takes its whole transaction to the thread."""

    __slots__ = ("bounded", "future", "heavy", "work")

    def __init__(
        self, work: Work, future: "asyncio.Future[Any]", *, bounded: bool, heavy: bool
    ) -> None:
        self.work, self.future, self.bounded, self.heavy = work, future, bounded, heavy


class BatchFailed(Exception):
    """The whole transaction was lost."""


class Writer:
    """Owns the connection; its methods are called on the loop only.

    The connection is used by the loop and by the thread in turn, never by both: `_busy` is true
    from a batch's first statement until its commit has come back.
    """

    def __init__(self, path: Path, *, news: News, on_fatal: Callable[[str], None]) -> None:
        self._path, self._news, self._on_fatal = path, news, on_fatal
        self._handover: Handover | None = None
        self._jobs: deque[Job] = deque()
        self._busy = False
        self._scheduled = False
        self.callers = Callers(time.monotonic)  # bounded jobs: callbacks, and little else
        self._failed: str | None = None
        self._closing = False
        self._commits: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._checkpoints = Checkpoints(path)
        self._claims = itertools.count(time.time_ns() >> 10)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None

    def open(self, settle: Callable[[sqlite3.Connection], None]) -> None:
        """Open, migrate and check the database, and `settle` what no statement can; `StartupError`."""
        self._connection = connect(self._path)
        try:
            migrate(self._connection, str(self._path))
            settle(self._connection)
        except BaseException:
            self._connection.close()
            raise

    def start(self) -> None:
        """Start the thread that commits."""
        self._loop = asyncio.get_running_loop()
        assert self._connection is not None
        self._connection.execute("PRAGMA busy_timeout = 0")  # never wait on the loop
        self._thread = threading.Thread(target=self._serve, name="store-commit", daemon=True)
        self._thread.start()

    def attach(self, handover: Handover) -> None:
        """Name who takes deliveries that are born leased."""
        self._handover = handover

    def submit(
        self, work: Work, *, bounded: bool = True, heavy: bool = False
    ) -> "asyncio.Future[Any]":
        """Queue a job; its result is there after the commit. Raises `Unavailable` when full.

        `heavy` is for work that may take long, so that it does not hold up the loop; what is not
        `bounded` is taken even when the queue is full, for it makes room.
        """
        if self._failed is not None or self._closing:
            raise Unavailable(self._failed or "the gateway is stopping")
        if bounded and len(self._jobs) >= CAPACITY:
            raise Unavailable("too many callbacks wait to be stored", retry_after=2)
        assert self._loop is not None
        future: asyncio.Future[Any] = self._loop.create_future()
        self._jobs.append(Job(work, future, bounded=bounded, heavy=heavy))
        if bounded:
            self.callers.come()
        self._schedule()
        return future

    def _schedule(self) -> None:
        """Start a transaction soon: what else this turn of the loop brings goes with it."""
        if not self._busy and not self._scheduled:
            assert self._loop is not None
            self._scheduled = True
            self._loop.call_soon(self._start_batch)

    def _start_batch(self) -> None:
        self._scheduled, self._busy = False, True
        assert self._connection is not None
        heavy = any(job.heavy for job in itertools.islice(self._jobs, BATCH)) or not self._begun()
        # What runs on the thread asks for no room: the dispatcher is the loop's.
        offer = _no_room if heavy or self._handover is None else self._handover.offer
        batch = Batch(self._connection, offer, next(self._claims))
        if heavy:
            jobs = deque(self._jobs.popleft() for _ in range(min(BATCH, len(self._jobs))))
            self._commits.put(lambda: self._finish(batch, *self._run_patiently(batch, jobs)))
        else:
            longest = FULL_LOAD if self.callers.crowd else LONGEST
            self._go_on(batch, [], [], time.perf_counter() + longest)

    def _go_on(self, batch: Batch, taken: list[Job], results: list[Any], end: float) -> None:
        """Run a slice of the open transaction; then commit, or let the loop bring more.

        Under load it stays open until nothing more comes, for the pages at the ends of the tables
        are written once a transaction; and the loop reads and answers between two slices.
        """
        assert self._loop is not None
        before, now = len(taken), time.perf_counter()
        slice_end = now + SLICE
        outcome = self._attempt(lambda: _statements(batch, self._jobs, taken, results, slice_end))
        if not isinstance(outcome, BatchFailed) and len(taken) < BATCH and now < end:
            if self._jobs and not self._jobs[0].heavy:
                self._loop.call_soon(self._go_on, batch, taken, outcome, end)
                return
            if self.callers.crowd and len(taken) > before and not self._jobs:
                self._loop.call_later(GAP, self._go_on, batch, taken, outcome, end)
                return
        self._commits.put(lambda: self._finish(batch, taken, outcome))

    def _begun(self) -> bool:
        """Begin on the loop; whatever is in the way is left to the thread, which can wait."""
        assert self._connection is not None
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error:
            return False
        return True

    def _run_patiently(
        self, batch: Batch, jobs: deque[Job]
    ) -> "tuple[list[Job], list[Any] | BatchFailed]":
        """On the thread: begin, and run all of these jobs; when it fails, all of them are refused."""
        begun = self._attempt(lambda: _begin_patiently(batch.connection))
        if isinstance(begun, BatchFailed):
            return list(jobs), begun
        taken: list[Job] = []
        results = self._attempt(lambda: _statements(batch, jobs, taken, [], math.inf))
        return [*taken, *jobs], results

    def _serve(self) -> None:
        """The thread: one batch after another."""
        while (finish := self._commits.get()) is not None:
            finish()
        assert self._connection is not None
        self._connection.close()

    def _finish(self, batch: Batch, jobs: list[Job], results: "list[Any] | BatchFailed") -> None:
        """On the thread: the commit; then tell the loop, and copy the log back when that is due."""
        if not isinstance(results, BatchFailed):
            done = results
            results = self._attempt(lambda: self._commit(batch, done))
        if isinstance(results, BatchFailed):
            reason = str(results)
            results = [Unavailable(reason) for _ in jobs]
            batch.reset()
        elif self._checkpoints.due(
            idle=not (self._jobs or self.callers.crowd),
            answered=any(job.bounded for job in jobs) or self.callers.calling is Calling.NOBODY,
        ):
            # Whoever waits for this commit need not wait for that too.
            self._tell(lambda: self._done(jobs, results, batch))
            self._attempt(lambda: self._checkpoints.run(batch.connection))
            self._tell(self._free)
            return
        self._tell(lambda: self._done(jobs, results, batch, free=True))

    def _tell(self, what: Callable[[], None]) -> None:
        assert self._loop is not None
        # The loop may have been closed under us at a hurried stop: nobody listens any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(what)

    def _commit(self, batch: Batch, results: list[Any]) -> list[Any]:
        batch.connection.execute("COMMIT")
        self._checkpoints.committed(batch.connection)
        return results

    def _attempt(self, act: Callable[[], list[Any]]) -> "list[Any] | BatchFailed":
        """What `act` returns, or the loss of the whole transaction as a value."""
        assert self._connection is not None
        try:
            return act()
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            return BatchFailed(self._explain(error))

    def _explain(self, error: sqlite3.Error) -> str:
        if is_full(error):
            return "the disk is full: make space, and the gateway goes on by itself"
        code = getattr(error, "sqlite_errorcode", 0) or 0
        if code & 0xFF == sqlite3.SQLITE_IOERR or code & 0xFF in FATAL:
            # After a failed fsync nothing is known of what was written (security facts, section 0).
            self._failed = f"{self._path}: {error}: the gateway stops, restart it to recover"
        return f"the store failed: {error}"

    def _done(
        self,
        jobs: list[Job],
        results: "list[Any] | BatchFailed",
        batch: Batch,
        *,
        free: bool = False,
    ) -> None:
        assert not isinstance(results, BatchFailed)
        try:
            self._answer(jobs, results, batch)
        except Exception as error:
            # Nothing would be written any more, and nobody would say so.
            logger.exception("the store met a bug")
            self._failed = f"{self._path}: a bug: {error!r}: the gateway stops, restart it"
        if free:
            self._free()

    def _answer(self, jobs: list[Job], results: list[Any], batch: Batch) -> None:
        self.callers.stored(sum(job.bounded for job in jobs))
        if self._handover is not None:
            self._handover.hand_over(batch.born, batch.room, batch.waiting)
        if self._news.listened and (batch.published or batch.pulled):
            self._news.tell(published=batch.published, pulled=batch.pulled)
        for job, result in zip(jobs, results, strict=True):
            if job.future.done():
                continue
            if isinstance(result, Exception):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)

    def _free(self) -> None:
        """The connection is the loop's again."""
        self._busy = False
        if self._failed is not None:
            self._refuse_all(self._failed)
            self._on_fatal(self._failed)
        elif self._jobs:
            self._schedule()

    def _refuse_all(self, reason: str) -> None:
        """Nothing is written any more: what a commit says after a failed fsync is not to be trusted."""
        while self._jobs:
            future = self._jobs.popleft().future
            if not future.done():
                future.set_exception(Unavailable(reason))

    async def close(self) -> None:
        """Write what waits, then close the connection."""
        while self._busy or self._jobs:
            try:
                await self.submit(lambda _: None, bounded=False)
            except Unavailable:
                await asyncio.sleep(0.01)  # its senders know; the file is closed all the same
        self._closing = True
        self._commits.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)


def _no_room(_subscription: int) -> int:
    return 0


def _statements(
    batch: Batch, jobs: deque[Job], taken: list[Job], results: list[Any], end: float
) -> list[Any]:
    """Take jobs and run them until there are none or until `end`; the results of all `taken`.

    They run without savepoints, which cost a tenth of the whole; when one fails, all of them are
    undone and run again with one savepoint each, so that the others are as if it had never been.
    On the thread, without an `end`, a heavy job is like any other.
    """
    execute, patient = batch.connection.execute, math.isinf(end)
    fresh = len(taken)
    try:
        while jobs and len(taken) < BATCH and (patient or not jobs[0].heavy):
            if len(taken) > fresh and time.perf_counter() >= end:
                break
            taken.append(jobs.popleft())
            results.append(taken[-1].work(batch))
    except Exception as error:
        if of_the_file(error):
            raise
        execute("ROLLBACK")  # the error is met again below, and then belongs to its job
        batch.reset()
        execute("BEGIN IMMEDIATE")
        if patient:  # those behind the one that failed are nobody else's
            taken.extend(jobs)
            jobs.clear()
        return [_isolated(batch, job) for job in taken]
    return results


def _isolated(batch: Batch, job: Job) -> Any:
    """The result of one job, or its exception as a value, with everything undone that it did."""
    execute, mark = batch.connection.execute, len(batch.born)
    execute("SAVEPOINT job")
    try:
        result = job.work(batch)
    except Exception as error:
        if of_the_file(error):
            raise
        execute("ROLLBACK TO job")
        batch.undo(mark)
        result = error
    execute("RELEASE job")
    return result


def _begin_patiently(connection: sqlite3.Connection) -> list[Any]:
    connection.execute(f"PRAGMA busy_timeout = {PATIENCE}")
    try:
        connection.execute("BEGIN IMMEDIATE")
    finally:
        connection.execute("PRAGMA busy_timeout = 0")
    return []


def of_the_file(error: Exception) -> bool:
    """Whether the disk or the file failed, and with it the whole transaction, not one job."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return isinstance(error, sqlite3.OperationalError)
    return code & 0xFF not in OF_A_JOB
