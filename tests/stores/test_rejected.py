"""The samples of rejected requests: bounded, owner-only, and no trouble to anybody."""

import asyncio
import json
import logging
import sqlite3
import stat
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import StartupError
from gateway.models import Callback, Millis
from gateway.stores.sqlite import rejected
from gateway.stores.sqlite.rejected import (
    KEPT,
    PAUSE,
    RATE,
    SAMPLE,
    WAITING,
    WAITING_BYTES,
    SqliteRejections,
    read_rejected,
    rejected_path,
)
from gateway.stores.views import RejectedRow


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def callback(
    number: int = 0, body: bytes = b'{"id":"evt_1","name":"Jane"}', *, source: str = "shop"
) -> Callback:
    headers = [(b"x-signature", b"sha256=" + b"ab" * 32), (b"cookie", b"a=b")]
    return Callback(source=source, headers=headers, body=body, received_at=Millis(number))


async def written(rejections: SqliteRejections) -> None:
    """Wait until nothing waits to be written."""
    if rejections._writing is not None:
        await rejections._writing


def modes_of(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


Story = Callable[[SqliteRejections, Clock], Coroutine[Any, Any, None]]


def run(folder: Path, story: Story) -> list[RejectedRow]:
    """Tell a story; what is kept of the source `shop` afterwards, newest first."""

    async def whole() -> list[RejectedRow]:
        clock = Clock()
        rejections = SqliteRejections(folder / "gateway.db", clock=clock)
        try:
            await story(rejections, clock)
        finally:
            await rejections.close()
        return await read_rejected(folder / "gateway.db", "shop", 1_000)

    return asyncio.run(whole())


def test_a_sample_is_redacted_and_read_while_it_is_written(tmp_path: Path) -> None:
    async def story(rejections: SqliteRejections, _: Clock) -> None:
        rejections.keep("shop", "no v1 entry matches", callback(7))
        await written(rejections)
        assert len(await read_rejected(tmp_path / "gateway.db", "shop", 1)) == 1

    (row,) = run(tmp_path, story)
    assert (row.source, row.received_at, row.reason) == ("shop", 7, "no v1 entry matches")
    assert list(row.headers) == [("x-signature", "sha256=abab…"), ("cookie", "***")]
    assert json.loads(row.body) == {"id": "evt_1", "name": "…(4 characters)"}
    assert (row.size, row.missed) == (28, 0)
    raw = rejected_path(tmp_path / "gateway.db").read_bytes()
    assert b"Jane" not in raw
    assert b"abababab" not in raw


def test_nothing_is_made_without_a_rejected_request(tmp_path: Path) -> None:
    async def story(_: SqliteRejections, __: Clock) -> None:
        pass

    assert run(tmp_path, story) == []
    assert list(tmp_path.iterdir()) == []


def test_the_newest_hundred_of_each_source_are_kept(tmp_path: Path) -> None:
    async def story(rejections: SqliteRejections, clock: Clock) -> None:
        rejections.keep("other", "why", callback(1, source="other"))
        for number in range(KEPT + 20):
            clock.now += 1
            rejections.keep("shop", "why", callback(number))
            await written(rejections)

    rows = run(tmp_path, story)
    assert [row.received_at for row in rows] == list(range(KEPT + 19, 19, -1))
    others = asyncio.run(read_rejected(tmp_path / "gateway.db", "other", 10))
    assert [row.source for row in others] == ["other"]
    assert len(asyncio.run(read_rejected(tmp_path / "gateway.db", "shop", 3))) == 3


def test_a_flood_is_counted_not_kept(tmp_path: Path) -> None:
    async def story(rejections: SqliteRejections, clock: Clock) -> None:
        for number in range(1_000):
            rejections.keep("shop", "why", callback(number))
        assert len(rejections._waiting) == RATE
        rejections.keep("other", "why", callback(source="other"))
        assert len(rejections._waiting) == RATE + 1  # each source has its own measure
        await written(rejections)
        clock.now += 1 / RATE
        rejections.keep("shop", "why", callback(1_000))
        rejections.keep("shop", "why", callback(1_001))

    rows = run(tmp_path, story)
    assert [(row.received_at, row.missed) for row in rows] == [
        (1_000, 1_000 - RATE),
        *((number, 0) for number in reversed(range(int(RATE)))),
    ]


def test_what_waits_is_bounded_in_number_and_bytes(tmp_path: Path) -> None:
    async def story(rejections: SqliteRejections, clock: Clock) -> None:
        for number in range(100):
            clock.now += 1
            rejections.keep("shop", "why", callback(number))
        assert len(rejections._waiting) == WAITING
        await written(rejections)
        for _ in range(10):
            clock.now += 1
            rejections.keep("shop", "why", callback(200, b"x" * (WAITING_BYTES // 2)))
        assert rejections._held <= WAITING_BYTES
        assert len(rejections._waiting) == 2
        await written(rejections)
        assert rejections._held == 0
        clock.now += 1
        rejections.keep("shop", "why", callback(300, b"x" * (WAITING_BYTES + 1)))

    rows = run(tmp_path, story)
    assert rows[0].size == WAITING_BYTES + 1  # a large one alone is taken
    assert rows[0].missed == 8


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({f"k{n}": {"é" * 60 + str(m): "" for m in range(40)} for n in range(40)}),
        json.dumps([["a"] * 100] * 100),
        "x" * 2 * SAMPLE,
        '"' + "\x7f" * SAMPLE,
    ],
)
def test_a_sample_has_a_limit(tmp_path: Path, body: str) -> None:
    async def story(rejections: SqliteRejections, _: Clock) -> None:
        headers = [(b"name", b'"\x01\xff ' * 5_000)] * 50
        sent = Callback(source="shop", headers=headers, body=body.encode(), received_at=Millis(0))
        rejections.keep("shop", "é" * 90_000, sent)

    run(tmp_path, story)
    with closing(sqlite3.connect(rejected_path(tmp_path / "gateway.db"))) as connection, connection:
        ((size,),) = connection.execute(
            "SELECT length(CAST(reason AS BLOB)) + length(CAST(headers AS BLOB))"
            " + length(CAST(body AS BLOB)) FROM rejected"
        )
    connection.close()
    assert size <= SAMPLE


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    async def story(rejections: SqliteRejections, _: Clock) -> None:
        rejections.keep("shop", "why", callback())
        await written(rejections)
        modes = modes_of(tmp_path)
        assert modes.pop("gateway.db.rejected") == 0o600
        assert modes == {"gateway.db.rejected-shm": 0o600, "gateway.db.rejected-wal": 0o600}

    assert len(run(tmp_path, story)) == 1


def test_it_lies_beside_the_real_database(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "real" / "gateway.db")
    assert rejected_path(tmp_path / "link.db") == tmp_path / "real" / "gateway.db.rejected"


def test_samples_survive_a_restart(tmp_path: Path) -> None:
    async def story(rejections: SqliteRejections, _: Clock) -> None:
        rejections.keep("shop", "why", callback())

    for count in (1, 2):
        assert len(run(tmp_path, story)) == count


def test_a_link_is_not_followed_and_others_are_shut_out(tmp_path: Path) -> None:
    async def story(rejections: SqliteRejections, _: Clock) -> None:
        rejections.keep("shop", "why", callback())
        await written(rejections)

    path, elsewhere = rejected_path(tmp_path / "gateway.db"), tmp_path / "elsewhere"
    path.symlink_to(elsewhere)
    run(tmp_path, story)
    assert not elsewhere.exists()
    path.unlink()
    path.touch(0o666)
    assert len(run(tmp_path, story)) == 1
    assert set(modes_of(tmp_path).values()) == {0o600}


def broken(kind: str, path: Path) -> None:
    if kind == "a folder":
        path.mkdir()
    elif kind == "no database":
        path.write_bytes(b"no database at all" * 500)
    else:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE rejected (x)")
            if kind == "newer":
                connection.execute(f"PRAGMA application_id = {rejected.APPLICATION_ID}")
                connection.execute("PRAGMA user_version = 9")
        connection.close()


@pytest.mark.parametrize("kind", ["a folder", "no database", "foreign", "newer"])
def test_a_bad_file_costs_one_warning(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = rejected_path(tmp_path / "gateway.db")
    broken(kind, path)
    before = path.read_bytes() if path.is_file() else None

    async def story(rejections: SqliteRejections, clock: Clock) -> None:
        for _ in range(3):
            rejections.keep("shop", "why", callback())
            await written(rejections)
            assert not rejections._waiting
            clock.now += PAUSE / 2 + 1
        ours = [one for one in caplog.records if one.name == "gateway.rejected"]
        assert [record.levelno for record in ours] == [logging.WARNING]

    with pytest.raises(StartupError, match="move it away"):
        run(tmp_path, story)
    assert "rejected requests are not kept" in caplog.text
    assert before is None or path.read_bytes() == before


def test_a_file_that_was_moved_away_is_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = rejected_path(tmp_path / "gateway.db")
    broken("foreign", path)

    async def story(rejections: SqliteRejections, clock: Clock) -> None:
        rejections.keep("shop", "why", callback(1))
        await written(rejections)
        path.unlink()
        rejections.keep("shop", "why", callback(2))
        clock.now += PAUSE
        rejections.keep("shop", "why", callback(3))

    (row,) = run(tmp_path, story)
    assert (row.received_at, row.missed) == (3, 1)


def test_a_locked_file_is_given_up_soon(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejected, "PATIENCE", 20)

    async def story(rejections: SqliteRejections, clock: Clock) -> None:
        rejections.keep("shop", "why", callback(1))
        await written(rejections)
        other = sqlite3.connect(rejected_path(tmp_path / "gateway.db"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        clock.now += 1
        rejections.keep("shop", "why", callback(2))
        await written(rejections)
        other.close()

    (row,) = run(tmp_path, story)
    assert row.received_at == 1
    assert "database is locked" in caplog.text


def test_a_new_empty_file_has_no_samples(tmp_path: Path) -> None:
    rejected_path(tmp_path / "gateway.db").touch()
    assert asyncio.run(read_rejected(tmp_path / "gateway.db", "shop", 10)) == []


def test_after_the_end_nothing_is_kept(tmp_path: Path) -> None:
    async def story(rejections: SqliteRejections, _: Clock) -> None:
        await rejections.close()
        rejections.keep("shop", "why", callback())

    assert run(tmp_path, story) == []
