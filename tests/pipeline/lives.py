"""Whole lives of orders: a real gateway, a provider's API over real HTTP, and signed callbacks.

A story is a list of steps. A step is something that happens, and the events that consumers are
told because of it, each as one line: `orderseq`, type, marks, then what it says. The lists are
written by hand from the rules; nothing here knows them.
"""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from tests.pipeline.world import Consumer, World, configuration, consuming, running
from tests.providers.callbacks import stripe_event
from tests.simulators.api import Api, serving

A = TypeVar("A", bound=Api)
ORDER = "1001"
MARKS = ("implied", "additional", "partial", "baseline")
START = 1_760_000_000  # seconds: Stripe's events are a second apart from here


class Life(Generic[A]):
    """One order's life at one provider: `number` is its name there, `order` the shop's."""

    def __init__(self, world: World, api: A, source: str) -> None:
        self.world, self.api, self.source = world, api, source
        self.number, self.order = "", ORDER
        self._numbers = itertools.count(1)

    async def poll(self, source: str | None = None, *, problem: str = "") -> list[dict[str, Any]]:
        """One round now; what it found, order by order. `problem` is what ends it, if that is meant."""
        name = source or self.source
        await self.idle(name)
        answer = await self.world.client.post(f"{self.world.control}/v1/sources/{name}/poll")
        *found, end = [json.loads(line) for line in answer.text.splitlines()]
        assert problem in (end["end"]["problem"] or "")
        assert bool(problem) == bool(end["end"]["problem"])
        await self.idle(name)
        return [line["found"] for line in found]

    async def watch(self, number: str, order: str | None = None) -> None:
        """What `gateway watch` does, and a round."""
        url = f"{self.world.control}/v1/sources/{self.source}/watch"
        answer = await self.world.client.post(url, json={"id": number, "order": order})
        assert answer.status_code == 200
        await self.poll()

    async def idle(self, source: str) -> None:
        """Wait for the end of the rounds that the gateway makes by itself: at its start, say."""
        poller = self.world.gateway.poller.source(source)

        def rests() -> bool:
            rows = self.world.rows("SELECT next_at FROM polls WHERE source = ?", source)
            later = bool(rows) and rows[0][0] > time.time() * 1000
            return later and not poller.wake.is_set() and not poller.lock.locked()

        await self.world.until(rests)

    async def stripe(self, kind: str, thing: dict[str, Any]) -> dict[str, Any]:
        """A signed callback of Stripe; the receipt."""
        number = next(self._numbers)
        event = stripe_event(kind, thing, id=f"evt_s{number}", created=START + number)
        answer = await self.world.stripe(event)
        assert answer.status_code == 200
        receipt: dict[str, Any] = answer.json()
        return receipt

    async def told(self, order: str | None = None) -> list[str]:
        """All that consumers were told of an order, by `orderseq`."""
        return [line(event) for event in await self.events(order)]

    async def events(self, order: str | None = None) -> list[dict[str, Any]]:
        await self.world.settled()
        seen = [delivered.event for delivered in self.world.consumer.seen]
        assert len({event["id"] for event in seen}) == len(seen), "told twice"
        wanted = order or self.order
        found = [event for event in seen if event["data"]["order"] == wanted]
        return sorted(found, key=lambda event: int(event["orderseq"]))

    async def ids(self) -> dict[str, str]:
        """The ids of the order's events, by type; of types that come once."""
        events = await self.events()
        found = {event["type"].removeprefix("order."): event["id"] for event in events}
        return {kind: id_ for kind, id_ in found.items() if kind != "updated"}


Act = Callable[[Life[A]], Awaitable[object]]
Steps = Sequence[tuple[Act[A], Sequence[str]]]


def line(event: dict[str, Any]) -> str:
    """An event in one line, such as `3 shipped partial 2` or `5 updated hold=released`."""
    change, words = event["data"]["change"], [str(event["orderseq"])]
    kind = event["type"].removeprefix("order.")
    words += [kind, *(mark for mark in MARKS if change[mark])]
    if change["partial"]:
        words.append(str(change["quantity"]))
    if change["what"] is not None:
        words.append(f"{change['what']}={change['value']}")
    if kind == "on_hold":
        words.append(event["data"]["state"]["hold"])
    if kind in {"paid", "refunded"} and change["amount"] is not None:
        words.append(f"{change['amount']['value']} {change['amount']['currency']}")
    return " ".join([*words, *(["full"] if change["full"] else [])])


def polled(name: str, provider: str, api: Api, **more: object) -> str:
    """A source that is asked when a test says so."""
    usual = {
        "provider": provider,
        "base_url": api.url,
        "interval": "1h",
        "requests_per_minute": 10_000,
    }
    keys = "".join(f"{key} = {_toml(value)}\n" for key, value in (usual | more).items())
    return f"[sources.{name}]\n{keys}"


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    return json.dumps(value)


@asynccontextmanager
async def living(
    folder: Path, consumer: Consumer, api: A, source: str, text: str
) -> AsyncIterator[Life[A]]:
    """A gateway that knows this source beside Stripe, after its first round."""
    file = configuration(consumer.port, sources=text)
    async with running(folder, consumer, file) as world:
        life = Life(world, api, source)
        if "base_url" in text:
            await life.idle(source)
        yield life


def live(
    folder: Path,
    api: A,
    source_of: Callable[[], tuple[str, str]],
    story: Callable[[Life[A]], Coroutine[Any, Any, None]],
    *others: Api,
) -> None:
    """Run a story; `source_of` gives the source's name and its table, when the APIs have ports."""

    all_of_them: Sequence[Api] = (api, *others)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            for served in all_of_them:
                await stack.enter_async_context(serving(served))
            name, text = source_of()
            consumer = await stack.enter_async_context(consuming())
            async with living(folder, consumer, api, name, text) as life:
                await story(life)

    asyncio.run(run())


async def walk(life: Life[A], steps: Steps[A]) -> None:
    """Take the steps, and hold what is told after each against what was expected of it."""
    expected: list[str] = []
    for number, (act, told) in enumerate(steps, 1):
        await act(life)
        expected += told
        assert await life.told() == expected, f"after step {number}"
