"""How long one client may take to send its request, and to read the answer."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Iterator
from typing import cast

import msgspec
import pytest
import uvicorn
import uvloop
from uvicorn.server import ServerState

from gateway.models import Duration
from gateway.web.protocol import guarded
from tests.web.listener import (
    CHUNKED,
    GET,
    HEAD,
    LIMITS,
    App,
    Listener,
    answers,
    ask,
    good,
    listening,
    read_all,
    refused,
    wait_for,
)

pytestmark = pytest.mark.slow

SHORT = msgspec.structs.replace(LIMITS, head_timeout=Duration(300), body_timeout=Duration(400))


@pytest.fixture(scope="module")
def shared() -> Iterator[Listener]:
    with listening(SHORT) as listener:
        yield listener


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """No request whatsoever may leave more than debug lines."""
    caplog.set_level(logging.DEBUG)
    yield caplog
    bad = [r for r in caplog.get_records("call") if r.levelno > logging.DEBUG or r.exc_info]
    assert [r.getMessage() for r in bad] == []


def test_closes_a_silent_connection_without_a_word(shared: Listener) -> None:
    assert ask(shared) == b""


def test_blank_lines_do_not_extend_the_deadline(shared: Listener) -> None:
    assert ask(shared, *[b"\r\n"] * 12, pause=0.05) == b""


def test_answers_408_to_a_dripping_head(shared: Listener) -> None:
    refused(ask(shared, *[bytes([byte]) for byte in GET[:12]], pause=0.05), 408)


def test_answers_408_to_a_dripping_body_and_the_application_sees_a_disconnect() -> None:
    with listening(SHORT) as listener:
        head = HEAD + b"Content-Length: 100\r\n\r\n"
        refused(ask(listener, head, *[b"x"] * 14, pause=0.05), 408)
        wait_for(lambda: listener.app.disconnects == 1)
        assert listener.app.whole == []
        refused(ask(listener, CHUNKED, *[b"1\r\nx\r\n"] * 14, pause=0.05), 408)
        wait_for(lambda: listener.app.disconnects == 2)
        assert listener.app.whole == []


def test_the_deadline_runs_from_each_requests_first_byte() -> None:
    limits = msgspec.structs.replace(LIMITS, head_timeout=Duration(2_500))
    with listening(limits) as listener, listener.connect() as sock:
        sock.sendall(GET[:20])
        for _ in range(4):
            time.sleep(0.7)  # longer than one deadline in all, and far from it each
            sock.sendall(GET[20:] + GET[:20])
        found = answers(read_all(sock))
    assert [status for status, _ in found] == [200, 200, 200, 200, 408]


def test_the_application_hears_of_a_missed_deadline_at_once() -> None:
    limits = msgspec.structs.replace(SHORT, linger_timeout=Duration(60_000))
    with listening(limits) as listener, listener.connect() as sock:
        sock.sendall(HEAD + b"Content-Length: 9\r\n\r\nabc")
        refused(read_all(sock), 408)
        wait_for(lambda: listener.app.disconnects == 1)
        wait_for(lambda: not listener.server.server_state.tasks)


def test_closes_an_idle_connection(shared: Listener) -> None:
    [(status, _)] = answers(ask(shared, GET))
    assert status == 200


def test_a_slow_application_is_not_the_clients_fault() -> None:
    limits = msgspec.structs.replace(
        LIMITS, body_timeout=Duration(50), head_timeout=Duration(1_500)
    )
    with listening(limits) as listener:
        request = GET.replace(b"/echo", b"/slow?2000") + GET.replace(b"/echo", b"/echo?2")
        data = ask(listener, request + GET.replace(b"/echo", b"/echo?3")[:-2], b"\r\n", pause=0.02)
        assert [status for status, _ in answers(data)] == [200, 200, 200]


def test_a_client_that_had_to_wait_gets_its_whole_time() -> None:
    limits = msgspec.structs.replace(
        LIMITS, body_timeout=Duration(2_000), idle_timeout=Duration(20)
    )
    with listening(limits) as listener, listener.connect() as sock:
        sock.sendall(GET.replace(b"/echo", b"/slow?2500"))
        sock.sendall(HEAD + b"Content-Length: 5\r\n\r\nhe")
        first = sock.recv(65536)
        time.sleep(0.3)
        sock.sendall(b"llo")
        assert [status for status, _ in answers(first + read_all(sock))] == [200, 200]


@pytest.mark.parametrize("close", [b"", b"Connection: close\r\n"])
def test_cuts_off_a_client_that_does_not_read(close: bytes) -> None:
    limits = msgspec.structs.replace(
        LIMITS, write_timeout=Duration(500), idle_timeout=Duration(60_000)
    )
    with listening(limits) as listener, listener.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(GET[:-2].replace(b"/echo", b"/large") + close + b"\r\n")
        wait_for(lambda: listener.app.requests == 1)
        wait_for(lambda: not listener.server.server_state.connections)
        wait_for(lambda: not listener.server.server_state.tasks)


class Stuck:
    """A transport whose last bytes nobody reads."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.aborted = asyncio.Event()

    def write(self, data: bytes) -> None: ...
    def resume_reading(self) -> None: ...
    def get_extra_info(self, name: str) -> None: ...

    def is_closing(self) -> bool:
        return self.closed.is_set()

    def close(self) -> None:
        self.closed.set()

    def abort(self) -> None:
        self.aborted.set()

    def get_write_buffer_size(self) -> int:
        return 9_000


