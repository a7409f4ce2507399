"""What has to happen without a callback: facts that have waited long enough for their order."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from gateway.errors import Unavailable
from gateway.models import Millis
from gateway.orders.decide import Orders
from gateway.stores.base import Outbox

logger = logging.getLogger("gateway.janitor")


class Janitor:
    """Looks every `interval` seconds."""

    def __init__(
        self,
        outbox: Outbox,
        orders: Orders,
        *,
        clock: Callable[[], Millis],
        interval: float = 1.0,
    ) -> None:
        self._outbox, self._orders, self._clock = outbox, orders, clock
        self._interval = interval
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Work until `stop`."""
        while not self._stopped.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), self._interval)
                return
            try:
                await self.sweep()
            except Unavailable as error:
                logger.warning("cannot end the wait of unlinked facts: %s", error)
            except Exception:
                # Whatever it is, it is tried again: nobody would miss a janitor that has died.
                logger.exception("the janitor met a bug")

    async def sweep(self) -> int:
        """End every wait that is over; the number of facts that wait no longer."""
        ended = 0
        while count := await self._outbox.wait_over(self._orders.wait_over, self._clock()):
            ended += count
        return ended

    def stop(self) -> None:
        """Let `run` return."""
        self._stopped.set()
