"""How targets are tried: as a delivery goes out, but nothing is sent; and what a server's clock says."""

import asyncio
import datetime as dt
import ssl
import time
from collections.abc import Sequence
from email.utils import format_datetime
from pathlib import Path

import pytest

from gateway.egress.answer import AttemptFailed
from gateway.egress.connector import verified_context
from gateway.egress.probe import Prober
from gateway.egress.rules import Rules
from gateway.models import Failure
from tests.pipeline.test_transport_connect import Authority
from tests.pipeline.transport_peers import (
    LONG,
    LOOPBACK,
    SHORT,
    Peer,
    Reader,
    Run,
    Writer,
    both_loops,
    listening,
    resolver,
)

pytestmark = both_loops
DAY = 86_400_000


def prober(
    *,
    rules: Rules = LOOPBACK,
    addresses: Sequence[str] = ("127.0.0.1",),
    context: ssl.SSLContext | None = None,
    timeout: float = LONG,
) -> Prober:
    resolve, _ = resolver(list(addresses))
    return Prober(rules=rules, proxy=None, timeout=timeout, resolve=resolve, ssl_context=context)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


async def hearing(peer: Peer, reader: Reader, writer: Writer) -> None:
    peer.requests.append(await reader.read())


def test_it_connects_and_sends_nothing(run: Run) -> None:
    async def scene() -> None:
        async with listening(hearing) as peer:
            reached = await prober().connect(peer.target())
            await asyncio.wait_for(peer.ended.wait(), LONG)
            assert (reached.tls, reached.expires) == (None, None)
            assert reached.address == f"127.0.0.1:{peer.port}"
            assert b"".join(peer.requests) == b""
            assert peer.connections == 1

    run(scene())


def test_the_end_of_the_certificate_is_told(run: Run, authority: Authority) -> None:
    async def scene() -> None:
        async with listening(hearing, tls=authority.server) as peer:
            target = peer.target(host="shop.example", scheme="https")
            reached = await prober(context=authority.client).connect(target)
            assert reached.tls == "TLSv1.3"
            assert reached.expires is not None
            assert 0 < reached.expires - time.time() * 1000 <= DAY
            await asyncio.wait_for(peer.ended.wait(), LONG)
            assert b"".join(peer.requests) == b""

    run(scene())


def test_each_failure_has_its_class(run: Run, authority: Authority, tmp_path: Path) -> None:
    async def silent(peer: Peer, reader: Reader, writer: Writer) -> None:
        await asyncio.sleep(LONG)

    async def scene() -> None:
        async with (
            listening(hearing, tls=authority.server) as peer,
            listening(silent) as mute,
        ):
            https = peer.target(host="shop.example", scheme="https")
            other = peer.target(host="other.example", scheme="https")
            closed = peer.target()
            tries = (
                (prober(context=verified_context()), https, Failure.TLS),
                (prober(context=authority.client), other, Failure.TLS),
                (prober(rules=Rules()), https, Failure.FORBIDDEN),
                (prober(addresses=()), https, Failure.DNS),
                (
                    prober(context=authority.client, timeout=SHORT),
                    mute.target(host="shop.example", scheme="https"),
                    Failure.TIMEOUT,
                ),
            )
            for tried, target, failure in tries:
                with pytest.raises(AttemptFailed) as raised:
                    await tried.connect(target)
                assert raised.value.failure is failure
        with pytest.raises(AttemptFailed) as raised:
            await prober().connect(closed)
        assert raised.value.failure is Failure.CONNECT

    run(scene())


@pytest.mark.parametrize("ahead", [0, 120, -120])
def test_the_clock_of_a_server_is_compared(run: Run, ahead: int) -> None:
    async def dated(peer: Peer, reader: Reader, writer: Writer) -> None:
        peer.requests.append(await reader.readuntil(b"\r\n\r\n"))
        told = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=ahead)
        date = format_datetime(told, usegmt=True).encode()
        writer.write(b"HTTP/1.1 404 Not\r\nDate: %b\r\nContent-Length: 9\r\n\r\n" % date)
        await writer.drain()
        await reader.read()

    async def scene() -> None:
        async with listening(dated) as peer:
            found = await prober().told_time(peer.target("/v2"))
            assert found is not None
            assert abs(found - ahead * 1000) < 5_000
            (request,) = peer.requests
            assert request.startswith(b"HEAD /v2 HTTP/1.1\r\n")
            assert b"uthorization" not in request

    run(scene())


@pytest.mark.parametrize("date", [b"", b"Date: yesterday\r\n", b"Date: \xff\r\n"])
def test_a_server_may_tell_no_time(run: Run, date: bytes) -> None:
    async def undated(peer: Peer, reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n%bContent-Length: 0\r\n\r\n" % date)
        await writer.drain()
        await reader.read()

    async def scene() -> None:
        async with listening(undated) as peer:
            assert await prober().told_time(peer.target()) is None
        assert await prober().told_time(peer.target()) is None

    run(scene())
