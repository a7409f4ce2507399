"""The simulator says what the API's pages say, over real HTTP."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx2

from gateway.models import Millis, Page, Query, Reply, Watched
from gateway.providers.threeyourmind import ThreeYourMind, ThreeYourMindOptions
from tests.simulators.api import serving
from tests.simulators.threeyourmind import TOKEN, ThreeYourMindApi
from tests.unit.order_shop import Shop

Story = Callable[[ThreeYourMindApi, httpx2.AsyncClient], Awaitable[None]]


def run(story: Story, api: ThreeYourMindApi | None = None, token: str | None = TOKEN) -> None:
    async def whole() -> None:
        headers = {"Authorization": f"Token {token}"} if token else {}
        async with (
            serving(api or ThreeYourMindApi()) as served,
            httpx2.AsyncClient(trust_env=False, base_url=served.url, headers=headers) as client,
        ):
            await story(served, client)

    asyncio.run(whole())


def test_an_order_moves_on() -> None:
    async def story(api: ThreeYourMindApi, client: httpx2.AsyncClient) -> None:
        number = api.place(reference="1001", total="49.20")
        first = (await client.get(f"user-panel/orders/{number}/")).json()
        assert first["fullNumber"] == "100001-3D-Project-O1"
        assert first["additionalInformation"] == {"reference": "1001"}
        assert first["totalPrice"] == {"inclusiveTax": "49.20"}
        api.move(number, "printing")
        second = (await client.get(f"user-panel/orders/{number}/")).json()
        assert (first["status"], second["status"]) == ("new", "printing")
        assert second["lastModified"] >= first["lastModified"] == first["dateCreated"]
        line = await client.get(f"user-panel/orders/{number}/{first['lines'][0]['id']}/")
        assert line.json() == first["lines"][0]
        assert (await client.get(f"user-panel/orders/{number}/1/")).status_code == 404

    run(story)


def test_lists_have_pages_newest_first() -> None:
    async def story(api: ThreeYourMindApi, client: httpx2.AsyncClient) -> None:
        numbers = [api.place() for _ in range(5)]
        pages = [
            (await client.get("user-panel/orders/", params={"page": page})).json()
            for page in ("1", "2", "3")
        ]
        found = [str(entry["id"]) for page in pages for entry in page["results"]]
        assert found == numbers[::-1]
        assert [page["currentPage"] for page in pages] == [1, 2, 3]
        assert {(page["count"], page["totalPages"], page["pageSize"]) for page in pages} == {
            (5, 3, 2)
        }
        assert "status" not in pages[0]["results"][0]
        api.list_status = True
        listed = (await client.get("user-panel/orders/")).json()["results"][0]
        assert listed["status"] == "new"
        beyond = await client.get("user-panel/orders/", params={"page": "4"})
        assert (beyond.status_code, beyond.json()) == (404, {"detail": "Invalid page."})

    run(story, ThreeYourMindApi(page_size=2))


def test_an_empty_list_has_one_page() -> None:
    async def story(_api: ThreeYourMindApi, client: httpx2.AsyncClient) -> None:
        found = (await client.get("user-panel/orders/")).json()
        assert (found["count"], found["totalPages"], found["results"]) == (0, 1, [])

    run(story)


def test_refusals() -> None:
    async def story(api: ThreeYourMindApi, client: httpx2.AsyncClient) -> None:
        number = api.place()
        api.strangers.add(api.place())
        path = f"user-panel/orders/{number}/"
        answers = {
            "wrong": await client.get(path, headers={"Authorization": "Token wrong"}),
            "bearer": await client.get(path, headers={"Authorization": f"Bearer {TOKEN}"}),
            "stranger": await client.get("user-panel/orders/502/"),
            "missing": await client.get("user-panel/orders/9/"),
            "elsewhere": await client.get("elsewhere/"),
            "post": await client.post(path),
        }
        codes = {name: answer.status_code for name, answer in answers.items()}
        assert codes == {
            "wrong": 401, "bearer": 401, "stranger": 403, "missing": 404, "elsewhere": 404, "post": 405
        }  # fmt: skip
        assert answers["wrong"].json() == {"detail": "Invalid token."}
        assert answers["missing"].json() == {"detail": "Not found."}
        assert answers["elsewhere"].headers["content-type"] == "text/html"

    run(story)


def test_a_budget_ends_in_429() -> None:
    async def story(api: ThreeYourMindApi, client: httpx2.AsyncClient) -> None:
        number, api.budget = api.place(), 1
        path = f"user-panel/orders/{number}/"
        assert (await client.get(path)).status_code == 200
        refused = await client.get(path)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "3")
        assert "Expected available in 3 seconds." in refused.json()["detail"]
        api.budget = None
        assert (await client.get(path)).status_code == 200

    run(story)


def test_orders_may_stand_elsewhere() -> None:
    async def story(api: ThreeYourMindApi, client: httpx2.AsyncClient) -> None:
        number = api.place()
        path = "service-panel/services/42/internal-ordering/orders/"
        assert (await client.get(f"{path}{number}/")).json()["id"] == int(number)
        assert (await client.get(f"user-panel/orders/{number}/")).status_code == 404

    path = "/service-panel/services/42/internal-ordering/orders/"
    run(story, ThreeYourMindApi(orders_path=path))


LIFE = {"new": "created", "produced": "printing", "halted": "on_hold", "sent": "shipped"}


async def ask(client: httpx2.AsyncClient, query: Query) -> Reply:
    answer = await client.request(query.method, query.path, params=dict(query.params))
    headers = {name.lower(): value for name, value in answer.headers.items()}
    at = Millis(1_900_000_000_000)
    return Reply(status=answer.status_code, headers=headers, body=answer.content, at=at)


async def listing(provider: ThreeYourMind, client: httpx2.AsyncClient) -> list[Page]:
    pages: list[Page] = []
    cursor: str | None = None
    while not pages or cursor is not None:
        query = provider.page(cursor)
        assert query is not None
        pages.append(provider.read_page(await ask(client, query)))
        cursor = pages[-1].cursor
    return pages


def test_the_provider_follows_orders_through_their_lives() -> None:
    provider = ThreeYourMind(ThreeYourMindOptions(status_map=LIFE))

    async def story(api: ThreeYourMindApi, client: httpx2.AsyncClient) -> None:
        client.headers.update(provider.authorize(TOKEN))
        numbers = [api.place(reference=f"10{index:02}") for index in range(5)]
        pages = await listing(provider, client)
        listed = [entry for page in pages for entry in page.orders]
        assert [entry.number for entry in listed] == numbers[::-1]
        assert (len(pages), {entry.body for entry in listed}) == (3, {None})
        shop = Shop()
        for status in ("new", "produced", "halted", "produced", "sent"):
            api.move(numbers[0], status)
            reply = await ask(client, provider.order(numbers[0]))
            shop.tell(*provider.read(Watched(number=numbers[0]), [reply]).facts)
        assert shop.types() == ["created", "printing", "on_hold", "updated", "shipped"]
        assert {event.order for event in shop.events} == {"1000"}

    run(story, ThreeYourMindApi(page_size=2), token=None)


def test_a_list_with_statuses_says_as_much_as_the_orders() -> None:
    provider = ThreeYourMind(ThreeYourMindOptions(status_map=LIFE))

    async def story(api: ThreeYourMindApi, client: httpx2.AsyncClient) -> None:
        number = api.place(reference="1001", total="49.20")
        entry = (await listing(provider, client))[0].orders[0]
        reply = await ask(client, provider.order(number))
        assert entry.body is not None
        listed = Reply(status=200, headers={}, body=entry.body, at=reply.at)
        watched = Watched(number=number)
        assert provider.read(watched, [listed]) == provider.read(watched, [reply])

    run(story, ThreeYourMindApi(list_status=True))
