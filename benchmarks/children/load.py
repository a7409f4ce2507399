"""The senders, in a process of their own: bodies are made and signed before the clock starts.

Closed loop (`rate` 0): each sender has one request open at a time. Open loop: requests start at a
fixed rate, whatever the answers do. It says `{"ready": true}`, starts when a line comes on stdin,
writes the `Log` to `out` and ends. Times are CLOCK_MONOTONIC, so that they compare with the sink's.
"""

import asyncio
import re
import sys
import time
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from benchmarks import traffic

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Params(msgspec.Struct, frozen=True):
    port: int
    run: str
    count: int
    senders: int
    out: str
    rate: float = 0.0  # a second


class Log(msgspec.Struct):
    """What each request met, by its number: nanoseconds, HTTP status and the answer's body."""

    sent: list[int]
    answered: list[int]
    statuses: list[int]
    answers: list[bytes]
    late: float = 0.0  # seconds; the furthest an open-loop request started behind its time


class Load:
    """Deals the requests out and keeps the log."""

    def __init__(self, requests: list[bytes]) -> None:
        count = len(requests)
        self.log = Log(
            sent=[0] * count, answered=[0] * count, statuses=[0] * count, answers=[b""] * count
        )
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.idle: asyncio.Queue[Sender] = asyncio.Queue()
        self.closed_loop = True
        self._requests = requests
        self._next = 0
        self._open = count

    def next(self, sender: "Sender") -> None:
        """Give this sender the next request, if there is one."""
        if self._next >= len(self._requests):
            return
        number = self._next
        self._next += 1
        sender.send(number, self._requests[number])
        self.log.sent[number] = time.monotonic_ns()

    def answered(self, sender: "Sender", number: int, status: int, body: bytes) -> None:
        """Note the whole answer and, in the closed loop, go on at once."""
        self.log.answered[number] = time.monotonic_ns()
        self.log.statuses[number] = status
        self.log.answers[number] = body
        self._open -= 1
        if not self._open:
            self.finished.set_result(None)
        elif self.closed_loop:
            self.next(sender)
        else:
            self.idle.put_nowait(sender)

    def failed(self, why: str) -> None:
        """A load that lost a connection measures nothing: end it."""
        if not self.finished.done():
            self.finished.set_exception(ConnectionError(why))


class Sender(asyncio.Protocol):
    """One keep-alive connection with at most one request in flight."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._number = -1
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio.Transport.
        self._transport = cast("asyncio.Transport", transport)

    def send(self, number: int, request: bytes) -> None:
        self._number = number
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        length = _LENGTH.search(self._buffer, 0, end + 2) if end >= 0 else None
        if end < 0 or len(self._buffer) < end + 4 + int(length[1] if length else 0):
            return
        status, body = int(self._buffer[9:12]), self._buffer[end + 4 :]
        self._buffer = b""
        self._load.answered(self, self._number, status, body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.failed(f"the server closed a connection at request {self._number}: {exc}")


async def run(params: Params) -> Log:
    """Prepare, wait for the word, send all, and return what was met."""
    at = int(time.time())
    load = Load(
        [traffic.request(params.run, n, at=at, port=params.port) for n in range(params.count)]
    )
    loop = asyncio.get_running_loop()
    senders = [
        (await loop.create_connection(lambda: Sender(load), "127.0.0.1", params.port))[1]
        for _ in range(params.senders)
    ]
    print('{"ready": true}', flush=True)
    sys.stdin.readline()
    if params.rate:
        load.closed_loop = False
        for sender in senders:
            load.idle.put_nowait(sender)
        await _pace(load, params)
    else:
        for sender in senders:
            load.next(sender)
    await load.finished
    return load.log


async def _pace(load: Load, params: Params) -> None:
    """Start the requests at their times; the least recently used connection goes first."""
    begin = time.monotonic()
    for number in range(params.count):
        due = begin + number / params.rate
        await asyncio.sleep(max(due - time.monotonic(), 0))
        sender = await load.idle.get()
        load.log.late = max(load.log.late, time.monotonic() - due)
        load.next(sender)


def main() -> None:
    """Run on uvloop when throughput counts, on asyncio's loop when the moment of a write does.

    uvloop writes at the end of a loop's turn, asyncio's own loop inside `write`.
    """
    params = msgspec.json.decode(sys.argv[1], type=Params)
    log = asyncio.run(run(params)) if params.rate else uvloop.run(run(params))
    Path(params.out).write_bytes(msgspec.msgpack.encode(log))
    print('{"done": true}', flush=True)


if __name__ == "__main__":
    main()
