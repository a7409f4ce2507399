"""Keys that end while they are in use: what comes after their end is not told."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway import runtime
from gateway.keys import Role
from gateway.models import Millis
from gateway.runtime import wall_clock
from gateway.stores.feed import Head
from gateway.web.api import streaming
from tests.web.test_api import Caller, play
from tests.web.test_pulling import orders, subscribe, until
from tests.web.test_streaming import streaming_from

HOUR = 3_600_000


@pytest.mark.parametrize("expires", [False, True])
def test_a_long_poll_tells_a_key_that_ended_nothing(
    tmp_path: Path, expires: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = 0
    monkeypatch.setattr(runtime, "wall_clock", lambda: Millis(wall_clock() + ahead))

    async def story(caller: Caller) -> None:
        nonlocal ahead
        keyring, clock = caller.world.gateway.keyring, caller.world.gateway.clock
        if expires:
            _, caller.keys[Role.SUBSCRIBER] = await keyring.create(
                Role.SUBSCRIBER, clock(), expires_at=Millis(clock() + HOUR)
            )
        path = await subscribe(caller)
        waiting = asyncio.create_task(caller.get(f"{path}/events?wait=15", role=Role.SUBSCRIBER))
        await until(lambda: caller.world.gateway.store.news.listened)
        if expires:
            ahead = HOUR
        else:
            await keyring.revoke(caller.keys[Role.SUBSCRIBER], clock())
        await orders(caller, "late")
        answer = await waiting
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert "late" not in answer.text
        assert not caller.world.gateway.store.news.listened

    play(tmp_path, story)


def test_the_control_socket_has_no_key_that_could_end(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        path = await subscribe(caller)
        waiting = asyncio.create_task(caller.get(f"{path}/events?wait=15", role=None, door=None))
        await until(lambda: caller.world.gateway.store.news.listened)
        await orders(caller, "a")
        assert [one["event"]["subject"] for one in (await waiting).json()["data"]] == ["a"]

    play(tmp_path, story)


def test_a_stream_that_lags_behind_ends_with_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow reader may be at the same page of events for longer than between two pings."""
    monkeypatch.setattr(streaming, "AT_ONCE", 1)
    told = streaming._Following._told

    async def story(caller: Caller) -> None:
        keyring, clock = caller.world.gateway.keyring, caller.world.gateway.clock
        await orders(caller, "a", "b", "c")

        async def and_revoke(self: streaming._Following, heads: Sequence[Head]) -> bytes:
            chunk = await told(self, heads)
            await keyring.revoke(caller.keys[Role.READER], clock())
            return chunk

        monkeypatch.setattr(streaming._Following, "_told", and_revoke)
        async with streaming_from(caller, "?from=beginning") as reader:
            assert await reader.orders(1) == ["a"]
            rest = [line async for line in reader.lines]
            assert not any(line.startswith("data: ") for line in rest), rest

    play(tmp_path, story)
