"""Peers that mean harm: they drip, flood, stall, lie and break off, each in one manner (S12)."""

import asyncio
import gzip
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec

from gateway.models import Failure

SECOND = 1.0  # between two bytes of a drip
BLOCK = b"y" * 65536
TEN_GB = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BOMB = gzip.compress(bytes(20_000_000))
GZIPPED = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Script = Callable[[Reader, Writer], Awaitable[None]]


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """What a peer does on each connection, and what an attempt may come to; None is a 200."""

    script: Script
    ends: frozenset[Failure | None]
    scheme: str = "http"


async def _request(reader: Reader) -> None:
    await reader.readuntil(b"\r\n\r\n")


def _flood(start: bytes, block: bytes, *, pause: float = 0) -> Script:
    """`start`, then `block` again and again, until the gateway hangs up."""

    async def script(reader: Reader, writer: Writer) -> None:
        await _request(reader)
        writer.write(start)
        while True:
            writer.write(block)
            await writer.drain()
            await asyncio.sleep(pause)

    return script


def _then_silent(wire: bytes) -> Script:
    async def script(reader: Reader, writer: Writer) -> None:
        await _request(reader)
        writer.write(wire)
        await reader.read()

    return script


def _then_reset(wire: bytes, *, read: bool = True) -> Script:
    async def script(reader: Reader, writer: Writer) -> None:
        if read:
            await _request(reader)
        if wire:
            writer.write(wire)
            await asyncio.sleep(0.05)  # or the reset would overtake the bytes
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    return script


async def _stalled_tls(reader: Reader, writer: Writer) -> None:
    await reader.read(100)
    writer.write(b"\x16\x03\x03\x40\x00")  # a record of 16 KiB, of which nothing follows
    while await reader.read(65536):
        pass


async def _dripped_tls(reader: Reader, writer: Writer) -> None:
    await reader.read(100)
    for byte in b"\x16\x03\x03\x40\x00" + bytes(16384):
        writer.write(bytes((byte,)))
        await writer.drain()
        await asyncio.sleep(SECOND)


async def _unread(reader: Reader, writer: Writer) -> None:
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # typeshed: WriteTransport
    await asyncio.sleep(3600)


async def _good_then_flooding(reader: Reader, writer: Writer) -> None:
    await _request(reader)
    writer.write(OK)
    await asyncio.sleep(0.05)
    while True:
        writer.write(BLOCK)
        await writer.drain()


async def _good_once_then_silent(reader: Reader, writer: Writer) -> None:
    await _request(reader)
    writer.write(OK)
    await reader.read()


def _manner(script: Script, *ends: Failure | None, scheme: str = "http") -> Manner:
    return Manner(script=script, ends=frozenset(ends), scheme=scheme)


TIMEOUT, PROTOCOL, RESET = Failure.TIMEOUT, Failure.PROTOCOL, Failure.RESET
MANNERS = {
    "silent": _manner(_then_silent(b""), TIMEOUT),
    "unread": _manner(_unread, TIMEOUT),
    "drip of the head": _manner(_flood(b"HTTP/1.1 200 OK\r\nX: ", b"y", pause=SECOND), TIMEOUT),
    "drip of the body": _manner(_flood(TEN_GB, b"y", pause=SECOND), TIMEOUT),
    "drip of chunks": _manner(_flood(CHUNKED, b"1\r\ny\r\n", pause=SECOND), TIMEOUT),
    "drip of 1xx": _manner(_flood(b"", b"HTTP/1.1 100 Go\r\n\r\n", pause=SECOND), TIMEOUT),
    "half a body": _manner(_then_silent(TEN_GB + b"half"), TIMEOUT),
    "endless body": _manner(_flood(b"HTTP/1.1 200 OK\r\n\r\n", BLOCK), None),
    "10 GB": _manner(_flood(TEN_GB, BLOCK), None),
    "endless chunks": _manner(_flood(CHUNKED, b"1\r\ny\r\n" * 10_000), None),
    "endless chunk extension": _manner(_flood(CHUNKED + b"1;", BLOCK), PROTOCOL),
    "gzip bomb": _manner(_then_silent(GZIPPED % (len(BOMB), BOMB)), None),
    "endless gzip": _manner(_flood(GZIPPED % (10**10, b""), BOMB), None),
    "100,000 headers": _manner(
        _then_silent(b"HTTP/1.1 200 OK\r\n" + b"X-Y: z\r\n" * 100_000 + b"\r\n"), PROTOCOL
    ),
    "endless head": _manner(_flood(b"HTTP/1.1 200 OK\r\nX: ", BLOCK), PROTOCOL),
    "endless 1xx": _manner(_flood(b"", b"HTTP/1.1 100 Go\r\n\r\n" * 1000), PROTOCOL),
    "endless trailers": _manner(_flood(CHUNKED + b"0\r\n", b"X: y\r\n" * 1000), PROTOCOL),
    "garbage": _manner(_then_silent(b"\x00\xff" * 1000), PROTOCOL),
    "reset at once": _manner(_then_reset(b"", read=False), RESET, Failure.CONNECT),
    "reset before the answer": _manner(_then_reset(b""), RESET),
    "reset in the head": _manner(_then_reset(b"HTTP/1.1 200 OK\r\nX: y"), RESET),
    "reset in the body": _manner(_then_reset(TEN_GB + b"half"), RESET),
    "reset in TLS": _manner(
        _then_reset(b"\x16\x03", read=False), Failure.TLS, Failure.CONNECT, scheme="https"
    ),
    "stall of TLS": _manner(_stalled_tls, TIMEOUT, scheme="https"),
    "drip of TLS": _manner(_dripped_tls, TIMEOUT, scheme="https"),
    "flood after the answer": _manner(_good_then_flooding, None, RESET, PROTOCOL),
    "silent when kept": _manner(_good_once_then_silent, None, TIMEOUT),
}


@asynccontextmanager
async def hostile(manner: Manner) -> AsyncIterator[str]:
    """A peer on loopback that behaves so; gives its URL."""
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: Reader, writer: Writer) -> None:
        task = asyncio.create_task(_play(manner.script, reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"{manner.scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _play(script: Script, reader: Reader, writer: Writer) -> None:
    try:
        await script(reader, writer)
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass  # the gateway hung up
    finally:
        writer.transport.abort()
