"""Claims deliveries, bounds them by slot and rate, has them sent, and settles what came of it.

Deliveries that are born leased come straight from the committed transaction; all others are
claimed in batches, whenever a subscription has room and something of it is due.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence

from gateway.desk import Desk
from gateway.errors import Unavailable
from gateway.judge import Judge
from gateway.models import Delivery, Failure, Millis, Outcome
from gateway.operations import Operations
from gateway.recorder import STORE_PAUSE, Recorder
from gateway.retries import Decision, Step
from gateway.sender import Sender
from gateway.stores.base import Queue, Settlement, Status, Wanted
from gateway.stores.callers import Calling

logger = logging.getLogger("gateway.dispatcher")

IN_FLIGHT = 1_000  # attempts that those with anything to send share; who comes later gets its own
TURN = 8  # deliveries claimed at a time beside callbacks, which wait for no more than these
TURNS = {Calling.NOBODY: 64, Calling.SOME: TURN, Calling.CROWD: 256}
"""The first callback after a lull waits for a whole turn; in a crowd all wait for each other."""
BREATH = 0.002  # seconds between two such turns, in which callbacks find the loop free
ROUND = 256  # deliveries after which all have had a turn, or one of each where they are more
SHARED = 100  # milliseconds after which it is looked anew how many share what can be in flight
AFTER_BUG = 60_000  # milliseconds until an attempt is made again whose outcome met a bug
LONGEST_SLEEP = 60.0  # seconds; a clock that was set back is noticed after this long


class Dispatcher:
    """The `Handover` of its store. `refresh` is asked for after a subscription's state changed."""

    def __init__(
        self,
        queue: Queue,
        sender: Sender,
        operations: Operations,
        *,
        clock: Callable[[], Millis],
        refresh: Callable[[], Awaitable[object]],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._queue, self._sender = queue, sender
        self._clock, self._refresh, self._random = clock, refresh, jitter
        self._judge = Judge(operations, clock=clock, random=jitter)
        self._desks: dict[int, Desk] = {}
        self._waiting: set[int] = set()  # of which something unclaimed will be due
        self._flying: set[int] = set()  # of which something is in flight
        self._share, self._shared_at = IN_FLIGHT, Millis(0)
        self._gone: set[int] = set()  # whose deliveries were ended
        self._tasks: set[asyncio.Task[None]] = set()
        self._recorder = Recorder(queue, recorded=self._recorded, changed=self._changed)
        self._refused = False  # whether the store did not let claim at the last try
        self._calling = Calling.NOBODY  # beside the last claim
        self._served = 0  # the subscription that claimed last
        self._stalled = False  # whether lines wait for what came of earlier attempts to be recorded
        self._wake = asyncio.Event()
        self._stopping = False
        self.running = False

    def update(self, statuses: Sequence[Status]) -> None:
        """Take over the catalog; called at the start and after every change."""
        for number in self._desks.keys() - {status.subscription.id for status in statuses}:
            self._desks[number].close()
            self._flow(self._desks[number])
            if number not in self._flying:
                self._forget(number)
        for status in statuses:
            number = status.subscription.id
            desk = self._desks.get(number)
            if desk is None:
                self._desks[number] = Desk(status, self._clock, self._random)
                self._waiting.add(number)
            else:
                changed = desk.state != status.state
                desk.update(status)
                self._flow(desk)
                if desk.state != "gone":
                    self._gone.discard(number)
                if changed:
                    desk.next_due = Millis(0)
                    self._waiting.add(number)
        self._shared_at = Millis(0)
        self._wake.set()

    def _forget(self, number: int) -> None:
        """The catalog does not know it any longer, and nothing of it is under way."""
        if self._desks[number].idle:
            del self._desks[number]
            self._waiting.discard(number)
            self._gone.discard(number)

    def revive(self, status: Status) -> None:
        """A person resumed this subscription: what speaks against its endpoint is forgotten."""
        desk = self._desks.get(status.subscription.id)
        if desk is not None:
            desk.revive(status)
            self._flow(desk)
            self._wake.set()

    def under_way(self, subscription: int) -> tuple[int, int]:
        """How many attempts of a subscription are being made, and how many deliveries are in line."""
        desk = self._desks.get(subscription)
        return (0, 0) if desk is None else (desk.busy, len(desk.line))

    def offer(self, subscription: int) -> int:
        """See `gateway.stores.base.Handover`."""
        desk = self._desks.get(subscription)
        if desk is None or desk.claiming or self._stopping or self._recorder.behind:
            return 0
        now = self._clock()
        count = 0 if desk.behind(now) else desk.room(now, self._each(now))
        if count:
            desk.reserve(count)
        return count

    def _each(self, now: Millis) -> int:
        """How many attempts each subscription may have in flight that has anything to send.

        Room for all is divided, so that no number of hanging endpoints takes it from the others.
        """
        if not 0 <= now - self._shared_at < SHARED:
            active = self._flying | {n for n in self._waiting if self._desks[n].ready(now)}
            self._share, self._shared_at = max(IN_FLIGHT // max(len(active), 1), 1), now
        return self._share

    def hand_over(
        self, born: Sequence[Delivery], unused: Mapping[int, int], waiting: Mapping[int, Millis]
    ) -> None:
        """See `gateway.stores.base.Handover`."""
        now = self._clock()
        for number, count in unused.items():
            desk = self._desks[number]
            desk.give_back(count)
            if desk.behind(now):  # it fell due while its room was offered: nobody else says so
                self._wake.set()
        for number, due in waiting.items():
            if number in self._desks and self._expect(number, due):
                self._wake.set()
        for delivery in born:
            self._start(delivery)

    def _expect(self, number: int, due: Millis | None) -> bool:
        """Note that something of a subscription will be due; whether that is news."""
        sooner = self._desks[number].expect(due)
        if sooner:
            self._waiting.add(number)
        return sooner

    async def run(self) -> None:
        """Claim what is due until `stop`."""
        self.running = True
        try:
            while not self._stopping:
                self._wake.clear()
                await self._claim()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), self._sleep())
        finally:
            self.running = False

    def _sleep(self) -> float:
        """Seconds until something can be claimed."""
        now, best = self._clock(), LONGEST_SLEEP
        share = self._each(now)
        for number in self._waiting:
            desk = self._desks[number]
            at = desk.wake_at(now)
            if at is not None and (at > now or (desk.short and desk.room(now, share))):
                best = min(best, (at - now) / 1000)
        return max(best, 0.0)

    def _turn(self, now: Millis) -> dict[int, int]:
        """How many deliveries to claim now, by subscription: few, and of each in its turn."""
        share = self._each(now)
        ready = {
            number: room
            for number in self._waiting
            if self._desks[number].behind(now)
            and self._desks[number].short
            and (room := self._desks[number].room(now, share))
        }
        wanted: dict[int, int] = {}
        left = TURNS[self._calling]
        each = max(left // max(len(ready), 1), min(TURN, ROUND // max(len(ready), 1)), 1)
        for number in sorted(ready, key=lambda number: (number <= self._served, number)):
            count = min(ready[number], each)
            if count > left:
                break  # it begins the next turn, and is not put off with what others leave
            wanted[number] = count
            left -= count
            self._served = number
        return wanted

    async def _claim(self) -> None:
        now = self._clock()
        wanted = self._turn(now)
        if not wanted:
            return
        if self._recorder.behind:
            await asyncio.sleep(STORE_PAUSE)
            return
        for number, count in wanted.items():
            self._desks[number].reserve(count)
            self._desks[number].claiming = True
            self._desks[number].next_due = None  # what is written from now on says so itself
            self._waiting.discard(number)
        try:
            claimed = await self._queue.claim(
                {n: Wanted(count, self._desks[n].batch) for n, count in wanted.items()}, now
            )
        except Unavailable as error:
            for number, count in wanted.items():
                self._desks[number].claiming = False
                self._desks[number].give_back(count)
                self._expect(number, now)
            if not self._refused:  # once: a disk may stay full for a night
                logger.warning("cannot claim deliveries: %s", error)
            self._refused = True
            await asyncio.sleep(STORE_PAUSE)
            return
        self._refused = False
        self._calling = claimed.calling
        for delivery in claimed.deliveries:
            wanted[delivery.subscription] -= 1
            self._start(delivery)
        for number, count in wanted.items():
            self._desks[number].give_back(count)
            self._desks[number].claiming = False
            self._expect(number, claimed.next_due[number])
        if claimed.calling is Calling.SOME and claimed.deliveries:
            await asyncio.sleep(BREATH)

    def _start(self, delivery: Delivery) -> None:
        desk = self._desks[delivery.subscription]
        desk.line_up(delivery)
        self._flow(desk)

    def _flow(self, desk: Desk) -> None:
        """Fill free slots from the line; what cannot be sent soon goes back to the store."""
        while (delivery := self._next(desk)) is not None:
            self._flying.add(delivery.subscription)
            task = asyncio.create_task(self._work(desk, delivery))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _next(self, desk: Desk) -> Delivery | None:
        """The next delivery that can start, in a slot from now on."""
        if self._stopping or not desk.line:
            return None  # at a stop nobody would wait for its end: it is due at the next start
        if self._recorder.behind:
            self._stalled = True
            return None
        now = self._clock()
        delivery = desk.take(now, self._each(now))
        if delivery is None and (left := desk.leave(now)):
            self._recorder.give_back(left)
            self._wake.set()  # its line is short again, and when to look next has changed
        return delivery

    async def _work(self, desk: Desk, delivery: Delivery | None) -> None:
        """One slot: attempts, one after the other, as long as any stand in line."""
        while delivery is not None:
            number = delivery.subscription
            outcome = await self._attempt(desk, delivery)
            desk.busy -= 1
            if not desk.busy:
                self._flying.discard(number)
            self._recorder.record(self._judged(desk, delivery, outcome))
            if desk.next_due is not None and desk.short:
                self._wake.set()
            delivery = self._next(desk)
            if delivery is not None:
                self._flying.add(number)
                if desk.busy < desk.subscription.slots:
                    self._flow(desk)  # its share may have grown since other slots were given up

    async def _attempt(self, desk: Desk, delivery: Delivery) -> Outcome:
        started = self._clock()
        try:
            return await self._sender.send(desk.subscription, delivery)
        except asyncio.CancelledError as error:
            failure, detail = Failure.INTERRUPTED, "cut off by a stop of the gateway"
            if not self._stopping:  # a bug: as interrupted it would be due at once, for ever
                failure, detail = Failure.INTERNAL, f"a bug: {error!r}"
            return _failed(started, self._clock(), failure, detail)
        except Exception as error:
            # One poisonous delivery must not end the others: it fails like any attempt.
            logger.exception("delivery dl_%d met a bug", delivery.id)
            return _failed(started, self._clock(), Failure.INTERNAL, f"a bug: {error!r}")

    def _judged(self, desk: Desk, delivery: Delivery, outcome: Outcome) -> Settlement:
        try:
            return self._judge.settlement(desk, delivery, outcome)
        except Exception:
            # What was sent must be recorded, or it stays leased until the next start.
            logger.exception("what came of dl_%d met a bug", delivery.id)
            again = Decision(step=Step.RETRY, due=Millis(self._clock() + AFTER_BUG))
            return Settlement(delivery=delivery, outcome=outcome, decision=again)

    def _recorded(self, settlements: Sequence[Settlement]) -> None:
        for settlement in settlements:
            hold = settlement.decision.hold
            desk = self._desks.get(settlement.delivery.subscription)
            if (
                hold is not None and desk is not None
            ):  # again: a refresh may have been read before it
                desk.hold_until = max(desk.hold_until, hold)
        if self._stalled:
            self._stalled = False
            for desk in list(self._desks.values()):
                self._flow(desk)

    async def _changed(self) -> None:
        """Let the catalog see new states, and end what reached a subscription that became gone."""
        await self._refresh()
        gone = {number for number, desk in self._desks.items() if desk.state == "gone"}
        for number in gone - self._gone:
            await self._queue.bury(number, "gone", self._clock())
        self._gone = gone

    def abandon(self) -> None:
        """The process ends at once: start nothing more, and what is cut off by that is no bug."""
        self._stopping = True

    async def stop(self, grace: float) -> None:
        """Start nothing more, give attempts in flight `grace` seconds, record all outcomes."""
        self._stopping = True
        self._wake.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._recorder.finish(5)


def _failed(started: Millis, ended: Millis, failure: Failure, detail: str) -> Outcome:
    return Outcome(started_at=started, duration=ended - started, failure=failure, detail=detail)
