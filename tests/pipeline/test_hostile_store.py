"""What a hostile review tried on the writer: a batch that fails, in any place, ends nothing but itself."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import StartupError, Unavailable
from gateway.stores.registry import Store, make_store
from gateway.stores.sqlite.writer import Batch
from tests.pipeline.test_hostile import play


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another program writes in the file."""
    connection = sqlite3.connect(database, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        connection.close()


def nothing(_: Batch) -> str:
    return "done"


class Opened:
    """A store that is open; `fatal` has the sentences with which it gave up."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "store.db"
        self.fatal: list[str] = []

    async def __aenter__(self) -> Store:
        self.store = make_store(f"sqlite:///{self.path}", on_fatal=self.fatal.append)
        self.store.open()
        await self.store.start()
        return self.store

    async def __aexit__(self, *_: object) -> None:
        await self.store.close()


@pytest.mark.slow
@pytest.mark.parametrize("heavy", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_batch_that_cannot_begin_is_refused(tmp_path: Path, heavy: bool) -> None:
    """Nobody waits for ever, and the loop goes on while the file is locked by another program."""

    async def story() -> None:
        opened = Opened(tmp_path)
        async with opened as store:
            assert store._writer._connection is not None
            wait = store._writer._connection.execute("PRAGMA busy_timeout").fetchone()
            assert wait == (0,), "the loop would wait too"
            with locked(opened.path):
                turns = 0
                jobs = [store._writer.submit(nothing, heavy=heavy) for _ in range(300)]
                while not all(job.done() for job in jobs):
                    await asyncio.sleep(0.01)
                    turns += 1
            assert turns > 20, "the loop stood still"
            assert all(isinstance(job.exception(), Unavailable) for job in jobs)
            assert await store._writer.submit(nothing) == "done"
        assert opened.fatal == []

    play(story())


def test_a_lock_that_is_released_in_time_refuses_nobody(tmp_path: Path) -> None:
    async def story() -> None:
        opened = Opened(tmp_path)
        async with opened as store:
            with locked(opened.path):
                job = store._writer.submit(nothing)
                await asyncio.sleep(0.2)
                assert not job.done()
            assert await job == "done"

    play(story())


@pytest.mark.parametrize("heavy", [False, True])
def test_a_batch_that_fails_half_way_leaves_no_job_behind(tmp_path: Path, heavy: bool) -> None:
    def full(_: Batch) -> None:
        raise _error(sqlite3.OperationalError, sqlite3.SQLITE_FULL)

    async def story() -> None:
        async with Opened(tmp_path) as store:
            jobs = [store._writer.submit(work) for work in (nothing, full, nothing, nothing)]
            heaviest = store._writer.submit(nothing, heavy=heavy)
            found = await asyncio.gather(*jobs, heaviest, return_exceptions=True)
            assert isinstance(found[1], Unavailable)
            assert all(one == "done" or isinstance(one, Unavailable) for one in found)

    play(story())


def test_a_mistake_in_one_statement_is_its_jobs_alone(tmp_path: Path) -> None:
    """SQLite tells its limits (too many variables) as it tells a broken disk: by an OperationalError."""

    def wrong(batch: Batch) -> None:
        batch.connection.execute("SELECT 1 FROM no_such_table")

    async def story() -> None:
        async with Opened(tmp_path) as store:
            jobs = [store._writer.submit(work) for work in (nothing, wrong, nothing)]
            first, second, third = await asyncio.gather(*jobs, return_exceptions=True)
            assert (first, third) == ("done", "done")
            assert isinstance(second, sqlite3.OperationalError)

    play(story())


@pytest.mark.parametrize("code", [sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB])
def test_a_corrupt_file_ends_the_gateway(tmp_path: Path, code: int) -> None:
    def corrupt(_: Batch) -> None:
        raise _error(sqlite3.DatabaseError, code)

    async def story() -> None:
        opened = Opened(tmp_path)
        async with opened as store:
            behind = [store._writer.submit(work) for work in [corrupt] + [nothing] * 300]
            found = await asyncio.gather(*behind, return_exceptions=True)
            assert all(isinstance(one, Unavailable) for one in found), "written after a failure"
            with pytest.raises(Unavailable, match="restart it"):
                await store._writer.submit(nothing)
        assert len(opened.fatal) == 1

    play(story())


def test_two_names_of_one_file_have_one_owner(tmp_path: Path) -> None:
    (tmp_path / "other.db").symlink_to(tmp_path / "store.db")

    async def story() -> None:
        async with Opened(tmp_path):
            second = make_store(f"sqlite:///{tmp_path}/other.db", on_fatal=lambda _: None)
            with pytest.raises(StartupError, match=r"other\.db is in use by another gateway"):
                second.open()

    play(story())


def _error(kind: type[sqlite3.Error], code: int) -> sqlite3.Error:
    error = kind("made by a test")
    error.sqlite_errorcode = code
    return error
