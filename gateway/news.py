"""Wakes whoever waits for something new: streams of events, and consumers that fetch theirs.

The store tells it after each commit. It says only that there is something: what it is, everybody
reads from the store, so that a listener which missed a hint has missed nothing.
"""

import asyncio
import contextlib
from collections.abc import Collection
from typing import Self

from gateway.errors import Unavailable

MOST = 100  # listeners at the same time: each holds a connection
MOST_OF_A_KEY = 20  # of these, so that one API key cannot take all places
SPACING = 0.05  # seconds between two wake-ups: what is committed meanwhile is read together
BUSY = 5  # seconds after which it may be tried again


class Listener:
    """One who waits, in a `with` block. `subscription` is whose deliveries it waits for; None: events.

    `key` is the API key that it came with; None: the owner's.
    """

    def __init__(self, news: "News", subscription: int | None, key: str | None) -> None:
        self._news, self.subscription, self.key = news, subscription, key
        self._heard = asyncio.Event()
        self._left = False

    @property
    def over(self) -> bool:
        """Whether there is nothing to wait for any more: the gateway stops, or nobody reads."""
        return self._left or self._news.closed

    def clear(self) -> None:
        """Forget what was heard; to be called before the store is read, so that nothing is missed."""
        if not self.over:
            self._heard.clear()

    def hear(self) -> None:
        """Wake it."""
        self._heard.set()

    def leave(self) -> None:
        """Wake it for good: nobody reads what it would say."""
        self._left = True
        self._heard.set()

    async def wait(self, seconds: float) -> None:
        """Wait until something is new, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._heard.wait()

    def close(self) -> None:
        """Make room for another one."""
        self._news.forget(self)

    def __enter__(self) -> Self:
        """It listens since it was made."""
        return self

    def __exit__(self, *_: object) -> None:
        """See `close`."""
        self.close()


class News:
    """Belongs to one event loop. `listened` says whether anybody listens: if not, nothing is told.

    `count` grows with all that is told: who reads after it was told reads at least that.
    """

    def __init__(
        self, *, spacing: float = SPACING, most: int = MOST, of_a_key: int = MOST_OF_A_KEY
    ) -> None:
        self._spacing, self._most, self._of_a_key = spacing, most, of_a_key
        self._listeners: set[Listener] = set()
        self._pulled: set[int] = set()  # subscriptions of which something is new
        self._published = False  # whether events are
        self._due: asyncio.TimerHandle | None = None
        self._woken = float("-inf")  # when, by the loop's clock
        self.count = 0
        self.listened = False
        self.closed = False

    def listen(self, subscription: int | None = None, *, key: str | None = None) -> Listener:
        """A new listener; `Unavailable` when there are too many, also of this key, or at a stop."""
        if self.closed:
            raise Unavailable("the gateway is stopping", retry_after=BUSY)
        if len(self._listeners) >= self._most:
            raise Unavailable(
                f"{self._most} streams and waiting requests are open: end some, or try again",
                retry_after=BUSY,
            )
        if key is not None and sum(one.key == key for one in self._listeners) >= self._of_a_key:
            raise Unavailable(
                f"this key has {self._of_a_key} streams and waiting requests open, as many as one"
                " may have: end some, or try again",
                retry_after=BUSY,
            )
        listener = Listener(self, subscription, key)
        self._listeners.add(listener)
        self.listened = True
        self.count += 1  # of what was committed while nobody listened, nothing was told
        return listener

    def forget(self, listener: Listener) -> None:
        """Wake this one no more."""
        self._listeners.discard(listener)
        self.listened = bool(self._listeners)

    def tell(self, *, published: bool, pulled: Collection[int]) -> None:
        """Something was committed: events, or deliveries of these subscriptions that are fetched."""
        self.count += 1
        self._published |= published
        self._pulled.update(pulled)
        if self._due is None:
            loop = asyncio.get_running_loop()
            wait = self._woken + self._spacing - loop.time()
            self._due = loop.call_later(max(wait, 0.0), self._wake)

    def _wake(self) -> None:
        self._due, self._woken = None, asyncio.get_running_loop().time()
        for listener in self._listeners:
            number = listener.subscription
            if self._published if number is None else number in self._pulled:
                listener.hear()
        self._published = False
        self._pulled.clear()

    def close(self) -> None:
        """End all waiting, at once and for good."""
        self.closed = True
        if self._due is not None:
            self._due.cancel()
            self._due = None
        for listener in self._listeners:
            listener.hear()
