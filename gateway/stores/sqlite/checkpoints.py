"""When the write-ahead log is copied back into the database.

SQLite would do that within a COMMIT, so that whoever waits for the commit waits for the copying, and
it would keep an error of it to itself. Here it follows the commit, and an error is one: what cannot
be synced to the disk is not to be trusted any more.
"""

import sqlite3

LONG = 4_000  # pages, 16 MiB: a page that many callbacks touch is copied back once
IDLE = 200  # pages, when nobody waits: shorter, so that whoever comes meanwhile waits less


class Checkpoints:
    """Counts transactions; how many pages one of them writes is learnt from the last checkpoint."""

    def __init__(self) -> None:
        self._commits = 0  # since the last one
        self._frames = 0  # of the log, then
        self._each = 8.0  # pages a transaction

    def committed(self) -> None:
        """Count a transaction."""
        self._commits += 1

    def due(self, *, idle: bool) -> bool:
        """Whether to copy now; `idle` says that nothing waits to be written."""
        return self._commits * self._each >= (IDLE if idle else LONG)

    def run(self, connection: sqlite3.Connection) -> list[object]:
        """Copy what no reader still needs where it is; raises `sqlite3.Error`."""
        _, frames, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        new = frames - self._frames if frames >= self._frames else frames
        self._each = max(new / max(self._commits, 1), 1.0)
        self._commits, self._frames = 0, frames
        return []
