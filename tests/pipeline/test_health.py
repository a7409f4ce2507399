"""What many failures do to a subscription: it is said to be failing, its breaker opens, it comes back."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from gateway import breaker
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

pytestmark = pytest.mark.slow

OPERATOR = f"""
[subscriptions.operator]
url = "http://127.0.0.1:PORT/operator"
types = ["gateway.*"]
secrets = ["{SECRET}"]
"""


async def stage(
    stack: AsyncExitStack, folder: Path, schedule: str = '"50ms", "50ms", "50ms", "50ms"'
) -> tuple[World, Consumer, Consumer]:
    """A gateway, the consumer of `good`, and the operator's."""
    consumer = await stack.enter_async_context(consuming())
    operator = await stack.enter_async_context(consuming())
    text = configuration(consumer.port, OPERATOR.replace("PORT", str(operator.port)))
    text = text.replace('"100ms", "100ms", "100ms"', schedule, 1)
    world = await stack.enter_async_context(running(folder, consumer, text))
    return world, consumer, operator


def told(operator: Consumer) -> list[str]:
    return [seen.event["type"] for seen in operator.seen]


async def orders(world: World, first: int, count: int) -> None:
    await asyncio.gather(
        *(world.shop(shop_event(n, order=f"o-{n}")) for n in range(first, first + count))
    )


