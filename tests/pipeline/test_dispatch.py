"""Slots, rates, stops, restarts and leases: how deliveries are bounded and never lost."""

import asyncio
import time
from contextlib import closing
from pathlib import Path

from tests.pipeline.world import SECRET, configuration, consuming, running, shop_event


def test_slots_bound_what_is_in_flight_and_healthy_neighbours_flow(tmp_path: Path) -> None:
    more = f"""
[subscriptions.slow]
url = "http://127.0.0.1:PORT/slow"
slots = 2
secrets = ["{SECRET}"]
"""

    async def story() -> None:
        async with consuming() as slow, consuming() as good:
            slow.hold = asyncio.Event()
            text = configuration(good.port, more.replace("PORT", str(slow.port)))
            async with running(tmp_path, good, text) as world:
                await asyncio.gather(
                    *(world.shop(shop_event(n, order=f"o-{n}")) for n in range(40))
                )
                await world.delivered(40)
                assert len({seen.id for seen in good.seen}) == 40
                assert len(slow.seen) == 2
                slow.hold.set()
                await world.settled()
                assert slow.most_in_flight == 2
                assert len({seen.id for seen in slow.seen}) == 40

    asyncio.run(story())


def test_who_stands_in_line_goes_back_at_a_pause_and_is_sent_after_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            consumer.hold = asyncio.Event()
            text = configuration(consumer.port).replace('/good"', '/good"\nslots = 2')
            async with running(tmp_path, consumer, text) as world:
                await asyncio.gather(*(world.shop(shop_event(n, order=f"o-{n}")) for n in range(9)))
                await world.until(lambda: len(consumer.seen) == 2)
                states = "SELECT state, count(*) FROM deliveries GROUP BY state ORDER BY state"
                # Two in flight, six in line: a line has three places a slot.
                assert world.rows(states) == [(0, 1), (1, 8)]
                await world.gateway.store.catalog.pause("good", "a person")
                await world.until(lambda: world.rows(states) == [(0, 7), (1, 2)])
                consumer.hold.set()
                await world.until(lambda: world.rows(states) == [(0, 7), (2, 2)])
                assert len(consumer.seen) == 2
                await world.gateway.store.catalog.resume("good")
                await world.settled()
                assert sorted(seen.id for seen in consumer.seen) == sorted(
                    event for (event,) in world.rows("SELECT event_id FROM events")
                )
                assert world.rows("SELECT DISTINCT attempts FROM deliveries") == [(1,)]

    asyncio.run(story())


def test_a_rate_is_kept(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            text = configuration(consumer.port).replace('/good"', '/good"\nrate = "20/s"')
            async with running(tmp_path, consumer, text) as world:
                await asyncio.gather(
                    *(world.shop(shop_event(n, order=f"o-{n}")) for n in range(30))
                )
                await world.settled()
                times = [seen.at for seen in consumer.seen]
                assert len(times) == 30
                # A burst of a tenth of a second's worth, then 20 a second: never faster.
                assert times[-1] - times[0] >= (30 - 3) / 20 * 0.95

    asyncio.run(story())


def test_a_stop_lets_attempts_end_and_interrupted_ones_do_not_count(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            consumer.hold = asyncio.Event()
            async with running(tmp_path, consumer) as world:
                await world.shop(shop_event(1))
                await world.delivered(1)
                began = time.monotonic()
                await world.gateway.dispatcher.stop(0.2)
                assert time.monotonic() - began < 10  # of 15 that an attempt may last
                rows = world.rows("SELECT state, attempts, number, claim FROM deliveries")
                assert rows == [(0, 0, 1, None)]
                assert world.rows("SELECT failure FROM attempts") == [("interrupted",)]
                consumer.hold.set()
            consumer.hold = None
            async with running(tmp_path, consumer) as world:
                await world.settled()
                assert world.rows("SELECT state, attempts, number FROM deliveries") == [(2, 1, 2)]
                assert len({seen.id for seen in consumer.seen}) == 1

    asyncio.run(story())


def test_what_was_leased_by_a_process_that_died_is_due_at_the_next_start(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            async with running(tmp_path, consumer) as world:
                await world.shop(shop_event(1))
                await world.settled()
                connection = world.gateway.store.path
            import sqlite3

            with closing(sqlite3.connect(connection, isolation_level=None)) as file:
                file.execute("UPDATE deliveries SET state = 1, claim = 7")
            async with running(tmp_path, consumer) as world:
                await world.settled()
            assert len(consumer.seen) == 2

    asyncio.run(story())


def test_a_new_delivery_does_not_overtake_one_that_is_due(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            text = configuration(consumer.port).replace('/good"', '/good"\nslots = 1')
            async with running(tmp_path, consumer, text) as world:
                consumer.hold = asyncio.Event()
                for number in range(5):
                    await world.shop(shop_event(number, order=f"o-{number}"))
                consumer.hold.set()
                await world.settled()
            assert [seen.event["subject"] for seen in consumer.seen] == [
                f"o-{number}" for number in range(5)
            ]

    asyncio.run(story())


def test_a_subscription_taken_out_of_the_file_is_disabled_and_kept(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            async with running(tmp_path, consumer) as world:
                await world.shop(shop_event(1))
                await world.settled()
            without = configuration(consumer.port).replace(
                "[subscriptions.good]", "[subscriptions.other]"
            )
            async with running(tmp_path, consumer, without) as world:
                await world.shop(shop_event(2, "order.paid"))
                await world.settled()
                rows = world.rows("SELECT name, enabled FROM subscriptions ORDER BY id")
                assert rows == [("good", 0), ("other", 1)]
            async with running(tmp_path, consumer) as world:
                rows = world.rows("SELECT name, enabled FROM subscriptions ORDER BY id")
                assert rows == [("good", 1), ("other", 0)]

    asyncio.run(story())


def test_a_disabled_source_is_unknown(tmp_path: Path) -> None:
    off = '[sources.off]\nprovider = "printstudio"\nsecrets = ["shop-secret"]\nenabled = false\n'

    async def story() -> None:
        async with consuming() as consumer:
            text = configuration(consumer.port, sources=off)
            async with running(tmp_path, consumer, text) as world:
                assert (await world.shop(shop_event(1), source="off")).status_code == 404
                assert (await world.shop(shop_event(1), source="nothing")).status_code == 404

    asyncio.run(story())
