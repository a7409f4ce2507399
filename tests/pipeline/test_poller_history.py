"""What was before, what broke half-way, and what comes back: the poller in a shop's bad weeks."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.polling import Asking, asking
from tests.pipeline.world import World, configuration, consuming, running
from tests.simulators.api import Api, Request, Response, json_response, serving
from tests.simulators.marketiger import MarketigerApi, refusal
from tests.simulators.printeers import PrinteersApi
from tests.simulators.printstudio import PrintStudioApi

DAY = 86_400


class Clock:
    """The simulator's clock, which a test moves."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


class Shop:
    """A PrintStudio shop that is asked by hand."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def poll(self) -> dict[str, Any]:
        answer = await self.world.client.post(f"{self.world.control}/v1/sources/ps/poll")
        end: dict[str, Any] = json.loads(answer.text.splitlines()[-1])["end"]
        return end

    def told(self, number: str) -> list[str]:
        rows = self.world.rows("SELECT type FROM events WHERE order_id = ? ORDER BY id", number)
        return [kind for (kind,) in rows]

    def last(self, number: str) -> dict[str, Any]:
        sql = "SELECT body FROM events WHERE order_id = ? ORDER BY id DESC LIMIT 1"
        ((body,),) = self.world.rows(sql, number)
        event: dict[str, Any] = json.loads(body)
        return event


@asynccontextmanager
async def shop(folder: Path, api: Api, key: str) -> AsyncIterator[Shop]:
    text = f"""
