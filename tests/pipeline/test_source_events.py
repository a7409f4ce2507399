"""What a running gateway says of its sources, through ordinary subscriptions."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.models import Millis
from gateway.runtime import wall_clock
from tests.pipeline.polling import asking
from tests.pipeline.world import SECRET, Consumer, World, consuming, running, shop_event
from tests.simulators.api import serving
from tests.simulators.marketiger import MarketigerApi

TEXT = """
[server]
port = 0
[admin]
port = 0
[sources.shop]
provider = "printstudio"
secrets = ["shop-secret"]
silent_after = "1m"
[sources.other]
provider = "printstudio"
secrets = ["shop-secret"]
[subscriptions.operators]
url = "http://127.0.0.1:{port}/operators"
types = ["gateway.source.*"]
secrets = ["{secret}"]
[egress]
allow = ["127.0.0.0/8:*"]
"""


class Sky:
    """A wall clock that can be moved on."""

    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> Millis:
        return Millis(wall_clock() + self.ahead)


@pytest.fixture
def sky(monkeypatch: pytest.MonkeyPatch) -> Sky:
    clock = Sky()
    monkeypatch.setattr("gateway.runtime.wall_clock", clock)
    return clock


def text(consumer: Consumer) -> str:
    return TEXT.format(port=consumer.port, secret=SECRET)


def told(consumer: Consumer) -> list[tuple[str, str]]:
    """The types and sources of the events that came."""
    events = [seen.event for seen in consumer.seen]
    return [(event["type"], event["data"]["source"]) for event in events]


async def looked(world: World, count: int = 1) -> None:
    """Wait until the janitor has looked so many times more."""
    lookout = world.gateway.janitor._lookout
    for _ in range(count):
        before = lookout._looked
        await world.until(lambda before=before: lookout._looked != before)  # type: ignore[misc]


async def pass_time(world: World, sky: Sky, seconds: int) -> None:
    sky.ahead += seconds * 1_000
    await looked(world)


def refused(world: World, source: str = "shop") -> Any:
    return world.post(source, b"{}", {"x-printstudio-signature": "sha256=" + "0" * 64})


@pytest.mark.slow
def test_a_silent_source_is_told_once_and_again_after_it_was_heard(
    tmp_path: Path, sky: Sky
) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            async with running(tmp_path, consumer, text(consumer)) as world:
                await world.shop(shop_event(1))
                await world.shop(shop_event(1), "other")
                await pass_time(world, sky, 40)
                assert told(consumer) == []
                await pass_time(world, sky, 25)
                (seen,) = await world.delivered(1)
                assert told(consumer) == [("gateway.source.silent", "shop")]
                assert "nothing came for 1m: the last time was" in seen.event["data"]["reason"]
            sky.ahead += 3_600_000
            async with running(tmp_path, consumer, text(consumer)) as world:
                await pass_time(world, sky, 40)
                await pass_time(world, sky, 40)
                await looked(world)
                assert len(consumer.seen) == 1  # a restart does not tell it again
                assert (await world.shop(shop_event(1))).json()["duplicate"] is True
                silent = "SELECT 1 FROM source_states WHERE silent_since IS NOT NULL"
                await world.until(lambda: not world.rows(silent))
                await pass_time(world, sky, 40)
                await pass_time(world, sky, 40)
                await world.delivered(2)

    asyncio.run(story())


@pytest.mark.slow
def test_a_gateway_that_was_down_does_not_complain_and_quarantine_counts_as_heard(
    tmp_path: Path, sky: Sky
) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            async with running(tmp_path, consumer, text(consumer)) as world:
                await world.shop(shop_event(1))
            sky.ahead += 3_600_000
            async with running(tmp_path, consumer, text(consumer)) as world:
                await pass_time(world, sky, 40)
                broken = await world.shop(b'{"id": "evt-2", "event": "order.created"}')
                assert broken.json()["verdict"] == "quarantined"
                await pass_time(world, sky, 40)
                await looked(world)
                assert consumer.seen == []

    asyncio.run(story())


@pytest.mark.slow
def test_a_source_that_is_refused_is_told_without_end_for_nobody(tmp_path: Path, sky: Sky) -> None:
    async def story() -> None:
        async with (
            consuming() as consumer,
            running(tmp_path, consumer, text(consumer)) as world,
        ):
            for _ in range(2):
                await refused(world)
            await world.shop(shop_event(1))
            for _ in range(2):
                await refused(world)
            await looked(world)
            assert consumer.seen == []
            for _ in range(5):
                await refused(world)
                await refused(world, "nowhere")
            (seen,) = await world.delivered(1)
            assert told(consumer) == [("gateway.source.rejecting", "shop")]
            reason = seen.event["data"]["reason"]
            assert "in a row were refused, the last one because the signature" in reason
            assert "0000" not in reason
            await world.shop(shop_event(2))
            for _ in range(9):
                await refused(world)
            await looked(world, 2)
            assert len(consumer.seen) == 1  # not within the hour
            sky.ahead += 3_600_000
            await world.shop(shop_event(3))
            for _ in range(3):
                await refused(world)
            await world.delivered(2)

    asyncio.run(story())


def test_what_a_poll_brings_counts_as_heard(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(MarketigerApi()) as api, asking(tmp_path, api) as asked:
            known = "SELECT 1 FROM source_states WHERE source = 'mt'"
            lookout = asked.world.gateway.janitor._lookout
            await asked.poll()
            await lookout.close()
            assert asked.world.rows(known) == []
            await asked.watch(api.place())
            await lookout.close()
            assert asked.world.rows(known) == [(1,)]

    asyncio.run(story())
