"""Asks the providers that never call: one task a source, each at its own pace."""

import asyncio
import contextlib
import logging
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from random import uniform
from typing import Any, TypeVar

import msgspec

from gateway.egress.client import ApiClient
from gateway.errors import BadRequest, Conflict, GatewayError, NotFound, Unavailable, some_of
from gateway.models import Millis
from gateway.operations import Operations
from gateway.orders.decide import Orders
from gateway.poller.asker import Asker
from gateway.poller.inquiry import NO_NUMBERS, Found, Inquiry, RoundEnded
from gateway.poller.limits import Budget
from gateway.poller.observation import PolledSource
from gateway.poller.reconcile import Compared, Reconciliation
from gateway.poller.schedule import Uniform
from gateway.poller.source import SourcePoller
from gateway.providers.base import calls
from gateway.stores.base import Outbox, Poll, Polls, Watch

T = TypeVar("T")

Line = Mapping[str, object]  # of a report that is told as it is made

STORE_PAUSE = 5.0  # seconds until a round is tried again that the store did not take
LONGEST_NAME = 255  # characters of an order's id, as normalizers allow

logger = logging.getLogger("gateway.poller")


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a round ended: why it asks no more, what was wrong, and when it asks again.

    `failures` counts failed rounds in a row; `answered_at` is when the last good answer came.
    """

    source: str
    refused: str | None
    failures: int
    problem: str | None
    next_at: Millis
    asked_at: Millis | None
    answered_at: Millis | None

    @classmethod
    def of(cls, poll: Poll) -> "Ended":
        """What of the poller's state is for others to know."""
        return cls(**{name: getattr(poll, name) for name in cls.__struct_fields__})


