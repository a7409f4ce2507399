"""What a source as a whole goes through: refused, throttled, failing for long."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from gateway.models import Millis
from tests.pipeline.polling import INTERVAL, TOKEN, Asking, asking, grumbles
from tests.simulators import api as faults
from tests.simulators.api import Request, Response, serving
from tests.simulators.marketiger import MarketigerApi

pytestmark = pytest.mark.slow

PAID, SHIPPED = 5, 10


class Limited(MarketigerApi):
    """It tells what is left of a budget in every answer, and when each was asked."""

    headers: Mapping[str, str] = {}

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def answer(self, request: Request) -> Response:
        self.times.append(time.monotonic())
        response = super().answer(request)
        return msgspec.structs.replace(response, headers={**response.headers, **self.headers})


async def quiet(asked: Asking, seconds: float = 1.2) -> None:
    """Nothing is asked for longer than an interval of a second."""
    before = len(asked.api.requests)
    await asyncio.sleep(seconds)
    assert len(asked.api.requests) == before


# Refused.

REFUSALS = {
    "the token": ({}, "answered AUTHENTICATION (Authentication failed.)"),
    "its user": ({TOKEN: None}, "answered NOT_FOUND (User not found.)"),
}


@pytest.mark.parametrize("name", ["the token", pytest.param("its user", marks=pytest.mark.slow)])
def test_a_refused_source_stops_and_says_so(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    tokens, words = REFUSALS[name]

    async def story(api: MarketigerApi) -> None:
        async with asking(tmp_path, api, interval="1s") as asked:
            numbers = [api.place() for _ in range(3)]
            await asked.watch(*numbers)
            api.tokens = dict(tokens)
            for number in numbers:
                api.move(number, PAID)
            asked_before = len(api.requests)
            (event,) = await asked.failing(1)
            assert event["data"]["source"] == "mt"
            assert words in event["data"]["reason"]
            assert len(api.requests) == asked_before + 1
            (line,) = grumbles(caplog)
            assert words in line
            assert line.endswith("; it is asked no more until its configuration changes")
            await quiet(asked)
            assert words in asked.state()["refused"]
            # No order is retired, or even neglected, for it.
            rows = [asked.watched(number) for number in numbers]
            assert all(row["next_at"] is not None for row in rows)
            assert {(row["failures"], row["problem"]) for row in rows} == {(0, None)}
            # By hand it is asked, refused again, and not told again.
            _, end = await asked.round()
            assert words in end["refused"]
            assert len(api.requests) == asked_before + 2
            await asked.failing(1)
        before = len(api.requests)
        async with asking(tmp_path, api, interval="1s") as asked:
            await quiet(asked)
            assert len(api.requests) == before
        # Another token is another configuration.
        api.tokens = {"new-token": "ada"}
        async with asking(tmp_path, api, interval="1s", token="new-token") as asked:
            await asked.world.until(lambda: all("order.paid" in asked.told(n) for n in numbers))
            await asked.world.until(lambda: asked.state()["refused"] is None)

    async def whole() -> None:
        async with serving(MarketigerApi()) as api:
            await story(api)

    asyncio.run(whole())


def test_a_good_answer_by_hand_lifts_a_refusal(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(MarketigerApi()) as api, asking(tmp_path, api, interval="1s") as asked:
            number = api.place()
            await asked.watch(number)
            api.tokens = {}
            await asked.failing(1)
            # No answer, or another failure, says nothing of the token.
            api.broken = faults.BAD_GATEWAY
            _, end = await asked.round()
            assert end["refused"] is not None
            assert "502" in end["problem"]
            await quiet(asked)
            api.broken, api.tokens = None, {TOKEN: "ada"}
            _, end = await asked.round()
            assert (end["refused"], end["failures"], end["problem"]) == (None, 0, None)
            api.move(number, PAID)
            await asked.world.until(lambda: "order.paid" in asked.told(number))

    asyncio.run(story())


def test_a_round_without_an_answer_lifts_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(MarketigerApi()) as api, asking(tmp_path, api) as asked:
            number = api.place()
            await asked.watch(number)
            polls = asked.world.gateway.store.polls
            poll = await polls.state("mt")
            assert poll is not None
            (watch,) = await polls.due("mt", Millis(1 << 60), 9)
            await polls.put(msgspec.structs.replace(watch, next_at=None))
            changes = {"refused": "why", "failures": 3, "problem": "what", "answered_at": None}
            await polls.save(msgspec.structs.replace(poll, **changes))
            before, state = len(api.requests), asked.state()
            _, end = await asked.round()
            assert len(api.requests) == before
            assert asked.state() == state | {"next_at": end["next_at"]}

    asyncio.run(story())


# Throttled.


@pytest.mark.slow
def test_a_429_is_held_also_after_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(api: MarketigerApi) -> None:
        async with asking(tmp_path, api, interval="1s") as asked:
            number = api.place()
            await asked.watch(number)
            api.broken = faults.throttled(3600)
            await asked.world.until(lambda: asked.state()["failures"])
            before, state = len(api.requests), asked.state()
            # From the answer on, which comes whenever it comes.
            assert 3_599_500 <= state["next_at"] - state["asked_at"] <= 3_630_000
            # Not even by hand; that it rests is no failure, and no success.
            await asked.poll()
            assert (asked.state()["failures"], asked.state()["problem"]) == (1, state["problem"])
            assert asked.state()["answered_at"] == state["answered_at"]
            # Nor for a new order.
            await asked.watch(api.place())
            await quiet(asked)
            assert len(api.requests) == before
            assert len(grumbles(caplog)) == 1
        async with asking(tmp_path, api, interval="1s") as asked:
            await quiet(asked)
            assert len(api.requests) == before

    async def whole() -> None:
        async with serving(MarketigerApi()) as api:
            await story(api)

    asyncio.run(whole())


@pytest.mark.slow
def test_after_a_retry_after_it_is_asked_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(Limited()) as api, asking(tmp_path, api, interval="1s") as asked:
            number = api.place()
            await asked.watch(number)
            api.faults.append(faults.throttled(3))
            throttled = len(api.requests) + 1
            await asked.world.until(lambda: len(api.requests) == throttled)
            start, answered = time.monotonic(), len(api.times)
            await asked.world.until(lambda: len(api.times) > answered)
            assert api.times[answered] - start > 2.9
            await asked.world.until(lambda: asked.state()["failures"] == 0)

    asyncio.run(story())


@pytest.mark.parametrize(
    "headers",
    [
        {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "3600"},
        {"X-RateLimit": '"default";r=0;t=3600'},
        {"RateLimit": '"default";r=0;t=3600'},
    ],
)
def test_a_budget_that_is_used_up_is_rested_for(
    tmp_path: Path, headers: Mapping[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with serving(Limited()) as api, asking(tmp_path, api) as asked:
            numbers = [api.place() for _ in range(3)]
            await asked.watch(*numbers)
            for number in numbers:
                api.move(number, PAID)
            api.headers, before = headers, len(api.requests)
            found, end = await asked.round()
            assert len(api.requests) == before + 1
            assert [one["verdict"] for one in found.values()] == ["event"]
            assert (end["failures"], end["problem"]) == (0, None)
            assert 3_599_500 <= end["next_at"] - end["asked_at"] <= 3_630_000
            found, end = await asked.round()
            assert found == {}
            assert len(api.requests) == before + 1
            assert end["next_at"] - end["asked_at"] > 3_500_000
            assert grumbles(caplog) == []

    asyncio.run(story())


# One order.


def test_an_order_that_does_not_exist_is_retired(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with serving(MarketigerApi()) as api, asking(tmp_path, api) as asked:
            gone, good = api.place(), api.place()
            await asked.watch(gone, good)
            order = api.orders.pop(gone)
            for failures in (1, 2, 3):
                found, end = await asked.round()
                assert "Order not found" in found[gone]["problem"]
                row = asked.watched(gone)
                assert (row["failures"], row["next_at"] is None) == (failures, failures == 3)
                assert (end["failures"], end["refused"]) == (0, None)
            first, last = grumbles(caplog)
            assert gone in first
            assert last.endswith("; it is asked for no more")
            found, _ = await asked.round()
            assert list(found) == [good]
            # A person can ask for it once more.
            api.orders[gone] = order
            await asked.watch(gone)
            row = asked.watched(gone)
            assert (row["failures"], row["problem"]) == (0, None)
            assert row["next_at"] is not None

    asyncio.run(story())


def test_an_order_that_is_not_ours_is_asked_less_and_never_retired(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with serving(MarketigerApi()) as api, asking(tmp_path, api) as asked:
            denied, good = api.place(), api.place()
            await asked.watch(denied, good)
            api.owners[denied] = "eve"
            api.move(good, PAID)
            for failures in (1, 2, 3, 4):
                found, end = await asked.round()
                assert "do not own" in found[denied]["problem"]
                row = asked.watched(denied)
                wait = (row["next_at"] - end["asked_at"]) / (INTERVAL * 2**failures)
                assert (row["failures"], 0.89 < wait < 1.11) == (failures, True)
                assert (end["failures"], end["refused"]) == (0, None)
            assert len(grumbles(caplog)) == 1
            assert asked.told(good)[-1] == "order.paid"

    asyncio.run(story())


def test_that_an_order_is_not_ours_is_an_answer(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(MarketigerApi()) as api, asking(tmp_path, api) as asked:
            denied = api.place(owner="eve")
            await asked.watch(denied)
            _, end = await asked.round()
            assert (end["failures"], end["refused"]) == (0, None)
            assert asked.watched(denied)["failures"] == 3  # at once, and twice by hand

    asyncio.run(story())


# Failing for long.


@pytest.mark.parametrize("orders", [1, 2, 5])
def test_a_source_that_fails_for_long_is_told_once(
    tmp_path: Path, orders: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with serving(MarketigerApi()) as api, asking(tmp_path, api) as asked:
            numbers = [api.place() for _ in range(orders)]
            await asked.watch(*numbers)
            api.failing = True
            for failures in range(1, 7):
                _, end = await asked.round()
                assert (end["failures"], end["refused"]) == (failures, None)
                wait = (end["next_at"] - end["asked_at"]) / min(INTERVAL * 2**failures, 3_600_000)
                assert 0.89 < wait < 1.11
                (event,) = await asked.failing(1) if failures > 3 else [None]
                if failures < 4:
                    await asked.failing(0)
            assert event is not None
            assert "OPERATION_FAILED" in event["data"]["reason"]
            assert len(grumbles(caplog)) == 6
            api.failing = False
            # What failed with the API is asked as soon as that is well again.
            latest = asked.state()["next_at"] + INTERVAL // 2
            assert all(asked.watched(number)["next_at"] <= latest for number in numbers)
            _, end = await asked.round()
            assert (end["failures"], end["problem"]) == (0, None)
            # The next time is another time.
            api.failing = True
            for _ in range(4):
                await asked.poll()
            await asked.failing(2)

    asyncio.run(story())


def test_a_round_with_nothing_to_ask_ends_no_failure(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(MarketigerApi()) as api, asking(tmp_path, api) as asked:
            number = api.place()
            await asked.watch(number)
            api.failing = True
            await asked.poll()
            polls = asked.world.gateway.store.polls
            poll = await polls.state("mt")
            assert poll is not None
            (watch,) = await polls.due("mt", Millis(1 << 60), 9)
            await polls.put(msgspec.structs.replace(watch, next_at=Millis(1 << 60)))
            await polls.save(msgspec.structs.replace(poll, next_at=Millis(0)))
            before = len(api.requests)
            await asked.world.gateway.poller.source("mt").round()
            assert len(api.requests) == before
            assert asked.state()["failures"] == 1
            assert asked.state()["problem"] == poll.problem

    asyncio.run(story())


@pytest.mark.slow
def test_a_back_off_is_held_by_the_background_task(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(Limited()) as api, asking(tmp_path, api, interval="1s") as asked:
            await asked.watch(api.place())
            api.broken, before = faults.HTML, len(api.requests)
            await asked.world.until(lambda: len(api.requests) > before)
            start = time.monotonic()
            await asked.world.until(lambda: len(api.requests) > before + 1)
            assert time.monotonic() - start > 1.7

    asyncio.run(story())


# Another configuration.


def test_an_unknown_status_is_not_told_again_when_it_is_read_anew(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(MarketigerApi({TOKEN: "ada", "new-token": "ada"})) as api:
            async with asking(tmp_path, api) as asked:
                number = api.place()
                await asked.watch(number)
                api.move(number, 99)
                await asked.poll()
                told = asked.told(number)
                assert told == ["order.created", "order.updated"]
            before = len(api.requests)
            async with asking(tmp_path, api, token="new-token") as asked:
                await asked.world.until(lambda: len(api.requests) > before)
                await asked.world.until(lambda: asked.watched(number)["seen"] is not None)
                await asked.idle()
                assert asked.told(number) == told

    asyncio.run(story())
