"""The inbox drops repeats: over threads, processes, exceptions and kill -9, with real files."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO

import pytest

from gateway.inbox import INDEX, SLICE, TABLE, Inbox, Memory

ROOT = Path(__file__).parents[2]
DAY = 86_400

WORKER = """
import sys
from gateway.inbox import Inbox
path, webhook_id = sys.argv[1:]
with Inbox(path).once(webhook_id) as new:
    print("new" if new else "repeat", flush=True)
    sys.stdin.readline()
print("done", flush=True)
"""


def line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline().strip()


@contextmanager
def worker(path: Path, webhook_id: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that says whether the id is new, and stays in the block until it gets a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(path), webhook_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def known(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM webhook_inbox ORDER BY id")]


def test_a_repeat_is_not_new(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox.db")
    for webhook_id, expected in (("evt_1", True), ("evt_1", False), ("evt_2", True)):
        with inbox.once(webhook_id) as new:
            assert new is expected
    with Inbox(str(tmp_path / "inbox.db")).once("evt_1") as new:
        assert not new


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_block_that_fails_leaves_the_id_new(tmp_path: Path, error: type[BaseException]) -> None:
    inbox = Inbox(tmp_path / "inbox.db")

    def fail() -> None:
        with inbox.once("evt_1") as new:
            assert new
            raise error

    for _ in range(2):
        with pytest.raises(error):
            fail()
    with inbox.once("evt_1") as new:
        assert new
    assert known(tmp_path / "inbox.db") == ["evt_1"]


def test_of_many_threads_one_is_new(tmp_path: Path) -> None:
    inbox, start = Inbox(tmp_path / "inbox.db"), threading.Barrier(16)
    found: list[tuple[str, bool]] = []

    def run(number: int) -> None:
        start.wait()
        for webhook_id in ("evt_1", f"evt_{2 + number % 4}"):
            with inbox.once(webhook_id) as new:
                found.append((webhook_id, new))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 32
    assert sorted(name for name, new in found if new) == [f"evt_{n}" for n in range(1, 6)]


def test_a_repeat_in_another_process_waits_for_the_end_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "inbox.db"
    with worker(path, "evt_1") as first:
        assert line(first.stdout) == "new"
        with worker(path, "evt_1") as second:
            assert known(path) == []
            first.communicate("\n")
            assert line(second.stdout) == "repeat"
    assert known(path) == ["evt_1"]


def test_a_repeat_is_new_when_the_first_was_killed_before_its_end(tmp_path: Path) -> None:
    path = tmp_path / "inbox.db"
    with worker(path, "evt_1") as first:
        assert line(first.stdout) == "new"
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    with worker(path, "evt_1") as second:
        assert line(second.stdout) == "new"
        assert second.communicate("\n")[0].strip() == "done"
    with Inbox(path).once("evt_1") as new:
        assert not new


def test_who_waits_too_long_is_told(tmp_path: Path) -> None:
    path = tmp_path / "inbox.db"
    impatient = Inbox(path, wait=timedelta(milliseconds=50))
    with worker(path, "evt_1") as first:
        assert line(first.stdout) == "new"
        with pytest.raises(sqlite3.OperationalError, match="locked"), impatient.once("evt_1"):
            raise AssertionError("two are in the block at once")
    with impatient.once("evt_1") as new:
        assert new


def test_old_ids_go_in_slices_and_young_ones_stay(tmp_path: Path) -> None:
    now = 0.0
    path = tmp_path / "inbox.db"
    inbox = Inbox(path, clock=lambda: now)
    for number in range(SLICE + 50):
        with inbox.once(f"evt_{number:03}"):
            pass
    now = 30 * DAY
    with inbox.once("evt_000") as new:
        assert not new
    assert len(known(path)) == SLICE + 50
    now = 30 * DAY + 1
    with inbox.once("young"):
        pass
    assert len(known(path)) == 51
    with inbox.once("young") as new:
        assert not new
    assert known(path) == ["young"]
    with inbox.once("evt_000") as new:
        assert new


def test_keep_is_chosen(tmp_path: Path) -> None:
    times = iter([0, 0, 2 * DAY, 2 * DAY, 2 * DAY + 1, 2 * DAY + 1, 2 * DAY + 2, 2 * DAY + 2])
    inbox = Inbox(tmp_path / "inbox.db", keep=timedelta(days=2), clock=lambda: next(times))
    for expected in (True, False, False, True):
        with inbox.once("evt_1") as new:
            assert new is expected


def test_the_path_is_the_one_of_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    inbox = Inbox("inbox.db")
    monkeypatch.chdir(tmp_path / "elsewhere")
    with inbox.once("evt_1") as new:
        assert new
    assert known(tmp_path / "inbox.db") == ["evt_1"]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A consumer's own database."""
    with closing(sqlite3.connect(tmp_path / "shop.db", timeout=0.05)) as connection:
        for statement in (TABLE, INDEX, "CREATE TABLE parcels (name TEXT)"):
            connection.execute(statement)
        connection.commit()
        yield connection


def handle(connection: sqlite3.Connection, webhook_id: str) -> bool:
    new = Memory(connection).new(webhook_id)
    if new:
        connection.execute("INSERT INTO parcels VALUES (?)", (webhook_id,))
    return new


def parcels(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT name FROM parcels")]


def test_in_their_own_store_id_and_work_are_one_transaction(
    shop: sqlite3.Connection, tmp_path: Path
) -> None:
    path = tmp_path / "shop.db"
    assert handle(shop, "evt_1")
    assert (known(path), parcels(path)) == ([], [])
    shop.rollback()
    assert handle(shop, "evt_1")
    shop.commit()
    assert (known(path), parcels(path)) == (["evt_1"], ["evt_1"])
    assert not handle(shop, "evt_1")
    shop.commit()
    assert parcels(path) == ["evt_1"]


def test_in_their_own_store_a_concurrent_repeat_is_not_new(
    shop: sqlite3.Connection, tmp_path: Path
) -> None:
    assert handle(shop, "evt_1")
    with closing(sqlite3.connect(tmp_path / "shop.db", timeout=0.05)) as other:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            handle(other, "evt_1")
        other.rollback()
        shop.commit()
        assert not handle(other, "evt_1")


def test_in_their_own_store_old_ids_are_forgotten_when_asked(shop: sqlite3.Connection) -> None:
    now = 0.0
    memory = Memory(shop, keep=timedelta(days=1), clock=lambda: now)
    assert memory.new("evt_1")
    now = DAY
    memory.forget()
    assert not memory.new("evt_1")
    now = DAY + 1
    memory.forget()
    assert memory.new("evt_1")


def test_the_drivers_placeholder_is_used() -> None:
    class Recorder:
        rowcount = 1

        def __init__(self) -> None:
            self.statements: list[str] = []

        def cursor(self) -> "Recorder":
            return self

        def execute(self, statement: str, parameters: tuple[object, ...]) -> None:
            assert statement.count("%s") == len(parameters)
            self.statements.append(statement)

    recorder = Recorder()
    memory = Memory(recorder, mark="%s")
    assert memory.new("evt_1")
    memory.forget()
    assert [statement.count("?") for statement in recorder.statements] == [0, 0]