def test_failing_is_said_at_the_fourth_failure_in_a_row_and_recovered_after(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with AsyncExitStack() as stack:
            world, consumer, operator = await stage(stack, tmp_path)
            answers = iter([500, 404, 500])
            consumer.answer = lambda _: (next(answers, 200), {}, b"")
            await orders(world, 0, 1)
            await world.settled()
            assert (len(consumer.seen), told(operator)) == (4, [])
            answers = iter([500, 404, 302, 500])
            await orders(world, 1, 1)
            await world.until(lambda: len(operator.seen) == 2)
            await world.settled()
            assert told(operator) == [
                "gateway.subscription.failing",
                "gateway.subscription.recovered",
            ]
            failing, recovered = (seen.event["data"] for seen in operator.seen)
            assert failing["subscription"] == recovered["subscription"] == "good"
            assert failing["origin"] == f"http://127.0.0.1:{consumer.port}"
            assert failing["reason"].startswith(
                "4 attempts failed in a row; the last one: answered 500"
            )

    asyncio.run(story())


def test_failing_is_said_once_and_over_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        async with AsyncExitStack() as stack:
            world, consumer, operator = await stage(stack, tmp_path, '"50ms", "50ms", "1h"')
            consumer.answer = lambda _: (404, {}, b"")
            await orders(world, 0, 4)
            await world.until(lambda: len(consumer.seen) >= 12)
            await world.until(lambda: told(operator))
            assert told(operator) == ["gateway.subscription.failing"]
        async with AsyncExitStack() as stack:
            world, consumer, operator = await stage(stack, tmp_path)
            await orders(world, 4, 1)
            await world.until(lambda: told(operator))
            assert told(operator) == ["gateway.subscription.recovered"]

    asyncio.run(story())


def test_failures_in_a_row_are_counted_over_a_restart(tmp_path: Path) -> None:
    async def story(first: int, expected: list[str]) -> None:
        async with AsyncExitStack() as stack:
            world, consumer, operator = await stage(stack, tmp_path, '"50ms", "1h"')
            consumer.answer = lambda _: (404, {}, b"")
            await orders(world, first, 1)  # two attempts each time
            await world.until(lambda: len(consumer.seen) == 2)
            await world.until(lambda: len(told(operator)) == len(expected))
            assert told(operator) == expected

    asyncio.run(story(0, []))
    asyncio.run(story(1, ["gateway.subscription.failing"]))


def test_of_operational_events_that_fail_nothing_is_said(tmp_path: Path) -> None:
    async def story() -> None:
        async with AsyncExitStack() as stack:
            world, consumer, operator = await stage(stack, tmp_path)
            answers = iter([200, 422])
            consumer.answer = lambda _: (next(answers, 422), {}, b"")
            operator.answer = lambda seen: (422, {}, b"")
            await orders(world, 0, 2)
            # The operator's own deliveries fail too; only what was said of `good` was ever made.
            await world.until(lambda: world.rows("SELECT 1 FROM deliveries WHERE state = 3"))
            await asyncio.sleep(0.5)
            types = world.rows(
                "SELECT type, order_id FROM events WHERE type LIKE 'gateway.delivery%'"
            )
            assert len(types) == 1

    asyncio.run(story())


def answering(statuses: Iterator[int], _: Delivered) -> tuple[int, dict[str, str], bytes]:
    return next(statuses), {}, b""


BEGAN = (
    "SELECT started_at FROM attempts a JOIN deliveries d ON d.id = a.delivery"
    " JOIN subscriptions s ON s.id = d.subscription WHERE s.name = 'good'"
)


def quick(monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    """Let breakers stay open for so many milliseconds, without jitter."""
    monkeypatch.setattr(breaker, "FIRST", first)
    monkeypatch.setattr(breaker, "JITTER", 0.0)


def test_a_breaker_opens_and_nothing_is_sent_until_its_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch, 3_000)

    async def story() -> None:
        async with AsyncExitStack() as stack:
            schedule = '"100ms", "100ms", "100ms", "100ms", "100ms", "100ms", "100ms"'
            world, consumer, _ = await stage(stack, tmp_path, schedule)
            opened: list[int] = []  # until when
            broken = "SELECT broken_until FROM subscriptions WHERE name = 'good'"

            def answer(_: Delivered) -> tuple[int, dict[str, str], bytes]:
                # Healthy again from then on: one probe, then two, four, and so on.
                well = opened and time.time() * 1000 >= opened[0]
                return (200 if well else 503, {}, b"")

            consumer.answer = answer
            await orders(world, 0, 40)
            await world.until(lambda: world.rows(broken)[0][0] is not None)
            opened.append(world.rows(broken)[0][0])
            await world.settled()
            assert len({seen.id for seen in consumer.seen}) == 40
            assert world.rows(broken) == [(None,)]
            # When each began, not when it was seen: on a busy machine that may be later.
            began = [at for (at,) in world.rows(BEGAN) if at < opened[0]]
            assert len(began) <= 32 + breaker.FEWEST
            assert [at for at in began if at > opened[0] - 2_000] == []
            # What waited for the breaker has used up no attempt of its schedule.
            (most,) = world.rows("SELECT max(attempts) FROM deliveries")[0]
            assert most <= 4

    asyncio.run(story())


def test_a_probe_that_fails_opens_it_for_twice_as_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch, 1_000)

    async def story() -> None:
        async with AsyncExitStack() as stack:
            world, consumer, _ = await stage(stack, tmp_path, ", ".join(['"100ms"'] * 20))
            stands = "SELECT trips, broken_until FROM subscriptions WHERE name = 'good'"
            probes: list[tuple[int, float]] = []  # after how many trips, and when
            early: list[int] = []

            def answer(seen: Delivered) -> tuple[int, dict[str, str], bytes]:
                ((trips, until),) = world.rows(stands)
                if until is not None and time.time() * 1000 >= until:
                    probes.append((trips, seen.at))
                elif trips > 1:
                    early.append(trips)
                return (500, {}, b"")

            consumer.answer = answer
            await orders(world, 0, 20)
            await world.until(lambda: world.rows(stands)[0][0] >= 3)
            assert [trips for trips, _ in probes][:2] == [1, 2]
            assert early == []
            assert probes[1][1] - probes[0][1] >= 1.95

    asyncio.run(story())


