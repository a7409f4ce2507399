"""The simulator does what the public pages say of PrintStudio."""

import asyncio
import hashlib
import hmac
import itertools
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from tests.simulators.api import Api, Request, Response, serving
from tests.simulators.printstudio import KEY, ORDER_EVENTS, PrintStudioApi

NOON = 1_700_000_040.0  # twenty seconds before a minute is full
SECRET = "a-signing-secret"


class Hook(Api):
    """What listens to webhooks; it answers the statuses of `script`, then 200."""

    def __init__(self, *script: int) -> None:
        super().__init__()
        self.script = list(script)

    def answer(self, request: Request) -> Response:
        return Response(status=self.script.pop(0) if self.script else 200)


Scene = Callable[[PrintStudioApi, httpx2.AsyncClient], Coroutine[Any, Any, None]]


def play(scene: Scene, **options: Any) -> PrintStudioApi:
    """Run a scene against a simulator, with a client that has the key."""
    api = PrintStudioApi(now=lambda: NOON, **options)

    async def run() -> None:
        async with serving(api), client_of(api) as client:
            await scene(api, client)

    asyncio.run(run())
    return api


@asynccontextmanager
async def client_of(api: PrintStudioApi, key: str = KEY) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"X-API-Key": key} if key else {}
    async with httpx2.AsyncClient(base_url=api.url, headers=headers, trust_env=False) as client:
        yield client


