"""The SQLite store: one owner, one writer, and its three protocols side by side."""

from collections.abc import Callable
from pathlib import Path

from gateway.stores.sqlite.catalog import SqliteCatalog
from gateway.stores.sqlite.lock import Owner
from gateway.stores.sqlite.outbox import SqliteOutbox
from gateway.stores.sqlite.polls import SqlitePolls
from gateway.stores.sqlite.queue import SqliteQueue
from gateway.stores.sqlite.records import SqliteRecords
from gateway.stores.sqlite.rejected import SqliteRejections
from gateway.stores.sqlite.replays import SqliteReplays
from gateway.stores.sqlite.upkeep import SqliteUpkeep
from gateway.stores.sqlite.writer import Writer


class SqliteStore:
    """Open it once a process; `open` takes the lock and raises `StartupError` in one sentence."""

    def __init__(self, path: Path, *, on_fatal: Callable[[str], None]) -> None:
        self.path = path
        self._owner = Owner(path)
        self._writer = Writer(path, on_fatal=on_fatal)
        self.catalog = SqliteCatalog(self._writer)
        self.outbox = SqliteOutbox(self._writer, route=lambda: self.catalog.routes)
        self.queue = SqliteQueue(self._writer, route=lambda: self.catalog.routes)
        self.polls = SqlitePolls(self._writer, route=lambda: self.catalog.routes)
        self.upkeep = SqliteUpkeep(self._writer, route=lambda: self.catalog.routes)
        self.replays = SqliteReplays(self._writer, path, statuses=lambda: self.catalog.statuses)
        self.rejections = SqliteRejections(path)
        self.attach = self._writer.attach

    def open(self) -> None:
        """Take the lock, open and migrate the file; all leases of the last owner are void."""
        self._owner.acquire()
        try:
            self._writer.open()
        except BaseException:
            self._owner.release()
            raise

    async def start(self) -> None:
        """Start writing."""
        self._writer.start()
        await self.queue.void_leases()

    def records(self) -> SqliteRecords:
        """A reader of this file."""
        return SqliteRecords(self.path)

    async def close(self) -> None:
        """Write what waits, close the file, let go of the lock."""
        await self._writer.close()
        self._owner.release()
