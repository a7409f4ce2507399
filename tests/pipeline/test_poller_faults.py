"""An API that fails costs one log line and a later try: whatever it does, and nobody else."""

import asyncio
import contextlib
import functools
import logging
import os
from pathlib import Path

import pytest

from gateway.config.load import load
from gateway.egress.client import BODY_CAP, ApiClient
from gateway.errors import ConfigError
from gateway.stores.base import Decide, Intake, Rehearsal
from tests.pipeline.polling import INTERVAL, TOKEN, Asking, asking, grumbles, kept, source
from tests.pipeline.world import configuration, consuming, running, shop_event
from tests.simulators import api as faults
from tests.simulators.api import Fault, serving, status
from tests.simulators.marketiger import MarketigerApi

pytestmark = pytest.mark.slow

ECHOED = f'{{"error": {{"message": "no such token: {TOKEN}"}}}}'.encode()
FAULTS: dict[str, tuple[Fault, str]] = {
    "html": (faults.HTML, "no JSON object (text/html)"),
    "bad gateway": (faults.BAD_GATEWAY, "it answered 502 Bad Gateway"),
    "half a JSON": (faults.HALF_JSON, "no JSON object (application/json)"),
    "cut off": (faults.CUT_OFF, "closed within the body of the answer"),
    "redirect": (faults.REDIRECT, "it answered 302 and leads to"),
    "reset": (faults.RESET, "closed before an answer came"),
    "gzip": (faults.GZIP, "which was not asked for"),
    "silence": (faults.silence, "met its deadline before an answer came"),
    "endless": (faults.endless(), "it answered more than 8 MiB"),
    "throttled": (faults.throttled(), "it answered 429 Too Many Requests"),
    "no HTTP": (faults.raw(b"SSH-2.0-OpenSSH_9.6\r\n"), "no valid HTTP"),
    "nothing": (status(200), "no JSON object"),
    "null": (status(200, b"null"), "no JSON object"),
    "bad UTF-8": (status(200, b'{"x": "\xff"}'), "no JSON object"),
    "deep": (status(200, b'{"x":' * 100_000), "no JSON object"),
    "bad location": (status(302, location="https://[::1"), "it answered 302"),
    "odd location": (status(302, location="//\xe9\x80:x/%zz"), "it answered 302"),
    "broken location": (status(302, location="//S1@"), "its answer cannot be taken"),
    "long encoding": (status(200, content_encoding="x" * 9_000), "in the encoding b'xxx"),
    "encoding with the token": (status(200, content_encoding=TOKEN), "in the encoding b'***'"),
    "no location": (status(302), "leads to nowhere"),
    "an echo of the token": (status(500, ECHOED), "no such token: ***"),
    "a redirect with the token": (status(302, location=f"/login?t={TOKEN}"), "/login?t=***"),
    "a type with the token": (status(200, b"x", content_type=TOKEN), "no JSON object (***)"),
    "an error with the token": (status(400, ECHOED.replace(b'{"m', b'{"type":"X","m')), "***"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_costs_one_line_and_a_later_try(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fault, words = FAULTS[name]
    # Short for what only a deadline ends; it holds for the good answers of that test too.
    hurried = functools.partial(ApiClient, timeout=1.0 if name == "silence" else 20.0)
    monkeypatch.setattr("gateway.sources.ApiClient", hurried)
    caplog.set_level(logging.DEBUG)

    async def story(asked: Asking) -> None:
        api, world = asked.api, asked.world
        number = api.place()
        await asked.watch(number)
        assert grumbles(caplog) == []
        api.move(number, 5)
        api.broken = fault
        failing = asyncio.create_task(asked.round())
        answers = [await world.shop(shop_event(n, order=f"o{n}")) for n in range(5)]
        assert {answer.status_code for answer in answers} == {200}
        found, end = await failing
        (line,) = grumbles(caplog)
        assert line.startswith("source mt: ")
        assert words in line
        assert len(line) < 500
        assert (end["failures"], end["refused"]) == (1, None)
        assert words in end["problem"]
        assert 1.8 * INTERVAL < end["next_at"] - end["asked_at"] < 2.2 * INTERVAL
        assert asked.told(number) == ["order.created"]
        # Later it is well again.
        api.broken = None
        await asyncio.sleep(1.05 if name == "throttled" else 0)
        found, end = await asked.round()
        assert found[number]["verdict"] == "event"
        assert (end["failures"], end["problem"]) == (0, None)
        assert asked.told(number) == ["order.created", "order.paid"]
        assert (asked.watched(number)["failures"], asked.watched(number)["problem"]) == (0, None)
        await world.settled()
        assert len(grumbles(caplog)) == 1
        assert TOKEN not in asked.said
        for one in world.consumer.seen:
            assert TOKEN.encode() not in one.body

    async def whole() -> None:
        async with serving(MarketigerApi()) as api, asking(tmp_path, api) as asked:
            await story(asked)
            assert TOKEN.encode() not in kept(tmp_path)
        assert TOKEN.encode() not in kept(tmp_path)
        assert TOKEN not in caplog.text

    asyncio.run(whole())


def resident() -> int:
    """Bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux tells the memory")
def test_ten_gigabytes_are_closed_after_the_cap(tmp_path: Path) -> None:
    sent, most = 0, 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x" * 65_536)
            await writer.drain()
            sent += 65_536

    async def look() -> None:
        nonlocal most
        while True:
            most = max(most, resident())
            await asyncio.sleep(0.002)

    async def story() -> None:
        async with serving(MarketigerApi()) as api, asking(tmp_path, api) as asked:
            number = api.place()
            await asked.watch(number)
            api.broken = flood
            looking, before = asyncio.create_task(look()), resident()
            for _ in range(3):
                await asked.poll()
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking
            assert asked.state()["failures"] == 3
            assert asked.world.gateway.asking.connections == 0
            assert 3 * BODY_CAP < sent < 6 * BODY_CAP
            assert most - before < 6 * BODY_CAP

    asyncio.run(story())


def test_one_poisonous_order_stops_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with serving(MarketigerApi()) as api, asking(tmp_path, api) as asked:
            numbers = [api.place() for _ in range(10)]
            await asked.watch(*numbers)
            bad, good = numbers[4], [*numbers[:4], *numbers[5:]]
            for number in good:
                api.move(number, 5)
            api.orders[bad]["status"] = "poison"
            found, end = await asked.round()
            assert {found[number]["verdict"] for number in good} == {"event"}
            assert "status" in found[bad]["problem"]
            assert (end["failures"], end["problem"]) == (0, None)
            (line,) = grumbles(caplog)
            assert bad in line
            # And again: all are still asked, and what was said is not said again.
            for number in good:
                api.move(number, 10)
            found, _ = await asked.round()
            assert set(found) == set(numbers)
            assert all(asked.told(number)[-1] == "order.shipped" for number in good)
            assert len(grumbles(caplog)) == 1
            row = asked.watched(bad)
            assert (row["failures"], "status" in row["problem"]) == (2, True)
            # Once it is readable, it is an order like any other.
            api.move(bad, 1)
            await asked.round()
            row = asked.watched(bad)
            assert (row["failures"], row["problem"]) == (0, None)

    asyncio.run(story())


def test_poisonous_orders_do_not_starve_the_others(tmp_path: Path) -> None:
    """Three in a row end a round, so they must not be the first in the next one again."""

    async def story() -> None:
        async with serving(MarketigerApi()) as api, asking(tmp_path, api) as asked:
            bad = [api.place() for _ in range(3)]
            await asked.watch(*bad)
            good = api.place()
            await asked.watch(good)
            for number in bad:
                api.orders[number]["status"] = "poison"
            api.move(good, 5)
            for _ in range(2):
                await asked.poll()
            assert asked.told(good)[-1] == "order.paid"

    asyncio.run(story())


def test_a_bug_with_one_order_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the store cannot write is that order's trouble."""

    async def story() -> None:
        async with serving(MarketigerApi()) as api, asking(tmp_path, api) as asked:
            bad, good = api.place(), api.place()
            await asked.watch(bad, good)
            outbox = asked.world.gateway.poller.outbox
            rehearse = outbox.rehearse

            async def broken(intake: Intake, decide: Decide, *, keep: bool) -> Rehearsal:
                if bad in intake.event_id:
                    raise OverflowError("too large")
                return await rehearse(intake, decide, keep=keep)

            monkeypatch.setattr(outbox, "rehearse", broken)
            api.move(bad, 5)
            api.move(good, 5)
            found, end = await asked.round()
            assert "bug" in found[bad]["problem"]
            assert found[good]["verdict"] == "event"
            assert (end["failures"], end["problem"]) == (0, None)
            assert asked.watched(bad)["failures"] == 1

    asyncio.run(story())


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_of_the_environment_is_not_used(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    async def story() -> None:
        async with serving(MarketigerApi()) as api, asking(tmp_path, api) as asked:
            number = api.place()
            await asked.watch(number)
            assert asked.told(number) == ["order.created"]

    asyncio.run(story())


def test_a_stop_does_not_wait_for_an_answer(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(MarketigerApi()) as api:
            number = api.place()
            api.broken = faults.silence
            async with asking(tmp_path, api) as asked:
                await asked.world.client.post(
                    f"{asked.world.control}/v1/sources/mt/watch", json={"id": number}
                )
                await asked.world.until(lambda: api.requests)
                await asyncio.wait_for(asked.world.gateway.poller.stop(), 15)
            # After the start it is asked for again: nothing was lost.
            api.broken = None
            async with asking(tmp_path, api) as asked:
                await asked.world.until(lambda: asked.told(number))

    asyncio.run(story())


@pytest.mark.parametrize("host", ["10.0.0.1", "127.0.0.1:8080", "[::1]", "169.254.169.254"])
def test_a_forbidden_address_is_refused_at_once(tmp_path: Path, host: str) -> None:
    api = MarketigerApi()
    text = configuration(1, sources=source(api).replace(api.url, f"http://{host}/v2"))
    (tmp_path / "gateway.toml").write_text(text.replace("127.0.0.0/8:*", "127.0.0.0/8:1"))
    with pytest.raises(ConfigError, match=r"sources\.mt\.base_url"):
        load(tmp_path / "gateway.toml", {})


def test_a_name_that_leads_to_a_forbidden_address_costs_a_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with consuming() as consumer, serving(MarketigerApi()) as api:
            api_url = api.url.replace("127.0.0.1", "localhost")
            text = configuration(consumer.port, sources=source(api).replace(api.url, api_url))
            text = text.replace("127.0.0.0/8:*", f"127.0.0.0/8:{consumer.port}")
            async with running(tmp_path, consumer, text) as world:
                asked = Asking(world, api)
                number = api.place()
                await asked.watch(number)
                assert api.requests == []
                assert "loopback address" in asked.state()["problem"]
                assert all("loopback address" in line for line in grumbles(caplog))

    asyncio.run(story())
