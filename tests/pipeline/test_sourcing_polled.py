"""Sources that are asked: made, changed and removed while their rounds are under way."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.egress.client import ApiClient
from gateway.poller.source import SourcePoller
from tests.pipeline.polling import grumbles
from tests.pipeline.test_sourcing import PATH, ask, done, known
from tests.pipeline.world import World, configuration, consuming, running
from tests.simulators.api import Api, serving, silence
from tests.simulators.printstudio import KEY, LIMITS, PrintStudioApi

pytestmark = pytest.mark.slow

OTHER_KEY = "ps-other-key"
Story = Callable[[World, PrintStudioApi], Awaitable[None]]


def play(folder: Path, story: Story) -> None:
    async def whole() -> None:
        api = new_api()
        async with (
            serving(api),
            consuming() as consumer,
            running(folder, consumer, configuration(consumer.port)) as world,
        ):
            await asyncio.sleep(0.05)  # until all of them have begun
            before = ours()
            await story(world, api)
            for name in known(world):
                await done(world, "DELETE", f"/{name}")
            await world.until(lambda: ours() == before)
            assert world.gateway.poller._by_hand == {}

    asyncio.run(whole())


def new_api() -> PrintStudioApi:
    api = PrintStudioApi()
    api.keys.update({KEY: "admin", OTHER_KEY: "admin"})
    return api


@pytest.fixture(autouse=True)
def _unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, "admin", 1_000_000)


def ours() -> Counter[str]:
    """What the gateway's own tasks do."""
    work: Any = [task.get_coro() for task in asyncio.all_tasks() if not task.done()]
    return Counter(one.__qualname__ for one in work if "/gateway/" in one.cr_code.co_filename)


def polling() -> list[str]:
    """The sources that have a task."""
    names = [task.get_name() for task in asyncio.all_tasks() if not task.done()]
    return sorted(
        name.removeprefix("poller of ") for name in names if name.startswith("poller of ")
    )


def keys(api: Api, **more: object) -> dict[str, object]:
    made = {"name": "ps", "provider": "printstudio", "base_url": api.url, "token": KEY}
    return made | {"interval": "1d", "requests_per_minute": 10_000} | more


def poller(world: World) -> SourcePoller:
    return world.gateway.poller.source("ps")


def is_closed(source: SourcePoller) -> bool:
    client: ApiClient = source.asker._client
    return client._client.is_closed


def tokens(api: Api) -> set[str]:
    """Of the requests that were made since the last look."""
    seen = {request.headers["x-api-key"] for request in api.requests}
    api.requests.clear()
    return seen


async def asked(world: World, api: Api, count: int = 1) -> None:
    """Wait until the API was asked so often, and the source rests."""
    await world.until(lambda: len(api.requests) >= count)
    await asyncio.sleep(0.02)
    await world.until(lambda: not poller(world).lock.locked())


def told(world: World, order: str) -> list[str]:
    rows = world.rows("SELECT type FROM events WHERE order_id = ? ORDER BY id", order)
    return [kind for (kind,) in rows]


def test_it_is_asked_right_after_its_making_and_no_more_after_its_end(tmp_path: Path) -> None:
    async def story(world: World, api: PrintStudioApi) -> None:
        assert polling() == []
        made = await done(world, "POST", "", keys(api, interval="1s"))
        assert (made["kind"], made["asking"]["host"]) == ("polled", f"127.0.0.1:{api.port}")
        await asked(world, api)
        number = api.place()
        await world.until(lambda: told(world, number) == ["order.created"])
        source = poller(world)
        await done(world, "DELETE", "/ps")
        assert polling() == []
        assert is_closed(source)
        assert source.source.name not in world.gateway.poller._sources
        api.requests.clear()
        api.move(number, "printing")
        await asyncio.sleep(1.3)
        assert api.requests == []
        assert (await ask(world, "POST", "/ps/poll")).status_code == 404
        # Made again, it goes on where it was, and at once, whatever its interval is.
        await done(world, "POST", "", keys(api))
        await world.until(lambda: "order.printing" in told(world, number))
        assert told(world, number).count("order.created") == 1

    play(tmp_path, story)