def test_one_poisonous_order_does_not_open_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with AsyncExitStack() as stack:
            world, consumer, _ = await stage(stack, tmp_path, ", ".join(['"10ms"'] * 20))

            def answer(seen: Delivered) -> tuple[int, dict[str, str], bytes]:
                return (400 if seen.event["subject"] == "o-0" else 200, {}, b"")

            consumer.answer = answer
            await orders(world, 0, 1)
            await world.until(lambda: len(consumer.seen) > 12)
            await orders(world, 1, 5)
            done = (
                "SELECT count(*) FROM deliveries WHERE state = 2"
                " AND event IN (SELECT id FROM events WHERE order_id IS NOT NULL)"
            )
            await world.until(lambda: world.rows(done) == [(5,)])
            assert world.rows("SELECT max(trips) FROM subscriptions") == [(0,)]

    asyncio.run(story())


@pytest.mark.slow
def test_an_open_breaker_survives_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch, 3_000)

    async def story() -> None:
        async with AsyncExitStack() as stack:
            world, consumer, _ = await stage(stack, tmp_path)
            consumer.answer = lambda _: (500, {}, b"")
            await orders(world, 0, 20)
            await world.until(lambda: world.rows("SELECT max(trips) FROM subscriptions") == [(1,)])
            await asyncio.sleep(0.2)
            (until,) = world.rows("SELECT broken_until FROM subscriptions WHERE name = 'good'")[0]
        async with AsyncExitStack() as stack:
            world, consumer, _ = await stage(stack, tmp_path)
            await world.delivered(1)
            assert time.time() * 1000 >= until
            await world.settled()

    asyncio.run(story())


def test_resume_closes_an_open_breaker(tmp_path: Path) -> None:
    async def story() -> None:
        async with AsyncExitStack() as stack:
            world, consumer, _ = await stage(stack, tmp_path)
            consumer.answer = lambda _: (500, {}, b"")
            await orders(world, 0, 20)
            await world.until(lambda: world.rows("SELECT max(trips) FROM subscriptions") == [(1,)])
            consumer.answer = lambda _: (200, {}, b"")
            await world.gateway.resume("good")
            await world.settled()
            assert world.rows("SELECT max(trips) FROM subscriptions") == [(0,)]

    asyncio.run(story())


def test_what_is_said_of_a_failing_subscription_shows_no_secrets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A redirect may repeat the whole URL, with the consumer's token in it; the log may not either."""

    async def story() -> None:
        async with AsyncExitStack() as stack:
            world, consumer, operator = await stage(stack, tmp_path)
            where = {"Location": "https://hooks.example.com/services/CANARY?key=CANARY"}
            consumer.answer = lambda _: (301, where, b"")
            await orders(world, 0, 1)
            await world.until(lambda: operator.seen)
            assert operator.seen[0].event["data"]["reason"].endswith("the last one: answered 301")
            assert b"CANARY" not in operator.seen[0].body
            assert "CANARY" not in caplog.text
            # The operator finds it in the attempt log.
            (detail,) = world.rows("SELECT detail FROM attempts WHERE number = 1")[0]
            assert "CANARY" in detail

    asyncio.run(story())


def test_two_receivers_that_fail_now_and_then_do_not_keep_each_other_busy(tmp_path: Path) -> None:
    """What is said of one is sent to the other, which fails at it: that is said no more."""

    async def story() -> None:
        async with AsyncExitStack() as stack:
            consumer = await stack.enter_async_context(consuming())
            receivers = [await stack.enter_async_context(consuming()) for _ in range(2)]
            text = configuration(consumer.port)
            for receiver, name in zip(receivers, "ab", strict=True):
                answers = itertools.cycle([404] * 9 + [200])
                receiver.answer = partial(answering, answers)
                text += OPERATOR.replace("PORT", str(receiver.port)).replace(
                    "[subscriptions.operator]",
                    f"[subscriptions.{name}]\nschedule = {['10ms'] * 30}",
                )
            world = await stack.enter_async_context(running(tmp_path, consumer, text))
            failures = iter([404] * 4)
            consumer.answer = lambda _: (next(failures, 200), {}, b"")
            await orders(world, 0, 2)
            await world.settled()
            told = "SELECT count(*) FROM events WHERE type GLOB 'gateway.subscription.*'"
            assert world.rows(told) == [(2,)]

    asyncio.run(story())
