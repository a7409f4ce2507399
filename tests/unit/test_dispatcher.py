"""No due delivery is forgotten, whatever happens while the store is busy."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Self

import pytest
from msgspec.structs import replace

from gateway.desk import LINE, LINE_BYTES
from gateway.dispatcher import ROUND, TURN, TURNS, Dispatcher
from gateway.errors import Unavailable
from gateway.events import Writer
from gateway.models import Delivery, Failure, Millis, Mode, Outcome, Subscription
from gateway.operations import Operations
from gateway.stores.base import Claimed, Settlement, Status, Wanted
from gateway.stores.callers import Calling

SLOTS = 4
ROOM = SLOTS * (1 + LINE)
SUBSCRIPTION = Subscription(
    id=1, name="a", url="http://a.example/", slots=SLOTS, schedule=(Millis(0), Millis(60_000))
)
STATUS = Status(subscription=SUBSCRIPTION)
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
        self.released: list[int] = []
        self.failing = False
        self.during: Any = None
        self.calling = Calling.NOBODY
        self.due: Millis | None = None

    async def claim(self, wanted: Mapping[int, Wanted], now: Millis) -> Claimed:
        self.claims.append({number: want.count for number, want in wanted.items()})
        if self.during is not None:
            self.during()
            self.during = None
        await asyncio.sleep(0)
        if self.failing:
            raise Unavailable("no")
        return Claimed(
            deliveries=[], next_due=dict.fromkeys(wanted, self.due), calling=self.calling
        )

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        if self.failing:
            raise Unavailable("no")
        self.settled.extend(settlements)

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        if self.failing:
            raise Unavailable("no")
        self.released.extend(delivery.id for delivery in deliveries)

    async def bury(self, subscription: int, reason: str, now: Millis) -> int:
        return 0


class FakeSender:
    """Answers 200 to everything, once `held` lets it."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.held: asyncio.Semaphore | None = None
        self.outcome = Outcome(started_at=Millis(0), duration=1.0, status=200)

    async def send(self, subscription: Subscription, delivery: Delivery) -> Outcome:
        self.started.append(delivery.id)
        if self.held is not None:
            await self.held.acquire()
        await asyncio.sleep(0)
        return self.outcome


