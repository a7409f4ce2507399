"""Parked lanes: listed, released, skipped."""

from collections.abc import Sequence

import msgspec
import pytest

from gateway.errors import Conflict, NotFound
from gateway.models import Decision, Entry, Known, Millis, Ordering
from gateway.retries import Step
from gateway.stores.base import Wanted
from gateway.stores.registry import Store
from gateway.stores.sqlite.resending import SKIPPED
from gateway.stores.views import LaneRow
from tests.stores.test_behaviour import NOW, intake, settlement
from tests.stores.test_replays import Run, only, ordered, rows, told

ENDED = Millis(NOW + 5)  # of an attempt


async def parked(store: Store, *orders: str) -> None:
    """One event of each of these orders, and the first delivery of each lane parked."""
    await only(store, ordering=Ordering.ORDER)
    await told(store, *orders)
    claimed = await store.queue.claim({1: Wanted(99)}, NOW)
    await store.queue.settle(
        [settlement(one, Step.PARK, reason="used up") for one in claimed.deliveries]
    )


def elsewhere(entries: Sequence[Entry], known: Known) -> Decision:
    """As `ordered`, for another shop."""
    decision = ordered(entries, known)
    ((callback, event),) = decision.events
    decision.events[:] = [(callback, msgspec.structs.replace(event, id="evt_o", shop="other"))]
    return decision


async def states(store: Store) -> dict[int, int]:
    return dict(await rows(store, "SELECT id, state FROM deliveries"))


def test_a_lane_that_is_released_goes_on_from_its_head(run: Run) -> None:
    async def story(store: Store) -> None:
        await parked(store, "1", "1", "2")
        assert await states(store) == {1: -2, 2: -1, 3: -2}
        lane = await store.replays.release("a", "1", NOW)
        assert (lane.subscription, lane.shop, lane.order) == ("a", "default", "1")
        assert (lane.delivery, lane.next, lane.held) == ("dl_1", "dl_1", None)
        claimed = await store.queue.claim({1: Wanted(9)}, NOW)
        (one,) = claimed.deliveries
        assert (one.id, one.attempts, one.first_at, one.number) == (1, 0, None, 1)
        await store.queue.settle([settlement(one, Step.DELIVERED)])
        assert await states(store) == {1: 2, 2: 0, 3: -2}

    run(story)


def test_a_lane_that_is_skipped_goes_on_behind_its_head(run: Run) -> None:
    async def story(store: Store) -> None:
        await parked(store, "1", "1", "2")
        lane = await store.replays.skip("a", "1", NOW)
        assert (lane.delivery, lane.next) == ("dl_1", "dl_2")
        assert await states(store) == {1: 3, 2: 0, 3: -2}
        found = await rows(store, "SELECT reason, finished_at FROM deliveries WHERE id = 1")
        assert found == [(SKIPPED, NOW)]
        assert (await store.replays.skip("a", "2", NOW)).next is None
        assert await states(store) == {1: 3, 2: 0, 3: 3}

    run(story)


def test_what_is_released_of_a_paused_subscription_waits_and_says_so(run: Run) -> None:
    async def story(store: Store) -> None:
        await parked(store, "1")
        await store.catalog.pause("a", "why")
        held = (await store.replays.release("a", "1", NOW)).held
        assert held == "subscription a is paused until `gateway subscriptions resume a`"

    run(story)


def test_what_is_not_parked(run: Run) -> None:
    async def story(store: Store) -> None:
        await parked(store, "1")
        await told(store, "2")
        for act in (store.replays.release, store.replays.skip):
            with pytest.raises(Conflict, match="order 2 is not parked for subscription a"):
                await act("a", "2", NOW)
            with pytest.raises(NotFound, match="there is no order 9"):
                await act("a", "9", NOW)
            with pytest.raises(NotFound, match="there is no subscription nobody"):
                await act("nobody", "1", NOW)
            with pytest.raises(Conflict, match="order 1 is not parked"):
                await act("b", "1", NOW)
        assert await states(store) == {1: -2, 2: 0}

    run(story)


def test_two_shops_with_the_same_order(run: Run) -> None:
    async def story(store: Store) -> None:
        await parked(store, "1")
        other = msgspec.structs.replace(intake(50, order="1"), shop="other")
        await store.outbox.accept(other, elsewhere)
        (one,) = (await store.queue.claim({1: Wanted(9)}, NOW)).deliveries
        await store.queue.settle([settlement(one, Step.PARK)])
        with pytest.raises(Conflict, match=r"more than one shop \(default, other\)"):
            await store.replays.release("a", "1", NOW)
        lane = await store.replays.release("a", "1", NOW, shop="other")
        assert (lane.shop, lane.delivery) == ("other", "dl_2")
        assert (await store.replays.skip("a", "1", NOW)).shop == "default"

    run(story)


def test_parked_lanes_are_listed(run: Run) -> None:
    async def story(store: Store) -> None:
        async with store.records() as records:
            assert await records.lanes(None, limit=9) == []
            await parked(store, "1", "1", "2", "1")
            first, second = await records.lanes(None, limit=9)
            assert first == LaneRow(
                subscription="a",
                shop="default",
                order="1",
                delivery="dl_1",
                type="order.created",
                since=ENDED,
                reason="used up",
                behind=2,
            )
            assert (second.order, second.behind) == ("2", 0)
            assert await records.lanes("a", limit=1) == [first]
            assert await records.lanes("b", limit=9) == []
            await store.replays.release("a", "1", NOW)
            assert [row.order for row in await records.lanes(None, limit=9)] == ["2"]

    run(story)


def test_no_lane_is_looked_for_among_all_that_is_unfinished(run: Run) -> None:
    """Without statistics, the planner would rather read the whole backlog than the index of lanes."""

    async def story(store: Store) -> None:
        seen: list[str] = []
        connection = store._writer._connection
        assert connection is not None
        connection.set_trace_callback(seen.append)
        await parked(store, "1", "1", "2")
        await store.replays.skip("a", "1", NOW)
        connection.set_trace_callback(None)
        asked = {one for one in seen if one.startswith("SELECT") and "lane =" in one}
        assert asked
        for one in asked:
            plan = await rows(store, f"EXPLAIN QUERY PLAN {one}")
            assert "(subscription=? AND lane=?)" in plan[0][3], one

    run(story)
