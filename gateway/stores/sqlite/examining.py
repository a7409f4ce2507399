"""A look at a database file that changes nothing: who owns it, whether it is whole, what is in it.

Whoever closes the last connection to a file in WAL mode writes the log back into it, and one that
may only read leaves new files beside it. So a file without a log is read as one that nobody writes
(`immutable`), and one with a log by a connection that may only read.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from gateway.errors import StartupError
from gateway.models import Millis
from gateway.stores.migrate import IDENTITY, check_identity, migrations
from gateway.stores.sqlite.lanes import PARKED
from gateway.stores.sqlite.sources import PAUSED
from gateway.stores.upkeep import Examined, Standing

COMPLAINTS = 3  # of `quick_check` that are told
PRESENT = (
    "SELECT name, declared, made IS NULL FROM subscriptions"
    " WHERE enabled AND state <> 'gone' AND (made IS NULL OR length(made) > 0)"
)
STANDING = (
    "SELECT s.name, s.state, coalesce(s.reason, ''), s.failing_since,"
    " (SELECT count(*) FROM deliveries d WHERE d.subscription = s.id AND d.state = ? AND d.state < 2)"
    " FROM subscriptions s WHERE s.enabled AND (s.made IS NULL OR length(s.made) > 0) ORDER BY s.id"
)
MADE = "SELECT name FROM made_sources"
NEWEST = "SELECT received_at FROM callbacks ORDER BY id DESC LIMIT 1"

_declared = msgspec.json.Decoder(dict[str, Any])


def engine_version() -> tuple[int, int, int]:
    """The version of SQLite that this Python has."""
    major, minor, patch = sqlite3.sqlite_version_info[:3]
    return major, minor, patch


def examine(path: Path) -> Examined:
    """What the file says of itself, but whether it is whole; `StartupError`, `OSError`."""
    with _reading(path) as connection:
        version = check_identity(connection.execute(IDENTITY).fetchone(), str(path))
        newest = migrations("sqlite")[-1].version
        present = version == newest  # of an older one the columns may have other names
        return Examined(
            version=version,
            newest=newest,
            pages=connection.execute("PRAGMA page_count").fetchone()[0],
            free_pages=connection.execute("PRAGMA freelist_count").fetchone()[0],
            wal=_log_size(path) or 0,
            last_received=_last(connection) if present else None,
            subscriptions=_subscriptions(connection, declared=True) if present else {},
            undeclared=_subscriptions(connection, declared=False) if present else {},
            standings=_standings(connection) if present else (),
            paused_sources=dict(connection.execute(PAUSED).fetchall()) if present else {},
            made_sources=[name for (name,) in connection.execute(MADE)] if present else (),
        )


def complaints_of(path: Path) -> Sequence[str]:
    """What SQLite has to say against the file, all of which it reads; `StartupError`, `OSError`."""
    with _reading(path) as connection:
        rows = connection.execute(f"PRAGMA quick_check({COMPLAINTS})").fetchall()
        return [str(row[0]) for row in rows if row[0] != "ok"]


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    how = "immutable=1" if _log_size(path) is None else "mode=ro"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?{how}", uri=True)) as connection:
            connection.execute("PRAGMA busy_timeout = 2000")
            yield connection
    except (sqlite3.Error, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StartupError(f"{path} cannot be read as a gateway's database: {error}") from None


def _log_size(path: Path) -> int | None:
    """The bytes of the write-ahead log; None when there is none."""
    try:
        return path.with_name(path.name + "-wal").stat().st_size
    except FileNotFoundError:
        return None


def _last(connection: sqlite3.Connection) -> Millis | None:
    row = connection.execute(NEWEST).fetchone()
    return None if row is None else Millis(row[0])


def _subscriptions(connection: sqlite3.Connection, *, declared: bool) -> Mapping[str, str]:
    rows = connection.execute(PRESENT).fetchall()
    return {
        name: _declared.decode(settings)["url"]
        for name, settings, stands_in_file in rows
        if bool(stands_in_file) is declared
    }


def _standings(connection: sqlite3.Connection) -> Sequence[Standing]:
    return [
        Standing(subscription=name, state=state, reason=reason, failing_since=since, parked=parked)
        for name, state, reason, since, parked in connection.execute(STANDING, (PARKED,))
    ]
