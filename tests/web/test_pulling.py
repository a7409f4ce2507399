"""Consumers that fetch their events: subscriptions with `pull`, their events and acknowledgements."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.keys import Role
from gateway.news import MOST
from gateway.stores.sqlite import pulled
from gateway.web.api import pulling
from gateway.web.api.operation import Door
from tests.pipeline.world import configuration, consuming, running, shop_event
from tests.web.test_api import Caller, play

PULL = """
[subscriptions.desk]
pull = true
"""
URL = "/v1/subscriptions"


async def subscribe(caller: Caller, name: str = "erp", **keys: Any) -> str:
    """A new one of the key of the role `subscriber`; its path."""
    body = {"name": name, "pull": True, **keys}
    response = await caller.ask(URL, method="POST", body=body, role=Role.SUBSCRIBER)
    assert response.status_code == 201, response.text
    return f"{URL}/{response.json()['id']}"


async def orders(caller: Caller, *names: str) -> None:
    for name in names:
        assert (await caller.world.shop(shop_event(name, order=name))).status_code == 200


async def pull(caller: Caller, path: str, query: str = "", **more: Any) -> Any:
    return await caller.read(f"{path}/events{query}", role=Role.SUBSCRIBER, **more)


async def ack(caller: Caller, path: str, cursor: str) -> Any:
    response = await caller.ask(
        f"{path}/ack", method="POST", body={"cursor": cursor}, role=Role.SUBSCRIBER
    )
    assert response.status_code == 200, response.text
    return response.json()


def subjects(page: Any) -> list[str]:
    return [one["event"]["subject"] for one in page["data"]]


def test_it_is_made_without_a_url_and_has_no_secret(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        body = {"name": "erp", "pull": True, "types": ["order.*"]}
        made = await caller.ask(URL, method="POST", body=body, role=Role.SUBSCRIBER)
        assert made.status_code == 201
        told = made.json()
        assert (told["pull"], told["url"], told["secret"]) == (True, "", None)
        again = await caller.ask(
            URL, method="POST", body={"name": "erp", "pull": "true"}, role=Role.SUBSCRIBER
        )
        assert (again.status_code, again.json()["id"]) == (200, told["id"])
        other = await caller.ask(URL, method="POST", body=body, role=Role.OPERATOR)
        assert other.status_code == 409, other.text
        second = await subscribe(caller, "second")
        assert not second.endswith(told["id"])

    play(tmp_path, story)


def test_what_goes_with_a_url_only_is_refused(tmp_path: Path) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"pull": True}, "name"),
        ({"name": "a", "pull": True, "url": "https://example.com/in"}, "url"),
        ({"name": "a"}, "pull = true"),
        ({"name": "a", "pull": False}, "pull = true"),
        ({"name": "a", "pull": True, "slots": 3}, "slots"),
        ({"name": "a", "pull": True, "timeout": "3s"}, "timeout"),
        ({"name": "a", "pull": True, "ordering": "order"}, "ordering"),
        ({"name": "a", "pull": True, "headers": {"X-A": "b"}}, "headers"),
        ({"name": "a", "pull": True, "handshake": False}, "handshake"),
        ({"name": "a", "pull": True, "secrets": ["x"]}, "secrets"),
        ({"name": "a", "pull": True, "profile": "n8n"}, "profile"),
        ({"name": "a", "pull": True, "mode": "batch"}, "mode"),
        ({"name": "a", "pull": True, "mode": "binary"}, "mode"),
    ]

    async def story(caller: Caller) -> None:
        for keys, word in wrong:
            response = await caller.ask(URL, method="POST", body=keys, role=Role.SUBSCRIBER)
            assert response.status_code == 400, (keys, response.text)
            assert word in response.json()["detail"]

    play(tmp_path, story)


def test_what_is_there_is_changed_but_never_becomes_the_other_kind(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        path = await subscribe(caller)
        sent = await caller.ask(
            URL,
            method="POST",
            body={"url": "http://127.0.0.1:9/in"},
            role=Role.SUBSCRIBER,
        )
        with_url = f"{URL}/{sent.json()['id']}"

        async def patch(where: str, keys: dict[str, Any]) -> int:
            answer = await caller.ask(where, method="PATCH", body=keys, role=Role.SUBSCRIBER)
            return answer.status_code

        assert await patch(path, {"types": ["order.paid"], "flat": True}) == 200
        assert (await caller.read(path))["types"] == ["order.paid"]
        assert await patch(path, {"url": "http://127.0.0.1:9/in"}) == 400
        assert await patch(path, {"pull": False, "url": "http://127.0.0.1:9/in"}) == 409
        assert await patch(with_url, {"pull": True}) == 400
        rotated = await caller.ask(f"{path}/rotate", method="POST", body={}, role=Role.SUBSCRIBER)
        assert rotated.status_code == 409
        for call in (
            caller.get(f"{with_url}/events"),
            caller.ask(f"{with_url}/ack", method="POST", body={"cursor": "x"}),
        ):
            assert (await call).status_code == 409

    play(tmp_path, story)


def test_events_are_fetched_oldest_first_and_acknowledged(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        path = await subscribe(caller)
        assert await pull(caller, path) == {"data": [], "cursor": None, "done": True}
        await orders(caller, "a", "b", "c", "d")
        first = await pull(caller, path, "?limit=2")
        assert (subjects(first), first["done"]) == (["a", "b"], False)
        assert first["cursor"] == first["data"][-1]["cursor"]
        assert first["data"][0]["id"] == first["data"][0]["event"]["id"]
        assert await pull(caller, path, "?limit=2") == first  # nothing was acknowledged
        rest = await pull(caller, path, f"?cursor={first['cursor']}")
        assert (subjects(rest), rest["done"]) == (["c", "d"], True)
        end = await pull(caller, path, f"?cursor={rest['cursor']}")
        assert end == {"data": [], "cursor": rest["cursor"], "done": True}
        cursor = rest["data"][0]["cursor"]
        assert await ack(caller, path, cursor) == {"acknowledged": 3, "left": 1}
        assert await ack(caller, path, cursor) == {"acknowledged": 0, "left": 1}
        assert await ack(caller, path, first["cursor"]) == {"acknowledged": 0, "left": 1}
        assert subjects(await pull(caller, path)) == ["d"]

    play(tmp_path, story)


def test_the_bytes_are_those_that_a_delivery_has(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        path = await subscribe(caller)
        flat = await subscribe(caller, "flat", flat=True)
        await orders(caller, "a")
        (seen,) = await caller.world.delivered(1)
        response = await caller.get(f"{path}/events", role=Role.SUBSCRIBER, door=Door.PUBLIC)
        assert seen.body in response.content
        (one,) = (await pull(caller, flat))["data"]
        assert one["event"]["data__shop"] == "default"

    play(tmp_path, story)


def test_an_event_that_cannot_be_flat_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: bytes) -> bytes:
        raise ValueError("too long")

    async def story(caller: Caller) -> None:
        path = await subscribe(caller, flat=True)
        await orders(caller, "a")
        monkeypatch.setattr(pulling, "flatten", broken)
        assert subjects(await pull(caller, path)) == ["a"]

    play(tmp_path, story)


def test_an_answer_has_so_many_bytes_and_one_event_in_any_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(caller: Caller) -> None:
        path = await subscribe(caller)
        await orders(caller, "a", "b", "c")
        monkeypatch.setattr(pulling, "TOGETHER", 1)
        found: list[str] = []
        query, done = "", False
        while not done:
            page = await pull(caller, path, query)
            assert len(page["data"]) == 1
            found += subjects(page)
            query, done = f"?cursor={page['cursor']}", page["done"]
        assert found == ["a", "b", "c"]

    play(tmp_path, story)


def test_nothing_is_sent_and_nobody_is_kept_awake(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        path = await subscribe(caller)
        claims: list[Any] = []
        queue = caller.world.gateway.store.queue
        claim = queue.claim

        async def counted(*given: Any) -> Any:
            claims.append(given)
            return await claim(*given)

        queue.claim = counted  # type: ignore[method-assign,assignment]
        await orders(caller, "a", "b")
        await caller.world.delivered(2)
        await asyncio.sleep(0.2)
        number = int(path.rpartition("sub_")[2])
        assert all(number not in wanted for wanted, _ in claims)
        rows = caller.world.rows(
            "SELECT state, claim, attempts FROM deliveries WHERE subscription = ?", number
        )
        assert rows == [(0, None, 0), (0, None, 0)]
        dispatcher = caller.world.gateway.dispatcher
        woken = dispatcher._wake.is_set()
        assert not woken

    play(tmp_path, story)


def test_what_was_acknowledged_is_told_as_delivered(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        path = await subscribe(caller)
        await orders(caller, "a")
        (before,) = (await caller.read("/v1/deliveries?subscription=erp"))["data"]
        assert (before["state"], before["attempts"]) == ("pending", 0)
        await ack(caller, path, (await pull(caller, path))["cursor"])
        (after,) = (await caller.read("/v1/deliveries?subscription=erp"))["data"]
        assert (after["state"], after["attempts"]) == ("delivered", 0)
        assert after["reason"] == "acknowledged by its consumer"
        assert after["finished_at"] is not None
        assert (await caller.read(path))["last_success"] is not None
        assert (await caller.get("/v1/explain/a")).status_code == 200

    play(tmp_path, story)


def test_a_replay_comes_at_the_end(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        path = await subscribe(caller)
        await orders(caller, "a", "b")
        page = await pull(caller, path)
        await ack(caller, path, page["data"][0]["cursor"])
        old = (await caller.read("/v1/deliveries?subscription=erp"))["data"][-1]["id"]
        again = await caller.ask(f"/v1/deliveries/{old}/replay", method="POST")
        assert again.status_code == 200, again.text
        assert "fetches" in again.json()["held"]
        assert again.json()["delivery"] != old
        waiting = (await caller.read("/v1/deliveries?subscription=erp"))["data"][1]["id"]
        same = await caller.ask(f"/v1/deliveries/{waiting}/replay", method="POST")
        assert same.json()["delivery"] == waiting
        page = await pull(caller, path)
        assert subjects(page) == ["b", "a"]
        assert await ack(caller, path, page["cursor"]) == {"acknowledged": 2, "left": 0}
        (newest, *_) = (await caller.read("/v1/deliveries?subscription=erp"))["data"]
        assert newest["reason"] == f"replay of {old}; acknowledged by its consumer"

    play(tmp_path, story)


def test_history_comes_before_what_is_new(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        await orders(caller, "a", "b")
        path = await subscribe(caller, **{"from": "beginning"})
        await orders(caller, "c")
        for _ in range(200):
            page = await pull(caller, path)
            if len(page["data"]) == 3:
                break
            await asyncio.sleep(0.02)
        assert subjects(page) == ["a", "b", "c"]

    play(tmp_path, story)


def test_a_pause_holds_and_removing_ends(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        path = await subscribe(caller)
        await orders(caller, "a")
        cursor = (await pull(caller, path))["cursor"]
        await caller.ask(f"{path}/pause", method="POST", role=Role.SUBSCRIBER)
        held = await caller.get(f"{path}/events", role=Role.SUBSCRIBER)
        assert held.status_code == 409
        assert "paused" in held.json()["detail"]
        await orders(caller, "b")
        assert await ack(caller, path, cursor) == {"acknowledged": 1, "left": 1}
        await caller.ask(f"{path}/resume", method="POST", role=Role.SUBSCRIBER)
        assert subjects(await pull(caller, path)) == ["b"]
        await caller.ask(path, method="PATCH", body={"enabled": False}, role=Role.SUBSCRIBER)
        off = await caller.get(f"{path}/events", role=Role.SUBSCRIBER)
        assert (off.status_code, "disabled" in off.json()["detail"]) == (409, True)
        await caller.ask(path, method="DELETE", role=Role.SUBSCRIBER)
        assert (await caller.get(f"{path}/events")).status_code == 404
        rows = caller.world.rows("SELECT state FROM deliveries WHERE state < 2")
        assert rows == []

    play(tmp_path, story)


def test_a_cursor_is_its_subscriptions_own(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        path, other = await subscribe(caller), await subscribe(caller, "other")
        await orders(caller, "a")
        cursor = (await pull(caller, path))["cursor"]
        listed = (await caller.read("/v1/events?limit=1"))["cursor"]
        for wrong in (cursor, f"{cursor}x", "x", "", listed or "y"):
            asked = await caller.ask(
                f"{other}/ack", method="POST", body={"cursor": wrong}, role=Role.SUBSCRIBER
            )
            assert asked.status_code == 400, wrong
            read = await caller.get(f"{other}/events?cursor={wrong}", role=Role.SUBSCRIBER)
            assert read.status_code == 400, wrong
        assert len((await pull(caller, other))["data"]) == 1

    play(tmp_path, story)


def test_a_subscriber_sees_its_own_alone(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        path = await subscribe(caller)
        key = (
            await caller.world.gateway.keyring.create(Role.SUBSCRIBER, caller.world.gateway.clock())
        )[1]
        caller.keys[Role.SUBSCRIBER] = key
        assert (await caller.get(f"{path}/events", role=Role.SUBSCRIBER)).status_code == 404
        foreign = await caller.ask(
            f"{path}/ack", method="POST", body={"cursor": "x"}, role=Role.SUBSCRIBER
        )
        assert foreign.status_code == 404
        assert (await caller.get(f"{path}/events", role=Role.OPERATOR)).status_code == 200

    play(tmp_path, story)


def test_many_are_acknowledged_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(caller: Caller) -> None:
        path = await subscribe(caller)
        await orders(caller, *(f"o{number}" for number in range(7)))
        monkeypatch.setattr(pulled, "SLICE", 3)
        cursor = (await pull(caller, path, "?limit=6"))["cursor"]
        assert await ack(caller, path, cursor) == {"acknowledged": 6, "left": 1}

    play(tmp_path, story)


async def timed(wanted: Awaitable[Any]) -> tuple[Any, float]:
    started = time.monotonic()
    return await wanted, time.monotonic() - started


def test_a_long_poll_is_answered_by_the_commit(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        path = await subscribe(caller)
        waiting = asyncio.create_task(timed(pull(caller, path, "?wait=15")))
        await until(lambda: caller.world.gateway.store.news.listened)
        await orders(caller, "a")
        page, took = await waiting
        assert subjects(page) == ["a"]
        assert took < 10
        assert not caller.world.gateway.store.news.listened
        page, took = await timed(pull(caller, path, "?wait=15"))  # at once: something is there
        assert subjects(page) == ["a"]
        assert took < 10
        page, took = await timed(pull(caller, path, f"?wait=1&cursor={page['cursor']}"))
        assert page["data"] == []
        assert took >= 0.9

    play(tmp_path, story)


async def until(condition: Callable[[], object]) -> None:
    for _ in range(3_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not become true in time")


def test_a_long_poll_ends_with_its_reader_and_with_the_gateway(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        news = caller.world.gateway.store.news
        path = await subscribe(caller)
        waiting = asyncio.create_task(pull(caller, path, "?wait=60"))
        await until(lambda: news.listened)
        waiting.cancel()
        await until(lambda: not news.listened)
        waiting = asyncio.create_task(pull(caller, path, "?wait=60"))
        await until(lambda: news.listened)
        caller.world.gateway.end_waiting()
        assert (await asyncio.wait_for(waiting, 10))["data"] == []
        late = await caller.get(f"{path}/events?wait=60", role=Role.SUBSCRIBER)
        assert (late.status_code, late.headers["retry-after"]) == (503, "5")

    play(tmp_path, story)


def test_there_is_an_end_to_waiting_places(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        path = await subscribe(caller)
        news = caller.world.gateway.store.news
        listeners = [news.listen() for _ in range(MOST)]
        full = await caller.get(f"{path}/events?wait=5", role=Role.SUBSCRIBER)
        assert (full.status_code, full.headers["retry-after"]) == (503, "5")
        assert (await caller.get("/v1/stream")).status_code == 503
        assert (await caller.get(f"{path}/events", role=Role.SUBSCRIBER)).status_code == 200
        for listener in listeners:
            listener.close()

    play(tmp_path, story)


def test_nothing_is_skipped_or_repeated_while_events_come(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        path = await subscribe(caller)
        names = [f"o{number}" for number in range(60)]

        async def send(own: list[str]) -> None:
            await orders(caller, *own)

        async def consume() -> list[str]:
            found: list[str] = []
            while len(found) < len(names):
                page = await pull(caller, path, "?limit=7&wait=10")
                assert page["data"]
                found += subjects(page)
                await ack(caller, path, page["cursor"])
            return found

        reading = asyncio.create_task(consume())
        await asyncio.gather(*(send(names[part::6]) for part in range(6)))
        found = await asyncio.wait_for(reading, 20)
        assert sorted(found) == sorted(names)
        assert (await pull(caller, path))["data"] == []

    play(tmp_path, story)


def test_the_file_may_declare_one_and_change_its_kind(tmp_path: Path) -> None:
    async def declared(text: str, story: Callable[[Caller], Awaitable[None]]) -> None:
        async with (
            consuming() as consumer,
            running(
                tmp_path, consumer, configuration(consumer.port, text.format(consumer.port))
            ) as world,
        ):
            _, key = await world.gateway.keyring.create(Role.ADMIN, world.gateway.clock())
            await story(Caller(world, {Role.ADMIN: key, Role.SUBSCRIBER: key}))

    async def fetched(caller: Caller) -> None:
        await orders(caller, "a", "b")
        page = await pull(caller, f"{URL}/desk", "?limit=1")
        assert (await ack(caller, f"{URL}/desk", page["cursor"]))["left"] == 1

    async def sent(caller: Caller) -> None:
        await until(lambda: any(one.path == "/desk" for one in caller.world.consumer.seen))
        (one,) = [one for one in caller.world.consumer.seen if one.path == "/desk"]
        assert one.event["subject"] == "b"
        lanes = caller.world.rows(
            "SELECT d.lane FROM deliveries d JOIN subscriptions s ON s.id = d.subscription"
            " WHERE s.name = 'desk' ORDER BY d.id"
        )
        assert [lane > 0 for (lane,) in lanes] == [False, True]  # what waited got its order's
        await caller.world.settled()
        caller.world.consumer.answer = lambda _: (500, {}, b"")
        await orders(caller, "c", "d")

    async def fetched_again(caller: Caller) -> None:
        assert subjects(await pull(caller, f"{URL}/desk")) == ["c", "d"]

    url = """
[subscriptions.desk]
url = "http://127.0.0.1:{}/desk"
secrets = ["whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="]
ordering = "order"
"""
    asyncio.run(declared(PULL, fetched))
    asyncio.run(declared(url, sent))
    asyncio.run(declared(PULL, fetched_again))
