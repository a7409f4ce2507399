"""The simulator speaks what Printeers' pages describe, and the provider understands it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from gateway.models import Event, Millis, Page, Query, Reply, Watched
from gateway.providers.printeers import Printeers, PrinteersOptions
from tests.simulators.api import serving
from tests.simulators.printeers import KEY, PrinteersApi
from tests.unit.order_shop import Shop, at, data

Story = Callable[[httpx2.AsyncClient], Awaitable[None]]
HEADERS = {"X-Printeers-Secret-Key": KEY}


def tell(api: PrinteersApi, story: Story, headers: dict[str, str] | None = None) -> None:
    async def whole() -> None:
        async with (
            serving(api),
            httpx2.AsyncClient(
                base_url=api.url, headers=HEADERS if headers is None else headers, trust_env=False
            ) as client,
        ):
            await story(client)

    asyncio.run(whole())


async def get(client: httpx2.AsyncClient, path: str, **params: str) -> Any:
    response = await client.get(path, params=params)
    assert response.status_code == 200
    return response.json()


@pytest.mark.parametrize("headers", [{}, {"X-Printeers-Secret-Key": "other"}])
def test_no_answer_without_the_key(headers: dict[str, str]) -> None:
    async def story(client: httpx2.AsyncClient) -> None:
        response = await client.get("orders")
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "unauthorized"

    tell(PrinteersApi(), story, headers)


def test_an_order_from_its_placing_to_its_tracking() -> None:
    api = PrinteersApi()

    async def story(client: httpx2.AsyncClient) -> None:
        order = {"customIdentifier": "my-order-123", "orderlines": [{"quantity": 3}]}
        placed = await client.post("orders", json={"order": order})
        number = placed.json()["order"]["reference"]
        assert len(number) == len("Order_") + 26
        shipment = api.ship(number, 2)
        api.track(shipment, "1Z", "https://track.example/1Z")
        api.move(number, {"state": "closed"})
        found = (await get(client, f"orders/{number}"))["order"]
        assert found == {
            "reference": number,
            "customIdentifier": "my-order-123",
            "status": {"state": "closed"},
            "orderlines": [
                {"index": 0, "quantity": 3, "canceledQuantity": 0, "shippedQuantity": 2}
            ],
            "shipments": [shipment],
        }
        parcel = (await get(client, f"shipments/{shipment}"))["shipment"]
        assert parcel["reference"] == shipment
        assert parcel["trackAndTraceCode"] == "1Z"

    tell(api, story)


def test_cancelling_takes_totals() -> None:
    api = PrinteersApi()
    number = api.place(quantities=[3])
    api.ship(number, 1)

    async def cancel(client: httpx2.AsyncClient, quantity: int) -> tuple[int, str | None]:
        body = {"orderlines": [{"index": 0, "canceledQuantity": quantity}]}
        response = await client.post(f"orders/{number}/cancel", json=body)
        code = response.json()["error"]["code"] if response.content else None
        return response.status_code, code

    async def story(client: httpx2.AsyncClient) -> None:
        assert await cancel(client, 2) == (204, None)
        assert await cancel(client, 2) == (204, None)
        assert await cancel(client, 1) == (409, "canceled_quantity_below_current")
        assert await cancel(client, 3) == (409, "canceled_quantity_exceeds_shippable")
        assert api.orders[number]["orderlines"][0]["canceledQuantity"] == 2

    tell(api, story)


def test_the_list_is_paged() -> None:
    api = PrinteersApi(page_size=2)
    placed = [api.place() for _ in range(5)]

    async def story(client: httpx2.AsyncClient) -> None:
        found: list[str] = []
        params: dict[str, str] = {}
        while True:
            page = await get(client, "orders", **params)
            found += [order["reference"] for order in page["orders"]]
            if page["nextCursor"] is None:
                break
            params = {"cursor": page["nextCursor"]}
        assert found == placed
        api.brief = True
        page = await get(client, "orders")
        assert all("orderlines" not in order for order in page["orders"])

    tell(api, story)
    assert len(api.requests) == 4


@pytest.mark.parametrize("path", ["orders/Order_x", "shipments/Shipment_x", "elsewhere", ""])
def test_what_is_not_there(path: str) -> None:
    async def story(client: httpx2.AsyncClient) -> None:
        response = await client.get(path)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")

    tell(PrinteersApi(), story)


def test_the_budget_is_told_and_held() -> None:
    api = PrinteersApi()

    async def story(client: httpx2.AsyncClient) -> None:
        first = await client.get("orders")
        assert first.headers["X-RateLimit-Policy"] == '"default";q=3000;w=60'
        assert first.headers["X-RateLimit"] == '"default";r=2999;t=60'
        api.budget = 1
        assert (await client.get("orders")).headers["X-RateLimit"] == '"default";r=0;t=60'
        refused = await client.get("orders")
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
        assert refused.headers["X-RateLimit"] == '"default";r=0;t=60'
        api.budget = 1
        assert (await client.get("orders")).status_code == 200

    tell(api, story)


class Poller:
    """Asks as the gateway's poller does, one order at a time; each poll is a minute later."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client, self.shop, self.minute = client, Shop(), 0
        self.provider = Printeers(PrinteersOptions(status_path="/status/state"))

    async def ask(self, query: Query) -> Reply:
        response = await self.client.request(query.method, query.path, params=dict(query.params))
        headers = {name.lower(): value for name, value in response.headers.items()}
        when = at(self.minute * 60)
        return Reply(
            status=response.status_code, headers=headers, body=response.content, at=Millis(when)
        )

    async def poll(self, number: str) -> list[Event]:
        self.minute += 1
        first = await self.ask(self.provider.order(number))
        others = [await self.ask(query) for query in self.provider.more(first)]
        reading = self.provider.read(Watched(number=number), [first, *others])
        return self.shop.tell(*reading.facts, provider="printeers")

    async def pages(self) -> list[Page]:
        found: list[Page] = []
        while not found or found[-1].cursor is not None:
            query = self.provider.page(found[-1].cursor if found else None)
            assert query is not None
            found.append(self.provider.read_page(await self.ask(query)))
        return found


