"""Samples of rejected requests, in a file of their own beside the database.

SQLite has one writer a file: in the database itself, whoever sends rubbish would make those wait
who send authentic callbacks. Samples may be lost, so nothing is synced, and nothing waits for them.
"""

import asyncio
import logging
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiosqlite
import msgspec

from gateway.errors import StartupError
from gateway.models import Callback
from gateway.stores.migrate import IDENTITY
from gateway.stores.views import RejectedRow
from gateway.telemetry.redaction import CUT, redacted_body, redacted_headers

KEPT = 100  # samples of a source
SAMPLE = 64 << 10  # bytes of one sample in all
REASON = 1_000  # characters
RATE = 5.0  # samples a second of one source; all others are only counted
WAITING = 16  # samples that wait to be written
WAITING_BYTES = 8 << 20  # of their bodies, so that large ones cannot fill the memory
PATIENCE = 500  # ms that a write waits for another program in the file
PAUSE = 60.0  # seconds until a file that failed is tried again

APPLICATION_ID = 0x4757524A  # "GWRJ": marks a file as rejected requests of this gateway
VERSION = 1
NEW = (0, 0, 0)  # the `IDENTITY` of a file that nobody has written yet
SCHEMA = f"""
BEGIN;
CREATE TABLE rejected (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    headers TEXT NOT NULL,
    body TEXT NOT NULL,
    size INTEGER NOT NULL,
    missed INTEGER NOT NULL
);
CREATE INDEX rejected_source ON rejected (source, id);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
COMMIT;
"""
COLUMNS = "source, received_at, reason, headers, body, size, missed"
TRIM = (
    "DELETE FROM rejected WHERE source = ? AND id <="
    " (SELECT id FROM rejected WHERE source = ? ORDER BY id DESC LIMIT 1 OFFSET ?)"
)

logger = logging.getLogger("gateway.rejected")
_headers = msgspec.json.Decoder(list[tuple[str, str]])


class Meter:
    """A token bucket for one source's samples; `missed` counts what was not kept since the last."""

    def __init__(self, now: float) -> None:
        self._tokens, self._at = RATE, now
        self.missed = 0

    def admit(self, now: float) -> bool:
        """Take a token when there is one."""
        self._tokens = min(RATE, self._tokens + (now - self._at) * RATE)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Sample(msgspec.Struct, frozen=True):
    """What waits to be redacted and written."""

    source: str
    reason: str
    callback: Callback
    missed: int


class SqliteRejections:
    """`Rejections` in `<database>.rejected`; `clock` gives seconds.

    The file is made with the first sample. One that cannot be written costs one warning and the
    samples, nothing else; it is tried again from time to time.
    """

    def __init__(self, database: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = rejected_path(database), clock
        self._meters: dict[str, Meter] = {}
        self._waiting: deque[Sample] = deque()
        self._held = 0  # bytes of the bodies that wait
        self._closing = False
        self._writing: asyncio.Task[None] | None = None
        self._connection: aiosqlite.Connection | None = None
        self._warned = False
        self._paused_until = float("-inf")

    def keep(self, source: str, reason: str, callback: Callback) -> None:
        """See `gateway.stores.base.Rejections`."""
        now = self._clock()
        meter = self._meters.get(source)
        if meter is None:
            meter = self._meters[source] = Meter(now)
        if not (self._has_room(callback, now) and meter.admit(now)):
            meter.missed += 1
            return
        self._waiting.append(Sample(source, reason, callback, meter.missed))
        self._held += len(callback.body)
        meter.missed = 0
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_waiting(), name="rejections")
            self._writing.add_done_callback(_ended)

    def _has_room(self, callback: Callback, now: float) -> bool:
        if self._closing or now < self._paused_until:
            return False
        if not self._waiting:
            return True
        fits = self._held + len(callback.body) <= WAITING_BYTES
        return fits and len(self._waiting) < WAITING

    async def close(self) -> None:
        """See `gateway.stores.base.Rejections`."""
        self._closing = True
        if self._writing is not None:
            await asyncio.wait([self._writing])
        await self._disconnect()

    async def _write_waiting(self) -> None:
        while self._waiting:
            sample = self._waiting.popleft()
            self._held -= len(sample.callback.body)
            await self._attempt(sample)

    async def _attempt(self, sample: Sample) -> None:
        try:
            await self._write(sample)
        except (sqlite3.Error, OSError, StartupError) as error:
            self._paused_until = self._clock() + PAUSE
            self._waiting.clear()
            self._held = 0
            await self._disconnect()
            if not self._warned:
                logger.warning("rejected requests are not kept: %s: %s", self._path, error)
            self._warned = True
        else:
            self._warned = False

    async def _write(self, sample: Sample) -> None:
        # Off the loop: a hostile body takes milliseconds.
        row = await asyncio.to_thread(_redacted, sample)
        if self._connection is None:
            self._connection = await _connect(self._path)
        await self._connection.execute_insert(
            f"INSERT INTO rejected ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            row,
        )
        async with self._connection.execute(TRIM, (sample.source, sample.source, KEPT)):
            pass

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