@pytest.mark.parametrize("paused", [False, True])
def test_cuts_off_a_client_that_does_not_read_the_end(paused: bool) -> None:
    """A rest so small that the transport does not, or no longer, ask to pause."""
    transport = Stuck()

    async def run() -> None:
        limits = msgspec.structs.replace(LIMITS, write_timeout=Duration(500))
        config = uvicorn.Config(App(), http=guarded(limits), ws="none", log_config=None)
        config.load()
        protocol = guarded(limits)(config, ServerState(), {})
        protocol.connection_made(cast("asyncio.Transport", transport))
        protocol.data_received(GET[:-2] + b"Connection: close\r\n\r\n")
        await transport.closed.wait()
        if paused:
            protocol.pause_writing()
            protocol.resume_writing()
        async with asyncio.timeout(30):
            await transport.aborted.wait()
        protocol.connection_lost(None)

    uvloop.run(run())


def test_a_client_that_reads_slowly_gets_everything() -> None:
    limits = msgspec.structs.replace(LIMITS, write_timeout=Duration(2_000))
    with listening(limits) as listener, listener.connect() as sock:
        sock.sendall(GET.replace(b"/echo", b"/bulk"))
        got = rests = 0
        while got < 32 << 20:
            piece = sock.recv(2 << 20)
            assert piece
            got += len(piece)
            if got >> 21 > rests:  # longer than one deadline in all, and far from it each
                rests = got >> 21
                time.sleep(0.2)


@pytest.mark.slow
def test_good_neighbours_are_answered_while_200_slow_connections_hang() -> None:
    limits = msgspec.structs.replace(
        LIMITS,
        head_timeout=Duration(8_000),
        body_timeout=Duration(8_000),
        linger_timeout=Duration(500),
    )
    beginnings = [b"", HEAD, HEAD + b"Content-Length: 9\r\n\r\nabc", CHUNKED + b"5\r\nab"]
    with listening(limits) as listener, contextlib.ExitStack() as stack:
        for i in range(200):
            stack.enter_context(listener.connect()).sendall(beginnings[i % 4])
        wait_for(lambda: len(listener.server.server_state.connections) == 200)
        assert all(good(listener, b"%d" % i) for i in range(50))
        assert len(listener.server.server_state.connections) >= 200
        wait_for(lambda: not listener.server.server_state.connections)
        assert len(listener.app.whole) == 50
