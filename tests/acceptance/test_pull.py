"""Consumers that fetch their events from a whole process: killed at random, and stopped while they wait."""

import asyncio
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any, Self

import httpx2
import pytest

from tests.acceptance.harness import Gateway

EVENTS = 600
KILLS = 6


def key_of(folder: Path) -> str:
    path = folder / "key"
    command = [sys.executable, "-m", "gateway", "keys", "create", "--role", "admin"]
    config = ["--config", str(folder / "gateway.toml"), "--to", str(path)]
    subprocess.run([*command, *config], check=True, capture_output=True)
    return path.read_text().strip()


class Calls:
    """Calls that are made again while no gateway answers."""

    def __init__(self, gateway: Gateway, key: str) -> None:
        self._root = f"http://127.0.0.1:{gateway.port}/v1"
        headers = {"authorization": f"Bearer {key}"}
        self._client = httpx2.AsyncClient(trust_env=False, timeout=30, headers=headers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def __call__(self, method: str, path: str, **more: Any) -> Any:
        while True:
            try:
                answer = await self._client.request(method, self._root + path, **more)
            except httpx2.HTTPError:
                await asyncio.sleep(0.05)
                continue
            if answer.status_code == 503:
                await asyncio.sleep(0.05)
                continue
            assert answer.status_code in {200, 201, 202}, answer.text
            return answer.json()

    async def publish(self, numbers: list[int]) -> None:
        for number in numbers:
            event = {"specversion": "1.0", "id": str(number), "source": "/t", "type": "t.asked"}
            kind = {"content-type": "application/cloudevents+json"}
            await self("POST", "/events", json=event, headers=kind)
            await asyncio.sleep(0.005)


async def consume(call: Calls, path: str) -> list[str]:
    """Ids in the order in which they were fetched, each page acknowledged before the next."""
    found: list[str] = []
    while len(found) < EVENTS:
        page = await call("GET", f"{path}/events?limit=17&wait=5")
        found += [one["id"] for one in page["data"]]
        if page["data"]:
            cursor = page["cursor"]
            await call("POST", f"{path}/ack", json={"cursor": cursor})
            again = await call("POST", f"{path}/ack", json={"cursor": cursor})
            assert again["acknowledged"] == 0
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_skipped_or_repeated_after_an_ack_whenever_it_is_killed(
    tmp_path: Path, seed: int
) -> None:
    async def story() -> None:
        gateway = Gateway(tmp_path, ())
        await gateway.start()
        try:
            async with Calls(gateway, key_of(tmp_path)) as call:
                await killed(gateway, call, Random(seed))
        finally:
            gateway.kill()

    asyncio.run(story())


async def killed(gateway: Gateway, call: Calls, rng: Random) -> None:
    subscription = {"name": "erp", "pull": True, "types": ["t.*"]}
    made = await call("POST", "/subscriptions", json=subscription)
    reading = asyncio.create_task(consume(call, f"/subscriptions/{made['id']}"))
    numbers = list(range(EVENTS))
    sending = [asyncio.create_task(call.publish(numbers[part::5])) for part in range(5)]
    met = 0
    for _ in range(KILLS):
        await asyncio.sleep(rng.uniform(0.05, 0.4))
        met += not reading.done()
        gateway.kill()
        await gateway.start()
    assert met >= 3  # the others came when all was done
    await asyncio.wait_for(asyncio.gather(*sending), 120)
    found = await asyncio.wait_for(reading, 120)
    assert len(set(found)) == len(found) == EVENTS
    page = await call("GET", f"/subscriptions/{made['id']}/events")
    assert page["data"] == []


@pytest.mark.slow
def test_a_stop_does_not_wait_for_streams(tmp_path: Path) -> None:
    async def story() -> None:
        gateway = Gateway(tmp_path, ())
        await gateway.start()
        try:
            async with Calls(gateway, key_of(tmp_path)) as call:
                await stopped(gateway, call)
        finally:
            gateway.kill()

    asyncio.run(story())


async def stopped(gateway: Gateway, call: Calls) -> None:
    said = await gateway.run("subscriptions", "add", "cli", "pull=true", "types=t.*")
    assert "secret" not in said
    assert "(pull)" in await gateway.run("subscriptions")
    shown = await gateway.run("subscriptions", "show", "cli")
    assert "pull" in shown
    assert "timeout" not in shown
    await call.publish([1])
    assert "pending" in await gateway.run("deliveries")
    assert "fetches it" in await gateway.run("deliveries", "show", "dl_1")
    made = await call("POST", "/subscriptions", json={"name": "erp", "pull": True})
    polling = asyncio.create_task(call("GET", f"/subscriptions/{made['id']}/events?wait=60"))
    async with call._client.stream("GET", f"{call._root}/stream") as response:
        lines = response.aiter_lines()
        assert await anext(lines) == "retry: 2000"
        await asyncio.sleep(0.3)
        assert await gateway.stop() == 0
        async for line in lines:  # whole: it ends, and is not cut off
            assert line == ""
    assert (await polling)["data"] == []
    assert "cutting off" not in gateway.log_end()
    assert "rror" not in gateway.log_end()
