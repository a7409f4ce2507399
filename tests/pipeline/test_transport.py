"""Good answers and kept connections, against real peers on loopback and on both event loops."""

import asyncio
import contextlib
import socket
import threading
import time
from contextlib import AsyncExitStack

import pytest

from gateway.egress.rules import parse_target
from gateway.egress.transport import Transport
from gateway.models import Failure
from tests.pipeline.transport_peers import (
    LONG,
    OK,
    SHORT,
    Peer,
    Reader,
    Run,
    Script,
    Writer,
    answering,
    both_loops,
    fails,
    listening,
    reading,
    reset,
    resolver,
    settled,
    transport,
)

pytestmark = both_loops

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_the_request_on_the_wire_is_exactly_this(run: Run) -> None:
    async def scene() -> None:
        async with listening(answering(OK)) as peer, transport() as client:
            target = peer.target("/a?b=c")
            await client.post(target, b"webhook-id: evt_1\r\n", b'{"a":1}', timeout=LONG)
            assert peer.requests == [
                b"POST /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept-Encoding: identity\r\n"
                b'Content-Length: 7\r\nwebhook-id: evt_1\r\n\r\n{"a":1}' % peer.port
            ]

    run(scene())


@pytest.mark.parametrize(
    ("wire", "status", "body", "reused"),
    [
        (OK, 200, b"ok", True),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, b"", True),
        (b"HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nbad", 500, b"bad", True),
        (
            CHUNKED + b"2\r\nok\r\n1;x=y\r\n!\r\n0\r\nX-Trailer: t\r\n\r\n",
            200,
            b"ok!",
            True,
        ),
        (b"HTTP/1.1 204 None\r\n\r\n", 204, b"", True),
        (b"HTTP/1.1 204 None\r\nContent-Length: 0\r\n\r\n", 204, b"", True),
        (b"HTTP/1.1 204 None\r\nContent-Length: 2\r\n\r\n", 204, b"", False),
        (b"HTTP/1.1 204 None\r\nTransfer-Encoding: chunked\r\n\r\n", 204, b"", False),
        (b"HTTP/1.1 304 Same\r\nContent-Length: 7\r\n\r\n", 304, b"", True),
        (b"HTTP/1.1 100 Go\r\nX-Hint: b\r\n\r\nHTTP/1.1 103 Hint\r\n\r\n" + OK, 200, b"ok", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", False),
        (OK + OK, 200, b"ok", False),
        (OK + b"x", 200, b"ok", False),
        (b"HTTP/1.1 301 Away\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n", 301, b"", True),
    ],
)
def test_an_answer_is_read_whole_and_its_connection_kept_only_when_sound(
    run: Run, wire: bytes, status: int, body: bytes, reused: bool
) -> None:
    async def scene() -> None:
        async with listening(answering(wire, then="repeat")) as peer, transport() as client:
            for _ in range(3):
                answer = await client.post(peer.target(), b"", b"{}", timeout=LONG)
                assert (answer.status, answer.body, answer.truncated) == (status, body, False)
                assert answer.address == f"127.0.0.1:{peer.port}"
                assert not {b"x-trailer", b"x-hint"} & set(answer.headers)
            assert len(peer.requests) == 3
            assert peer.connections == (1 if reused else 3)
            await settled(lambda: client.connections == (1 if reused else 0))

    run(scene())


def test_a_body_without_length_ends_with_the_connection(run: Run) -> None:
    async def scene() -> None:
        wire = b"HTTP/1.1 200 OK\r\n\r\nall of it"
        async with listening(answering(wire, then="close")) as peer, transport() as client:
            answer = await client.post(peer.target(), b"", b"{}", timeout=LONG)
            assert (answer.status, answer.body, answer.truncated) == (200, b"all of it", False)

    run(scene())


