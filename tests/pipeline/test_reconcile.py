"""Reconciling: what a source says of everything, against what the gateway was told."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.world import World, configuration, consuming, running
from tests.simulators.api import BAD_GATEWAY, Api, serving, throttled
from tests.simulators.marketiger import MarketigerApi
from tests.simulators.printstudio import PrintStudioApi

Story = Callable[[World, Any], Awaitable[None]]


def source(provider: str, api: Api, token: str) -> str:
    """A source that is polled by hand only."""
    return (
        f'[sources.polled]\nprovider = "{provider}"\nbase_url = "{api.url}"\n'
        f'token = "{token}"\ninterval = "1h"\n'
    )


@asynccontextmanager
async def asking(folder: Path, provider: str, api: Api, token: str) -> AsyncIterator[World]:
    async with (
        serving(api),
        consuming() as consumer,
        running(
            folder,
            consumer,
            configuration(consumer.port, sources=source(provider, api, token)),
        ) as world,
    ):
        await poll(world)  # the first listing, before there is any order
        yield world


async def lines(world: World, path: str) -> list[dict[str, Any]]:
    response = await world.client.post(f"{world.control}/v1/sources/polled/{path}")
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


async def poll(world: World) -> list[dict[str, Any]]:
    return await lines(world, "poll")


async def reconcile(world: World, query: str = "") -> dict[str, tuple[str, list[str]]]:
    """By order: how it compares, and the types of the events that follow."""
    first, *told = await lines(world, f"reconcile{query}")
    assert set(first) == {"listed"}
    compared = [line["compared"] for line in told]
    assert [line["done"] for line in compared] == list(range(1, len(compared) + 1))
    assert [line["total"] for line in compared][-1:] == [len(compared)][: len(compared)]
    return {
        line["number"]: (line["kind"], [made["type"] for made in line["events"]])
        for line in compared
    }


def test_what_was_missed_is_reported_and_made_when_asked(tmp_path: Path) -> None:
    async def story() -> None:
        api = PrintStudioApi()
        async with asking(tmp_path, "printstudio", api, next(iter(api.keys))) as world:
            same, missed = api.place(), api.place()
            await poll(world)
            silent = api.place()
            api.move(missed, "paid")
            events = len(world.rows("SELECT 1 FROM events"))
            report = await reconcile(world)
            assert report == {
                same: ("same", []),
                missed: ("missed", ["order.paid"]),
                silent: ("silent", ["order.created"]),
            }
            assert len(world.rows("SELECT 1 FROM events")) == events, "a report makes nothing"
            assert await reconcile(world) == report, "nor does it forget"
            assert await reconcile(world, "?emit=true") == report
            await world.delivered(4)
            await world.settled()
            told = [(seen.event["subject"], seen.event["type"]) for seen in world.consumer.seen]
            assert sorted(told) == sorted(
                [
                    (same, "order.created"),
                    (missed, "order.created"),
                    (missed, "order.paid"),
                    (silent, "order.created"),
                ]
            )
            assert [kind for kind, _ in (await reconcile(world)).values()] == ["same"] * 3

    asyncio.run(story())


def test_what_the_gateway_knows_otherwise_differs(tmp_path: Path) -> None:
    """The shop's callback said shipped, and its API says printing: nothing is made, both are told."""

    async def story() -> None:
        api = PrintStudioApi()
        async with asking(tmp_path, "printstudio", api, next(iter(api.keys))) as world:
            number = api.place()
            await poll(world)
            for event, kind in enumerate(("order.paid", "order.shipped")):
                await world.shop(
                    {
                        "id": f"evt-{event}",
                        "event": kind,
                        "timestamp": "2026-01-15T14:30:00Z",
                        "data": {"orderId": number},
                    }
                )
            api.move(number, "printing")
            assert await reconcile(world) == {number: ("differs", [])}

    asyncio.run(story())


