"""Sends past events again, slice by slice: replay jobs, and history for new subscriptions.

Everything it does is written together with how far it is, so it goes on there after a restart.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

from gateway.errors import Unavailable
from gateway.models import Millis
from gateway.stores.base import Status
from gateway.stores.replaying import Chosen, Replay, Replays

logger = logging.getLogger("gateway.replayer")

PAUSE = 0.02  # seconds between two slices, in which whoever else writes has its turn
STORE_PAUSE = 1.0  # seconds before a store that failed is tried again


class Replayer:
    """`refresh` is asked for after the history of a subscription was told."""

    def __init__(
        self,
        replays: Replays,
        *,
        clock: Callable[[], Millis],
        refresh: Callable[[], Awaitable[object]],
        pause: float = PAUSE,
    ) -> None:
        self._replays, self._clock, self._refresh = replays, clock, refresh
        self._pause = pause
        self._behind: set[int] = set()  # subscriptions that catch up
        self._stale = False  # whether the catalog has yet to see that one has caught up
        self._faulty: set[tuple[str, int]] = set()
        self._wake = asyncio.Event()
        self._stopped = asyncio.Event()

    def update(self, statuses: Sequence[Status]) -> None:
        """Take over the catalog: who catches up, and may have deliveries made."""
        self._behind = {
            status.subscription.id
            for status in statuses
            if status.catching_up and status.subscription.enabled and status.state != "gone"
        }
        self._wake.set()

    async def start(self, chosen: Chosen) -> Replay:
        """Begin a job; `NotFound`, `Unavailable`."""
        replay = await self._replays.start(chosen, self._clock())
        self._wake.set()
        return replay

    async def run(self) -> None:
        """Work until `stop`."""
        while not self._stopped.is_set():
            self._wake.clear()
            try:
                busy = await self._round()
            except Unavailable as error:
                logger.warning("cannot go on with what is sent again: %s", error)
                await self._rest(STORE_PAUSE)
                continue
            if not busy:
                await self._wake.wait()

    def stop(self) -> None:
        """Let `run` return after the slice that is being done."""
        self._stopped.set()
        self._wake.set()

    async def _round(self) -> bool:
        """One slice of each job and each history; whether there was anything to do."""
        jobs = [("job", replay.id) for replay in await self._replays.unfinished()]
        work = [
            one
            for one in (*jobs, *(("history", number) for number in sorted(self._behind)))
            if one not in self._faulty
        ]
        for one in work:
            await self._slice(*one)
            await self._rest(self._pause)
            if self._stopped.is_set():
                break
        if self._stale and not self._stopped.is_set():
            await self._refresh()
            self._stale = False
        return bool(work)

    async def _slice(self, kind: str, number: int) -> None:
        try:
            if kind == "job":
                await self._replays.step(number, self._clock())
            elif not await self._replays.catch_up(number, self._clock()):
                self._behind.discard(number)
                self._stale = True
        except Unavailable:
            raise
        except Exception:
            # A job is met again at each start: one that cannot be done must not end the process.
            logger.exception(
                "%s %d met a bug, and is left alone until the next start", kind, number
            )
            self._faulty.add((kind, number))

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), seconds)
