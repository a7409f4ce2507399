"""Host names to addresses, by the system's resolver, on threads of its own.

The resolver blocks, and a name whose servers are silent blocks it for half a minute. The loop's few
threads would soon all wait for such names, and with them every other subscription. So each name
that is being looked up has one thread, however many deliveries wait for it. When too many names are
looked up, further ones wait until one of these is done, or until nobody wants them any more.
"""

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

MOST = 200  # names that are looked up at the same time

Lookup = Callable[..., Sequence[tuple[Any, ...]]]
Found = list[str] | OSError | UnicodeError


class SystemResolver:
    """A `Resolver`; `lookup` is `socket.getaddrinfo` but for tests. Answers are not remembered."""

    def __init__(self, lookup: Lookup = socket.getaddrinfo) -> None:
        self._lookup = lookup
        self._flying: dict[str, asyncio.Future[Found]] = {}
        self._queue: dict[str, asyncio.Future[Found]] = {}  # without a place yet, the oldest first
        self._wanted: Counter[str] = Counter()  # how many wait for each

    async def __call__(self, host: str, port: int) -> list[str]:  # noqa: ARG002
        """The addresses of `host`; raises `OSError`, `UnicodeError`.

        It may take for ever: the caller has the deadline.
        """
        asked = self._flying.get(host) or self._queue.get(host)
        if asked is None:
            asked = self._queue[host] = asyncio.get_running_loop().create_future()
            self._start()
        self._wanted[host] += 1
        try:
            found = await asyncio.shield(asked)  # who gives up waiting takes it from nobody else
        finally:
            self._leave(host)
        if isinstance(found, Exception):
            raise found
        return found

    def _leave(self, host: str) -> None:
        self._wanted[host] -= 1
        if not self._wanted[host]:
            del self._wanted[host]
            self._queue.pop(host, None)  # a place is for those who still want it

    def _start(self) -> None:
        """Give free places to names that wait for one."""
        while self._queue and len(self._flying) < MOST:
            host = next(iter(self._queue))
            self._flying[host] = self._queue.pop(host)
            # A daemon: the end of the process does not wait for a name server.
            threading.Thread(
                target=self._work,
                args=(asyncio.get_running_loop(), host),
                name=f"resolve-{host[:40]}",
                daemon=True,
            ).start()

    def _work(self, loop: asyncio.AbstractEventLoop, host: str) -> None:
        found: Found
        try:
            entries = self._lookup(host, None, type=socket.SOCK_STREAM)
            found = [str(entry[4][0]) for entry in entries]
        except (OSError, UnicodeError) as error:
            found = error
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(self._done, host, found)

    def _done(self, host: str, found: Found) -> None:
        future = self._flying.pop(host)
        if not future.done():
            future.set_result(found)
        self._start()