def test_an_answer_in_single_bytes_is_the_same_answer(run: Run) -> None:
    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        await peer.request(reader)
        for byte in b"HTTP/1.1 200 OK\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nok":
            writer.write(bytes((byte,)))
            await asyncio.sleep(0.001)
        await reader.read()

    async def scene() -> None:
        async with listening(script) as peer, transport() as client:
            answer = await client.post(peer.target(), b"", b"{}", timeout=LONG)
            assert (answer.status, answer.body) == (200, b"ok")
            assert answer.headers[b"retry-after"] == b"7"

    run(scene())


def test_headers_are_lower_case_and_repeated_ones_joined(run: Run) -> None:
    async def scene() -> None:
        wire = b"HTTP/1.1 204 No\r\nX-A: 1\r\nRETRY-AFTER: 3\r\nx-a: 2\r\n\r\n"
        async with listening(answering(wire)) as peer, transport() as client:
            answer = await client.post(peer.target(), b"", b"{}", timeout=LONG)
            assert answer.headers == {b"x-a": b"1, 2", b"retry-after": b"3"}

    run(scene())


def test_the_answer_to_head_has_no_body(run: Run) -> None:
    async def scene() -> None:
        wire = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
        async with listening(answering(wire)) as peer, transport() as client:
            answer = await client.request(b"HEAD", peer.target(), b"", b"", timeout=LONG)
            assert (answer.status, answer.body) == (200, b"")

    run(scene())


def test_the_times_of_an_answer_are_in_order(run: Run) -> None:
    made: list[Transport] = []

    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        await peer.request(reader)
        await asyncio.sleep(0.05)
        writer.write(OK[:-1])
        await settled(lambda: reading(made[0]))  # or both parts might be read at once
        await asyncio.sleep(0.05)
        writer.write(OK[-1:])
        await peer.request(reader)
        writer.write(OK)
        await reader.read()

    async def scene() -> None:
        async with listening(script) as peer, transport() as client:
            made.append(client)
            answer = await client.post(peer.target(), b"", b"{}", timeout=LONG)
            assert 0 < answer.connected < answer.first_byte < answer.done
            assert answer.first_byte >= 40
            assert answer.done - answer.first_byte >= 40
            again = await client.post(peer.target(), b"", b"{}", timeout=LONG)
            assert again.connected == 0

    run(scene())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_never_followed(run: Run, status: int) -> None:
    async def scene() -> None:
        async with AsyncExitStack() as stack:
            tripwire = await stack.enter_async_context(listening(answering(OK)))
            wire = (
                b"HTTP/1.1 %d Away\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n"
            )
            wire %= (status, tripwire.port)
            peer = await stack.enter_async_context(listening(answering(wire)))
            client = await stack.enter_async_context(transport())
            answer = await client.post(peer.target(), b"", b"{}", timeout=LONG)
            assert answer.status == status
            assert answer.headers[b"location"].startswith(b"http://127.0.0.1")
            assert tripwire.connections == 0

    run(scene())