def test_an_order_is_read_as_it_is_documented() -> None:
    async def scene(api: PrintStudioApi, client: httpx2.AsyncClient) -> None:
        number = api.place()
        api.move(number, "shipped")
        api.track(number)
        answer = await client.get(f"/api/orders/{number}")
        assert answer.status_code == 200
        order = answer.json()
        assert (order["id"], order["status"], order["total"]) == (number, "shipped", 49.26)
        assert (order["createdAt"], order["carrier"]) == ("2023-11-14T22:14:00Z", "UPS")
        api.order_under = "data"
        assert (await client.get(f"/api/orders/{number}")).json() == {"data": order}

    play(scene)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/api/orders/ord-0", None, 404, "ORDER_NOT_FOUND"),
        ("GET", "/api/orders?limit=101", None, 400, "VALIDATION_ERROR"),
        ("GET", "/api/orders?page=x", None, 400, "VALIDATION_ERROR"),
        ("POST", "/api/orders", {}, 400, "VALIDATION_ERROR"),
        ("POST", "/api/orders/ord-shipped/cancel", {"reason": "late"}, 409, "CONFLICT"),
        ("POST", "/api/webhooks/endpoints", {"url": "x"}, 400, "VALIDATION_ERROR"),
    ],
)
def test_errors_have_one_shape(method: str, path: str, body: Any, status: int, code: str) -> None:
    async def scene(api: PrintStudioApi, client: httpx2.AsyncClient) -> None:
        api.place("ord-shipped", status="shipped")
        answer = await client.request(method, path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert set(answer.json()) == {"error", "code", "details"}

    play(scene)


def test_an_unknown_path_is_no_json() -> None:
    async def scene(api: PrintStudioApi, client: httpx2.AsyncClient) -> None:
        answer = await client.get("/v2/orders")
        assert (answer.status_code, answer.text) == (404, "404 Not Found")

    play(scene)


def test_orders_are_placed_and_cancelled_over_http() -> None:
    async def scene(api: PrintStudioApi, client: httpx2.AsyncClient) -> None:
        answer = await client.post("/api/orders", json={"lineItems": [{"skuId": "x"}]})
        number = answer.json()["id"]
        assert (answer.status_code, api.orders[number]["status"]) == (201, "pending_payment")
        answer = await client.post(f"/api/orders/{number}/cancel", json={"reason": "late"})
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")

    play(scene)


@pytest.mark.parametrize("under", ["orders", "data", ""])
def test_lists_are_cut_into_pages(under: Any) -> None:
    async def scene(api: PrintStudioApi, client: httpx2.AsyncClient) -> None:
        numbers = [api.place() for _ in range(5)]
        api.move(numbers[0], "paid")
        api.listed_under = under
        found = []
        for page in ("1", "2", "3", "4"):
            answer = (await client.get("/api/orders", params={"page": page, "limit": "2"})).json()
            if under:
                assert (answer["total"], answer["page"], answer["limit"]) == (5, int(page), 2)
            found.append([order["id"] for order in (answer[under] if under else answer)])
        assert [len(page) for page in found] == [2, 2, 1, 0]
        assert [*itertools.chain(*found)] == numbers[::-1]
        paid = (await client.get("/api/orders?status=paid")).json()
        assert [order["id"] for order in (paid[under] if under else paid)] == numbers[:1]

    play(scene)


def test_a_key_decides_who_may_ask_and_how_often() -> None:
    async def scene(api: PrintStudioApi, client: httpx2.AsyncClient) -> None:
        api.place("ord-1")
        answer = await client.get("/api/orders/ord-1")
        told = {name: answer.headers[f"X-RateLimit-{name}"] for name in ("Limit", "Remaining")}
        assert told == {"Limit": "300", "Remaining": "299"}
        assert answer.headers["X-RateLimit-Reset"] == "1700000100"
        async with client_of(api, "wrong") as stranger:
            statuses = [(await stranger.get("/api/orders")).status_code for _ in range(21)]
        assert statuses == [401] * 20 + [429]
        api.keys["chief"] = "admin"
        async with client_of(api, "chief") as chief:
            answer = await chief.get("/api/orders")
        assert answer.headers["X-RateLimit-Limit"] == "1000"

    play(scene)


async def register(client: httpx2.AsyncClient, url: str) -> httpx2.Response:
    body = {"url": url, "events": list(ORDER_EVENTS), "secret": SECRET}
    return await client.post("/api/webhooks/endpoints", json=body)


def test_a_webhook_is_signed_and_retried_with_the_same_bytes() -> None:
    async def scene(api: PrintStudioApi, client: httpx2.AsyncClient) -> None:
        number = api.place()
        api.track(number)
        async with serving(Hook(500, 302)) as hook:
            answer = await register(client, hook.url + "/hooks/shop")
            assert (answer.status_code, answer.json()["id"]) == (201, "whe-1")
            tries = await api.fire("order.shipped", number)
        assert [sent.status for sent in tries] == [500, 302, 200]
        assert len({request.body for request in hook.requests}) == 1
        (request, *_) = hook.requests
        digest = hmac.new(SECRET.encode(), request.body, hashlib.sha256).hexdigest()
        assert request.headers["x-printstudio-signature"] == f"sha256={digest}"
        told = json.loads(request.body)
        assert set(told) == {"id", "event", "timestamp", "data"}
        assert told["event"] == "order.shipped"
        assert told["data"] == {
            "orderId": number,
            "trackingNumber": "1Z999AA10123456784",
            "carrier": "UPS",
            "estimatedDelivery": "2024-01-17",
        }

    play(scene)


def test_an_endpoint_is_disabled_after_five_failures() -> None:
    async def scene(api: PrintStudioApi, client: httpx2.AsyncClient) -> None:
        number = api.place()
        async with serving(Hook(*[503] * 9)) as hook:
            await register(client, hook.url)
            assert len(await api.fire("order.created", number)) == 5
            assert await api.fire("order.paid", number) == []
        assert not api.endpoints["whe-1"].enabled

    assert play(scene).told == ["endpoint whe-1 was disabled"]


def test_nobody_there_is_a_failure_too() -> None:
    async def scene(api: PrintStudioApi, client: httpx2.AsyncClient) -> None:
        async with serving(Hook()) as hook:
            await register(client, hook.url)
        tries = await api.fire("order.created", api.place())
        assert [sent.status for sent in tries] == [None] * 5

    play(scene)


def test_only_who_asked_for_an_event_is_told() -> None:
    async def scene(api: PrintStudioApi, client: httpx2.AsyncClient) -> None:
        async with serving(Hook()) as hook:
            await register(client, hook.url)
            assert await api.fire("job.failed", "job-1") == []
            assert await api.fire("order.created", api.place())

    play(scene)
