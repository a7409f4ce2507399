"""Ends what has an end of its own, to the second: rotated secrets, and subscriptions of test runs."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from gateway.errors import Unavailable
from gateway.models import Millis
from gateway.stores.base import Catalog, Status

logger = logging.getLogger("gateway.subscribing")

STORE_PAUSE = 1.0  # seconds between two tries of a store that failed
LONGEST_SLEEP = 60.0  # seconds; a clock that was set back is noticed after this long


class Rotations:
    """`update` is to be called with all statuses after each change of the catalog."""

    def __init__(self, catalog: Catalog, *, clock: Callable[[], Millis]) -> None:
        self._catalog, self._clock = catalog, clock
        self._wake = asyncio.Event()
        self._stopping = False

    def update(self, _: Sequence[Status]) -> None:
        """Look again: there may be another end to wait for."""
        self._wake.set()

    async def run(self) -> None:
        """Work until `stop`."""
        while not self._stopping:
            self._wake.clear()
            pause = await self._end()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)

    async def _end(self) -> float:
        """End what is over; seconds until the next one."""
        try:
            following = await self._catalog.expire(self._clock())
        except Unavailable as error:
            logger.warning("cannot end rotated secrets and test subscriptions: %s", error)
            return STORE_PAUSE
        if following is None:
            return LONGEST_SLEEP
        return min(max((following - self._clock()) / 1000, 0.0), LONGEST_SLEEP)

    def stop(self) -> None:
        """Let `run` return."""
        self._stopping = True
        self._wake.set()
