"""Ordered subscriptions over real sockets: one order after another, and each order on its own."""

import asyncio
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.world import (
    Answer,
    Consumer,
    Delivered,
    World,
    configuration,
    consuming,
    running,
    shop_event,
)

STEPS = ("order.created", "order.paid", "order.printing", "order.shipped")


def ordered(port: int, more: str = "") -> str:
    return configuration(port).replace('/good"', f'/good"\nordering = "order"\n{more}')


class Watcher:
    """Answers, and notes what was taken, by order."""

    def __init__(self, answer: Any = lambda seen: (200, {}, b"")) -> None:
        self.succeeded: dict[str, list[str]] = defaultdict(list)
        self._answer = answer

    def __call__(self, seen: Delivered) -> Answer:
        answer: Answer = self._answer(seen)
        if answer is not None and answer[0] == 200:
            self.succeeded[seen.event["subject"]].append(seen.event["type"])
        return answer


async def lives(world: World, orders: int) -> None:
    """Tell the whole life of so many orders, all at once."""
    for number, kind in enumerate(STEPS):
        await asyncio.gather(
            *(
                world.shop(shop_event(f"{order}-{number}", kind, order=f"o-{order}"))
                for order in range(orders)
            )
        )


def test_each_order_is_told_in_its_order_while_others_flow(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            consumer.hold = asyncio.Event()
            async with running(tmp_path, consumer, ordered(consumer.port)) as world:
                await lives(world, 6)
                await world.delivered(6)
                await asyncio.sleep(0.2)
                # One of each order is under way, all the others wait behind it.
                assert sorted(seen.event["subject"] for seen in consumer.seen) == [
                    f"o-{order}" for order in range(6)
                ]
                assert {seen.event["type"] for seen in consumer.seen} == {"order.created"}
                consumer.hold.set()
                await world.settled()
                told = defaultdict(list)
                for seen in consumer.seen:
                    told[seen.event["subject"]].append(seen.event["type"])
                assert dict(told) == {f"o-{order}": list(STEPS) for order in range(6)}

    asyncio.run(story())


def test_without_order_nothing_waits(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            consumer.hold = asyncio.Event()
            async with running(tmp_path, consumer) as world:
                await lives(world, 1)
                assert len(await world.delivered(len(STEPS))) == len(STEPS)
                consumer.hold.set()

    asyncio.run(story())


def test_a_retry_holds_up_its_own_order_only(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            refused: list[str] = []

            def answer(seen: Delivered) -> Answer:
                others = [watcher.succeeded[f"o-{n}"] for n in (1, 2)]
                if seen.event["subject"] == "o-0" and others != [list(STEPS)] * 2:
                    refused.append(seen.event["type"])
                    return (404, {}, b"")
                return (200, {}, b"")

            watcher = Watcher(answer)
            consumer.answer = watcher
            text = ordered(consumer.port).replace('"100ms", ', '"200ms", ' * 28, 1)
            async with running(tmp_path, consumer, text) as world:
                await lives(world, 3)
                await world.settled()
                assert set(refused) == {"order.created"}
                assert watcher.succeeded == {f"o-{n}": list(STEPS) for n in range(3)}

    asyncio.run(story())


def poisonous(seen: Delivered) -> Answer:
    bad = seen.event["subject"] == "o-0" and seen.event["type"] == "order.paid"
    return (422 if bad else 200, {}, b"")


def test_an_exhausted_delivery_parks_its_lane_and_nothing_else(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            watcher = Watcher(poisonous)
            consumer.answer = watcher
            text = ordered(consumer.port, "final_status = [422]")
            async with running(tmp_path, consumer, text) as world:
                await lives(world, 3)
                await world.until(lambda: watcher.succeeded.get("o-2") == list(STEPS))
                await world.until(lambda: watcher.succeeded.get("o-1") == list(STEPS))
                await asyncio.sleep(0.3)
                assert watcher.succeeded["o-0"] == ["order.created"]
                states = "SELECT state, count(*) FROM deliveries GROUP BY state ORDER BY state"
                assert world.rows(states) == [(-2, 1), (-1, 2), (2, 9)]
                # What comes later to this order waits too; it is not told out of turn.
                await world.shop(shop_event("late", "order.cancelled", order="o-0"))
                await asyncio.sleep(0.2)
                assert world.rows(states) == [(-2, 1), (-1, 3), (2, 9)]

    asyncio.run(story())


def test_on_exhausted_skip_goes_on_behind_a_dead_letter(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            watcher = Watcher(poisonous)
            consumer.answer = watcher
            text = ordered(consumer.port, 'final_status = [422]\non_exhausted = "skip"')
            async with running(tmp_path, consumer, text) as world:
                await lives(world, 2)
                await world.settled()
                assert watcher.succeeded["o-0"] == [s for s in STEPS if s != "order.paid"]
                assert watcher.succeeded["o-1"] == list(STEPS)
                (dead,) = world.rows("SELECT reason FROM deliveries WHERE state = 3")
                assert "422" in dead[0]

    asyncio.run(story())


def test_events_that_belong_to_no_order_have_no_lane(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            consumer.hold = asyncio.Event()
            text = ordered(consumer.port, 'types = ["printstudio.*"]')
            async with running(tmp_path, consumer, text) as world:
                for number in range(3):
                    await world.shop(
                        {
                            "id": f"evt-{number}",
                            "event": "job.failed",
                            "timestamp": "2026-01-15T14:30:00Z",
                            "data": {"jobId": "j-1"},
                        }
                    )
                assert len(await world.delivered(3)) == 3
                consumer.hold.set()

    asyncio.run(story())


@pytest.mark.slow
def test_a_restart_keeps_the_order(tmp_path: Path) -> None:
    async def story(consumer: Consumer) -> None:
        consumer.hold = asyncio.Event()
        text = ordered(consumer.port)
        async with running(tmp_path, consumer, text) as world:
            await lives(world, 2)
            await world.delivered(2)
        consumer.hold.set()
        consumer.seen.clear()
        async with running(tmp_path, consumer, text) as world:
            await world.settled()
            told = defaultdict(list)
            for seen in consumer.seen:
                told[seen.event["subject"]].append(seen.event["type"])
            assert dict(told) == {"o-0": list(STEPS), "o-1": list(STEPS)}

    async def whole() -> None:
        async with consuming() as consumer:
            await story(consumer)

    asyncio.run(whole())


def test_ordering_can_be_switched_on_and_off_over_what_waits(tmp_path: Path) -> None:
    async def story(consumer: Consumer) -> None:
        consumer.hold = asyncio.Event()
        plain = configuration(consumer.port)
        text = ordered(consumer.port)
        states = "SELECT state, lane IS NULL, count(*) FROM deliveries GROUP BY 1, 2 ORDER BY 1"
        async with running(tmp_path, consumer, text) as world:
            await world.gateway.pause("good")
            await lives(world, 2)
            assert world.rows(states) == [(-1, 0, 6), (0, 0, 2)]
        async with running(tmp_path, consumer, plain) as world:
            assert world.rows(states) == [(0, 1, 8)]
        async with running(tmp_path, consumer, text) as world:
            assert world.rows(states) == [(-1, 0, 6), (0, 0, 2)]
            consumer.hold.set()
            await world.gateway.resume("good")
            await world.settled()
            told = defaultdict(list)
            for seen in consumer.seen:
                told[seen.event["subject"]].append(seen.event["type"])
            assert dict(told) == {"o-0": list(STEPS), "o-1": list(STEPS)}

    async def whole() -> None:
        async with consuming() as consumer:
            await story(consumer)

    asyncio.run(whole())


def test_a_parked_delivery_without_its_lane_is_a_dead_letter_that_says_why(tmp_path: Path) -> None:
    async def story(consumer: Consumer) -> None:
        consumer.answer = poisonous
        parked = "SELECT state, reason FROM deliveries WHERE reason IS NOT NULL"
        text = ordered(consumer.port, "final_status = [422]")
        reason = "the endpoint answered 422, which is final here"
        async with running(tmp_path, consumer, text) as world:
            await lives(world, 1)
            await world.until(lambda: world.rows(parked))
            assert world.rows(parked) == [(-2, f"{reason}; its lane is parked")]
        async with running(tmp_path, consumer, configuration(consumer.port)) as world:
            await world.settled()
            assert world.rows(parked) == [(3, reason)]

    async def whole() -> None:
        async with consuming() as consumer:
            await story(consumer)

    asyncio.run(whole())
