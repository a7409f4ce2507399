"""A consumer comes up again after an outage: what waited goes out without a herd, others flow on."""

import asyncio
import time
from bisect import bisect
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway import breaker
from gateway.cli import control
from tests.acceptance.consumers import Answer, Arrival, Consumer, callback, post_all
from tests.acceptance.isolation import UNFINISHED, Stage, stage, until
from tests.pipeline.world import configuration, consuming, running, shop_event

BACKLOG = 20_000
SLOTS = 32
SERVED = 0.02  # seconds that the consumer takes for one: its slots, not the processor, set the pace
PROBED = 0.4  # seconds that it takes for the first: time for others, if there were any
BUCKET = 0.1  # seconds
HERD = 3.0  # times the mean that no bucket may have
BOUND = BACKLOG // 10  # of what waited: no more goes before another one's event, fast or slow
WAIT = 5  # seconds, of `Retry-After`
BROKEN = "SELECT 1 FROM subscriptions WHERE name = 'down' AND broken_until IS NOT NULL"
SCHEDULE = ", ".join(['"1s"'] * 20)


def serve(number: int) -> Answer:
    """What a consumer that has just got up answers."""
    return Answer(delay=PROBED if number == 1 else SERVED)


def herds(arrivals: Sequence[Arrival], slots: int) -> list[str]:
    """Where a drain went out faster than a consumer that has just got up can bear."""
    found = []
    if arrivals[1].answered == 0:
        found.append("the second came before the probe was answered")
    for number, one in enumerate(arrivals):
        room = slots if one.answered > slots else min(slots, 2**one.answered)
        if one.in_flight > room:
            found.append(f"{one.in_flight} in flight at arrival {number}, of {room}")
    return found


def crowds(arrivals: Sequence[Arrival]) -> list[str]:
    """The buckets of a drain, after its probe, that have more than so many times the mean.

    What its slots let through is no crowd: on a machine that was busy for most of the drain, and
    free in the end, it may be many times the mean.
    """
    usual = SLOTS * (BUCKET / SERVED + 1)
    begun, ended = arrivals[1].at, arrivals[-1].at
    counts = Counter(int((one.at - begun) / BUCKET) for one in arrivals[1:])
    mean = len(arrivals) / max((ended - begun) / BUCKET, 1)
    return [
        f"{count} arrived in bucket {number}, the mean is {mean:.0f}"
        for number, count in counts.items()
        if count > max(HERD * mean, usual)
    ]


async def new_events(world: Stage, down: Consumer, other: Consumer) -> dict[str, float]:
    """Tell of a payment every 100 ms while the backlog drains; when, by place."""
    told: dict[str, float] = {}
    while len(down.taken) < BACKLOG:
        number = len(told)
        told[f"p-{number}"] = time.monotonic()
        await post_all(world.gateway.port, [callback(f"o-{number}", "order.paid", 2)])
        assert await until(lambda: len(other.arrivals) == len(told)), "the other one gets nothing"
        await asyncio.sleep(0.1)
    return told


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_twenty_thousand_wait_for_a_consumer_that_was_down(tmp_path: Path) -> None:
    async def story() -> None:
        down, other = Consumer("down"), Consumer("other")
        down.answer = serve
        await other.up()
        keys = [
            f'types = ["order.created"]\nslots = {SLOTS}\nschedule = [{SCHEDULE}]',
            'types = ["order.paid"]',
        ]
        async with AsyncExitStack() as stack:
            world = await stage(stack, tmp_path, [down, other], keys)
            created = [callback(f"o-{number}") for number in range(BACKLOG)]
            await post_all(world.gateway.port, created)
            assert world.rows(BROKEN)
            assert world.rows(UNFINISHED) == [(BACKLOG,)]
            await down.up()
            assert await until(lambda: down.arrivals, seconds=150)
            told = await new_events(world, down, other)
            assert await until(lambda: world.rows(UNFINISHED) == [(0,)])
            assert await world.gateway.stop() == 0
        assert herds(down.arrivals, SLOTS) == []
        assert crowds(down.arrivals) == []
        assert down.most == SLOTS
        assert Counter(down.ids_in_order) == Counter(down.ids)
        assert len(down.ids) == BACKLOG
        times = [one.at for one in down.arrivals]
        before = [
            bisect(times, one.at) - bisect(times, begun)
            for one, begun in zip(other.arrivals, told.values(), strict=True)
        ]
        assert len(before) > 10
        assert max(before) < BOUND

    asyncio.run(story())


@pytest.mark.slow
def test_a_probe_goes_first_and_then_twice_as_many_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "FIRST", 1_500)

    async def story() -> None:
        down = Consumer("down")
        down.answer = serve
        async with consuming() as good:
            text = configuration(good.port).replace(f"http://127.0.0.1:{good.port}/good", down.url)
            text = text.replace('"100ms", "100ms", "100ms"', SCHEDULE)
            async with running(tmp_path, good, text) as world:
                for first in range(0, 300, 50):
                    await asyncio.gather(
                        *(
                            world.shop(shop_event(n, order=f"o-{n}"))
                            for n in range(first, first + 50)
                        )
                    )
                assert world.rows("SELECT trips > 0 FROM subscriptions") == [(1,)]
                await down.up()
                await world.until(lambda: len(down.taken) == 300, seconds=90)
                await world.settled()
        down.close()
        assert herds(down.arrivals, SLOTS) == []
        assert Counter(down.ids_in_order) == Counter(down.ids)

    asyncio.run(story())


@pytest.mark.slow
def test_nothing_comes_before_the_time_that_was_asked_for(tmp_path: Path) -> None:
    """429 with `Retry-After` at the head of a backlog; a neighbour notices nothing."""
    slots, backlog = 5, 400

    async def story() -> None:
        down, other = Consumer("down"), Consumer("other")
        busy = Answer(status=429, extra=b"Retry-After: %d\r\n" % WAIT)

        def answer(_: int) -> Answer:
            first = down.arrivals[0].at if down.arrivals else time.monotonic()
            return busy if time.monotonic() < first + WAIT / 2 else Answer(delay=SERVED)

        down.answer = answer
        await down.up()
        await other.up()
        schedule = f"slots = {slots}\nschedule = [{SCHEDULE}]"
        async with AsyncExitStack() as stack:
            keys = [f'types = ["order.created"]\n{schedule}', 'types = ["order.paid"]']
            world = await stage(stack, tmp_path, [down, other], keys)
            await asyncio.to_thread(control.pause, world.settings, "down")
            await post_all(
                world.gateway.port, [callback(f"o-{number}") for number in range(backlog)]
            )
            assert down.arrivals == []
            await asyncio.to_thread(control.resume, world.settings, "down")
            assert await until(lambda: down.arrivals)
            await post_all(world.gateway.port, [callback("o-0", "order.paid", 2)])
            assert await until(lambda: world.rows(UNFINISHED) == [(0,)])
            await world.gateway.stop()
        refused = [one for one in down.arrivals if one.status == busy.status]
        first = down.arrivals[len(refused)]
        assert len(refused) <= slots
        assert first.at - refused[-1].at >= WAIT - 0.01  # whole milliseconds are counted there
        assert other.arrivals[0].at < first.at
        assert down.most <= slots
        assert len(down.taken) == backlog

    asyncio.run(story())
