"""Asks one source: what is listed, what is due, and what each answer makes."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from gateway.errors import (
    AskFailed,
    Denied,
    GatewayError,
    Malformed,
    Missing,
    Throttled,
    TokenRefused,
)
from gateway.events import LATEST
from gateway.models import Event, Listed, Millis, Page, Query, Reply, Verdict, Watched
from gateway.operations import Operations
from gateway.orders.decide import Orders
from gateway.orders.state import load
from gateway.poller.asker import Asker, Resting
from gateway.poller.limits import until
from gateway.poller.observation import Observation, PolledSource, asked_for, intake_of, observe
from gateway.poller.schedule import (
    JITTER,
    LONGEST_BACKOFF,
    LONGEST_NEGLECT,
    Uniform,
    backoff,
    jittered,
)
from gateway.stores.base import Made, Outbox, Poll, Polls, Rehearsal, Watch

MINUTE = 60_000
FAILING = 4  # failed rounds in a row after which it is said
GONE_AFTER = 3  # answers in a row that an order does not exist: the first may come too early
HOPELESS = 3  # unreadable orders in a row that end a round: then it is the API, not an order
PART = 500  # entries of a page that are looked up at a time: it may have as many as it likes
ADOPTED = 500  # callbacks that are looked through at a time

T = TypeVar("T")

logger = logging.getLogger("gateway.poller")


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What asking for one order brought: its status at the provider, and what followed.

    `verdict` is `unchanged` when its facts were known; with `problem` it could not be asked or read.
    """

    number: str
    status: str = ""
    verdict: str = "unchanged"
    reason: str = ""
    events: Sequence[Made] = ()
    problem: str = ""


class Parts(Protocol):
    """What every source's poller shares; `Poller` is it."""

    polls: Polls
    outbox: Outbox
    orders: Orders
    operations: Operations
    clock: Callable[[], Millis]
    uniform: Uniform


class RoundEnded(Exception):
    """A round cannot go on: the API refuses, is busy, or is not what it should be."""

    def __init__(self, cause: AskFailed) -> None:
        super().__init__(str(cause))
        self.cause = cause