class Stage:
    """A dispatcher on a clock that the test moves."""

    def __init__(self) -> None:
        self.now = Millis(1_000)
        self.queue, self.sender = FakeQueue(), FakeSender()
        self.dispatcher = Dispatcher(
            self.queue,
            self.sender,  # type: ignore[arg-type]
            Operations(Writer(""), clock=lambda: self.now),
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

    async def fill(self, count: int, body: bytes = b"") -> None:
        """Hand over so many deliveries, none of which gets an answer yet."""
        self.sender.held = asyncio.Semaphore(0)
        born = [replace(DELIVERY, id=number, body=body) for number in range(1, count + 1)]
        room = self.dispatcher.offer(1)
        self.dispatcher.hand_over(born, {1: room - count}, {})
        await self.turns()

    def answer(self, count: int) -> None:
        """Let so many attempts end."""
        assert self.sender.held is not None
        for _ in range(count):
            self.sender.held.release()

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
        assert stage.dispatcher.offer(1) == ROOM
        stage.now = Millis(1_200)
        await stage.turns()
        assert stage.queue.claims == []
        stage.dispatcher.hand_over([], {1: ROOM}, {})
        await stage.turns()
        assert stage.queue.claims == [{1: ROOM}]

    play(story)


def test_what_is_written_beside_a_claim_is_claimed_next() -> None:
    async def story(stage: Stage) -> None:
        stage.queue.during = lambda: stage.dispatcher.hand_over([], {}, {1: stage.now})
        stage.dispatcher.hand_over([], {}, {1: stage.now})
        await stage.turns()
        assert len(stage.queue.claims) == 2

    play(story)


@pytest.mark.parametrize(
    ("calling", "turn"), [(one, [TURN] * (size // TURN)) for one, size in TURNS.items()]
)
def test_a_turn_takes_some_of_one_subscription_before_the_next(
    calling: Calling, turn: list[int]
) -> None:
    """Rows of one subscription lie side by side: one of each would write a page each."""
    many = min(3 * len(turn), ROUND // TURN)
    wanted = [
        Status(subscription=replace(SUBSCRIPTION, id=number, slots=TURN))
        for number in range(2, many + 2)
    ]

    async def story(stage: Stage) -> None:
        stage.queue.calling, stage.queue.due = calling, stage.now
        stage.dispatcher.update(wanted)
        await stage.turns()
        stage.queue.claims.clear()
        await stage.turns()
        claims = stage.queue.claims[: many // len(turn)]
        assert [list(claim.values()) for claim in claims] == [turn] * len(claims)
        order = [number for claim in claims for number in claim]
        assert claims
        assert len(set(order)) == len(order)  # nobody twice before all had a turn

    play(story)


@pytest.mark.parametrize("odd", [TURN - 1, TURN + 1, 1])
def test_whoever_a_turn_cuts_short_begins_the_next_one(odd: int) -> None:
    """Or the one behind a neighbour with little room would have its remainder for ever."""
    slots = {2: odd, 3: 4 * TURN, 4: 4 * TURN}
    batches = replace(SUBSCRIPTION, id=2, mode=Mode.BATCH, slots=odd)  # which have no line
    plain = [replace(SUBSCRIPTION, id=number, slots=slots[number]) for number in (3, 4)]

    async def story(stage: Stage) -> None:
        stage.queue.calling, stage.queue.due = Calling.SOME, stage.now
        stage.dispatcher.update([Status(subscription=one) for one in (batches, *plain)])
        for _ in range(30):
            await stage.turns()
        had = {
            number: sum(claim.get(number, 0) for claim in stage.queue.claims[-60:])
            for number in (3, 4)
        }
        assert 0.8 < had[3] / had[4] < 1.25

    play(story)


def test_of_many_each_has_a_turn_within_a_round() -> None:
    many = 2 * ROUND
    wanted = [
        Status(subscription=replace(SUBSCRIPTION, id=number)) for number in range(2, many + 2)
    ]

    async def story(stage: Stage) -> None:
        stage.queue.calling, stage.queue.due = Calling.SOME, stage.now
        stage.dispatcher.update(wanted)
        while len(stage.queue.claims) < 2 * many // TURN:
            await stage.turns()
        last = stage.queue.claims[-many // TURN :]
        assert {number for claim in last for number in claim} == set(range(2, many + 2))

    play(story)


def test_nothing_is_offered_while_something_is_due_or_being_claimed() -> None:
    async def story(stage: Stage) -> None:
        offers: list[int] = []
        stage.queue.during = lambda: offers.append(stage.dispatcher.offer(1))
        stage.dispatcher.hand_over([], {}, {1: stage.now})
        assert stage.dispatcher.offer(1) == 0
        await stage.turns()
        assert offers == [0]
        assert stage.dispatcher.offer(1) == ROOM

    play(story)


def test_room_is_never_lost_or_given_twice() -> None:
    async def story(stage: Stage) -> None:
        for _ in range(50):
            assert stage.dispatcher.offer(1) == ROOM
            stage.dispatcher.hand_over([DELIVERY, DELIVERY], {1: ROOM - 2}, {})
            assert stage.dispatcher.offer(1) == ROOM - 2
            stage.dispatcher.hand_over([], {1: ROOM - 2}, {})
            await stage.turns()
        assert len(stage.queue.settled) == 100

    play(story)


def test_outcomes_are_kept_while_the_store_fails(monkeypatch: Any) -> None:
    monkeypatch.setattr("gateway.recorder.STORE_PAUSE", 0.0)

    async def story(stage: Stage) -> None:
        stage.queue.failing = True
        stage.dispatcher.offer(1)
        stage.dispatcher.hand_over([DELIVERY], {1: ROOM - 1}, {})
        await stage.turns()
        assert stage.queue.settled == []
        stage.queue.failing = False
        await stage.turns()
        assert len(stage.queue.settled) == 1

    play(story)


def test_a_bug_in_what_follows_from_attempts_ends_no_recording(monkeypatch: Any) -> None:
    monkeypatch.setattr("gateway.recorder.STORE_PAUSE", 0.0)

    async def story(stage: Stage) -> None:
        bugs = [RuntimeError("a listener"), RuntimeError("again")]

        async def refresh() -> None:
            if bugs:
                raise bugs.pop()

        stage.dispatcher._refresh = refresh
        stage.dispatcher._recorder._stale = True
        for _ in range(3):
            stage.dispatcher.offer(1)
            stage.dispatcher.hand_over([DELIVERY], {1: ROOM - 1}, {})
            await stage.turns()
        assert len(stage.queue.settled) == 3
        assert bugs == []

    play(story)


def test_what_finds_no_slot_stands_in_line_and_goes_in_its_turn() -> None:
    async def story(stage: Stage) -> None:
        await stage.fill(SLOTS + 3)
        assert stage.sender.started == list(range(1, SLOTS + 1))
        stage.answer(2)
        await stage.turns()
        assert stage.sender.started == list(range(1, SLOTS + 3))
        stage.answer(SLOTS + 1)
        await stage.turns()
        assert stage.sender.started == list(range(1, SLOTS + 4))
        assert len(stage.queue.settled) == SLOTS + 3
        assert stage.queue.released == []

    play(story)


@pytest.mark.parametrize(
    "status",
    [
        Status(subscription=SUBSCRIPTION, state="paused"),
        Status(subscription=SUBSCRIPTION, state="gone"),
        Status(subscription=SUBSCRIPTION, hold_until=Millis(9_000)),
        Status(subscription=replace(SUBSCRIPTION, enabled=False)),
        None,
    ],
    ids=["paused", "gone", "held", "disabled", "removed"],
)
def test_who_must_wait_leaves_the_line_and_is_due_again(status: Status | None) -> None:
    async def story(stage: Stage) -> None:
        await stage.fill(SLOTS + 3)
        stage.dispatcher.update([] if status is None else [status])
        await stage.turns()
        assert stage.queue.released == [SLOTS + 1, SLOTS + 2, SLOTS + 3]
        stage.answer(SLOTS)
        await stage.turns()
        assert stage.sender.started == list(range(1, SLOTS + 1))

    play(story)


def test_an_answer_that_holds_a_subscription_holds_its_line() -> None:
    async def story(stage: Stage) -> None:
        stage.sender.outcome = Outcome(
            started_at=Millis(0),
            duration=1.0,
            status=503,
            failure=Failure.STATUS,
            retry_after=Millis(60_000),
        )
        await stage.fill(SLOTS + 3)
        stage.answer(1)
        await stage.turns()
        assert stage.queue.released == [SLOTS + 1, SLOTS + 2, SLOTS + 3]
        assert len(stage.sender.started) == SLOTS

    play(story)


def test_an_endpoint_that_goes_down_loses_its_line_and_a_probe_has_none() -> None:
    async def story(stage: Stage) -> None:
        stage.sender.outcome = Outcome(
            started_at=Millis(0), duration=1.0, failure=Failure.CONNECT, detail="refused"
        )
        await stage.fill(ROOM)
        stage.answer(10)  # the fewest that open a breaker
        await stage.turns()
        started = len(stage.sender.started)
        assert len(stage.queue.released) == ROOM - started
        stage.answer(ROOM)
        await stage.turns()
        assert stage.dispatcher.offer(1) == 0
        stage.now = Millis(stage.now + 40_000)
        assert stage.dispatcher.offer(1) == 1

    play(story)


def test_no_line_moves_while_outcomes_cannot_be_recorded(monkeypatch: Any) -> None:
    monkeypatch.setattr("gateway.recorder.STORE_PAUSE", 0.0)

    async def story(stage: Stage) -> None:
        await stage.fill(SLOTS + 3)
        stage.queue.failing = True
        stage.answer(1)
        await stage.turns()
        started = len(stage.sender.started)  # one may have started before the store said no
        stage.answer(2)
        await stage.turns()
        assert len(stage.sender.started) == started < SLOTS + 3
        stage.queue.failing = False
        stage.answer(SLOTS)
        await stage.turns()
        assert len(stage.sender.started) == SLOTS + 3
        assert len(stage.queue.settled) == SLOTS + 3

    play(story)


@pytest.mark.parametrize(
    "subscription",
    [replace(SUBSCRIPTION, rate=1_000.0), replace(SUBSCRIPTION, mode=Mode.BATCH)],
    ids=["rate", "batch"],
)
def test_with_a_rate_or_in_batches_nobody_stands_in_line(subscription: Subscription) -> None:
    async def story(stage: Stage) -> None:
        stage.dispatcher.update([Status(subscription=subscription)])
        stage.now = Millis(stage.now + 1_000)
        assert stage.dispatcher.offer(1) == SLOTS

    play(story)


def test_a_line_of_large_bodies_is_short() -> None:
    async def story(stage: Stage) -> None:
        await stage.fill(SLOTS + 1, body=b"x" * LINE_BYTES)
        assert stage.dispatcher.offer(1) == 0
        stage.answer(2)
        await stage.turns()
        assert stage.dispatcher.offer(1) > 0

    play(story)


def test_a_bug_in_giving_back_keeps_nothing_from_being_recorded() -> None:
    async def story(stage: Stage) -> None:
        async def release(deliveries: Sequence[Delivery]) -> None:
            raise RuntimeError("a bug")

        stage.queue.release = release  # type: ignore[method-assign]
        await stage.fill(SLOTS + 1)
        stage.dispatcher.update([Status(subscription=SUBSCRIPTION, state="paused")])
        stage.answer(SLOTS)
        await stage.turns()
        assert len(stage.queue.settled) == SLOTS

    play(story)


def test_a_wait_that_is_not_written_yet_outlives_a_refresh_but_no_resume() -> None:
    async def story(stage: Stage) -> None:
        desk = stage.dispatcher._desks[1]
        desk.hold_until = Millis(stage.now + 60_000)
        stage.dispatcher.update([STATUS])
        assert stage.dispatcher.offer(1) == 0
        stage.dispatcher.revive(STATUS)
        assert stage.dispatcher.offer(1) == ROOM

    play(story)
