"""Heavy jobs take their whole transaction to the thread; one that fails there fails alone."""

import asyncio
from typing import Any

import pytest

from gateway.errors import NotFound
from gateway.stores.registry import Store, make_store
from gateway.stores.sqlite.writer import Batch
from tests.stores.test_behaviour import NOW, Run, Taker, intake, one_event


def missing(_batch: Batch) -> Any:
    raise NotFound("there is nothing")


def count(batch: Batch) -> int:
    found: int = batch.connection.execute("SELECT count(*) FROM callbacks").fetchone()[0]
    return found


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_one_that_fails_beside_a_heavy_one_stops_nobody(run: Run, place: int) -> None:
    async def story(store: Store) -> None:
        writer = store._writer
        jobs: list[tuple[Any, bool]] = [(count, True), (count, False), (count, False)]
        jobs.insert(place, (missing, False))
        futures = [writer.submit(work, heavy=heavy) for work, heavy in jobs]
        async with asyncio.timeout(30):
            results = await asyncio.gather(*futures, return_exceptions=True)
        assert [type(result) for result in results].count(NotFound) == 1
        assert [result for result in results if not isinstance(result, NotFound)] == [0, 0, 0]
        async with asyncio.timeout(30):
            assert await writer.submit(count) == 0

    run(story)


def test_callbacks_beside_heavy_work_ask_the_dispatcher_for_no_room(run: Run) -> None:
    """The dispatcher is the loop's; they wait to be claimed."""

    async def story(store: Store) -> None:
        taker = Taker(room=9)
        store.attach(taker)
        accepting = store.outbox.accept(intake(1), one_event)
        await store._writer.submit(count, heavy=True)
        await accepting
        assert (taker.room, taker.born) == (9, [])
        assert taker.waiting == {1: NOW, 2: NOW}

    run(story)


def test_a_bug_of_who_takes_deliveries_is_said_and_hangs_nobody(tmp_path: Any) -> None:
    async def story() -> None:

        said: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        store = make_store(f"sqlite:///{tmp_path}/store.db", on_fatal=said.set_result)
        store.open()
        await store.start()

        class Broken(Taker):
            def hand_over(self, *_: Any) -> None:
                raise RuntimeError("no")

        store.attach(Broken(room=1))
        lost = store._writer.submit(count)
        async with asyncio.timeout(30):
            assert "a bug" in await said
        lost.cancel()

    asyncio.run(story())
