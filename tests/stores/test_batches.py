"""Claims of batches: bounded, and told when to come again."""

from typing import Any

from gateway.models import Millis, Mode
from gateway.retries import Step
from gateway.stores.base import Wanted
from gateway.stores.registry import Store
from gateway.stores.sqlite.batches import ENOUGH
from tests.stores.test_behaviour import NOW, settlement
from tests.stores.test_replays import LATER, Run, only, rows, told

FULL = """
    WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?)
    INSERT INTO deliveries (event, subscription, state, due) SELECT 1, 1, 0, ? FROM n"""


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
