"""What a person may ask of a delivery, by command beside a gateway that runs, and how often."""

import asyncio
import contextlib
import io
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest

from gateway.cli import control, jobs, look, single
from gateway.errors import Conflict
from gateway.models import Millis
from tests.acceptance.consumers import Answer, Consumer, callback, post_all
from tests.acceptance.isolation import UNFINISHED, Stage, stage, until

pytestmark = pytest.mark.slow

TIMES = 5
RARE = 'schedule = ["1h", "1h"]'  # between two scheduled attempts there is time for a person
FINAL = f"{RARE}\nfinal_status = [422]"
REST = 0.5  # seconds in which what must not come would come
KINDS = ("order.created", "order.paid", "order.printing")


def play(folder: Path, keys: str, story: Callable[[Stage, Consumer], Awaitable[None]]) -> None:
    """Tell the story of one subscription."""

    async def whole() -> None:
        consumer = Consumer("shop")
        await consumer.up()
        async with AsyncExitStack() as stack:
            world = await stage(stack, folder, [consumer], [keys])
            await story(world, consumer)
            await world.gateway.stop()

    asyncio.run(whole())


async def tell(world: Stage, order: str, *numbers: int) -> None:
    """Tell of the steps of an order, one after the other."""
    for number in numbers:
        await post_all(world.gateway.port, [callback(order, KINDS[number - 1], number)])


async def retry(world: Stage, delivery: int) -> str:
    """`gateway replay --delivery`; what it says."""
    return (await asyncio.to_thread(jobs.replay, world.settings, f"dl_{delivery}")).text


def standing(world: Stage, delivery: int) -> tuple[int, int, int, int]:
    """State, scheduled attempts, all attempts, due."""
    (row,) = world.rows(
        f"SELECT state, attempts, number, due FROM deliveries WHERE id = {delivery}"
    )
    return row[0], row[1], row[2], row[3]


def sequence(consumer: Consumer) -> list[int]:
    """The places in their order of what came, as it came."""
    return [msgspec.json.decode(one.body)["orderseq"] for one in consumer.arrivals]


def test_what_waits_is_tried_each_time_and_its_schedule_stays(tmp_path: Path) -> None:
    async def story(world: Stage, consumer: Consumer) -> None:
        consumer.answer = lambda number: Answer(status=400 if number < TIMES + 2 else 200)
        await tell(world, "o-1", 1)
        assert await until(lambda: standing(world, 1)[:3] == (0, 1, 1))
        due = standing(world, 1)[3]
        for made in range(2, TIMES + 2):
            assert "its next attempt is due now" in await retry(world, 1)
            assert await until(lambda: standing(world, 1) == (0, 1, made, due))  # noqa: B023
        await retry(world, 1)
        assert await until(lambda: world.rows(UNFINISHED) == [(0,)])
        numbers = world.rows("SELECT number FROM attempts ORDER BY started_at")
        assert [number for (number,) in numbers] == list(range(1, TIMES + 3))
        assert len(consumer.ids) == 1

    play(tmp_path, RARE, story)


def test_what_has_ended_is_sent_each_time_as_a_new_one(tmp_path: Path) -> None:
    """A dead letter, until it gets through, and what got through."""

    async def story(world: Stage, consumer: Consumer) -> None:
        consumer.answer = lambda number: Answer(status=422 if number < 4 else 200)
        await tell(world, "o-1", 1)
        for made in range(2, TIMES + 2):
            assert await until(lambda: world.rows(UNFINISHED) == [(0,)])
            assert f"its event is due again as dl_{made}" in await retry(world, 1)
        assert await until(lambda: world.rows(UNFINISHED) == [(0,)])
        found = world.rows("SELECT state, number FROM deliveries ORDER BY id")
        assert found == [(3, 1)] * 3 + [(2, 1)] * (TIMES - 2)
        assert len(consumer.arrivals) == TIMES + 1
        assert len(consumer.ids) == 1
        attempts = world.rows("SELECT delivery, number FROM attempts ORDER BY delivery")
        assert attempts == [(number, 1) for number in range(1, TIMES + 2)]

    play(tmp_path, f'types = ["order.*"]\n{FINAL}', story)


@pytest.mark.slow
def test_in_flight_it_is_refused_however_often(tmp_path: Path) -> None:
    async def story(world: Stage, consumer: Consumer) -> None:
        consumer.answer = lambda number: Answer(delay=4.0 if number == 1 else 0.0)
        await tell(world, "o-1", 1)
        assert await until(lambda: consumer.busy == 1)
        for _ in range(TIMES):
            with pytest.raises(Conflict, match="dl_1 is in flight: wait for its end"):
                await retry(world, 1)
        assert await until(lambda: world.rows(UNFINISHED) == [(0,)])
        assert "is due again as dl_2" in await retry(world, 1)
        assert await until(lambda: world.rows(UNFINISHED) == [(0,)])
        assert len(consumer.arrivals) == 2

    play(tmp_path, RARE, story)


