"""Answers that are given again: kept sealed, for a day, and for whoever asked alone."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.errors import Unavailable
from gateway.models import Millis
from gateway.sealing import key_text, new_key
from gateway.stores.answers import BUDGET, KEPT, MOST, Answer, Asked, Running
from gateway.stores.registry import Store
from gateway.stores.sqlite.renewal import renew
from gateway.stores.sqlite.upkeep import SLICE
from gateway.stores.upkeep import Cutoffs, Removed
from tests.stores.older import as_of
from tests.stores.test_sealed import change, frozen, leaks, opened
from tests.stores.test_sealed import fill as fill_secrets

NOW = Millis(1_768_487_400_000)
ASKED = Asked(principal="aaaaaaaa", key=bytes(range(32)), request=b"r" * 32)
ANSWER = Answer(
    request=ASKED.request,
    status=201,
    headers=(("content-type", "application/json"), ("etag", '"1"')),
    body=b'{"secret": "canary-of-an-answer"}',
)


def key(number: int, principal: str = "aaaaaaaa") -> Asked:
    return replace(ASKED, principal=principal, key=number.to_bytes(32))


async def fill(store: Store, asked: Asked = ASKED, at: int = NOW) -> None:
    assert await store.answers.begin(asked, Millis(at)) is None
    await store.answers.keep(asked, replace(ANSWER, request=asked.request), Millis(at))
    store.answers.end(asked)


async def found(store: Store, asked: Asked = ASKED, at: int = NOW) -> Answer | Running | None:
    """What is known, and nothing is begun."""
    known = await store.answers.begin(asked, Millis(at))
    if known is None:
        store.answers.end(asked)
    return known


def until(now: int) -> Cutoffs:
    zero = Millis(0)
    return Cutoffs(
        callbacks=zero, hashes=zero, events=zero, attempts=zero, answers=Millis(now - KEPT)
    )


def test_an_answer_comes_back_as_it_was(run: Callable[..., None]) -> None:
    async def story(store: Store) -> None:
        await fill(store)
        assert await found(store) == ANSWER
        long = replace(ANSWER, body=None, headers=())
        assert await store.answers.begin(key(1), NOW) is None
        await store.answers.keep(key(1), long, NOW)
        store.answers.end(key(1))
        assert await found(store, key(1)) == long

    run(story)


def test_one_at_a_time(run: Callable[..., None]) -> None:
    async def story(store: Store) -> None:
        begun = await asyncio.gather(*(store.answers.begin(ASKED, NOW) for _ in range(5)))
        assert begun == [None, *[Running(ASKED.request)] * 4]
        assert await store.answers.begin(key(1), NOW) is None
        assert await store.answers.begin(replace(ASKED, principal=""), NOW) is None
        store.answers.end(ASKED)
        assert await store.answers.begin(ASKED, NOW) is None
        await store.answers.keep(ASKED, ANSWER, NOW)
        assert await store.answers.begin(ASKED, NOW) == Running(ASKED.request)
        store.answers.end(ASKED)
        again = await asyncio.gather(*(store.answers.begin(ASKED, NOW) for _ in range(2)))
        assert again == [ANSWER, Running(ASKED.request)]

    run(story)


def test_nobody_waits_for_one_who_could_not_begin(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(store: Store) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("gateway.stores.sqlite.writer.CAPACITY", 0)
            with pytest.raises(Unavailable):
                await store.answers.begin(ASKED, NOW)
        await fill(store)
        with monkeypatch.context() as patch:
            patch.setattr("gateway.stores.sqlite.writer.CAPACITY", 0)
            await store.answers.keep(key(1), ANSWER, NOW)  # it is done: it has to be kept
        assert await found(store, key(1)) == ANSWER

    run(story)


def test_nobody_meets_what_another_asked(run: Callable[..., None]) -> None:
    async def story(store: Store) -> None:
        await fill(store)
        assert await found(store, replace(ASKED, principal="bbbbbbbb")) is None
        assert await found(store, replace(ASKED, principal="")) is None
        other = replace(ASKED, request=b"s" * 32)
        assert await found(store, other) == ANSWER  # whoever asks sees that it is another

    run(story)


def test_an_answer_is_given_for_a_day(run: Callable[..., None]) -> None:
    async def story(store: Store) -> None:
        await fill(store)
        assert await found(store, at=NOW + KEPT - 1) == ANSWER
        assert await found(store, at=NOW + KEPT) is None
        await fill(store, at=NOW + KEPT)
        assert await found(store, at=NOW + KEPT) == ANSWER

    run(story)


def test_of_too_many_the_oldest_go(run: Callable[..., None]) -> None:
    async def story(store: Store) -> None:
        assert store.answers._most == MOST
        store.answers._most = 3
        await fill(store, key(1, "bbbbbbbb"))
        for number in range(5):
            await fill(store, key(number))
        known = [await found(store, key(number)) is not None for number in range(5)]
        assert known == [False, False, True, True, True]
        assert await found(store, key(1, "bbbbbbbb")) == ANSWER
        await fill(store, key(0))
        known = [await found(store, key(number)) is not None for number in range(5)]
        assert known == [True, False, False, True, True]

    run(story)


def test_of_too_large_ones_the_oldest_go(run: Callable[..., None]) -> None:
    async def large(store: Store, asked: Asked, size: int) -> None:
        assert await store.answers.begin(asked, NOW) is None
        await store.answers.keep(asked, replace(ANSWER, body=bytes(size)), NOW)
        store.answers.end(asked)

    async def story(store: Store) -> None:
        assert store.answers._budget == BUDGET
        store.answers._budget = 10_000
        await large(store, key(7, "bbbbbbbb"), 9_000)
        for number, size in enumerate((3_000, 3_000, 3_000, 100)):
            await large(store, key(number), size)
        known = [await found(store, key(number)) is not None for number in range(4)]
        assert known == [True, True, True, True]
        await large(store, key(4), 4_000)  # 3,000 of the first would be enough, but for the heads
        known = [await found(store, key(number)) is not None for number in range(5)]
        assert known == [False, False, True, True, True]
        await large(store, key(5), 9_500)
        known = [await found(store, key(number)) is not None for number in range(6)]
        assert known == [False, False, False, False, False, True]
        assert await found(store, key(7, "bbbbbbbb")) is not None

    run(story)


def test_the_sizes_of_those_of_before_count(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"

    async def first(store: Store) -> None:
        for number in range(3):
            await fill(store, key(number))
            await fill(store, key(number, "bbbbbbbb"))

    async def second(store: Store) -> None:
        size = len(ANSWER.body or b"") // 2
        with closing(sqlite3.connect(path)) as connection:
            begins = [row[0] for row in connection.execute("SELECT begins FROM answers")]
            (one,) = connection.execute("SELECT DISTINCT length(sealed) FROM answers").fetchone()
        assert begins == [0, 0, one, one, 2 * one, 2 * one]
        store.answers._budget = 2 * one + size
        await fill(store, key(3))
        known = [await found(store, key(number)) is not None for number in range(4)]
        assert known == [False, False, True, True]

    opened(path, first)
    as_of(path, 7)
    opened(path, second)


def test_what_is_too_old_goes_in_slices(run: Callable[..., None]) -> None:
    async def story(store: Store) -> None:
        store.upkeep._seconds = lambda: 0.0
        for number in range(SLICE + 20):
            await fill(store, key(number), at=NOW + number)
        assert await store.upkeep.prune(until(NOW + KEPT)) == Removed()
        last = NOW + SLICE + 9  # the last ten stay
        assert await store.upkeep.prune(until(last + KEPT)) == Removed(answers=SLICE, more=True)
        assert await store.upkeep.prune(until(last + KEPT)) == Removed(answers=9, more=True)
        assert await store.upkeep.prune(until(last + KEPT)) == Removed()
        assert [await found(store, key(SLICE + number)) for number in (8, 9)] == [None, ANSWER]
        later = until(NOW + 2 * KEPT)
        assert await store.upkeep.prune(later) == Removed(answers=11, more=True)
        await fill(store)  # under an id that was another's
        assert await found(store) == ANSWER
        assert await store.upkeep.prune(later) == Removed(answers=1, more=True)
        assert await store.upkeep.prune(later) == Removed()

    run(story)


def test_a_slice_that_takes_long_ends_early(run: Callable[..., None]) -> None:
    async def story(store: Store) -> None:
        times = iter(range(1_000))
        store.upkeep._seconds = lambda: float(next(times))
        for number in range(3):
            await fill(store, key(number))
        for _ in range(3):
            assert await store.upkeep.prune(until(NOW + 2 * KEPT)) == Removed(answers=1, more=True)

    run(story)


def test_answers_are_sealed_and_outlive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"

    async def first(store: Store) -> None:
        await fill(store)
        assert (tmp_path / "gateway.db-wal").stat().st_size > 0
        assert leaks(tmp_path) == []

    async def second(store: Store) -> None:
        assert await found(store) == ANSWER

    opened(path, first)
    assert leaks(tmp_path) == []
    assert not [name for name, content in frozen(tmp_path).items() if ASKED.request in content]
    opened(path, second)


def test_an_answer_opens_at_its_own_place_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "gateway.db"
    caplog.set_level(logging.WARNING)

    async def first(store: Store) -> None:
        await fill(store)
        await fill(store, key(1, ""))

    async def second(store: Store) -> None:
        assert await found(store, key(1, "")) is None
        assert await found(store) == ANSWER
        await fill(store, key(1, ""))

    opened(path, first)
    change(path, "UPDATE answers SET sealed = (SELECT sealed FROM answers WHERE id = 1)")
    opened(path, second)
    assert "an answer cannot be given again: answer::" in caplog.text


def test_another_master_key_seals_them_anew(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    old = key_text(new_key()).encode()

    async def first(store: Store) -> None:
        await fill_secrets(store)
        for number in range(3):
            await fill(store, key(number))

    async def second(store: Store) -> None:
        assert [await found(store, key(number)) for number in range(3)] == [ANSWER, None, ANSWER]

    opened(path, first, key=old)
    change(path, "UPDATE answers SET sealed = x'0102' WHERE id = 2")
    with closing(sqlite3.connect(path)) as connection:
        before = [value for (value,) in connection.execute("SELECT sealed FROM answers")]
    to = tmp_path / "next.key"
    assert renew(path, key=old, to=to).secrets == 5
    everything = b"".join(frozen(tmp_path).values())
    assert [value for value in before if len(value) > 9 and value in everything] == []
    opened(path, second, key=to.read_bytes())
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM answers").fetchone() == (2,)
