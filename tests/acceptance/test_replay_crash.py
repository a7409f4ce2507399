"""`kill -9` while past events are sent again: each once more, none missing, and order by order."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import groupby, pairwise
from pathlib import Path
from random import Random

import msgspec
import pytest

from gateway.cli import control
from tests.acceptance.consumers import Answer, Arrival, Consumer, callback, post_chains
from tests.acceptance.isolation import UNFINISHED, Stage, stage, subscription, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ORDERS = 1_000
KINDS = ("order.created", "order.paid", "order.printing", "order.ready", "order.shipped")
KILLS = 6
LIVE = 40  # orders that are told of in each life of the gateway
SERVED, REFUSED = Answer(delay=0.01), Answer(status=500, delay=0.01)
DRAIN = 120.0  # seconds
SCHEDULE = "schedule = [" + ", ".join(['"200ms"'] * 30) + "]"
LANES = f'ordering = "order"\n{SCHEDULE}'
MADE = (
    "SELECT s.name, d.event, count(*), sum(d.state = 2) FROM deliveries d"
    " JOIN subscriptions s ON s.id = d.subscription GROUP BY s.name, d.event"
)


def unkind(number: int) -> Answer:
    """Refuses one in seven, behind which others would go first if nothing held them."""
    return REFUSED if number % 7 == 0 else SERVED


async def tell(world: Stage, *numbers: int, orders: int = ORDERS, first: int = 0) -> None:
    """Tell of these steps of so many orders, few at a time: those of an order lie close together."""
    chains = [
        [callback(f"o-{order}", KINDS[number - 1], number) for number in numbers]
        for order in range(first, first + orders)
    ]
    await post_chains(world.gateway.port, chains, senders=8)


async def done(world: Stage, more: str = "SELECT 0") -> None:
    """Wait until everything has ended, and until `more` counts nothing."""
    ended = await until(
        lambda: world.rows(more) == [(0,)] and world.rows(UNFINISHED) == [(0,)], seconds=DRAIN
    )
    assert ended, world.gateway.log_end()


async def kill(world: Stage) -> float:
    """Kill the gateway; from when on whatever comes is of its next life, as `Arrival.at`."""
    world.gateway.kill()
    for _ in range(10):  # what it had sent is still to be accepted, and then to be read
        await asyncio.sleep(0.01)
    return time.monotonic()


def problems(name: str, arrivals: Sequence[Arrival], kills: Sequence[float]) -> list[str]:
    """What was taken twice although no kill lies between: nothing else may be sent twice."""
    times: dict[str, list[float]] = {}
    for one in arrivals:
        if one.status == 200:
            times.setdefault(one.event_id, []).append(one.at)
    return [
        f"{name}: {event} came twice within one life of the gateway"
        for event, found in times.items()
        for first, second in pairwise(found)
        if not any(first <= kill <= second for kill in kills)
    ]


def lanes(arrivals: Sequence[Arrival]) -> dict[str, list[int]]:
    """The places of the events of each order as they came, a repeat of the last one left out."""
    found: dict[str, list[int]] = {}
    for one in arrivals:
        event = msgspec.json.decode(one.body)
        found.setdefault(event["subject"], []).append(event["orderseq"])
    return {order: [place for place, _ in groupby(places)] for order, places in found.items()}


def test_a_replay_job_is_killed(tmp_path: Path) -> None:
    async def story() -> None:
        rng = Random(time.time_ns())
        plain, laned = Consumer("plain"), Consumer("laned")
        for consumer in (plain, laned):
            consumer.answer = unkind
            await consumer.up()
        async with AsyncExitStack() as stack:
            world = await stage(stack, tmp_path, [plain, laned], [SCHEDULE, LANES])
            await tell(world, 1, 2, 3)
            await done(world)
            before = len(plain.arrivals), len(laned.arrivals)
            job = await asyncio.to_thread(
                control.ask, world.settings, "/v1/replays", {"type": "order.*"}
            )
            assert job is not None
            kills, met = [], 0
            for _ in range(KILLS):
                await asyncio.sleep(rng.uniform(0.02, 0.5))
                met += world.rows(JOB) == [(1,)]
                kills.append(await kill(world))
                await world.gateway.start()
            await done(world, JOB)
            counted = world.rows("SELECT looked, total, sent, skipped FROM replays")
            made = world.rows(MADE)
            await world.gateway.stop()
        total = 2 * 3 * ORDERS
        assert counted == [(total, total, total, 0)]
        assert met > 0, "no kill met the job: it was too short"
        assert {(count, ended) for _, _, count, ended in made} == {(2, 2)}
        assert len(made) == total
        for name, consumer, first in (("plain", plain, before[0]), ("laned", laned, before[1])):
            again = consumer.arrivals[first:]
            assert len({one.event_id for one in again}) == 3 * ORDERS
            assert problems(name, again, kills) == []
        assert Counter(map(tuple, lanes(laned.arrivals[before[1] :]).values())) == {
            (1, 2, 3): ORDERS
        }

    asyncio.run(story())


JOB = "SELECT count(*) FROM replays WHERE finished_at IS NULL"
HISTORY = "SELECT count(*) FROM subscriptions WHERE history IS NOT NULL"


def test_catching_up_is_killed(tmp_path: Path) -> None:
    """History for two new subscriptions, one of them order by order, while more is told."""

    async def story() -> None:
        rng = Random(time.time_ns())
        old, late, laned = Consumer("old"), Consumer("late"), Consumer("laned")
        for consumer in (old, late, laned):
            consumer.answer = unkind
            await consumer.up()
        async with AsyncExitStack() as stack:
            for consumer in (late, laned):
                stack.callback(consumer.close)
            world = await stage(stack, tmp_path, [old], [SCHEDULE])
            await tell(world, 1, 2, 3)
            await done(world)
            await world.gateway.stop()
            with (tmp_path / "gateway.toml").open("a", encoding="utf-8") as file:
                file.write(subscription(late, f'from = "beginning"\n{SCHEDULE}'))
                file.write(subscription(laned, f'from = "beginning"\n{LANES}'))
            kills, met = [], 0
            for life in range(KILLS):
                await world.gateway.start()
                met += world.rows(HISTORY) != [(0,)]
                await tell(world, 4, 5, orders=LIVE, first=life * LIVE)
                await asyncio.sleep(rng.uniform(0, 0.3))
                kills.append(await kill(world))
            await world.gateway.start()
            await done(world, HISTORY)
            made = world.rows(MADE)
            await world.gateway.stop()
        events = 3 * ORDERS + 2 * LIVE * KILLS
        assert met > 0, "no life of the gateway had history to tell: it was too short"
        assert {(count, ended) for _, _, count, ended in made} == {(1, 1)}
        assert Counter(name for name, *_ in made) == dict.fromkeys(("old", "late", "laned"), events)
        for consumer in (late, laned):
            assert len(consumer.ids) == events
            assert problems(consumer.name, consumer.arrivals, kills) == []
        assert Counter(map(tuple, lanes(laned.arrivals).values())) == {
            (1, 2, 3, 4, 5): LIVE * KILLS,
            (1, 2, 3): ORDERS - LIVE * KILLS,
        }

    asyncio.run(story())