def test_the_provider_reads_an_orders_life() -> None:
    api = PrinteersApi()
    number = api.place("1001", [3])

    def said(events: list[Event]) -> list[tuple[str, object]]:
        return [
            (event.type.removeprefix("order."), data(event)["change"].get("quantity"))
            for event in events
        ]

    async def story(client: httpx2.AsyncClient) -> None:
        poller = Poller(client)
        assert said(await poller.poll(number)) == [("created", None), ("updated", None)]
        parcel = api.ship(number, 1)
        assert said(await poller.poll(number)) == [("shipped", 1)]
        assert said(await poller.poll(number)) == []
        api.track(parcel, "1Z", "https://track.example/1Z")
        (tracked,) = await poller.poll(number)
        assert data(tracked)["shipment"]["tracking_number"] == "1Z"
        api.ship(number, 1)
        api.cancel(number, 1)
        api.move(number, {"state": "closed"})
        last = await poller.poll(number)
        assert said(last) == [("cancelled", 1), ("shipped", None), ("updated", None)]
        assert data(last[-1])["change"]["value"] == "closed"
        assert said(await poller.poll(number)) == []
        assert set(poller.shop.states) == {"1001"}

    tell(api, story)


@pytest.mark.parametrize("brief", [False, True])
def test_the_provider_reads_the_list(brief: bool) -> None:
    api = PrinteersApi(page_size=2)
    api.brief = brief
    placed = [api.place() for _ in range(5)]

    async def story(client: httpx2.AsyncClient) -> None:
        pages = await Poller(client).pages()
        listed = [order for page in pages for order in page.orders]
        assert [order.number for order in listed] == placed
        assert all((order.body is None) == brief for order in listed)
        assert len(pages) == 3

    tell(api, story)
