"""Orders over the API: the list, one order as it stands, and its timeline across all sources."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from gateway.keys import Role
from gateway.stores.migrate import migrate
from gateway.stores.sqlite import timelines
from tests.pipeline.world import SHOP_SECRET, configuration, consuming, running, shop_event
from tests.web.test_api import TIME, Caller, play
from tests.web.test_api_unlinked import intent, link, refund, waiting

BERLIN = f"""
[sources.berlin]
provider = "printstudio"
shop = "berlin"
secrets = ["{SHOP_SECRET}"]
"""


@asynccontextmanager
async def two_shops(folder: Path) -> AsyncIterator[Caller]:
    async with consuming() as consumer:
        text = configuration(consumer.port, sources=BERLIN)
        async with running(folder, consumer, text) as world:
            _, key = await world.gateway.keyring.create(Role.ADMIN, world.gateway.clock())
            yield Caller(world, {Role.ADMIN: key})


def play_two(folder: Path, story: Callable[[Caller], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with two_shops(folder) as caller:
            await story(caller)

    asyncio.run(whole())


async def names(caller: Caller, query: str = "") -> list[str]:
    """All orders of all pages."""
    found: list[str] = []
    page = await caller.read(f"/v1/orders?limit=2{query}")
    while True:
        found += [row["order"] for row in page["data"]]
        if page["done"]:
            return found
        page = await caller.read(f"/v1/orders?limit=2{query}&cursor={page['cursor']}")


def test_orders_are_listed_with_the_newest_event_first(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        for number in range(5):
            await caller.world.shop(shop_event(number, order=f"o-{number}"))
        await caller.world.shop(shop_event(9, "order.printing", "o-1"))
        await caller.world.shop(shop_event(3, order="o-3"))  # a repeat changes nothing
        assert await names(caller) == ["o-1", "o-4", "o-3", "o-2", "o-0"]
        assert await names(caller, "&shop=default") == ["o-1", "o-4", "o-3", "o-2", "o-0"]
        assert await names(caller, "&shop=other") == []
        (row,) = (await caller.read("/v1/orders?limit=1"))["data"]
        assert (row["shop"], row["order"], row["events"]) == ("default", "o-1", 2)
        assert row["state"]["fulfilment"] == "printing"
        assert TIME.fullmatch(row["updated_at"])

    play(tmp_path, story)


@pytest.mark.parametrize("scanned", [1, 2, 50_000])
def test_orders_of_which_no_event_is_kept_come_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scanned: int
) -> None:
    monkeypatch.setattr(timelines, "SCANNED", scanned)

    async def story(caller: Caller) -> None:
        for number in range(7):
            await caller.world.shop(shop_event(number, order=f"o-{number}"))
        await caller.world.settled()
        connection = sqlite3.connect(tmp_path / "gateway.db")
        connection.execute("UPDATE events SET order_row = NULL WHERE order_id IN ('o-5', 'o-2')")
        connection.commit()
        connection.close()
        assert await names(caller) == ["o-6", "o-4", "o-3", "o-1", "o-0", "o-5", "o-2"]
        assert await names(caller, "&shop=x") == []

    play(tmp_path, story)


def test_the_list_goes_through_the_index_of_events() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, "test")
    for sql in (timelines._TOLD, timelines._SILENT):
        rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", (9, 1, None, None, 5)).fetchall()
        used = "; ".join(row[3] for row in rows)
        assert "TEMP B-TREE" not in used, used
        assert "USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in used, used
        assert "COVERING INDEX events_order (order_row=?" in used, used
    connection.close()


def test_the_timeline_of_an_order_has_what_all_sources_said(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        world = caller.world
        (fact,) = await waiting(caller, refund(1))  # before anybody knows whose it is
        await world.shop(shop_event(2, order="1001", total=49.26))
        await world.shop(shop_event(3, "order.shipped", "1001"))
        await world.shop(shop_event(4, "order.printing", "1001"))
        await waiting(caller, intent(5))
        await link(caller, fact["id"], order="1001")
        await world.settled()
        told = await caller.read("/v1/orders/1001")
        order = told["order"]
        assert (order["shop"], order["order"], order["baseline"]) == ("default", "1001", False)
        assert order["state"]["fulfilment"] == "shipped"
        assert order["state"]["payment"] == "paid"
        assert order["ids"]["stripe"]
        assert order["payment"]["refunds"][0]["id"] == "re_1"
        assert not told["truncated"]
        timeline = told["timeline"]
        assert [one["at"] for one in timeline] == sorted(one["at"] for one in timeline)
        said = [
            (one["callback"]["source"], one["callback"]["verdict"], types(one)) for one in timeline
        ]
        assert said == [
            ("stripe", "event", ["order.refunded"]),
            ("shop", "event", ["order.created"]),
            ("shop", "event", ["order.shipped"]),
            ("shop", "superseded", []),
            ("stripe", "event", ["order.paid"]),
        ]
        (late,) = timeline[3]["callback"]["notes"]
        assert (late["verdict"], late["state"]) == ("superseded", "printing")
        assert late["reason"]
        assert timeline[0]["callback"]["reason"] == "linked by hand"
        deliveries = [
            (delivery["subscription"], delivery["state"])
            for one in timeline
            for event in one["events"]
            for delivery in event["deliveries"]
        ]
        assert deliveries == [("good", "delivered")] * 4
        assert told["events"] == 4
        # The newest event says the same of the order as it stands.
        newest = max((seen.event for seen in world.consumer.seen), key=lambda e: int(e["orderseq"]))
        same = set(order) & set(newest["data"])
        assert {name: order[name] for name in same} == {name: newest["data"][name] for name in same}
        assert {*order, "previous", "change", "cause"} == {*newest["data"], "baseline"}

    play(tmp_path, story)


def types(entry: dict[str, Any]) -> list[str]:
    return [event["event"]["type"] for event in entry["events"]]


@pytest.mark.parametrize(
    "order", ["A/1 ü", "A/", "/", "a//b", "100%", "%2F", "?x#y", "1001 & co", "..x", "🐙", "+"]
)
def test_an_order_id_may_be_anything(tmp_path: Path, order: str) -> None:
    async def story(caller: Caller) -> None:
        await caller.world.shop(shop_event(1, order=order))
        await caller.world.shop(shop_event(2, order="A"))
        told = await caller.read(f"/v1/orders/{quote(order, safe='')}")
        assert told["order"]["order"] == order
        if order == "A/1 ü":
            told = await caller.read("/v1/orders/A/1%20%C3%BC")
            assert told["order"]["order"] == order
            assert (await caller.get("/v1/orders/A/1%20%C3%BC/")).status_code == 404

    play(tmp_path, story)


def test_an_order_of_several_shops_is_asked_for_by_its_shop(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        await caller.world.shop(shop_event(1, order="1001"))
        await caller.world.shop(shop_event(1, order="1001"), source="berlin")
        await caller.world.shop(shop_event(2, order="7"), source="berlin")
        problem = await caller.get("/v1/orders/1001")
        assert problem.status_code == 409
        assert "berlin, default" in problem.json()["detail"]
        for shop in ("default", "berlin"):
            told = await caller.read(f"/v1/orders/1001?shop={shop}")
            assert told["order"]["shop"] == shop
            assert len(told["timeline"]) == 1
        assert (await caller.read("/v1/orders/7"))["order"]["shop"] == "berlin"
        assert (await caller.get("/v1/orders/7?shop=default")).status_code == 404
        assert (await caller.get("/v1/orders/1001?shop=nowhere")).status_code == 404
        assert await names(caller, "&shop=berlin") == ["7", "1001"]
        assert await names(caller) == ["7", "1001", "1001"]

    play_two(tmp_path, story)


def test_an_order_is_found_by_its_other_names(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        (fact,) = await waiting(caller, intent(1))
        await link(caller, fact["id"], order="1001", new=True)
        assert (await caller.read("/v1/orders/pi_1"))["order"]["order"] == "1001"
        for nothing in ("pi_2", "", "%00", "x" * 3_000):
            response = await caller.get(f"/v1/orders/{nothing}")
            assert response.status_code == 404, (nothing, response.text)

    play(tmp_path, story)


def test_a_long_timeline_leaves_the_oldest_out_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timelines, "MOST", 2)

    async def story(caller: Caller) -> None:
        for number, status in enumerate(("printing", "ready", "shipped")):
            event = shop_event(number, f"order.{status}", "1001")
            await caller.world.shop(event)
        told = await caller.read("/v1/orders/1001")
        assert told["truncated"]
        assert [types(one) for one in told["timeline"]][-1] == ["order.shipped"]
        assert len(told["timeline"]) == 2

    play(tmp_path, story)
