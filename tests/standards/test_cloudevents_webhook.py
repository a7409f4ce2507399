"""CloudEvents HTTP webhooks 1.0.2, rule by rule (https://github.com/cloudevents/spec, http-webhook.md).

Every test runs a whole gateway over real sockets against an endpoint that does its part.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.stores.base import Consent
from tests.pipeline.handshaking import (
    GRANT,
    ORIGIN,
    PUBLIC_URL,
    Endpoint,
    answering,
    asking,
    callback_of,
    handshake,
)
from tests.pipeline.world import World, running, shop_event

Story = Callable[[World, Endpoint], Awaitable[None]]
Prepare = Callable[[Endpoint], object]


def told(tmp_path: Path, story: Story, *keys: str, first: Prepare = lambda _: None) -> None:
    """Run a story in a gateway whose subscription `good` wants a handshake."""

    async def run() -> None:
        async with answering() as endpoint:
            first(endpoint)
            async with running(tmp_path, endpoint, asking(endpoint.port, *keys)) as world:
                await story(world, endpoint)

    asyncio.run(run())


def consent(status: int = 200, **headers: str) -> Prepare:
    """Have the endpoint answer so; `allowed_rate="60"` is the header WebHook-Allowed-Rate."""
    said = {f"WebHook-{name.title().replace('_', '-')}": text for name, text in headers.items()}

    def prepare(endpoint: Endpoint) -> None:
        endpoint.consent = lambda _: (status, said, b"fine")

    return prepare


def withhold(endpoint: Endpoint) -> None:
    endpoint.consent = lambda _: (200, {}, b"")


async def until(world: World, state: Consent) -> None:
    await world.until(lambda: (known := handshake(world)) and known.state is state)


async def nothing_is_sent(world: World, endpoint: Endpoint) -> None:
    """A delivery is made, kept, and not started."""
    await world.shop(shop_event(1))
    await asyncio.sleep(0.3)
    assert endpoint.seen == []
    assert world.rows("SELECT state, number FROM deliveries") == [(0, 0)]


def test_wh_1_a_delivery_is_a_post_with_a_content_type_and_a_payload(tmp_path: Path) -> None:
    async def story(world: World, endpoint: Endpoint) -> None:
        await world.shop(shop_event(1))
        (seen,) = await world.delivered(1)
        assert endpoint.order == ["OPTIONS", "POST"]
        assert seen.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
        assert seen.event["type"] == "order.created"

    told(tmp_path, story)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_wh_2_every_2xx_is_a_delivery(tmp_path: Path, status: int) -> None:
    async def story(world: World, endpoint: Endpoint) -> None:
        endpoint.answer = lambda _: (status, {}, b"")
        await world.shop(shop_event(1))
        await world.settled()
        assert world.rows("SELECT state FROM deliveries") == [(2,)]

    told(tmp_path, story)


@pytest.mark.parametrize("status", [302, 308])
def test_wh_3_a_redirect_is_never_followed(tmp_path: Path, status: int) -> None:
    async def story(world: World, endpoint: Endpoint) -> None:
        there = {"Location": f"http://127.0.0.1:{endpoint.port}/elsewhere"}
        endpoint.answer = lambda seen: (status, there, b"")
        await world.shop(shop_event(1))
        await world.delivered(2)
        assert {seen.path for seen in endpoint.seen} == {"/good"}

    told(tmp_path, story)


def test_wh_4_nothing_is_sent_to_an_endpoint_that_is_gone(tmp_path: Path) -> None:
    async def story(world: World, endpoint: Endpoint) -> None:
        endpoint.answer = lambda _: (410, {}, b"")
        await world.shop(shop_event(1))
        await world.settled()
        await world.shop(shop_event(2, order="o-2"))
        await asyncio.sleep(0.3)
        assert len(endpoint.seen) == 1
        assert world.rows("SELECT state FROM subscriptions") == [("gone",)]

    told(tmp_path, story)


def test_wh_5_retry_after_is_observed_by_the_whole_subscription(tmp_path: Path) -> None:
    async def story(world: World, endpoint: Endpoint) -> None:
        endpoint.answer = lambda seen: (
            (429, {"Retry-After": "1"}, b"") if len(endpoint.seen) == 1 else (200, {}, b"")
        )
        await world.shop(shop_event(1))
        await world.delivered(1)
        await world.shop(shop_event(2, order="o-2"))
        await world.settled()
        first, *others = endpoint.seen
        assert len(others) == 2
        assert min(seen.at for seen in others) - first.at >= 0.99

    told(tmp_path, story, 'schedule = ["100ms", "2s"]')


def test_wh_6_a_format_that_is_not_understood_is_not_sent_again(tmp_path: Path) -> None:
    async def story(world: World, endpoint: Endpoint) -> None:
        endpoint.answer = lambda _: (415, {}, b"")
        await world.shop(shop_event(1))
        await world.until(lambda: world.rows("SELECT state FROM subscriptions") == [("paused",)])
        await asyncio.sleep(0.3)
        assert len(endpoint.seen) == 1
        assert world.rows("SELECT state FROM deliveries") == [(0,)]

    told(tmp_path, story)


def test_wh_8_consent_is_asked_for_before_anything_is_sent(tmp_path: Path) -> None:
    async def story(world: World, endpoint: Endpoint) -> None:
        await world.until(lambda: endpoint.asked)
        await nothing_is_sent(world, endpoint)  # as long as there is no answer
        assert endpoint.hold is not None
        endpoint.hold.set()
        await world.settled()
        assert endpoint.order == ["OPTIONS", "POST"]
        (asked,) = endpoint.asked
        assert (asked.path, asked.body) == ("/good?x=%20y&z", b"")
        assert asked.headers["webhook-request-origin"] == ORIGIN
        assert asked.headers["webhook-request-rate"] == "1200"
        callback = asked.headers["webhook-request-callback"].removeprefix(PUBLIC_URL)
        assert len(callback.removeprefix("/handshakes/")) >= 43  # 32 random bytes
        assert asked.headers["authorization"] == "Bearer mF_9.B5f-4.1JqM"

    async def run() -> None:
        keys = 'rate = "20/s"', 'headers = { Authorization = "Bearer mF_9.B5f-4.1JqM" }'
        async with answering() as endpoint:
            endpoint.hold = asyncio.Event()
            text = asking(endpoint.port, *keys, path="/good?x=%20y&z")
            async with running(tmp_path, endpoint, text) as world:
                await story(world, endpoint)

    asyncio.run(run())


def test_wh_8_without_a_rate_none_is_asked_for(tmp_path: Path) -> None:
    async def story(world: World, endpoint: Endpoint) -> None:
        await until(world, Consent.GRANTED)
        assert "webhook-request-rate" not in endpoint.asked[0].headers

    told(tmp_path, story)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_wh_8_consent_may_come_by_callback(tmp_path: Path, method: str) -> None:
    async def story(world: World, endpoint: Endpoint) -> None:
        await until(world, Consent.UNSUPPORTED)  # the headers are withheld
        await nothing_is_sent(world, endpoint)
        answer = await world.client.request(
            method, callback_of(world, endpoint), headers={"WebHook-Allowed-Rate": "300"}
        )
        assert (answer.status_code, answer.headers["content-type"][:10]) == (200, "text/plain")
        await world.settled()
        assert len(endpoint.seen) == 1
        assert (handshake(world).state, handshake(world).rate) == (Consent.GRANTED, 300)

    told(tmp_path, story, first=withhold)


@pytest.mark.parametrize("status", [200, 204, 404, 405])
def test_wh_9_a_status_is_never_consent(tmp_path: Path, status: int) -> None:
    async def story(world: World, endpoint: Endpoint) -> None:
        await until(world, Consent.UNSUPPORTED)
        assert str(status) in handshake(world).reason
        await nothing_is_sent(world, endpoint)

    told(tmp_path, story, first=consent(status))


@pytest.mark.parametrize("status", [200, 405])
@pytest.mark.parametrize("origin", [ORIGIN, ORIGIN.upper(), "*"])
def test_wh_9_the_headers_are_consent(tmp_path: Path, status: int, origin: str) -> None:
    async def story(world: World, endpoint: Endpoint) -> None:
        await world.shop(shop_event(1))
        await world.settled()
        assert (handshake(world).state, handshake(world).rate) == (Consent.GRANTED, 6000)

    told(tmp_path, story, first=consent(status, allowed_origin=origin, allowed_rate="6000"))


def test_wh_9_a_callback_without_a_rate_grants_the_requested_one(tmp_path: Path) -> None:
    async def story(world: World, endpoint: Endpoint) -> None:
        await until(world, Consent.UNSUPPORTED)
        await world.client.get(callback_of(world, endpoint))
        assert (handshake(world).state, handshake(world).rate) == (Consent.GRANTED, 1200)

    told(tmp_path, story, 'rate = "20/s"', first=withhold)


def test_wh_10_every_delivery_carries_the_origin(tmp_path: Path) -> None:
    async def story(world: World, endpoint: Endpoint) -> None:
        endpoint.answer = lambda seen: (500 if len(endpoint.seen) == 1 else 200, {}, b"")
        await world.shop(shop_event(1))
        await world.shop(shop_event(2, order="o-2"))
        await world.settled()
        assert len(endpoint.seen) == 3
        origins = {request.headers["webhook-request-origin"] for request in endpoint.seen}
        assert origins == {endpoint.asked[0].headers["webhook-request-origin"]} == {ORIGIN}

    told(tmp_path, story)


def test_wh_11_without_the_handshake_nothing_is_sent_and_nothing_is_lost(tmp_path: Path) -> None:
    async def story(world: World, endpoint: Endpoint) -> None:
        await until(world, Consent.UNSUPPORTED)
        await nothing_is_sent(world, endpoint)
        endpoint.consent = lambda _: (200, GRANT, b"")
        await world.gateway.resume("good")
        await world.settled()
        assert endpoint.order == ["OPTIONS", "OPTIONS", "POST"]

    told(tmp_path, story, first=consent(405))


def test_wh_11_the_granted_rate_is_kept(tmp_path: Path) -> None:
    async def story(world: World, endpoint: Endpoint) -> None:
        await until(world, Consent.GRANTED)
        await asyncio.gather(*(world.shop(shop_event(n, order=f"o-{n}")) for n in range(12)))
        await world.settled()
        times = sorted(seen.at for seen in endpoint.seen)
        assert len(times) == 12
        # A first one at once, and then 600 a minute: never faster, though 100 a second are wanted.
        assert times[-1] - times[0] >= 10 / 10 * 0.95

    first = consent(allowed_origin=ORIGIN, allowed_rate="600")
    told(tmp_path, story, 'rate = "100/s"', first=first)


@pytest.mark.parametrize(
    "origin",
    [
        f"{ORIGIN}.evil.example",
        "example.com",
        f"x{ORIGIN}",
        f"{ORIGIN}, other.example",
        f"https://{ORIGIN}",
    ],
)
def test_wh_12_origins_are_compared_as_whole_names(tmp_path: Path, origin: str) -> None:
    async def story(world: World, endpoint: Endpoint) -> None:
        await until(world, Consent.DENIED)
        assert origin in handshake(world).reason
        await nothing_is_sent(world, endpoint)

    told(tmp_path, story, first=consent(allowed_origin=origin, allowed_rate="*"))


def test_wh_12_a_rate_that_is_none_denies(tmp_path: Path) -> None:
    async def story(world: World, endpoint: Endpoint) -> None:
        await until(world, Consent.DENIED)
        await nothing_is_sent(world, endpoint)

    told(tmp_path, story, first=consent(allowed_origin="*", allowed_rate="lots"))


def test_the_rules_above_are_all_of_them() -> None:
    names: dict[str, Any] = globals()
    tested = {name.split("_")[2] for name in names if name.startswith("test_wh_")}
    # WH-7 is how the endpoint knows us: its own headers, see tests/unit/test_own_headers.py.
    assert tested == {str(number) for number in range(1, 13)} - {"7"}
