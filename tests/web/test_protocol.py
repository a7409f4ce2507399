"""The edge of both listeners, over real sockets; `test_deadlines.py` has its deadlines."""

import contextlib
import logging
import socket
import time
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.models import Duration, Size
from tests.web.listener import (
    CAP,
    CHUNKED,
    GET,
    HEAD,
    KEPT,
    LIMITS,
    App,
    Listener,
    Plain,
    answers,
    ask,
    good,
    listening,
    read_all,
    refused,
    wait_for,
)


@pytest.fixture(scope="module", params=[App, pytest.param(Plain, marks=pytest.mark.slow)])
def shared(request: pytest.FixtureRequest) -> Iterator[Listener]:
    with listening(app=request.param) as listener:
        yield listener


@pytest.fixture(scope="module", params=[App, pytest.param(Plain, marks=pytest.mark.slow)])
def hurried(request: pytest.FixtureRequest) -> Iterator[Listener]:
    """It soon gives up a body; only for tests that send all of theirs at once."""
    limits = msgspec.structs.replace(LIMITS, body_timeout=Duration(400))
    with listening(limits, app=request.param) as listener:
        yield listener


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """No request whatsoever may leave more than debug lines."""
    caplog.set_level(logging.DEBUG)
    yield caplog
    bad = [r for r in caplog.get_records("call") if r.levelno > logging.DEBUG or r.exc_info]
    assert [r.getMessage() for r in bad] == []