def test_what_is_not_the_head_of_its_lane_goes_to_the_end(tmp_path: Path) -> None:
    async def story(world: Stage, consumer: Consumer) -> None:
        consumer.answer = lambda number: Answer(status=400 if number == 2 else 200)
        await tell(world, "o-1", 1, 2, 3)
        assert await until(lambda: standing(world, 2)[:3] == (0, 1, 1))
        for delivery, made in ((3, 4), (3, 5), (1, 6)):
            said = await retry(world, delivery)
            assert f"is sent again as dl_{made}, at the end of its lane" in said
            assert "behind dl_2" in said
        await asyncio.sleep(REST)
        assert sequence(consumer) == [1, 2]
        assert "its next attempt is due now" in await retry(world, 2)  # the head itself
        assert await until(lambda: world.rows(UNFINISHED) == [(0,)])
        assert sequence(consumer) == [1, 2, 2, 3, 3, 3, 1]

    play(tmp_path, f'ordering = "order"\n{RARE}', story)


@pytest.mark.slow
def test_a_paused_subscription_holds_and_drops_nothing(tmp_path: Path) -> None:
    """What is new, what waits and what is asked for; over a kill, for longer than the schedule."""

    async def story(world: Stage, consumer: Consumer) -> None:
        consumer.answer = lambda number: Answer(status=400 if number == 2 else 200)
        await tell(world, "o-1", 1)
        assert await until(lambda: standing(world, 1)[0] == 2)
        await tell(world, "o-2", 1)
        assert await until(lambda: standing(world, 2)[:3] == (0, 1, 1))
        await asyncio.to_thread(control.pause, world.settings, "shop")
        await tell(world, "o-3", 1)
        for delivery in (1, 1, 2, 3):
            assert "But subscription shop is paused" in await retry(world, delivery)
        world.gateway.kill()
        await world.gateway.start()
        await asyncio.sleep(4.0 + REST)  # the schedule would be over by now
        assert len(consumer.arrivals) == 2
        await asyncio.to_thread(control.resume, world.settings, "shop")
        assert await until(lambda: world.rows(UNFINISHED) == [(0,)])
        assert world.rows("SELECT count(*) FROM deliveries WHERE state = 2") == [(5,)]
        assert len(consumer.arrivals) == 2 + 4
        assert len(consumer.ids) == 3

    play(tmp_path, 'schedule = ["4s"]', story)


def shown(world: Stage, delivery: int) -> list[str]:
    """`gateway deliveries show`, then `gateway explain`."""
    one, explained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(one):
        single.show(world.settings, f"dl_{delivery}", now=Millis(0), as_json=False)
    with contextlib.redirect_stdout(explained):
        look.explain(world.settings, f"dl_{delivery}", as_json=False)
    return [one.getvalue(), explained.getvalue()]


def test_a_failure_says_that_it_was_of_a_manual_attempt(tmp_path: Path) -> None:
    """As what waits, and as a new delivery of what had ended, over further failures too."""

    async def story(world: Stage, consumer: Consumer) -> None:
        consumer.answer = lambda number: Answer(status=422 if number == 3 else 500)
        await tell(world, "o-1", 1)
        assert await until(lambda: standing(world, 1)[:3] == (0, 1, 1))
        await retry(world, 1)
        assert await until(lambda: standing(world, 1)[:3] == (0, 1, 2))
        one, explained = await asyncio.to_thread(shown, world, 1)
        assert "manual attempt 2 failed: answered 500; due " in one
        assert [text.count("answered 500 (manual attempt)") for text in (one, explained)] == [1, 1]

        await tell(world, "o-2", 1)
        assert await until(lambda: standing(world, 2)[0] == 3)
        await retry(world, 2)
        assert await until(lambda: standing(world, 3)[:3] == (0, 1, 1))
        one, explained = await asyncio.to_thread(shown, world, 3)
        assert "replay of dl_2; answered 500; due " in one
        assert "replay of dl_2; answered 500" in explained
        await retry(world, 3)
        assert await until(lambda: standing(world, 3)[:3] == (0, 1, 2))
        one, explained = await asyncio.to_thread(shown, world, 3)
        assert "replay of dl_2; manual attempt 2 failed: answered 500; due " in one
        assert one.count("replay of") == explained.count("replay of") == 1

    play(tmp_path, FINAL, story)
