"""The write-ahead log stays short, whatever kind of writing came before."""

import sqlite3
from pathlib import Path

import pytest

from gateway.stores.sqlite import checkpoints as module
from gateway.stores.sqlite.checkpoints import IDLE, PATIENT, Checkpoints
from gateway.stores.sqlite.opening import connect

PAGE = 4_096
LONG = 400  # pages, so that the test is short


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONG", LONG)


def busy(path: Path) -> tuple[sqlite3.Connection, Checkpoints]:
    connection = connect(path)
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, mark INTEGER, body BLOB)")
    return connection, Checkpoints(path)


def commit(connection: sqlite3.Connection, checkpoints: Checkpoints, *statements: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in statements:
        connection.execute(statement)
    connection.execute("COMMIT")
    checkpoints.committed(connection)
    if checkpoints.due(idle=False, answered=True):
        checkpoints.run(connection)


def longest(path: Path, connection: sqlite3.Connection, checkpoints: Checkpoints) -> float:
    """How many pages the log has at most, while rows of a page each are written."""
    most = 0.0
    insert = "INSERT INTO t (body) VALUES (zeroblob(3500))"
    for _ in range(100):
        commit(connection, checkpoints, *[insert] * 50)
        most = max(most, path.with_name(f"{path.name}-wal").stat().st_size / PAGE)
    return most


def test_the_log_begins_anew_in_time(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    connection, checkpoints = busy(path)
    assert longest(path, connection, checkpoints) < 2 * LONG
    connection.close()


def test_many_rows_of_few_pages_teach_no_patience(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    connection, checkpoints = busy(path)
    many = (
        "INSERT INTO t (mark) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
        " WHERE i < 60000) SELECT i FROM n"
    )
    commit(connection, checkpoints, many)
    commit(connection, checkpoints, "UPDATE t SET mark = 0")
    checkpoints.run(connection)
    assert longest(path, connection, checkpoints) < 6 * LONG
    connection.close()


def test_what_changes_no_row_counts_too(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    connection, checkpoints = busy(path)
    for _ in range(LONG * 4):
        checkpoints.committed(connection)
    assert checkpoints.due(idle=False, answered=True)
    connection.close()


@pytest.mark.parametrize(
    ("pages", "moment", "due"),
    [
        (IDLE, {"idle": True, "answered": True}, True),
        (IDLE - 1, {"idle": True, "answered": True}, False),
        (IDLE, {"idle": True, "answered": False}, False),  # a callback may come at any moment
        (PATIENT, {"idle": True, "answered": False}, True),
        (PATIENT, {"idle": False, "answered": True}, False),  # something waits already
    ],
)
def test_a_moment_is_waited_for_in_which_nobody_waits(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pages: int,
    moment: dict[str, bool],
    due: bool,
) -> None:
    monkeypatch.setattr(module, "LONG", PATIENT * 2)
    connection, checkpoints = busy(tmp_path / "a.db")
    checkpoints.committed(connection)
    for _ in range(pages - 1):
        checkpoints.committed(connection)
    assert checkpoints.due(**moment) is due
    connection.close()