async def read_rejected(database: Path, source: str, limit: int) -> list[RejectedRow]:
    """The newest samples of a source, newest first; also while a gateway writes.

    Raises `StartupError` when the file is not one of ours, or cannot be read.
    """
    path = rejected_path(database)
    if not path.exists():
        return []
    if not path.is_file():
        raise StartupError(f"{path} cannot be read: it is no file: move it away")
    try:
        async with aiosqlite.connect(path, isolation_level=None) as connection:
            await _execute(connection, "PRAGMA query_only = 1")
            await _execute(connection, "PRAGMA busy_timeout = 2000")
            if await _identity(connection, path) == NEW:
                return []
            rows = await _execute(
                connection,
                f"SELECT {COLUMNS} FROM rejected WHERE source = ? ORDER BY id DESC LIMIT ?",  # noqa: S608
                (source, limit),
            )
    except sqlite3.Error as error:
        raise StartupError(f"{path} cannot be read: {error}: move it away") from None
    return [_shown(row) for row in rows]


def rejected_path(database: Path) -> Path:
    """The file of the rejected requests: beside the database's real one, as its lock is."""
    real = database.resolve()
    return real.with_name(real.name + ".rejected")


async def _connect(path: Path) -> aiosqlite.Connection:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        os.fchmod(descriptor, 0o600)  # one that was there may be open to others
    finally:
        os.close(descriptor)
    connection = await aiosqlite.connect(path, isolation_level=None)
    try:
        await _execute(connection, f"PRAGMA busy_timeout = {PATIENCE}")
        identity = await _identity(connection, path)
        await _execute(connection, "PRAGMA journal_mode = WAL")  # readers are never in the way
        await _execute(connection, "PRAGMA synchronous = OFF")
        if identity == NEW:
            await (await connection.executescript(SCHEMA)).close()
    except BaseException:
        await connection.close()
        raise
    return connection


async def _identity(connection: aiosqlite.Connection, path: Path) -> tuple[int, int, int]:
    """Whose file it is, before anything in it is changed; `StartupError` when not ours."""
    application, version, tables = (await _execute(connection, IDENTITY))[0]
    found = (application, version, tables)
    if found != NEW and (application, version) != (APPLICATION_ID, VERSION):
        raise StartupError(f"{path} was made by another program or release: move it away")
    return found


async def _execute(
    connection: aiosqlite.Connection, sql: str, parameters: Sequence[object] = ()
) -> list[Sequence[Any]]:
    return list(await connection.execute_fetchall(sql, parameters))


def _redacted(sample: Sample) -> tuple[object, ...]:
    """The row of a sample, in all at most `SAMPLE` bytes of text."""
    callback = sample.callback
    reason = sample.reason[:REASON]
    headers = msgspec.json.encode(redacted_headers(callback.headers)).decode()
    body = redacted_body(callback.body)
    room = SAMPLE - len(headers.encode()) - len(reason.encode())
    if len(encoded := body.encode()) > room:
        body = encoded[: room - len(CUT.encode())].decode("utf-8", "ignore") + CUT
    return (
        *(sample.source, callback.received_at, reason, headers, body),
        *(len(callback.body), sample.missed),
    )


def _shown(row: Sequence[Any]) -> RejectedRow:
    return RejectedRow(
        source=row[0],
        received_at=row[1],
        reason=row[2],
        headers=_headers.decode(row[3]),
        body=row[4],
        size=row[5],
        missed=row[6],
    )


def _ended(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("a bug kept a rejected request from being written", exc_info=error)
