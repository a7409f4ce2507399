"""Host names to addresses, by the system's resolver, on threads of its own.

The resolver blocks, and a name whose servers are silent blocks it for half a minute. The loop's few
threads would soon all wait for such names, and with them every other subscription. So each name
that is being looked up has one thread, however many deliveries wait for it.
"""

import asyncio
import contextlib
import socket
import threading
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

    async def __call__(self, host: str, port: int) -> list[str]:  # noqa: ARG002
        """The addresses of `host`; raises `OSError`, `UnicodeError`."""
        flying = self._flying.get(host)
        if flying is None:
            if len(self._flying) >= MOST:
                raise OSError(f"{MOST} other names are being looked up")
            flying = self._start(host)
        found = await asyncio.shield(flying)  # who gives up waiting takes it from nobody else
        if isinstance(found, Exception):
            raise found
        return found

    def _start(self, host: str) -> "asyncio.Future[Found]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Found] = loop.create_future()
        self._flying[host] = future

        def done(found: Found) -> None:
            self._flying.pop(host, None)
            if not future.done():
                future.set_result(found)

        def work() -> None:
            found: Found
            try:
                entries = self._lookup(host, None, type=socket.SOCK_STREAM)
                found = [str(entry[4][0]) for entry in entries]
            except (OSError, UnicodeError) as error:
                found = error
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(done, found)

        # A daemon: the end of the process does not wait for a name server.
        threading.Thread(target=work, name=f"resolve-{host[:40]}", daemon=True).start()
        return future
