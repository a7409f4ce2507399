"""What one attempt sends and reports: modes, own headers, the handshake's origin, times."""

import asyncio
import json
import time
from typing import Any

import msgspec
import pytest
from standardwebhooks import Webhook

from gateway.egress.rules import Rules
from gateway.egress.transport import BODY_CAP, Transport
from gateway.models import Delivery, Failure, Millis, Mode, Outcome, Subscription
from gateway.sender import Request, Sender, request_of
from tests.pipeline.transport_peers import (
    LONG,
    LOOPBACK,
    OK,
    Peer,
    Reader,
    Writer,
    answering,
    flooding,
    listening,
    reading,
    settled,
    transport,
)
from tests.pipeline.world import SECRET

KEY = b"01234567890123456789012345678901"  # what SECRET is the base64 of
NOW = 1_750_000_000.9
CANARY = "canary-7f3a"
EVENT = {
    "specversion": "1.0",
    "id": "evt_1",
    "source": "/sources/shop",
    "type": "order.created",
    "time": "2026-01-15T14:30:00Z",
    "datacontenttype": "application/json",
    "data": {"order": "Nº 1"},
}
BODY = json.dumps(EVENT, ensure_ascii=False).encode()


def subscription(url: str = "http://127.0.0.1:9/hook?a=b", **more: Any) -> Subscription:
    values = {"id": 1, "name": "a", "secrets": (KEY,), "timeout": Millis(int(LONG * 1000)), **more}
    return Subscription(url=url, **values)


def delivery(body: bytes = BODY, event_id: str = "evt_1", size: int = 1) -> Delivery:
    return Delivery(
        id=1,
        subscription=1,
        event_id=event_id,
        event_type="order.created",
        body=body,
        attempts=0,
        number=0,
        first_at=None,
        claim=1,
        size=size,
    )


def lines(request: Request) -> dict[str, str]:
    """The headers by lower-case name; none of them may stand there twice."""
    assert request.head.endswith(b"\r\n")
    pairs = [one.split(": ", 1) for one in request.head.decode("ascii").split("\r\n")[:-1]]
    found = {name.lower(): value for name, value in pairs}
    assert len(found) == len(pairs)
    return found


def attempt(made: Subscription, event: Delivery, client: Transport) -> "asyncio.Task[Outcome]":
    return asyncio.create_task(Sender(client).send(made, event))


# The request.


@pytest.mark.parametrize(
    ("mode", "content_type"),
    [
        (Mode.STRUCTURED, "application/cloudevents+json; charset=utf-8"),
        (Mode.JSON, "application/json"),
        (Mode.BATCH, "application/cloudevents-batch+json; charset=utf-8"),
        (Mode.BINARY, "application/json"),
    ],
)
def test_every_mode_has_its_content_type_and_is_signed_as_sent(
    mode: Mode, content_type: str
) -> None:
    body = b"[%b,%b]" % (BODY, BODY) if mode is Mode.BATCH else BODY
    request = request_of(subscription(mode=mode), delivery(body, "msg_7"), NOW)
    headers = lines(request)
    assert headers["content-type"] == content_type
    assert headers["user-agent"].startswith("webhook-gateway/")
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg_7", "1750000000")
    assert "webhook-request-origin" not in headers
    assert request.target.path == b"/hook?a=b"
    assert request.body == (b'{"order": "N\xc2\xba 1"}' if mode is Mode.BINARY else body)
    fresh = lines(request_of(subscription(mode=mode), delivery(body, "msg_7"), time.time()))
    Webhook(SECRET).verify(request.body, fresh, json_parse=False)


def test_a_request_depends_on_nothing_but_what_it_is_made_of() -> None:
    made = subscription(headers=(("X-Key", b"k"),), origin="gateway.example")
    assert request_of(made, delivery(), NOW) == request_of(made, delivery(), NOW)


def test_a_batch_goes_out_as_it_is_under_its_own_id() -> None:
    members = b"[%b,%b]" % (BODY, BODY.replace(b"evt_1", b"evt_2"))
    batch = delivery(members, "bat_1", size=2)
    requests = [request_of(subscription(mode=Mode.BATCH), batch, NOW + later) for later in (0, 60)]
    assert {request.body for request in requests} == {members}
    assert {lines(request)["webhook-id"] for request in requests} == {"bat_1"}
    assert len({lines(request)["webhook-signature"] for request in requests}) == 2


def test_own_headers_stand_beside_the_gateways_own() -> None:
    own = (("Authorization", b"Bearer abc"), ("X-Shop", b"berlin"))
    headers = lines(request_of(subscription(headers=own), delivery(), NOW))
    assert (headers["authorization"], headers["x-shop"]) == ("Bearer abc", "berlin")
    assert headers["webhook-id"] == "evt_1"