def test_since_leaves_out_what_has_not_changed(tmp_path: Path) -> None:
    async def story() -> None:
        api = MarketigerApi()
        async with asking(tmp_path, "marketiger", api, "tiger-token") as world:
            number = api.place()  # the simulator's orders are of 2025
            await world.client.post(f"{world.control}/v1/sources/polled/watch", json={"id": number})
            assert await reconcile(world, "?since=7d") == {number: ("older", [])}
            assert set(await reconcile(world)) == {number}
            assert (await reconcile(world))[number][0] != "older"

    asyncio.run(story())


def test_without_a_list_the_known_orders_are_asked_for(tmp_path: Path) -> None:
    async def story() -> None:
        api = MarketigerApi()
        async with asking(tmp_path, "marketiger", api, "tiger-token") as world:
            known, _ = api.place(), api.place()
            await world.client.post(f"{world.control}/v1/sources/polled/watch", json={"id": known})
            await poll(world)
            told = await lines(world, "reconcile")
            assert told[0] == {"listed": False}
            assert [line["compared"]["number"] for line in told[1:]] == [known]

    asyncio.run(story())


def test_one_unreadable_order_does_not_end_it(tmp_path: Path) -> None:
    async def story() -> None:
        api = MarketigerApi()
        async with asking(tmp_path, "marketiger", api, "tiger-token") as world:
            numbers = [api.place() for _ in range(3)]
            for number in numbers:
                await world.client.post(
                    f"{world.control}/v1/sources/polled/watch", json={"id": number}
                )
            await poll(world)
            api.faults.append(BAD_GATEWAY)
            kinds = [kind for kind, _ in (await reconcile(world)).values()]
            assert sorted(kinds) == ["same", "same", "unreadable"]

    asyncio.run(story())


def test_a_refused_token_ends_it_with_a_sentence(tmp_path: Path) -> None:
    async def story() -> None:
        api = MarketigerApi()
        async with asking(tmp_path, "marketiger", api, "tiger-token") as world:
            await world.client.post(
                f"{world.control}/v1/sources/polled/watch", json={"id": api.place()}
            )
            api.tokens.clear()
            *_, last = await lines(world, "reconcile")
            assert "token" in last["error"]

    asyncio.run(story())


def test_a_pause_that_the_api_asks_for_is_waited_out(tmp_path: Path) -> None:
    async def story() -> None:
        api = MarketigerApi()
        async with asking(tmp_path, "marketiger", api, "tiger-token") as world:
            number = api.place()
            await world.client.post(f"{world.control}/v1/sources/polled/watch", json={"id": number})
            await poll(world)
            api.faults.append(throttled(1))
            assert (await reconcile(world))[number][0] == "same"
            assert len(api.faults) == 0

    asyncio.run(story())


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("polled/reconcile?since=yesterday", 400),
        ("polled/reconcile?emit=yes", 400),
        ("other/reconcile", 404),
        ("shop/reconcile", 404),
        ("other/poll", 404),
    ],
)
def test_a_wrong_request_is_refused_in_one_sentence(tmp_path: Path, path: str, status: int) -> None:
    async def story() -> None:
        api = MarketigerApi()
        async with asking(tmp_path, "marketiger", api, "tiger-token") as world:
            response = await world.client.post(f"{world.control}/v1/sources/{path}")
            assert response.status_code == status
            assert response.json()["detail"]

    asyncio.run(story())


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{}", b"[]", b"null", b"\xff", b'{"id": 5}', b'{"id": ""}', b'{"id": "a\\u0000"}'),
        *(b'{"id": "' + b"x" * 300 + b'"}', b'{"id": "a", "order": ""}'),
        b'{"id": "a", "more": 1}',
    ],
)
def test_a_strange_watch_is_refused(tmp_path: Path, body: bytes) -> None:
    async def story() -> None:
        api = MarketigerApi()
        async with asking(tmp_path, "marketiger", api, "tiger-token") as world:
            response = await world.client.post(
                f"{world.control}/v1/sources/polled/watch", content=body
            )
            assert response.status_code == 400
            assert world.rows("SELECT 1 FROM watched") == []

    asyncio.run(story())