[sources.ps]
provider = "printstudio"
base_url = "{api.url}"
token = "{key}"
interval = "1h"
[subscriptions.operators]
url = "http://127.0.0.1:PORT/operators"
secrets = ["whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="]
types = ["gateway.*"]
"""
    async with consuming() as consumer:
        told = configuration(consumer.port, sources=text.replace("PORT", str(consumer.port)))
        async with running(folder, consumer, told) as world:
            yield Shop(world)


def key_of(api: PrintStudioApi) -> str:
    return next(iter(api.keys))


def test_an_old_order_that_a_later_listing_finds_is_history(tmp_path: Path) -> None:
    """Lists are cut into pages while orders come and go: one may be missed the first time."""

    async def story() -> None:
        clock = Clock()
        api = PrintStudioApi(now=clock)
        async with serving(api), shop(tmp_path, api, key_of(api)) as ours:
            await ours.poll()
            clock.ahead = -30 * DAY
            old = api.place()
            api.move(old, "ready")
            clock.ahead = 0
            new = api.place()
            await ours.poll()
            assert (ours.told(old), ours.told(new)) == ([], ["order.created"])
            api.move(old, "shipped")
            await ours.poll()
            assert ours.told(old) == ["order.shipped"]
            change = ours.last(old)["data"]["change"]
            assert (ours.last(old)["orderseq"], change["baseline"]) == (1, True)

    asyncio.run(story())


def test_another_account_under_the_same_name_tells_none_of_its_history(tmp_path: Path) -> None:
    async def story() -> None:
        first, second = PrintStudioApi(), PrintStudioApi()
        async with serving(first), shop(tmp_path, first, key_of(first)) as ours:
            await ours.poll()
        numbers = [second.place(f"other-{n}") for n in range(5)]
        async with serving(second), shop(tmp_path, second, key_of(second)) as ours:
            await ours.poll()
            assert [ours.told(number) for number in numbers] == [[]] * 5

    asyncio.run(story())


class Brief(PrintStudioApi):
    """Its list shows the status only; the order itself has all."""

    def answer(self, request: Request) -> Response:
        response = super().answer(request)
        if request.path != "/api/orders" or response.status != 200:
            return response
        told = json.loads(response.body)
        orders = told if isinstance(told, list) else next(iter(told.values()))
        return json_response([{"id": one["id"], "status": one["status"]} for one in orders])


def test_a_list_only_shows_that_an_order_has_changed(tmp_path: Path) -> None:
    """What goes out is what the order itself says: its tracking too."""

    async def story() -> None:
        api = Brief()
        async with serving(api), shop(tmp_path, api, key_of(api)) as ours:
            await ours.poll()
            number = api.place()
            await ours.poll()
            api.track(number, "1Z999")
            api.move(number, "shipped")
            await ours.poll()
            assert ours.told(number)[-1] == "order.shipped"
            assert ours.last(number)["data"]["shipment"]["tracking_number"] == "1Z999"

    asyncio.run(story())


class Listless(PrintStudioApi):
    """Its list is broken, its orders are not."""

    wrong = 500

    def answer(self, request: Request) -> Response:
        if request.path == "/api/orders" and self.wrong:
            return json_response({"error": "no list today"}, self.wrong)
        return super().answer(request)


def test_a_broken_list_keeps_no_order_from_being_asked_and_is_said(tmp_path: Path) -> None:
    async def story() -> None:
        for wrong in (500, 403):
            api = Listless()
            api.wrong = 0
            folder = tmp_path / str(wrong)
            folder.mkdir()
            async with serving(api), shop(folder, api, key_of(api)) as ours:
                await ours.poll()
                number = api.place()
                await ours.poll()
                api.wrong = wrong
                for status in ("paid", "printing", "ready", "shipped"):
                    api.move(number, status)
                    end = await ours.poll()
                    assert end["refused"] is None
                    assert "the list of orders" in end["problem"]
                kinds = [kind.removeprefix("order.") for kind in ours.told(number)]
                assert kinds == ["created", "paid", "printing", "ready", "shipped"]
                sql = "SELECT 1 FROM events WHERE type = 'gateway.source.failing'"
                assert len(ours.world.rows(sql)) == 1
                api.wrong = 0
                assert (await ours.poll())["problem"] is None

    asyncio.run(story())


def test_a_wrong_base_url_retires_no_order(tmp_path: Path) -> None:
    """Everything is unknown there: it is the address, not the orders."""

    async def story() -> None:
        elsewhere, api = MarketigerApi(), MarketigerApi()
        numbers = [api.place() for _ in range(3)]
        async with serving(elsewhere), asking(tmp_path, elsewhere) as asked:
            await asked.watch(*numbers)
            for _ in range(4):
                _, end = await asked.round()
            assert "knows no order" in end["problem"]
            assert len(await asked.failing(1)) == 1
            assert all(asked.watched(number)["next_at"] for number in numbers)
        async with serving(api), asking(tmp_path, api) as asked:
            await asked.round()
            assert [asked.told(number) for number in numbers] == [["order.created"]] * 3

    asyncio.run(story())


def test_an_order_that_was_given_up_comes_back_with_the_configuration(tmp_path: Path) -> None:
    async def story() -> None:
        api = MarketigerApi()
        async with serving(api):
            async with asking(tmp_path, api) as asked:
                good, lost = api.place(), api.place()
                await asked.watch(good, lost)
                kept = api.orders.pop(lost)
                for _ in range(3):
                    await asked.round()
                assert asked.watched(lost)["next_at"] is None
            api.orders[lost] = kept
            api.move(lost, 5)
            api.tokens["new-token"] = "ada"
            async with asking(tmp_path, api, token="new-token") as asked:
                await asked.round()
                assert asked.told(lost) == ["order.created", "order.paid"]

    asyncio.run(story())


class Stingy(MarketigerApi):
    """Two requests, then a short rest; some orders cannot be read there."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: set[str] = set()
        self.left = 2

    def answer(self, request: Request) -> Response:
        self.left = self.left - 1 if self.left else 1
        if request.params.get("orderId") in self.bad:
            response = json_response({"error": "broken"}, 500)
        else:
            response = super().answer(request)
        soon = str(int(time.time() * 1000) + 30)
        headers = {"X-RateLimit-Remaining": str(self.left), "X-RateLimit-Reset": soon}
        return Response(
            status=response.status, headers={**response.headers, **headers}, body=response.body
        )


@pytest.mark.slow
def test_broken_orders_do_not_starve_the_others(tmp_path: Path) -> None:
    async def story() -> None:
        api = Stingy()
        async with serving(api), asking(tmp_path, api, interval="1s") as asked:
            numbers = [api.place() for _ in range(5)]
            for number in numbers:
                control = f"{asked.world.control}/v1/sources/mt/watch"
                await asked.world.client.post(control, json={"id": number})
            bad, good = set(numbers[:2]), numbers[2:]
            api.bad, before = bad, len(api.requests)
            await asked.world.until(
                lambda: bad <= {request.params["orderId"] for request in api.requests[before:]}
            )
            for number in good:
                api.move(number, 5)
            await asked.world.until(
                lambda: all("order.paid" in asked.told(number) for number in good), 15
            )

    asyncio.run(story())


class Chatty(MarketigerApi):
    """It quotes the token that it refuses, in a 200, in JSON of its own taste."""

    def answer(self, request: Request) -> Response:
        token = request.headers["authorization"].removeprefix("Bearer ")
        said = refusal("AUTHENTICATION", f"Token {token} is not valid.")
        return Response(status=200, headers=said.headers, body=said.body.replace(b"/", b"\\/"))