@pytest.mark.parametrize("name", ["User-Agent", "user-agent", "USER-AGENT"])
def test_an_own_user_agent_stands_in_place_of_the_gateways(name: str) -> None:
    request = request_of(subscription(headers=((name, b"shop/1"),)), delivery(), NOW)
    assert lines(request)["user-agent"] == "shop/1"


@pytest.mark.parametrize("mode", list(Mode))
def test_wh_10_every_delivery_after_consent_carries_the_origin(mode: Mode) -> None:
    request = request_of(subscription(mode=mode, origin="gateway.example"), delivery(), NOW)
    assert lines(request)["webhook-request-origin"] == "gateway.example"


def test_a_content_type_with_a_line_break_is_no_second_header() -> None:
    evil = json.dumps({**EVENT, "datacontenttype": "text/plain\r\nX-Evil: 1"}).encode()
    with pytest.raises(ValueError, match="content-type"):
        request_of(subscription(mode=Mode.BINARY), delivery(evil), NOW)


# The attempt.


def test_the_bytes_on_the_wire_are_those_of_the_request() -> None:
    async def scene() -> None:
        async with listening(answering(OK)) as peer, transport() as client:
            made = subscription(
                f"http://127.0.0.1:{peer.port}/hook?a=b",
                headers=(("X-Key", b"k"),),
                origin="o.example",
            )
            await Sender(client, wall=lambda: NOW).send(made, delivery())
            request = request_of(made, delivery(), NOW)
            (wire,) = peer.requests
            start, _, rest = wire.partition(b"Content-Length: %d\r\n" % len(BODY))
            assert start.startswith(b"POST /hook?a=b HTTP/1.1\r\n")
            assert rest == request.head + b"\r\n" + request.body

    asyncio.run(scene())


@pytest.mark.parametrize("part", [1, 7, 14, 20, 30])
def test_no_part_of_a_secret_is_kept_of_an_answer_that_was_cut_there(part: int) -> None:
    secret = b"Bearer 0123456789abcdefghijklm"

    async def scene() -> None:
        said = b"-" * (BODY_CAP - part) + secret + b"-" * 99
        answer = b"HTTP/1.1 500 X\r\nContent-Length: %d\r\n\r\n" % len(said) + said
        async with listening(answering(answer)) as peer, transport() as client:
            made = subscription(
                f"http://127.0.0.1:{peer.port}/", headers=(("Authorization", secret),)
            )
            outcome = await Sender(client).send(made, delivery())
            assert outcome.head == b"-" * (BODY_CAP - part) + b"***"

    asyncio.run(scene())


def test_a_changed_subscription_is_sent_to_as_it_is_now() -> None:
    """The catalog reads it anew: another address, mode or header counts from the next attempt on."""

    async def scene() -> None:
        async with listening(answering(OK, then="repeat")) as peer, transport() as client:
            sender, url = Sender(client), f"http://127.0.0.1:{peer.port}/"
            first = subscription(url + "one")
            changes: list[dict[str, Any]] = [
                {},
                {"url": url + "two"},
                {"mode": Mode.JSON},
                {"headers": (("X-Key", b"new"),)},
                {"origin": "gateway.example"},
            ]
            for change in changes:
                await sender.send(msgspec.structs.replace(first, **change), delivery())
            await sender.send(first, delivery())
            paths = [wire.split(b" ", 2)[1] for wire in peer.requests]
            assert paths == [b"/one", b"/two", b"/one", b"/one", b"/one", b"/one"]
            assert b"Content-Type: application/json\r\n" in peer.requests[2]
            assert b"X-Key: new\r\n" in peer.requests[3]
            assert b"WebHook-Request-Origin: gateway.example\r\n" in peer.requests[4]
            assert b"X-Key" not in peer.requests[5]
            assert b"Origin" not in peer.requests[5]

    asyncio.run(scene())


