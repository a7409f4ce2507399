"""`kill -9` in the middle of rounds: what a poll has told stays told, what it has not is told later."""

import asyncio
import random
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from gateway.testing.doubles import Receiver as Consumer
from tests.acceptance.harness import Gateway
from tests.pipeline.world import SECRET
from tests.simulators.api import serving
from tests.simulators.printstudio import KEY, LIMITS, PrintStudioApi

ORDERS = 60
KILLS = 6
LIFE = ("pending_payment", "paid", "processing", "printing", "post_processing", "ready", "shipped")


def configuration(api: PrintStudioApi, consumer: Consumer) -> str:
    return f"""
[sources.ps]
provider = "printstudio"
base_url = "{api.url}"
token = "{KEY}"
interval = "1s"
requests_per_minute = 10000
[subscriptions.consumer]
url = "{consumer.url}"
secrets = ["{SECRET}"]
schedule = ["100ms", "200ms", "400ms", "1s", "1s", "1s", "1s", "1s"]
"""


def told(database: Path) -> dict[str, list[tuple[int, str]]]:
    """Every order's events, as (orderseq, type) in the order of the outbox."""
    found: dict[str, list[tuple[int, str]]] = {}
    with closing(sqlite3.connect(database)) as connection, connection:
        rows = connection.execute(
            "SELECT order_id, seq, type FROM events WHERE order_id IS NOT NULL ORDER BY id"
        ).fetchall()
    connection.close()
    for order, seq, kind in rows:
        found.setdefault(order, []).append((seq, kind))
    return found


async def listed(database: Path) -> None:
    """Wait until the first listing is there, of nothing: what it had would be told by no event."""
    for _ in range(1_200):
        with closing(sqlite3.connect(database)) as connection:
            if connection.execute("SELECT 1 FROM polls WHERE listed").fetchone():
                return
        await asyncio.sleep(0.05)
    pytest.fail("nothing was listed")


async def settled(database: Path) -> None:
    """Wait until every delivery has ended."""
    for _ in range(1_200):
        with closing(sqlite3.connect(database)) as connection, connection:
            row = connection.execute("SELECT 1 FROM deliveries WHERE state < 2 LIMIT 1").fetchone()
        connection.close()
        if row is None:
            return
        await asyncio.sleep(0.05)
    pytest.fail("deliveries did not end")


@pytest.mark.slow
def test_rounds_are_killed_and_nothing_is_lost_or_told_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LIMITS, "admin", 1_000_000)

    async def story() -> None:
        rng = random.Random(4)
        api = PrintStudioApi()
        api.keys[KEY] = "admin"
        async with serving(api), Consumer() as consumer:
            gateway = Gateway(tmp_path, [])
            with (tmp_path / "gateway.toml").open("a") as file:
                file.write(configuration(api, consumer))
            await gateway.start()
            await listed(gateway.database)
            orders = [api.place() for _ in range(ORDERS)]
            for _ in range(KILLS):
                for number in orders:
                    step = LIFE.index(api.orders[number]["status"])
                    if step + 1 < len(LIFE) and rng.random() < 0.8:
                        api.move(number, LIFE[step + 1])
                await asyncio.sleep(rng.uniform(0.2, 1.4))
                gateway.kill()
                await gateway.start()
            for number in orders:
                api.move(number, "shipped")
            for _ in range(600):
                found = told(gateway.database)
                if all("order.shipped" in [kind for _, kind in found.get(n, [])] for n in orders):
                    break
                await asyncio.sleep(0.1)
            await settled(gateway.database)
            await gateway.stop()
            check(told(gateway.database), orders, consumer)

    asyncio.run(story())


def check(found: dict[str, list[tuple[int, str]]], orders: list[str], consumer: Consumer) -> None:
    for number in orders:
        events = found[number]
        assert [seq for seq, _ in events] == list(range(1, len(events) + 1)), number
        kinds = Counter(kind for _, kind in events)
        assert events[0] == (1, "order.created"), number
        assert kinds["order.paid"] == kinds["order.shipped"] == 1, (number, events)
        assert max(kinds[kind] for kind in kinds if kind != "order.updated") == 1, (number, events)
    ids = {received.headers["webhook-id"] for received in consumer.received}
    assert len(ids) == sum(len(events) for events in found.values())
