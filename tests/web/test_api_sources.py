"""Sources over the API: how they do, what they were refused, and what is asked of them by hand."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from gateway.keys import Role
from gateway.web.api.operation import Door
from gateway.web.api.table import OPERATIONS
from gateway.web.app import Public, admin_app, control_app, public_app
from tests.pipeline.polling import TOKEN, Asking, asking
from tests.pipeline.world import SHOP_SECRET, STRIPE_SECRET, shop_event
from tests.simulators.api import serving
from tests.simulators.marketiger import MarketigerApi
from tests.web import test_api
from tests.web.test_api import TIME, Caller


async def calling(asked: Asking) -> Caller:
    keyring, clock = asked.world.gateway.keyring, asked.world.gateway.clock
    roles = (Role.OPERATOR, Role.READER, Role.ADMIN)
    keys = {role: (await keyring.create(role, clock()))[1] for role in roles}
    return Caller(asked.world, keys)


def play(folder: Path, story: Callable[[Asking], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with serving(MarketigerApi()) as api, asking(folder, api) as asked:
            await story(asked)

    asyncio.run(whole())


def test_no_route_of_the_api_stands_outside_the_table(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        gateway = caller.world.gateway
        public = public_app(gateway)
        assert isinstance(public, Public)
        for door, app in (
            (Door.PUBLIC, public._others),
            (Door.ADMIN, admin_app(gateway)),
            (None, control_app(gateway)),
        ):
            assert isinstance(app, Starlette)
            routes = [route for route in app.routes if isinstance(route, Route)]
            assert len(routes) == len(app.routes)
            found = {
                (method, route.path)
                for route in routes
                if route.path.startswith("/v1")
                for method in (route.methods or set()) - {"HEAD"}
            }
            assert found == {
                (one.method, one.route) for one in OPERATIONS if door is None or door in one.doors
            }

    test_api.play(tmp_path, story)


def test_sources_tell_how_they_do(tmp_path: Path) -> None:
    async def story(asked: Asking) -> None:
        caller = await calling(asked)
        world = caller.world
        quiet = await caller.read("/v1/sources/shop", role=Role.READER)
        assert (quiet["heard_at"], quiet["rejected"], quiet["rejected_reason"]) == (None, 0, None)
        assert (quiet["provider"], quiet["shop"], quiet["enabled"]) == (
            "printstudio",
            "default",
            True,
        )
        assert (quiet["kind"], quiet["callbacks"], quiet["asking"]) == (
            "called",
            "/hooks/shop",
            None,
        )
        await world.shop(shop_event(1))
        heard = await caller.read("/v1/sources/shop")
        assert TIME.fullmatch(heard["heard_at"])
        for _ in range(2):
            answer = await world.post("shop", b"{}", {"x-printstudio-signature": "sha256=00"})
            assert answer.status_code == 401
        refused = await caller.read("/v1/sources/shop")
        assert (refused["rejected"], bool(refused["rejected_reason"])) == (2, True)
        await world.shop(shop_event(2))
        assert (await caller.read("/v1/sources/shop"))["rejected"] == 0
        everything = await caller.read("/v1/sources")
        assert [one["name"] for one in everything["data"]] == ["shop", "stripe", "mt"]
        for secret in (TOKEN, SHOP_SECRET, STRIPE_SECRET):
            assert secret not in json.dumps(everything)

    play(tmp_path, story)


def test_a_polled_source_tells_how_the_asking_goes(tmp_path: Path) -> None:
    async def story(asked: Asking) -> None:
        caller = await calling(asked)
        number = asked.api.place()
        watched = await caller.ask(
            "/v1/sources/mt/watch", method="POST", body={"id": number}, role=Role.OPERATOR
        )
        assert watched.json() == {
            "source": "mt",
            "id": number,
            "order": None,
            "new": True,
            "refused": None,
            "paused": False,
        }
        await asked.idle()
        told = await caller.ask("/v1/sources/mt/poll", method="POST", role=Role.OPERATOR)
        assert told.headers["content-type"] == "application/jsonl"
        *_, end = [json.loads(line) for line in told.text.splitlines()]
        assert TIME.fullmatch(end["end"]["next_at"])
        source = await caller.read("/v1/sources/mt")
        assert (source["kind"], source["callbacks"]) == ("polled", None)
        how = source["asking"]
        assert (how["watched"], how["failures"], how["problem"], how["refused"]) == (
            1,
            0,
            None,
            None,
        )
        assert asked.api.url == f"http://{how['host']}/v2"
        assert all(TIME.fullmatch(how[name]) for name in ("asked_at", "answered_at", "next_at"))
        lines = await caller.ask("/v1/sources/mt/reconcile?since=7d&emit=false", method="POST")
        first, *compared = [json.loads(line) for line in lines.text.splitlines()]
        assert first == {"listed": False}
        assert [line["compared"]["number"] for line in compared] == [number]

    play(tmp_path, story)


def test_samples_of_what_was_rejected_are_for_operators(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        headers = {"x-printstudio-signature": "sha256=00", "authorization": "Bearer secret"}
        await caller.world.post("shop", b'{"id": "evt-1"}', headers)

        async def rows() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = (await caller.read("/v1/sources/shop/rejected"))["data"]
            return found

        await caller.world.until((caller.world.folder / "gateway.db.rejected").exists)
        for _ in range(300):
            if await rows():
                break
        (row,) = await rows()
        assert (row["source"], row["size"]) == ("shop", 15)
        assert TIME.fullmatch(row["received_at"])
        assert "Bearer secret" not in json.dumps(row)
        assert (await caller.read("/v1/sources/stripe/rejected"))["data"] == []
        reader = await caller.get("/v1/sources/shop/rejected", role=Role.READER)
        assert reader.status_code == 403

    test_api.play(tmp_path, story)


@pytest.mark.parametrize(
    ("call", "body", "status", "word"),
    [
        ("GET /v1/sources/none", None, 404, "none"),
        ("GET /v1/sources/none/rejected", None, 404, "none"),
        ("POST /v1/sources/shop/poll", None, 404, "polled"),
        ("POST /v1/sources/shop/reconcile", None, 404, "polled"),
        ("POST /v1/sources/shop/watch", {"id": "1"}, 404, "polled"),
        ("POST /v1/sources/shop/watch", {}, 400, "id"),
        ("POST /v1/sources/shop/reconcile?emit=perhaps", None, 400, "emit"),
        ("POST /v1/sources", {"name": "x"}, 400, "provider"),
        ("PUT /v1/sources/shop", {}, 405, ""),
        ("DELETE /v1/sources/shop", None, 409, "configuration"),
        ("PATCH /v1/sources/shop", {}, 409, "configuration"),
    ],
)
def test_what_cannot_be_done_with_a_source_is_said(
    tmp_path: Path, call: str, body: object, status: int, word: str
) -> None:
    async def story(caller: Caller) -> None:
        method, path = call.split()
        answer = await caller.ask(path, method=method, body=body)
        assert answer.status_code == status, answer.text
        assert word in answer.json()["detail"]

    test_api.play(tmp_path, story)


def test_wrong_words_to_a_polled_source_are_refused_before_it_is_asked(tmp_path: Path) -> None:
    async def story(asked: Asking) -> None:
        caller = await calling(asked)
        for path, body in (
            ("/v1/sources/mt/reconcile?since=7x", None),
            ("/v1/sources/mt/watch", {"id": "1\n"}),
            ("/v1/sources/mt/watch", {"id": "1", "more": 1}),
        ):
            answer = await caller.ask(path, method="POST", body=body)
            assert answer.status_code == 400, answer.text

    play(tmp_path, story)
