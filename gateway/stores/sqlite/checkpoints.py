"""When the write-ahead log is copied back into the database.

SQLite would do that within a COMMIT, so that whoever waits for the commit waits for the copying, and
it would keep an error of it to itself. Here it follows the commit, and an error is one: what cannot
be synced to the disk is not to be trusted any more.
"""

import sqlite3
from pathlib import Path

LONG = 4_000  # pages, 16 MiB: a page that many callbacks touch is copied back once
LEAST = 0.25  # pages a row: what changes many rows of a page says nothing of what comes after it
IDLE = 200  # pages, when nobody waits: shorter, so that whoever comes meanwhile waits less
PATIENT = 800  # pages, until which a moment is waited for right behind somebody's answer: who calls
# needs the way back and forth before the next call, and others call then as likely as at any time


class Checkpoints:
    """Estimates how long the log is: SQLite tells it at a checkpoint only."""

    def __init__(self, database: Path) -> None:
        self._log = database.with_name(f"{database.name}-wal")
        self._changes = 0  # rows since the last checkpoint
        self._total = 0  # rows of this connection
        self._frames, self._round = 0, -1  # of the log, at the last checkpoint
        self._each = 1.0  # pages a row, as learnt from the last checkpoint

    def committed(self, connection: sqlite3.Connection) -> None:
        """Count what a transaction has written."""
        self._changes += max(connection.total_changes - self._total, 1)
        self._total = connection.total_changes

    def due(self, *, idle: bool, answered: bool) -> bool:
        """Whether to copy now; `idle` says that nothing waits to be written.

        `answered` says that whoever calls was answered by this commit, or that nobody calls.
        """
        pages = self._changes * self._each
        return pages >= (LONG if not idle else IDLE if answered else PATIENT)

    def run(self, connection: sqlite3.Connection) -> list[object]:
        """Copy what no reader still needs where it is; raises `sqlite3.Error`."""
        _, frames, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        now = self._sequence()
        new = frames - self._frames if now == self._round else frames
        if self._changes and new > 0:
            self._each = max(new / self._changes, LEAST)
        self._changes, self._frames, self._round = 0, frames, now
        return []

    def _sequence(self) -> int:
        """How often the log has begun anew (sqlite.org/fileformat2.html, section 4.1)."""
        try:
            with self._log.open("rb") as log:
                return int.from_bytes(log.read(16)[12:], "big")
        except OSError:
            return -1
