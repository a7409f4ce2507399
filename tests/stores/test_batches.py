"""Claims of batches: bounded, and told when to come again; and what waits to be in one."""

from pathlib import Path
from typing import Any

from gateway.models import Millis, Mode
from gateway.retries import Step
from gateway.stores.base import Wanted
from gateway.stores.registry import Store
from gateway.stores.sqlite.batches import ENOUGH
from tests.stores.older import as_of
from tests.stores.test_behaviour import NOW, settlement
from tests.stores.test_replays import LATER, Run, only, rows, told
from tests.stores.test_sealed import opened

FULL = """
    WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?)
    INSERT INTO deliveries (event, subscription, state, due, leader) SELECT 1, 1, 0, ?, 0 FROM n"""
BATCHES: dict[str, Any] = {"mode": Mode.BATCH, "batch_size": 2, "batch_wait": Millis(0)}
LEADERS = "SELECT state, leader FROM deliveries ORDER BY id"
NOBODY = 0  # leads what waits for company


async def waiting(store: Store, count: int, *, size: int) -> None:
    """So many deliveries of one event wait for a batch."""
    settings: dict[str, Any] = {"mode": Mode.BATCH, "batch_size": size, "batch_wait": Millis(0)}
    await told(store, "1")
    await only(store, **settings)
    await rows(store, "DELETE FROM deliveries")
    await rows(store, FULL, count, NOW)


def test_a_claim_takes_large_batches_one_at_a_time(run: Run) -> None:
    async def story(store: Store) -> None:
        await waiting(store, 3 * ENOUGH + 1, size=ENOUGH)
        for _ in range(3):
            claimed = await store.queue.claim({1: Wanted(8, ENOUGH)}, NOW)
            assert [one.size for one in claimed.deliveries] == [ENOUGH]
            assert claimed.next_due == {1: NOW}
            await store.queue.settle(
                [settlement(one, Step.RETRY, due=LATER) for one in claimed.deliveries]
            )
        claimed = await store.queue.claim({1: Wanted(8, ENOUGH)}, NOW)
        assert [one.size for one in claimed.deliveries] == [1]  # its time is over
        claimed = await store.queue.claim({1: Wanted(8, ENOUGH)}, LATER)
        assert [one.size for one in claimed.deliveries] == [ENOUGH]  # the same for frozen ones
        assert claimed.next_due == {1: LATER}

    run(story)


def test_a_claim_takes_several_small_batches(run: Run) -> None:
    async def story(store: Store) -> None:
        await waiting(store, 9, size=2)
        claimed = await store.queue.claim({1: Wanted(3, 2)}, NOW)
        assert [one.size for one in claimed.deliveries] == [2, 2, 2]
        assert claimed.next_due == {1: NOW}
        claimed = await store.queue.claim({1: Wanted(3, 2)}, NOW)
        assert [one.size for one in claimed.deliveries] == [2, 1]
        assert claimed.next_due == {1: None}

    run(story)


def test_only_what_is_to_be_in_a_batch_waits_for_company(run: Run) -> None:
    async def story(store: Store) -> None:
        await only(store)
        await told(store, "1")
        assert await rows(store, LEADERS) == [(0, None)]
        await only(store, **BATCHES)
        await told(store, "2")
        assert await rows(store, LEADERS) == [(0, NOBODY), (0, NOBODY)]
        (both,) = (await store.queue.claim({1: Wanted(9, 2)}, NOW)).deliveries
        assert both.size == 2

    run(story)


def test_what_was_in_flight_when_batches_began_is_in_one_when_it_fails(run: Run) -> None:
    async def story(store: Store) -> None:
        await only(store)
        await told(store, "1")
        (one,) = (await store.queue.claim({1: Wanted(1)}, NOW)).deliveries
        await only(store, **BATCHES)
        await told(store, "2")
        await store.queue.settle([settlement(one, Step.RETRY, due=NOW)])
        (both,) = (await store.queue.claim({1: Wanted(9, 2)}, NOW)).deliveries
        assert (both.size, both.id) == (2, one.id)

    run(story)


def test_what_waits_for_company_shows_no_batch_and_its_own_attempts(run: Run) -> None:
    async def story(store: Store) -> None:
        await only(store)
        await told(store, "1", "2")
        (one,) = (await store.queue.claim({1: Wanted(1)}, NOW)).deliveries
        await store.queue.settle([settlement(one, Step.RETRY, due=LATER)])
        await only(store, **BATCHES)
        async with store.records() as records:
            told_of = await records.delivery(f"dl_{one.id}")
            request, _ = await records.delivery_request(f"dl_{one.id}", NOW)
        assert (told_of.delivery.leader, told_of.batch) == (None, [])
        assert [attempt.number for attempt in told_of.attempts] == [1]
        assert request.size == 1

    run(story)


def test_what_ended_while_it_waited_for_company_was_in_no_batch(run: Run) -> None:
    async def story(store: Store) -> None:
        await only(store, **BATCHES)
        await told(store, "1")
        await store.queue.bury(1, "gone", NOW)
        await only(store)
        async with store.records() as records:
            _, subscription = await records.delivery_request("dl_1", NOW)
        assert subscription.mode is Mode.STRUCTURED

    run(story)


def test_what_waits_for_company_is_sent_at_once_by_hand(run: Run) -> None:
    async def story(store: Store) -> None:
        await only(store, **BATCHES | {"batch_wait": Millis(60_000)})
        await told(store, "1")
        assert (await store.queue.claim({1: Wanted(1, 2)}, NOW)).deliveries == []
        assert (await store.replays.again(1, NOW)).made == 1
        (one,) = (await store.queue.claim({1: Wanted(1, 2)}, NOW)).deliveries
        assert (one.id, one.size) == (1, 1)

    run(story)


def test_batches_that_waited_under_an_older_schema_are_sent(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"

    async def fill(store: Store) -> None:
        await only(store, **BATCHES | {"batch_size": 3})
        await told(store, "1", "2", "3")
        (frozen,) = (await store.queue.claim({1: Wanted(1, 3)}, NOW)).deliveries
        await store.queue.settle([settlement(frozen, Step.RETRY, due=LATER)])
        await told(store, "4", "5", "6")

    async def check(store: Store) -> None:
        assert await rows(store, LEADERS) == [(0, 1), (-3, 1), (-3, 1), *[(0, NOBODY)] * 3]
        claimed = (await store.queue.claim({1: Wanted(9, 3)}, LATER)).deliveries
        assert [(one.id, one.size) for one in claimed] == [(1, 3), (4, 3)]

    opened(path, fill)
    as_of(path, 10)
    opened(path, check)
