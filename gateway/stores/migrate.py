"""Numbered SQL files, applied once each, in order, with their checksums remembered."""

import hashlib
import sqlite3
from importlib import resources

import msgspec

from gateway.errors import StartupError
from gateway.stores.sqlite.keys import key

APPLICATION_ID = 0x47574859  # "GWHY": marks a file as a database of this gateway


class Migration(msgspec.Struct, frozen=True):
    """One file `NNNN_name.sql`."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations(dialect: str) -> list[Migration]:
    """All migrations of a dialect (`sqlite`), in order."""
    folder = resources.files("gateway.stores") / "sql" / dialect
    found = [
        Migration(int(entry.name[:4]), entry.name, entry.read_text("utf-8"))
        for entry in folder.iterdir()
        if entry.name.endswith(".sql")
    ]
    return sorted(found, key=lambda migration: migration.version)


IDENTITY = (
    "SELECT (SELECT application_id FROM pragma_application_id),"
    " (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)"
)
"""Three numbers that tell whose database a file is; `check_identity` reads them."""


def check_identity(row: tuple[int, int, int], name: str) -> int:
    """The schema's version; `StartupError` for a foreign or a newer database."""
    application, version, tables = row
    if application != APPLICATION_ID and (tables or application or version):
        raise StartupError(
            f"{name} is a database of another program: name a new file in store.url, "
            "or move that one away"
        )
    newest = migrations("sqlite")[-1].version
    if version > newest:
        raise StartupError(
            f"{name} has schema {version}, and this gateway knows schemas up to {newest}: "
            "install the newer gateway that made it, or choose another file"
        )
    return version


def migrate(connection: sqlite3.Connection, name: str) -> None:
    """Bring a database up to this version; the caller holds its lock, `name` is the file's."""
    known = migrations("sqlite")
    version = check_identity(connection.execute(IDENTITY).fetchone(), name)
    _check_history(connection, known[:version], name)
    connection.create_function("place_key", 2, key, deterministic=True)  # what 0003 calls
    for migration in known[version:]:
        _apply(connection, migration)


def _check_history(connection: sqlite3.Connection, known: list[Migration], name: str) -> None:
    if not known:
        return
    applied = dict(connection.execute("SELECT version, checksum FROM migrations"))
    changed = [m.name for m in known if applied.get(m.version) != m.checksum]
    if changed:
        raise StartupError(
            f"{name} was made with another text of {changed[0]}: this gateway's files were changed, "
            "or the database was; install an unchanged release"
        )


def _apply(connection: sqlite3.Connection, migration: Migration) -> None:
    """One migration, whole or not at all; `executescript` would commit before it starts."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY,"
            " name TEXT NOT NULL, checksum TEXT NOT NULL)"
        )
        for statement in _statements(migration.sql):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO migrations VALUES (?, ?, ?)",
            (migration.version, migration.name, migration.checksum),
        )
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {migration.version}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(sql: str) -> list[str]:
    found, statement = [], ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            found.append(statement)
            statement = ""
    return found
