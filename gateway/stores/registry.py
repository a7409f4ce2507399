"""From `store.url` to a store; the only place that knows the backends."""

from collections.abc import Callable
from pathlib import Path

from gateway.errors import ConfigError
from gateway.stores.sqlite.records import SqliteRecords
from gateway.stores.sqlite.store import SqliteStore

SQLITE = "sqlite:///"

Store = SqliteStore


def database_path(url: str) -> Path:
    """The file of a `sqlite:///PATH` URL; `ConfigError`."""
    if not url.startswith(SQLITE) or url == SQLITE:
        raise ConfigError("store.url", f"expected {SQLITE}PATH, got {url!r}")
    return Path(url.removeprefix(SQLITE))


def make_store(url: str, *, on_fatal: Callable[[str], None]) -> Store:
    """The store of a URL, not yet opened."""
    return SqliteStore(database_path(url), on_fatal=on_fatal)


def make_records(url: str) -> SqliteRecords:
    """A reader of a store that another process may own."""
    return SqliteRecords(database_path(url))
