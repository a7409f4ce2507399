"""Where the transport connects, and with whom it speaks TLS."""

import asyncio
import datetime as dt
import ipaddress
import re
import socket
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.egress.connector import verified_context
from gateway.egress.rules import Rules, parse_target
from gateway.models import Failure
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
    listening,
    resolver,
    settled,
    transport,
)

pytestmark = both_loops


SPELLINGS = [
    "127.1",
    "0177.0.0.1",
    "2130706433",
    "0x7f.1",
    "0",
    "127。0。0。1",
    "①②⑦.⓪.⓪.①",
    "ⓛocalhost",
]


@pytest.mark.parametrize("host", [*SPELLINGS, "127.0.0.1", "localhost", "::1", "::ffff:7f00:1"])
def test_no_spelling_of_loopback_reaches_a_listener(run: Run, host: str) -> None:
    """By the URL, and where that is refused also by the connector with the system's resolver."""

    async def scene() -> None:
        async with listening(answering(OK)) as tripwire, transport(rules=Rules()) as client:
            shown = f"[{host}]" if ":" in host else host
            targets = [msgspec.structs.replace(tripwire.target(), host=host)]
            try:
                targets.append(parse_target(f"http://{shown}:{tripwire.port}/"))
            except ValueError:
                assert host in SPELLINGS
            for target in targets:
                failed = await fails(client, target)
                assert failed.failure in {Failure.FORBIDDEN, Failure.DNS}
            assert tripwire.connections == 0

    run(scene())


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::ffff:7f00:1", "::1", "64:ff9b::7f00:1", "127.1"]
)
def test_a_name_that_resolves_to_a_forbidden_address_is_never_connected(
    run: Run, address: str
) -> None:
    async def scene() -> None:
        resolve, asked = resolver([address])
        async with listening(answering(OK)) as tripwire, AsyncExitStack() as stack:
            client = await stack.enter_async_context(transport(rules=Rules(), resolve=resolve))
            failed = await fails(client, tripwire.target(host="shop.example"))
            assert failed.failure is Failure.FORBIDDEN
            assert address in failed.detail
            assert failed.address is None
            assert asked == ["shop.example"]
            assert tripwire.connections == 0

    run(scene())


def test_a_rebinding_name_is_judged_at_every_connection(run: Run) -> None:
    async def scene() -> None:
        goodbye = OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")
        resolve, asked = resolver(["127.0.0.2"], ["127.0.0.1"])
        async with AsyncExitStack() as stack:
            tripwire = await stack.enter_async_context(listening(answering(OK)))
            twin = listening(answering(goodbye), host="127.0.0.2", port=tripwire.port)
            peer = await stack.enter_async_context(twin)
            rules = Rules(["127.0.0.2:*"])
            client = await stack.enter_async_context(transport(rules=rules, resolve=resolve))
            target = peer.target(host="shop.example")
            assert (await client.post(target, b"", b"{}", timeout=LONG)).status == 200
            assert len(asked) == 1  # a second lookup would be one that nobody judged
            for _ in range(20):
                assert (await fails(client, target)).failure is Failure.FORBIDDEN
            assert (peer.connections, tripwire.connections) == (1, 0)

    run(scene())


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.2", "127.0.0.1"],
        ["127.0.0.1", "127.0.0.2"],
        ["127.0.0.2"] * 499 + ["10.0.0.1"],
        ["127.0.0.2", "::1"],
        ["127.0.0.2", "fe80::1%lo"],
        ["127.0.0.2", "shop.example"],
    ],
    ids=lambda answer: f"{len(answer)} with {answer[-1]}",
)
def test_one_forbidden_address_refuses_the_whole_answer(run: Run, answer: list[str]) -> None:
    async def scene() -> None:
        resolve, _ = resolver(answer)
        async with AsyncExitStack() as stack:
            tripwire = await stack.enter_async_context(listening(answering(OK)))
            twin = listening(answering(OK), host="127.0.0.2", port=tripwire.port)
            peer = await stack.enter_async_context(twin)
            rules = Rules(["127.0.0.2:*"])
            client = await stack.enter_async_context(transport(rules=rules, resolve=resolve))
            failed = await fails(client, peer.target(host="shop.example"))
            assert failed.failure is Failure.FORBIDDEN
            assert (peer.connections, tripwire.connections) == (0, 0)

    run(scene())


