"""Answers that wait for news: they end when their reader leaves, or the gateway stops."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.news import Listener
from gateway.web.api.operation import Call

EVENT_STREAM = "text/event-stream"  # HTML, 9.2: server-sent events


@asynccontextmanager
async def read_by(receive: Receive, listener: Listener) -> AsyncIterator[None]:
    """While this lasts, a reader that leaves ends the listener's waiting. The body was read."""
    watching = asyncio.create_task(_watch(receive, listener))
    try:
        yield
    finally:
        watching.cancel()


async def _watch(receive: Receive, listener: Listener) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    listener.leave()


def stands(call: Call[Any, Any]) -> bool:
    """Whether the key that was let in still opens what it opened then."""
    key, gateway = call.principal.key, call.gateway
    return key is None or gateway.keyring.stands(key, gateway.clock())


class Stream(Response):
    """Sends the chunks that `chunks` makes until it ends; it owns the listener, and closes it.

    Nothing is made ahead: a chunk is asked for when the one before has left for the reader.
    """

    def __init__(
        self, listener: Listener, chunks: Callable[[Listener], AsyncGenerator[bytes]]
    ) -> None:
        super().__init__(headers={"content-type": EVENT_STREAM, "x-accel-buffering": "no"})
        del self.headers["content-length"]  # nobody knows where it ends
        self._listener, self._chunks = listener, chunks

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        with self._listener as listener:
            start = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **start})
            async with read_by(receive, listener), aclosing(self._chunks(listener)) as chunks:
                async for chunk in chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
