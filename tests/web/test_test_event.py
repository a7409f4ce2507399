"""Test events: sent as real ones are, told with all that helps, and nothing of them is kept."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from standardwebhooks import Webhook

from gateway import tester
from gateway.keys import Role
from gateway.models import Mode
from tests.pipeline.world import (
    SECRET,
    Answer,
    Delivered,
    World,
    configuration,
    consuming,
    running,
)
from tests.web.test_api_subscriptions import PATH, Key, at, new_key, play, tell, url

OWN = 'headers = { Authorization = "Bearer top-secret-value" }'
SUBSCRIPTIONS = """
[subscriptions.{name}]
url = "http://127.0.0.1:{port}/{name}?token=t0ken"
secrets = ["{secret}"]
{more}
"""


async def sent(key: Key, name: str, status: int = 200, **body: Any) -> dict[str, Any]:
    response = await key.ask("POST", f"{PATH}/{name}/test", body)
    assert response.status_code == status, response.text
    return dict(response.json())


def act(
    folder: Path, text: Callable[[int], str], story: Callable[[World], Awaitable[None]]
) -> None:
    """Play a story with the configuration that `text` makes of the consumer's port."""

    async def whole() -> None:
        async with (
            consuming() as consumer,
            running(folder, consumer, text(consumer.port)) as world,
        ):
            await story(world)

    asyncio.run(whole())


def always(status: int, headers: dict[str, str]) -> Callable[[Delivered], Answer]:
    return lambda _: (status, headers, b"n\xc3\xb6")


def counts(world: World) -> list[Any]:
    tables = ("events", "deliveries", "attempts", "callbacks")
    health = world.rows(
        "SELECT name, state, hold_until, last_success, failing_since, broken_until, trips"
        " FROM subscriptions ORDER BY id"
    )
    return [*(world.rows(f"SELECT count(*) FROM {table}") for table in tables), health]


def declared(port: int) -> str:
    """A subscription in each mode, and one that is flat, with headers of their own."""
    more = {mode: f'mode = "{mode}"\n{OWN}' for mode in Mode} | {
        "flat": 'mode = "json"\nflat = true'
    }
    parts = (
        SUBSCRIPTIONS.format(name=name, port=port, secret=SECRET, more=text)
        for name, text in more.items()
    )
    return configuration(port, "".join(parts))


