"""Sources that are made, changed and removed while the gateway runs: what is taken, and what is not."""

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.pipeline.world import World, configuration, consuming, running, shop_event

PATH = "/v1/sources"
FIRST, SECOND = "first-secret", "second-secret"
BERLIN: Mapping[str, Any] = {"name": "berlin", "provider": "printstudio", "secrets": [FIRST]}


def play(
    folder: Path, story: Callable[[World], Awaitable[None]], *, sources: str = "", more: str = ""
) -> None:
    async def whole() -> None:
        async with consuming() as consumer:
            text = configuration(consumer.port, subscriptions=more, sources=sources)
            async with running(folder, consumer, text) as world:
                await story(world)

    asyncio.run(whole())


async def ask(
    world: World, method: str, path: str = "", body: object = None, **headers: str
) -> httpx2.Response:
    """At the control socket, as the owner."""
    return await world.client.request(
        method, f"{world.control}{PATH}{path}", json=body, headers=headers
    )


async def done(world: World, method: str, path: str = "", body: object = None) -> Any:
    response = await ask(world, method, path, body)
    assert response.is_success, response.text
    return response.json() if response.content else None


async def call(world: World, number: int | str, source: str = "berlin", secret: str = FIRST) -> int:
    """The status that a callback of the source is answered with."""
    body = json.dumps(shop_event(number, order=f"ord-{number}")).encode()
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {"x-printstudio-signature": f"sha256={signature}"}
    return (await world.post(source, body, headers)).status_code


def known(world: World) -> set[str]:
    """The made sources, which are the same ones wherever they are known."""
    kept = {name for (name,) in world.rows("SELECT name FROM made_sources")}
    sources = world.gateway.sources.all
    assert {name for name, one in sources.items() if not one.declared} == kept
    return kept