class SourcePoller:
    """The one task that asks a source; `lock` keeps its rounds from overlapping."""

    def __init__(self, source: PolledSource, asker: Asker, parts: Parts) -> None:
        self.source, self.asker, self.parts = source, asker, parts
        self.lock = asyncio.Lock()
        self.wake = asyncio.Event()
        self._poll = Poll(source=source.name, fingerprint=source.fingerprint)
        self._adopted = False
        self._good = 0  # answers of this round

    # One round.

    async def round(
        self, tell: Callable[[Found], None] = lambda _: None, *, all_of_them: bool = False
    ) -> Poll:
        """Ask for all that is due, and write where it ended; `tell` hears of every order.

        With `all_of_them` also for what is not due yet, as far as a round's budget reaches.
        """
        async with self.lock:
            self._poll, started = await self.state(), self.parts.clock()
            if not all_of_them and (self._poll.refused or self._poll.next_at > started):
                return self._poll  # a round by hand has just changed that
            self._good = self.asker.sent = 0
            problems: list[str] = []
            try:
                if not self._adopted:
                    await self._adopt()
                await self._list(tell)
                await self._ask_due(Millis(LATEST) if all_of_them else None, tell, problems)
            except RoundEnded as ended:
                if not isinstance(ended.cause, Resting):
                    await self._failed(ended.cause)
                    return self._poll
            for problem in problems:
                logger.warning("source %s: %s", self.source.name, problem)
            await self._ended(started)
            return self._poll

    async def _ended(self, started: Millis) -> None:
        """Write that the round went through; only an answer shows that the API is well."""
        now, pace = self.parts.clock(), jittered(self.source.interval, self.parts.uniform)
        changes: dict[str, Any] = {"next_at": max(self.asker.paused_until, Millis(started + pace))}
        if self.asker.sent:
            changes["asked_at"] = now
        if self._good:
            changes |= {"refused": None, "failures": 0, "problem": None, "answered_at": now}
        await self._save(**changes)

    async def state(self) -> Poll:
        """Where the poller was; another configuration lifts a refusal and reads all orders anew."""
        source = self.source
        poll = await self.parts.polls.state(source.name)
        if poll is None:
            return Poll(source=source.name, fingerprint=source.fingerprint)
        if poll.fingerprint != source.fingerprint:
            await self.parts.polls.refresh(source.name, self.parts.clock())
            poll = Poll(
                source=source.name,
                fingerprint=source.fingerprint,
                listed=poll.listed,
                adopted=poll.adopted,
            )
            await self.parts.polls.save(poll)
        return poll

    async def hurry(self) -> None:
        """Begin the next round now, unless one is under way, or the API is to be left alone."""
        poll = await self.state()
        if self.lock.locked() or poll.failures or poll.refused:
            return
        now = Millis(max(self.parts.clock(), self.asker.paused_until))
        await self.parts.polls.save(msgspec.structs.replace(poll, next_at=now))
        self.wake.set()

    async def _save(self, events: Sequence[Event] = (), **changes: Any) -> None:
        self._poll = msgspec.structs.replace(self._poll, **changes)
        await self.parts.polls.save(self._poll, events)

    async def _failed(self, cause: AskFailed) -> None:
        """Back off, and say so: a refused token at once, all else when it lasts."""
        now, name, known = self.parts.clock(), self.source.name, self._poll
        failures, reason = known.failures + 1, str(cause)
        refused = reason if isinstance(cause, TokenRefused) else known.refused
        wait = backoff(
            failures,
            interval=self.source.interval,
            longest=LONGEST_BACKOFF,
            uniform=self.parts.uniform,
        )
        again = Millis(max(now + wait, self.asker.paused_until))
        news = known.refused is None and (refused is not None or failures == FAILING)
        await self._save(
            [self.parts.operations.source_failing(name, reason)] if news else (),
            refused=refused,
            failures=failures,
            problem=reason,
            next_at=again,
            asked_at=now,
        )
        if refused is not None:
            then = "it is asked no more until its configuration changes"
            logger.error("source %s: %s; %s", name, reason, then)
        else:
            logger.warning("source %s: %s; it is asked again at %s", name, reason, until(again))

    # Which orders.

    async def _adopt(self) -> None:
        """Watch the orders that this source's callbacks told of before it was polled.

        Once a start is enough: the receiver adds what callbacks tell of from then on.
        """
        provider = self.source.provider.name

        def numbers_of(state: bytes) -> Sequence[str]:
            return load(state).ids.get(provider, [])

        while True:
            last, numbers = await self.parts.polls.adopt(
                self.source.name, after=self._poll.adopted, limit=ADOPTED, numbers_of=numbers_of
            )
            if last == self._poll.adopted:
                self._adopted = True
                return
            await self.parts.polls.watch([self.new(number) for number in numbers])
            await self._save(adopted=last)

    def new(self, number: str, *, baseline: bool = False) -> Watch:
        """An order that nothing is known of yet, due now."""
        now = self.parts.clock()
        return Watch(
            source=self.source.name, number=number, baseline=baseline, changed_at=now, next_at=now
        )

    async def _list(self, tell: Callable[[Found], None]) -> None:
        """Go on with the list, page by page: the first time as far as a round's budget reaches.

        Later a quarter of it must do, so that long lists leave room for the orders themselves.
        """
        pages = self._round_size() // 4 if self._poll.listed else self._round_size()
        seen: set[str] = set()
        for _ in range(max(1, pages)):
            cursor = self._poll.cursor
            query = self.source.provider.page(cursor)
            if query is None:
                return
            try:
                page, reply = await self.page(query, cursor)
            except RoundEnded as ended:
                # A cursor may have expired: when it fails twice, the next round begins anew.
                if self._poll.failures and not isinstance(ended.cause, Throttled):
                    await self._save(cursor=None)
                raise
            for start in range(0, len(page.orders), PART):
                await self._take_part(page.orders[start : start + PART], reply, tell)
            numbers = {entry.number for entry in page.orders}
            # A list that repeats itself has no next page, whatever it says.
            repeats = page.cursor == cursor or (bool(numbers) and numbers <= seen)
            last = page.cursor is None or repeats
            seen |= numbers
            following = None if last else page.cursor
            await self._save(cursor=following, listed=self._poll.listed or last)
            if last:
                return

    async def page(self, query: Query, cursor: str | None) -> tuple[Page, Reply]:
        """One page of the list; `RoundEnded` without one."""
        try:
            reply = await self.asker.ask(query)
            page = self._judged(lambda: self.source.provider.read_page(reply, cursor))
        except Denied as error:
            raise RoundEnded(TokenRefused(f"the list of orders: {error}")) from error
        except (AskFailed, Malformed) as error:
            raise RoundEnded(_as_failure(error)) from error
        self._good += 1
        return page, reply

    async def _take_part(
        self, listed: Sequence[Listed], reply: Reply, tell: Callable[[Found], None]
    ) -> None:
        """Watch what is new; an entry that says all is read at once."""
        numbers = [entry.number for entry in listed]
        known = dict(await self.parts.polls.find(self.source.name, numbers))
        new = [
            self.new(number, baseline=not self._poll.listed)
            for number in dict.fromkeys(numbers)
            if number not in known
        ]
        await self.parts.polls.watch(new)
        known |= {watch.number: watch for watch in new}
        for entry in listed:
            if entry.body is None:
                continue
            found = msgspec.structs.replace(reply, status=200, body=entry.body)
            try:
                if not self.more(found):
                    tell(await self._take(known[entry.number], [found]))
            except (AskFailed, Malformed) as error:
                tell(Found(number=entry.number, problem=str(error)))  # it is asked for by itself

    async def _ask_due(
        self, end: Millis | None, tell: Callable[[Found], None], problems: list[str]
    ) -> None:
        """Ask for what is due before `end`: by default half an interval ahead.

        So nothing that a jitter put right behind a round has to wait for the one after it.
        """
        if end is None:
            end = Millis(self.parts.clock() + self.source.interval // 2)
        room = max(1, self._round_size() - self.asker.sent)
        failed: list[tuple[Watch, AskFailed | Malformed]] = []
        in_a_row = 0
        for watch in await self.parts.polls.due(self.source.name, end, room):
            try:
                tell(await self._take(watch, await self.replies(watch)))
            except (TokenRefused, Throttled) as error:
                raise RoundEnded(error) from error
            except (AskFailed, Malformed) as error:
                tell(Found(number=watch.number, problem=str(error)))
                # That an order is missing, or another's, is an answer like any other.
                if not isinstance(error, Missing | Denied):
                    failed.append((watch, error))
                    in_a_row += 1
                    if in_a_row == HOPELESS:
                        break
                    continue
                problems += await self._neglect(watch, error)
            self._good, in_a_row = self._good + 1, 0
        await self._judge(failed, problems, hopeless=in_a_row == HOPELESS)

    async def _judge(
        self,
        failed: Sequence[tuple[Watch, AskFailed | Malformed]],
        problems: list[str],
        *,
        hopeless: bool,
    ) -> None:
        """Say whose fault it was: the orders', which are asked less, or the API's (`RoundEnded`).

        When it was the API's, no order is neglected for it: a day without the API would cost
        each of them another day. They only go behind those that are asked once an interval.
        """
        new = [error for watch, error in failed if not watch.failures]
        down = not self._good and (hopeless or any(isinstance(error, AskFailed) for error in new))
        behind = Millis(self.parts.clock() + int(self.source.interval * (1 + JITTER)))
        for watch, error in failed:
            if down:
                await self.parts.polls.put(msgspec.structs.replace(watch, next_at=behind))
            else:
                problems += await self._neglect(watch, error)
        if down or hopeless:
            raise RoundEnded(_as_failure(failed[-1][1]))

    def _round_size(self) -> int:
        """How many requests the budget allows between two rounds."""
        return max(1, self.source.requests_per_minute * self.source.interval // MINUTE)

    # One order.

    async def replies(self, watch: Watch) -> Sequence[Reply]:
        """Ask for one order, and for what belongs to it. Raises `AskFailed` and `Malformed`."""
        first = await self.asker.ask(self.source.provider.order(watch.number))
        more = self.more(first)
        return [first, *[await self.asker.ask(query) for query in more]]

    def more(self, reply: Reply) -> Sequence[Query]:
        """What else must be asked before the order can be read."""
        return self._judged(lambda: self.source.provider.more(reply))

    def read(self, watch: Watch, replies: Sequence[Reply]) -> Observation:
        """What the replies say. Raises `AskFailed` and `Malformed`, a bug of the provider's too."""
        watched = Watched(number=watch.number, order=watch.order)
        reading = self._judged(lambda: self.source.provider.read(watched, replies))
        return observe(reading, replies, watch)

    async def _take(self, watch: Watch, replies: Sequence[Reply]) -> Found:
        """Read one order, and accept what is new of it."""
        observation, now = self.read(watch, replies), self.parts.clock()
        status = observation.reading.event_type
        if observation.seen == watch.seen:
            soon = now + self.source.interval // 2
            if watch.failures or (watch.next_at is not None and watch.next_at <= soon):
                asked = asked_for(self.source, watch, observation, now, self.parts.uniform)
                await self.parts.polls.put(asked)
            return Found(number=watch.number, status=status)
        rehearsal = await self.accept(watch, observation, baseline=watch.baseline)
        return Found(
            number=watch.number,
            status=status,
            verdict=rehearsal.verdict,
            reason=rehearsal.reason,
            events=rehearsal.made,
        )

    async def accept(
        self, watch: Watch, observation: Observation, *, baseline: bool, keep: bool = True
    ) -> Rehearsal:
        """Hand an observation to the outbox, together with when the order is asked for again."""
        now = self.parts.clock()
        intake = intake_of(
            self.source,
            observation,
            recorded=now,
            traceparent=f"00-{random.randbytes(16).hex()}-{random.randbytes(8).hex()}-01",  # noqa: S311
            watch=asked_for(self.source, watch, observation, now, self.parts.uniform),
            baseline=baseline,
        )
        decide = self.parts.orders.decide
        try:
            rehearsal = await self.parts.outbox.rehearse(intake, decide, keep=keep)
        except GatewayError:
            raise
        except Exception as error:
            # Whatever it is, the other orders must go on.
            logger.exception("a bug kept order %s from being written", watch.number)
            raise Malformed(f"a bug of the gateway: {error!r}") from error
        if keep and rehearsal.verdict is Verdict.QUARANTINED:
            logger.warning(
                "source %s: order %s: %s", self.source.name, watch.number, rehearsal.reason
            )
        return rehearsal

    async def _neglect(self, watch: Watch, error: AskFailed | Malformed) -> list[str]:
        """Ask for this order less, or no more; a sentence for the log when it is news."""
        failures, now = watch.failures + 1, self.parts.clock()
        gone = isinstance(error, Missing) and failures >= GONE_AFTER
        wait = backoff(
            failures,
            interval=self.source.interval,
            longest=LONGEST_NEGLECT,
            uniform=self.parts.uniform,
        )
        problem = str(error)
        await self.parts.polls.put(
            msgspec.structs.replace(
                watch,
                failures=failures,
                problem=problem,
                next_at=None if gone else Millis(now + wait),
            )
        )
        if gone:
            return [f"order {watch.number}: {problem}; it is asked for no more"]
        return [f"order {watch.number}: {problem}"] if problem != watch.problem else []

    def _judged(self, read: Callable[[], T]) -> T:
        """What the provider makes of a reply; whatever else goes wrong in it is a bug of its own."""
        try:
            return read()
        except (AskFailed, Malformed):
            raise
        except Exception as error:
            name = self.source.provider.name
            logger.exception("provider %s met a bug", name)
            raise Malformed(f"a bug of provider {name}: {error!r}") from error


def _as_failure(error: AskFailed | Malformed) -> AskFailed:
    return error if isinstance(error, AskFailed) else AskFailed(f"it cannot be read: {error}")
