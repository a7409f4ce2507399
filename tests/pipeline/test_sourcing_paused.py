"""Sources that are paused and resumed, those of the file too: what is taken meanwhile, and what is not."""

import asyncio
from pathlib import Path

import pytest

from tests.pipeline.test_source_events import Sky, sky  # noqa: F401 - a fixture
from tests.pipeline.test_sourcing import BERLIN, SECOND, ask, call, done, known, play
from tests.pipeline.test_sourcing_polled import (
    _unlimited,  # noqa: F401 - a fixture
    asked,
    is_closed,
    keys,
    new_api,
    poller,
    polling,
    told,
)
from tests.pipeline.test_sourcing_silence import passed
from tests.pipeline.world import World, configuration, consuming, running, shop_event
from tests.simulators.api import serving

CALLBACKS = "SELECT count(*) FROM callbacks"


def test_a_declared_one_takes_nothing_until_it_is_resumed(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        paused = await done(world, "POST", "/shop/pause")
        assert (paused["name"], paused["declared"], paused["enabled"]) == ("shop", True, True)
        again = await done(world, "POST", "/shop/pause")
        assert again["paused_at"] == paused["paused_at"] is not None
        answer = await world.shop(shop_event(1))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
        assert answer.json()["detail"] == "source shop is paused: try again later"
        assert world.rows(CALLBACKS) == [(0,)]
        # Only whoever knows the secret is told, and the other sources go on.
        assert await call(world, 1, source="shop", secret="guessed") == 401
        assert (await ask(world, "PATCH", "/shop", {"shop": "b"})).status_code == 409
        resumed = await done(world, "POST", "/shop/resume")
        assert resumed["paused_at"] is None
        assert (await world.shop(shop_event(1))).status_code == 200
        await world.delivered(1)
        assert (await done(world, "POST", "/shop/resume"))["paused_at"] is None
        for verb in ("pause", "resume"):
            answer = await ask(world, "POST", f"/nobody/{verb}")
            assert (answer.status_code, "known are shop" in answer.text) == (404, True)

    play(tmp_path, story)


def test_a_pause_outlives_restarts_and_changes_but_not_the_source(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def first(world: World) -> None:
        await done(world, "POST", "", BERLIN)
        for name in ("berlin", "shop"):
            await done(world, "POST", f"/{name}/pause")
        await done(world, "PATCH", "/berlin", {"secrets": [SECOND]})
        assert await call(world, 1, secret=SECOND) == 503

    async def second(world: World) -> None:
        assert "source shop is paused until `gateway sources resume shop`" in caplog.messages
        assert (await world.shop(shop_event(1))).status_code == 503
        assert await call(world, 1, secret=SECOND) == 503
        await done(world, "DELETE", "/berlin")
        assert world.rows("SELECT source FROM paused_sources") == [("shop",)]
        await done(world, "POST", "", BERLIN)
        assert await call(world, 1) == 200
        assert known(world) == {"berlin"}

    play(tmp_path, first)
    play(tmp_path, second)


def test_one_that_the_file_has_lost_leaves_no_pause_to_the_next_of_its_name(tmp_path: Path) -> None:
    async def first(world: World) -> None:
        await done(world, "POST", "/berlin/pause")

    async def second(world: World) -> None:
        made = await done(world, "POST", "", BERLIN)
        assert made["paused_at"] is None
        assert await call(world, 1) == 200

    async def third(world: World) -> None:
        assert await call(world, 2) == 200

    declared = '[sources.berlin]\nprovider = "printstudio"\nsecrets = ["first-secret"]\n'
    play(tmp_path, first, sources=declared)
    play(tmp_path, second)
    play(tmp_path, third)


def test_the_silence_of_a_paused_one_is_not_told(
    tmp_path: Path,
    sky: Sky,  # noqa: F811
) -> None:
    async def story(world: World) -> None:
        await done(world, "POST", "", {**BERLIN, "silent_after": "2m"})
        await done(world, "POST", "/berlin/pause")
        assert await passed(world, sky, 600) == 0
        await done(world, "POST", "/berlin/resume")
        assert await passed(world, sky, 100) == 0
        assert await passed(world, sky, 40) == 1

    play(tmp_path, story)


@pytest.mark.slow
def test_a_polled_one_is_asked_by_hand_only(tmp_path: Path) -> None:
    async def whole() -> None:
        api = new_api()
        async with serving(api), consuming() as consumer:
            text = configuration(consumer.port)
            async with running(tmp_path, consumer, text) as world:
                await done(world, "POST", "", keys(api, interval="1s"))
                await asked(world, api)
                before = poller(world)
                paused = await done(world, "POST", "/ps/pause")
                assert (polling(), paused["asking"]["next_at"]) == ([], None)
                number = api.place()
                api.requests.clear()
                await asyncio.sleep(1.3)
                assert api.requests == []
                watched = await done(world, "POST", "/ps/watch", {"id": number})
                assert watched["paused"] is True
                await done(world, "PATCH", "/ps", {"interval": "1d"})
                assert (polling(), is_closed(before), api.requests) == ([], True, [])
                assert (await ask(world, "POST", "/ps/poll")).is_success
                assert told(world, number) == ["order.created"]
            async with running(tmp_path, consumer, text) as world:
                api.move(number, "printing")
                assert polling() == []
                resumed = await done(world, "POST", "/ps/resume")
                assert resumed["paused_at"] is None
                await world.until(lambda: "order.printing" in told(world, number))
                assert polling() == ["ps"]

    asyncio.run(whole())
