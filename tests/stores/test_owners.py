"""Who made a subscription: found again by its URL, also after a migration, and not too many of a key."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from gateway.keys import Role
from gateway.stores.migrate import migrate
from gateway.stores.sqlite import making
from tests.stores.older import as_of
from tests.web.test_api import Caller, play


async def subscribe(caller: Caller, number: int, status: int, **more: Any) -> dict[str, Any]:
    body = {"url": f"https://consumer.example.com/{number}"} | more.pop("keys", {})
    answer = await caller.ask("/v1/subscriptions", method="POST", body=body, **more)
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_a_key_has_not_too_many_subscriptions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "MOST_OF_A_KEY", 3)

    async def story(caller: Caller) -> None:
        mine = [await subscribe(caller, number, 201, role=Role.SUBSCRIBER) for number in range(2)]
        pulled = {"pull": True, "name": "pulled"}
        answer = await caller.ask(
            "/v1/subscriptions", method="POST", body=pulled, role=Role.SUBSCRIBER
        )
        assert answer.status_code == 201  # it counts too
        problem = await subscribe(caller, 9, 409, role=Role.SUBSCRIBER)
        assert "3 subscriptions" in problem["detail"]
        again = await subscribe(caller, 1, 200, role=Role.SUBSCRIBER)
        assert again["id"] == mine[1]["id"]
        await subscribe(caller, 9, 201, role=Role.OPERATOR)
        gone = await caller.ask(
            f"/v1/subscriptions/{mine[0]['id']}", method="DELETE", role=Role.SUBSCRIBER
        )
        assert gone.status_code == 204
        new = await subscribe(caller, 0, 201, role=Role.SUBSCRIBER)
        assert new["id"] != mine[0]["id"]
        # The owner of the database is nobody's key.
        named = {"keys": {"name": "own"}, "door": None, "role": None}
        await subscribe(caller, 9, 201, **named)

    play(tmp_path, story)


def test_many_at_once_are_not_more_than_a_key_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "MOST_OF_A_KEY", 3)

    async def story(caller: Caller) -> None:
        bodies = [{"url": f"https://consumer.example.com/{number % 5}"} for number in range(15)]
        answers = await asyncio.gather(
            *(
                caller.ask("/v1/subscriptions", method="POST", body=body, role=Role.SUBSCRIBER)
                for body in bodies
            )
        )
        made = [answer.json()["id"] for answer in answers if answer.status_code == 201]
        assert len(made) == 3
        assert {a.json()["id"] for a in answers if a.status_code == 200} <= set(made)

    play(tmp_path, story)


def test_a_url_that_was_changed_is_found_under_the_new_one(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        made = await subscribe(caller, 1, 201)
        body = {"url": "https://consumer.example.com/2"}
        path = f"/v1/subscriptions/{made['id']}"
        assert (await caller.ask(path, method="PATCH", body=body)).status_code == 200
        assert (await subscribe(caller, 2, 200))["id"] == made["id"]
        assert (await subscribe(caller, 1, 201))["id"] != made["id"]
        again = await caller.ask(
            path, method="PATCH", body={"url": "https://consumer.example.com/1"}
        )
        assert again.status_code == 409

    play(tmp_path, story)


def test_those_of_before_are_found_after_the_migration(tmp_path: Path) -> None:
    made: list[str] = []
    rows = "SELECT id, owner, target FROM subscriptions ORDER BY id"
    before: list[tuple[Any, ...]] = []
    keys: dict[Role, str] = {}

    async def first(caller: Caller) -> None:
        made.append((await subscribe(caller, 1, 201))["id"])
        removed = await subscribe(caller, 2, 201)
        await caller.ask(f"/v1/subscriptions/{removed['id']}", method="DELETE")
        body = {"pull": True, "name": "pulled"}
        await caller.ask("/v1/subscriptions", method="POST", body=body)
        before.extend(caller.world.rows(rows))
        keys.update(caller.keys)

    async def second(caller: Caller) -> None:
        assert caller.world.rows(rows) == before
        mine = Caller(caller.world, keys)
        assert (await subscribe(mine, 1, 200))["id"] == made[0]
        assert (await subscribe(mine, 2, 201))["id"] != made[0]

    play(tmp_path, first)
    assert [row[1:] == (None, None) for row in before] == [True, False, True, False]
    as_of(tmp_path / "gateway.db", 6)
    play(tmp_path, second)


def test_both_look_ups_have_an_index() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, "test")
    for sql in (
        "SELECT id FROM subscriptions WHERE owner = ? AND target = ? ORDER BY id LIMIT 1",
        "SELECT count(*) FROM subscriptions WHERE owner = ?",
    ):
        assert f'"{sql}"' in Path(str(making.__file__)).read_text("utf-8")
        rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", ("k",) * sql.count("?")).fetchall()
        assert "COVERING INDEX subscriptions_owner (owner=?" in rows[0][3]
    connection.close()