def test_its_changes_take_effect_at_once(tmp_path: Path) -> None:
    async def story(world: World, api: PrintStudioApi) -> None:
        await done(world, "POST", "", keys(api))
        await asked(world, api)
        assert tokens(api) == {KEY}
        first = poller(world)
        # What it is not asked with leaves it alone.
        await done(world, "PATCH", "/ps", {"tolerance": "1m", "rejection_status": 404})
        assert poller(world) is first
        await done(world, "PATCH", "/ps", {"token": OTHER_KEY})
        assert is_closed(first)
        await asked(world, api)
        assert tokens(api) == {OTHER_KEY}
        async with serving(new_api()) as other:
            await done(world, "PATCH", "/ps", {"base_url": other.url, "token": OTHER_KEY})
            await asked(world, other)
            assert api.requests == []
            await done(world, "PATCH", "/ps", {"interval": "1s"})
            other.requests.clear()
            await asked(world, other, 3)  # of the next rounds, one a second
            await done(world, "PATCH", "/ps", {"enabled": False})
            assert polling() == []
            other.requests.clear()
            await asyncio.sleep(1.3)
            assert other.requests == []
            await done(world, "PATCH", "/ps", {"enabled": True, "interval": "1d"})
            await asked(world, other)
        # From the API to callbacks, and back.
        await done(
            world,
            "PATCH",
            "/ps",
            {"base_url": None, "token": None, "interval": None}
            | {"requests_per_minute": None, "secrets": ["s"]},
        )
        assert polling() == []
        assert (await done(world, "GET", "/ps"))["kind"] == "called"
        await done(world, "PATCH", "/ps", {"base_url": api.url, "token": KEY})
        assert polling() == ["ps"]
        assert (await done(world, "GET", "/ps"))["kind"] == "both"

    play(tmp_path, story)


def test_another_token_lifts_a_refusal(tmp_path: Path) -> None:
    async def story(world: World, api: PrintStudioApi) -> None:
        await done(world, "POST", "", keys(api, token="wrong"))

        async def refused() -> str | None:
            asking = (await done(world, "GET", "/ps"))["asking"]
            return None if asking is None else asking["refused"]

        for _ in range(200):
            if await refused():
                break
            await asyncio.sleep(0.02)
        assert await refused()
        api.requests.clear()
        await done(world, "PATCH", "/ps", {"token": KEY})
        await asked(world, api)
        number = api.place()
        await done(world, "PATCH", "/ps", {"interval": "1s"})
        await world.until(lambda: told(world, number) != [])
        assert await refused() is None

    play(tmp_path, story)


def test_a_round_that_hangs_does_not_hold_up_a_change(tmp_path: Path) -> None:
    async def story(world: World, api: PrintStudioApi) -> None:
        api.broken = silence
        await done(world, "POST", "", keys(api))
        await world.until(lambda: len(api.requests) == 1)
        source = poller(world)
        assert source.lock.locked()
        async with asyncio.timeout(15):
            await done(world, "PATCH", "/ps", {"shop": "b"})
        assert not source.lock.locked()
        assert is_closed(source)
        await world.until(lambda: len(api.requests) == 2)
        async with asyncio.timeout(15):
            await done(world, "DELETE", "/ps")
        assert polling() == []
        await world.until(lambda: world.gateway.asking.connections == 0)

    play(tmp_path, story)


async def follow(world: World, path: str) -> tuple[int, list[dict[str, Any]]]:
    """A call that tells line by line, to its end."""
    answer = await world.client.post(f"{world.control}{PATH}/ps/{path}", timeout=20)
    return answer.status_code, [json.loads(line) for line in answer.text.splitlines()]


CHANGES = [("PATCH", {"shop": "b"}), ("DELETE", None)]


@pytest.mark.parametrize(("method", "body"), CHANGES)
@pytest.mark.parametrize("path", ["poll", "reconcile", "reconcile?emit=true"])
def test_what_is_asked_by_hand_ends_in_words(
    tmp_path: Path, path: str, method: str, body: object, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(world: World, api: PrintStudioApi) -> None:
        await done(world, "POST", "", keys(api))
        await asked(world, api)
        for _ in range(3):
            api.place()
        api.requests.clear()
        if path == "poll":
            api.broken = silence
        else:
            api.faults.extend([answering, answering, silence])
        following = asyncio.create_task(follow(world, path))
        await world.until(lambda: len(api.requests) >= (1 if path == "poll" else 3))
        api.broken = None
        await done(world, method, "/ps", body)
        status, lines = await following
        assert status == 200
        assert lines[-1] == {"error": "source ps was changed or removed meanwhile: ask it again"}
        if path != "poll":
            assert [*lines[0]] == ["listed"]
        if method == "PATCH":
            status, lines = await follow(world, path)
            assert "error" not in lines[-1]

        assert [one for one in grumbles(caplog) if "bug" in one] == []

    async def answering(writer: asyncio.StreamWriter) -> None:
        """As if there was no fault."""
        request = apis[0].requests[-1]
        response = apis[0].answer(request)
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(response.body)}"
        writer.write(f"{head}\r\n\r\n".encode() + response.body)
        await writer.drain()

    apis: list[PrintStudioApi] = []

    async def with_api(world: World, api: PrintStudioApi) -> None:
        apis.append(api)
        await story(world, api)

    with caplog.at_level(logging.WARNING):
        play(tmp_path, with_api)


