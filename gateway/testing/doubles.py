"""Stand-ins for tests: a clock that is set by hand, and a consumer that does as it is told."""

import asyncio
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import msgspec

from gateway.models import Millis


class Clock:
    """A clock that stands still: call it for the time in milliseconds, set `now` to change it."""

    def __init__(self, now: Millis) -> None:
        self.now = now

    def __call__(self) -> Millis:
        """The time at which it stands."""
        return self.now

    def advance(self, by: int) -> None:
        """Let so many milliseconds pass."""
        self.now = Millis(self.now + by)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a receiver answers, after `delay` seconds; None as `status` hangs up instead."""

    status: int | None = 204
    headers: Mapping[str, str] = {}
    body: bytes = b""
    delay: float = 0.0


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """One request that came whole; header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Receiver:
    """A consumer on loopback: it keeps what it receives, and answers what `answers` has next.

    When `answers` is empty it answers 204. Use it as `async with Receiver() as receiver`, and
    deliver to `receiver.url`. It knows requests with `Content-Length` only, as the gateway's are.
    """

    def __init__(self, *answers: Answer) -> None:
        self.answers = deque(answers)
        self.received: list[Received] = []
        self._arrived = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0  # a free one, while it listens

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/"

    async def wait_for(self, count: int, *, seconds: float = 10.0) -> None:
        """Wait until so many requests were received in all; `AssertionError` when they were not."""
        try:
            async with asyncio.timeout(seconds), self._arrived:
                await self._arrived.wait_for(lambda: len(self.received) >= count)
        except TimeoutError:
            found = len(self.received)
            raise AssertionError(f"{found} of {count} requests came in {seconds} s") from None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._converse(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the sender hung up
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False when nothing more is to be said on this connection."""
        start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        method, path, _ = start.split(" ", 2)
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        answer = self.answers.popleft() if self.answers else Answer()
        async with self._arrived:
            self.received.append(Received(method=method, path=path, headers=headers, body=body))
            self._arrived.notify_all()
        await asyncio.sleep(answer.delay)
        if answer.status is None:
            return False
        said = {"Content-Length": str(len(answer.body)), **answer.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in said.items())
        writer.write(f"HTTP/1.1 {answer.status} Answer\r\n{head}\r\n".encode() + answer.body)
        await writer.drain()
        return True