def test_a_literal_is_not_given_to_the_resolver(run: Run) -> None:
    async def scene() -> None:
        resolve, asked = resolver(["127.0.0.9"])
        async with listening(answering(OK)) as peer, transport(resolve=resolve) as client:
            assert (await client.post(peer.target(), b"", b"{}", timeout=LONG)).status == 200
            assert asked == []

    run(scene())


def test_a_peer_that_is_not_the_judged_address_gets_no_byte(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere(socket.socket):
        def getpeername(self) -> tuple[str, int]:
            return ("10.0.0.1", 80)

    async def scene() -> None:
        async with listening(answering(OK)) as peer, transport() as client:
            monkeypatch.setattr(socket, "socket", Elsewhere)
            failed = await fails(client, peer.target())
            monkeypatch.undo()
            assert failed.failure is Failure.CONNECT
            await settled(peer.ended.is_set)
            assert peer.requests == []

    run(scene())


@pytest.mark.parametrize(("dead", "status"), [(1, 200), (3, 200), (4, None)])
def test_addresses_are_tried_in_order_up_to_four(run: Run, dead: int, status: int | None) -> None:
    async def scene() -> None:
        resolve, _ = resolver([*(f"127.0.0.{9 - n}" for n in range(dead)), "127.0.0.1"])
        async with listening(answering(OK)) as peer, transport(resolve=resolve) as client:
            target = peer.target(host="shop.example")
            if status is None:
                failed = await fails(client, target)
                assert failed.failure is Failure.CONNECT
                assert failed.address == f"127.0.0.6:{peer.port}"
                return
            assert (await client.post(target, b"", b"{}", timeout=LONG)).status == status

    run(scene())


def test_an_address_that_swallows_everything_leaves_time_for_the_next(run: Run) -> None:
    async def scene() -> None:
        resolve, _ = resolver(["127.0.0.2", "127.0.0.1"])
        async with AsyncExitStack() as stack:
            peer = await stack.enter_async_context(listening(answering(OK)))
            client = await stack.enter_async_context(transport(resolve=resolve))
            swallowing = stack.enter_context(socket.socket())
            swallowing.bind(("127.0.0.2", peer.port))
            swallowing.listen(0)
            for _ in range(3):  # its queue is full now: the kernel drops what else comes
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.2", peer.port))
            target = peer.target(host="shop.example")
            assert (await client.post(target, b"", b"{}", timeout=4)).status == 200
            alone, _ = resolver(["127.0.0.2"])
            other = await stack.enter_async_context(transport(resolve=alone))
            assert (await fails(other, target, SHORT)).failure is Failure.TIMEOUT

    run(scene())


def test_a_name_without_an_address_fails_as_dns(run: Run) -> None:
    async def scene() -> None:
        async def unknown(host: str, port: int) -> list[str]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        async def unspeakable(host: str, port: int) -> list[str]:
            raise UnicodeError("label too long")

        async def slow(host: str, port: int) -> list[str]:
            await asyncio.sleep(LONG)
            return []

        nothing, _ = resolver([])
        cases = [(unknown, Failure.DNS), (unspeakable, Failure.DNS), (nothing, Failure.DNS)]
        for resolve, failure in [*cases, (slow, Failure.TIMEOUT)]:
            async with transport(resolve=resolve) as client:
                failed = await fails(client, parse_target("http://shop.example/"), SHORT)
                assert failed.failure is failure
                assert "shop.example" in failed.detail

    run(scene())


# TLS.


USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
    *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


class Authority:
    """A certificate authority, and a server context for 'shop.example' and 127.0.0.1 under it."""

    def __init__(self, folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
        own = self._builder(name, name, key.public_key())
        own = own.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        # What RFC 5280 asks of an authority, and Python 3.13 checks.
        usage = dict.fromkeys(USAGES, False) | {"key_cert_sign": True, "crl_sign": True}
        own = own.add_extension(x509.KeyUsage(**usage), critical=True)
        subject_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        own = own.add_extension(subject_key, critical=False)
        self.pem = own.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
        leaf_key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shop.example")])
        names = x509.SubjectAlternativeName(
            [x509.DNSName("shop.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        )
        leaf = self._builder(subject, name, leaf_key.public_key()).add_extension(
            names, critical=False
        )
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        leaf = leaf.add_extension(issuer_key, critical=False)
        chain = leaf.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        secret = leaf_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path = folder / "server.pem"
        path.write_bytes(chain + secret)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(path)
        self.client = ssl.create_default_context(cadata=self.pem)

    @staticmethod
    def _builder(
        subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        day = dt.timedelta(days=1)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
        )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def test_tls_with_a_trusted_certificate_uses_the_original_name(
    run: Run, authority: Authority
) -> None:
    seen: list[str | None] = []

    def sni(_socket: object, name: str | None, _context: object) -> None:
        seen.append(name)

    async def scene() -> None:
        resolve, _ = resolver(["127.0.0.1"])
        authority.server.sni_callback = sni
        async with AsyncExitStack() as stack:
            script = answering(OK, then="repeat")
            peer = await stack.enter_async_context(listening(script, tls=authority.server))
            options = {"resolve": resolve, "ssl_context": authority.client}
            client = await stack.enter_async_context(transport(**options))
            for host in ("shop.example", "shop.example", "shop.example.", "127.0.0.1"):
                target = peer.target(host=host, scheme="https")
                answer = await client.post(target, b"", b"{}", timeout=LONG)
                assert (answer.status, answer.body) == (200, b"ok")
            assert (peer.connections, client.connections) == (3, 3)
            assert seen[:2] == ["shop.example", "shop.example"]
            assert b"Host: shop.example:%d\r\n" % peer.port in peer.requests[0]

    run(scene())


@pytest.mark.parametrize(
    ("trusted", "host", "reason"),
    [
        (False, "shop.example", "self-signed certificate|unable to get local issuer"),
        (True, "other.example", "[Hh]ostname mismatch"),
        (True, "127.0.0.2", "IP address mismatch"),
    ],
)
def test_a_certificate_that_does_not_prove_the_name_is_refused(
    run: Run, authority: Authority, trusted: bool, host: str, reason: str
) -> None:
    async def scene() -> None:
        resolve, _ = resolver(["127.0.0.1"])
        async with AsyncExitStack() as stack:
            peer = await stack.enter_async_context(
                listening(answering(OK), host="0.0.0.0", tls=authority.server)
            )
            context = authority.client if trusted else verified_context()
            options = {"resolve": resolve, "ssl_context": context}
            client = await stack.enter_async_context(transport(**options))
            failed = await fails(client, peer.target(host=host, scheme="https"))
            assert failed.failure is Failure.TLS
            assert re.search(reason, failed.detail)
            assert "certificate" in failed.detail
            assert peer.requests == []

    run(scene())


def test_a_tls_handshake_that_stalls_ends_at_the_deadline(run: Run, authority: Authority) -> None:
    async def silent(peer: Peer, reader: Reader, writer: Writer) -> None:
        await reader.readexactly(100_000)

    async def scene() -> None:
        async with listening(silent) as peer, transport(ssl_context=authority.client) as client:
            failed = await fails(client, peer.target(scheme="https"), SHORT)
            assert failed.failure is Failure.TIMEOUT
            await settled(peer.ended.is_set)

    run(scene())


@pytest.mark.parametrize("wire", [OK, b"", b"\x15\x03\x03\x00\x02\x02\x28"])
def test_a_peer_that_speaks_no_tls_fails_as_tls(
    run: Run, authority: Authority, wire: bytes
) -> None:
    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        await reader.readexactly(100)
        writer.write(wire)
        await writer.drain()

    async def scene() -> None:
        async with listening(script) as peer, transport(ssl_context=authority.client) as client:
            failed = await fails(client, peer.target(scheme="https"))
            assert failed.failure is Failure.TLS

    run(scene())