def test_a_reader_who_is_slow_does_not_go_on_with_what_was_before(tmp_path: Path) -> None:
    """Between two lines of a reconciliation, too."""

    async def story(world: World, api: PrintStudioApi) -> None:
        for _ in range(3):
            api.place()
        await done(world, "POST", "", keys(api))
        await asked(world, api)
        lines = world.gateway.poller.reconcile("ps", since=None, emit=False)
        assert "listed" in await anext(lines)
        assert "compared" in await anext(lines)
        source = poller(world)
        await done(world, "PATCH", "/ps", {"token": OTHER_KEY})
        await asked(world, api)
        tokens(api)
        assert await anext(lines) == {
            "error": "source ps was changed or removed meanwhile: ask it again"
        }
        assert [line async for line in lines] == []
        assert not source.lock.locked()
        assert tokens(api) <= {OTHER_KEY}

    play(tmp_path, story)


def test_a_reader_who_goes_away_ends_what_was_asked_for(tmp_path: Path) -> None:
    async def story(world: World, api: PrintStudioApi) -> None:
        for _ in range(3):
            api.place()
        await done(world, "POST", "", keys(api))
        await asked(world, api)
        for lines in (
            world.gateway.poller.reconcile("ps", since=None, emit=False),
            world.gateway.poller.once("ps"),
        ):
            await anext(lines)
            await lines.aclose()  # type: ignore[attr-defined]
            await world.until(lambda: not poller(world).lock.locked())
            assert world.gateway.poller._by_hand == {}

    play(tmp_path, story)


def test_many_changes_at_once_leave_one_task_a_source(tmp_path: Path) -> None:
    names = [f"s{number}" for number in range(10)]

    async def story(world: World, api: PrintStudioApi) -> None:
        for _ in range(5):
            api.place()
        work: list[tuple[str, str, object]] = []
        for name in names:
            work.append(("POST", "", keys(api, name=name, interval="1s")))
            work.append(("PATCH", f"/{name}", {"token": OTHER_KEY}))
            work.append(("DELETE", f"/{name}", None))
        for _ in range(3):
            answers = await asyncio.gather(*(ask(world, *one) for one in work))
            assert {one.status_code for one in answers} <= {200, 201, 204, 404, 409}
            assert polling() == sorted(known(world)) == sorted(world.gateway.poller._sources)
        answers = await asyncio.gather(
            *(ask(world, "POST", "", keys(api, name=name)) for name in names)
        )
        assert polling() == sorted(names)
        assert len(world.gateway.running) == 6 + len(names)
        await asyncio.gather(*(ask(world, "DELETE", f"/{name}") for name in names))
        assert polling() == []
        assert len(world.gateway.running) == 6
        assert world.gateway.poller._tasks == {}

    play(tmp_path, story)


def test_what_a_change_interrupts_is_told_once(tmp_path: Path) -> None:
    """Whatever moment of a round or of its commit it meets."""

    async def story(world: World, api: PrintStudioApi) -> None:
        await done(world, "POST", "", keys(api, interval="1s"))
        await asked(world, api)
        numbers = []
        for turn in range(12):
            numbers.append(api.place())
            await asyncio.sleep(0.003 * turn)
            await done(world, "PATCH", "/ps", {"interval": f"{1 + turn % 2}s"})
        await world.until(lambda: all(told(world, number) for number in numbers))
        for number in numbers:
            assert told(world, number).count("order.created") == 1
        assert world.rows("SELECT count(*) FROM polls") == [(1,)]

    play(tmp_path, story)


def test_it_is_there_and_asked_after_a_restart(tmp_path: Path) -> None:
    async def whole() -> None:
        api = new_api()
        async with serving(api), consuming() as consumer:
            text = configuration(consumer.port)
            async with running(tmp_path, consumer, text) as world:
                await done(world, "POST", "", keys(api, interval="1s"))
                await asked(world, api)
            assert polling() == []
            number = api.place()
            async with running(tmp_path, consumer, text) as world:
                await world.until(lambda: told(world, number) != [])
                assert polling() == ["ps"]
            assert polling() == []

    asyncio.run(whole())