def test_the_proxy_variables_of_the_environment_are_ignored(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        async with AsyncExitStack() as stack:
            tripwire = await stack.enter_async_context(listening(answering(OK)))
            for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{tripwire.port}")
            peer = await stack.enter_async_context(listening(answering(OK)))
            client = await stack.enter_async_context(transport())
            assert (await client.post(peer.target(), b"", b"{}", timeout=LONG)).status == 200
            assert tripwire.connections == 0

    run(scene())


# The pool.


def test_a_kept_connection_that_the_peer_closes_meanwhile_costs_no_attempt(run: Run) -> None:
    async def scene() -> None:
        first_only = answering(OK, b"", then="close")
        async with listening(first_only) as peer, transport() as client:
            for _ in range(2):
                answer = await client.post(peer.target(), b"", b"{}", timeout=LONG)
                assert answer.status == 200
            assert peer.connections == 2
            assert len(peer.requests) == 3  # the second one twice: it may have been acted on

    run(scene())


def test_a_kept_connection_that_resets_is_tried_once_more_and_not_for_ever(run: Run) -> None:
    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        await peer.request(reader)
        if peer.connections == 1:
            writer.write(OK)
            await peer.request(reader)
        reset(writer)

    async def scene() -> None:
        async with listening(script) as peer, transport() as client:
            await client.post(peer.target(), b"", b"{}", timeout=LONG)
            assert (await fails(client, peer.target())).failure is Failure.RESET
            assert len(peer.requests) == 3

    run(scene())


def test_a_kept_connection_that_breaks_within_an_answer_is_not_tried_again(run: Run) -> None:
    async def scene() -> None:
        script = answering(OK, b"H", then="close")
        async with listening(script) as peer, transport() as client:
            await client.post(peer.target(), b"", b"{}", timeout=LONG)
            assert (await fails(client, peer.target())).failure is Failure.RESET
            assert len(peer.requests) == 2

    run(scene())


def test_a_connection_that_the_peer_closes_leaves_the_pool(run: Run) -> None:
    async def scene() -> None:
        async with listening(answering(OK, then="close")) as peer, transport() as client:
            for _ in range(2):
                await client.post(peer.target(), b"", b"{}", timeout=LONG)
                await settled(lambda: client.connections == 0)
                assert client._pool == {}  # nor may it leave a trace for every origin ever met
            assert (peer.connections, len(peer.requests)) == (2, 2)

    run(scene())


def test_bytes_that_were_not_asked_for_close_a_kept_connection(run: Run) -> None:
    kept = asyncio.Event()

    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        await peer.request(reader)
        writer.write(OK)
        await kept.wait()
        writer.write(OK.replace(b"200 OK", b"500 No"))
        await reader.read()

    async def scene() -> None:
        async with listening(script) as peer, transport() as client:
            await client.post(peer.target(), b"", b"{}", timeout=LONG)
            assert client.connections == 1
            kept.set()
            await settled(lambda: client.connections == 0)
            answer = await client.post(peer.target(), b"", b"{}", timeout=LONG)
            assert (answer.status, peer.connections) == (200, 2)

    run(scene())


def test_a_kept_connection_ends_after_the_idle_time(run: Run) -> None:
    async def scene() -> None:
        async with listening(answering(OK)) as peer, transport(idle=0.1) as client:
            await client.post(peer.target(), b"", b"{}", timeout=LONG)
            assert client.connections == 1
            await settled(lambda: client.connections == 0)
            await settled(peer.ended.is_set)

    run(scene())


def test_no_more_idle_connections_are_kept_than_the_limit(run: Run) -> None:
    async def scene() -> None:
        script = answering(OK, then="repeat")
        async with listening(script) as peer, transport(max_idle_per_target=2) as client:
            posts = (client.post(peer.target(), b"", b"{}", timeout=LONG) for _ in range(5))
            await asyncio.gather(*posts)
            assert peer.connections == 5
            await settled(lambda: client.connections == 2)

    run(scene())


def test_targets_never_share_a_connection(run: Run) -> None:
    async def scene() -> None:
        resolve, _ = resolver(["127.0.0.1"])
        async with listening(answering(OK)) as peer, transport(resolve=resolve) as client:
            for host in ("a.example", "b.example", "127.0.0.1"):
                await client.post(peer.target(host=host), b"", b"{}", timeout=LONG)
            assert peer.connections == 3

    run(scene())


def delayed(*delays: float) -> Script:
    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        for delay in delays:
            await peer.request(reader)
            await asyncio.sleep(delay)
            writer.write(OK)
        await reader.read()

    return script


def test_a_shorter_deadline_on_a_kept_connection_holds(run: Run) -> None:
    async def scene() -> None:
        async with listening(delayed(0, LONG)) as peer, transport() as client:
            await client.post(peer.target(), b"", b"{}", timeout=60)
            failed = await asyncio.wait_for(fails(client, peer.target(), SHORT), LONG / 2)
            assert failed.failure is Failure.TIMEOUT
            assert peer.connections == 1

    run(scene())


def test_a_longer_deadline_on_a_kept_connection_holds(run: Run) -> None:
    async def scene() -> None:
        async with listening(delayed(0, 1.2, 1.2)) as peer, transport(idle=1.0) as client:
            await client.post(peer.target(), b"", b"{}", timeout=1.0)
            for _ in range(2):
                answer = await client.post(peer.target(), b"", b"{}", timeout=LONG)
                assert answer.status == 200
            assert peer.connections == 1

    run(scene())


def test_an_answer_that_came_in_time_is_read_although_the_loop_was_held_up(run: Run) -> None:
    """A laptop that slept, or a machine that was moved: its consumer has the event, and said so."""
    held, answered = threading.Event(), threading.Event()

    def answer(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            held.wait(LONG)
            connection.sendall(OK)
            answered.set()
            with contextlib.suppress(ConnectionResetError):
                connection.recv(65536)

    async def scene(server: socket.socket) -> None:
        loop, (ours, theirs) = asyncio.get_running_loop(), socket.socketpair()

        def hold_up() -> None:
            loop.remove_reader(ours)
            held.set()
            answered.wait(LONG)
            time.sleep(2 * SHORT)

        target = parse_target(f"http://127.0.0.1:{server.getsockname()[1]}/")
        async with transport() as client:
            attempt = asyncio.ensure_future(client.post(target, b"", b"{}", timeout=SHORT))
            await settled(lambda: any(one._waiter is not None for one in client._open))
            # While it reads: what comes meanwhile is read the next time, and timers are before that.
            loop.add_reader(ours, hold_up)
            theirs.send(b"!")
            assert (await attempt).status == 200
        await asyncio.to_thread(peer.join)
        ours.close()
        theirs.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = threading.Thread(target=answer, args=(server,))
        peer.start()
        run(scene(server))


def test_a_cancelled_attempt_closes_its_connection(run: Run) -> None:
    async def scene() -> None:
        async with listening(answering(OK, b"")) as peer, transport() as client:
            await client.post(peer.target(), b"", b"{}", timeout=LONG)
            task = asyncio.create_task(client.post(peer.target(), b"", b"{}", timeout=60))
            await settled(lambda: len(peer.requests) == 2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await settled(lambda: client.connections == 0)
            await settled(peer.ended.is_set)

    run(scene())


def test_close_interrupts_what_is_under_way_and_what_comes_later(run: Run) -> None:
    async def scene() -> None:
        async with listening(answering(b"")) as peer, transport() as client:
            under_way = asyncio.create_task(fails(client, peer.target()))
            await settled(lambda: len(peer.requests) == 1)
            await client.close()
            assert (await under_way).failure is Failure.INTERRUPTED
            assert (await fails(client, peer.target())).failure is Failure.INTERRUPTED
            assert peer.connections == 1

    run(scene())


def test_a_burst_leaves_together_and_a_connection_that_ends_meanwhile_harms_nobody(
    run: Run,
) -> None:
    async def scene() -> None:
        async with listening(answering(OK, then="repeat")) as peer, transport() as client:

            async def post(number: int) -> int:
                body = b'{"n":%d}' % number
                return (await client.post(peer.target(), b"", body, timeout=LONG)).status

            await asyncio.gather(*map(post, range(4)))
            burst = [asyncio.ensure_future(post(number)) for number in range(10, 14)]
            await asyncio.sleep(0)  # each has its connection, and nothing is written yet
            assert len(peer.requests) == 4
            lost = next(iter(client._open))._transport
            assert lost is not None
            lost.abort()
            assert await asyncio.gather(*burst) == [200] * 4
            assert len(peer.requests) == 8
            assert peer.connections == 5

    run(scene())
