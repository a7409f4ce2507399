"""The routes of keys at the control socket, and what a whole gateway keeps of a key."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.keyring import Principal
from gateway.keys import Role
from gateway.models import Millis
from tests.pipeline.world import World, consuming, running

Story = Callable[[World], Awaitable[None]]


def play(folder: Path, *stories: Story) -> None:
    """Each story at a gateway of its own, one after the other, on one file."""

    async def whole() -> None:
        async with consuming() as consumer:
            for story in stories:
                async with running(folder, consumer) as world:
                    await story(world)

    asyncio.run(whole())


async def create(world: World, **body: Any) -> httpx2.Response:
    return await world.client.post(f"{world.control}/v1/keys", json=body)


async def listed(world: World) -> list[dict[str, Any]]:
    answer = await world.client.get(f"{world.control}/v1/keys")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    keys: list[dict[str, Any]] = answer.json()["keys"]
    return keys


def written(folder: Path) -> bytes:
    """All that a gateway has in its files, the log of the database too."""
    files = [path for path in folder.iterdir() if path.is_file()]
    assert {"gateway.db", "gateway.db-wal"} <= {path.name for path in files}
    return b"".join(path.read_bytes() for path in files)


def test_a_key_is_made_shown_once_and_revoked(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        authenticate = world.gateway.keyring.authenticate
        now = world.gateway.clock
        answer = await create(
            world, role="publisher", name="ci", expires_at="2999-01-01T00:00:00+01:00"
        )
        assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
        made = answer.json()
        key = made.pop("key")
        assert (made["role"], made["name"]) == ("publisher", "ci")
        assert made["expires_at"] == "2998-12-31T23:00:00.000Z"
        assert await listed(world) == [made]
        assert authenticate(key, now()) == Principal(key=made["id"], role=Role.PUBLISHER)
        for _ in range(2):
            gone = await world.client.delete(f"{world.control}/v1/keys/{made['id']}")
            assert (gone.status_code, gone.content) == (204, b"")
            assert authenticate(key, now()) is None
        (after,) = await listed(world)
        assert after["revoked_at"] is not None

    play(tmp_path, story)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"role": "root"},
        {"role": "reader", "name": ""},
        {"role": "reader", "typo": 1},
        {"role": "reader", "expires_at": 5},
        {"role": "reader", "expires_at": "2999-01-01T00:00:00"},
        {"role": "reader", "expires_at": "1969-01-01T00:00:00Z"},
        {"role": "reader", "expires_at": "2001-01-01T00:00:00Z"},
    ],
)
def test_what_cannot_be_made(tmp_path: Path, body: dict[str, Any]) -> None:
    async def story(world: World) -> None:
        answer = await create(world, **body)
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/problem+json"
        assert await listed(world) == []

    play(tmp_path, story)


def test_who_is_not_there_cannot_be_revoked(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        for name in ("aaaaaaaa", "half-a-secret", "gwk_"):
            answer = await world.client.delete(f"{world.control}/v1/keys/{name}")
            assert answer.status_code == 404
            assert "half-a-secret" not in answer.text

    play(tmp_path, story)


def test_the_routes_are_not_at_the_other_doors(tmp_path: Path) -> None:
    """Without a key; which roles may come in elsewhere, the table of routes says."""

    async def story(world: World) -> None:
        for door in (world.public, world.admin):
            for method, path in (("POST", ""), ("GET", ""), ("DELETE", "/aaaaaaaa")):
                answer = await world.client.request(method, f"{door}/v1/keys{path}")
                assert answer.status_code in {401, 404}

    play(tmp_path, story)


def test_a_key_outlives_a_restart_and_its_last_use_is_written(tmp_path: Path) -> None:
    made: list[str] = []

    async def first(world: World) -> None:
        answers = [await create(world, role="operator") for _ in range(2)]
        made.extend(answer.json()["key"] for answer in answers)
        before = world.gateway.clock()
        assert world.gateway.keyring.authenticate(made[0], Millis(before))
        key_id = made[0].split("_")[1]
        await world.until(
            lambda: world.rows("SELECT last_used_at FROM keys WHERE id = ?", key_id) == [(before,)]
        )

    async def second(world: World) -> None:
        now = world.gateway.clock()
        ring = world.gateway.keyring
        assert ring.authenticate(made[0], now) == Principal(
            key=made[0].split("_")[1], role=Role.OPERATOR
        )
        await ring.revoke(made[0], now)

    async def third(world: World) -> None:
        assert world.gateway.keyring.authenticate(made[0], world.gateway.clock()) is None
        assert world.gateway.keyring.authenticate(made[1], world.gateway.clock()) is not None

    play(tmp_path, first, second, third)


def test_the_store_is_not_asked_who_comes(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        key = (await create(world, role="reader")).json()["key"]
        world.gateway.keyring.authenticate(key, world.gateway.clock())
        await world.until(lambda: world.rows("SELECT 1 FROM keys WHERE last_used_at > 0"))
        asked: list[str] = []
        submit = world.gateway.store._writer.submit

        def submitting(work: Any, **options: Any) -> Any:
            asked.append(repr(work))
            return submit(work, **options)

        world.gateway.store._writer.submit = submitting  # type: ignore[method-assign]
        for _ in range(1000):
            assert world.gateway.keyring.authenticate(key, world.gateway.clock()) is not None
        await asyncio.sleep(0)
        assert [one for one in asked if "SqliteKeys" in one] == []
        await world.gateway.keyring.all()
        assert len([one for one in asked if "SqliteKeys" in one]) == 1

    play(tmp_path, story)


def test_nothing_keeps_the_text_of_a_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """The canary: every part of the key that is not its id, in every file and every log line."""

    async def story(world: World) -> None:
        texts = [(await create(world, role=role, name="canary")).json()["key"] for role in Role]
        now = world.gateway.clock()
        for text in texts:
            world.gateway.keyring.authenticate(text, now)
            world.gateway.keyring.authenticate(text[:-1], now)
            bearer = {"authorization": f"Bearer {text}"}
            for door in (world.public, world.admin, world.control):
                answer = await world.client.get(f"{door}/v1/keys/{text}", headers=bearer)
                assert text not in answer.text
        await world.until(lambda: not world.rows("SELECT 1 FROM keys WHERE last_used_at IS NULL"))
        said = capfd.readouterr()
        # The client of this test is in the same process, and has lines of its own.
        lines = [one.getMessage() for one in caplog.records if not one.name.startswith("http")]
        kept = written(tmp_path) + "\n".join([*lines, said.out, said.err]).encode()
        for text in texts:
            _, key_id, secret, _ = text.split("_")
            assert key_id.encode() in kept
            assert secret.encode() not in kept
            assert secret[:16].encode() not in kept
        assert b"gwk_" not in kept

    with caplog.at_level(logging.DEBUG):
        play(tmp_path, story)


def test_a_key_that_is_sent_to_a_hook_is_not_kept_either(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        text = (await create(world, role="publisher")).json()["key"]
        answer = await world.post(
            "shop", b"{}", {"authorization": f"Bearer {text}", "x-gateway-key": text}
        )
        assert answer.status_code == 401
        end = time.monotonic() + 30
        while not (tmp_path / "gateway.db.rejected").exists():
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
        await world.gateway.rejections.close()
        assert text.split("_")[2].encode() not in written(tmp_path)

    play(tmp_path, story)
