"""Rules S1 to S3 of the egress: the list L1 whole, names that change their mind, redirects, tricks."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from gateway.egress import connector
from gateway.egress.rules import Rules, parse_target
from gateway.egress.transport import Transport
from gateway.errors import ConfigError, ForbiddenAddress
from gateway.models import Failure, Mode, Outcome
from gateway.sender import Sender
from tests.pipeline.test_sender import delivery, subscription
from tests.pipeline.transport_peers import OK, answering, listening, resolver, transport
from tests.pipeline.world import configuration, consuming, running, shop_event
from tests.unit.config_stub import SUBSCRIPTION, read

DELIVERIES = 1_000

# What `getaddrinfo` reads as 127.0.0.1, although it is no address in its strict spelling.
SPELLINGS = (
    *("127.1", "0177.0.0.1", "2130706433", "0x7f.1", "0"),
    *("127。0。0。1", "①②⑦.⓪.⓪.①", "ⓛocalhost"),
)
L1 = (  # of each network its first and last address, and what is known to listen in it
    *("127.0.0.1", "127.0.0.0", "127.255.255.255"),
    *("0.0.0.0", "0.255.255.255"),
    *("10.0.0.0", "10.255.255.255"),
    *("172.16.0.0", "172.31.255.255"),
    *("192.168.0.0", "192.168.255.255"),
    *("169.254.169.254", "169.254.0.0", "169.254.255.255"),
    *("100.64.0.0", "100.100.100.200", "100.127.255.255"),
    *("192.0.0.0", "192.0.0.255"),
    *("192.0.2.0", "192.0.2.255"),
    *("192.88.99.0", "192.88.99.255"),
    *("198.18.0.0", "198.19.255.255"),
    *("198.51.100.0", "198.51.100.255"),
    *("203.0.113.0", "203.0.113.255"),
    *("224.0.0.0", "239.255.255.255"),
    *("240.0.0.0", "255.255.255.254"),
    "255.255.255.255",
    "168.63.129.16",
    *("::", "::1", "::ffff:7f00:1", "::7f00:1"),
    *("64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe"),
    "2002:7f00:1::",
    *("2001:0:7f00:1::", "2001:0:4136:e378:8000:63bf:80ff:fffe"),  # Teredo: server, client
    *("2a00:1450:4001:801:0:5efe:10.0.0.1", "2a00:1450:4001:801:200:5efe:10.0.0.1"),  # ISATAP
    *("fe80::1", "fe80::1%eth0", "febf::1"),
    *("fec0::1", "feff::1"),
    *("fd00:ec2::254", "fc00::1", "fdff::1"),
    *("ff02::1", "ff0e::1"),
    *("100::1", "2001:db8::1", "3fff::1", "5f00::1"),
)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses to which a connection was begun; the tripwire of those that nobody can bind."""
    begun: list[str] = []
    connect = connector._connect

    async def noting(address: str, port: int) -> Any:
        begun.append(address)
        return await connect(address, port)

    monkeypatch.setattr(connector, "_connect", noting)
    return begun


async def attempts(client: Transport, url: str, count: int = 1, **more: Any) -> list[Outcome]:
    sender, made = Sender(client), subscription(url, **more)
    return [await sender.send(made, delivery()) for _ in range(count)]


# S1: addresses that are private in disguise.


