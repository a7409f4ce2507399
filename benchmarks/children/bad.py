"""Bad subscribers in a process of their own: they take every delivery and never answer it.

They say `{"urls": [...]}` and stay until they are ended. A dripping one sends a byte of its
answer's head a second, without an end.
"""

import asyncio
import sys
from typing import cast

import msgspec
import uvloop

_HEAD = b"HTTP/1.1 200 OK\r\nX-Drip: "
_SECOND = 1.0


class Params(msgspec.Struct, frozen=True):
    count: int
    drip: bool = False


class Bad(asyncio.Protocol):
    """One connection, whose request is not even read."""

    def __init__(self, *, drip: bool) -> None:
        self._left = _HEAD if drip else b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio.Transport.
        self._transport = cast("asyncio.Transport", transport)
        if self._left:
            self._drip()

    def _drip(self) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(self._left[:1])
        self._left = self._left[1:] or b"y"
        asyncio.get_running_loop().call_later(_SECOND, self._drip)


async def serve(params: Params) -> None:
    """Listen on as many ports of loopback, until the end."""
    loop = asyncio.get_running_loop()
    urls = []
    for _ in range(params.count):
        server = await loop.create_server(lambda: Bad(drip=params.drip), "127.0.0.1", 0)
        urls.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    print(msgspec.json.encode({"urls": urls}).decode(), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(msgspec.json.decode(sys.argv[1], type=Params)))
