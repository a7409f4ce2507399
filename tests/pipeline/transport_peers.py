"""Peers on loopback for the tests of the transport, and how a scene with them is run."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.egress.answer import AttemptFailed
from gateway.egress.connector import Resolver
from gateway.egress.rules import Rules, Target, parse_target
from gateway.egress.transport import Transport

LOOPBACK = Rules(["127.0.0.0/8:*"])
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SHORT = 0.3  # seconds, for the attempts that must end by their deadline
LONG = 30.0  # seconds, for those that must end by themselves

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Run = Callable[[Coroutine[Any, Any, None]], None]
Script = Callable[["Peer", Reader, Writer], Awaitable[None]]


class Peer:
    """A listener that plays a script on every connection and counts what reaches it."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.requests: list[bytes] = []
        self.ended = asyncio.Event()

    def target(self, path: str = "/hook", host: str = "127.0.0.1", scheme: str = "http") -> Target:
        return parse_target(f"{scheme}://{host}:{self.port}{path}")

    async def request(self, reader: Reader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
        whole = head + await reader.readexactly(length)
        self.requests.append(whole)
        return whole


@asynccontextmanager
async def listening(
    script: Script, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Peer]:
    peer = Peer()
    tasks: set[asyncio.Task[None] | None] = set()

    async def serve(reader: Reader, writer: Writer) -> None:
        peer.connections += 1
        tasks.add(asyncio.current_task())
        try:
            await script(peer, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            peer.ended.set()

    server = await asyncio.start_server(serve, host, port, ssl=tls, limit=2**20)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        for task in tasks:
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in tasks if task is not None))
        await server.wait_closed()


def answering(*answers: bytes, then: str = "stay") -> Script:
    """Answer each request of a connection with the next answer, the last one for ever or not."""

    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        for answer in answers:
            await peer.request(reader)
            writer.write(answer)
            await writer.drain()
        while then == "repeat":
            await peer.request(reader)
            writer.write(answers[-1])
        if then == "stay":
            await reader.read()
        elif then == "close":
            writer.close()
            await writer.wait_closed()
        elif then == "reset":
            await asyncio.sleep(0.05)  # or the reset may overtake the bytes
            reset(writer)

    return script


def reset(writer: Writer) -> None:
    option = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
    writer.transport.abort()


def flooding(start: bytes, block: bytes, *, pause: float = 0) -> Script:
    """Answer with `start`, then with `block` again and again until the connection ends."""

    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        await peer.request(reader)
        writer.write(start)
        while block and not writer.is_closing():  # uvloop minds what is written after that
            writer.write(block)
            await writer.drain()
            await asyncio.sleep(pause)
        await reader.read()

    return script


def resolver(*answers: Sequence[str]) -> tuple[Resolver, list[str]]:
    """A resolver that gives the next answer on each call, and the list of names it was asked."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    return resolve, asked


async def fails(transport: Transport, target: Target, within: float = LONG) -> AttemptFailed:
    with pytest.raises(AttemptFailed) as caught:
        await transport.post(target, b"", b"{}", timeout=within)
    assert caught.value.detail.endswith(".")
    assert "\n" not in caught.value.detail
    return caught.value


async def settled(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG):
        while not condition():  # noqa: ASYNC110  # it looks from outside, as an operator would
            await asyncio.sleep(0.005)


def reading(client: Transport) -> bool:
    """Whether an attempt has begun to read its answer."""
    return any(one._waiter is not None and one._received for one in client._open)


@asynccontextmanager
async def transport(**options: Any) -> AsyncIterator[Transport]:
    made = Transport(**{"rules": LOOPBACK, **options})
    try:
        yield made
    finally:
        await made.close()
        assert made.connections == 0


def open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def runner(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> Run:
    """Runs a scene to its end on a fresh loop; no file may stay open behind it."""

    def run(scene: Coroutine[Any, Any, None]) -> None:
        new_loop().close()  # what the first loop of a process opens for good
        before = open_files()
        with asyncio.Runner(loop_factory=new_loop) as loop:
            loop.run(scene)
        assert open_files() == before

    return run


both_loops = pytest.mark.parametrize(
    "run",
    [
        pytest.param(runner(asyncio.new_event_loop), marks=pytest.mark.slow, id="asyncio"),
        pytest.param(runner(uvloop.new_event_loop), id="uvloop"),
    ],
)
"""Each scene on the loop that `gateway serve` runs; on the other one, which carries the tests of whole
gateways, with the slow ones."""
