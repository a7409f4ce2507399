"""Asks for one order or one page at a time, reads the answer, and hands on what is new of it."""

import logging
import random
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import msgspec

from gateway.errors import AskFailed, GatewayError, Malformed, Missing
from gateway.models import Millis, Page, Query, Reply, Verdict, Watched
from gateway.operations import Operations
from gateway.orders.decide import Orders
from gateway.poller.asker import Asker
from gateway.poller.observation import Observation, PolledSource, asked_for, intake_of, observe
from gateway.poller.schedule import LONGEST_NEGLECT, MINUTE, Uniform, backoff
from gateway.stores.base import Made, Outbox, Polls, Rehearsal, Watch

NO_NUMBERS = frozenset({".", ".."})  # percent-encoding leaves them as they are
GONE_AFTER = 3  # answers in a row that an order does not exist: the first may come too early

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
    heard: Callable[[str], None]
    clock: Callable[[], Millis]
    uniform: Uniform


class RoundEnded(Exception):
    """A round cannot go on: the API refuses, is busy, or is not what it should be."""

    def __init__(self, cause: AskFailed) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Inquiry:
    """What can be asked of one source; it knows nothing of rounds."""

    def __init__(self, source: PolledSource, asker: Asker, parts: Parts) -> None:
        self.source, self.asker, self.parts = source, asker, parts
        self.since = Millis(0)  # when the orders of this account were first asked for

    def new(self, number: str, *, baseline: bool = False) -> Watch:
        """An order that nothing is known of yet, due now."""
        now = self.parts.clock()
        return Watch(
            source=self.source.name, number=number, baseline=baseline, changed_at=now, next_at=now
        )

    async def page(self, query: Query, cursor: str | None) -> tuple[Page, Reply]:
        """One page of the list; `RoundEnded` without one."""
        try:
            reply = await self.asker.ask(query)
            page = self._judged(lambda: self.source.provider.read_page(reply, cursor))
        except (AskFailed, Malformed) as error:
            raise RoundEnded(as_failure(error)) from error
        return page, reply

    async def replies(self, watch: Watch) -> Sequence[Reply]:
        """Ask for one order, and for what belongs to it. Raises `AskFailed` and `Malformed`."""
        if watch.number in NO_NUMBERS:
            raise Malformed(f"{watch.number!r} would lead to another path: it is no order's number")
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

    def _is_history(self, watch: Watch, observation: Observation) -> bool:
        """Whether an order that a list shows for the first time was there before the gateway looked.

        When it was made says so best; where the provider does not tell, or where two clocks might
        disagree, it is history as long as the first listing is not complete.
        """
        if watch.wanted or watch.seen is not None:
            return False
        made = observation.created_at
        if made is not None and abs(made - self.since) > MINUTE:
            return made < self.since
        return watch.baseline

    async def take(self, watch: Watch, replies: Sequence[Reply]) -> Found:
        """Read one order, and accept what is new of it."""
        watch = await self._as_it_stands(watch)
        observation, now = self.read(watch, replies), self.parts.clock()
        status = observation.reading.event_type
        if observation.seen == watch.seen:
            soon = now + self.source.interval // 2
            if watch.failures or (watch.next_at is not None and watch.next_at <= soon):
                asked = asked_for(self.source, watch, observation, now, self.parts.uniform)
                await self.parts.polls.put(asked)
            return Found(number=watch.number, status=status)
        rehearsal = await self.accept(
            watch, observation, baseline=self._is_history(watch, observation)
        )
        return Found(
            number=watch.number,
            status=status,
            verdict=rehearsal.verdict,
            reason=rehearsal.reason,
            events=rehearsal.made,
        )

    async def _as_it_stands(self, watch: Watch) -> Watch:
        """The order as a person may have named it while it was asked for."""
        found = await self.parts.polls.find(self.source.name, [watch.number])
        return found.get(watch.number, watch)

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
        if keep:
            self.parts.heard(self.source.name)
        if keep and rehearsal.verdict is Verdict.QUARANTINED:
            logger.warning(
                "source %s: order %s: %s", self.source.name, watch.number, rehearsal.reason
            )
        return rehearsal

    async def neglect(self, watch: Watch, error: AskFailed | Malformed) -> list[str]:
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
                changed_at=now if gone else watch.changed_at,
            )
        )
        if gone:
            return [f"order {watch.number}: {problem}; it is asked for no more"]
        return [f"order {watch.number}: {problem}"] if problem != watch.problem else []

    def _judged(self, read: Callable[[], T]) -> T:
        """What the provider makes of a reply; whatever else goes wrong in it is a bug of its own."""
        try:
            return read()
        except (AskFailed, Malformed) as error:
            error.args = (self.asker.mask(str(error)),)  # it may quote from the reply
            raise
        except Exception as error:
            name = self.source.provider.name
            logger.exception("provider %s met a bug", name)
            raise Malformed(f"a bug of provider {name}: {error!r}") from error


def as_failure(error: AskFailed | Malformed) -> AskFailed:
    """The error as one that ends a round."""
    return error if isinstance(error, AskFailed) else AskFailed(f"it cannot be read: {error}")
