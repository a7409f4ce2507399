"""Connections that read are kept between requests: lent to one at a time, none that is broken."""

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.errors import NotFound, StartupError, Unavailable
from gateway.stores.sqlite.readers import KEPT
from gateway.stores.sqlite.records import SqliteRecords
from gateway.stores.sqlite.store import SqliteStore


def play(folder: Path, story: Callable[[SqliteStore], Awaitable[None]]) -> None:
    async def whole() -> None:
        store = SqliteStore(folder / "gateway.db", on_fatal=pytest.fail)
        store.open()
        await store.start()
        try:
            await story(store)
        finally:
            await store.close()

    asyncio.run(whole())


def test_a_connection_is_used_again_and_sees_what_was_written_meanwhile(tmp_path: Path) -> None:
    async def story(store: SqliteStore) -> None:
        seen = []
        for _ in range(3):
            async with store.records() as records:
                seen.append(records._reading.connection)
                assert await records.keys() == []
        assert seen[0] is seen[1] is seen[2]
        writer = sqlite3.connect(tmp_path / "gateway.db")
        writer.execute("INSERT INTO keys (id, digest, role, made_at) VALUES ('k', x'', 'admin', 1)")
        writer.commit()
        # Nothing that was read keeps the log from being written back and begun anew.
        (busy, *_) = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        writer.close()
        assert busy == 0
        async with store.records() as records:
            assert records._reading.connection is seen[0]
            assert [key.id for key in await records.keys()] == ["k"]

    play(tmp_path, story)


def test_two_at_a_time_have_two_and_only_a_few_are_kept(tmp_path: Path) -> None:
    async def story(store: SqliteStore) -> None:
        before = threading.active_count()
        opened = [store.records() for _ in range(KEPT + 3)]
        for one in opened:
            await one.__aenter__()
        assert len({id(one._reading.connection) for one in opened}) == KEPT + 3
        for one in opened:
            await one.__aexit__(None, None, None)
        assert len(store._readers._idle) == KEPT
        for _ in range(200):
            if threading.active_count() <= before + KEPT:
                break
            await asyncio.sleep(0.01)
        assert threading.active_count() <= before + KEPT

    play(tmp_path, story)


def test_what_went_wrong_with_one_goes_with_it(tmp_path: Path) -> None:
    async def use(store: SqliteStore, error: BaseException | None) -> SqliteRecords:
        records = store.records()
        try:
            async with records:
                if error is not None:
                    raise error
        except (sqlite3.Error, asyncio.CancelledError, NotFound, Unavailable):
            pass
        return records

    async def story(store: SqliteStore) -> None:
        for error, kept in (
            (None, True),
            (NotFound("nothing"), True),
            (sqlite3.OperationalError("disk I/O error"), False),
            (Unavailable("the store failed"), False),
            (asyncio.CancelledError(), False),
        ):
            used = (await use(store, error))._reading.connection
            assert (used in store._readers._idle) is kept
        async with store.records() as records:
            assert await records.keys() == []
            await records._reading.fetch("BEGIN")
        assert store._readers._idle == []

    play(tmp_path, story)


def test_a_reader_cannot_write_and_ends_with_its_store(tmp_path: Path) -> None:
    held: list[SqliteRecords] = []

    async def story(store: SqliteStore) -> None:
        async with store.records() as records:
            with pytest.raises((sqlite3.Error, Unavailable), match="readonly"):
                await records._reading.fetch("DELETE FROM keys")
        held.append(await store.records().__aenter__())

    async def whole() -> None:
        store = SqliteStore(tmp_path / "gateway.db", on_fatal=pytest.fail)
        store.open()
        await store.start()
        await story(store)
        await store.close()
        assert await held[0].keys() == []
        await held[0].__aexit__(None, None, None)
        with pytest.raises(ValueError, match=r"closed|no active"):
            await held[0].keys()
        assert store._readers._idle == []

    asyncio.run(whole())


def test_without_a_file_nothing_is_kept(tmp_path: Path) -> None:
    async def whole() -> None:
        store = SqliteStore(tmp_path / "none.db", on_fatal=pytest.fail)
        with pytest.raises(StartupError, match="is not there yet"):
            async with store.records():
                pass

    asyncio.run(whole())
