"""Claims deliveries, bounds them by slot and rate, has them sent, and settles what came of it.

Deliveries that are born leased come straight from the committed transaction; all others are
claimed in batches, whenever a subscription has room and something of it is due.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec.structs import replace

from gateway.desk import Desk
from gateway.errors import Unavailable
from gateway.judge import Judge
from gateway.models import Delivery, Failure, Millis, Outcome
from gateway.operations import Operations
from gateway.retries import Decision, Step
from gateway.sender import Sender
from gateway.stores.base import Queue, Settlement, Status, Wanted

logger = logging.getLogger("gateway.dispatcher")

IN_FLIGHT = 1_000  # attempts that those with anything to send share; who comes later gets its own
TURN = 8  # deliveries claimed at a time: what is accepted meanwhile waits for no more than these
BREATH = 0.002  # seconds between two such turns, in which callbacks find the loop free
LONG_TURN = 32  # the same, while nothing is accepted, or so much that all of it waits anyway
UNSETTLED = 1_000  # outcomes that may wait for the store before no attempt is started any more
STORE_PAUSE = 1.0  # seconds between two tries of a store that failed
CLAIM, RECORD = "claim deliveries", "record attempts"
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
        self._outcomes: list[Settlement] = []
        self._refused: set[str] = set()  # what the store did not take at the last try
        self._callers = False  # whether callbacks came beside the last claim
        self._served = 0  # the subscription that claimed last
        self._stale = False  # whether the catalog has yet to see what was settled
        self._settling: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._stopping = False
        self.running = False

    def update(self, statuses: Sequence[Status]) -> None:
        """Take over the catalog; called at the start and after every change."""
        for number in self._desks.keys() - {status.subscription.id for status in statuses}:
            self._desks[number].close()
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
            self._wake.set()

    def offer(self, subscription: int) -> int:
        """See `gateway.stores.base.Handover`."""
        desk = self._desks.get(subscription)
        if desk is None or desk.claiming or self._stopping or self._outcomes_wait():
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
            if at is not None and (at > now or desk.room(now, share)):
                best = min(best, (at - now) / 1000)
        return max(best, 0.0)

    def _turn(self, now: Millis) -> dict[int, int]:
        """How many deliveries to claim now, by subscription: few, and of each in its turn."""
        share = self._each(now)
        ready = {
            number: room
            for number in self._waiting
            if self._desks[number].behind(now) and (room := self._desks[number].room(now, share))
        }
        wanted: dict[int, int] = {}
        left = TURN if self._callers else LONG_TURN
        each = max(left // max(len(ready), 1), 1)
        for number in sorted(ready, key=lambda number: (number <= self._served, number)):
            if not left:
                break
            wanted[number] = min(ready[number], each, left)
            left -= wanted[number]
            self._served = number
        return wanted

    async def _claim(self) -> None:
        now = self._clock()
        wanted = self._turn(now)
        if not wanted:
            return
        if self._outcomes_wait():
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
            self._complain(CLAIM, error)
            await asyncio.sleep(STORE_PAUSE)
            return
        self._refused.discard(CLAIM)
        self._callers = claimed.callers
        for delivery in claimed.deliveries:
            wanted[delivery.subscription] -= 1
            self._start(delivery)
        for number, count in wanted.items():
            self._desks[number].give_back(count)
            self._desks[number].claiming = False
            self._expect(number, claimed.next_due[number])
        if claimed.callers and claimed.deliveries:
            await asyncio.sleep(BREATH)

    def _start(self, delivery: Delivery) -> None:
        desk = self._desks[delivery.subscription]
        desk.start()
        self._flying.add(delivery.subscription)
        if self._stopping:
            return  # nobody would wait for its end: it stays leased, and is due at the next start
        task = asyncio.create_task(self._deliver(desk, delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, desk: Desk, delivery: Delivery) -> None:
        started = self._clock()
        try:
            outcome = await self._sender.send(desk.subscription, delivery)
        except asyncio.CancelledError as error:
            failure, detail = Failure.INTERRUPTED, "cut off by a stop of the gateway"
            if not self._stopping:  # a bug: as interrupted it would be due at once, for ever
                failure, detail = Failure.INTERNAL, f"a bug: {error!r}"
            outcome = _failed(started, self._clock(), failure, detail)
        except Exception as error:
            # One poisonous delivery must not end the others: it fails like any attempt.
            logger.exception("delivery dl_%d met a bug", delivery.id)
            outcome = _failed(started, self._clock(), Failure.INTERNAL, f"a bug: {error!r}")
        desk.busy -= 1
        if not desk.busy:
            self._flying.discard(delivery.subscription)
        self._outcomes.append(self._judged(desk, delivery, outcome))
        if self._settling is None:
            self._settling = asyncio.create_task(self._settle())
        if desk.next_due is not None:
            self._wake.set()

    def _judged(self, desk: Desk, delivery: Delivery, outcome: Outcome) -> Settlement:
        try:
            return self._judge.settlement(desk, delivery, outcome)
        except Exception:
            # What was sent must be recorded, or it stays leased until the next start.
            logger.exception("what came of dl_%d met a bug", delivery.id)
            again = Decision(step=Step.RETRY, due=Millis(self._clock() + AFTER_BUG))
            return Settlement(delivery=delivery, outcome=outcome, decision=again)

    async def _settle(self) -> None:
        """Write outcomes until there are none; on a store that fails they are kept and tried again."""
        while self._outcomes or self._stale:
            try:
                if self._outcomes:
                    await self._record()
                if self._stale:
                    await self._changed()
            except Unavailable as error:
                self._complain(RECORD, error)
                await asyncio.sleep(STORE_PAUSE)
            except Exception:
                # Whatever it is, recording must go on: nobody would miss it.
                logger.exception("what follows from attempts met a bug")
                await asyncio.sleep(STORE_PAUSE)
            else:
                self._refused.discard(RECORD)
        self._settling = None

    def _outcomes_wait(self) -> bool:
        """Whether what came of earlier attempts has to be recorded before another one starts."""
        return RECORD in self._refused or len(self._outcomes) > UNSETTLED

    def _complain(self, what: str, error: Unavailable) -> None:
        """Once, until it is taken again: a disk may stay full for a night."""
        if what not in self._refused:
            self._refused.add(what)
            logger.warning("cannot %s: %s", what, error)

    async def _record(self) -> None:
        settlements, self._outcomes = self._outcomes, []
        try:
            await self._queue.settle(settlements)
        except Unavailable:
            self._outcomes = settlements + self._outcomes
            raise
        except Exception:
            # One attempt that cannot be written must not end the recording of all others.
            logger.exception("a bug kept %d attempts from being recorded", len(settlements))
            self._outcomes = await self._record_each(settlements) + self._outcomes
        for settlement in settlements:
            decision = settlement.decision
            self._stale |= decision.step in {Step.GONE, Step.PAUSE}
            if decision.hold is not None:  # again: a refresh may have been read before it
                desk = self._desks.get(settlement.delivery.subscription)
                if desk is not None:
                    desk.hold_until = max(desk.hold_until, decision.hold)

    async def _record_each(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        """One by one, and without its details the one that is at fault; what the store refused."""
        left = []
        for settlement in settlements:
            for attempt in (settlement, _bare(settlement)):
                try:
                    await self._queue.settle([attempt])
                except Unavailable:
                    left.append(settlement)
                except Exception:
                    logger.exception("dl_%d cannot be recorded", settlement.delivery.id)
                    continue
                break
        return left

    async def _changed(self) -> None:
        """Let the catalog see new states, and end what reached a subscription that became gone."""
        await self._refresh()
        gone = {number for number, desk in self._desks.items() if desk.state == "gone"}
        for number in gone - self._gone:
            await self._queue.bury(number, "gone", self._clock())
        self._gone, self._stale = gone, False

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
        if self._settling is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._settling, 5)


def _bare(settlement: Settlement) -> Settlement:
    """What it comes to, without the texts of others and without events."""
    outcome, decision = settlement.outcome, settlement.decision
    return Settlement(
        delivery=settlement.delivery,
        outcome=replace(
            outcome, detail="its details could not be recorded", address=None, head=b""
        ),
        decision=replace(decision, reason=str(decision.step)),
    )


def _failed(started: Millis, ended: Millis, failure: Failure, detail: str) -> Outcome:
    return Outcome(started_at=started, duration=ended - started, failure=failure, detail=detail)
