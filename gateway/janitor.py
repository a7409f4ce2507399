"""What has to happen without a callback: waits end, silence is told, what is too old goes."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

import msgspec

from gateway.errors import Unavailable
from gateway.lookout import Lookout
from gateway.models import Millis
from gateway.orders.decide import Orders
from gateway.stores.answers import KEPT
from gateway.stores.base import Outbox
from gateway.stores.upkeep import Cutoffs, Removed, Upkeep

HASHES = Millis(35 * 86_400_000)  # a repeat is known as one for at least so long
COMPLAINT = 10.0  # seconds until something is tried again that the store did not take

logger = logging.getLogger("gateway.janitor")


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How long callbacks, events and attempts are kept, in milliseconds."""

    callbacks: Millis
    events: Millis
    attempts: Millis

    def cutoffs(self, now: Millis) -> Cutoffs:
        """What may go now."""
        return Cutoffs(
            callbacks=Millis(now - self.callbacks),
            hashes=Millis(now - max(HASHES, self.callbacks)),
            events=Millis(now - self.events),
            attempts=Millis(now - self.attempts),
            answers=Millis(now - KEPT),
        )


class Janitor:
    """Looks every `interval` seconds, and prunes `first` seconds after the start, then `every`.

    Between two slices it leaves the store alone for `pause` seconds.
    """

    def __init__(
        self,
        outbox: Outbox,
        orders: Orders,
        upkeep: Upkeep,
        lookout: Lookout,
        *,
        retention: Retention,
        clock: Callable[[], Millis],
        interval: float = 1.0,
        first: float = 60.0,
        every: float = 3600.0,
        pause: float = 0.05,
    ) -> None:
        self._outbox, self._orders, self._upkeep = outbox, orders, upkeep
        self._lookout, self._retention, self._clock = lookout, retention, clock
        self._interval, self._first, self._every, self._pause = interval, first, every, pause
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Work until `stop`; each kind of work goes on whatever happens to the others."""
        await asyncio.gather(
            self._repeat(self.sweep, "end the wait of unlinked facts", again=self._interval),
            self._repeat(self._lookout.look, "write what is known of sources", again=COMPLAINT),
            self._repeat(
                self.prune,
                "remove what is too old",
                again=self._first,
                first=self._first,
                every=self._every,
            ),
        )
        await _attempt(self._lookout.close, "write when sources were last heard")

    async def _repeat(
        self,
        work: Callable[[], Awaitable[object]],
        what: str,
        *,
        again: float,
        first: float | None = None,
        every: float | None = None,
    ) -> None:
        """Do it `first`, then `every` so many seconds, and `again` after a failure."""
        wait = self._interval if first is None else first
        while not await self._stops_within(wait):
            pause = self._interval if every is None else every
            wait = pause if await _attempt(work, what) else again

    async def _stops_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), seconds)
        return self._stopped.is_set()

    async def sweep(self) -> int:
        """End every wait that is over; the number of facts that wait no longer."""
        ended = 0
        while count := await self._outbox.wait_over(self._orders.wait_over, self._clock()):
            ended += count
        return ended

    async def prune(self) -> None:
        """Remove all that is too old, then give free space back to the disk; `Unavailable`."""
        cutoffs, done = self._retention.cutoffs(self._clock()), Removed(more=True)
        try:
            while done.more:
                done = _sum(done, await self._upkeep.prune(cutoffs))
                if await self._stops_within(self._pause):
                    return
        finally:
            _log(done)
        while await self._upkeep.shrink():
            if await self._stops_within(self._pause):
                return

    def stop(self) -> None:
        """Let `run` return."""
        self._stopped.set()


async def _attempt(work: Callable[[], Awaitable[object]], what: str) -> bool:
    """Whether it was done; if not, the log says why."""
    try:
        await work()
    except Unavailable as error:
        logger.warning("cannot %s: %s", what, error)
        return False
    except Exception:
        # Whatever it is, it is tried again: nobody would miss a janitor that has died.
        logger.exception("a bug: the janitor cannot %s", what)
        return False
    return True


def _sum(done: Removed, piece: Removed) -> Removed:
    return Removed(
        callbacks=done.callbacks + piece.callbacks,
        emptied=done.emptied + piece.emptied,
        events=done.events + piece.events,
        attempts=done.attempts + piece.attempts,
        more=piece.more,
    )


def _log(done: Removed) -> None:
    if done.callbacks or done.emptied or done.events or done.attempts:
        logger.info(
            "retention removed %d events with their deliveries, %d attempts and %d callbacks,"
            " and emptied %d callbacks",
            done.events,
            done.attempts,
            done.callbacks,
            done.emptied,
        )
