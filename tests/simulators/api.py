"""A provider's API over real HTTP: what the simulators share, with the faults that any API may have.

A simulator derives from `Api` and writes `answer`. A fault of `faults` is taken by the next
request, and what it does goes out instead of the answer.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asked; header names are lower case."""

    method: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What is answered."""

    status: int = 200
    headers: Mapping[str, str] = msgspec.field(
        default_factory=lambda: {"Content-Type": "application/json"}
    )
    body: bytes = b""


def json_response(value: object, status: int = 200, **headers: str) -> Response:
    """A value as JSON; `retry_after="3"` becomes `retry-after: 3`."""
    extra = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(
        status=status,
        headers={"Content-Type": "application/json", **extra},
        body=json.dumps(value).encode(),
    )


Fault = Callable[[asyncio.StreamWriter], Awaitable[None]]


def raw(data: bytes) -> Fault:
    """These bytes and the end of the connection."""

    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return send


def status(code: int, body: bytes = b"", **headers: str) -> Fault:
    """An answer of this status; `retry_after="3"` becomes `retry-after: 3`."""
    lines = "".join(f"{name.replace('_', '-')}: {text}\r\n" for name, text in headers.items())
    head = f"HTTP/1.1 {code} X\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
    return raw(head.encode() + body)


HTML = status(200, b"<html><h1>Maintenance</h1></html>", content_type="text/html")
BAD_GATEWAY = status(502, b"<html>502</html>", content_type="text/html")
HALF_JSON = status(200, b'{"success": true, "data": {"ord', content_type="application/json")
CUT_OFF = raw(b'HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n{"success": tr')
REDIRECT = status(302, location="http://127.0.0.1:1/elsewhere")
RESET = raw(b"")
GZIP = status(200, b"\x1f\x8b" + b"\0" * 50, content_encoding="gzip")


async def silence(writer: asyncio.StreamWriter) -> None:
    """Nothing for an hour, or until the client goes away."""
    await asyncio.sleep(3600)


def endless(chunk: int = 1 << 16) -> Fault:
    """10 GB of JSON, as long as the client reads on."""

    async def send(writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10000000000"
        writer.write(head + b'\r\n\r\n{"x": "')
        while not writer.is_closing():
            writer.write(b"x" * chunk)
            await writer.drain()

    return send


def throttled(seconds: int = 1) -> Fault:
    """429 with `Retry-After`."""
    return status(429, b'{"error": "slow down"}', retry_after=str(seconds))


class Api:
    """One API on a port of its own; `requests` is all that was asked, the faulty ones too."""

    prefix = ""  # what stands before every path, as in "/v2"

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.faults: deque[Fault] = deque()
        self.broken: Fault | None = None  # every request meets it while it is set
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        """The `base_url` of a source."""
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    def answer(self, request: Request) -> Response:
        """What the API says; `request.path` is without the prefix."""
        raise NotImplementedError

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split()
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        parts = urlsplit(target)
        request = Request(
            method=method,
            path=unquote(parts.path).removeprefix(self.prefix),
            params=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers=headers,
            body=await reader.readexactly(int(headers.get("content-length", "0"))),
        )
        self.requests.append(request)
        fault = self.faults.popleft() if self.faults else self.broken
        if fault is not None:
            await fault(writer)
            return False
        response = self.answer(request)
        lines = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
        writer.write(
            f"HTTP/1.1 {response.status} X\r\n{lines}Content-Length: {len(response.body)}\r\n\r\n".encode()
            + response.body
        )
        await writer.drain()
        return True


A = TypeVar("A", bound=Api)


@asynccontextmanager
async def serving(api: A) -> AsyncIterator[A]:
    """An API that runs."""
    await api.start()
    try:
        yield api
    finally:
        await api.stop()
