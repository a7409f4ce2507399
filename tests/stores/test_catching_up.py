"""History for a new subscription: nothing is lost, doubled or overtaken, whatever comes meanwhile."""

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from gateway.models import Millis, Mode, Ordering, Subscription
from gateway.stores.base import Wanted
from gateway.stores.registry import Store, make_store
from gateway.stores.sqlite import catching_up
from tests.stores.test_behaviour import NOW, Taker, intake
from tests.stores.test_replay_jobs import copied
from tests.stores.test_replays import A, Run, ordered, rows, told

NEW = Subscription(id=0, name="new", url="http://new.example/", types=("*",), start=Millis(0))
LANES = {"ordering": Ordering.ORDER}
BATCHES = {"mode": Mode.BATCH, "batch_size": 4, "batch_wait": Millis(0)}


async def subscribed(store: Store, **settings: Any) -> int:
    """Declare `new` beside `a`; its id."""
    statuses = await store.catalog.sync([A, msgspec.structs.replace(NEW, **settings)])
    return next(one.subscription.id for one in statuses if one.subscription.name == "new")


async def caught_up(store: Store, number: int) -> int:
    """Catch up to the end; the number of slices."""
    slices = 1
    while await store.replays.catch_up(number, NOW):
        slices += 1
    await store.catalog.refresh()
    return slices


async def made(store: Store, number: int) -> list[int]:
    """The events for which it has deliveries, in the order of these."""
    found = await rows(
        store, "SELECT event FROM deliveries WHERE subscription = ? ORDER BY id", number
    )
    return [row[0] for row in found]


def test_past_events_become_deliveries_slice_by_slice(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catching_up, "SLICE", 2)

    async def story(store: Store) -> None:
        await told(store, "1", "2", "1", "3")
        number = await subscribed(store, **LANES)
        assert await made(store, number) == []
        await told(store, "4")  # it has its place behind the history
        assert await made(store, number) == []
        assert await caught_up(store, number) == 3
        await told(store, "1")
        assert await made(store, number) == [1, 2, 3, 4, 5, 6]
        lanes = await rows(
            store,
            "SELECT lane, state FROM deliveries WHERE subscription = ? ORDER BY id",
            number,
        )
        assert lanes == [(1, 0), (2, 0), (1, -1), (3, 0), (4, 0), (1, -1)]
        assert not await store.replays.catch_up(number, NOW)
        assert not await store.replays.catch_up(99, NOW)

    run(story)


def test_an_end_that_falls_on_the_end_of_a_slice(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catching_up, "SLICE", 2)

    async def story(store: Store) -> None:
        await told(store, "1", "2")
        number = await subscribed(store)
        assert await store.replays.catch_up(number, NOW)
        await told(store, "3")
        assert not await store.replays.catch_up(number, NOW)
        assert await made(store, number) == [1, 2, 3]
        assert await rows(store, "SELECT history FROM subscriptions") == [(None,)] * 3

    run(story)


def test_only_what_it_wants_by_its_rules_of_now(run: Run) -> None:
    async def story(store: Store) -> None:
        await told(store, "1", "2", "3", "4")
        await rows(store, "UPDATE events SET type = 'order.paid' WHERE id = 2")
        await rows(store, "UPDATE events SET shop = 'other' WHERE id = 3")
        await rows(store, "UPDATE events SET source = 'other' WHERE id = 4")
        number = await subscribed(
            store, types=("order.created",), sources=("shop",), shops=("default",)
        )
        await caught_up(store, number)
        assert await made(store, number) == [1]

    run(story)


def test_from_a_time_on_and_all_that_is_told_once_it_is_there(run: Run) -> None:
    async def story(store: Store) -> None:
        await told(store, "1", "2", "3")
        await rows(store, "UPDATE events SET time = ? - 10 WHERE id != 2", NOW)
        number = await subscribed(store, start=NOW)
        await told(store, "4", "5")
        await rows(store, "UPDATE events SET time = ? - 10 WHERE id = 5", NOW)
        await rows(store, "UPDATE subscriptions SET history = 0 WHERE id = ?", number)
        await caught_up(store, number)
        assert await made(store, number) == [2, 4, 5]

    run(story)


