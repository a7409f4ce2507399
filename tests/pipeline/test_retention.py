"""Retention in a running gateway: an old order never comes back as new, and what waits still goes out."""

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway.stores.registry import make_records
from tests.pipeline.world import World, configuration, consuming, running, shop_event

LONG_AGO = 400 * 86_400_000
TIMES = {
    "callbacks": ("received_at",),
    "events": ("recorded",),
    "attempts": ("started_at",),
    "unlinked": ("since",),
}
OPERATORS = """
[subscriptions.operators]
url = "http://127.0.0.1:{port}/operators"
types = ["gateway.*", "printstudio.*"]
secrets = ["whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="]
"""
BERLIN = """
[sources.berlin]
provider = "printstudio"
secrets = ["shop-secret"]
shop = "berlin"
"""


def age(world: World) -> None:
    """Make everything that is stored old."""
    connection = sqlite3.connect(world.folder / "gateway.db", isolation_level=None, timeout=5)
    for table, columns in TIMES.items():
        for column in columns:
            connection.execute(f"UPDATE {table} SET {column} = {column} - {LONG_AGO}")
    connection.close()


def stored(world: World, table: str) -> Sequence[Any]:
    return [row[0] for row in world.rows(f"SELECT * FROM {table}")]


async def forget(world: World) -> None:
    """Make everything old but for one more callback, and prune; the newest rows stay anyway."""
    await world.settled()
    age(world)
    await world.shop(shop_event("last", order="ord-last"))
    await world.settled()
    await world.gateway.janitor.prune()


def test_an_order_of_which_all_is_gone_does_not_come_back_as_new(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer, running(tmp_path, consumer) as world:
            told = [
                shop_event(1),
                shop_event(2, "order.paid"),
                shop_event(3, "order.shipped"),
            ]
            for callback in told:
                assert (await world.shop(callback)).status_code == 200
            await forget(world)
            assert not world.rows("SELECT 1 FROM callbacks WHERE event_id != 'evt-last'")
            assert not world.rows("SELECT 1 FROM events WHERE order_id = 'ord-1'")
            assert len(stored(world, "attempts")) == len(stored(world, "deliveries")) == 1
            before = len(await world.delivered(4))
            for callback in told:
                again = await world.shop(callback)
                assert again.json()["duplicate"] is False  # nobody knows its hash any more
                assert again.json()["events"] == []
            for number, callback in enumerate(told):
                again = await world.shop({**callback, "id": f"evt-other-{number}"})
                assert again.json()["events"] == []
            await world.settled()
            assert len(consumer.seen) == before
            assert min(stored(world, "callbacks")) > 3  # and no id was given twice

    asyncio.run(story())


def test_a_repeat_is_known_as_long_as_an_event_of_it_is_there(tmp_path: Path) -> None:
    """Its `gateway.fact.superseded` would have the same id a second time."""

    async def story() -> None:
        async with consuming() as consumer:
            text = configuration(consumer.port, OPERATORS.format(port=consumer.port))
            text += '\n[retention]\nevents = "365d"\n'
            async with running(tmp_path, consumer, text) as world:
                await world.shop(shop_event(1, "order.shipped"))
                late = shop_event(2, "order.printing")
                assert (await world.shop(late)).json()["verdict"] == "superseded"
                await world.settled()
                connection = sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)
                connection.execute(
                    "UPDATE callbacks SET received_at = received_at - ?", (LONG_AGO,)
                )
                connection.close()
                await world.shop(shop_event("last", order="ord-last"))
                await world.gateway.janitor.prune()
                assert world.rows("SELECT length(body) FROM callbacks WHERE id < 3") == [
                    (0,),
                    (0,),
                ]
                again = (await world.shop(late)).json()
                assert (again["verdict"], again["duplicate"]) == ("superseded", True)

    asyncio.run(story())


def test_what_waits_is_delivered_and_read_all_the_same(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            text = configuration(consumer.port).replace(
                'schedule = ["100ms", "100ms", "100ms"]', 'schedule = ["1h"]'
            )
            async with running(tmp_path, consumer, text) as world:
                consumer.answer = lambda _: (500, {}, b"no")
                await world.shop(shop_event(1))
                refund: dict[str, Any] = {
                    "id": "re_1",
                    "object": "refund",
                    "payment_intent": "pi_1",
                }
                refund |= {"amount": 100, "currency": "eur", "status": "succeeded"}
                event: dict[str, Any] = {
                    "id": "evt_re",
                    "object": "event",
                    "type": "refund.created",
                }
                event |= {"created": 1_760_000_000, "data": {"object": refund}}
                assert (await world.stripe(event)).json()["verdict"] == "unlinked"
                broken = await world.shop(b'{"id": "evt-broken", "event": "order.created"}')
                assert broken.json()["verdict"] == "quarantined"
                await world.until(lambda: world.rows("SELECT 1 FROM attempts"))
                age(world)
                consumer.answer = lambda _: (200, {}, b"ok")
                await world.shop(shop_event("last", order="ord-last"))
                await world.delivered(2)
                await world.gateway.janitor.prune()
                names = "SELECT event_id, length(body) > 9 FROM callbacks ORDER BY id"
                assert [row for row in world.rows(names) if row[0] != "evt-1"] == [
                    ("evt_re", 1),
                    ("evt-broken", 1),
                    ("evt-last", 1),
                ]
                rehearsal = await world.gateway.retry_callback(broken.json()["id"], dry_run=True)
                assert rehearsal["verdict"] == "quarantined"
                (number,) = world.rows("SELECT id FROM deliveries WHERE state = 0")[0]
                await world.gateway.replay(f"dl_{number}")
                seen = await world.delivered(3)
                assert seen[2].id == seen[0].id
                assert seen[2].event == seen[0].event

    asyncio.run(story())


def test_what_is_left_can_be_explained(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            consuming() as consumer,
            running(tmp_path, consumer, configuration(consumer.port, sources=BERLIN)) as world,
        ):
            await world.shop(shop_event(1), "berlin")
            await world.shop(shop_event(2, "order.paid"), "berlin")
            await world.settled()
            connection = sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)
            connection.execute("UPDATE attempts SET started_at = 0")
            connection.execute("DELETE FROM callbacks WHERE id = 1")
            connection.execute("UPDATE callbacks SET received_at = received_at - 31 * 86400000")
            connection.close()
            await world.shop(shop_event("middle", order="ord-middle"))
            await world.settled()
            await world.gateway.janitor.prune()
            async with make_records(f"sqlite:///{tmp_path}/gateway.db") as records:
                (story,) = await records.explain("ord-1")
                assert len(story.events) == 2
                assert [row.last_status for row in story.deliveries] == [None, None]
                assert len(await records.deliveries(subscription=None, state=None, limit=9)) == 3
                assert len(await records.events(order=None, event_type=None, limit=9)) == 3
                row, sent = await records.callback("cb_2")
                assert (row.verdict, sent.body, list(sent.headers)) == ("event", b"", [])
                await forget(world)
                (story,) = await records.explain("ord-1")
                assert story.found_as == "order ord-1"
                assert [*story.events, *story.callbacks, *story.deliveries] == []

    asyncio.run(story())
