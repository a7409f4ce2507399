"""One gateway for one promise: some subscriptions of a consumer, callbacks, and what it saw."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from gateway.signing import PREFIX
from tests.pipeline.world import (
    SECRET,
    SHOP_SECRET,
    Consumer,
    Delivered,
    World,
    consuming,
    running,
    shop_event,
)

MODES = ("structured", "binary", "json", "batch")
OTHER_SECRET = PREFIX + "YW5vdGhlciBzZWNyZXQgb2YgMzIgYnl0ZXMgbGVuZ3Ro"
HOSTILE = 'Nº 50% "a.b"/ü.😀'  # an order id with everything that a header or a signature minds

Story = Callable[[World], Awaitable[None]]


def subscription(name: str, port: int, **keys: Any) -> str:
    """A table of the configuration; TOML writes texts, numbers, truth and lists as JSON does."""
    table = {"url": f"http://127.0.0.1:{port}/{name}", "secrets": [SECRET]}
    if keys.get("mode") == "batch":
        table |= {"batch_wait": "50ms"}
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in (table | keys).items())
    return f"[subscriptions.{name}]\n{lines}\n"


def configuration(port: int, subscriptions: dict[str, dict[str, Any]]) -> str:
    tables = "".join(subscription(name, port, **keys) for name, keys in subscriptions.items())
    return f"""
[server]
port = 0
[admin]
port = 0
[sources.shop]
provider = "printstudio"
secrets = ["{SHOP_SECRET}"]
include = ["original"]
[egress]
allow = ["127.0.0.0/8:*"]
{tables}"""


def play(
    folder: Path,
    subscriptions: dict[str, dict[str, Any]],
    story: Story,
    *,
    prepare: Callable[[Consumer], None] = lambda _: None,
) -> list[Delivered]:
    """Run `story` with a gateway that has these subscriptions; what its consumer saw."""

    async def whole() -> list[Delivered]:
        async with consuming() as consumer:
            prepare(consumer)
            text = configuration(consumer.port, subscriptions)
            async with running(folder, consumer, text) as world:
                await story(world)
            return consumer.seen

    return asyncio.run(whole())


def telling(*events: dict[str, Any]) -> Story:
    """Send these callbacks, and wait until all deliveries have ended."""

    async def story(world: World) -> None:
        for event in events or (shop_event(1, order=HOSTILE),):
            answer = await world.shop(event)
            assert answer.status_code == 200, answer.text
        await world.settled()

    return story


def by_path(seen: list[Delivered]) -> dict[str, Delivered]:
    """The only delivery of each subscription."""
    found = {delivered.path[1:]: delivered for delivered in seen}
    assert len(found) == len(seen)
    return found


def all_modes() -> dict[str, dict[str, Any]]:
    return {mode: {"mode": mode} for mode in MODES}
