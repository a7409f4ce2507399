"""What a response is written to: its head waits for the body, so that both leave in one packet.

uvicorn writes them apart, which costs a second system call, and a second packet at the client.
"""

import asyncio
from collections.abc import Callable

HEAD = b"HTTP/1."


class Wire:
    """The part of a transport that uvicorn's response cycle uses; `finish` is its `close`."""

    __slots__ = ("_finish", "_held", "_loop", "_transport", "is_closing")

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        finish: Callable[[], None],
    ) -> None:
        self._transport, self._loop, self._finish = transport, loop, finish
        self._held = b""
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Write at once, but for a head: that goes with what follows, or alone in the next turn."""
        if self._held:
            data, self._held = self._held + data, b""
        elif data.startswith(HEAD):
            self._held = data
            self._loop.call_soon(self.flush)
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Write a head whose body has not come yet."""
        if self._held:
            held, self._held = self._held, b""
            if not self._transport.is_closing():
                self._transport.write(held)

    def close(self) -> None:
        """End the response."""
        self.flush()
        self._finish()
