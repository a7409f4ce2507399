"""The API over real sockets: who is let in where, what lists say, and what goes wrong."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from gateway.keys import Role
from gateway.models import Millis
from gateway.shown import shown, taken
from gateway.stores.replaying import Chosen, Replay
from gateway.stores.views import EventRow
from gateway.web.api.operation import Door
from gateway.web.api.table import OPERATIONS
from gateway.web.problems import CODES
from tests.pipeline.world import World, consuming, running, shop_event

LET_IN = {
    200,
    204,
    400,
    404,
    409,
}  # of a request without sense: whatever it is, nobody was sent away
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class Caller:
    """Asks a gateway at its doors, with a key of each role."""

    def __init__(self, world: World, keys: dict[Role, str]) -> None:
        self.world, self.keys = world, keys

    async def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        body: object = None,
        role: Role | None = Role.ADMIN,
        door: Door | None = Door.ADMIN,
    ) -> httpx2.Response:
        base = {Door.PUBLIC: self.world.public, Door.ADMIN: self.world.admin}
        root = self.world.control if door is None else base[door]
        headers = {} if role is None else {"authorization": f"Bearer {self.keys[role]}"}
        client = self.world.client
        request = client.build_request(method, root + path, headers=headers, json=body)
        response = await client.send(request, stream=True)
        if response.headers.get("content-type") == "text/event-stream":  # it has no end
            await response.aclose()
            return httpx2.Response(response.status_code, headers=response.headers, content=b"")
        await response.aread()
        return response

    async def get(self, path: str, **more: Any) -> httpx2.Response:
        return await self.ask(path, **more)

    async def read(self, path: str, **more: Any) -> Any:
        response = await self.get(path, **more)
        assert response.status_code == 200, response.text
        return response.json()


@asynccontextmanager
async def calling(folder: Path) -> AsyncIterator[Caller]:
    async with consuming() as consumer, running(folder, consumer) as world:
        keys = {}
        for role in Role:
            _, keys[role] = await world.gateway.keyring.create(role, world.gateway.clock())
        yield Caller(world, keys)


def play(folder: Path, story: Callable[[Caller], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with calling(folder) as caller:
            await story(caller)

    asyncio.run(whole())


async def orders(caller: Caller, count: int) -> None:
    for number in range(count):
        await caller.world.shop(shop_event(number, order=f"ord-{number}"))
    await caller.world.settled()


def path_of(template: str) -> str:
    """A path with something that is not there."""
    return re.sub(r"{\w+}", "nothing", template)


@pytest.mark.parametrize("door", [*Door, None])
def test_each_call_is_reached_where_the_table_says_and_by_whom(
    tmp_path: Path, door: Door | None
) -> None:
    async def story(caller: Caller) -> None:
        for operation in OPERATIONS:
            for role in [*Role, None]:
                response = await caller.ask(
                    path_of(operation.path),
                    method=operation.method,
                    body=None if operation.body is None else {},
                    role=role,
                    door=door,
                )
                told = (operation.name, door, role, response.status_code, response.text)
                if door is not None and door not in operation.doors:
                    others = {one.path for one in OPERATIONS if door in one.doors}
                    assert response.status_code == (405 if operation.path in others else 404), told
                    assert response.json()["code"] == CODES[response.status_code]
                elif door is None:
                    assert response.status_code in LET_IN, told
                elif role is None:
                    assert response.status_code == 401, told
                    assert response.headers["www-authenticate"].startswith("Bearer")
                elif role not in operation.roles:
                    assert response.status_code == 403, told
                else:
                    assert response.status_code in LET_IN, told
                if door is None or door in operation.doors:
                    assert re.fullmatch(r"req_[0-9a-f]{24}", response.headers["x-request-id"])
                    assert response.headers["cache-control"] == "no-store"

    play(tmp_path, story)


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer x", "Basic abc", "bearer gwk_a_b_c", "Bearer " + "x" * 9_000],
)
def test_what_is_no_key_opens_nothing(tmp_path: Path, authorization: str) -> None:
    async def story(caller: Caller) -> None:
        url = f"{caller.world.admin}/v1/me"
        response = await caller.world.client.get(url, headers={"authorization": authorization})
        assert response.status_code == 401
        problem = response.json()
        assert problem["code"] == "unauthenticated"
        assert problem["request_id"] == response.headers["x-request-id"]
        assert authorization[7:] not in problem["detail"] or not authorization[7:].strip()

    play(tmp_path, story)


def test_me_says_whose_key_it_is(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        for role in Role:
            me = await caller.read("/v1/me", role=role, door=Door.PUBLIC)
            assert me["role"] == role
            assert caller.keys[role].startswith(f"gwk_{me['key']}_")
        assert (await caller.read("/v1/me", role=None, door=None))["key"] is None

    play(tmp_path, story)


def test_a_list_is_gone_through_in_pages_whatever_comes_meanwhile(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        await orders(caller, 7)
        seen: list[str] = []
        page = await caller.read("/v1/events?limit=3")
        while True:
            seen += [event["order"] for event in page["data"]]
            if page["done"]:
                break
            await caller.world.shop(shop_event(f"new-{len(seen)}", order=f"new-{len(seen)}"))
            page = await caller.read(f"/v1/events?limit=3&cursor={page['cursor']}")
        assert seen == [f"ord-{number}" for number in reversed(range(7))]
        assert page["cursor"] is None

    play(tmp_path, story)


def test_lists_are_filtered(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        await orders(caller, 3)

        async def found(query: str) -> list[str]:
            return [event["order"] for event in (await caller.read(f"/v1/events?{query}"))["data"]]

        assert await found("order=ord-1") == ["ord-1"]
        assert await found("type=order.created&shop=default&source=shop") == [
            "ord-2",
            "ord-1",
            "ord-0",
        ]
        for nobody in (
            "order=x",
            "type=order.paid",
            "shop=x",
            "source=x",
            "since=2999-01-01T00:00:00Z",
        ):
            assert await found(nobody) == []
        assert await found("until=2999-01-01T00:00:00Z&limit=1") == ["ord-2"]
        deliveries = await caller.read("/v1/deliveries?state=delivered&subscription=good")
        assert len(deliveries["data"]) == 3
        event = deliveries["data"][0]["event_id"]
        assert len((await caller.read(f"/v1/deliveries?event={event}"))["data"]) == 1
        assert len((await caller.read("/v1/callbacks?verdict=event"))["data"]) == 3
        assert (await caller.read("/v1/callbacks?verdict=quarantined"))["data"] == []

    play(tmp_path, story)


def test_one_thing_is_shown_whole(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        await orders(caller, 1)
        (event,) = (await caller.read("/v1/events"))["data"]
        detail = await caller.read(f"/v1/events/{event['id']}")
        assert detail["event"] == event
        assert detail["cloudevent"] == caller.world.consumer.seen[0].event
        (delivery,) = (await caller.read("/v1/deliveries"))["data"]
        story = await caller.read(f"/v1/deliveries/{delivery['id']}")
        assert story["attempts"] == await caller.read(f"/v1/deliveries/{delivery['id']}/attempts")
        assert [attempt["status"] for attempt in story["attempts"]] == [200]
        (told,) = await caller.read("/v1/explain/ord-0")
        assert [one["id"] for one in told["events"]] == [event["id"]]
        (callback,) = (await caller.read("/v1/callbacks"))["data"]
        body = await caller.get(f"/v1/callbacks/{callback['id']}/body")
        assert json.loads(body.content) == shop_event(0, order="ord-0")
        assert body.headers["content-disposition"] == f'attachment; filename="{callback["id"]}.bin"'
        assert body.headers["x-content-type-options"] == "nosniff"
        for row in (event, delivery, callback, *story["attempts"]):
            times = [
                value
                for name, value in row.items()
                if name in {"recorded", "due", "received_at", "started_at"}
            ]
            assert times
            assert all(TIME.fullmatch(value) for value in times)

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("/v1/events?limit=0", 400, "limit"),
        ("/v1/events?limit=x", 400, "limit"),
        ("/v1/events?limit=201", 400, "limit"),
        ("/v1/events?nothing=1", 400, "nothing"),
        ("/v1/events?limit=1&limit=2", 400, "twice"),
        ("/v1/events?cursor=abc", 400, "cursor"),
        ("/v1/events?since=yesterday", 400, "since"),
        ("/v1/events?since=now", 400, "since"),
        ("/v1/deliveries?state=odd", 400, "state"),
        ("/v1/deliveries?subscription=nobody", 404, "nobody"),
        ("/v1/deliveries?event=evt_0", 404, "evt_0"),
        ("/v1/events/evt_0", 404, "evt_0"),
        ("/v1/deliveries/dl_99", 404, "dl_99"),
        ("/v1/callbacks/cb_99", 404, "cb_99"),
        ("/v1/callbacks/%00", 404, "callback"),
        ("/v1/explain/nothing", 404, "nothing"),
        ("/v1/event-types/order.eaten", 404, "order.eaten"),
        ("/v1/nothing", 404, ""),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, path: str, status: int, word: str) -> None:
    async def story(caller: Caller) -> None:
        response = await caller.get(path)
        assert response.status_code == status, response.text
        problem = response.json()
        assert response.headers["content-type"] == "application/problem+json"
        assert problem["code"] == CODES[status]
        assert word in problem["detail"]

    play(tmp_path, story)


def test_a_cursor_belongs_to_its_list(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        await orders(caller, 2)
        cursor = (await caller.read("/v1/events?limit=1"))["cursor"]
        assert (await caller.get(f"/v1/callbacks?cursor={cursor}")).status_code == 400
        assert (await caller.get(f"/v1/events?cursor={cursor}x")).status_code == 400

    play(tmp_path, story)


def test_a_bug_is_told_by_its_number_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(caller: Caller) -> None:
        caller.world.gateway.store.records = None  # type: ignore[method-assign,assignment]
        response = await caller.get("/v1/events")
        assert response.status_code == 500
        problem = response.json()
        assert problem["code"] == "internal"
        assert problem["request_id"] in problem["detail"]
        assert problem["request_id"] in caplog.text
        assert "NoneType" not in response.text

    play(tmp_path, story)


def test_rows_are_shown_with_times_that_people_read() -> None:
    row = EventRow(
        id="evt_1",
        type="order.paid",
        source="shop",
        shop="default",
        order=None,
        seq=None,
        time=Millis(1_768_487_400_250),
        recorded=Millis(0),
        callback=None,
        routing=(),
    )
    assert shown([row])[0] | {} == {
        "id": "evt_1",
        "type": "order.paid",
        "source": "shop",
        "shop": "default",
        "order": None,
        "seq": None,
        "time": "2026-01-15T14:30:00.250Z",
        "recorded": "1970-01-01T00:00:00.000Z",
        "callback": None,
        "routing": [],
    }


def test_rows_are_taken_back_as_they_were() -> None:
    job = Replay(
        id=1,
        chosen=Chosen(order="1", since=Millis(5)),
        made_at=Millis(1_768_487_400_251),
        upto=3,
    )
    assert taken(msgspec.json.decode(msgspec.json.encode(shown(job))), Replay) == job


def test_a_cursor_outlives_a_restart(tmp_path: Path) -> None:
    found: list[str] = []

    async def first(caller: Caller) -> None:
        await orders(caller, 2)
        found.append((await caller.read("/v1/events?limit=1"))["cursor"])

    async def second(caller: Caller) -> None:
        page = await caller.read(f"/v1/events?cursor={found[0]}")
        assert [event["order"] for event in page["data"]] == ["ord-0"]

    play(tmp_path, first)
    play(tmp_path, second)


def test_a_time_is_one_under_whatever_name_it_is_shown() -> None:
    class Row(msgspec.Struct, frozen=True):
        start: Millis | None = msgspec.field(name="from", default=None)

    row = Row(start=Millis(250))
    assert shown(row) == {"from": "1970-01-01T00:00:00.250Z"}
    assert taken(shown(row), Row) == row