@pytest.mark.parametrize("address", [*L1, *SPELLINGS])
def test_s1_no_address_of_l1_is_taken_into_the_configuration(address: str, tmp_path: Path) -> None:
    host = f"[{address}]" if ":" in address else address
    text = SUBSCRIPTION.replace("https://example.com/in", f"http://{host}:5678/in")
    if address == "ⓛocalhost":  # a name like any other, of which only the resolver knows
        assert read(text, tmp_path).subscriptions
        return
    with pytest.raises(ConfigError, match=r"^subscriptions\.sub\.url: ") as caught:
        read(text, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", [one for one in L1 if "%" not in one])
def test_s1_the_refusal_of_a_literal_names_the_rule(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(ForbiddenAddress, match=r" (is|carries|lies) .*egress\.allow = "):
        Rules().check_target(parse_target(f"https://{host}/"))


@pytest.mark.parametrize("address", [*L1, *SPELLINGS])
def test_s1_no_address_of_l1_is_connected_to_as_an_answer_of_the_resolver(
    address: str, tried: list[str]
) -> None:
    async def scene() -> None:
        resolve, asked = resolver([address])
        async with (
            listening(answering(OK)) as tripwire,
            transport(rules=Rules(), resolve=resolve) as client,
        ):
            for scheme in ("http", "https"):
                url = f"{scheme}://shop.example:{tripwire.port}/"
                (outcome,) = await attempts(client, url)
                assert outcome.failure is Failure.FORBIDDEN
                assert address in outcome.detail
                assert "shop.example" in outcome.detail or address in SPELLINGS
            assert (len(asked), tried, tripwire.connections) == (2, [], 0)

    asyncio.run(scene())


def test_s1_what_is_not_on_the_list_is_connected_to(tried: list[str]) -> None:
    """Or the tests above would pass with a door that is shut for all."""

    async def scene() -> None:
        resolve, _ = resolver(["127.0.0.1"])
        async with listening(answering(OK)) as peer, transport(resolve=resolve) as client:
            (outcome,) = await attempts(client, f"http://shop.example:{peer.port}/")
            assert (outcome.status, tried) == (200, ["127.0.0.1"])

    asyncio.run(scene())


# S2: names that change their mind. 127.0.0.2 stands for a public address, 127.0.0.1 has the tripwire.


def _fickle_answers() -> Iterator[Sequence[str]]:
    public, private = "127.0.0.2", "127.0.0.1"
    return cycle(
        [
            [public],
            [private],
            [public, private],
            [private, public],
            ["::1"],
            ["fd00::1", "fe80::1"],
            ["::ffff:7f00:1"],
            [public] * 499 + [private],
            [f"10.0.{n // 250}.{n % 250}" for n in range(500)],
        ]
    )


@pytest.mark.parametrize("keep", [True, False], ids=["keep-alive", "close"])
def test_s2_a_thousand_deliveries_to_a_name_that_rebinds_never_meet_the_tripwire(
    keep: bool,
) -> None:
    async def scene() -> None:
        answers, asked = _fickle_answers(), []

        async def resolve(host: str, port: int) -> Sequence[str]:  # as with a TTL of 0
            asked.append(next(answers))
            return asked[-1]

        answer = OK if keep else OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")
        async with AsyncExitStack() as stack:
            tripwire = await stack.enter_async_context(listening(answering(OK)))
            twin = listening(answering(answer, then="repeat"), host="127.0.0.2", port=tripwire.port)
            peer = await stack.enter_async_context(twin)
            rules = Rules(["127.0.0.2:*"])
            client = await stack.enter_async_context(transport(rules=rules, resolve=resolve))
            url = f"http://shop.example:{peer.port}/"
            found = await attempts(client, url, DELIVERIES)
            assert tripwire.connections == 0
            good = [outcome for outcome in found if outcome.status == 200]
            assert {one.address for one in good} == {f"127.0.0.2:{peer.port}"}
            refused = [outcome for outcome in found if outcome.failure is Failure.FORBIDDEN]
            assert len(good) + len(refused) == DELIVERIES
            # Every connection was looked up once, and judged by that same answer.
            assert peer.connections == sum(answer == ["127.0.0.2"] for answer in asked)
            assert len(peer.requests) == len(good) == (DELIVERIES if keep else peer.connections)

    asyncio.run(scene())


def test_s2_a_name_with_private_ipv6_addresses_only_is_refused() -> None:
    async def scene() -> None:
        async with listening(answering(OK), host="::1") as tripwire:
            for answer in (["::1"], ["fd00::1", "::1"], ["fe80::1%lo", "::1"]):
                resolve, _ = resolver(answer)
                async with transport(rules=Rules(), resolve=resolve) as client:
                    (outcome,) = await attempts(client, f"http://shop.example:{tripwire.port}/")
                    assert outcome.failure is Failure.FORBIDDEN
            assert tripwire.connections == 0

    try:
        asyncio.run(scene())
    except OSError as error:
        pytest.skip(f"no IPv6 on this machine: {error}")


def test_s2_only_the_operator_learns_of_a_refusal(tmp_path: Path) -> None:
    """The row of the attempt names name, address and rule; nothing leaves the machine."""

    async def story() -> None:
        async with consuming() as consumer, listening(answering(OK)) as other:
            text = configuration(consumer.port).replace("127.0.0.1:", "localhost:", 1)
            text = text.replace("127.0.0.0/8:*", f"127.0.0.0/8:{other.port}")
            async with running(tmp_path, consumer, text) as world:
                answer = await world.shop(shop_event(1))
                assert "forbidden" not in answer.text
                query = "SELECT failure, detail, address FROM attempts"
                await world.until(lambda: world.rows(query))
                failure, detail, address = world.rows(query)[0]
                assert (failure, address) == ("forbidden", None)
                assert detail.startswith("localhost is ")
                assert f":{consumer.port}" in detail
                assert (consumer.seen, other.connections) == ([], 0)

    asyncio.run(story())


# S3: redirects, ports, tricks.


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308])
@pytest.mark.parametrize("mode", [Mode.STRUCTURED, Mode.BINARY])
def test_s3_no_redirect_is_followed_wherever_it_leads(status: int, mode: Mode) -> None:
    async def scene() -> None:
        async with AsyncExitStack() as stack:
            tripwire = await stack.enter_async_context(listening(answering(OK)))
            for location in (
                f"http://127.0.0.1:{tripwire.port}/",
                f"//127.0.0.1:{tripwire.port}/",
                f"https://127.0.0.1:{tripwire.port}/",
                "/elsewhere",
                "",
            ):
                wire = f"HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
                script = answering(wire.encode(), then="repeat")
                peer = await stack.enter_async_context(listening(script))
                client = await stack.enter_async_context(transport())
                url = f"http://127.0.0.1:{peer.port}/"
                own = (("Authorization", b"Bearer canary"),)
                (outcome,) = await attempts(client, url, mode=mode, headers=own)
                assert (outcome.status, outcome.failure) == (status, Failure.REDIRECT)
                assert (location or "nowhere") in outcome.detail
                assert (len(peer.requests), tripwire.connections) == (1, 0)

    asyncio.run(scene())


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_s3_another_port_of_an_allowed_network_is_not_reached(name: str) -> None:
    """The gateway's own admin port is one of these: it is reached only where `allow` says so."""

    async def scene() -> None:
        async with listening(answering(OK)) as peer, listening(answering(OK)) as admin:
            async with transport(rules=Rules([f"127.0.0.0/8:{peer.port}"])) as client:
                (outcome,) = await attempts(client, f"http://127.0.0.1:{peer.port}/")
                assert outcome.status == 200
                (outcome,) = await attempts(client, f"http://{name}:{admin.port}/")
                assert outcome.failure is Failure.FORBIDDEN
            assert admin.connections == 0

    asyncio.run(scene())


