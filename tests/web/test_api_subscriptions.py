"""Subscriptions over the API, as n8n and Zapier use it; what one key makes, no other one meets."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from standardwebhooks import Webhook

from gateway.config import made
from gateway.keys import Role
from gateway.web.api.subscribing import SUBSCRIBING
from tests.pipeline.world import Consumer, Delivered, World, consuming, running, shop_event

PATH = "/v1/subscriptions"


class Key:
    """Asks at the public door, or elsewhere, with a key of its own."""

    def __init__(self, world: World, text: str, role: Role) -> None:
        self.world, self.text = world, text
        outside = role in {Role.SUBSCRIBER, Role.PUBLISHER}
        self.root = world.public if outside else world.admin

    async def ask(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.world.client.request(
            method,
            self.root + path,
            headers={"authorization": f"Bearer {self.text}", **named},
            json=body,
        )

    async def subscribe(self, status: int = 201, **body: Any) -> dict[str, Any]:
        response = await self.ask("POST", PATH, body)
        assert response.status_code == status, response.text
        return dict(response.json())

    async def get(self, path: str, status: int = 200) -> Any:
        response = await self.ask("GET", path)
        assert response.status_code == status, response.text
        return response.json()

    async def listed(self, query: str = "") -> list[str]:
        return [one["id"] for one in (await self.get(PATH + query))["data"]]


async def new_key(world: World, role: Role = Role.SUBSCRIBER) -> Key:
    _, text = await world.gateway.keyring.create(role, world.gateway.clock())
    return Key(world, text, role)


def play(folder: Path, story: Callable[[World], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with consuming() as consumer, running(folder, consumer) as world:
            await story(world)

    asyncio.run(whole())


def url(consumer: Consumer, path: str) -> str:
    return f"http://127.0.0.1:{consumer.port}{path}"


def at(consumer: Consumer, path: str) -> list[Delivered]:
    return [one for one in consumer.seen if one.path == path]


async def until_gone(key: Key, name: str) -> None:
    for _ in range(1_500):
        if (await key.ask("GET", f"{PATH}/{name}")).status_code == 404:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{name} is still there")


async def tell(world: World, name: str) -> str:
    """An event of a new order, whose deliveries have all ended; its order."""
    await world.shop(shop_event(name, order=name))
    await world.settled()
    return name


def subjects(consumer: Consumer, path: str) -> list[str]:
    return [one.event["subject"] for one in at(consumer, path)]


def test_n8n_subscribes_restarts_and_is_imported_again(tmp_path: Path) -> None:
    hook = "/webhook/5f0c/webhook"

    async def whole() -> None:
        async with consuming() as consumer:
            async with running(tmp_path, consumer) as world:
                key = await new_key(world)
                assert (await key.get("/v1/me"))["role"] == "subscriber"
                assert {"type", "description"} <= (await key.get("/v1/event-types"))[0].keys()
                first = await key.subscribe(url=url(consumer, hook), types=["order.created"])
                assert consumer.seen == []
                assert (first["profile"], first["mode"]) == ("n8n", "json")
                await tell(world, "one")
                (delivered,) = at(consumer, hook)
                Webhook(first["secret"]).verify(delivered.body, delivered.headers)
            async with running(tmp_path, consumer) as world:
                key = Key(world, key.text, Role.SUBSCRIBER)
                kept = await key.get(f"{PATH}/{first['id']}")
                assert "secret" not in kept
                assert kept == {
                    **{name: value for name, value in first.items() if name != "secret"},
                    "last_success": kept["last_success"],
                }
                again = await key.subscribe(200, url=url(consumer, hook), types="order.*")
                assert (again["id"], again["secret"]) == (first["id"], first["secret"])
                assert again["types"] == ["order.*"]
                assert await key.listed(f"?url={url(consumer, hook)}") == [first["id"]]
                await tell(world, "two")
                assert subjects(consumer, hook) == ["one", "two"]
                for _ in range(2):
                    response = await key.ask("DELETE", f"{PATH}/{first['id']}")
                    assert (response.status_code, response.content) == (204, b"")
                await key.get(f"{PATH}/{first['id']}", 404)
                await tell(world, "three")
                assert subjects(consumer, hook) == ["one", "two"]
                fresh = await key.subscribe(url=url(consumer, hook))
                assert fresh["id"] != first["id"]
                assert fresh["secret"] != first["secret"]

    asyncio.run(whole())


def test_many_subscribe_the_same_url_at_once(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        key, target = await new_key(world), url(world.consumer, "/in")
        asked = [key.ask("POST", PATH, {"url": target}) for _ in range(8)]
        answers = await asyncio.gather(*asked)
        assert sorted(one.status_code for one in answers) == [200] * 7 + [201]
        assert len({(one.json()["id"], one.json()["secret"]) for one in answers}) == 1
        assert len(await key.listed()) == 1

    play(tmp_path, story)


def test_the_url_of_a_test_run_ends_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def whole() -> None:
        async with consuming() as consumer:
            hook = url(consumer, "/webhook-test/5f0c/webhook")
            async with running(tmp_path, consumer) as world:
                key = await new_key(world)
                now = world.gateway.clock()
                told = await key.subscribe(url=hook)
                ends = datetime.fromisoformat(told["expires_at"]).timestamp() * 1000
                assert now + 600_000 <= ends <= world.gateway.clock() + 600_000
                assert (await key.subscribe(url=url(consumer, "/webhook/x")))["expires_at"] is None
                monkeypatch.setattr(made, "TEST_LIFE", 300)
                assert (await key.subscribe(200, url=hook))["id"] == told["id"]
                await until_gone(key, told["id"])
                left = await key.subscribe(url=hook)
            await asyncio.sleep(0.4)
            async with running(tmp_path, consumer) as world:
                key = Key(world, key.text, Role.SUBSCRIBER)
                await key.get(f"{PATH}/{left['id']}", 404)
                assert len(await key.listed()) == 1

    asyncio.run(whole())


@pytest.mark.parametrize("under", ["url", "hookUrl", "target_url"])
def test_zapier_subscribes_loads_samples_and_unsubscribes(tmp_path: Path, under: str) -> None:
    async def story(world: World) -> None:
        key, consumer = await new_key(world), world.consumer
        target = url(consumer, "/hooks/standard/1/2")
        body: dict[str, Any] = {
            under: target,
            "types": "order.created",
            "flat": True,
            "mode": "json",
        }
        made = await key.subscribe(**body)
        assert made["url"] == target
        await tell(world, "one")
        await tell(world, "two")
        delivered = [one.event for one in at(consumer, "/hooks/standard/1/2")]
        asked = "/v1/samples?type=order.created&limit=3&flat=true&mode=json"
        assert await key.get(asked) == delivered[::-1]
        assert any(name.startswith("data__") for name in delivered[0])
        good = [one.event for one in at(consumer, "/good")]
        assert await key.get("/v1/samples?mode=structured") == good[::-1]
        assert await key.get("/v1/samples?type=order.created&limit=1") == good[:0:-1]
        consumer.answer = lambda seen: (200 if seen.path == "/good" else 410, {}, b"")
        await tell(world, "three")
        await world.until(lambda: world.rows("SELECT 1 FROM subscriptions WHERE state = 'gone'"))
        gone = await key.get(f"{PATH}/{made['id']}")
        assert (gone["state"], gone["reason"]) == ("gone", "the endpoint answered 410 Gone")
        consumer.answer = lambda _: (200, {}, b"")
        again = await key.subscribe(200, **body)
        assert (again["id"], again["state"]) == (made["id"], "active")
        await tell(world, "four")
        assert at(consumer, "/hooks/standard/1/2")[-1].event["subject"] == "four"
        for _ in range(2):
            response = await key.ask("DELETE", f"{PATH}/{made['id']}")
            assert response.status_code == 204

    play(tmp_path, story)


ROUTES = [
    ("GET", "", None, 200),
    ("PATCH", "", {"types": "order.paid"}, 200),
    ("POST", "/pause", None, 200),
    ("POST", "/resume", None, 200),
    ("POST", "/rotate", {}, 200),
    ("DELETE", "", None, 204),
]


def test_the_table_has_all_routes() -> None:
    found = {(one.method, one.path) for one in SUBSCRIBING if "{id}" in one.path}
    assert found == {(method, f"{PATH}/{{id}}{verb}") for method, verb, _, _ in ROUTES}


def test_a_key_meets_only_what_it_made(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        mine, other = await new_key(world), await new_key(world)
        own = await mine.subscribe(url=url(world.consumer, "/mine"), name="mine")
        their = await other.subscribe(url=url(world.consumer, "/their"), name="their")
        before = await other.get(f"{PATH}/their")

        async def asked(method: str, name: str, verb: str, body: object) -> tuple[int, Any]:
            response = await mine.ask(method, f"{PATH}/{name}{verb}", body)
            answer = response.json() if response.content else {}
            detail = str(answer.get("detail")).replace(name, "X")
            return response.status_code, (answer.get("code"), detail, "etag" in response.headers)

        for method, verb, body, status in ROUTES:
            foreign = [
                await asked(method, name, verb, body)
                for name in ("their", their["id"], "good", "sub_1", "absent", "sub_999", "sub_x")
            ]
            assert set(foreign) == {foreign[0]}, (method, verb)
            assert foreign[0][0] == (204 if method == "DELETE" else 404)
            assert (await asked(method, own["id"], verb, body))[0] == status
        assert await other.get(f"{PATH}/their") == before
        assert await other.listed() == [their["id"]]
        assert await mine.listed() == []
        assert await mine.listed(f"?url={url(world.consumer, '/their')}") == []
        twin = await mine.subscribe(url=url(world.consumer, "/their"))
        assert twin["id"] != their["id"]
        assert twin["secret"] != their["secret"]
        taken = [
            await mine.ask("POST", PATH, {"url": url(world.consumer, "/new"), "name": name})
            for name in ("their", "good")
        ]
        assert [one.status_code for one in taken] == [409, 409]
        assert {one.json()["detail"] for one in taken} == {
            "name: their is taken, choose another one",
            "name: good is taken, choose another one",
        }
        for role in (Role.READER, Role.OPERATOR, Role.ADMIN):
            everything = await new_key(world, role)
            assert len(await everything.listed()) == 3
            assert (await everything.get(f"{PATH}/their"))["owner"] == before["owner"]

    play(tmp_path, story)


def test_secrets_and_urls_are_told_to_whom_they_belong(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        key, target = await new_key(world), url(world.consumer, "/in?token=t0ken")
        headers = {"Authorization": "Bearer s3cret-value"}
        told = await key.subscribe(url=target, headers=headers, description="the CRM")
        assert told["headers"] == ["Authorization"]
        assert told["description"] == "the CRM"
        path, seen = f"{PATH}/{told['id']}", {}
        for role in (Role.SUBSCRIBER, Role.ADMIN, Role.OPERATOR, Role.READER):
            asker = key if role is Role.SUBSCRIBER else await new_key(world, role)
            seen[role] = (await asker.get(path))["url"]
            listed = await asker.get(PATH)
            assert seen[role] in {one["url"] for one in listed["data"]}
            assert "s3cret" not in json.dumps(listed)
            assert "whsec_" not in json.dumps([listed, await asker.get(path)])
        assert seen == {
            Role.SUBSCRIBER: target,
            Role.ADMIN: url(world.consumer, "/in?***"),
            Role.OPERATOR: url(world.consumer, "/in?***"),
            Role.READER: url(world.consumer, ""),
        }
        changed = await key.ask("PATCH", path, {"types": "order.created"})
        assert "whsec_" not in changed.text
        operator = await new_key(world, Role.OPERATOR)
        for given in (operator, key):  # who may not read a header may not have it sent elsewhere
            moved = await given.ask("PATCH", path, {"url": "https://elsewhere.example/"})
            assert moved.status_code == 400
            assert moved.json()["detail"].startswith("headers: give them again")
        rotated = (await key.ask("POST", f"{path}/rotate", {"overlap": "1h"})).json()
        await tell(world, "one")
        (delivered,) = at(world.consumer, "/in?token=t0ken")
        assert delivered.headers["authorization"] == "Bearer s3cret-value"
        for secret in (told["secret"], rotated["secret"]):
            Webhook(secret).verify(delivered.body, delivered.headers)
        again = await key.subscribe(200, url=target)
        assert again["secret"] == rotated["secret"]

    play(tmp_path, story)


def test_what_cannot_be_changed_is_a_conflict(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        key, admin = await new_key(world), await new_key(world, Role.ADMIN)
        one = await key.subscribe(url="https://e.example/one")
        await key.subscribe(url="https://e.example/two")
        path = f"{PATH}/{one['id']}"

        async def conflict(who: Key, method: str, at: str, body: object, word: str) -> None:
            response = await who.ask(method, at, body)
            assert (response.status_code, response.json()["code"]) == (409, "conflict")
            assert word in response.json()["detail"]

        for body, word in (
            ({"ordering": "order"}, "ordering"),
            ({"mode": "batch"}, "batch"),
            ({"from": "beginning"}, "from"),
            ({"url": "https://e.example/two"}, "another subscription"),
        ):
            await conflict(key, "PATCH", path, body, word)
        again = {"url": "https://e.example/one", "ordering": "order"}
        await conflict(key, "POST", PATH, again, "ordering")
        declared = f"{PATH}/good"
        await conflict(admin, "PATCH", declared, {"slots": 1}, "change it there")
        await conflict(admin, "DELETE", declared, None, "take it out there")
        await conflict(admin, "POST", f"{declared}/rotate", {}, "two entries")
        await conflict(admin, "POST", PATH, {"url": "https://e.example/", "name": "good"}, "good")
        for verb in ("pause", "resume"):
            assert (await admin.ask("POST", f"{declared}/{verb}")).status_code == 200
        assert await key.get(path) == {name: one[name] for name in one if name != "secret"}

    play(tmp_path, story)


def test_a_change_may_insist_on_what_was_read(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        key = await new_key(world)
        made = await key.subscribe(url=url(world.consumer, "/a"))
        path = f"{PATH}/{made['id']}"
        read = (await key.ask("GET", path)).headers["etag"]
        first = await key.ask("PATCH", path, {"slots": 4}, if_match=read)
        assert (first.status_code, first.json()["slots"]) == (200, 4)
        assert first.headers["etag"] != read
        second = await key.ask("PATCH", path, {"slots": 5}, if_match=read)
        assert (second.status_code, second.json()["code"]) == (412, "precondition_failed")
        assert (await key.ask("GET", path)).headers["etag"] == first.headers["etag"]
        for tag in (f'"x", {first.headers["etag"]}', "*"):
            done = await key.ask("PATCH", path, {"url": url(world.consumer, "/b")}, if_match=tag)
            assert done.status_code == 200
        await tell(world, "one")
        assert subjects(world.consumer, "/b") == ["one"]
        assert at(world.consumer, "/a") == []
        for enabled in (False, True):
            await key.ask("PATCH", path, {"enabled": enabled})
            await tell(world, f"enabled-{enabled}")
        assert subjects(world.consumer, "/b") == ["one", "enabled-True"]

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("status", "headers"), [(415, {}), (429, {"Retry-After": "30000000"})], ids=["415", "429"]
)
def test_who_subscribes_again_goes_on_unless_a_person_holds_it(
    tmp_path: Path, status: int, headers: dict[str, str]
) -> None:
    async def story(world: World) -> None:
        key, target = await new_key(world), url(world.consumer, "/in")
        made = await key.subscribe(url=target)
        paused = (await key.ask("POST", f"{PATH}/{made['id']}/pause")).json()
        assert paused["reason"] == "paused by the key that made it"
        assert (await key.subscribe(200, url=target))["state"] == "paused"
        await key.ask("POST", f"{PATH}/{made['id']}/resume")
        world.consumer.answer = lambda seen: (
            (status, headers, b"") if seen.path == "/in" else (200, {}, b"")
        )
        await world.shop(shop_event(1, order="one"))
        await world.until(lambda: world.rows("SELECT 1 FROM subscriptions WHERE state = 'paused'"))
        world.consumer.answer = lambda _: (200, {}, b"")
        again = await key.subscribe(200, url=target, mode="json", **{"from": "beginning"})
        assert (again["state"], again["from"], again["hold_until"]) == ("active", "now", None)
        await world.settled()
        assert subjects(world.consumer, "/in") == ["one", "one"]
        assert at(world.consumer, "/in")[1].headers["content-type"] == "application/json"

    play(tmp_path, story)


def test_a_subscriber_learns_nothing_of_the_subscriptions_of_others(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        key, admin = await new_key(world), await new_key(world, Role.ADMIN)
        target = url(world.consumer, "/in")
        made = await key.subscribe(url=target)
        for types in (["gateway.*"], ["order.*", "gateway.subscription.failing"]):
            asked = [
                await key.ask("POST", PATH, {"url": f"{target}2", "types": types}),
                await key.ask("PATCH", f"{PATH}/{made['id']}", {"types": types}),
                await key.ask("GET", f"/v1/stream?types={','.join(types)}"),
            ]
            assert [(one.status_code, one.json()["code"]) for one in asked] == [
                (403, "forbidden")
            ] * 3
        assert (await admin.subscribe(url=f"{target}3", types=["gateway.*"]))["id"]

    play(tmp_path, story)