def test_a_token_is_masked_wherever_it_is_quoted(tmp_path: Path) -> None:
    async def story() -> None:
        token, api = "abc/def+SECRETTOKEN99", Chatty()
        async with serving(api), asking(tmp_path, api, token=token) as asked:
            await asked.watch(api.place())
            (event,) = await asked.failing(1)
            assert "Token *** is not valid" in event["data"]["reason"]
            assert "SECRETTOKEN99" not in asked.said
            rows = asked.world.rows("SELECT refused, problem FROM polls")
            assert "SECRETTOKEN99" not in str(rows)

    asyncio.run(story())


def test_numbers_that_would_leave_their_path_are_refused(tmp_path: Path) -> None:
    async def story() -> None:
        api = MarketigerApi()
        async with serving(api), asking(tmp_path, api) as asked:
            for number in (".", ".."):
                answer = await asked.world.client.post(
                    f"{asked.world.control}/v1/sources/mt/watch", json={"id": number}
                )
                assert answer.status_code == 400
            assert api.requests == []

    asyncio.run(story())


async def _watched_meanwhile(asked: Asking, api: MarketigerApi, folder: Path) -> None:
    number = api.place()
    control = f"{asked.world.control}/v1/sources/mt/watch"
    await asked.world.client.post(control, json={"id": number, "order": "SHOP-3"})
    await asked.world.until(lambda: asked.told("SHOP-3") == ["order.created"])
    assert asked.told(number) == []


def test_a_watched_order_is_asked_for_at_once_under_its_name(tmp_path: Path) -> None:
    async def story() -> None:
        api = MarketigerApi()
        async with serving(api), asking(tmp_path, api, interval="1d") as asked:
            await _watched_meanwhile(asked, api, tmp_path)

    asyncio.run(story())


def test_a_shops_own_names_are_not_overruled(tmp_path: Path) -> None:
    """Callbacks name PrintStudio's orders: a second name would make a second order."""

    async def story() -> None:
        api = PrintStudioApi()
        async with serving(api), shop(tmp_path, api, key_of(api)) as ours:
            answer = await ours.world.client.post(
                f"{ours.world.control}/v1/sources/ps/watch", json={"id": "ord-1", "order": "1001"}
            )
            assert answer.status_code == 400
            assert "names its orders itself" in answer.json()["detail"]

    asyncio.run(story())


def printeers(api: PrinteersApi, consumer: int) -> str:
    table = f"""
[sources.ps]
provider = "printeers"
requests_per_minute = 10000
base_url = "{api.url}"
token = "{api.key}"
interval = "1h"
"""
    return configuration(consumer, sources=table)


class Tired(PrinteersApi):
    """A list in pages of one, whose sixth page fails while it is `tired`; it tells no times."""

    tired = True

    def answer(self, request: Request) -> Response:
        cursor = request.params.get("cursor")
        if self.tired and cursor and int(base64.urlsafe_b64decode(cursor)) == 5:
            return json_response({"error": "too deep"}, 500)
        return super().answer(request)


def test_a_first_listing_that_begins_anew_goes_to_the_end(tmp_path: Path) -> None:
    """What it has seen before it broke off is known by now; what lies behind is history all the same."""

    async def story() -> None:
        api = Tired(page_size=1)
        numbers = [api.place(f"own-{n}") for n in range(8)]
        async with serving(api), consuming() as consumer:
            text = printeers(api, consumer.port)
            async with running(tmp_path, consumer, text) as world:
                ours = Shop(world)
                for _ in range(4):
                    assert "too deep" in (await ours.poll())["problem"]
                api.tired = False
                await ours.poll()
                await ours.poll()
                assert [ours.told(f"own-{n}") for n in range(8)] == [[]] * 8
                api.ship(numbers[7], 1)
                await ours.poll()
                assert ours.told("own-7") == ["order.shipped"]

    asyncio.run(story())


def test_reconciling_tells_what_the_order_itself_says(tmp_path: Path) -> None:
    async def story() -> None:
        api = Brief()
        async with serving(api), shop(tmp_path, api, key_of(api)) as ours:
            await ours.poll()
            number = api.place()
            api.track(number, "1Z999")
            api.move(number, "shipped")
            control = f"{ours.world.control}/v1/sources/ps/reconcile?emit=true"
            await ours.world.client.post(control)
            assert ours.told(number)[-1] == "order.shipped"
            assert ours.last(number)["data"]["shipment"]["tracking_number"] == "1Z999"

    asyncio.run(story())
