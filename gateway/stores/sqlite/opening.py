"""Opens the writing connection, and checks that what it promises is true."""

import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from gateway.errors import StartupError
from gateway.stores.migrate import IDENTITY, check_identity

SYNCHRONOUS = "FULL"  # NORMAL lost acknowledged rows in 129 of 150 simulated power cuts
CACHE = 20 * 1024  # KiB of pages kept in memory
BUSY = 2_000  # ms that another program which holds the file is waited for

NO_ROOM_FOR_INDEX = (
    sqlite3.SQLITE_IOERR_SHMSIZE
)  # so a full disk is told when the WAL's index grows, and when it is made

logger = logging.getLogger("gateway.store")


def is_full(error: sqlite3.Error) -> bool:
    """Whether it says that the disk is full."""
    code = getattr(error, "sqlite_errorcode", 0) or 0
    return code & 0xFF == sqlite3.SQLITE_FULL or code == NO_ROOM_FOR_INDEX


@contextmanager
def look_into(path: Path) -> Iterator[sqlite3.Connection | None]:
    """A connection that changes nothing, not by its end either; None when there is nothing to read.

    Raises `StartupError` for a file that is not ours, and when reading fails.
    """
    if not (path.is_file() and os.access(path, os.R_OK)):
        yield None  # `connect` says what is wrong with it
        return
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, isolation_level=None
        )
    except sqlite3.Error as error:
        raise StartupError(_open_error(path, error)) from None
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY}")
        check_identity(connection.execute(IDENTITY).fetchone(), str(path))
        yield connection
    except sqlite3.Error as error:
        raise StartupError(_open_error(path, error)) from None
    finally:
        connection.close()


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
    except sqlite3.Error as error:
        raise StartupError(_open_error(path, error)) from None
    try:
        _configure(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise StartupError(_open_error(path, error)) from None
    except StartupError:
        connection.close()
        raise
    return connection


def _configure(connection: sqlite3.Connection, path: Path) -> None:
    if sqlite3.sqlite_version_info < (3, 37):
        raise StartupError(f"SQLite {sqlite3.sqlite_version} is too old: 3.37 or later is needed")
    connection.execute(f"PRAGMA busy_timeout = {BUSY}")
    # Before anything is changed: it may be another program's.
    check_identity(connection.execute(IDENTITY).fetchone(), str(path))
    if path.stat().st_mode & 0o077:
        logger.warning("%s is open to others than its owner: chmod 600 it", path)
    connection.execute(f"PRAGMA cache_size = -{CACHE}")
    connection.execute("PRAGMA temp_store = MEMORY")  # savepoints would make files otherwise
    if not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")
    connection.execute("PRAGMA wal_autocheckpoint = 0")  # see checkpoints.py
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
    if is_full(error):
        return f"{path} cannot be opened, because the disk is full: make space, and try again"
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