def test_s3_the_own_admin_port_is_refused_at_configuration(tmp_path: Path) -> None:
    text = SUBSCRIPTION.replace("https://example.com/in", "http://127.0.0.1:8081/v1/subscriptions")
    with pytest.raises(ConfigError, match=r"subscriptions\.sub\.url: 127\.0\.0\.1 is a loopback"):
        read(text, tmp_path)
    with pytest.raises(ConfigError):
        read(f'{text}\n[egress]\nallow = ["127.0.0.1:8080"]', tmp_path)
    allowed = f'{text}\n[egress]\nallow = ["127.0.0.1:8081"]'
    assert read(allowed, tmp_path).subscriptions


@pytest.mark.parametrize(
    "trick",
    [
        "http://8.8.8.8@127.0.0.1:PORT/",
        "http://shop.example\\@127.0.0.1:PORT/",
        "http://shop.example#@127.0.0.1:PORT/",
        "http://shop.example\t@127.0.0.1:PORT/",
        "http://127.0.0.1:PORT\t/",
        " http://127.0.0.1:PORT/",
        "http://127.0.0.1:PORT:80/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:PORT\r\n/",
        "http://shop.example:80@127.0.0.1:PORT/",
        "http:127.0.0.1:PORT/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:PORT/",
        "unix:///run/x",
        "http+unix://127.0.0.1:PORT/",
    ],
)
def test_s3_a_trick_that_is_stored_reaches_nobody(trick: str) -> None:
    """Even where loopback is allowed whole: the URL itself is refused at every attempt."""

    async def scene() -> None:
        async with listening(answering(OK)) as tripwire, transport() as client:
            (outcome,) = await attempts(client, trick.replace("PORT", str(tripwire.port)))
            assert outcome.failure is Failure.PROTOCOL
            assert outcome.detail.startswith("The request cannot be made: ")
            assert tripwire.connections == 0

    asyncio.run(scene())
