"""Rounds of one source, by hand and by the background task: never two at once, none too many."""

import asyncio
import sqlite3
import time
from pathlib import Path

import msgspec
import pytest

from gateway.models import Millis
from tests.pipeline.polling import TOKEN, asking
from tests.pipeline.world import configuration, consuming, running
from tests.simulators import api as faults
from tests.simulators.api import serving, status
from tests.simulators.marketiger import MarketigerApi
from tests.simulators.threeyourmind import ThreeYourMindApi


@pytest.mark.parametrize("change", [{"refused": "why"}, {"next_at": Millis(1 << 60)}])
def test_a_round_by_hand_may_make_the_next_one_needless(
    tmp_path: Path, change: dict[str, object]
) -> None:
    """The background task may have come too late to begin, and too early to know."""

    async def story() -> None:
        async with serving(MarketigerApi()) as api, asking(tmp_path, api) as asked:
            await asked.watch(api.place())
            polls = asked.world.gateway.store.polls
            poller = asked.world.gateway.poller.source("mt")
            await polls.refresh("mt", Millis(0))
            poll, before = await polls.state("mt"), len(api.requests)
            assert poll is not None
            async with poller.lock:
                waiting = asyncio.create_task(poller.round())
                await asyncio.sleep(0.01)
                await polls.save(msgspec.structs.replace(poll, **({"next_at": Millis(0)} | change)))
            await waiting
            assert len(api.requests) == before
            await polls.save(msgspec.structs.replace(poll, next_at=Millis(0)))
            await poller.round()
            assert len(api.requests) == before + 1

    asyncio.run(story())


@pytest.mark.parametrize("refused", [True, False])
def test_a_new_order_does_not_hurry_a_failing_source(tmp_path: Path, refused: bool) -> None:
    async def story() -> None:
        async with serving(MarketigerApi()) as api, asking(tmp_path, api) as asked:
            await asked.watch(api.place())
            if refused:
                api.tokens = {}
            else:
                api.broken = faults.HTML
            await asked.poll()
            before = len(api.requests)
            url = f"{asked.world.control}/v1/sources/mt/watch"
            await asked.world.client.post(url, json={"id": api.place()})
            await asyncio.sleep(0.2)
            assert len(api.requests) == before
            # A source that is well is asked at once.
            api.broken, api.tokens = None, {TOKEN: "ada"}
            await asked.poll()
            new = api.place()
            await asked.world.client.post(url, json={"id": new})
            await asked.world.until(lambda: asked.told(new))

    asyncio.run(story())


def test_rounds_do_not_overlap(tmp_path: Path) -> None:
    flying = most = 0

    async def story() -> None:
        nonlocal flying, most
        async with serving(MarketigerApi()) as api, asking(tmp_path, api, interval="1s") as asked:
            number = api.place()
            await asked.watch(number)
            body = api._get(number, "ada").body

            async def slow(writer: asyncio.StreamWriter) -> None:
                nonlocal flying, most
                flying += 1
                most = max(most, flying)
                await asyncio.sleep(0.03)
                flying -= 1
                await status(200, body)(writer)

            api.broken, before, begun = slow, len(api.requests), time.monotonic()
            rounds = await asyncio.gather(*(asked.round() for _ in range(10)))
            assert [list(found) for found, _ in rounds] == [[number]] * 10
            assert len({end["answered_at"] for _, end in rounds}) == 10
            seconds = time.monotonic() - begun  # the background task asks once in each
            assert 10 <= len(api.requests) - before <= 12 + seconds
            assert most == 1

    asyncio.run(story())


def test_who_goes_away_ends_the_round(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(MarketigerApi()) as api, asking(tmp_path, api) as asked:
            number = api.place()
            await asked.watch(number)
            api.broken, before = faults.silence, len(api.requests)
            asking_by_hand = asyncio.create_task(asked.poll())
            await asked.world.until(lambda: len(api.requests) > before)
            asking_by_hand.cancel()
            await asyncio.gather(asking_by_hand, return_exceptions=True)
            await asked.idle()
            api.broken = None
            _, end = await asked.round()
            assert (end["failures"], end["problem"]) == (0, None)

    asyncio.run(story())


def test_a_page_may_have_as_many_orders_as_it_likes(tmp_path: Path) -> None:
    """More than a statement may have parameters, and each of them is watched."""

    async def story() -> None:
        async with consuming() as consumer, serving(ThreeYourMindApi(page_size=9_999)) as api:
            table = f"""
[sources.panel]
provider = "threeyourmind"
base_url = "{api.url}"
token = "{api.token}"
interval = "1s"
"""
            for _ in range(1_100):
                api.place()
            api.broken = faults.HTML
            async with running(
                tmp_path, consumer, configuration(consumer.port, sources=table)
            ) as world:
                connection = world.gateway.store._writer._connection
                assert connection is not None
                connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 600)
                api.broken = None
                await world.client.post(f"{world.control}/v1/sources/panel/poll")
                assert world.rows("SELECT count(*) FROM watched") == [(1_100,)]

    asyncio.run(story())