def test_callbacks_are_taken_from_its_making_to_its_end(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        assert await call(world, 0) == 404
        await done(world, "POST", "", BERLIN)
        assert await call(world, 1) == 200
        assert await call(world, 2, secret=SECOND) == 401
        (seen,) = await world.delivered(1)
        assert seen.event["subject"] == "ord-1"
        await done(world, "DELETE", "/berlin")
        assert await call(world, 3) == 404
        await done(world, "POST", "", {**BERLIN, "secrets": [SECOND]})
        assert await call(world, 4) == 401
        assert await call(world, 5, secret=SECOND) == 200
        await world.delivered(2)
        assert known(world) == {"berlin"}
        # What came of the first one stays: this is a repeat.
        assert await call(world, 1, secret=SECOND) == 200
        assert world.rows("SELECT count(*) FROM callbacks") == [(2,)]

    play(tmp_path, story)


def test_other_secrets_hold_from_their_answer_on(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await done(world, "POST", "", BERLIN)
        for number, (secrets, taken) in enumerate(
            (
                ([FIRST], {FIRST}),
                ([FIRST, SECOND], {FIRST, SECOND}),
                ([SECOND], {SECOND}),
                (FIRST, {FIRST}),
            )
        ):
            await done(world, "PATCH", "/berlin", {"secrets": secrets})
            for secret in (FIRST, SECOND):
                status = await call(world, f"{number}-{secret}", secret=secret)
                assert status == (200 if secret in taken else 401)
        await done(world, "PATCH", "/berlin", {"enabled": False})
        assert await call(world, "off") == 404
        await done(world, "PATCH", "/berlin", {"enabled": True, "rejection_status": 404})
        assert await call(world, "on") == 200
        assert await call(world, "wrong", secret=SECOND) == 404

    play(tmp_path, story)


def test_its_shop_and_options_hold_from_their_answer_on(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await done(world, "POST", "", BERLIN)
        assert await call(world, 1) == 200
        await done(world, "PATCH", "/berlin", {"shop": "south", "include": ["original"]})
        assert await call(world, 2) == 200
        first, second = await world.delivered(2)
        rows = world.rows("SELECT shop FROM callbacks ORDER BY id")
        assert rows == [("default",), ("south",)]
        assert "original" not in json.dumps(first.event)
        assert "original" in json.dumps(second.event)

    play(tmp_path, story)


def test_they_are_there_again_after_a_restart(tmp_path: Path) -> None:
    async def first(world: World) -> None:
        for name in ("b", "a"):
            await done(world, "POST", "", {**BERLIN, "name": name})
        await done(world, "PATCH", "/b", {"secrets": [SECOND], "currency": "EUR"})
        await done(world, "POST", "", {**BERLIN, "name": "gone"})
        await done(world, "DELETE", "/gone")
        tags.append((await ask(world, "GET", "/b")).headers["etag"])

    async def second(world: World) -> None:
        listed = (await done(world, "GET"))["data"]
        assert [one["name"] for one in listed] == ["shop", "stripe", "b", "a"]
        assert listed[2]["keys"]["currency"] == "EUR"
        assert await call(world, 1, source="b", secret=SECOND) == 200
        assert await call(world, 2, source="a") == 200
        assert await call(world, 3, source="gone") == 404
        assert (await ask(world, "GET", "/b")).headers["etag"] == tags[0]
        assert known(world) == {"a", "b"}

    tags: list[str] = []
    play(tmp_path, first)
    play(tmp_path, second)


def test_the_file_wins_for_as_long_as_it_has_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    declared = f'[sources.berlin]\nprovider = "printstudio"\nsecrets = ["{SECOND}"]\n'

    async def make(world: World) -> None:
        await done(world, "POST", "", BERLIN)

    async def hidden(world: World) -> None:
        assert (await done(world, "GET", "/berlin"))["declared"] is True
        assert await call(world, 1) == 401
        assert await call(world, 1, secret=SECOND) == 200
        for method, path, body in (
            ("POST", "", BERLIN),
            ("PATCH", "/berlin", {"shop": "b"}),
            ("DELETE", "/berlin", None),
        ):
            assert (await ask(world, method, path, body)).status_code == 409
        await done(world, "POST", "", {**BERLIN, "name": "other"})

    async def back(world: World) -> None:
        assert (await done(world, "GET", "/berlin"))["declared"] is False
        assert await call(world, 2) == 200
        assert await call(world, 3, secret=SECOND) == 401
        assert known(world) == {"berlin", "other"}

    play(tmp_path, make)
    with caplog.at_level(logging.WARNING):
        play(tmp_path, hidden, sources=declared)
    (line,) = [one for one in caplog.messages if "berlin" in one and "rests" in one]
    assert "stands in the configuration" in line
    play(tmp_path, back)


PLUGIN = """
import json
from gateway.errors import Malformed
from gateway.providers.printstudio import PrintStudio, PrintStudioOptions

class Options(PrintStudioOptions, frozen=True, kw_only=True):
    colour: str | None = None
    {more}

class Ink(PrintStudio):
    name = "ink"
    Options = Options
    def __init__(self, options):
        {check}
        self._colour = options.colour
        super().__init__(options)

    def normalize(self, callback):
        if self._colour == "grey":
            raise Malformed("it is all grey", event_id=json.loads(callback.body)["id"])
        return super().normalize(callback)
"""


def plugin(folder: Path, *, more: str = "", check: str = "pass") -> Path:
    """A folder of installed packages with the provider `ink`."""
    about = folder / "ink-2.1.dist-info"
    about.mkdir(parents=True, exist_ok=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: ink\nVersion: 2.1\n")
    module = "ink_" + hashlib.sha256(str(folder).encode()).hexdigest()
    (about / "entry_points.txt").write_text(f"[gateway.providers]\nink = {module}:Ink\n")
    (folder / f"{module}.py").write_text(PLUGIN.format(more=more, check=check))
    return folder


INK = {"name": "ink", "provider": "ink", "secrets": [FIRST], "colour": "red"}


async def make_ink(world: World) -> None:
    await done(world, "POST", "", INK)
    await done(world, "POST", "", BERLIN)
    assert await call(world, 1, source="ink") == 200


def resting(world: World, caplog: pytest.LogCaptureFixture) -> str:
    """The one sentence about the source that rests, which the API has too."""
    (line,) = [one for one in caplog.messages if one.startswith("source ink rests")]
    problem = world.gateway.sources.find("ink").problem
    assert line == f"source ink rests: {problem}"
    assert FIRST not in line
    return str(problem)


@pytest.mark.parametrize("end", ["mended", "removed", "replaced"])
def test_a_provider_that_is_gone_lets_its_source_rest(
    tmp_path: Path,
    end: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def rests(world: World) -> None:
        assert resting(world, caplog).startswith("sources.ink.provider: there is no provider 'ink'")
        assert await call(world, 2, source="ink") == 404
        assert await call(world, 3) == 200
        one = await done(world, "GET", "/ink")
        assert (one["provider"], one["enabled"], one["kind"]) == ("ink", False, "none")
        assert one["keys"] == {"provider": "ink", "colour": "red"}
        response = await ask(world, "PATCH", "/ink", {"shop": "b"})
        assert response.status_code == 400
        assert response.json()["detail"].startswith("provider: there is no provider 'ink'")
        assert (await ask(world, "POST", "", INK)).status_code == 409
        if end == "removed":
            await done(world, "DELETE", "/ink")
            assert known(world) == {"berlin"}
        elif end == "mended":
            body = {"provider": "printstudio", "colour": None}
            mended = await done(world, "PATCH", "/ink", body)
            assert (mended["problem"], mended["enabled"]) == (None, True)
            assert await call(world, 4, source="ink") == 200

    async def back(world: World) -> None:
        assert await call(world, 5, source="ink") == 200

    with monkeypatch.context() as patch:
        patch.syspath_prepend(plugin(tmp_path / "one"))
        play(tmp_path, make_ink)
    play(tmp_path, rests)
    if end == "replaced":  # the package is there again
        monkeypatch.syspath_prepend(tmp_path / "one")
        play(tmp_path, back)


@pytest.mark.parametrize(
    ("release", "said"),
    [
        ({"more": "colour: bool = False"}, "sources.ink.colour: expected true or false"),
        ({"check": "raise ValueError(options.colour)"}, "it met a bug: ValueError('red')"),
        ({"more": "def __post_init__(self): {}['x']"}, "it met a bug: KeyError('x')"),
    ],
)
def test_keys_that_do_not_fit_any_more_let_their_source_rest(
    tmp_path: Path,
    release: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def rests(world: World) -> None:
        assert said in resting(world, caplog)
        assert await call(world, 2, source="ink") == 404
        assert await call(world, 3) == 200
        # Nothing that its provider cannot work with is made either, whatever it meets.
        response = await ask(world, "POST", "", {**INK, "name": "more"})
        assert response.status_code == 400, response.text
        assert known(world) == {"berlin", "ink"}
        await done(world, "PATCH", "/berlin", {"shop": "b"})
        await done(world, "DELETE", "/ink")
        assert known(world) == {"berlin"}

    with monkeypatch.context() as patch:
        patch.syspath_prepend(plugin(tmp_path / "one"))
        play(tmp_path, make_ink)
    monkeypatch.syspath_prepend(plugin(tmp_path / "two", **release))
    play(tmp_path, rests)


def test_a_name_that_is_none_any_more_lets_its_source_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def make(world: World) -> None:
        await done(world, "POST", "", {**BERLIN, "name": "ink"})

    async def rests(world: World) -> None:
        assert "the gateway's own name" in resting(world, caplog)
        assert (await done(world, "GET", "/ink"))["keys"] == {"provider": "printstudio"}

    play(tmp_path, make)
    monkeypatch.setattr("gateway.config.source.RESERVED", {"ink"})
    play(tmp_path, rests)


@pytest.mark.slow
def test_many_changes_at_once_end_alike_everywhere(tmp_path: Path) -> None:
    names = [f"s{number}" for number in range(10)]

    async def story(world: World) -> None:
        work: list[tuple[str, str, object]] = []
        for name in names:
            work.append(("POST", "", {**BERLIN, "name": name}))
            work.append(("PATCH", f"/{name}", {"secrets": [SECOND], "shop": "b"}))
            work.append(("DELETE", f"/{name}", None))
        for _ in range(3):
            answers = await asyncio.gather(*(ask(world, *one) for one in work))
            assert {one.status_code for one in answers} <= {200, 201, 204, 404, 409}
            there = known(world)
            for name in names:
                secret = SECOND if shops(world).get(name) == "b" else FIRST
                status = await call(world, f"{name}-x", source=name, secret=secret)
                assert status == (200 if name in there else 404)
        await asyncio.gather(*(ask(world, "DELETE", f"/{name}") for name in names))
        assert known(world) == set()

    def shops(world: World) -> dict[str, str]:
        found = world.gateway.sources.all.items()
        return {name: one.settings.shop for name, one in found if one.settings is not None}

    play(tmp_path, story)


@pytest.mark.slow
def test_callbacks_that_come_meanwhile_are_taken_or_refused_but_never_lost(tmp_path: Path) -> None:
    """While the source is changed all the time, each is read by what was there."""

    async def story(world: World) -> None:
        await done(world, "POST", "", BERLIN)
        over = False

        async def changing() -> int:
            count = 0
            while not over:
                count += 1
                await done(world, "PATCH", "/berlin", {"shop": f"s{count}"})
            return count

        task = asyncio.create_task(changing())
        statuses = [await call(world, number) for number in range(60)]
        over = True
        assert await task > 3
        assert statuses == [200] * 60
        assert world.rows("SELECT count(DISTINCT shop) > 1 FROM callbacks") == [(1,)]

    play(tmp_path, story)


def test_who_goes_away_does_not_leave_half_a_change(tmp_path: Path) -> None:
    keys = {"provider": "printstudio", "secrets": [FIRST]}

    async def story(world: World) -> None:
        sources = world.gateway.sources
        await sources.create("last", dict(keys))
        for steps in range(8):
            work = asyncio.create_task(sources.create(f"s{steps}", dict(keys)))
            for _ in range(steps):
                await asyncio.sleep(0)
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await sources.change("last", {"shop": f"s{steps}"}, lambda _: None)
            name = f"s{steps}"
            assert (name in sources.all) == (name in known(world))
            assert (await call(world, steps, source=name)) == (200 if name in known(world) else 404)
        assert len(known(world)) > 4

    play(tmp_path, story)
