"""What is kept of answers for their `Idempotency-Key`: how long, how safely, and what is not."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response, StreamingResponse

from gateway.errors import Unavailable
from gateway.stores.answers import BUDGET, KEPT, MOST, Asked
from gateway.web.api import idempotency
from gateway.web.api.openapi import document
from gateway.web.api.table import OPERATIONS
from tests.acceptance.harness import Gateway, ask
from tests.pipeline.world import consuming, running
from tests.web.test_api_idempotency import (
    KEYS,
    READER,
    SUBSCRIPTIONS,
    Sender,
    count,
    new,
    play,
    problem,
    same,
)


def databases(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("gateway.db*")}


def test_it_is_given_again_after_a_restart(tmp_path: Path) -> None:
    async def whole() -> None:
        async with consuming() as consumer:
            async with running(tmp_path, consumer) as world:
                sender = await new(world)
                first = await sender.post(KEYS, READER)
            async with running(tmp_path, consumer) as world:
                known = count(world, "keys")
                same(first, await Sender(world, sender.text).post(KEYS, READER))
                assert count(world, "keys") == known

    asyncio.run(whole())


def test_no_secret_of_an_answer_lies_in_a_file(tmp_path: Path) -> None:
    async def story(sender: Sender) -> None:
        key = (await sender.post(KEYS, READER, "canary-name-1")).json()["key"]
        body = {
            "url": "https://consumer.example/canary-hook?token=canary-token",
            "name": "crm",
            "headers": {"Authorization": "Bearer canary-of-a-header"},
        }
        secret = (await sender.post(SUBSCRIPTIONS, body, "canary-name-2")).json()["secret"]
        rotated = await sender.post(f"{SUBSCRIPTIONS}/crm/rotate", {}, "canary-name-3")
        assert count(sender.world, "answers") == 3
        assert secret.startswith("whsec_")
        files = databases(tmp_path)
        assert len(files["gateway.db-wal"]) > 10_000
        for canary in (
            key.split("_")[2],
            secret.removeprefix("whsec_"),
            rotated.json()["secret"].removeprefix("whsec_"),
            "canary-name",
            "canary-of-a-header",
            "canary-hook",
            "canary-token",
        ):
            found = [name for name, content in files.items() if canary.encode() in content]
            assert found == [], canary

    play(tmp_path, story)


def test_of_an_answer_that_is_too_long_it_is_said_that_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(sender: Sender) -> None:
        known = count(sender.world, "keys")
        first = await sender.post(KEYS, READER)
        assert first.status_code == 201
        monkeypatch.setattr(idempotency, "LARGEST", len(first.content))
        same(first, await sender.post(KEYS, READER))
        monkeypatch.setattr(idempotency, "LARGEST", len(first.content) - 1)
        assert (await sender.post(KEYS, READER, "two")).status_code == 201
        for _ in range(2):
            again = await sender.post(KEYS, READER, "two")
            assert "was done, with the status 201" in problem(again, 409, "conflict")
            assert again.headers[idempotency.REPLAYED] == "true"
            assert "retry-after" not in again.headers
        assert count(sender.world, "keys") == known + 2

    play(tmp_path, story)


def test_what_cannot_be_kept_is_answered_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)

    async def story(sender: Sender) -> None:
        async def failing(*_: Any) -> None:
            raise Unavailable("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(sender.world.gateway.store.answers, "keep", failing)
            first = await sender.post(KEYS, READER)
        assert first.status_code == 201
        number = first.headers["x-request-id"]
        assert f"{number}: this answer will not be given again: the disk is full" in caplog.text
        second = await sender.post(KEYS, READER)
        assert second.json()["id"] != first.json()["id"]

    play(tmp_path, story)


def test_what_is_a_stream_is_not_kept(tmp_path: Path) -> None:
    async def story(sender: Sender) -> None:
        answers, clock = sender.world.gateway.store.answers, sender.world.gateway.clock
        asked = Asked(principal="", key=b"k", request=b"r")

        async def act() -> Response:
            return StreamingResponse(iter([b"data: 1\n\n"]), media_type="text/event-stream")

        for _ in range(2):
            answer = await idempotency.once(answers, asked, act, clock=clock, request_id="req_1")
            assert isinstance(answer, StreamingResponse)
        assert count(sender.world, "answers") == 0

    play(tmp_path, story)


def test_each_post_is_described_with_it() -> None:
    safe = [one.path for one in OPERATIONS if one.method == "POST" and not one.once]
    assert safe == [f"{SUBSCRIPTIONS}/test-filter"]
    for path, methods in document(OPERATIONS)["paths"].items():
        for method, described in methods.items():
            names = [one["name"] for one in described.get("parameters", ())]
            once = method == "post" and path not in safe
            assert names.count(idempotency.HEADER) == once, path
            if once:
                assert {"400", "409", "413", "422"} <= described["responses"].keys(), path
            success = described["responses"][min(described["responses"])]
            assert (idempotency.REPLAYED in success.get("headers", {})) == once


def test_the_bounds_are_told_as_they_are() -> None:
    text = (Path(__file__).parents[2] / "docs/api.md").read_text("utf-8")
    told = text.partition("## Sending again\n")[2].partition("\n## ")[0]
    for sentence in (
        f"For {KEPT // 3_600_000} hours",
        f"the newest {MOST:,} answers of each API key, which have {BUDGET >> 20} MiB together",
        f"over {idempotency.LARGEST >> 10} KiB",
        f"1 to {idempotency.LONGEST} printable ASCII",
        f"({', '.join(map(str, sorted(idempotency.MENDABLE)))})",
        f"`{idempotency.HEADER}`",
        f"`{idempotency.REPLAYED}: true`",
    ):
        assert sentence in told, sentence


@pytest.mark.slow
def test_what_was_answered_before_a_kill_is_answered_so_after_it(tmp_path: Path) -> None:
    async def whole() -> None:
        gateway = Gateway(tmp_path, [])
        await gateway.start()
        try:
            key = tmp_path / "admin.secret"
            await gateway.run("keys", "create", "--role", "admin", "--to", str(key))
            headers = {
                "Authorization": f"Bearer {key.read_text().strip()}",
                "Content-Type": "application/json",
            }
            body = json.dumps(READER).encode()
            for number in range(5):
                named = {**headers, idempotency.HEADER: str(number)}
                first = await ask(gateway.admin_port, f"POST {KEYS}", headers=named, body=body)
                gateway.kill()
                assert first.status == 201
                await gateway.start()
                again = await ask(gateway.admin_port, f"POST {KEYS}", headers=named, body=body)
                assert (again.status, again.body) == (201, first.body)
                assert again.headers[idempotency.REPLAYED.lower()] == "true"
        finally:
            gateway.kill()

    asyncio.run(whole())
