"""What each callback was read by: `explain` says it, whatever was changed since."""

import asyncio
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from gateway.shown import time_text
from tests.pipeline.test_sourcing import BERLIN, INK, call, done, play, plugin
from tests.pipeline.test_sourcing_polled import keys as polled_keys
from tests.pipeline.test_sourcing_polled import new_api
from tests.pipeline.world import World, shop_event
from tests.simulators.api import serving

OURS = f"webhook-gateway {version('webhook-gateway')}"


async def explained(world: World, what: str) -> dict[str, Any]:
    """The mappings of a story, by callback."""
    response = await world.client.get(f"{world.control}/v1/explain/{what}")
    assert response.status_code == 200, response.text
    (story,) = response.json()
    return dict(story["mappings"])


async def currencies(world: World, *callbacks: int) -> list[str | None]:
    """The one option of PrintStudio that each of these was read with."""
    found = []
    for number in callbacks:
        told = (await explained(world, f"cb_{number}"))[f"cb_{number}"]
        assert (told["provider"], told["version"]) == ("printstudio", OURS)
        found.append(told["options"]["currency"])
    return found


def count(world: World, source: str) -> int:
    return int(world.rows("SELECT count(*) FROM mappings WHERE source = ?", source)[0][0])


def test_each_callback_is_told_with_the_options_of_its_time(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await done(world, "POST", "", BERLIN)
        for number, currency in enumerate((None, "EUR", "USD", None)):
            await asyncio.sleep(0.002)  # times are whole milliseconds
            await done(world, "PATCH", "/berlin", {"currency": currency})
            assert await call(world, number) == 200
        assert await currencies(world, 1, 2, 3, 4) == [None, "EUR", "USD", None]
        assert count(world, "berlin") == 4
        # What does not change how it is read is no news.
        await done(world, "PATCH", "/berlin", {"shop": "b", "secrets": ["first-secret", "x"]})
        await done(world, "PATCH", "/berlin", {"enabled": False})
        await done(world, "PATCH", "/berlin", {"enabled": True})
        assert count(world, "berlin") == 4
        # One that rested was read by nothing.
        await asyncio.sleep(0.002)
        await done(world, "PATCH", "/berlin", {"enabled": False, "currency": "CHF"})
        await done(world, "PATCH", "/berlin", {"currency": "NOK"})
        assert count(world, "berlin") == 4
        await done(world, "PATCH", "/berlin", {"enabled": True})
        assert await call(world, 9) == 200
        assert await currencies(world, 4, 5) == [None, "NOK"]
        assert count(world, "berlin") == 5

    play(tmp_path, story)


def test_over_restarts_a_new_one_begins_where_something_was_changed(tmp_path: Path) -> None:
    declared = '[sources.b]\nprovider = "printstudio"\nsecrets = ["first-secret"]\n'
    since: list[object] = []

    async def story(world: World) -> None:
        ((number,),) = world.rows("SELECT coalesce(max(id), 0) FROM callbacks")
        assert await call(world, number, source="b") == 200
        told = (await explained(world, f"cb_{number + 1}"))[f"cb_{number + 1}"]
        since.append(told["since"])

    play(tmp_path, story, sources=declared)
    play(tmp_path, story, sources=declared)
    play(tmp_path, story, sources=f'{declared}currency = "EUR"\n')
    play(tmp_path, story, sources=f'{declared}currency = "EUR"\nshop = "south"\n')

    async def end(world: World) -> None:
        assert await currencies(world, 1, 2, 3, 4) == [None, None, "EUR", "EUR"]
        assert count(world, "b") == 2
        # The source is not there any more, and what it was read by is still known.
        rows = world.rows("SELECT since FROM mappings WHERE source = 'b' ORDER BY id")
        assert [time_text(one) for (one,) in rows] == sorted(set(map(str, since)))

    play(tmp_path, end)


def test_another_release_of_a_provider_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def make(world: World) -> None:
        await done(world, "POST", "", INK)
        assert await call(world, 1, source="ink") == 200

    async def again(world: World) -> None:
        assert await call(world, 2, source="ink") == 200
        found = [(await explained(world, f"cb_{number}"))[f"cb_{number}"] for number in (1, 2)]
        assert [one["version"] for one in found] == ["ink 2.1", "ink 3.0"]
        assert {one["provider"] for one in found} == {"ink"}
        assert found[0]["options"] == {"currency": None, "colour": "red"}

    with monkeypatch.context() as patch:
        patch.syspath_prepend(plugin(tmp_path / "one"))
        play(tmp_path, make)
    newer = plugin(tmp_path / "two")
    metadata = newer / "ink-2.1.dist-info" / "METADATA"
    metadata.write_text(
        metadata.read_text().replace("2.1\n", "3.0\n").replace(": 3.0\nN", ": 2.1\nN")
    )
    monkeypatch.syspath_prepend(newer)
    play(tmp_path, again)


def test_what_was_read_again_was_read_by_what_is_there_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def retry(world: World, number: int) -> str:
        url = f"{world.control}/v1/callbacks/cb_{number}/retry"
        return str((await world.client.post(url)).json()["verdict"])

    async def colours(world: World) -> list[str]:
        return [
            (await explained(world, f"cb_{number}"))[f"cb_{number}"]["options"]["colour"]
            for number in (1, 2, 3)
        ]

    async def story(world: World) -> None:
        await done(world, "POST", "", {**INK, "colour": "grey"})
        for number in (1, 2, 3):
            assert await call(world, number, source="ink") == 202
        assert await colours(world) == ["grey"] * 3
        await asyncio.sleep(0.002)
        await done(world, "PATCH", "/ink", {"colour": "blue"})
        assert await colours(world) == ["grey"] * 3
        assert await retry(world, 1) == "event"
        assert await colours(world) == ["blue", "grey", "grey"]
        # A dry run reads it, and leaves it as it was.
        url = f"{world.control}/v1/callbacks/cb_2/retry?dry_run=true"
        assert (await world.client.post(url)).json()["verdict"] == "event"
        assert await colours(world) == ["blue", "grey", "grey"]
        assert await call(world, 2, source="ink") == 200  # its provider sends it once more
        assert await colours(world) == ["blue", "blue", "grey"]
        await asyncio.sleep(0.002)
        await done(world, "PATCH", "/ink", {"colour": "green"})
        assert await colours(world) == ["blue", "blue", "grey"]
        assert await call(world, 1, source="ink") == 200  # a repeat is not read again
        assert await colours(world) == ["blue", "blue", "grey"]

    monkeypatch.syspath_prepend(plugin(tmp_path / "one"))
    play(tmp_path, story)


def test_the_story_of_an_order_has_those_of_all_its_sources(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await done(world, "POST", "", {**BERLIN, "currency": "EUR"})
        for kind in ("order.created", "order.shipped"):
            response = await world.shop(shop_event(kind, kind, order="ord-7", status="shipped"))
            assert response.status_code == 200, response.text
        assert await call(world, 7) == 200
        found = await explained(world, "ord-7")
        assert {name: one["options"]["currency"] for name, one in found.items()} == {
            "cb_1": None,
            "cb_2": None,
            "cb_3": "EUR",
        }
        ((event,),) = world.rows("SELECT event_id FROM events ORDER BY id LIMIT 1")
        assert (await explained(world, event)).keys() <= found.keys()

    play(tmp_path, story)


@pytest.mark.slow
def test_what_was_polled_is_told_too(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        api = new_api()
        async with serving(api):
            await done(world, "POST", "", polled_keys(api, interval="1s"))
            await world.until(lambda: world.rows("SELECT 1 FROM polls WHERE listed"))
            number = api.place()

            def callbacks() -> list[int]:
                return [one for (one,) in world.rows("SELECT id FROM callbacks ORDER BY id")]

            await world.until(lambda: len(callbacks()) == 1)
            await done(world, "PATCH", "/ps", {"currency": "EUR"})
            api.move(number, "printing")
            await world.until(lambda: len(callbacks()) >= 2)
            api.move(number, "shipped")
            await world.until(lambda: len(callbacks()) >= 3)
            first, *_, last = callbacks()
            assert await currencies(world, first, last) == [None, "EUR"]
            await done(world, "DELETE", "/ps")

    play(tmp_path, story)
