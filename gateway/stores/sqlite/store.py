"""The SQLite store: one owner, one writer, and its protocols side by side."""

from collections.abc import Callable
from pathlib import Path

from gateway.news import News
from gateway.stores.sqlite.answers import SqliteAnswers
from gateway.stores.sqlite.catalog import SqliteCatalog
from gateway.stores.sqlite.keyring import SqliteKeys
from gateway.stores.sqlite.lock import Owner
from gateway.stores.sqlite.master import Master
from gateway.stores.sqlite.outbox import SqliteOutbox
from gateway.stores.sqlite.polls import SqlitePolls
from gateway.stores.sqlite.pulled import SqliteFeed, SqlitePulls
from gateway.stores.sqlite.queue import SqliteQueue
from gateway.stores.sqlite.readers import Readers
from gateway.stores.sqlite.records import SqliteRecords
from gateway.stores.sqlite.rejected import SqliteRejections
from gateway.stores.sqlite.replays import SqliteReplays
from gateway.stores.sqlite.sources import SqliteSources
from gateway.stores.sqlite.upkeep import SqliteUpkeep
from gateway.stores.sqlite.writer import Writer


class SqliteStore:
    """Open it once a process; `open` takes the lock and raises `StartupError` in one sentence.

    `key` is the text of the master key; None where it lies in a file beside the database.
    """

    def __init__(
        self, path: Path, *, on_fatal: Callable[[str], None], key: bytes | None = None
    ) -> None:
        self.path, self._key = path, key
        self._master = Master(path, key)
        self._owner = Owner(path)
        self.news = News()
        self._writer = Writer(path, news=self.news, on_fatal=on_fatal)
        self.catalog = SqliteCatalog(self._writer, sealer=lambda: self._master.sealer)
        self.outbox = SqliteOutbox(self._writer, route=lambda: self.catalog.routes)
        self.queue = SqliteQueue(self._writer, route=lambda: self.catalog.routes)
        self.polls = SqlitePolls(self._writer, route=lambda: self.catalog.routes)
        self.upkeep = SqliteUpkeep(self._writer, route=lambda: self.catalog.routes)
        self.replays = SqliteReplays(self._writer, path, statuses=lambda: self.catalog.statuses)
        self.keys = SqliteKeys(self._writer)
        self.pulls = SqlitePulls(self._writer)
        self.feed = SqliteFeed(path, self.news)
        self.answers = SqliteAnswers(self._writer, sealer=lambda: self._master.sealer)
        self.sources = SqliteSources(self._writer, sealer=lambda: self._master.sealer)
        self.rejections = SqliteRejections(path)
        self._readers = Readers(path)
        self.attach = self._writer.attach

    def open(self) -> None:
        """Take the lock, hold the key against the file, open and migrate that; all leases are void."""
        self._owner.acquire()
        try:
            self._master.find()
            self._writer.open(self._master.settle)
        except BaseException:
            self._owner.release()
            raise

    async def start(self) -> None:
        """Start writing."""
        self._writer.start()
        await self.queue.void_leases()

    def secret_for(self, purpose: str) -> bytes:
        """A key of 32 bytes that outlives a restart, not a change of the master key."""
        return self._master.sealer.derived(purpose)

    def records(self) -> SqliteRecords:
        """A reader of this file."""
        return SqliteRecords(self.path, key=self._key, readers=self._readers)

    async def close(self) -> None:
        """Write what waits, close the file, let go of the lock."""
        self.news.close()
        await self.feed.close()
        await self._readers.close()
        await self._writer.close()
        self._owner.release()
