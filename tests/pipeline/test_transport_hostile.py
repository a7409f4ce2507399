"""Peers that drip, flood, break off or speak something else: every attempt ends, and names why."""

import asyncio
import gzip
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.egress.answer import AttemptFailed
from gateway.egress.rules import Target, parse_target
from gateway.egress.transport import Transport
from gateway.models import Failure, Millis
from gateway.sender import Sender
from tests.acceptance.hostile_peers import MANNERS, hostile
from tests.pipeline.test_sender import delivery, subscription
from tests.pipeline.transport_peers import (
    LONG,
    OK,
    SHORT,
    Peer,
    Reader,
    Run,
    Writer,
    answering,
    both_loops,
    fails,
    flooding,
    listening,
    settled,
    transport,
)

pytestmark = [pytest.mark.slow, both_loops]


@pytest.mark.parametrize(
    "wire",
    [
        b"garbage\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"\r\nICE/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"\x16\x03\x01\x00\x00",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: \x00\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switch\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100 + b"Content-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 10_000_000,
        b"HTTP/1.1 200 " + b"y" * 10_000_000,
        b"HTTP/1.1 100 Go\r\n\r\n" * 100_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 10_000_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 100_000,
    ],
    ids=lambda wire: repr(wire[:60]),
)
def test_what_is_no_sound_http_fails_as_protocol_and_is_not_kept(run: Run, wire: bytes) -> None:
    async def scene() -> None:
        async with listening(answering(wire)) as peer, transport() as client:
            failed = await fails(client, peer.target())
            assert failed.failure is Failure.PROTOCOL
            assert failed.address == f"127.0.0.1:{peer.port}"
            await settled(lambda: client.connections == 0)

    run(scene())


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nConte",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
    ],
)
def test_an_answer_cut_off_fails_as_reset_and_is_not_sent_again(
    run: Run, wire: bytes, then: str
) -> None:
    async def scene() -> None:
        async with listening(answering(wire, then=then)) as peer, transport() as client:
            assert (await fails(client, peer.target())).failure is Failure.RESET
            assert len(peer.requests) == 1

    run(scene())


def test_a_body_without_length_that_is_reset_is_no_success(run: Run) -> None:
    async def scene() -> None:
        script = answering(b"HTTP/1.1 200 OK\r\n\r\npart", then="reset")
        async with listening(script) as peer, transport() as client:
            assert (await fails(client, peer.target())).failure is Failure.RESET

    run(scene())


@pytest.mark.parametrize(
    ("start", "block", "stage"),
    [
        (b"", b"", "before an answer came"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"y", "within the head"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n",
            b"y",
            "body of the answer (status 200)",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"y", "body of the answer (status 200)"),
        (b"HTTP/1.1 100 Go\r\n\r\n", b"HTTP/1.1 100 Go\r\n\r\n", "within the head"),
    ],
)
def test_an_answer_that_drips_or_never_comes_fails_at_the_deadline(
    run: Run, start: bytes, block: bytes, stage: str
) -> None:
    async def scene() -> None:
        script = flooding(start, block, pause=0.02)
        async with listening(script) as peer, transport() as client:
            failed = await fails(client, peer.target(), SHORT)
            assert failed.failure is Failure.TIMEOUT
            assert stage in failed.detail
            await settled(peer.ended.is_set)

    run(scene())


def test_an_endless_body_is_cut_at_the_cap_and_the_connection_closed(run: Run) -> None:
    async def scene() -> None:
        script = flooding(b"HTTP/1.1 200 OK\r\n\r\n", b"y" * 65536)
        async with listening(script) as peer, transport(body_cap=1000) as client:
            answer = await client.post(peer.target(), b"", b"{}", timeout=LONG)
            assert (answer.status, answer.body, answer.truncated) == (200, b"y" * 1000, True)
            await settled(peer.ended.is_set)

    run(scene())


