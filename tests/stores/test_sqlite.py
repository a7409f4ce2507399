"""What is SQLite's own: whose file it is, who owns it, how it is opened."""

import asyncio
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from gateway.errors import StartupError
from gateway.stores.migrate import migrations
from gateway.stores.sqlite.opening import connect
from gateway.stores.sqlite.store import SqliteStore


def opened(path: Path) -> SqliteStore:
    store = SqliteStore(path, on_fatal=lambda _: None)
    store.open()
    return store


def closed(store: SqliteStore) -> None:
    async def story() -> None:
        await store.start()
        await store.close()

    asyncio.run(story())


def test_durability_is_set_and_read_back(tmp_path: Path) -> None:
    connection = connect(tmp_path / "new.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    connection.close()


def test_the_file_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    store = opened(tmp_path / "new.db")
    for name in ("new.db", "new.db-wal", "new.db-shm", "new.db.lock"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600, name
    closed(store)


def test_one_owner(tmp_path: Path) -> None:
    first = opened(tmp_path / "new.db")
    with pytest.raises(StartupError, match=rf"in use by another gateway \(process {os.getpid()}\)"):
        opened(tmp_path / "new.db")
    closed(first)
    closed(opened(tmp_path / "new.db"))


def test_a_foreign_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "foreign.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StartupError, match="another program"):
        opened(path)
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    closed(opened(path))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StartupError, match="schema 99"):
        opened(path)


def test_changed_migrations_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    closed(opened(path))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE migrations SET checksum = 'x'")
    connection.close()
    with pytest.raises(StartupError, match=r"another text of 0001_initial\.sql"):
        opened(path)


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to be looked at" * 50, b"\0" * 5000]
)
def test_what_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "garbage.db"
    path.write_bytes(content)
    with pytest.raises(StartupError, match=r"garbage\.db"):
        opened(path)
    assert path.read_bytes() == content


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"there is no folder .*nowhere: make it"):
        opened(tmp_path / "nowhere" / "new.db")


def test_a_file_that_others_may_read_is_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "new.db"
    closed(opened(path))
    assert caplog.text == ""
    path.chmod(0o644)
    closed(opened(path))
    assert "chmod 600" in caplog.text


def test_migrations_are_numbered_without_gaps() -> None:
    assert [m.version for m in migrations("sqlite")] == list(
        range(1, len(migrations("sqlite")) + 1)
    )
