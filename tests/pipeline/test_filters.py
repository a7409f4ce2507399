"""Filters over sockets: a subscription gets only what they let through, and `explain` says why."""

import asyncio
from pathlib import Path

from gateway.stores.sqlite.records import SqliteRecords
from tests.pipeline.test_subscriptions import add, ask, at, remove
from tests.pipeline.world import World, configuration, consuming, running, shop_event

DECLARED = """
[subscriptions.berlin]
url = "http://127.0.0.1:{port}/berlin"
secrets = ["whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="]
filters = [
    {{ suffix = {{ source = "/sources/shop" }} }},
    {{ any = [
        {{ prefix = {{ subject = "B-" }} }},
        {{ data = {{ "/total/value" = {{ ge = 50 }} }} }},
    ] }},
]
"""


async def subjects(world: World, path: str) -> list[str]:
    await world.settled()
    return sorted(one.event["subject"] for one in at(world.consumer, path))


async def explained(world: World, order: str) -> dict[str, str]:
    """Why the event of an order was for nobody, by subscription."""
    async with SqliteRecords(world.folder / "gateway.db") as records:
        (story,) = await records.explain(order)
    (event,) = story.events
    return {one.subscription: one.reason for one in event.routing}


async def story(world: World) -> None:
    await add(world, filters='[{ data = { "/total/value" = { lt = "50.00" } } }]')
    await add(world, "json", filters=[{"not": {"prefix": {"subject": "B-"}}}])
    await world.shop(shop_event(1, order="B-1", total=49.99))
    await world.shop(shop_event(2, order="C-2", total=50))
    await world.shop(shop_event(3, order="C-3", total=9.5))
    assert await subjects(world, "/good") == ["B-1", "C-2", "C-3"]
    assert await subjects(world, "/berlin") == ["B-1", "C-2"]
    assert await subjects(world, "/crm") == ["B-1", "C-3"]
    assert await subjects(world, "/json") == ["C-2", "C-3"]
    no = "its filters did not let it through; as they are now, "
    assert await explained(world, "C-3") == {
        "good": "matched",
        "berlin": f"{no}none of filters[1].any holds: filters[1].any[0].prefix.subject is "
        '"C-3", not beginning with "B-"',
        "crm": "matched",
        "json": "matched",
    }
    assert (await explained(world, "C-2"))["crm"] == (
        f'{no}filters[0].data."/total/value".lt is "50", not less than "50.00"'
    )
    assert (await explained(world, "B-1"))["json"] == (
        f"{no}filters[0].not.prefix holds, and must not"
    )
    assert await remove(world, "crm") == 204
    assert "not less than" in (await explained(world, "C-2"))["crm"]


async def wrong(world: World) -> None:
    keys = {"url": "https://e.example/", "filters": [{"any": [{"exact": {}}]}]}
    status, problem = await ask(world, "", {"name": "bad", **keys})
    assert status == 400
    assert problem["detail"].startswith("subscriptions.bad.filters[0].any[0].exact: ")


async def restarted(world: World) -> None:
    """What was added by command has its filters after a restart, too."""
    before = len(at(world.consumer, "/json"))
    await world.shop(shop_event(4, order="B-4"))
    await world.shop(shop_event(5, order="C-5"))
    assert (await subjects(world, "/json"))[before:] == ["C-5"]


def test_a_subscription_gets_what_its_filters_let_through(tmp_path: Path) -> None:
    async def whole() -> None:
        async with consuming() as consumer:
            text = configuration(consumer.port, DECLARED.format(port=consumer.port))
            for part in (story, wrong, restarted):
                async with running(tmp_path, consumer, text) as world:
                    await part(world)

    asyncio.run(whole())
