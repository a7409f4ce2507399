"""PrintStudio against the simulator, over real HTTP: asked, listed, registered, and calling."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from gateway.errors import Missing, Rejected, Throttled, TokenRefused
from gateway.models import Callback, Duration, Millis, Query, Reply, Watched
from gateway.providers.printstudio import ORDER_EVENTS, PrintStudio, PrintStudioOptions
from tests.simulators.api import Api, Request, Response, serving
from tests.simulators.printstudio import KEY, LIMITS, PrintStudioApi

SHOP = PrintStudio(PrintStudioOptions(currency="EUR"))
NOW = 1_700_000_000.0
SECRET = "a-signing-secret"

Ask = Callable[[Query], Awaitable[Reply]]
Scene = Callable[[PrintStudioApi, Ask], Awaitable[None]]


class Hook(Api):
    def answer(self, request: Request) -> Response:
        return Response(status=202)


def play(scene: Scene, *, key: str = KEY) -> None:
    """Run a scene: what the provider asks for is sent as the poller sends it."""

    async def run() -> None:
        async with (
            serving(PrintStudioApi(now=lambda: NOW)) as api,
            httpx2.AsyncClient(trust_env=False, headers=dict(SHOP.authorize(key))) as client,
        ):

            async def ask(query: Query) -> Reply:
                url, params = f"{api.url}/{query.path}", dict(query.params)
                answer = await client.request(query.method, url, params=params, content=query.body)
                return Reply(
                    status=answer.status_code,
                    headers=dict(answer.headers),
                    body=answer.content,
                    at=Millis(int(NOW * 1000)),
                )

            await scene(api, ask)

    asyncio.run(run())


@pytest.mark.parametrize("under", ["", "order", "data"])
def test_an_order_is_followed(under: Any) -> None:
    async def scene(api: PrintStudioApi, ask: Ask) -> None:
        api.order_under = under
        number = api.place("ord 1?ü#")
        for status in ("pending_payment", "printing", "shipped"):
            api.move(number, status)
            replies = [await ask(SHOP.order(number))]
            reading = SHOP.read(Watched(number=number), replies)
            assert (reading.event_id, reading.event_type) == (number, status)
            assert reading.facts[-1].state == status.replace("pending_payment", "created")

    play(scene)


@pytest.mark.parametrize("under", ["orders", "data", ""])
@pytest.mark.parametrize("amount", [0, 1, 99, 100, 101, 250])
def test_every_order_is_listed_once(under: Any, amount: int) -> None:
    async def scene(api: PrintStudioApi, ask: Ask) -> None:
        api.listed_under, api.paged = under, amount % 2 == 0
        placed = [api.place() for _ in range(amount)]
        found, cursor, more = [], None, True
        while more:
            page = SHOP.read_page(await ask(SHOP.page(cursor)), cursor)
            found += [order.number for order in page.orders]
            assert all(order.body for order in page.orders)
            cursor, more = page.cursor, page.cursor is not None
        assert found == placed[::-1]
        assert len(api.requests) == amount // 100 + 1

    play(scene)


def test_errors_are_what_the_shop_says() -> None:
    async def scene(api: PrintStudioApi, ask: Ask) -> None:
        reply = await ask(SHOP.order("ord-0"))
        with pytest.raises(Missing, match="404 Not Found \\(Not found\\)"):
            SHOP.read(Watched(number="ord-0"), [reply])
        for _ in range(LIMITS["standard"]):
            reply = await ask(SHOP.page(None))
        with pytest.raises(Throttled, match="Too many requests"):
            SHOP.read_page(reply)

    play(scene)


def test_a_wrong_key_is_a_refused_token() -> None:
    async def scene(api: PrintStudioApi, ask: Ask) -> None:
        with pytest.raises(TokenRefused, match="Invalid or missing API key"):
            SHOP.read_page(await ask(SHOP.page(None)))

    play(scene, key="wrong")


def test_a_registered_endpoint_gets_callbacks_that_are_authentic() -> None:
    async def scene(api: PrintStudioApi, ask: Ask) -> None:
        number = api.place()
        async with serving(Hook()) as hook:
            reply = await ask(SHOP.registration(url=hook.url + "/hooks/shop", secret=SECRET))
            assert SHOP.read_registration(reply) == "whe-1"
            for event in ORDER_EVENTS:
                await api.fire(event, number)
        assert len(hook.requests) == len(ORDER_EVENTS)
        for event, request in zip(ORDER_EVENTS, hook.requests, strict=True):
            callback = received(request)
            check(callback, SECRET)
            with pytest.raises(Rejected):
                check(callback, "another secret")
            reading = SHOP.normalize(callback)
            assert reading.event_type == event
            assert {fact.order for fact in reading.facts} == {number}

    play(scene)


def received(request: Request) -> Callback:
    headers = [(name.encode(), value.encode()) for name, value in request.headers.items()]
    return Callback(source="shop", headers=headers, body=request.body, received_at=Millis(1))


def check(callback: Callback, secret: str) -> None:
    SHOP.verify(callback, secrets=[secret.encode()], tolerance=Duration(1), now=Millis(1))