REFUSED = {
    "bare LF": (b"GET /echo HTTP/1.1\nHost: a\n\n", 400),
    "LF in a value": (HEAD + b"X: a\nb: c\r\n\r\n", 400),
    "CR in a value": (HEAD + b"X: a\rb\r\n\r\n", 400),
    "NUL in a value": (HEAD + b"X: a\0b\r\n\r\n", 400),
    "folded value": (HEAD + b"X: a\r\n b\r\n\r\n", 400),
    "space before the colon": (HEAD + b"X : a\r\n\r\n", 400),
    "no host": (b"GET /echo HTTP/1.1\r\n\r\n", 400),
    "two hosts": (HEAD + b"Host: a.example\r\n\r\n", 400),
    "host with a path": (b"GET /echo HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "host with a user": (b"GET /echo HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
    "empty host": (b"GET /echo HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "host with a wrong port": (b"GET /echo HTTP/1.1\r\nHost: a:8x\r\n\r\n", 400),
    "absolute form": (b"GET http://a/echo HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "authority form": (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "CONNECT with a path": (b"CONNECT /echo HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "asterisk form": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "fragment": (b"GET /echo#x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /echo\r\n\r\n", 400),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9, 400),
    "CL and TE": (HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "TE and CL": (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400),
    "two CL": (HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    "CL list": (HEAD + b"Content-Length: 3, 3\r\n\r\nabc", 400),
    "signed CL": (HEAD + b"Content-Length: +3\r\n\r\nabc", 400),
    "two TE": (HEAD + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n", 400),
    "TE list": (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "TE identity": (HEAD + b"Transfer-Encoding: identity\r\n\r\n", 400),
    "TE in 1.0": (CHUNKED.replace(b"/1.1", b"/1.0") + b"0\r\n\r\n", 400),
    "invalid chunk": (CHUNKED + b"3\r\nabc\r\nzz\r\n", 400),
    "chunk size overflow": (CHUNKED + b"f" * 17 + b"\r\nabc", 400),
    "chunk ended by LF": (CHUNKED + b"3\nabc\n0\n\n", 400),
    "CL in a trailer": (CHUNKED + b"0\r\nContent-Length: 3\r\n\r\n", 400),
    "9 KiB target": (b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * 9216), 414),
    "1,001 headers": (HEAD + b"X: 1\r\n" * 1001 + b"\r\n", 431),
    "1,001 trailers": (CHUNKED + b"0\r\n" + b"X: 1\r\n" * 1001 + b"\r\n", 431),
    "many headers, unfinished": (HEAD + b"X: 1\r\n" * 1001, 431),
    "70 KiB in one header": (HEAD + b"X: %s\r\n\r\n" % (b"x" * 70_000), 431),
    "70 KiB in many headers": (HEAD + (b"X: %s\r\n" % (b"x" * 1000)) * 70 + b"\r\n", 431),
    "10 MB header": (HEAD + b"X: " + b"x" * 10_000_000 + b"\r\n\r\n", 431),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(shared: Listener, name: str) -> None:
    request, status = REFUSED[name]
    before = len(shared.app.whole)
    refused(ask(shared, request), status)
    assert len(shared.app.whole) == before


@pytest.mark.parametrize("name", [n for n, (r, _) in REFUSED.items() if len(r) < 500])
def test_refuses_the_same_in_single_bytes(shared: Listener, name: str) -> None:
    request, status = REFUSED[name]
    refused(ask(shared, *[bytes([byte]) for byte in request]), status)


def test_a_refusal_is_one_debug_line(shared: Listener, caplog: pytest.LogCaptureFixture) -> None:
    ask(shared, REFUSED["two hosts"][0])
    records = [r for r in caplog.records if r.name.startswith("gateway")]
    assert [r.levelname for r in records] == ["DEBUG"]
    assert "400" in records[0].getMessage()


def test_takes_heads_up_to_the_limits(shared: Listener) -> None:
    filler = b"".join(b"X-%d: %s\r\n" % (i, b"x" * 600) for i in range(97))
    request = (
        HEAD + filler + b"Connection: close\r\nContent-Length: 200000\r\n\r\n" + b"b" * 200_000
    )
    [(status, _)] = answers(ask(shared, request))
    assert status == 200


# The end of a connection


def test_413_is_readable_by_a_client_that_is_still_sending(shared: Listener) -> None:
    with shared.connect() as sock:
        sock.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % (3 << 20))
        for _ in range(24):
            sock.sendall(b"x" * (128 << 10))
            time.sleep(0.01)
        assert answers(read_all(sock)) == [(413, b"over the cap")]


@pytest.mark.parametrize("path", [b"/early", b"/echo"])
def test_an_endless_chunked_body_is_cut_off_after_the_early_answer(path: bytes) -> None:
    limits = msgspec.structs.replace(LIMITS, linger_size=Size(CAP))
    sent = 0
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with listening(limits) as listener, listener.connect() as sock:
        sock.sendall(CHUNKED.replace(b"/echo", path))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while sent < 256 << 20:
                sock.sendall(chunk)
                sent += len(chunk)
        assert sent < 64 << 20
        assert listener.app.whole == []


def test_an_early_answer_ends_at_once_for_a_client_that_stops_sending() -> None:
    with listening() as listener:
        with listener.connect() as sock:
            sock.sendall(HEAD.replace(b"/echo", b"/early") + b"Content-Length: 5000\r\n\r\nabc")
            assert answers(read_all(sock)) == [(413, b"early")]
        wait_for(lambda: not listener.server.server_state.connections)


@pytest.mark.parametrize("app", [App, Plain])
def test_an_early_answer_to_a_whole_request_keeps_the_connection(app: type[Plain]) -> None:
    early = HEAD.replace(b"/echo", b"/early") + b"Content-Length: 3\r\n\r\nabc"
    last = GET[:-2] + b"Connection: close\r\n\r\n"
    with listening(KEPT, app=app) as listener:
        found = answers(ask(listener, early, last, pause=0.05))
    assert [status for status, _ in found] == [413, 200]


def test_a_client_that_disconnects_midway_leaves_nothing_behind() -> None:
    with listening() as listener:
        with listener.connect() as sock:
            sock.sendall(HEAD + b"Content-Length: 100\r\n\r\nabc")
            wait_for(lambda: listener.app.requests == 1)
        wait_for(lambda: listener.app.disconnects == 1)
        assert listener.app.whole == []
        assert not listener.server.server_state.tasks


def test_a_disconnect_reaches_the_request_being_answered_and_ends_the_others() -> None:
    with listening() as listener:
        with listener.connect() as sock:
            sock.sendall(GET.replace(b"/echo", b"/wait") + GET + CHUNKED)
            wait_for(lambda: listener.app.requests == 1)
        wait_for(lambda: listener.app.disconnects == 1)
        wait_for(lambda: not listener.server.server_state.tasks)
        assert listener.app.requests == 1


# Bodies


@pytest.mark.parametrize("cut", [b"5;%s" % (b"e" * 400_000), b"0\r\nX: %s" % (b"e" * 400_000)])
def test_padding_is_no_body(shared: Listener, cut: bytes) -> None:
    before = len(shared.app.whole)
    refused(ask(shared, CHUNKED, cut, pause=0.02), 400)
    assert len(shared.app.whole) == before


def test_tiny_chunks_are_a_body_and_trailers_are_no_headers(shared: Listener) -> None:
    end = b"0\r\nX-Secret: 1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
    data = ask(shared, CHUNKED, *[b"1\r\nx\r\n" * 10_000] * 4, end + GET, pause=0.02)
    first, second = answers(data)
    assert first == (200, b"|" + b"x" * 40_000 + b"|host,transfer-encoding")
    assert second[0] == 200


def test_huge_chunk_sizes_are_not_believed(hurried: Listener) -> None:
    before = len(hurried.app.whole)
    refused(ask(hurried, CHUNKED + b"ffffffffffffffff\r\nabc"), 408)
    assert len(hurried.app.whole) == before


def test_expect_100_continue(shared: Listener) -> None:
    with shared.connect() as sock:
        sock.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert sock.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"ok")
        assert b"|ok|" in sock.recv(65536) + sock.recv(65536)


@pytest.mark.parametrize(
    ("framing", "body"),
    [(b"Content-Length: 3", b"abc"), (b"Transfer-Encoding: chunked", b"3\r\nabc\r\n0\r\n\r\n")],
)
@pytest.mark.parametrize("pieces", [1, 1000])
def test_an_upgrade_is_ignored_and_its_body_read(
    shared: Listener, framing: bytes, body: bytes, pieces: int
) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n%s\r\n\r\n" % framing
    request = HEAD + upgrade + body
    parts = [request] if pieces == 1 else [bytes([byte]) for byte in request]
    [(status, echoed)] = answers(ask(shared, *parts))
    assert (status, echoed[:5]) == (200, b"|abc|")


def test_an_upgrade_without_a_body_keeps_the_connection(shared: Listener) -> None:
    upgrade = GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert [s for s, _ in answers(ask(shared, upgrade + upgrade + GET))] == [200, 200, 200]


# Pipelining


def test_pipelined_requests_are_answered_in_order(shared: Listener) -> None:
    rest = HEAD + b"Content-Length: 2\r\n\r\nok"
    requests = [rest.replace(b"/echo", b"/echo?%d" % i) for i in range(20)]
    requests[0] = GET.replace(b"/echo", b"/slow?0")
    for parts in ([b"".join(requests)], requests):
        found = answers(ask(shared, *parts))
        assert [int(body.split(b"|")[0]) for _, body in found] == list(range(20))


def test_a_refusal_waits_for_the_answers_that_are_owed(shared: Listener) -> None:
    slow = GET.replace(b"/echo", b"/slow")
    bad, status = REFUSED["two hosts"]
    assert [s for s, _ in answers(ask(shared, slow + GET + bad))] == [200, 200, status]
    data = ask(shared, slow + CHUNKED + b"zz\r\n")
    assert [s for s, _ in answers(data)] == [200, 400]


def test_half_a_body_is_given_up_after_the_answer_that_is_owed(hurried: Listener) -> None:
    half = HEAD + b"Content-Length: 9\r\n\r\nabc"
    assert [s for s, _ in answers(ask(hurried, GET + half))] == [200, 408]


def test_too_many_waiting_requests_are_refused_after_the_others(shared: Listener) -> None:
    data = ask(shared, GET.replace(b"/echo", b"/slow") + GET * 500)
    assert [status for status, _ in answers(data)] == [200] * 65 + [429]


# Anything at all

VALID = CHUNKED.replace(b"/echo", b"/echo?q=%41") + b"5\r\nhello\r\n0\r\n\r\n"
PIECES = st.sampled_from(
    (
        *(b"", b"\r\n", b"\n", b"\0", b" ", b":", b"\xff", b"\r\n\r\n", b"ffffffff", b"HTTP/1.0"),
        *(b"Host: a\r\n", b"Content-Length: 5\r\n", b"Upgrade: x\r\nConnection: upgrade\r\n"),
        VALID,
    )
)
MUTATION = st.tuples(st.integers(0, len(VALID)), st.integers(0, 12), PIECES | st.binary(max_size=9))


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(mutations=st.lists(MUTATION, min_size=1, max_size=4), split=st.integers(0, 200))
def test_whatever_arrives_is_answered_or_closed(
    shared: Listener, mutations: list[tuple[int, int, bytes]], split: int
) -> None:
    data = VALID
    for at, drop, piece in mutations:
        data = data[:at] + piece + data[at + drop :]
    with shared.connect() as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(data[:split])
            sock.sendall(data[split:])
            sock.shutdown(socket.SHUT_WR)
        found = read_all(sock)
    for line in found.split(b"\r\n"):
        if line.startswith(b"HTTP/1."):
            assert line[9:10] in {b"1", b"2", b"4"}
    assert good(shared)
