"""No due delivery is forgotten, whatever happens while the store is busy."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Self

from gateway.dispatcher import Dispatcher
from gateway.errors import Unavailable
from gateway.models import Delivery, Millis, Outcome, Subscription
from gateway.stores.base import Claimed, Settlement, Status, Wanted

STATUS = Status(subscription=Subscription(id=1, name="a", url="http://a.example/", slots=4))
DELIVERY = Delivery(
    id=1,
    subscription=1,
    event_id="evt_1",
    event_type="order.paid",
    body=b"",
    attempts=0,
    number=0,
    first_at=None,
    claim=1,
)


class FakeQueue:
    """Counts claims; `next_due` is what it says, `failing` makes it unavailable."""

    def __init__(self) -> None:
        self.claims: list[dict[int, int]] = []
        self.settled: list[Settlement] = []
        self.failing = False
        self.during: Any = None

    async def claim(self, wanted: Mapping[int, Wanted], now: Millis) -> Claimed:
        self.claims.append({number: want.count for number, want in wanted.items()})
        if self.during is not None:
            self.during()
            self.during = None
        await asyncio.sleep(0)
        if self.failing:
            raise Unavailable("no")
        return Claimed(deliveries=[], next_due=dict.fromkeys(wanted))

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        if self.failing:
            raise Unavailable("no")
        self.settled.extend(settlements)

    async def bury(self, subscription: int, reason: str, now: Millis) -> int:
        return 0


class FakeSender:
    """Answers 200 to everything."""

    async def send(self, subscription: Subscription, delivery: Delivery) -> Outcome:
        await asyncio.sleep(0)
        return Outcome(started_at=Millis(0), duration=1.0, status=200)


class Stage:
    """A dispatcher on a clock that the test moves."""

    def __init__(self) -> None:
        self.now = Millis(1_000)
        self.queue = FakeQueue()
        self.dispatcher = Dispatcher(
            self.queue,
            FakeSender(),  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            clock=lambda: self.now,
            refresh=self.refresh,
        )

    async def refresh(self) -> None:
        """Nothing changes here."""

    async def __aenter__(self) -> Self:
        self.dispatcher.update([STATUS])
        self.task = asyncio.create_task(self.dispatcher.run())
        await self.turns()
        self.queue.claims.clear()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.dispatcher.stop(0)
        await self.task

    async def turns(self) -> None:
        """Let the loop go round."""
        for _ in range(20):
            await asyncio.sleep(0)


def play(story: Any) -> None:
    async def whole() -> None:
        async with Stage() as stage:
            await story(stage)

    asyncio.run(whole())


def test_what_falls_due_while_its_room_is_offered_is_claimed() -> None:
    async def story(stage: Stage) -> None:
        stage.dispatcher.hand_over([], {}, {1: Millis(1_100)})
        assert stage.dispatcher.offer(1) == 4
        stage.now = Millis(1_200)
        await stage.turns()
        assert stage.queue.claims == []
        stage.dispatcher.hand_over([], {1: 4}, {})
        await stage.turns()
        assert stage.queue.claims == [{1: 4}]

    play(story)


def test_what_is_written_beside_a_claim_is_claimed_next() -> None:
    async def story(stage: Stage) -> None:
        stage.queue.during = lambda: stage.dispatcher.hand_over([], {}, {1: stage.now})
        stage.dispatcher.hand_over([], {}, {1: stage.now})
        await stage.turns()
        assert len(stage.queue.claims) == 2

    play(story)


def test_nothing_is_offered_while_something_is_due_or_being_claimed() -> None:
    async def story(stage: Stage) -> None:
        offers: list[int] = []
        stage.queue.during = lambda: offers.append(stage.dispatcher.offer(1))
        stage.dispatcher.hand_over([], {}, {1: stage.now})
        assert stage.dispatcher.offer(1) == 0
        await stage.turns()
        assert offers == [0]
        assert stage.dispatcher.offer(1) == 4

    play(story)


def test_room_is_never_lost_or_given_twice() -> None:
    async def story(stage: Stage) -> None:
        for _ in range(50):
            assert stage.dispatcher.offer(1) == 4
            stage.dispatcher.hand_over([DELIVERY, DELIVERY], {1: 2}, {})
            assert stage.dispatcher.offer(1) == 2
            stage.dispatcher.hand_over([], {1: 2}, {})
            await stage.turns()
        assert len(stage.queue.settled) == 100

    play(story)


def test_outcomes_are_kept_while_the_store_fails(monkeypatch: Any) -> None:
    monkeypatch.setattr("gateway.dispatcher.STORE_PAUSE", 0.0)

    async def story(stage: Stage) -> None:
        stage.queue.failing = True
        stage.dispatcher.offer(1)
        stage.dispatcher.hand_over([DELIVERY], {1: 3}, {})
        await stage.turns()
        assert stage.queue.settled == []
        stage.queue.failing = False
        await stage.turns()
        assert len(stage.queue.settled) == 1

    play(story)


def test_a_bug_in_what_follows_from_attempts_ends_no_recording(monkeypatch: Any) -> None:
    monkeypatch.setattr("gateway.dispatcher.STORE_PAUSE", 0.0)

    async def story(stage: Stage) -> None:
        bugs = [RuntimeError("a listener"), RuntimeError("again")]

        async def refresh() -> None:
            if bugs:
                raise bugs.pop()

        stage.dispatcher._refresh = refresh
        stage.dispatcher._stale = True
        for _ in range(3):
            stage.dispatcher.offer(1)
            stage.dispatcher.hand_over([DELIVERY], {1: 3}, {})
            await stage.turns()
        assert len(stage.queue.settled) == 3
        assert bugs == []

    play(story)
