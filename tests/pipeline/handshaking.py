"""An HTTP endpoint that does its part of the CloudEvents handshake, and what asks it: a part, or a gateway."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from msgspec.structs import replace

from gateway.egress.rules import Rules
from gateway.egress.transport import Transport
from gateway.errors import Unavailable
from gateway.handshakes import Handshakes
from gateway.models import Millis, Subscription
from gateway.stores.base import Handshake, Status
from gateway.testing.doubles import Clock
from tests.pipeline.world import Answer, Consumer, Delivered, World, configuration

ORIGIN = "gateway.example.com"
PUBLIC_URL = f"http://{ORIGIN}"
NOW = Millis(1_768_487_400_000)
SECOND, HOUR = 1_000, 3_600_000
GRANT = {"WebHook-Allowed-Origin": ORIGIN, "WebHook-Allowed-Rate": "*", "Allow": "POST"}


class Endpoint(Consumer):
    """A consumer that is asked by `OPTIONS` first; `consent` decides, `asked` keeps what came.

    `order` has the methods in the order in which they came.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Delivered] = []
        self.order: list[str] = []
        self.consent: Callable[[Delivered], Answer] = lambda _: (200, GRANT, b"")

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers["content-length"]))
        method, path, _ = start.split(" ")
        request = Delivered(path, headers, body)
        self.order.append(method)
        asking = method == "OPTIONS"
        (self.asked if asking else self.seen).append(request)
        if asking and self.hold is not None:
            await self.hold.wait()
        answer = self.consent(request) if asking else self.answer(request)
        if answer is None:
            return False
        status, extra, text = answer
        said = "".join(f"{name}: {value}\r\n" for name, value in extra.items())
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(text)}\r\n{said}\r\n"
        writer.write(head.encode("latin-1") + text)
        await writer.drain()
        return True


@asynccontextmanager
async def answering() -> AsyncIterator[Endpoint]:
    """An endpoint that runs."""
    endpoint = Endpoint()
    await endpoint.start()
    try:
        yield endpoint
    finally:
        if endpoint.hold is not None:
            endpoint.hold.set()
        await endpoint.stop()


def asking(port: int, *keys: str, path: str = "/good") -> str:
    """A configuration whose one subscription, `good`, wants a handshake; `keys` are further ones."""
    text = configuration(port, server=f'public_url = "{PUBLIC_URL}"')
    if any(key.startswith("schedule") for key in keys):
        text = text.replace('schedule = ["100ms", "100ms", "100ms"]', "")
    return text.replace('/good"', "\n".join([f'{path}"', "handshake = true", *keys]))


def handshake(world: World) -> Any:
    """What is stored of `good`'s handshake."""
    rows = world.rows("SELECT handshake FROM subscriptions WHERE name = 'good'")
    packed = rows[0][0] if rows else None
    return None if packed is None else msgspec.msgpack.decode(packed, type=Handshake)


def callback_of(world: World, endpoint: Endpoint) -> str:
    """The URL by which the endpoint may consent, where this gateway really listens."""
    url = endpoint.asked[-1].headers["webhook-request-callback"]
    assert url.startswith(f"{PUBLIC_URL}/handshakes/")
    return world.public + url.removeprefix(PUBLIC_URL)


class Shelf:
    """As much of a catalog as handshakes need; `failures` writes are refused before one succeeds."""

    def __init__(self, *subscriptions: Subscription) -> None:
        self.statuses = {one.id: Status(subscription=one) for one in subscriptions}
        self.listener: Callable[[list[Status]], None] = lambda _: None
        self.written: list[tuple[str, Handshake]] = []
        self.together: list[int] = []  # how many were written at a time
        self.failures = 0
        self.after_write: Callable[[Handshake], Awaitable[object]] | None = None

    async def consent(self, handshakes: Mapping[str, Handshake]) -> Collection[str]:
        if self.failures:
            self.failures -= 1
            raise Unavailable("the disk is full")
        numbers = {one.subscription.name: number for number, one in self.statuses.items()}
        self.together.append(len(handshakes))
        for name, handshake in handshakes.items():
            if name not in numbers:
                continue
            self.written.append((name, handshake))
            self.statuses[numbers[name]] = replace(
                self.statuses[numbers[name]], handshake=handshake
            )
            if self.after_write is not None:
                await self.after_write(handshake)
        self.tell()
        return handshakes.keys() - numbers.keys()

    def put(self, number: int, **changes: Any) -> None:
        self.statuses[number] = replace(self.statuses[number], **changes)
        self.tell()

    def tell(self) -> None:
        self.listener(list(self.statuses.values()))


class Asking:
    """Handshakes that run, on a clock that stands still."""

    def __init__(self, shelf: Shelf, handshakes: Handshakes, clock: Clock) -> None:
        self.shelf, self.handshakes, self.clock = shelf, handshakes, clock

    def known(self, number: int = 1) -> Handshake:
        known = self.shelf.statuses[number].handshake
        assert known is not None
        return known

    def advance(self, by: int) -> None:
        self.clock.advance(by)
        self.shelf.tell()

    async def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end, "it did not become true in time"
            await asyncio.sleep(0.005)

    async def answered(self, count: int, number: int = 1) -> Handshake:
        """Wait until so many answers were written since the start; the last of them."""
        await self.until(
            lambda: sum(known.asked_at is not None for _, known in self.shelf.written) >= count
        )
        return self.known(number)


def subscription(endpoint: Endpoint, number: int = 1, **changes: Any) -> Subscription:
    made = Subscription(
        id=number,
        name=f"s{number}",
        url=f"http://127.0.0.1:{endpoint.port}/{number}",
        origin=ORIGIN,
        timeout=Millis(5_000),
    )
    return replace(made, **changes)


@asynccontextmanager
async def asking_of(*subscriptions: Subscription, jitter: float = 0.5) -> AsyncIterator[Asking]:
    shelf, clock = Shelf(*subscriptions), Clock(NOW)
    transport = Transport(rules=Rules(("127.0.0.0/8:*",)))
    handshakes = Handshakes(
        shelf,  # type: ignore[arg-type]  # the rest of a catalog is not called
        transport,
        public_url=PUBLIC_URL,
        clock=clock,
        jitter=lambda: jitter,
    )
    shelf.listener = handshakes.update
    shelf.tell()
    running = asyncio.create_task(handshakes.run())
    try:
        yield Asking(shelf, handshakes, clock)
    finally:
        await asyncio.wait_for(handshakes.stop(), 30)
        await asyncio.wait_for(running, 30)
        await transport.close()


def told(story: Callable[[Endpoint], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with answering() as endpoint:
            await story(endpoint)

    asyncio.run(run())


def refuse(status: int, **headers: str) -> Callable[[Any], Any]:
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: (status, said, b"")
