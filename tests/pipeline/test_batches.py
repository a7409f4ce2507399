"""`mode = "batch"`: several events in one attempt, under one signature, the same bytes at every retry."""

import asyncio
import json
from pathlib import Path

from standardwebhooks import Webhook

from tests.pipeline.world import (
    SECRET,
    Consumer,
    Delivered,
    World,
    configuration,
    consuming,
    running,
    shop_event,
)


def batched(port: int, size: int = 3, wait: str = "30s", more: str = "") -> str:
    keys = f'mode = "batch"\nbatch_size = {size}\nbatch_wait = "{wait}"\n{more}'
    return configuration(port).replace('/good"', f'/good"\n{keys}')


async def tell(world: World, first: int, count: int) -> None:
    for number in range(first, first + count):
        await world.shop(shop_event(number, order=f"o-{number}"))


def subjects(seen: Delivered) -> list[str]:
    return [event["subject"] for event in json.loads(seen.body)]


def test_enough_events_make_a_batch_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            consuming() as consumer,
            running(tmp_path, consumer, batched(consumer.port)) as world,
        ):
            await tell(world, 0, 7)
            await world.delivered(2)
            await asyncio.sleep(0.3)
            assert [subjects(seen) for seen in consumer.seen] == [
                ["o-0", "o-1", "o-2"],
                ["o-3", "o-4", "o-5"],
            ]
            states = "SELECT state, count(*) FROM deliveries GROUP BY state"
            assert world.rows(states) == [(0, 1), (2, 6)]

    asyncio.run(story())


def test_enough_time_makes_one_of_fewer(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            consuming() as consumer,
            running(tmp_path, consumer, batched(consumer.port, wait="1s")) as world,
        ):
            await asyncio.gather(tell(world, 0, 1), tell(world, 1, 1))
            (seen,) = await world.delivered(1)
            assert sorted(subjects(seen)) == ["o-0", "o-1"]
            await tell(world, 2, 1)
            await world.settled()
            assert subjects(consumer.seen[1]) == ["o-2"]

    asyncio.run(story())


def test_what_is_sent_is_a_batch_with_an_id_and_a_signature_of_its_own(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            consuming() as consumer,
            running(tmp_path, consumer, batched(consumer.port)) as world,
        ):
            await tell(world, 0, 6)
            one, two = (await world.delivered(2))[:2]
            for seen in (one, two):
                kind = "application/cloudevents-batch+json; charset=utf-8"
                assert seen.headers["content-type"] == kind
                Webhook(SECRET).verify(seen.body, seen.headers)
                events = json.loads(seen.body)
                assert seen.id.startswith("bat_")
                assert seen.id not in {event["id"] for event in events}
            assert one.id != two.id
            bodies = [body for (body,) in world.rows("SELECT body FROM events ORDER BY id")]
            assert one.body == b"[" + b",".join(bodies[:3]) + b"]"

    asyncio.run(story())


def test_a_batch_is_frozen_over_retries_and_restarts(tmp_path: Path) -> None:
    async def story(consumer: Consumer) -> None:
        consumer.answer = lambda _: (500, {}, b"")
        text = batched(consumer.port).replace('"100ms", "100ms"', '"100ms", "3s"')
        async with running(tmp_path, consumer, text) as world:
            await tell(world, 0, 3)
            await world.delivered(2)
            await tell(world, 3, 2)  # younger ones join no batch that was sent once
        text = text.replace("batch_size = 3", "batch_size = 5")
        consumer.answer = lambda _: (200, {}, b"")
        async with running(tmp_path, consumer, text) as world:
            await world.delivered(3)
            await world.until(lambda: world.rows("SELECT 1 FROM deliveries WHERE state = 2"))
            assert len({seen.id for seen in consumer.seen}) == 1
            assert len({seen.body for seen in consumer.seen}) == 1
            assert len(consumer.seen) == 3
            assert world.rows("SELECT delivery, number, status FROM attempts") == [
                (1, 1, 500),
                (1, 2, 500),
                (1, 3, 200),
            ]
            done = "SELECT id, state, leader FROM deliveries ORDER BY id"
            assert world.rows(done)[:3] == [(1, 2, 1), (2, 2, 1), (3, 2, 1)]

    async def whole() -> None:
        async with consuming() as consumer:
            await story(consumer)

    asyncio.run(whole())


def test_a_batch_that_ends_without_success_ends_for_each_of_its_events(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            text = batched(consumer.port, more="final_status = [422]")
            async with running(tmp_path, consumer, text) as world:
                consumer.answer = lambda _: (422, {}, b"")
                await tell(world, 0, 3)
                await world.settled()
                rows = world.rows("SELECT state, reason FROM deliveries")
                assert rows == [(3, "the endpoint answered 422, which is final here")] * 3
                # One of them alone can be sent again: it has waited long enough.
                consumer.answer = lambda _: (200, {}, b"")
                await world.gateway.replay("dl_2")
                await world.settled()
                assert subjects(consumer.seen[1]) == ["o-1"]

    asyncio.run(story())


def test_another_mode_takes_batches_apart(tmp_path: Path) -> None:
    async def story(consumer: Consumer) -> None:
        consumer.answer = lambda _: (500, {}, b"")
        text = batched(consumer.port).replace('["100ms", "100ms"', '["1s", "100ms"')
        async with running(tmp_path, consumer, text) as world:
            await tell(world, 0, 4)
            await world.delivered(1)
            await world.until(lambda: world.rows("SELECT 1 FROM attempts"))
        consumer.answer = lambda _: (200, {}, b"")
        consumer.seen.clear()
        async with running(tmp_path, consumer) as world:
            await world.settled()
            assert sorted(seen.event["subject"] for seen in consumer.seen) == [
                "o-0",
                "o-1",
                "o-2",
                "o-3",
            ]

    async def whole() -> None:
        async with consuming() as consumer:
            await story(consumer)

    asyncio.run(whole())


def test_410_ends_what_waits_for_a_batch_too(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            consuming() as consumer,
            running(tmp_path, consumer, batched(consumer.port)) as world,
        ):
            consumer.answer = lambda _: (410, {}, b"")
            await tell(world, 0, 5)
            await world.settled()
            assert world.rows("SELECT state, count(*) FROM deliveries GROUP BY state") == [(3, 5)]

    asyncio.run(story())
