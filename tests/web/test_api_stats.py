"""What sums up: a subscription's stats, and the lists of parked lanes and of replay jobs."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.keys import Role
from gateway.stores.migrate import migrate
from gateway.stores.sqlite import counting
from gateway.web.api.operation import Door
from tests.pipeline.world import (
    SECRET,
    Answer,
    Delivered,
    configuration,
    consuming,
    running,
    shop_event,
)
from tests.web.test_api import TIME, Caller, orders, play

ORDERED = """
[subscriptions.ordered]
url = "http://127.0.0.1:{port}/ordered"
secrets = ["{secret}"]
final_status = [422]
ordering = "order"
"""


async def stats(caller: Caller, name: str = "good", query: str = "", **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = await caller.read(f"/v1/subscriptions/{name}/stats{query}", **more)
    return found


def test_a_subscription_tells_how_it_does(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        world = caller.world
        nothing = await stats(caller)
        assert set(nothing["waiting"].values()) == {0}
        assert (nothing["attempts"], nothing["p50_ms"], nothing["oldest_due"]) == (0, None, None)
        tried: dict[str, int] = {}

        def answer(seen: Delivered) -> Answer:
            tried[seen.id] = tried.get(seen.id, 0) + 1
            return (500 if tried[seen.id] == 1 and len(tried) <= 2 else 200), {}, b""

        world.consumer.answer = answer
        await orders(caller, 5)
        told = await stats(caller)
        assert (told["name"], told["delivered"], told["dead"]) == ("good", 5, 0)
        assert (told["attempts"], told["failed"], told["failures"]) == (7, 2, {"status": 2})
        assert 0 < told["p50_ms"] <= told["p95_ms"]
        assert (told["truncated"], told["looked_back_to"], told["capped"]) == (False, None, False)
        assert (told["in_flight"], told["in_line"]) == (0, 0)
        assert TIME.fullmatch(told["since"])
        assert (await stats(caller, query="?since=0s"))["attempts"] == 0

    play(tmp_path, story)


def test_what_waits_is_counted_by_its_state(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        world = caller.world
        world.consumer.hold = asyncio.Event()
        await world.shop(shop_event(0))
        await world.delivered(1)
        busy = await stats(caller)
        assert (busy["in_flight"], busy["waiting"]["leased"]) == (1, 1)
        world.consumer.hold.set()
        await world.settled()
        await caller.ask("/v1/subscriptions/good/pause", method="POST")
        for number in range(1, 4):
            await world.shop(shop_event(number, order=f"o-{number}"))
        told = await stats(caller)
        assert told["waiting"]["pending"] == 3
        assert TIME.fullmatch(told["oldest_due"])
        assert set(told["waiting"]) == {"batched", "parked", "behind", "pending", "leased"}

    play(tmp_path, story)


def test_where_the_look_back_ends_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "SCANNED", 2)
    monkeypatch.setattr(counting, "CAP", 2)

    async def story(caller: Caller) -> None:
        await orders(caller, 5)
        told = await stats(caller)
        assert (told["attempts"], told["delivered"], told["truncated"]) == (2, 2, True)
        (newest, second) = (await caller.read("/v1/events?limit=2"))["data"]
        assert newest["recorded"] >= told["looked_back_to"] == second["recorded"]
        assert (await stats(caller, query="?since=0s"))["truncated"] is False
        await caller.ask("/v1/subscriptions/good/pause", method="POST")
        for number in range(7, 10):
            await caller.world.shop(shop_event(number, order=f"o-{number}"))
        told = await stats(caller)
        assert (told["waiting"]["pending"], told["capped"]) == (2, True)

    play(tmp_path, story)


def test_the_counts_go_through_an_index_or_the_newest_rows() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, "test")

    def plan(sql: str, *parameters: object) -> str:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()
        return "; ".join(row[3] for row in rows)

    assert "COVERING INDEX deliveries_open (subscription=? AND state=?)" in plan(
        counting._WAITING, 1, 0, 9
    )
    oldest = plan(counting._OLDEST, 1, 0)
    assert "deliveries_open (subscription=? AND state=?)" in oldest
    assert "TEMP B-TREE" not in oldest
    for sql in (counting._ENDED, counting._ATTEMPTS):
        assert "INTEGER PRIMARY KEY (rowid>?)" in plan(sql, 1, 1, 1)
    assert "PRIMARY KEY (delivery=?)" in plan(counting._ATTEMPTS, 1, 1, 1)
    connection.close()


@pytest.mark.parametrize(
    ("counts", "percent", "expected"),
    [([], 50, None), ([3], 95, 3), ([1, 2], 50, 1), ([1, 2, 3], 50, 2), (range(1, 101), 95, 95)],
)
def test_percentiles_are_the_nearest_rank(
    counts: list[float], percent: int, expected: float | None
) -> None:
    assert counting._part(counts, percent) == expected


def test_a_consumer_sees_the_stats_of_its_own_subscriptions_alone(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        more: dict[str, Any] = {"role": Role.SUBSCRIBER, "door": Door.PUBLIC}
        url = f"http://127.0.0.1:{caller.world.consumer.port}/made"
        body = {"url": url, "name": "mine", "types": ["order.*"]}
        made = await caller.ask("/v1/subscriptions", method="POST", body=body, **more)
        assert made.status_code == 201
        await orders(caller, 2)
        assert (await stats(caller, "mine", **more))["delivered"] == 2
        assert (await stats(caller, made.json()["id"], role=Role.READER))["delivered"] == 2
        foreign = await caller.get("/v1/subscriptions/good/stats", **more)
        assert foreign.status_code == 404

    play(tmp_path, story)


@pytest.mark.parametrize("since", ["", "yesterday", "-1h", "2026-01-15T14:30:00Z", "1h&since=2h"])
def test_a_look_back_is_a_duration(tmp_path: Path, since: str) -> None:
    async def story(caller: Caller) -> None:
        answer = await caller.get(f"/v1/subscriptions/good/stats?since={since}")
        assert answer.status_code == 400
        assert "since" in answer.json()["detail"]

    play(tmp_path, story)


async def pages(caller: Caller, path: str) -> list[dict[str, Any]]:
    """All rows of a list, two at a time."""
    rows: list[dict[str, Any]] = []
    page = await caller.read(f"{path}?limit=2")
    while True:
        rows += page["data"]
        if page["done"]:
            assert page["cursor"] is None
            return rows
        page = await caller.read(f"{path}?limit=2&cursor={page['cursor']}")


def test_replay_jobs_are_listed_newest_first(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        await orders(caller, 1)
        for _ in range(5):
            body = {"order": "ord-0"}
            answer = await caller.ask("/v1/replays", method="POST", body=body)
            assert answer.status_code == 200
        rows = await pages(caller, "/v1/replays")
        assert [row["id"] for row in rows] == [5, 4, 3, 2, 1]
        assert rows[0]["chosen"]["order"] == "ord-0"
        assert TIME.fullmatch(rows[0]["made_at"])
        cursor = (await caller.read("/v1/deliveries?limit=1"))["cursor"]
        mixed = await caller.get(f"/v1/replays?cursor={cursor}")
        assert mixed.status_code == 400

    play(tmp_path, story)


def parked(folder: Path, story: Callable[[Caller], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with consuming() as consumer:
            consumer.answer = lambda seen: (422 if seen.path == "/ordered" else 200, {}, b"")
            text = configuration(consumer.port, ORDERED.format(port=consumer.port, secret=SECRET))
            async with running(folder, consumer, text) as world:
                _, key = await world.gateway.keyring.create(Role.ADMIN, world.gateway.clock())
                await story(Caller(world, {Role.ADMIN: key}))

    asyncio.run(whole())


def test_parked_lanes_are_listed_in_pages_those_of_longest_first(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        world = caller.world
        for number in range(5):
            await world.shop(shop_event(number, order=f"o-{number}"))
        state = "SELECT 1 FROM deliveries WHERE state = -2"
        await world.until(lambda: len(world.rows(state)) == 5)
        rows = await pages(caller, "/v1/lanes")
        assert sorted(row["order"] for row in rows) == [f"o-{number}" for number in range(5)]
        assert [row["since"] for row in rows] == sorted(row["since"] for row in rows)
        # All at one time: the delivery decides.
        connection = sqlite3.connect(tmp_path / "gateway.db")
        connection.execute("UPDATE deliveries SET due = 1768487400000 WHERE state = -2")
        connection.commit()
        connection.close()
        rows = await pages(caller, "/v1/lanes")
        assert [row["order"] for row in rows] == [f"o-{number}" for number in range(5)]
        assert len((await caller.read("/v1/lanes?subscription=ordered"))["data"]) == 5
        assert (await caller.read("/v1/lanes?subscription=good"))["data"] == []
        assert (await caller.get("/v1/lanes?subscription=nobody")).status_code == 404

    parked(tmp_path, story)
