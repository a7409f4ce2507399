import asyncio
from typing import Any

import httpx2
import pytest

from gateway.errors import Missing, TokenRefused
from gateway.models import Millis, Reading, Reply, Watched
from gateway.providers.marketiger import Marketiger, MarketigerOptions
from tests.simulators.api import serving
from tests.simulators.marketiger import START, MarketigerApi

UNKNOWN = "00000000-0000-4000-8000-00000000ffff"


async def ask(
    api: MarketigerApi, number: str | None, token: str | None = "tiger-token"
) -> tuple[int, dict[str, Any]]:
    """The status and the JSON of one answer."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    params = {"orderId": number} if number is not None else {}
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{api.url}/Order/GetOrder", params=params, headers=headers)
    return answer.status_code, answer.json()


def test_the_life_of_an_order() -> None:
    async def run() -> None:
        async with serving(MarketigerApi()) as api:
            number = api.place(session="cs_test_1", lines=2)
            status, body = await ask(api, number)
            order = body["data"]["order"]
            assert (status, body["success"]) == (200, True)
            assert (order["id"], order["status"], order["trackAndTrace"]) == (number, 1, None)
            assert order["paymentLink"] == "https://checkout.stripe.com/pay/cs_test_1"
            assert order["createdDate"] == order["updated"] == "2025-06-15T15:06:40Z"
            api.move(number, 5)
            api.move_line(number, 1, 20)
            api.track(number, "1Z", "https://t.example/1Z")
            later = (await ask(api, number))[1]["data"]["order"]
            assert (later["status"], later["trackAndTrace"]["trackingNumber"]) == (5, "1Z")
            assert [model["status"] for model in later["orderModels"]] == [0, 20]
            assert (later["createdDate"], later["updated"]) == (
                order["createdDate"],
                "2025-06-15T15:06:43Z",
            )
            assert later["orderModels"][0]["imageUrl"] != order["orderModels"][0]["imageUrl"]
            api.track(number, None)
            nulls = (await ask(api, number))[1]["data"]["order"]["trackAndTrace"]
            assert set(nulls.values()) == {None}

    asyncio.run(run())


def test_every_error_is_400() -> None:
    async def run() -> None:
        tokens = {"tiger-token": "ada", "bob-token": "bob", "old-token": None}
        async with serving(MarketigerApi(tokens)) as api:
            number = api.place()
            assert await told(api, number, None) == ("AUTHENTICATION", "Authentication failed.")
            assert (await told(api, number, "wrong"))[0] == "AUTHENTICATION"
            assert await told(api, number, "old-token") == ("NOT_FOUND", "User not found.")
            assert (await told(api, number, "bob-token"))[0] == "NO_PERMISSION"
            assert (await told(api, UNKNOWN))[0] == "NOT_FOUND"
            assert (await told(api, "1001"))[0] == "INCORRECT_PARAMETERS"
            assert (await told(api, None))[0] == "INCORRECT_PARAMETERS"
            api.failing = True
            assert (await told(api, number))[0] == "OPERATION_FAILED"

    asyncio.run(run())


async def told(
    api: MarketigerApi, number: str | None, token: str | None = "tiger-token"
) -> tuple[str, str]:
    status, body = await ask(api, number, token)
    assert (status, body["success"]) == (400, False)
    return body["error"]["type"], body["error"]["message"]


def test_another_path_is_no_json() -> None:
    async def run() -> None:
        async with (
            serving(MarketigerApi()) as api,
            httpx2.AsyncClient(trust_env=False) as client,
        ):
            answer = await client.get(f"{api.url}/Order/ListOrders")
            assert (answer.status_code, answer.content) == (404, b"")

    asyncio.run(run())


def test_the_provider_reads_what_the_simulator_says() -> None:
    async def run() -> None:
        async with serving(MarketigerApi({"tiger-token": "ada", "old-token": None})) as api:
            number = api.place(session="cs_test_1")
            api.move(number, 15)
            api.track(number, "1Z")
            facts = (await read(api, number)).facts
            assert [fact.state for fact in facts] == ["created", "production", "created"]
            assert facts[0].at == START * 1000
            assert facts[-1].at == (START + 2) * 1000
            assert facts[-1].links == (f"marketiger:{number}", "stripe:cs_test_1")
            assert facts == (await read(api, number)).facts
            with pytest.raises(Missing):
                await read(api, UNKNOWN)
            with pytest.raises(TokenRefused):
                await read(api, number, "old-token")

    asyncio.run(run())


async def read(api: MarketigerApi, number: str, token: str = "tiger-token") -> Reading:
    """Ask as a poller would."""
    provider = Marketiger(MarketigerOptions())
    query = provider.order(number)
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.request(
            query.method,
            f"{api.url}/{query.path}",
            params=dict(query.params),
            headers=dict(provider.authorize(token)),
        )
    reply = Reply(
        status=answer.status_code,
        headers=dict(answer.headers),
        body=answer.content,
        at=Millis((START + 60) * 1000),
    )
    return provider.read(Watched(number=number), [reply])
