"""Writes what came of attempts, in order of its coming, and gives leases back that were not used.

While the store fails nothing is lost: all is kept, and tried again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

from msgspec.structs import replace

from gateway.errors import Unavailable
from gateway.models import Delivery
from gateway.retries import Step
from gateway.stores.base import Queue, Settlement

logger = logging.getLogger("gateway.dispatcher")

UNSETTLED = 1_000  # outcomes that may wait for the store before no attempt is started any more
STORE_PAUSE = 1.0  # seconds between two tries of a store that failed


class Recorder:
    """`recorded` is told what was written, `changed` when a subscription became paused or gone."""

    def __init__(
        self,
        queue: Queue,
        *,
        recorded: Callable[[Sequence[Settlement]], None],
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        self._queue, self._recorded, self._changed = queue, recorded, changed
        self._outcomes: list[Settlement] = []
        self._returned: list[Delivery] = []
        self._stale = False  # whether others have yet to learn that a subscription has changed
        self._refused = False  # whether the store did not take them at the last try
        self._task: asyncio.Task[None] | None = None

    @property
    def behind(self) -> bool:
        """Whether what came of earlier attempts has to be written before another one starts."""
        return self._refused or len(self._outcomes) > UNSETTLED

    def record(self, settlement: Settlement) -> None:
        """Write it soon."""
        self._outcomes.append(settlement)
        self._start()

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """End the leases of what was not attempted, soon."""
        self._returned.extend(deliveries)
        self._start()

    async def finish(self, patience: float) -> None:
        """Write what is left, for so many seconds."""
        if self._task is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._task, patience)

    def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._write_all())

    async def _write_all(self) -> None:
        while self._outcomes or self._returned or self._stale:
            try:
                await self._write()
            except Unavailable as error:
                if not self._refused:  # once: a disk may stay full for a night
                    logger.warning("cannot record attempts: %s", error)
                self._refused = True
                await asyncio.sleep(STORE_PAUSE)
            except Exception:
                # Whatever it is, recording must go on: nobody would miss it.
                logger.exception("what follows from attempts met a bug")
                await asyncio.sleep(STORE_PAUSE)
        self._task = None

    async def _write(self) -> None:
        if self._returned:  # before the outcomes, which may end all that waits
            await self._release()
        written: list[Settlement] = []
        if self._outcomes:
            written = await self._settle()
        self._refused = False
        self._stale |= any(one.decision.step in {Step.GONE, Step.PAUSE} for one in written)
        self._recorded(written)
        if self._stale:
            await self._changed()
            self._stale = False

    async def _release(self) -> None:
        returned, self._returned = self._returned, []
        try:
            await self._queue.release(returned)
        except Unavailable:
            self._returned = returned + self._returned
            raise
        except Exception:
            logger.exception("a bug leaves %d deliveries until the next start", len(returned))

    async def _settle(self) -> list[Settlement]:
        settlements, self._outcomes = self._outcomes, []
        try:
            await self._queue.settle(settlements)
        except Unavailable:
            self._outcomes = settlements + self._outcomes
            raise
        except Exception:
            # One attempt that cannot be written must not end the recording of all others.
            logger.exception("a bug kept %d attempts from being recorded", len(settlements))
            self._outcomes = await self._settle_each(settlements) + self._outcomes
        return settlements

    async def _settle_each(self, settlements: Sequence[Settlement]) -> list[Settlement]:
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
