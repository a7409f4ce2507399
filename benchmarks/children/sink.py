"""A cheap receiver in a process of its own: it takes every delivery, and checks them afterwards.

Commands come on stdin, one a line; each is answered with one line of JSON: `expect N` when N
different events have come, `verify FILE` with the counts and the arrival times by id in FILE,
`reset`, which forgets all. The end of stdin ends it. Nothing is checked while deliveries arrive,
so that the sink does not take the CPU that is being measured.
"""

import asyncio
import binascii
import hmac
import re
import sys
import time
from pathlib import Path
from typing import cast

import msgspec
import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_FIELDS = {
    name: re.compile(rb"\r\nwebhook-%b: *([^\r]+)" % name, re.IGNORECASE)
    for name in (b"id", b"timestamp", b"signature")
}
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


class Params(msgspec.Struct, frozen=True):
    port: int
    key: str  # of the subscription, without `whsec_`, base64


class Seen:
    """What arrived: (monotonic nanoseconds, head, body) of each request."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.requests: list[tuple[int, bytes, bytes]] = []
        self.waiting: tuple[int, asyncio.Event] | None = None

    def add(self, head: bytes, body: bytes) -> None:
        self.requests.append((time.monotonic_ns(), head, body))
        if self.waiting and len(self.requests) >= self.waiting[0]:
            self.waiting[1].set()

    async def expect(self, count: int) -> dict[str, int]:
        """Wait until this many different ids have come; a repeat makes the wait longer, not wrong."""
        missing = count - len(self._arrivals())
        while missing > 0:
            event = asyncio.Event()
            self.waiting = (len(self.requests) + missing, event)
            await event.wait()
            missing = count - len(self._arrivals())
        self.waiting = None
        return {"requests": len(self.requests)}

    def verify(self, path: str) -> dict[str, int]:
        """Check every signature; write `{webhook-id: [nanoseconds, ...]}`."""
        invalid = sum(1 for _, head, body in self.requests if not self._authentic(head, body))
        Path(path).write_bytes(msgspec.json.encode(self._arrivals()))
        return {"requests": len(self.requests), "invalid": invalid}

    def _arrivals(self) -> dict[str, list[int]]:
        arrivals: dict[str, list[int]] = {}
        for at, head, _ in self.requests:
            arrivals.setdefault(_field(b"id", head).decode("latin-1"), []).append(at)
        return arrivals

    def _authentic(self, head: bytes, body: bytes) -> bool:
        content = b"%b.%b.%b" % (_field(b"id", head), _field(b"timestamp", head), body)
        expected = binascii.b2a_base64(hmac.digest(self._key, content, "sha256"), newline=False)
        return b"v1," + expected in _field(b"signature", head).split(b" ")


def _field(name: bytes, head: bytes) -> bytes:
    found = _FIELDS[name].search(head)
    return found[1] if found else b""


class Receiver(asyncio.Protocol):
    """One keep-alive connection; a body needs a length, as every delivery has one."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio.Transport.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            length = _LENGTH.search(self._buffer, 0, end) if end >= 0 else None
            if end < 0 or len(self._buffer) < (whole := end + 4 + int(length[1] if length else 0)):
                return
            self._seen.add(self._buffer[:end], self._buffer[end + 4 : whole])
            self._buffer = self._buffer[whole:]
            self._transport.write(_ANSWER)


async def serve(params: Params) -> None:
    """Listen on loopback and follow the commands until stdin ends."""
    loop = asyncio.get_running_loop()
    seen = Seen(binascii.a2b_base64(params.key))
    server = await loop.create_server(lambda: Receiver(seen), "127.0.0.1", params.port)
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    _say({"ready": True})
    while line := await commands.readline():
        name, _, argument = line.decode().strip().partition(" ")
        if name == "expect":
            _say(await seen.expect(int(argument)))
        elif name == "verify":
            _say(seen.verify(argument))
        else:
            seen.requests.clear()
            _say({"requests": 0})
    server.close()


def _say(answer: object) -> None:
    print(msgspec.json.encode(answer).decode(), flush=True)


if __name__ == "__main__":
    uvloop.run(serve(msgspec.json.decode(sys.argv[1], type=Params)))
