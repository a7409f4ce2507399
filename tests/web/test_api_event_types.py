"""The catalogue over the API: what each event type's deliveries are, in every mode."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gateway.catalogue import MEANINGS, example, schema_of
from gateway.events import dump_schema
from gateway.models import Delivery, Event, Mode, Subscription
from gateway.sender import Request, request_of
from gateway.web.api.about import BATCH_ID, SIGNATURE, STAMP
from tests.pipeline.world import World, configuration, consuming, running
from tests.web.test_api_subscriptions import new_key

SHOWN = {**{mode.value: (mode, False) for mode in Mode}, "flat": (Mode.JSON, True)}


def sent(event: Event, mode: Mode, *, flat: bool) -> Request:
    """What the sender makes of it for a subscription that has been there for a while."""
    made = Subscription(
        id=7, name="a", url="http://127.0.0.1/", mode=mode, flat=flat, secrets=(b"k" * 24,)
    )
    delivery = Delivery(
        id=7,
        subscription=7,
        event_id="bat_1" if mode is Mode.BATCH else event.id,
        event_type=event.type,
        body=b"[" + event.body + b"]" if mode is Mode.BATCH else event.body,
        attempts=3,
        number=4,
        first_at=None,
        claim=9,
    )
    return request_of(made, delivery, 1_790_000_000.5)


def headers_of(request: Request) -> dict[str, str]:
    lines = request.head.decode("ascii").split("\r\n")[:-1]
    return {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}


def as_sent(shown: dict[str, Any], event: Event, mode: Mode, *, flat: bool) -> None:
    """What is shown is what is sent, but for what no example can know."""
    request = sent(event, mode, flat=flat)
    assert json.dumps(shown["body"]) == json.dumps(json.loads(request.body))
    unknown = {"webhook-timestamp": STAMP, "webhook-signature": SIGNATURE}
    if mode is Mode.BATCH:
        unknown["webhook-id"] = BATCH_ID
    assert shown["headers"] == headers_of(request) | unknown
    assert all(value.startswith("<") and value.endswith(">") for value in unknown.values())


@pytest.mark.parametrize("public_url", ["", "https://hooks.shop.example:8443"])
def test_every_type_is_shown_as_it_is_delivered_in_each_mode(
    tmp_path: Path, public_url: str
) -> None:
    async def story(world: World) -> None:
        key = await new_key(world)
        for row in await key.get("/v1/event-types"):
            name = row["type"]
            event = example(name, public_url=public_url)
            detail = await key.get(f"/v1/event-types/{name}")
            assert detail["schema"] == schema_of(name)
            assert list(detail["examples"]) == [*Mode, "flat"]
            for word, (mode, flat) in SHOWN.items():
                as_sent(detail["examples"][word], event, mode, flat=flat)
            data, whole = (detail["examples"][word]["body"] for word in ("binary", "json"))
            assert data == whole["data"]
            jsonschema.validate(data, detail["schema"])
            if public_url and event.order is not None:
                assert row["schema"] == whole["dataschema"]

    play(tmp_path, story, public_url)


def test_the_list_is_what_a_drop_down_takes(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        key = await new_key(world)
        found = await key.get("/v1/event-types")
        assert [(row["type"], row["description"]) for row in found] == list(MEANINGS.items())
        for row in found:
            served = await world.client.get(world.public + row["schema"])
            assert served.text == dump_schema(schema_of(row["type"]))

    play(tmp_path, story)


def test_what_is_no_type_is_not_found(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        key = await new_key(world)
        for wrong in ("order.eaten", "order", "order.paid.json", "%00"):
            problem = await key.get(f"/v1/event-types/{wrong}", 404)
            assert problem["code"] == "not_found"

    play(tmp_path, story)


def play(folder: Path, story: Callable[[World], Awaitable[None]], public_url: str = "") -> None:
    async def whole() -> None:
        async with consuming() as consumer:
            server = f'public_url = "{public_url}"'
            text = configuration(consumer.port, server=server)
            async with running(folder, consumer, text) as world:
                await story(world)

    asyncio.run(whole())
