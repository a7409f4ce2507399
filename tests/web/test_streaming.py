"""Server-sent events: what a reader gets, where it goes on, and when its stream ends."""

import asyncio
import io
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway import runtime
from gateway.asgi import application
from gateway.keys import Role
from gateway.models import Millis
from gateway.runtime import wall_clock
from gateway.telemetry.logs import configure
from gateway.telemetry.redaction import HidingKeys, without_keys
from gateway.web.api import streaming
from gateway.web.api.operation import Door
from tests.pipeline.world import shop_event
from tests.web.test_api import Caller, play
from tests.web.test_pulling import orders, until


class Reader:
    """One stream: its lines as they come, and the events in them."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response, self.lines = response, response.aiter_lines()
        self.last = ""

    async def line(self) -> str:
        return await asyncio.wait_for(anext(self.lines), 30)

    async def event(self) -> dict[str, Any]:
        """The next one; comments and blank lines are passed by."""
        while True:
            line = await self.line()
            if line.startswith("id: "):
                self.last = line.removeprefix("id: ")
            if line.startswith("data: "):
                found: dict[str, Any] = json.loads(line.removeprefix("data: "))
                return found

    async def orders(self, count: int) -> list[str]:
        return [(await self.event())["subject"] for _ in range(count)]

    async def ended(self) -> None:
        async for _ in self.lines:
            pass


@asynccontextmanager
async def streaming_from(
    caller: Caller,
    query: str = "",
    *,
    role: Role = Role.READER,
    door: Door = Door.ADMIN,
    headers: dict[str, str] | None = None,
) -> AsyncIterator[Reader]:
    base = caller.world.public if door is Door.PUBLIC else caller.world.admin
    given = {"authorization": f"Bearer {caller.keys[role]}"} if headers is None else headers
    url = f"{base}/v1/stream{query}"
    async with caller.world.client.stream("GET", url, headers=given) as response:
        assert response.status_code == 200, await response.aread()
        reader = Reader(response)
        assert await reader.line() == "retry: 2000"
        yield reader


def authorized(caller: Caller, **more: str) -> dict[str, str]:
    return {"authorization": f"Bearer {caller.keys[Role.READER]}", **more}


def test_events_come_as_they_are_committed(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        await orders(caller, "before")
        async with streaming_from(caller) as reader:
            assert reader.response.headers["content-type"] == "text/event-stream"
            assert reader.response.headers["cache-control"] == "no-store"
            await orders(caller, "a", "b")
            lines: list[str] = []
            while len(lines) < 7:
                lines.append(await reader.line())
            assert [line.partition(":")[0] for line in lines] == [
                "",
                "id",
                "data",
                "",
                "id",
                "data",
                "",
            ]
            (first,) = [one for one in caller.world.consumer.seen if one.event["subject"] == "a"]
            assert lines[2] == f"data: {first.body.decode()}"
        async with streaming_from(
            caller, "?from=beginning", role=Role.SUBSCRIBER, door=Door.PUBLIC
        ) as reader:
            assert await reader.orders(3) == ["before", "a", "b"]

    play(tmp_path, story)


def test_a_reader_goes_on_behind_what_it_has(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        await orders(caller, "a", "b", "c")
        async with streaming_from(caller, "?from=beginning") as reader:
            assert await reader.orders(2) == ["a", "b"]
            last = reader.last
        await orders(caller, "d")
        headers = authorized(caller) | {"last-event-id": last}
        async with streaming_from(caller, "?from=beginning", headers=headers) as reader:
            assert await reader.orders(2) == ["c", "d"]
            await orders(caller, "e")
            assert await reader.orders(1) == ["e"]
        async with streaming_from(caller, f"?cursor={last}") as reader:
            assert await reader.orders(3) == ["c", "d", "e"]
        async with streaming_from(
            caller, headers=authorized(caller) | {"last-event-id": ""}
        ) as reader:
            await orders(caller, "f")
            assert await reader.orders(1) == ["f"]
        for wrong in ("x", f"{last}x"):
            response = await caller.get(f"/v1/stream?cursor={wrong}")
            assert response.status_code == 400, wrong
        pulled = await caller.read("/v1/events?limit=1")
        assert (await caller.get(f"/v1/stream?cursor={pulled['cursor']}")).status_code == 400

    play(tmp_path, story)


def test_a_reader_chooses(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        await orders(caller, "a")
        await asyncio.sleep(0.01)
        middle = time.time()
        await caller.world.shop(shop_event("ping", "job.failed", order="x"))
        await orders(caller, "b")
        stamp = (
            time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(middle))
            + f".{int(middle % 1 * 1000):03}Z"
        )
        async with streaming_from(caller, f"?from={stamp}") as reader:
            assert await reader.orders(1) == ["b"]
        every = "?from=beginning&types=*,printstudio.*"
        async with streaming_from(caller, every) as reader:
            types = [(await reader.event())["type"] for _ in range(3)]
            assert types[0] == types[2] == "order.created"
            assert types[1].startswith("printstudio.")
        for query in ("sources=stripe", "shops=other", "types=order.paid"):
            async with streaming_from(caller, f"?from=beginning&{query}") as reader:
                waiting = asyncio.create_task(reader.event())
                await asyncio.sleep(0.15)
                assert not waiting.done(), query
                waiting.cancel()
        async with streaming_from(caller, "?from=beginning&sources=shop,x&shops=default") as reader:
            assert await reader.orders(2) == ["a", "b"]
        for query in (
            "types=ORDER",
            "types=,",
            "types=",
            "sources=A%20b",
            "shops=%20/",
            "from=yesterday",
            "x=1",
        ):
            response = await caller.get(f"/v1/stream?{query}")
            assert response.status_code == 400, query

    play(tmp_path, story)


def test_the_key_may_stand_in_the_query_of_this_call_alone(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        key = caller.keys[Role.READER]
        async with streaming_from(caller, f"?token={key}", headers={}, door=Door.PUBLIC) as reader:
            await orders(caller, "a")
            assert await reader.orders(1) == ["a"]
        publisher = caller.keys[Role.PUBLISHER]
        for path, status in (
            (f"/v1/me?token={key}", 401),
            (f"/v1/events?token={key}", 401),
            ("/v1/stream?token=gwk_x", 401),
            ("/v1/stream", 401),
            (f"/v1/stream?token={publisher}", 403),
        ):
            assert (await caller.get(path, role=None)).status_code == status, path

    play(tmp_path, story)


def test_no_log_line_has_a_key() -> None:
    key = "gwk_yi7h77x6_" + "a" * 43 + "_abcdef"
    assert without_keys(f"GET /v1/stream?types=*&token={key} HTTP/1.1") == (
        "GET /v1/stream?types=*&token=*** HTTP/1.1"
    )
    assert without_keys(f"Bearer {key}, and more") == "Bearer gwk_yi7h77x6_***, and more"
    assert without_keys("/v1/stream?token=%67wk_abc&x=1") == "/v1/stream?token=***&x=1"
    assert without_keys("gwk_yi7h77x6 is an id") == "gwk_yi7h77x6 is an id"
    written = io.StringIO()
    root, logger = logging.getLogger(), logging.getLogger("gateway.test")
    before, level = root.handlers[:], root.level
    try:
        for json_lines in (True, False):
            root.handlers[:] = []
            configure("info", json=json_lines, stream=written)
            logger.info("asked for /v1/stream?token=%s", key)
            logger.info("asked for %s", [f"/v1/stream?token={key}"])
            logger.error("a bug", exc_info=ValueError(key))
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    lines = written.getvalue()
    assert lines.count("***") == 6
    assert "aaaa" not in lines


def test_another_server_writes_no_key_into_its_access_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text("", "utf-8")
    monkeypatch.setenv("GATEWAY_CONFIG", str(config))
    monkeypatch.chdir(tmp_path)
    access, written = logging.getLogger("uvicorn.access"), io.StringIO()
    handler = logging.StreamHandler(written)
    application()
    access.addHandler(handler)
    level = access.level
    access.setLevel(logging.INFO)
    try:
        arguments = ("127.0.0.1:1", "GET", "/v1/stream?token=gwk_yi7h77x6_abc", "1.1", 200)
        access.info('%s - "%s %s HTTP/%s" %d', *arguments)  # as uvicorn does
    finally:
        access.removeHandler(handler)
        access.setLevel(level)
        for one in [one for one in access.filters if isinstance(one, HidingKeys)]:
            access.removeFilter(one)
    assert '"GET /v1/stream?token=*** HTTP/1.1" 200' in written.getvalue()


def test_a_bug_in_a_stream_tells_no_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story(caller: Caller) -> None:
        caller.world.gateway.store.feed.place = None  # type: ignore[method-assign,assignment]
        key = caller.keys[Role.READER]
        response = await caller.get(f"/v1/stream?token={key}", role=None)
        assert response.status_code == 500
        assert key not in response.text
        assert key not in caplog.text
        assert "streamEvents" in caplog.text
        assert not caller.world.gateway.store.news.listened

    play(tmp_path, story)


def test_it_says_something_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "PING", 0.05)

    async def story(caller: Caller) -> None:
        async with streaming_from(caller) as reader:
            assert [await reader.line() for _ in range(3)] == ["", ": ping", ""]

    play(tmp_path, story)


def test_a_key_that_ended_ends_its_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert streaming.PING <= 60
    monkeypatch.setattr(streaming, "PING", 0.05)
    ahead = 0
    monkeypatch.setattr(runtime, "wall_clock", lambda: Millis(wall_clock() + ahead))

    async def story(caller: Caller) -> None:
        nonlocal ahead
        keyring, clock = caller.world.gateway.keyring, caller.world.gateway.clock
        async with streaming_from(caller) as reader:
            await keyring.revoke(caller.keys[Role.READER], clock())
            await asyncio.wait_for(reader.ended(), 30)
        _, caller.keys[Role.READER] = await keyring.create(
            Role.READER, clock(), expires_at=Millis(clock() + 3_600_000)
        )
        async with streaming_from(caller) as reader:
            ahead = 3_600_000
            await asyncio.wait_for(reader.ended(), 30)

    play(tmp_path, story)


def test_streams_end_with_the_gateway_and_with_their_readers(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        news = caller.world.gateway.store.news
        async with streaming_from(caller):
            assert news.listened
        await until(lambda: not news.listened)
        async with streaming_from(caller) as one, streaming_from(caller) as other:
            caller.world.gateway.end_waiting()
            await asyncio.wait_for(asyncio.gather(one.ended(), other.ended()), 30)
        assert not news.listened
        assert (await caller.get("/v1/stream")).status_code == 503

    play(tmp_path, story)


def test_a_head_request_is_answered(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        response = await caller.ask("/v1/stream", method="HEAD")
        assert response.status_code == 200
        assert not caller.world.gateway.store.news.listened

    play(tmp_path, story)


def test_many_readers_miss_nothing_and_read_together(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        feed = caller.world.gateway.store.feed
        reads = 0
        read = feed._read

        async def counted(sql: str, parameters: Any) -> Any:
            nonlocal reads
            reads += 1
            return await read(sql, parameters)

        names = [f"o{number}" for number in range(24)]

        async def follow(ready: Callable[[], object]) -> list[str]:
            async with streaming_from(caller) as reader:
                ready()
                return await reader.orders(len(names))

        open_ = asyncio.Semaphore(0)
        readers = [asyncio.create_task(follow(open_.release)) for _ in range(20)]
        for _ in readers:
            await open_.acquire()
        feed._read = counted  # type: ignore[method-assign]
        await asyncio.gather(*(orders(caller, *names[part::4]) for part in range(4)))
        found = await asyncio.wait_for(asyncio.gather(*readers), 20)
        assert all(sorted(one) == sorted(names) for one in found)
        assert all(one == found[0] for one in found)
        assert reads <= 4 * len(names)  # each alone would have read 20 times as often

    play(tmp_path, story)


def test_a_reader_that_comes_while_nobody_listens_misses_nothing(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        async with streaming_from(caller, "?from=beginning") as reader:
            await orders(caller, "a")
            assert await reader.orders(1) == ["a"]
            last = reader.last
            await asyncio.sleep(0.1)  # it has looked at the end, and found nothing
        await until(lambda: not caller.world.gateway.store.news.listened)
        await orders(caller, "b")
        async with streaming_from(caller, f"?cursor={last}") as reader:
            assert await reader.orders(1) == ["b"]

    play(tmp_path, story)


@pytest.mark.slow
def test_a_reader_that_does_not_read_costs_no_memory_and_is_cut_off(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        for number in range(40):
            event = shop_event(f"big-{number}", "job.failed", order="x", text="x" * 500_000)
            assert (await caller.world.shop(event)).status_code == 200
        port = int(caller.world.admin.rpartition(":")[2])
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(reader, ("127.0.0.1", port))
            key = caller.keys[Role.READER]
            path = f"/v1/stream?from=beginning&types=printstudio.*&token={key}"
            await loop.sock_sendall(reader, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await until(lambda: caller.world.gateway.store.news.listened)
            feed = caller.world.gateway.store.feed
            last = -1
            while last != max(feed._bodies, default=0):  # until nothing more is read for it
                last = max(feed._bodies, default=0)
                await asyncio.sleep(2)
            assert 0 < last < 40
            assert feed._size < 8 << 20
            started = time.monotonic()
            while caller.world.gateway.store.news.listened:
                assert time.monotonic() < started + 90
                await asyncio.sleep(0.5)

    play(tmp_path, story)
