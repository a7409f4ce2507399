"""Sends a source's requests: within its budget, and never while the API wants to be left alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gateway.egress.client import ApiClient
from gateway.errors import Throttled
from gateway.models import Millis, Query, Reply
from gateway.poller.limits import Budget, pause_of, until

PATIENCE = 300_000  # ms that a reconciliation waits at most; rounds do not wait at all
TRIES = 3  # of one request, when there is time to wait out a 429


class Resting(Throttled):
    """The API has said how long it wants no more requests; keeping to it is no failure."""


class Asker:
    """All requests of one source; `sent` counts them, for who sets it back."""

    def __init__(self, client: ApiClient, budget: Budget, *, clock: Callable[[], Millis]) -> None:
        self._client, self._budget, self._clock = client, budget, clock
        self._patient = False
        self.mask = client.mask
        self.paused_until = Millis(0)
        self.sent = 0

    async def ask(self, query: Query) -> Reply:
        """One request; a pause that the API asks for holds for all that follow. Raises `AskFailed`."""
        for _ in range(TRIES):
            await self._pace()
            self.sent += 1
            reply = await self._client.ask(query)
            pause = pause_of(reply.status, reply.headers, self._clock())
            if pause is not None:
                self.paused_until = Millis(self._clock() + pause)
            if pause is None or reply.status != 429 or not self._patient or pause > PATIENCE:
                break
        return reply

    async def _pace(self) -> None:
        wait = self.paused_until - self._clock()
        if wait > 0:
            if not self._patient or wait > PATIENCE:
                raise Resting(f"it asked to be left alone until {until(self.paused_until)}")
            await self._budget.sleep(wait / 1000)
        await self._budget.take()

    @contextmanager
    def patient(self) -> Iterator[None]:
        """Wait for the end of the pauses that the API asks for, rather than end there."""
        self._patient = True
        try:
            yield
        finally:
            self._patient = False

    async def close(self) -> None:
        """Let go of the client."""
        await self._client.close()
