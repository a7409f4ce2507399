"""The short way, over real sockets: what goes it, what does not, and that nobody can tell."""

import re
import time

import pytest

from gateway.models import Duration
from tests.web.listener import KEPT, App, Listener, answers, ask, listening, read_all, wait_for

HEAD = b"POST /direct HTTP/1.1\r\nHost: a.example\r\n"
LAST = b"Connection: close\r\n"


def posted(body: bytes, head: bytes = HEAD) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def begun(listener: Listener) -> int:
    assert isinstance(listener.app, App)
    return listener.app.begun


def test_a_whole_request_is_answered_without_the_application() -> None:
    with listening() as listener:
        data = ask(listener, posted(b"one", HEAD + LAST))
        assert answers(data) == [(202, b"direct|one")]
        assert listener.app.requests == 0
        head = data.partition(b"\r\n\r\n")[0]
        assert head.startswith(b"HTTP/1.1 202 Accepted\r\n")
        assert re.search(rb"\r\ndate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n", head)
        assert b"\r\nconnection: close" in head
        assert b"\r\ncontent-type: application/json" in head


def test_a_connection_is_used_again() -> None:
    with listening(KEPT) as listener, listener.connect() as sock:
        for number in range(5):
            sock.sendall(posted(b"%d" % number))
            data = sock.recv(65536)
            assert answers(data) == [(202, b"direct|%d" % number)]
            assert b"connection:" not in data
        sock.sendall(posted(b"end", HEAD + LAST))
        assert answers(read_all(sock)) == [(202, b"direct|end")]


@pytest.mark.parametrize("cut", [1, 30, len(HEAD), len(HEAD) + 22, -1])
def test_what_comes_in_pieces_goes_to_the_application_whole(cut: int) -> None:
    request = posted(b"a body in two", HEAD + LAST)
    head_is_whole = request.find(b"\r\n\r\n") + 4 <= len(request[:cut])
    with listening() as listener:
        with listener.connect() as sock:
            sock.sendall(request[:cut])
            if head_is_whole:  # or both may come at once, and are one whole request
                wait_for(lambda: listener.app.requests == 1)
            else:
                time.sleep(0.05)
            sock.sendall(request[cut:])
            data = read_all(sock)
        if head_is_whole:
            assert listener.app.whole == [b"a body in two"]
            assert answers(data)[0][0] == 200
        else:
            assert answers(data) == [(202, b"direct|a body in two")]


def test_what_fails_the_short_way_is_answered_by_the_application() -> None:
    head = HEAD.replace(b"/direct", b"/direct?otherwise") + LAST
    with listening() as listener:
        [(status, body)] = answers(ask(listener, posted(b"again", head)))
        assert (status, listener.app.whole) == (200, [b"again"])
        assert body.startswith(b"otherwise|again|")


def test_pipelined_requests_are_answered_in_their_order() -> None:
    slow = HEAD.replace(b"/direct", b"/direct?200")
    requests = posted(b"1", slow) + posted(b"2") + posted(b"3") + posted(b"4", HEAD + LAST)
    with listening() as listener:
        found = answers(ask(listener, requests))
        assert [body.split(b"|")[1] for _, body in found] == [b"1", b"2", b"3", b"4"]
        assert found[0][0] == 202
        assert listener.app.whole == [b"2", b"3", b"4"]


def test_the_head_of_a_next_request_does_not_hold_back_those_before_it() -> None:
    slow = HEAD.replace(b"/direct", b"/direct?200")
    last = posted(b"3", HEAD + LAST)
    with listening() as listener:
        found = answers(
            ask(listener, posted(b"1", slow) + posted(b"2") + last[:20], last[20:], pause=0.25)
        )
        assert [body.split(b"|")[1] for _, body in found] == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    "head",
    [
        HEAD.replace(b"POST", b"PUT"),
        HEAD + b"Expect: 100-continue\r\n",
        HEAD.replace(b"/direct", b"/echo"),
    ],
)
def test_all_else_goes_to_the_application(head: bytes) -> None:
    with listening() as listener:
        data = ask(listener, posted(b"x", head + LAST))
        assert answers(data.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n"))[0][0] == 200
        assert listener.app.whole == [b"x"]


def test_a_client_that_went_away_is_not_answered() -> None:
    slow = HEAD.replace(b"/direct", b"/direct?200")
    with listening() as listener:
        with listener.connect() as sock:
            sock.sendall(posted(b"gone", slow))
            wait_for(lambda: begun(listener) == 1)
        time.sleep(0.3)
        assert answers(ask(listener, posted(b"next", HEAD + LAST))) == [(202, b"direct|next")]


def test_a_stop_waits_for_the_answer_and_closes() -> None:
    slow = HEAD.replace(b"/direct", b"/direct?1000")
    with listening() as listener, listener.connect() as sock:
        sock.sendall(posted(b"last", slow))
        wait_for(lambda: begun(listener) == 1)
        listener.loop.call_soon_threadsafe(listener.server.stop, Duration(20_000))
        data = read_all(sock)
        assert answers(data) == [(202, b"direct|last")]
        assert b"\r\nconnection: close" in data
        listener.thread.join(30)
        assert not listener.thread.is_alive()
