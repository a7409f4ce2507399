"""A transaction is run in slices between which the loop goes on, and takes in what comes meanwhile."""

import asyncio
from typing import Any

import pytest

from gateway.errors import NotFound
from gateway.stores.callers import LULL, MANY, Callers, Calling
from gateway.stores.registry import Store
from gateway.stores.sqlite import writer as module
from gateway.stores.sqlite.writer import Batch
from tests.stores.test_behaviour import NOW, Run


def which(batch: Batch) -> int:
    """Names the transaction that it runs in."""
    return batch.claim


def keep(batch: Batch) -> None:
    batch.connection.execute("INSERT INTO shops VALUES (hex(randomblob(8)))")


def kept(batch: Batch) -> int:
    found: int = batch.connection.execute("SELECT count(*) FROM shops").fetchone()[0]
    return found


def fail(batch: Batch) -> None:
    keep(batch)
    raise NotFound("there is nothing")


async def later(store: Store, *, rate: float, heavy: bool = False) -> tuple[int, int]:
    """The transactions of two jobs, the second of which comes when the first has run."""
    writer = store._writer
    writer.callers.rate = rate
    writer.callers.come()
    ran = asyncio.Event()

    def run_first(batch: Batch) -> int:
        ran.set()
        return which(batch)

    first = writer.submit(run_first)
    await ran.wait()
    second = writer.submit(which, heavy=heavy)
    async with asyncio.timeout(30):
        return await first, await second


def test_under_load_what_comes_meanwhile_shares_the_transaction(run: Run) -> None:
    async def story(store: Store) -> None:
        first, second = await later(store, rate=MANY + 1)
        assert first == second

    run(story)


def test_without_load_nobody_waits_for_company(run: Run) -> None:
    async def story(store: Store) -> None:
        first, second = await later(store, rate=MANY)
        assert first != second

    run(story)


def test_the_first_callback_after_a_lull_is_seen_at_once(run: Run) -> None:
    """Whoever claims then takes few: the callbacks that follow would wait for all of a long turn."""

    async def story(store: Store) -> None:
        now = 1_000.0
        writer = store._writer
        writer.callers = Callers(lambda: now)
        await store.queue.release([])  # the gateway's own work is no callback
        assert (await store.queue.claim({}, NOW)).calling is Calling.NOBODY
        await writer.submit(which)
        assert (await store.queue.claim({}, NOW)).calling is Calling.SOME
        now += LULL
        assert (await store.queue.claim({}, NOW)).calling is Calling.NOBODY
        writer.callers.come()
        writer.callers.rate = MANY + 1
        assert (await store.queue.claim({}, NOW)).calling is Calling.CROWD
        now += LULL
        assert (await store.queue.claim({}, NOW)).calling is Calling.NOBODY

    run(story)


def test_a_heavy_job_waits_for_the_end_of_the_open_transaction(run: Run) -> None:
    async def story(store: Store) -> None:
        first, second = await later(store, rate=MANY + 1, heavy=True)
        assert first != second

    run(story)


def test_it_ends_however_much_comes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FULL_LOAD", 0.0)

    async def story(store: Store) -> None:
        first, second = await later(store, rate=MANY + 1)
        assert first != second

    run(story)


def test_the_loop_goes_on_between_two_slices(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE", 0.0)
    turns: list[Any] = []

    async def story(store: Store) -> None:
        loop = asyncio.get_running_loop()

        def job(batch: Batch) -> int:
            turns.append("job")
            loop.call_soon(turns.append, "turn")
            return which(batch)

        results = await asyncio.gather(*[store._writer.submit(job) for _ in range(3)])
        assert len(set(results)) == 1
        assert turns == ["job", "turn"] * 3

    run(story)


@pytest.mark.parametrize("place", range(4))
def test_one_that_fails_in_a_later_slice_fails_alone(
    run: Run, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    monkeypatch.setattr(module, "SLICE", 0.0)

    async def story(store: Store) -> None:
        jobs: list[Any] = [keep, keep, kept]
        jobs.insert(place, fail)
        futures = [store._writer.submit(job) for job in jobs]
        async with asyncio.timeout(30):
            results = await asyncio.gather(*futures, return_exceptions=True)
        assert isinstance(results.pop(place), NotFound)
        assert results == [None, None, 2]
        assert await store._writer.submit(kept) == 2

    run(story)