@pytest.mark.parametrize(
    "bad",
    [
        {"headers": (("X-Key", CANARY.encode() + b"\r\nX-Evil: 1"),)},
        {"headers": (("X-Key", CANARY.encode() + b"\x00"),)},
        {"headers": (("X-Key", CANARY.encode() + "é".encode()),)},
        {"headers": (("X-Évil", CANARY.encode()),)},
        {"headers": (("X\r\nX-Evil", CANARY.encode()),)},
        {"headers": (("Host", b"elsewhere.example"),)},
        {"headers": (("Content-Length", b"0"),)},
        {"headers": (("Transfer-Encoding", b"chunked"),)},
        {"headers": (("webhook-signature", b"v1,forged"),)},
        {"headers": (("X-Key", b"1"), ("x-key", b"2"))},
        {"origin": "a.example\r\nX-Evil: 1"},
        {"origin": "bücher.example"},
        {"url": "http://a b/"},
        {"url": "ftp://127.0.0.1/"},
        {"url": "http://127.0.0.1/\r\nX-Evil: 1"},
    ],
    ids=repr,
)
def test_s11_what_is_stored_and_cannot_be_sent_fails_the_attempt_and_nothing_else(
    bad: dict[str, Any],
) -> None:
    async def scene() -> None:
        async with listening(answering(OK, then="repeat")) as peer, transport() as client:
            sender, good = Sender(client), subscription(f"http://127.0.0.1:{peer.port}/")
            for _ in range(2):
                outcome = await sender.send(msgspec.structs.replace(good, **bad), delivery())
                assert (outcome.status, outcome.failure) == (None, Failure.PROTOCOL)
                assert outcome.detail.startswith("The request cannot be made: ")
                assert CANARY not in outcome.detail
                assert outcome.detail.isprintable()
                assert (outcome.connected, outcome.first_byte, outcome.address) == (None,) * 3
            assert peer.connections == 0
            assert (await sender.send(good, delivery())).status == 200

    asyncio.run(scene())


# The times.


def test_the_times_of_a_delivery_are_in_order_and_a_kept_connection_costs_none() -> None:
    used: list[Transport] = []

    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        for _ in range(2):
            await peer.request(reader)
            await asyncio.sleep(0.03)
            writer.write(OK[:-1])
            await settled(lambda: reading(used[0]))  # or both parts might be read at once
            await asyncio.sleep(0.03)
            writer.write(OK[-1:])
        await reader.read()

    async def scene() -> None:
        async with listening(script) as peer, transport() as client:
            used.append(client)
            made, sender = subscription(f"http://127.0.0.1:{peer.port}/"), Sender(client)
            first, second = [await sender.send(made, delivery()) for _ in range(2)]
            for outcome in (first, second):
                assert outcome.connected is not None
                assert outcome.first_byte is not None
                assert outcome.connected < outcome.first_byte < outcome.duration
                assert outcome.first_byte >= 20
            assert first.connected
            assert second.connected == 0

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("start", "answered"), [(b"", False), (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", True)]
)
def test_an_attempt_that_times_out_keeps_the_times_that_it_had(
    start: bytes, answered: bool
) -> None:
    async def scene() -> None:
        async with listening(flooding(start, b"")) as peer, transport() as client:
            made = subscription(f"http://127.0.0.1:{peer.port}/", timeout=Millis(1_000))
            outcome = await attempt(made, delivery(), client)
            assert outcome.failure is Failure.TIMEOUT
            assert outcome.connected is not None
            assert 0 < outcome.connected < outcome.duration
            assert (outcome.first_byte is not None) is answered
            if outcome.first_byte is not None:
                assert outcome.connected < outcome.first_byte < outcome.duration

    asyncio.run(scene())


def test_a_reset_on_a_kept_connection_and_on_the_next_has_the_times_of_the_last() -> None:
    async def script(peer: Peer, reader: Reader, writer: Writer) -> None:
        await peer.request(reader)
        if peer.connections == 1:
            writer.write(OK)
            await peer.request(reader)

    async def scene() -> None:
        async with listening(script) as peer, transport() as client:
            made, sender = subscription(f"http://127.0.0.1:{peer.port}/"), Sender(client)
            assert (await sender.send(made, delivery())).status == 200
            outcome = await sender.send(made, delivery())
            assert outcome.failure is Failure.RESET
            assert outcome.connected  # of the new connection
            assert outcome.first_byte is None

    asyncio.run(scene())


@pytest.mark.parametrize("kept", [False, True])
def test_an_answer_cut_off_has_the_time_of_its_first_byte(kept: bool) -> None:
    async def scene() -> None:
        wires = [OK, b"HTTP/1.1 200"] if kept else [b"HTTP/1.1 200"]
        async with listening(answering(*wires, then="close")) as peer, transport() as client:
            made, sender = subscription(f"http://127.0.0.1:{peer.port}/"), Sender(client)
            outcome = [await sender.send(made, delivery()) for _ in wires][-1]
            assert outcome.failure is Failure.RESET
            assert outcome.first_byte is not None
            assert (outcome.connected == 0) is kept
            assert outcome.first_byte <= outcome.duration

    asyncio.run(scene())


@pytest.mark.parametrize("rules", [LOOPBACK, Rules()])
def test_an_attempt_that_never_connected_has_no_times(rules: Rules) -> None:
    async def scene() -> None:
        async with transport(rules=rules) as client:
            outcome = await attempt(subscription("http://127.0.0.1:9/"), delivery(), client)
            assert outcome.failure in {Failure.CONNECT, Failure.FORBIDDEN}
            assert (outcome.connected, outcome.first_byte) == (None, None)

    asyncio.run(scene())