@pytest.mark.parametrize(("size", "truncated"), [(999, False), (1000, False), (1001, True)])
def test_the_cap_is_exact(run: Run, size: int, truncated: bool) -> None:
    async def scene() -> None:
        wire = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, b"y" * size)
        script = answering(wire, then="repeat")
        async with listening(script) as peer, transport(body_cap=1000) as client:
            for _ in range(2):
                answer = await client.post(peer.target(), b"", b"{}", timeout=LONG)
                assert (len(answer.body), answer.truncated) == (min(size, 1000), truncated)
            assert peer.connections == (2 if truncated else 1)

    run(scene())


def test_a_compressed_body_stays_compressed(run: Run) -> None:
    async def scene() -> None:
        bomb = gzip.compress(bytes(30_000_000))
        wire = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
        script = answering(wire % (len(bomb), bomb))
        async with listening(script) as peer, transport() as client:
            answer = await client.post(peer.target(), b"", b"{}", timeout=LONG)
            assert (answer.body, answer.truncated) == (bomb[: 16 * 1024], True)

    run(scene())


def test_an_answer_before_the_request_was_read_counts_and_ends_the_connection(run: Run) -> None:
    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        await reader.readexactly(1)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # typeshed: WriteTransport
        writer.write(b"HTTP/1.1 413 Big\r\nContent-Length: 0\r\n\r\n")
        await asyncio.sleep(LONG)

    async def scene() -> None:
        async with listening(script) as peer, transport() as client:
            answer = await client.post(peer.target(), b"", bytes(20_000_000), timeout=LONG)
            assert answer.status == 413
            await settled(lambda: client.connections == 0)

    run(scene())


@pytest.mark.parametrize("name", MANNERS)
def test_s12_every_attempt_ends_at_its_deadline_and_leaves_nothing_open(
    run: Run, name: str
) -> None:
    manner, took = MANNERS[name], []
    # What ends by itself does so whenever the machine gets to it.
    timeout = SHORT if Failure.TIMEOUT in manner.ends else LONG

    async def scene() -> None:
        async with hostile(manner) as url, transport() as client:
            sender, made = Sender(client), subscription(url, timeout=Millis(int(timeout * 1000)))
            for _ in range(2):  # the second meets a kept connection, where there is one
                started = time.monotonic()
                outcome = await sender.send(made, delivery())
                took.append(time.monotonic() - started)
                assert outcome.failure in manner.ends
                assert len(outcome.head) <= 16 * 1024
                assert (outcome.status is None) is (outcome.failure is not None)
            kept = {"silent when kept", "flood after the answer"}
            await settled(lambda: client.connections <= (name in kept))

    run(scene())
    assert min(took) < timeout + 1  # of one of them, the other may have met a busy moment
    assert max(took) < 2 * LONG


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_peer_that_resets_at_once_closes_nothing_but_its_own_connection(
    run: Run, scheme: str
) -> None:
    """Where a descriptor is closed twice, the second time hits whatever got its number since."""

    async def scene() -> None:
        bystanders: list[int] = []

        async def attempt(client: Transport, target: Target) -> None:
            with pytest.raises(AttemptFailed):
                await client.post(target, b"", b"{}", timeout=LONG)
            bystanders.append(os.open(os.devnull, os.O_RDONLY))

        with resetting() as port:
            target = parse_target(f"{scheme}://127.0.0.1:{port}/")
            async with transport() as client:
                for _ in range(20):
                    await asyncio.gather(*(attempt(client, target) for _ in range(40)))
        assert len(set(bystanders)) == len(bystanders)
        for descriptor in bystanders:
            os.close(descriptor)

    run(scene())


@contextmanager
def resetting() -> Iterator[int]:
    """A peer in a thread, so that its reset meets the very start of a connection."""

    def serve() -> None:
        while True:
            try:
                accepted, _ = server.accept()
            except OSError:
                return
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted.close()

    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