class Poller:
    """Owns the tasks of all polled sources; `uniform` draws the jitter, `monotonic` counts seconds.

    `update` says whom to ask. `heard` is told the name of a source that has said something new.
    """

    def __init__(
        self,
        *,
        polls: Polls,
        outbox: Outbox,
        orders: Orders,
        operations: Operations,
        heard: Callable[[str], None],
        clock: Callable[[], Millis],
        monotonic: Callable[[], float] = time.monotonic,
        uniform: Uniform = uniform,
    ) -> None:
        self.polls, self.outbox, self.orders = polls, outbox, orders
        self.operations, self.heard = operations, heard
        self.clock, self.uniform = clock, uniform
        self._monotonic = monotonic
        self._sources: dict[str, SourcePoller] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._by_hand: dict[asyncio.Task[Any], str] = {}  # what is asked for, and of which source
        self._paused: Collection[str] = ()  # these have no task, and are asked by hand only
        self._guard: Callable[[asyncio.Task[None]], None] | None = None

    def _poller_of(self, source: PolledSource, client: ApiClient) -> SourcePoller:
        budget = Budget(source.requests_per_minute, clock=self._monotonic)
        return SourcePoller(Inquiry(source, Asker(client, budget, clock=self.clock), self))

    def source(self, name: str) -> SourcePoller:
        """The poller of one source; `NotFound`."""
        found = self._sources.get(name)
        if found is None:
            raise NotFound(
                f"there is no polled source {name!r} (one has a base_url and a token);"
                f" polled sources are {some_of(self._sources)}"
            )
        return found

    def start(self, guard: Callable[["asyncio.Task[None]"], None]) -> None:
        """Start a task a source; `guard` is given each, also those that `update` starts."""
        self._guard = guard
        for name in self._sources:
            self._begin(name, hurry=False)

    async def update(
        self,
        sources: Sequence[PolledSource],
        client: Callable[[str], ApiClient],
        *,
        paused: Collection[str] = (),
    ) -> None:
        """Ask these from now on; `client` makes what asks a source, for those that are new or other.

        These are asked at once, and so are those that are no more `paused`. What asks those that are
        other or gone ends first, by hand too: an answer that it had already handed on is kept.
        """
        wanted = {source.name: source for source in sources}
        ended = [
            name
            for name, known in self._sources.items()
            if name not in wanted or not _is_same(known.source, wanted[name])
        ]
        await self._end(ended)
        self._paused = paused
        await _cancelled([self._tasks.pop(name) for name in paused if name in self._tasks])
        for name, source in wanted.items():
            if name not in self._sources:
                self._sources[name] = self._poller_of(source, client(name))
            if name not in self._tasks:
                self._begin(name, hurry=True)

    async def stop(self) -> None:
        """End the tasks; an answer that is being waited for is asked for again after the start."""
        self._guard = None
        await self._end(list(self._sources))

    def _begin(self, name: str, *, hurry: bool) -> None:
        if self._guard is not None and name not in self._paused:
            run = self._run(self._sources[name], hurry=hurry)
            self._tasks[name] = asyncio.create_task(run, name=f"poller of {name}")
            self._guard(self._tasks[name])

    async def _end(self, names: Sequence[str]) -> None:
        sources = [self._sources.pop(name) for name in names]
        tasks = [self._tasks.pop(name) for name in names if name in self._tasks]
        tasks += [task for task, name in self._by_hand.items() if name in names]
        await _cancelled(tasks)
        for source in sources:
            await source.asker.close()

    async def _run(self, source: SourcePoller, *, hurry: bool) -> None:
        """Rounds without end; a refused token ends them until someone asks by hand."""
        name = source.source.name
        while True:
            try:
                if hurry:
                    await source.hurry()
                    hurry = False
                poll = await source.state()
                if poll.refused is None and poll.next_at <= self.clock():
                    await source.round()
                else:
                    await self._rest(source, poll)
            except Unavailable as error:
                logger.warning("source %s: its round was not kept: %s", name, error)
                await asyncio.sleep(STORE_PAUSE)
            except Exception:
                # Whatever it is, the other orders and the other sources must go on.
                logger.exception("the poller of %s met a bug", name)
                await asyncio.sleep(max(STORE_PAUSE, source.source.interval / 1000))

    async def _rest(self, source: SourcePoller, poll: Poll) -> None:
        """Wait until the next round is due, or until someone has changed when."""
        wait = None if poll.refused else max(poll.next_at - self.clock(), 0) / 1000
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):  # `wait_for` can lose a cancel before Python 3.12
                await source.wake.wait()
        source.wake.clear()

    async def watch(self, name: str, number: str, order: str | None) -> dict[str, object]:
        """Ask for an order from now on, as a person wishes; `NotFound`, `BadRequest`."""
        source = self.source(name)
        for text, what in ((number, "id"), (order, "order")):
            if text is not None and not (0 < len(text) <= LONGEST_NAME and text.isprintable()):
                raise BadRequest(f"{what} must have 1 to {LONGEST_NAME} printable characters")
        if number in NO_NUMBERS:
            raise BadRequest(f"{number!r} is no order's number")
        if order is not None and calls(source.source.provider):
            raise BadRequest(f"source {name} names its orders itself: leave the order out")
        now = self.clock()
        new = await self.polls.want(
            Watch(source=name, number=number, order=order, wanted=True, changed_at=now, next_at=now)
        )
        refused = await source.hurry()
        answer = {"source": name, "id": number, "order": order}
        return {**answer, "new": new, "refused": refused, "paused": name in self._paused}

    async def once(self, name: str) -> AsyncIterator[Line]:
        """One round now, even after a refusal: a line `{"found": Found}` an order, then `{"end": Ended}`.

        A line `{"error": sentence}` comes instead of the end when the store fails, or when the
        source becomes another one.
        """
        source = self.source(name)
        told: asyncio.Queue[Found | None] = asyncio.Queue()
        asking = self._asked(name, source.round(told.put_nowait, all_of_them=True))
        asking.add_done_callback(lambda _: told.put_nowait(None))
        try:
            while (found := await told.get()) is not None:
                yield {"found": found}
            if asking.cancelled():
                yield {"error": changed(name)}
            else:
                yield {"end": Ended.of(await asking)}
        except GatewayError as error:
            yield {"error": str(error)}
        except Exception as error:
            logger.exception("a round of %s met a bug", name)
            yield {"error": f"a bug of the gateway: {error!r}; its log has the details"}
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            source.wake.set()

    async def reconcile(
        self, name: str, *, since: Millis | None, emit: bool
    ) -> AsyncIterator[Line]:
        """Ask for everything once: `{"listed": bool}`, then a line `{"compared": Compared}` an order.

        A line `{"error": sentence}` ends it early when the API or the store does not let us go on,
        or when the source becomes another one.
        """
        source = self.source(name)
        run = Reconciliation(source, since=since, emit=emit)
        yield {"listed": run.listed}
        try:
            async with contextlib.aclosing(run.run()) as steps:
                while (compared := await self._step(source, steps)) is not None:
                    yield {"compared": compared}
        except (RoundEnded, GatewayError) as error:
            yield {"error": str(error)}
        except Exception as error:
            logger.exception("the reconciliation of %s met a bug", name)
            yield {"error": f"a bug of the gateway: {error!r}; its log has the details"}

    async def _step(
        self, source: SourcePoller, steps: AsyncGenerator[Compared, None]
    ) -> Compared | None:
        """The next order; None behind the last one. `Conflict` when the source is another one now."""
        name = source.source.name
        if self._sources.get(name) is not source:
            raise Conflict(changed(name))
        step = self._asked(name, anext(steps, None))
        try:
            await asyncio.wait({step})
        finally:
            step.cancel()
            await asyncio.gather(step, return_exceptions=True)
        if step.cancelled():
            raise Conflict(changed(name))
        return step.result()

    def _asked(self, name: str, work: Awaitable[T]) -> "asyncio.Task[T]":
        """Work that someone asks for, and that ends when its source does."""
        task = asyncio.create_task(_awaited(work))
        self._by_hand[task] = name
        task.add_done_callback(self._by_hand.pop)
        return task


async def _cancelled(tasks: Sequence["asyncio.Task[Any]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _awaited(work: Awaitable[T]) -> T:
    return await work


def changed(name: str) -> str:
    """What whoever asks a source by hand is told when it becomes another one meanwhile."""
    return f"source {name} was changed or removed meanwhile: ask it again"


def _is_same(source: PolledSource, other: PolledSource) -> bool:
    """Whether both are asked alike; the options of their providers are in the fingerprints."""
    return msgspec.structs.replace(source, provider=other.provider) == other
