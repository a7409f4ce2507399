"""Requests that are not authentic: refused, sampled, explained, and in nobody's way."""

import asyncio
import contextlib
import io
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.cli.main import app
from gateway.errors import NotFound
from gateway.stores.registry import make_records
from gateway.stores.sqlite.rejected import KEPT, RATE, rejected_path
from gateway.stores.sqlite.writer import Writer
from tests.pipeline.world import SHOP_SECRET, World, configuration, consuming, running, shop_event

BAD = {"x-printstudio-signature": "sha256=" + "5257a869" * 8, "x-shop-token": "hunter2"}
STATUSES = f"""
[sources.hidden]
provider = "printstudio"
secrets = ["{SHOP_SECRET}"]
rejection_status = 404
[sources.odd]
provider = "printstudio"
secrets = ["{SHOP_SECRET} "]
rejection_status = 499
"""


def body(number: int = 1) -> bytes:
    return json.dumps(shop_event(number, customer={"name": "Jane Doe"})).encode()


async def kept(world: World, source: str, count: int) -> list[Any]:
    """The samples of a source as soon as there are so many."""
    end = time.monotonic() + 30
    async with make_records(f"sqlite:///{world.folder}/gateway.db") as records:
        while len(rows := await records.rejected(source, limit=1_000)) < count:
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
    return list(rows)


def command(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """What `gateway rejected ARGUMENTS` prints."""
    monkeypatch.setenv("GATEWAY_STORE__URL", f"sqlite:///{folder}/gateway.db")
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        app(
            ["rejected", *arguments, "--config", str(folder / "gateway.toml")],
            standalone_mode=False,
        )
    return output.getvalue()


def test_whoever_mistyped_a_secret_can_see_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with consuming() as consumer, running(tmp_path, consumer) as world:
            answer = await world.post("shop", body(), BAD)
            assert answer.status_code == 401
            assert answer.headers["content-type"] == "application/problem+json"
            assert "none of" not in answer.text
            (row,) = await kept(world, "shop", 1)
            assert row.reason == "the signature matches none of 1 secret"
            old = await world.stripe(shop_event(2), age=412)
            assert old.status_code == 401
            (row,) = await kept(world, "stripe", 1)
            assert row.reason in {
                f"the timestamp is {age} s old, 300 s are allowed" for age in (412, 413)
            }
            await world.shop(shop_event(3))
            await world.settled()
            assert world.rows("SELECT count(*) FROM callbacks") == [(1,)]

    asyncio.run(story())
    text = command(tmp_path, monkeypatch, "shop")
    assert "reason    the signature matches none of 1 secret\n" in text
    assert "header    x-printstudio-signature: sha256=5257…\n" in text
    assert "header    x-shop-token: ***\n" in text
    assert '"name":"…(8 characters)"' in text
    (row,) = json.loads(command(tmp_path, monkeypatch, "shop", "--json"))
    assert (row["source"], row["size"], row["missed"]) == ("shop", len(body()), 0)
    raw = rejected_path(tmp_path / "gateway.db").read_bytes()
    for secret in (b"5257a869", b"hunter2", b"Jane", b"Doe"):
        assert secret not in raw


def test_nothing_kept_and_no_such_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with consuming() as consumer, running(tmp_path, consumer):
            pass

    asyncio.run(story())
    assert not rejected_path(tmp_path / "gateway.db").exists()
    text = command(tmp_path, monkeypatch, "stripe")
    assert text == "No rejected requests of source stripe are kept.\n"
    assert command(tmp_path, monkeypatch, "stripe", "--json") == "[]\n"
    with pytest.raises(NotFound, match="has no source shopp: it declares shop, stripe"):
        command(tmp_path, monkeypatch, "shopp")


@pytest.mark.parametrize(("source", "status"), [("shop", 401), ("hidden", 404), ("odd", 499)])
def test_the_status_is_the_sources(tmp_path: Path, source: str, status: int) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            text = configuration(consumer.port, sources=STATUSES)
            async with running(tmp_path, consumer, text) as world:
                answer = await world.post(source, body(), BAD)
                assert (answer.status_code, answer.json()["status"]) == (status, status)
                assert answer.headers["content-type"] == "application/problem+json"
                (row,) = await kept(world, source, 1)
                assert ("blank" in row.reason) is (source == "odd")
                if source != "odd":
                    assert (await world.shop(shop_event(1), source=source)).status_code == 200

    asyncio.run(story())


def test_a_hidden_source_looks_like_none(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            consuming() as consumer,
            running(tmp_path, consumer, configuration(consumer.port, sources=STATUSES)) as world,
        ):
            wrong = {"x-printstudio-signature": "sha256=" + "0" * 64}
            hidden = await world.post("hidden", body(), wrong)
            absent = await world.post("absent", body(), wrong)
            assert hidden.status_code == absent.status_code == 404
            assert hidden.text.replace("hidden", "absent") == absent.text

    asyncio.run(story())


def counting(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Who put how many jobs into the queue of the writer."""
    calls: Counter[str] = Counter()
    submit: Callable[..., Any] = Writer.submit

    def counted(self: Writer, *arguments: Any, **options: Any) -> Any:
        calls[sys._getframe(1).f_code.co_name] += 1
        return submit(self, *arguments, **options)

    monkeypatch.setattr(Writer, "submit", counted)
    return calls


@pytest.mark.slow
def test_a_flood_of_rubbish_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = counting(monkeypatch)

    async def rubbish(world: World, until: Callable[[int], bool]) -> int:
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
            for sent in itertools.count():
                if until(sent):
                    return sent
                url = f"{world.public}/hooks/shop"
                answer = await client.post(url, content=body(), headers=BAD)
                assert answer.status_code == 401
        raise AssertionError

    async def story() -> None:
        async with consuming() as consumer, running(tmp_path, consumer) as world:
            calm = asyncio.Event()
            enough = [rubbish(world, lambda sent: sent >= 200 and calm.is_set()) for _ in range(10)]
            flood = asyncio.gather(*enough)
            answers = [await world.shop(shop_event(n, order=f"o-{n}")) for n in range(100)]
            calm.set()
            sent = sum(await flood)
            assert {answer.status_code for answer in answers} == {200}
            assert calls["accept"] == 100
            assert world.rows("SELECT count(*) FROM callbacks") == [(100,)]
            await world.delivered(100)
            await world.settled()
            # Once more alone, and without the janitor, who works by the clock: nothing puts anything
            # into the writer's queue, however long it takes.
            await world.without_janitor()
            calls.clear()
            sent += await rubbish(world, lambda sent: sent == 300)
            assert set(calls) <= {"claim"}
            await asyncio.sleep(2 / RATE)
            await world.post("shop", body(), BAD)
            await asyncio.sleep(0.1)
        async with make_records(f"sqlite:///{tmp_path}/gateway.db") as records:
            rows = await records.rejected("shop", limit=1_000)
        assert sum(1 + row.missed for row in rows) == sent + 1
        assert RATE < len(rows) <= KEPT

    asyncio.run(story())
