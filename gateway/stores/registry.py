"""From `store.url` to a store; the only place that knows the backends."""

from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.errors import ConfigError
from gateway.stores.sqlite.examining import complaints_of, engine_version, examine
from gateway.stores.sqlite.records import SqliteRecords
from gateway.stores.sqlite.renewal import Renewed, renew
from gateway.stores.sqlite.store import SqliteStore
from gateway.stores.upkeep import Examined

SQLITE = "sqlite:///"

Store = SqliteStore


def database_path(url: str) -> Path:
    """The file of a `sqlite:///PATH` URL; `ConfigError`."""
    if not url.startswith(SQLITE) or url == SQLITE:
        raise ConfigError("store.url", f"expected {SQLITE}PATH, got {url!r}")
    return Path(url.removeprefix(SQLITE))


def make_store(url: str, *, on_fatal: Callable[[str], None], key: bytes | None = None) -> Store:
    """The store of a URL, not yet opened; `key` is the text of the master key, if it is no file's."""
    return SqliteStore(database_path(url), on_fatal=on_fatal, key=key)


def make_records(url: str, *, key: bytes | None = None) -> SqliteRecords:
    """A reader of a store that another process may own; `key` is needed for signing secrets only."""
    return SqliteRecords(database_path(url), key=key)


def renew_master_key(url: str, *, key: bytes | None, to: Path | None) -> Renewed:
    """Seal all secrets of a store with another master key; see `gateway.stores.sqlite.renewal`."""
    return renew(database_path(url), key=key, to=to)


def examined(url: str) -> Examined:
    """What a store says of itself; it is not changed, and another process may own it. `StartupError`."""
    return examine(database_path(url))


def complaints(url: str) -> Sequence[str]:
    """What is wrong with a store, all of which is read, without changing it; `StartupError`."""
    return complaints_of(database_path(url))


def sqlite_version() -> tuple[int, int, int]:
    """The version of SQLite that is used here."""
    return engine_version()