def test_one_that_is_disabled_or_gone_is_waited_for(run: Run) -> None:
    async def story(store: Store) -> None:
        await told(store, "1", "2")
        number = await subscribed(store, enabled=False)
        assert not await store.replays.catch_up(number, NOW)
        await subscribed(store)
        await rows(store, "UPDATE subscriptions SET state = 'gone' WHERE id = ?", number)
        await store.catalog.refresh()
        assert not await store.replays.catch_up(number, NOW)
        assert await made(store, number) == []
        await store.catalog.resume("new")
        await caught_up(store, number)
        assert await made(store, number) == [1, 2]

    run(story)


def test_what_is_paused_gets_its_history_and_keeps_it(run: Run) -> None:
    async def story(store: Store) -> None:
        await told(store, "1")
        number = await subscribed(store)
        await store.catalog.pause("new", "why")
        await caught_up(store, number)
        assert await made(store, number) == [1]

    run(story)


def test_batches_are_gathered_from_history(run: Run) -> None:
    async def story(store: Store) -> None:
        await told(store, *"123456")
        number = await subscribed(store, **BATCHES)
        await caught_up(store, number)
        claimed = await store.queue.claim({number: Wanted(9, 4)}, NOW)
        assert [one.size for one in claimed.deliveries] == [4, 2]

    run(story)


# While events come, and over kills.


async def opened(path: Path, settings: dict[str, Any]) -> tuple[Store, int]:
    store = make_store(f"sqlite:///{path}", on_fatal=print)
    store.open()
    await store.start()
    store.attach(Taker(50))
    return store, await subscribed(store, **settings)


async def accepting(store: Store, random: Random, numbers: range) -> None:
    """Accept events of a few orders, at times that are nobody's choice."""
    for number in numbers:
        order = str(random.randrange(4))
        await store.outbox.accept(intake(number, order=order), ordered)
        for _ in range(random.randrange(4)):
            await asyncio.sleep(0)


async def slicing(store: Store, random: Random, number: int, slices: int) -> bool:
    for _ in range(slices):
        if not await store.replays.catch_up(number, NOW):
            return False
        for _ in range(random.randrange(4)):
            await asyncio.sleep(0)
    return True


@pytest.mark.parametrize("settings", [{}, LANES, BATCHES], ids=["unordered", "lanes", "batches"])
@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_lost_doubled_or_overtaken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], seed: int
) -> None:
    monkeypatch.setattr(catching_up, "SLICE", 3)

    async def story() -> None:
        random, path = Random(seed), tmp_path / "0.db"
        store = make_store(f"sqlite:///{path}", on_fatal=print)
        store.open()
        await store.start()
        await store.catalog.sync([A])
        await accepting(store, random, range(20))
        await store.close()
        store, number = await opened(path, settings)
        life, more = 0, True
        while more:
            come = range(1000 * (life + 1), 1000 * (life + 1) + random.randrange(9))
            _, more = await asyncio.gather(
                accepting(store, random, come),
                slicing(store, random, number, random.randrange(1, 6)),
            )
            life += 1
            path = copied(path, life)  # with all leases, as a kill leaves it
            await store.close()
            store, _ = await opened(path, settings)
        assert life > 1
        await accepting(store, random, range(5))  # repeats make nothing
        await accepting(store, random, range(90_000, 90_005))
        await _check(store, number, lanes=settings is LANES)
        await store.close()

    asyncio.run(story())


async def _check(store: Store, number: int, *, lanes: bool) -> None:
    ((events,),) = await rows(store, "SELECT count(*) FROM events")
    assert events > 20
    assert sorted(await made(store, number)) == list(range(1, events + 1))
    if not lanes:
        return
    found = await rows(
        store,
        "SELECT lane, group_concat(event), group_concat(state) FROM"
        " (SELECT * FROM deliveries WHERE subscription = ? ORDER BY id) GROUP BY lane",
        number,
    )
    assert len(found) == 4
    for _, places, states in found:
        order = [int(place) for place in places.split(",")]
        assert order == sorted(order)
        head, *others = states.split(",")
        assert (head, set(others)) == ("0", {"-1"})
