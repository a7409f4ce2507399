"""Sources that were made at run time, as the commands read them beside a gateway or without one."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.errors import StartupError
from gateway.models import Millis
from gateway.sealing import key_text, new_key
from gateway.stores.sourcing import MadeSource
from gateway.stores.sqlite.records import SqliteRecords
from gateway.stores.sqlite.store import SqliteStore


def made(path: Path, *names: str) -> None:
    async def whole() -> None:
        store = SqliteStore(path, on_fatal=pytest.fail)
        store.open()
        await store.start()
        for at, name in enumerate(names):
            await store.sources.put(name, b'{"provider":"stripe"}', Millis(at))
        await store.close()

    asyncio.run(whole())


def read(path: Path, key: bytes | None = None) -> Sequence[MadeSource]:
    async def whole() -> Sequence[MadeSource]:
        async with SqliteRecords(path, key=key) as records:
            return await records.made_sources()

    return asyncio.run(whole())


def test_they_are_read_oldest_first(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    made(path, "pay", "a")
    assert read(path) == [
        MadeSource(name="pay", keys=b'{"provider":"stripe"}', made_at=Millis(0)),
        MadeSource(name="a", keys=b'{"provider":"stripe"}', made_at=Millis(1)),
    ]


def test_the_key_is_needed_when_there_are_some(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    made(path)
    key = tmp_path / "gateway.db.key"
    kept = key.read_text()
    key.unlink()
    assert read(path) == []
    key.write_text(kept)
    key.chmod(0o600)
    made(path, "pay")
    key.unlink()
    with pytest.raises(StartupError, match=r"is not here: put it back into .*gateway\.db\.key"):
        read(path)
    with pytest.raises(StartupError, match="GATEWAY_MASTER_KEY is not the key"):
        read(path, key_text(new_key()).encode())
    assert [one.name for one in read(path, kept.strip().encode())] == ["pay"]