def test_it_is_what_a_delivery_would_be_in_every_mode(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        before = counts(world)
        key = await new_key(world, Role.OPERATOR)
        for mode in [*Mode, "flat"]:
            answer = await sent(key, mode, type="order.paid")
            (seen,) = at(world.consumer, f"/{mode}?token=t0ken")
            assert (answer["status"], answer["failure"], answer["head"]) == (200, None, "ok")
            assert (answer["type"], answer["webhook_id"]) == ("order.paid", seen.id)
            Webhook(SECRET).verify(seen.body, seen.headers)
            attributes, order = read(mode, seen.headers, seen.event)
            assert attributes["gatewaytest"] in {True, "true"}
            assert (attributes["type"], order) == ("order.paid", "1001")
            batch = mode == Mode.BATCH
            assert seen.id.startswith("bat_" if batch else "evt_")
            assert batch or attributes["id"] == seen.id
            own = None if mode == "flat" else "Bearer top-secret-value"
            assert seen.headers.get("authorization") == own
        assert counts(world) == before

    act(tmp_path, declared, story)


def read(mode: str, headers: dict[str, str], body: Any) -> tuple[dict[str, Any], str | None]:
    """The attributes of an event, and the order that its data name."""
    if mode == Mode.BINARY:
        found = {name[3:]: value for name, value in headers.items() if name.startswith("ce-")}
        return found, body["order"]
    if mode == Mode.BATCH:
        (body,) = body
    if mode == "flat":
        return body, body["data__order"]
    return body, body["data"]["order"]


def test_each_has_an_id_of_its_own(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        key = await new_key(world, Role.OPERATOR)
        ids = {(await sent(key, "good"))["webhook_id"] for _ in range(3)}
        assert len(ids) == 3
        assert ids == {one.id for one in at(world.consumer, "/good")}

    play(tmp_path, story)


def test_without_a_type_it_is_the_first_that_is_wanted(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        key = await new_key(world, Role.OPERATOR)
        for types, found in (
            (["order.shipped", "order.paid"], "order.paid"),
            (["*"], "order.created"),
            (["gateway.*"], "gateway.subscription.gone"),
        ):
            path = f"/{found}"
            made = await key.subscribe(url=url(world.consumer, path), types=types)
            answer = await sent(key, made["id"])
            assert (answer["type"], answer["note"]) == (found, None)
            assert at(world.consumer, path)[0].event["type"] == found
        other = await sent(key, made["id"], type="order.paid")
        assert "its types do not include order.paid" in other["note"]
        desk = await key.subscribe(url=url(world.consumer, "/desk"), types=["desk.asked"])
        assert "name one" in (await sent(key, desk["id"], 400))["detail"]
        problem = await sent(key, desk["id"], 400, type="desk.asked")
        assert "no example of desk.asked" in problem["detail"]

    play(tmp_path, story)


def test_failures_are_told_with_advice_and_count_for_nothing(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        consumer, key = world.consumer, await new_key(world, Role.OPERATOR)
        before = counts(world)
        for status, headers, word in (
            (404, {}, "path"),
            (415, {}, 'mode = "json"'),
            (401, {}, "Authorization"),
            (410, {}, "gone"),
            (301, {"Location": "https://elsewhere.example/"}, "url"),
            (500, {}, "log"),
            (429, {"Retry-After": "3600"}, "rate"),
        ):
            consumer.answer = always(status, headers)
            answer = await sent(key, "good")
            assert (answer["status"], answer["head"]) == (status, "nö")
            assert answer["failure"] == ("redirect" if status == 301 else "status")
            assert word in answer["advice"], answer
            assert answer["duration_ms"] >= answer["first_byte_ms"] >= answer["connected_ms"]
            assert answer["address"] == f"127.0.0.1:{consumer.port}"
        consumer.answer = lambda _: None
        answer = await sent(key, "good")
        assert (answer["status"], answer["failure"]) == (None, "reset")
        assert answer["advice"]
        assert counts(world) == before

    play(tmp_path, story)


def test_a_paused_one_is_tried_too(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        key = await new_key(world)
        made = await key.subscribe(url=url(world.consumer, "/mine"))
        await key.ask("POST", f"{PATH}/{made['id']}/pause")
        assert "paused" in (await sent(key, made["id"]))["note"]
        assert len(at(world.consumer, "/mine")) == 1
        assert (await key.get(f"{PATH}/{made['id']}"))["state"] == "paused"

    play(tmp_path, story)


def shy(port: int) -> str:
    """With a subscription whose endpoint is asked for its consent."""
    more = SUBSCRIPTIONS.format(name="shy", port=port, secret=SECRET, more="handshake = true")
    return configuration(port, more, server='public_url = "https://g.example"')


def test_nothing_is_sent_without_consent_or_a_url(tmp_path: Path) -> None:
    async def unasked(world: World) -> None:
        world.consumer.answer = lambda _: (405, {}, b"")
        key = await new_key(world, Role.OPERATOR)
        assert "has not consented" in (await sent(key, "shy", 409))["detail"]

    async def dropped(world: World) -> None:
        key = await new_key(world, Role.OPERATOR)
        assert "has no URL" in (await sent(key, "shy", 409))["detail"]
        assert not [one for one in world.consumer.seen if "gatewaytest" in str(one.body)]

    act(tmp_path, shy, unasked)
    act(tmp_path, configuration, dropped)


def test_one_that_is_gone_is_left_alone_and_strangers_find_none(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        key = await new_key(world)
        made = await key.subscribe(url=url(world.consumer, "/mine"))
        await sent(await new_key(world), made["id"], 404)
        await sent(await new_key(world, Role.READER), "good", 403)
        world.consumer.answer = lambda one: (410 if one.path == "/mine" else 200, {}, b"")
        await tell(world, "1")
        await world.until(
            lambda: [one for one in world.gateway.store.catalog.statuses if one.state == "gone"]
        )
        assert "is gone" in (await sent(key, made["id"], 409))["detail"]
        assert len(at(world.consumer, "/mine")) == 1

    play(tmp_path, story)


def test_one_at_a_time_and_not_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tester, "AT_ONCE", 2)

    async def story(world: World) -> None:
        consumer, key = world.consumer, await new_key(world)
        made = [await key.subscribe(url=url(consumer, f"/{one}")) for one in "abc"]
        consumer.hold = asyncio.Event()
        first = asyncio.create_task(sent(key, made[0]["id"]))
        await world.delivered(1)
        assert "under way" in (await sent(key, made[0]["id"], 409))["detail"]
        second = asyncio.create_task(sent(key, made[1]["id"]))
        await world.delivered(2)
        response = await key.ask("POST", f"{PATH}/{made[2]['id']}/test", {})
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")
        consumer.hold.set()
        assert [(await one)["status"] for one in (first, second)] == [200, 200]
        consumer.hold = None
        for one in made:
            assert (await sent(key, one["id"]))["status"] == 200

    play(tmp_path, story)


def test_a_test_waits_no_longer_than_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tester, "LONGEST", 50)

    async def story(world: World) -> None:
        key = await new_key(world)
        made = await key.subscribe(url=url(world.consumer, "/slow"), timeout="1h")
        world.consumer.hold = asyncio.Event()
        answer = await sent(key, made["id"])
        assert (answer["failure"], answer["status"]) == ("timeout", None)
        assert "within 0.05 s" in answer["advice"]
        world.consumer.hold.set()

    play(tmp_path, story)


needs_curl = pytest.mark.skipif(
    shutil.which("curl") is None and os.environ.get("CI") != "true", reason="curl is not here"
)


@needs_curl
def test_the_curl_command_is_the_same_request_without_what_is_secret(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        key = await new_key(world, Role.OPERATOR)
        for mode in Mode:
            world.consumer.seen.clear()
            answer = await sent(key, mode)
            assert "top-secret-value" not in json.dumps(answer)
            assert "t0ken" not in json.dumps(answer)
            assert answer["variables"] == ["GATEWAY_URL_QUERY", "GATEWAY_HEADER_AUTHORIZATION"]
            await run(
                answer["curl"],
                GATEWAY_URL_QUERY="token=t0ken",
                GATEWAY_HEADER_AUTHORIZATION="Bearer top-secret-value",
            )
            one, two = world.consumer.seen
            assert (one.path, one.body, one.headers) == (two.path, two.body, two.headers)

    act(tmp_path, declared, story)


def test_the_query_of_a_url_is_told_to_its_owner_alone(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        key = await new_key(world)
        made = await key.subscribe(url=url(world.consumer, "/mine?token=t0ken"))
        assert "/mine?token=t0ken" in (await sent(key, made["id"]))["curl"]
        other = await new_key(world, Role.ADMIN)
        assert "t0ken" not in json.dumps(await sent(other, made["id"]))
        owner = await world.client.post(f"{world.control}{PATH}/{made['name']}/test")
        assert "/mine?token=t0ken" in owner.json()["curl"]

    play(tmp_path, story)


async def run(text: str, **variables: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "sh",
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], **variables},
    )
    assert process.stdin is not None
    await process.communicate(text.encode("ascii"))
    assert process.returncode == 0


def narrow(port: int) -> str:
    """Nothing but the consumer may be connected to."""
    return configuration(port).replace("127.0.0.0/8:*", f"127.0.0.1:{port}")


def test_addresses_are_told_to_operators_alone(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        operator, consumers = await new_key(world, Role.OPERATOR), await new_key(world)
        # A name is judged when it is resolved; a literal is refused when it subscribes.
        made = await consumers.subscribe(url="http://localhost:9/in")
        told = await sent(operator, made["id"])
        assert told["failure"] == "forbidden"
        assert "egress.allow" in told["detail"]
        assert "egress.allow" in told["advice"]
        told = await sent(consumers, made["id"])
        assert (told["failure"], told["status"], told["address"]) == ("forbidden", None, None)
        assert told["detail"] == "The gateway does not connect to this address."
        assert "operator" in told["advice"]
        assert not any(word in json.dumps(told) for word in ("127.", "::1", "egress"))
        fine = await consumers.subscribe(url=url(world.consumer, "/fine"))
        assert (await sent(consumers, fine["id"]))["address"] is None

    act(tmp_path, narrow, story)


def test_a_refused_connection_is_told_without_its_address(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        operator, consumers = await new_key(world, Role.OPERATOR), await new_key(world)
        made = await consumers.subscribe(url="http://localhost:1/in")
        assert ":1: " in (await sent(operator, made["id"]))["detail"]
        told = await sent(consumers, made["id"])
        assert (told["failure"], told["address"]) == ("connect", None)
        assert told["detail"] == "No connection was made: Connection refused."
        assert "runs" in told["advice"]

    play(tmp_path, story)


def test_it_takes_the_control_socket_and_an_empty_body(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        response: httpx2.Response = await world.client.post(f"{world.control}{PATH}/good/test")
        assert response.status_code == 200, response.text
        assert response.json()["subscription"] == "good"
        key = await new_key(world, Role.OPERATOR)
        assert "more" in (await sent(key, "good", 400, more=1))["detail"]

    play(tmp_path, story)
