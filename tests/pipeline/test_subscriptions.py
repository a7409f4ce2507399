"""Subscriptions that the file does not declare, at a gateway that runs: added, rotated, removed."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Coroutine
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from gateway.errors import Unavailable
from gateway.models import Millis
from gateway.stores.sqlite.making import REMOVED
from gateway.subscribing import Rotations
from tests.pipeline.world import (
    Consumer,
    Delivered,
    World,
    configuration,
    consuming,
    running,
    shop_event,
)

Story = Callable[[World], Coroutine[Any, Any, None]]


def play(folder: Path, *stories: Story) -> None:
    """Each story in a gateway of its own, on the same file, one after the other."""

    async def whole() -> None:
        async with consuming() as consumer:
            for story in stories:
                async with running(folder, consumer, configuration(consumer.port)) as world:
                    await story(world)

    asyncio.run(whole())


async def ask(world: World, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
    response = await world.client.post(f"{world.control}/v1/subscriptions{path}", json=body)
    return response.status_code, response.json()


async def add(world: World, name: str = "crm", **keys: object) -> dict[str, Any]:
    settings = {"url": f"http://127.0.0.1:{world.consumer.port}/{name}"} | keys
    status, made = await ask(world, "", {"name": name, **settings})
    assert status == 201, made
    return made


async def remove(world: World, name: str) -> int:
    response = await world.client.delete(f"{world.control}/v1/subscriptions/{name}")
    return response.status_code


def at(consumer: Consumer, path: str) -> list[Delivered]:
    return [one for one in consumer.seen if one.path == path]


async def got(world: World, count: int, path: str = "/crm") -> list[Delivered]:
    await world.until(lambda: len(at(world.consumer, path)) >= count)
    return at(world.consumer, path)


def secrets_of(world: World, name: str) -> int:
    """How many secrets this gateway knows of a subscription."""
    known = {
        one.subscription.name: one.subscription for one in world.gateway.store.catalog.statuses
    }
    return len(known[name].secrets)


def signed_by(delivered: Delivered, secret: str) -> bool:
    """What Standard Webhooks' own library says."""
    try:
        Webhook(secret).verify(delivered.body, delivered.headers)
    except WebhookVerificationError:
        return False
    return True


def test_what_is_accepted_after_the_answer_is_delivered(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.shop(shop_event(1, order="before"))
        for number in range(5):
            made = await add(world, f"crm-{number}")
            await world.shop(shop_event(f"a{number}", order=f"after-{number}"))
            first = (await got(world, 1, f"/crm-{number}"))[0]
            assert first.event["subject"] == f"after-{number}"
            assert signed_by(first, made["secret"])
        assert (made["name"], made["state"], made["reason"]) == ("crm-4", "active", None)

    play(tmp_path, story)


def test_settings_are_those_of_the_configuration(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await add(world, types="order.cancelled", headers={"X-Key": "k1"})
        await world.shop(shop_event(1))
        await world.shop(shop_event(2, "order.cancelled"))
        (delivered,) = await got(world, 1)
        assert delivered.event["type"] == "order.cancelled"
        assert delivered.headers["x-key"] == "k1"

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("crm", {}, "subscriptions.crm.url: is required"),
        ("crm", {"url": "http://192.168.0.1/"}, "subscriptions.crm.url: "),
        ("crm", {"url": "https://e.example/", "urll": "x"}, "subscriptions.crm.urll: unknown key"),
        ("crm", {"url": "https://e.example/", "secrets": "whsec_x"}, "subscriptions.crm.secrets: "),
        ("Crm", {"url": "https://e.example/"}, "name: not a name"),
    ],
)
def test_wrong_settings_are_named(
    tmp_path: Path, name: str, settings: dict[str, str], sentence: str
) -> None:
    async def story(world: World) -> None:
        status, problem = await ask(world, "", {"name": name, **settings})
        assert status == 400
        assert problem["detail"].startswith(sentence)
        assert "whsec_" not in problem["detail"]
        assert world.rows("SELECT name FROM subscriptions") == [("good",)]

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", None),
        ("", {"name": "crm"}),
        ("", {"url": "https://e.example/"}),
        ("", {"name": 1, "url": "https://e.example/"}),
        ("", []),
        ("/crm/rotate", {"overlap_ms": 1}),
        ("/crm/rotate", {"overlap": -1}),
        ("/crm/rotate", {"overlap": "1.5h"}),
        ("/crm/rotate", {"overlap": "366d"}),
    ],
)
def test_bodies_of_another_shape_are_refused(tmp_path: Path, path: str, body: object) -> None:
    async def story(world: World) -> None:
        await add(world)
        status, problem = await ask(world, path, body)
        assert (status, problem["status"]) == (400, 400)

    play(tmp_path, story)


