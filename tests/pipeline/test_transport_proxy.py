"""The forward proxy: what goes through it, who is believed, and that it cannot hold an attempt."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.egress.answer import AttemptFailed
from gateway.egress.rules import Rules, Target, parse_proxy
from gateway.egress.transport import Transport
from gateway.models import Failure
from tests.pipeline.test_transport_connect import Authority
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
    flooding,
    listening,
    reset,
    settled,
    transport,
)

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


async def head_of(reader: Reader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def forwarding(denied: str = "denied.example") -> Script:
    """A real proxy for whom every name is 127.0.0.1: tunnels, forwards, and denies one name."""

    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        head = await head_of(reader)
        peer.requests.append(head)
        found = re.match(rb"(?:CONNECT |[A-Z]+ http://)([^:/ ]+):([0-9]+)", head)
        assert found is not None
        if found[1].decode() == denied:
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            await reader.read()
            return
        there, back = await asyncio.open_connection("127.0.0.1", int(found[2]))
        if head.startswith(b"CONNECT "):
            writer.write(ESTABLISHED)
        else:
            back.write(head)
        try:
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
        finally:
            back.transport.abort()

    return script


async def _pump(source: Reader, sink: Writer) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()
    sink.write_eof()


def proxy_of(peer: Peer) -> Target:
    return parse_proxy(f"http://127.0.0.1:{peer.port}")


async def nobody(host: str, port: int) -> Sequence[str]:
    raise AssertionError(f"{host} is the proxy's to resolve")


@asynccontextmanager
async def behind(proxy: Peer, /, **options: Any) -> AsyncIterator[Transport]:
    """A transport that may connect nowhere but to its proxy, and resolves nothing."""
    defaults = {"rules": Rules(), "resolve": nobody, "proxy": proxy_of(proxy)}
    async with transport(**{**defaults, **options}) as client:
        yield client


@both_loops
def test_http_goes_through_the_proxy_in_absolute_form(run: Run) -> None:
    async def scene() -> None:
        async with (
            listening(answering(OK, then="repeat")) as peer,
            listening(forwarding()) as proxy,
            behind(proxy) as client,
        ):
            for path in ("/a?b=c", "/second"):
                answer = await client.post(
                    peer.target(path, host="shop.example"),
                    b"webhook-id: 1\r\n",
                    b"{}",
                    timeout=LONG,
                )
                assert (answer.status, answer.body) == (200, b"ok")
                assert answer.address == f"127.0.0.1:{proxy.port}"
            host = b"shop.example:%d" % peer.port
            assert peer.requests[0] == (
                b"POST http://%b/a?b=c HTTP/1.1\r\nHost: %b\r\nAccept-Encoding: identity\r\n"
                b"Content-Length: 2\r\nwebhook-id: 1\r\n\r\n{}" % (host, host)
            )
            assert (len(peer.requests), proxy.connections) == (2, 1)

    run(scene())


@both_loops
def test_https_goes_through_a_tunnel_and_proves_the_original_name(
    run: Run, authority: Authority
) -> None:
    async def scene() -> None:
        async with (
            listening(answering(OK, then="repeat"), tls=authority.server) as peer,
            listening(forwarding()) as proxy,
            behind(proxy, ssl_context=authority.client) as client,
        ):
            for _ in range(2):
                target = peer.target("/a", host="shop.example", scheme="https")
                answer = await client.post(target, b"", b"{}", timeout=LONG)
                assert (answer.status, answer.body) == (200, b"ok")
                assert answer.address == f"127.0.0.1:{proxy.port}"
            authority_form = b"shop.example:%d" % peer.port
            assert proxy.requests == [
                b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (authority_form, authority_form)
            ]
            assert peer.requests[0].startswith(b"POST /a HTTP/1.1\r\nHost: shop.example:")
            assert (peer.connections, len(peer.requests)) == (1, 2)
            failed = await fails(client, peer.target(host="other.example", scheme="https"))
            assert failed.failure is Failure.TLS
            assert "other.example" in failed.detail

    run(scene())


@both_loops
def test_a_tunnel_belongs_to_its_origin_and_so_does_every_other_connection(
    run: Run, authority: Authority
) -> None:
    async def scene() -> None:
        async with (
            listening(answering(OK, then="repeat"), tls=authority.server) as secure,
            listening(answering(OK, then="repeat")) as plain,
            listening(forwarding()) as proxy,
            behind(proxy, ssl_context=authority.client) as client,
        ):
            targets = [
                secure.target(host="shop.example", scheme="https"),
                secure.target(host="shop.example.", scheme="https"),
                plain.target(host="shop.example"),
                plain.target(host="other.example"),
            ]
            for target in targets * 3:
                assert (await client.post(target, b"", b"{}", timeout=LONG)).status == 200
            assert proxy.connections == client.connections == len(targets)
            assert len(secure.requests) == len(plain.requests) == 6

    run(scene())


@both_loops
def test_a_literal_is_judged_here_and_a_name_is_left_to_the_proxy(run: Run) -> None:
    async def scene() -> None:
        async with (
            listening(answering(OK)) as peer,
            listening(forwarding()) as proxy,
            behind(proxy) as client,
        ):
            for scheme in ("http", "https"):
                for host in ("127.0.0.1", "[::1]", "[::ffff:7f00:1]", "169.254.169.254"):
                    failed = await fails(client, peer.target(host=host, scheme=scheme))
                    assert failed.failure is Failure.FORBIDDEN
            assert (proxy.connections, peer.connections) == (0, 0)
            async with behind(proxy, rules=Rules(["127.0.0.1:*"])) as other:
                assert (await other.post(peer.target(), b"", b"{}", timeout=LONG)).status == 200
            assert peer.connections == 1

    run(scene())


@both_loops
def test_the_proxys_own_name_is_resolved_and_not_judged(run: Run) -> None:
    async def scene() -> None:
        asked: list[tuple[str, int]] = []

        async def resolve(host: str, port: int) -> Sequence[str]:
            asked.append((host, port))
            return ["127.0.0.1"]

        async with listening(answering(OK)) as peer, listening(forwarding()) as proxy:
            named = parse_proxy(f"http://proxy.example:{proxy.port}")
            async with behind(proxy, proxy=named, resolve=resolve) as client:
                target = peer.target(host="shop.example")
                assert (await client.post(target, b"", b"{}", timeout=LONG)).status == 200
            assert asked == [("proxy.example", proxy.port)]

    run(scene())


@both_loops
def test_what_the_proxy_denies_is_a_failed_attempt(run: Run, authority: Authority) -> None:
    async def scene() -> None:
        async with (
            listening(answering(OK)) as peer,
            listening(forwarding("denied.example")) as proxy,
            behind(proxy, ssl_context=authority.client) as client,
        ):
            failed = await fails(client, peer.target(host="denied.example", scheme="https"))
            assert failed.failure is Failure.FORBIDDEN
            assert failed.detail == (
                f"The tunnel through the proxy to https://denied.example:{peer.port} was refused"
                " with 403."
            )
            assert failed.address == f"127.0.0.1:{proxy.port}"
            assert (failed.connected, failed.first_byte) == (None, None)
            # Without a tunnel nobody can tell the proxy's 403 from the target's.
            target = peer.target(host="denied.example")
            assert (await client.post(target, b"", b"{}", timeout=LONG)).status == 403
            assert peer.connections == 0

    run(scene())


async def refused_by(script: Script, within: float = LONG) -> AttemptFailed:
    """What a POST to an https target gets whose proxy plays `script`; the proxy is let go of."""
    async with listening(script) as proxy, behind(proxy) as client:
        failed = await fails(client, proxy.target(host="shop.example", scheme="https"), within)
        await settled(proxy.ended.is_set)
        assert failed.address in (None, f"127.0.0.1:{proxy.port}")
        return failed


@both_loops
@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "refused with 407"),
        (b"HTTP/1.0 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno", "refused with 502"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n", "refused with 302"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "refused with 100"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "speaks no HTTP"),
        (b"HTTP/2 200 OK\r\n\r\n", "speaks no HTTP"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "speaks no HTTP"),
        (b"X: HTTP/1.1 200 OK\r\n\r\n", "speaks no HTTP"),
        (ESTABLISHED + b"\x16\x03", "sent bytes unasked"),
        (ESTABLISHED + OK, "sent bytes unasked"),
        (b"", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nX: y", "closed the connection"),
    ],
    ids=repr,
)
def test_a_proxy_that_gives_no_tunnel_fails_as_connect(run: Run, wire: bytes, reason: str) -> None:
    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        await head_of(reader)
        writer.write(wire)
        await writer.drain()
        writer.close()
        await reader.read()

    async def scene() -> None:
        failed = await refused_by(script)
        assert failed.failure is Failure.CONNECT
        assert reason in failed.detail
        assert "https://shop.example:" in failed.detail

    run(scene())


def dripping(start: bytes, block: bytes, pause: float) -> Script:
    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        await head_of(reader)
        writer.write(start)
        while block and not writer.is_closing():
            writer.write(block)
            await writer.drain()
            await asyncio.sleep(pause)
        await reader.read()

    return script


@both_loops
@pytest.mark.parametrize(
    ("start", "block"),
    [
        (b"", b""),
        (b"HTTP/1.1 200 OK\r\nX: ", b"y"),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (ESTABLISHED, b""),  # then TLS stalls inside of the tunnel
    ],
    ids=["silent", "drip", "lines", "stall"],
)
def test_a_proxy_that_drips_or_stalls_ends_at_the_deadline(
    run: Run, start: bytes, block: bytes
) -> None:
    async def scene() -> None:
        failed = await refused_by(dripping(start, block, 0.02), SHORT)
        assert failed.failure is Failure.TIMEOUT
        assert "https://shop.example:" in failed.detail

    run(scene())


@both_loops
def test_an_endless_head_from_the_proxy_is_not_read_to_its_end(run: Run) -> None:
    async def scene() -> None:
        failed = await refused_by(dripping(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000, 0))
        assert failed.failure is Failure.CONNECT
        assert "longer than is read" in failed.detail

    run(scene())


@both_loops
def test_a_proxy_that_resets_fails_as_connect(run: Run) -> None:
    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        await head_of(reader)
        reset(writer)

    async def scene() -> None:
        assert (await refused_by(script)).failure is Failure.CONNECT

    run(scene())


@both_loops
def test_without_its_proxy_nothing_goes_out_at_all(run: Run) -> None:
    async def scene() -> None:
        async with listening(answering(OK)) as peer, listening(answering(OK)) as gone:
            dead = proxy_of(gone)
        async with listening(answering(OK)) as peer:
            options = {"rules": Rules(["127.0.0.0/8:*"]), "proxy": dead}
            async with transport(**options) as client:
                for scheme in ("http", "https"):
                    failed = await fails(client, peer.target(scheme=scheme))
                    assert failed.failure is Failure.CONNECT
                    assert failed.detail.startswith("The proxy cannot be reached: No connection to")
            assert peer.connections == 0

    run(scene())


@both_loops
def test_a_cancelled_attempt_lets_go_of_the_proxy(run: Run) -> None:
    async def scene() -> None:
        async with listening(dripping(b"", b"", 0)) as proxy, behind(proxy) as client:
            target = proxy.target(host="shop.example", scheme="https")
            task = asyncio.create_task(client.post(target, b"", b"{}", timeout=LONG))
            await settled(lambda: proxy.connections == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await settled(proxy.ended.is_set)

    run(scene())


@both_loops
def test_an_answer_through_the_proxy_is_limited_like_any_other(run: Run) -> None:
    async def scene() -> None:
        script = flooding(b"HTTP/1.1 200 OK\r\n\r\n", b"y" * 65536)
        async with listening(script) as proxy, behind(proxy, body_cap=1000) as client:
            target = proxy.target(host="shop.example")
            answer = await client.post(target, b"", b"{}", timeout=LONG)
            assert (len(answer.body), answer.truncated) == (1000, True)
            await settled(proxy.ended.is_set)

    run(scene())


@both_loops
def test_neither_the_environment_nor_netrc_is_read_beside_a_proxy(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        async with (
            listening(answering(OK)) as tripwire,
            listening(answering(OK)) as peer,
            listening(forwarding()) as proxy,
            behind(proxy) as client,
        ):
            (tmp_path / ".netrc").write_text("default login canary password canary\n")
            monkeypatch.setenv("HOME", str(tmp_path))
            for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
                monkeypatch.setenv(name, f"http://canary:canary@127.0.0.1:{tripwire.port}")
            monkeypatch.setenv("NO_PROXY", "*")
            target = peer.target(host="shop.example")
            assert (await client.post(target, b"", b"{}", timeout=LONG)).status == 200
            assert (proxy.connections, tripwire.connections) == (1, 0)
            assert b"uthorization" not in peer.requests[0]

    run(scene())


@pytest.mark.parametrize("url", ["http://proxy:3128", "http://10.0.0.1:3128/", "http://[fd00::1]"])
def test_parse_proxy_reads(url: str) -> None:
    assert not parse_proxy(url).tls


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://proxy:3128", "must begin with http://"),
        ("socks5://proxy:1080", "must begin with"),
        ("proxy:3128", "must begin with"),
        ("http://user:secret@proxy:3128", "user name or password"),
        ("http://proxy:3128/path", "ends after its port"),
        ("http://proxy:3128?a=b", "ends after its port"),
        ("http://proxy:0", "between 1 and 65535"),
        ("", "must begin with"),
    ],
)
def test_parse_proxy_refuses_with_one_sentence(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        parse_proxy(url)
    assert "secret" not in str(caught.value)
