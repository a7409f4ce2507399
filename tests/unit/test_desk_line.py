"""The line before the slots: nothing that was handed over is forgotten, doubled, or left standing."""

import asyncio
import random
from typing import Any

import pytest
from msgspec.structs import replace

from gateway import dispatcher as module
from gateway.desk import FAILING, LINE, Desk
from gateway.models import Failure, Millis, Outcome, Subscription
from gateway.stores.base import Status
from tests.unit.test_dispatcher import DELIVERY, ROOM, SLOTS, STATUS, SUBSCRIPTION, Stage, play

OTHER = replace(SUBSCRIPTION, id=2, name="b")
ANSWERS = {
    "good": Outcome(started_at=Millis(0), duration=1.0, status=200),
    "bad": Outcome(started_at=Millis(0), duration=1.0, status=500, failure=Failure.STATUS),
    "busy": Outcome(
        started_at=Millis(0),
        duration=1.0,
        status=429,
        failure=Failure.STATUS,
        retry_after=Millis(10),
    ),
}


class Walk:
    """Random steps of one subscription; what is released or fails is not handed over again."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage, self.random = stage, random.Random(seed)
        self.handed: list[int] = []
        self.born = 0  # deliveries that got a number
        self.state = "active"
        stage.sender.held = asyncio.Semaphore(0)

    async def step(self) -> None:
        step = self.random.choice([self.offer, self.offer, self.answer, self.answer, self.turn])
        step()
        for _ in range(self.random.choice([0, 0, 1, 5])):
            await asyncio.sleep(0)
        self.check()

    def offer(self) -> None:
        stage = self.stage
        room = stage.dispatcher.offer(1)
        count = self.random.randint(0, room)
        numbers = range(self.born + 1, self.born + count + 1)
        self.born += count
        self.handed.extend(numbers)
        born = [replace(DELIVERY, id=number) for number in numbers]
        stage.dispatcher.hand_over(born, {1: room - count}, {})

    def answer(self) -> None:
        self.stage.sender.outcome = ANSWERS[self.random.choice(["good"] * 8 + ["bad", "busy"])]
        self.stage.answer(self.random.randint(1, SLOTS))

    def turn(self) -> None:
        self.stage.now = Millis(self.stage.now + self.random.choice([0, 1, 20]))
        self.stage.queue.failing = self.random.random() < 0.2
        self.state = self.random.choice(["active", "active", "paused"])
        self.stage.dispatcher.update([Status(subscription=SUBSCRIPTION, state=self.state)])

    def check(self) -> None:
        desk = self.stage.dispatcher._desks[1]
        assert 0 <= desk.busy <= SLOTS
        assert desk.reserved == 0 or desk.claiming
        assert len(desk.line) <= ROOM
        assert desk._bytes == 0

    async def end(self) -> None:
        """Everything works again, and every endpoint answers."""
        self.stage.queue.failing = False
        self.stage.dispatcher.update([Status(subscription=SUBSCRIPTION)])
        for _ in range(20):
            self.stage.sender.outcome = ANSWERS["good"]
            self.stage.now = Millis(self.stage.now + 100)
            self.stage.answer(ROOM)
            await self.stage.turns()


@pytest.mark.parametrize("seed", range(20))
def test_what_is_handed_over_is_settled_or_released_once(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.recorder.STORE_PAUSE", 0.0)
    monkeypatch.setattr(module, "STORE_PAUSE", 0.0)

    async def story(stage: Stage) -> None:
        walk = Walk(stage, seed)
        for _ in range(300):
            await walk.step()
        await walk.end()
        ended = [one.delivery.id for one in stage.queue.settled] + stage.queue.released
        assert sorted(ended) == walk.handed
        assert sorted(set(stage.sender.started)) == sorted(stage.sender.started)
        assert set(stage.sender.started).isdisjoint(stage.queue.released)
        desk = stage.dispatcher._desks[1]
        assert (desk.busy, desk.reserved, len(desk.line)) == (0, 0, 0)

    play(story)


def test_who_leaves_the_line_is_looked_for_when_the_wait_is_over() -> None:
    async def story(stage: Stage) -> None:
        one: Subscription = replace(SUBSCRIPTION, slots=1)
        stage.dispatcher.update([Status(subscription=one)])
        await stage.turns()
        stage.queue.claims.clear()
        await stage.fill(1 + LINE)
        stage.dispatcher.hand_over([], {}, {1: stage.now})  # one more, which finds no room
        await stage.turns()
        assert stage.queue.claims == []
        claimed = asyncio.Event()
        stage.queue.during = claimed.set
        stage.sender.outcome = ANSWERS["busy"]
        stage.answer(1)
        await stage.turns()
        assert stage.queue.released == [2, 3, 4]
        stage.now = Millis(stage.now + 1_000)
        async with asyncio.timeout(30):
            await claimed.wait()

    play(story)


def test_a_line_spreads_over_all_slots_when_others_have_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "IN_FLIGHT", SLOTS)

    async def story(stage: Stage) -> None:
        def desk() -> Any:
            return stage.dispatcher._desks[1]

        async def share(answers: int) -> None:
            stage.now = Millis(stage.now + module.SHARED)
            stage.answer(answers)
            await stage.turns()

        stage.dispatcher.update([Status(subscription=one) for one in (SUBSCRIPTION, OTHER)])
        await stage.turns()
        await stage.fill(ROOM)
        room = stage.dispatcher.offer(2)
        born = replace(DELIVERY, id=99, subscription=2)
        stage.dispatcher.hand_over([born], {2: room - 1}, {})
        await stage.turns()
        await share(SLOTS)
        assert desk().busy == SLOTS // 2
        await share(1)  # the other one's only delivery
        await share(1)
        assert desk().busy == SLOTS

    play(story)


def desk() -> Desk:
    return Desk(STATUS, lambda: Millis(0), random.random)


def failures(desk: Desk, count: int, *, tell: bool) -> list[bool]:
    return [desk.failed(Millis(1), ANSWERS["bad"], tell=tell) for _ in range(count)]


def test_that_it_fails_is_told_by_the_next_failure_that_may() -> None:
    one = desk()
    assert failures(one, FAILING + 1, tell=False) == [False] * (FAILING + 1)
    assert one.failing_since is None
    assert failures(one, 2, tell=True) == [True, False]
    assert one.succeeded(Millis(2), ANSWERS["good"])


def test_nobody_is_told_that_it_recovered_who_was_not_told_that_it_failed() -> None:
    one = desk()
    failures(one, FAILING, tell=False)
    assert not one.succeeded(Millis(2), ANSWERS["good"])
    assert failures(one, FAILING, tell=True) == [False] * (FAILING - 1) + [True]
