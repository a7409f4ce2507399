"""What tests of the poller share: a source that is asked by hand, and what became of it."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.poller.poller import Ended
from gateway.shown import taken
from tests.pipeline.world import SECRET, World, configuration, consuming, running
from tests.simulators.api import Api
from tests.simulators.marketiger import MarketigerApi

TOKEN = "tiger-token"
INTERVAL = 600_000  # of `source`, in ms: nothing is asked again unless by hand


def source(api: Api, *, token: str = TOKEN, interval: str = "10m", **more: Any) -> str:
    """The table of the source `mt`."""
    more = {"requests_per_minute": 1_000} | more
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in more.items())
    return f"""
[sources.mt]
provider = "marketiger"
base_url = "{api.url}"
token = "{token}"
interval = "{interval}"
{lines}"""


def operators(port: int) -> str:
    """A subscription of whoever runs the gateway."""
    return f"""
[subscriptions.operators]
url = "http://127.0.0.1:{port}/operators"
secrets = ["{SECRET}"]
types = ["gateway.*"]
"""


def _timed(line: dict[str, Any]) -> dict[str, Any]:
    """A line with its times as milliseconds, as the rows of the database have them."""
    if "end" not in line:
        return line
    return {"end": msgspec.to_builtins(taken(line["end"], Ended))}


class Asking:
    """A running gateway that asks `api` as the source `mt`."""

    def __init__(self, world: World, api: MarketigerApi) -> None:
        self.world, self.api = world, api
        self.said = ""  # everything that the control socket answered

    async def watch(self, *numbers: str) -> None:
        """Ask for these orders from now on, and wait until their first replies are read."""
        for number in numbers:
            answer = await self.world.client.post(
                f"{self.world.control}/v1/sources/mt/watch", json={"id": number}
            )
            assert answer.status_code == 200, answer.text
            self.said += answer.text
        await self.idle()
        await self.poll()

    async def poll(self) -> list[dict[str, Any]]:
        """A round by hand; its lines."""
        answer = await self.world.client.post(f"{self.world.control}/v1/sources/mt/poll")
        assert answer.status_code == 200, answer.text
        self.said += answer.text
        await self.idle()
        return [_timed(json.loads(line)) for line in answer.text.splitlines()]

    async def round(self) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        """A round by hand: what was found, by number, and the state at the end."""
        *found, end = await self.poll()
        return {line["found"]["number"]: line["found"] for line in found}, end["end"]

    async def idle(self) -> None:
        """Wait until the background task rests."""
        poller = self.world.gateway.poller.source("mt")
        await asyncio.sleep(0.02)
        await self.world.until(lambda: not poller.lock.locked() and not poller.wake.is_set())

    def told(self, number: str) -> list[str]:
        """The types of an order's events, in their order."""
        rows = self.world.rows("SELECT type FROM events WHERE order_id = ? ORDER BY id", number)
        return [kind for (kind,) in rows]

    def state(self) -> dict[str, Any]:
        """The row of the poller."""
        names = ("refused", "failures", "problem", "next_at", "asked_at", "answered_at")
        ((row),) = self.world.rows(f"SELECT {', '.join(names)} FROM polls WHERE source = 'mt'")
        return dict(zip(names, row, strict=True))

    def watched(self, number: str) -> dict[str, Any]:
        """The row of an order."""
        names = ("next_at", "failures", "problem", "seen")
        ((row),) = self.world.rows(
            f"SELECT {', '.join(names)} FROM watched WHERE number = ?", number
        )
        return dict(zip(names, row, strict=True))

    async def failing(self, count: int) -> list[dict[str, Any]]:
        """The `gateway.source.failing` events that were delivered, once there are so many."""

        def delivered() -> list[dict[str, Any]]:
            seen = [one.event for one in self.world.consumer.seen if one.path == "/operators"]
            return [event for event in seen if event["type"] == "gateway.source.failing"]

        await self.world.until(lambda: len(delivered()) >= count)
        await self.world.settled()
        assert len(delivered()) == count
        return delivered()


@asynccontextmanager
async def asking(folder: Path, api: MarketigerApi, **more: Any) -> AsyncIterator[Asking]:
    """A gateway on the file in `folder` with the source `mt`, and the subscription `operators`."""
    async with consuming() as consumer:
        text = configuration(consumer.port, operators(consumer.port), source(api, **more))
        async with running(folder, consumer, text) as world:
            yield Asking(world, api)


def grumbles(caplog: pytest.LogCaptureFixture) -> Sequence[str]:
    """The log lines for whoever runs the gateway."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name != "asyncio"
    ]


def kept(folder: Path) -> bytes:
    """All bytes of the database and what lies beside it."""
    return b"".join(path.read_bytes() for path in sorted(folder.glob("gateway.db*")))
