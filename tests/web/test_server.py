"""Whom a listener serves, how it stops, and its sockets."""

import asyncio
import contextlib
import os
import signal
import socket
import stat
from pathlib import Path

import msgspec
import pytest
import uvloop

from gateway.errors import StartupError
from gateway.models import Duration
from gateway.web.limits import Hosts, Refusal
from gateway.web.server import Server, bind, bind_unix, make_server, unix_address
from tests.web.listener import (
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

# Hosts and connections


def test_only_allowed_hosts_are_served() -> None:
    limits = msgspec.structs.replace(LIMITS, allowed_hosts=("A.example", "*.b.example", "[::1]"))
    with listening(limits) as listener:
        assert good(listener)
        request = GET.replace(b"a.example", b"evil.example")
        refused(ask(listener, request), 421)
        kept = answers(ask(listener, GET + request))
        assert [status for status, _ in kept] == [200, 421]


@pytest.mark.parametrize(
    ("host", "refusal"),
    [
        (b"a.example", None),
        (b"A.EXAMPLE:8080", None),
        (b"a.example.", None),
        (b"x.b.example", None),
        (b"y.x.B.example:1", None),
        (b"[::1]:8080", None),
        (b"10.0.0.1", None),
        (b"b.example", Refusal.FOREIGN_HOST),
        (b"xb.example", Refusal.FOREIGN_HOST),
        (b"a.example.evil", Refusal.FOREIGN_HOST),
        (b"[::2]", Refusal.FOREIGN_HOST),
        (b"", Refusal.HOST),
        (b".b.example", Refusal.HOST),
        (b"a.example:80:80", Refusal.HOST),
        (b"a.example, b", Refusal.HOST),
        (b"::1", Refusal.HOST),
        (b"a\xc3\xa9", Refusal.HOST),
        (b"a" * 300, Refusal.HOST),
    ],
)
def test_hosts(host: bytes, refusal: Refusal | None) -> None:
    allowed = ("a.example:443", "*.b.example", "::1", "10.0.0.1")
    assert Hosts(allowed).check(host) is refusal


def test_every_host_is_allowed_without_a_list() -> None:
    assert Hosts(()).check(b"anything") is None


def test_connections_over_the_cap_are_turned_away() -> None:
    limits = msgspec.structs.replace(LIMITS, connections=3, head_timeout=Duration(60_000))
    with listening(limits) as listener:
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(listener.connect())
            wait_for(lambda: len(listener.server.server_state.connections) == 3)
            refused(ask(listener), 503)
        wait_for(lambda: not listener.server.server_state.connections)
        assert good(listener)


# Stopping


def test_stop_lets_requests_in_flight_finish_and_closes_the_idle() -> None:
    with listening() as listener, listener.connect() as busy, listener.connect() as idle:
        idle.sendall(GET)
        assert idle.recv(65536).startswith(b"HTTP/1.1 200")
        busy.sendall(GET.replace(b"/echo", b"/slow?1000"))
        wait_for(lambda: listener.app.requests == 2)
        listener.stop(20_000)
        data = read_all(busy)
        assert [status for status, _ in answers(data)] == [200]
        assert b"connection: close" in data
        read_all(idle)
        with pytest.raises(ConnectionRefusedError):
            ask(listener)


def test_stop_cuts_off_what_outlasts_the_grace(caplog: pytest.LogCaptureFixture) -> None:
    limits = msgspec.structs.replace(LIMITS, body_timeout=Duration(60_000))
    with listening(limits) as listener, listener.connect() as sock:
        sock.sendall(HEAD + b"Content-Length: 9\r\n\r\nabc")
        wait_for(lambda: listener.app.requests == 1)
        listener.stop(100)
        assert read_all(sock) == b""
        assert listener.app.disconnects == 1
        assert listener.app.whole == []
    assert [record.getMessage() for record in caplog.records] == ["cutting off 1 connections"]


def test_two_servers_share_a_loop_and_leave_signals_alone() -> None:
    async def run() -> tuple[bytes, bytes]:
        servers: list[Server] = []
        for _ in range(2):
            sock = bind("127.0.0.1", 0, path="server")
            servers.append(make_server(App(), limits=LIMITS, sock=sock))
        ports = [server.sock.getsockname()[1] for server in servers]
        tasks = [asyncio.create_task(server.serve()) for server in servers]
        found = []
        for port in ports:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(GET)
            found.append(await reader.readline())
            writer.close()
        for server in servers:
            server.stop(Duration(1_000))
        await asyncio.gather(*tasks)
        return found[0], found[1]

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert uvloop.run(run()) == (b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n")
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


# Sockets


def test_a_port_in_use_is_one_sentence() -> None:
    with bind("127.0.0.1", 0, path="server") as first:
        port = first.getsockname()[1]
        with pytest.raises(StartupError) as caught:
            bind("127.0.0.1", port, path="server")
    assert str(caught.value) == (
        f"server.port: 127.0.0.1:{port} is in use by another program; "
        "stop it or choose another port"
    )


@pytest.mark.parametrize(
    ("host", "start"),
    [
        ("192.0.2.1", "admin.host: 192.0.2.1 is no address of this machine"),
        ("no such host", "admin.host: 'no such host' is no address or name"),
    ],
)
def test_an_address_that_is_not_ours_is_one_sentence(host: str, start: str) -> None:
    with pytest.raises(StartupError) as caught:
        bind(host, 0, path="admin")
    assert str(caught.value).startswith(start)


def test_a_privileged_port_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(StartupError, match=r"^server\.port: 127\.0\.0\.1:80 needs privileges"):
        bind("127.0.0.1", 80, path="server")


@pytest.mark.parametrize("depth", [1, 20])
def test_a_unix_socket_serves_its_owner_only(tmp_path: Path, depth: int) -> None:
    path = tmp_path.joinpath(*["directory"] * depth, "control.sock")
    path.parent.mkdir(parents=True)
    seen: list[int] = []
    old = os.umask(0)
    try:
        sock = bind_unix(path)
        seen.append(stat.S_IMODE(path.stat().st_mode))
    finally:
        restored = os.umask(old)
    assert seen == [0o600]
    assert restored == 0
    listener = Listener(LIMITS, sock, App())
    with unix_address(path) as address:
        listener.address = address
        assert good(listener)
        with pytest.raises(StartupError, match="in use by another gateway"):
            bind_unix(path)
    listener.stop()
    with bind_unix(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_in_the_way_of_a_unix_socket_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("notes")
    with pytest.raises(StartupError, match="it is no socket"):
        bind_unix(path)
    assert path.read_text() == "notes"
    with pytest.raises(StartupError, match="cannot listen on"):
        bind_unix(tmp_path / "absent" / "control.sock")
    with pytest.raises(StartupError, match="too long"):
        bind_unix(tmp_path / ("x" * 200))
