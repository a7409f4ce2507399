"""Connections that read: opened, checked, and kept open between the requests of the API.

To open one takes longer than most requests need it for: a thread has to start, and SQLite has to
read the schema.
"""

import sqlite3
from pathlib import Path

import aiosqlite

from gateway.errors import StartupError
from gateway.stores.migrate import IDENTITY, check_identity, migrations

KEPT = 4  # connections that are kept open while nobody reads


async def open_reader(path: Path) -> aiosqlite.Connection:
    """A connection that cannot write; `StartupError` when the file is not there or not ours."""
    _check_file(path)
    connection = await aiosqlite.connect(path, isolation_level=None)
    try:
        await connection.execute_fetchall("PRAGMA query_only = 1")
        await connection.execute_fetchall("PRAGMA busy_timeout = 2000")
        ((application, version, tables),) = await connection.execute_fetchall(IDENTITY)
        _check_version(check_identity((application, version, tables), str(path)), path)
    except sqlite3.Error as error:
        await connection.close()
        raise StartupError(f"{path} cannot be read as a gateway's database: {error}") from None
    except BaseException:
        await connection.close()
        raise
    return connection


def _check_file(path: Path) -> None:
    if not path.exists():
        raise StartupError(
            f"{path.absolute()} is not there yet: `gateway serve` makes it, "
            "or name another file in store.url"
        )
    if not path.is_file():
        raise StartupError(f"{path} cannot be read as a gateway's database: it is no file")


def _check_version(version: int, path: Path) -> None:
    """What only reads cannot bring a database up to date."""
    newest = migrations("sqlite")[-1].version
    if version < newest:
        raise StartupError(
            f"{path} has schema {version}, and this gateway reads schema {newest}: "
            "`gateway serve` brings it up to date"
        )


class Readers:
    """Lends connections to one file, each to one reader at a time; used on the loop only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[aiosqlite.Connection] = []
        self._closed = False

    async def take(self) -> aiosqlite.Connection:
        """One that nobody else has; `StartupError` as `open_reader`."""
        return self._idle.pop() if self._idle else await open_reader(self._path)

    async def give(self, connection: aiosqlite.Connection, *, whole: bool) -> None:
        """Take it back; unless it is `whole`, whatever went wrong with it goes with it."""
        if whole and not self._closed and not connection.in_transaction and len(self._idle) < KEPT:
            self._idle.append(connection)
        else:
            await connection.close()

    async def close(self) -> None:
        """Close those that are kept, and each of the others once it is given back."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()
