"""The silence of sources that are made, changed and removed while the gateway listens."""

from pathlib import Path

import pytest

from tests.pipeline.test_source_events import Sky, sky  # noqa: F401 - a fixture
from tests.pipeline.test_sourcing import BERLIN, SECOND, call, done, play
from tests.pipeline.world import World

SILENT = "SELECT count(*) FROM events WHERE type = 'gateway.source.silent'"


async def passed(world: World, sky: Sky, seconds: int) -> int:  # noqa: F811
    """Let time pass, and look often enough; how many silences were told until then."""
    await world.without_janitor()  # two looks at the same moment would tell one silence twice
    for _ in range(seconds // 20):
        sky.ahead += 20_000
        await world.gateway.lookout.look()
    ((count,),) = world.rows(SILENT)
    return int(count)


def test_silence_counts_from_its_making_and_anew_when_it_is_made_again(
    tmp_path: Path,
    sky: Sky,  # noqa: F811
) -> None:
    made = {**BERLIN, "silent_after": "2m"}

    async def story(world: World) -> None:
        assert await passed(world, sky, 600) == 0
        await done(world, "POST", "", made)
        assert await passed(world, sky, 100) == 0
        assert await passed(world, sky, 40) == 1
        assert (await done(world, "GET", "/berlin"))["silent_since"] is not None
        assert await passed(world, sky, 600) == 1  # once
        await done(world, "DELETE", "/berlin")
        assert await passed(world, sky, 600) == 1
        await done(world, "POST", "", made)
        assert (await done(world, "GET", "/berlin"))["silent_since"] is None
        assert await passed(world, sky, 100) == 1
        assert await passed(world, sky, 40) == 2

    async def after(world: World) -> None:
        assert await passed(world, sky, 600) == 2  # a restart does not tell it again
        assert await call(world, 1) == 200
        assert await passed(world, sky, 100) == 2
        assert await passed(world, sky, 40) == 3

    play(tmp_path, story)
    play(tmp_path, after)


def test_a_source_that_rested_is_listened_to_anew(
    tmp_path: Path,
    sky: Sky,  # noqa: F811
) -> None:
    async def story(world: World) -> None:
        await done(world, "POST", "", {**BERLIN, "silent_after": "2m"})
        assert await passed(world, sky, 100) == 0
        await done(world, "PATCH", "/berlin", {"shop": "b"})  # is no news of it
        assert await passed(world, sky, 40) == 1
        await done(world, "PATCH", "/berlin", {"enabled": False})
        assert await passed(world, sky, 600) == 1
        await done(world, "PATCH", "/berlin", {"enabled": True})
        assert await passed(world, sky, 100) == 1
        assert await passed(world, sky, 40) == 2
        await done(world, "PATCH", "/berlin", {"silent_after": None})
        assert await passed(world, sky, 600) == 2
        await done(world, "PATCH", "/berlin", {"silent_after": "1m"})
        assert await passed(world, sky, 80) == 3

    play(tmp_path, story)


def test_what_was_refused_is_not_told_of_another_source_of_the_name(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await done(world, "POST", "", BERLIN)
        for number in range(5):
            assert await call(world, number, secret=SECOND) == 401
        assert (await done(world, "GET", "/berlin"))["rejected"] == 5
        await done(world, "DELETE", "/berlin")
        made = await done(world, "POST", "", BERLIN)
        assert (made["rejected"], made["rejected_reason"]) == (0, None)

    play(tmp_path, story)


@pytest.mark.parametrize("keys", [{"shop": "b"}, {"secrets": [SECOND]}])
def test_a_change_does_not_hide_what_was_refused(tmp_path: Path, keys: dict[str, object]) -> None:
    async def story(world: World) -> None:
        await done(world, "POST", "", BERLIN)
        assert await call(world, 1, secret="wrong") == 401
        assert (await done(world, "PATCH", "/berlin", keys))["rejected"] == 1

    play(tmp_path, story)