def test_a_long_body_is_refused(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        status, _ = await ask(world, "", {"name": "x" * 300_000})
        assert status == 413

    play(tmp_path, story)


def test_both_secrets_sign_during_the_overlap_and_then_the_new_one_alone(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        old = (await add(world))["secret"]
        _, rotated = await ask(world, "/crm/rotate", {"overlap": "5s"})
        new = rotated["secret"]
        assert new != old
        await world.shop(shop_event(1, order="during"))
        (during,) = await got(world, 1)
        assert signed_by(during, old)
        assert signed_by(during, new)
        assert len(during.headers["webhook-signature"].split()) == 2
        await world.until(lambda: len(world.rows("SELECT 1 FROM secrets")) == 1)
        assert time.time() >= datetime.fromisoformat(rotated["until"]).timestamp()
        await world.until(lambda: secrets_of(world, "crm") == 1)  # what is signed with from now on
        await world.shop(shop_event(2, order="after"))
        after = (await got(world, 2))[1]
        assert not signed_by(after, old)
        assert signed_by(after, new)

    play(tmp_path, story)


def test_a_restart_keeps_everything_but_what_was_over(tmp_path: Path) -> None:
    secrets: dict[str, str] = {}

    async def first(world: World) -> None:
        secrets["old"] = (await add(world, types="order.cancelled"))["secret"]
        await add(world, "other")
        _, rotated = await ask(world, "/crm/rotate", {"overlap": "1h"})
        secrets["new"] = rotated["secret"]
        _, rotated = await ask(world, "/other/rotate", {"overlap": "1ms"})
        secrets["other"] = rotated["secret"]
        await ask(world, "/other/pause")

    async def second(world: World) -> None:
        await ask(world, "/other/resume")
        await world.shop(shop_event(1))
        await world.shop(shop_event(2, "order.cancelled"))
        (delivered,) = await got(world, 1)
        assert signed_by(delivered, secrets["old"])
        assert signed_by(delivered, secrets["new"])
        other = (await got(world, 2, "/other"))[0]
        assert len(other.headers["webhook-signature"].split()) == 1
        assert signed_by(other, secrets["other"])

    play(tmp_path, first, second)


def test_secrets_that_ended_while_nothing_ran_never_sign_again(tmp_path: Path) -> None:
    secrets: list[str] = []

    async def first(world: World) -> None:
        secrets.append((await add(world))["secret"])
        await ask(world, "/crm/pause")
        await world.shop(shop_event(1))  # it waits, and is sent as soon as it can be
        _, rotated = await ask(world, "/crm/rotate", {"overlap": "1h"})
        secrets.append(rotated["secret"])

    async def second(world: World) -> None:
        assert len(world.rows("SELECT * FROM secrets")) == 1
        await ask(world, "/crm/resume")
        (delivered,) = await got(world, 1)
        assert [signed_by(delivered, secret) for secret in secrets] == [False, True]

    async def whole() -> None:
        async with consuming() as consumer:
            async with running(tmp_path, consumer) as world:
                await first(world)
            _let_time_pass(tmp_path)
            async with running(tmp_path, consumer) as world:
                await second(world)

    asyncio.run(whole())


def _let_time_pass(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "gateway.db")) as connection, connection:
        connection.execute("UPDATE secrets SET expires_at = 1 WHERE expires_at IS NOT NULL")
    connection.close()


def test_nothing_is_sent_to_a_removed_one(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await add(world)
        world.consumer.answer = lambda seen: (500 if seen.path == "/crm" else 200, {}, b"")
        await world.shop(shop_event(1))
        await got(world, 1)
        assert await remove(world, "crm") == 204
        await world.shop(shop_event(2, order="other"))
        await world.settled()
        states = world.rows(
            "SELECT d.state, d.reason FROM deliveries d JOIN subscriptions s"
            " ON s.id = d.subscription WHERE s.name = 'crm'"
        )
        assert [state for state, _ in states] == [3]
        assert states[0][1] in {REMOVED, "gone"}  # it waited for its next attempt, or was in flight
        count = len(at(world.consumer, "/crm"))
        world.consumer.answer = lambda _: (200, {}, b"")
        made = await add(world)
        await world.shop(shop_event(3, order="third"))
        delivered = (await got(world, count + 1))[count:]
        assert [one.event["subject"] for one in delivered] == ["third"]
        assert signed_by(delivered[0], made["secret"])
        assert await remove(world, "nobody") == 204

    play(tmp_path, story)


def test_what_the_file_declares_is_its_own(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        keys = {"url": "https://e.example/"}
        status, problem = await ask(world, "", {"name": "good", **keys})
        assert status == 409
        assert "the configuration declares" in problem["detail"]
        status, problem = await ask(world, "/good/rotate", {"overlap": "0s"})
        assert status == 409
        assert "two entries" in problem["detail"]
        assert await remove(world, "good") == 409
        assert (await ask(world, "/nobody/rotate", {"overlap": "0s"}))[0] == 404

    play(tmp_path, story)


def test_a_store_that_fails_is_asked_again_for_ended_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.subscribing.STORE_PAUSE", 0.01)
    asked: list[int] = []
    enough = asyncio.Event()

    class Failing:
        async def expire(self, now: Millis) -> Millis | None:
            asked.append(now)
            if len(asked) == 5:
                enough.set()
            if len(asked) < 3:
                raise Unavailable("the disk is full")
            return Millis(now + 20) if len(asked) < 5 else None

    async def story() -> None:
        rotations = Rotations(Failing(), clock=lambda: Millis(7))  # type: ignore[arg-type]
        task = asyncio.create_task(rotations.run())
        async with asyncio.timeout(30):
            await enough.wait()
            await asyncio.sleep(0.05)
            assert len(asked) == 5  # there is nothing to wait for, until something changes
            rotations.update(())
            while len(asked) == 5:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            rotations.stop()
            await task
        assert len(asked) == 6

    asyncio.run(story())
