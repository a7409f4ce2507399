"""A whole gateway in this process, over real sockets and a real file, with a programmable consumer."""

import asyncio
import hashlib
import hmac
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from gateway.config.load import load
from gateway.runtime import Gateway, build
from gateway.web.app import admin_app, control_app, public_app
from gateway.web.limits import Limits
from gateway.web.server import Server, bind, make_server

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
SHOP_SECRET = "shop-secret"
STRIPE_SECRET = "whsec_stripe"

Answer = tuple[int, dict[str, str], bytes] | None


class Delivered:
    """One request that the consumer saw; `lines` are those of its head as they came."""

    def __init__(
        self, path: str, headers: dict[str, str], body: bytes, lines: Sequence[str] = ()
    ) -> None:
        self.path, self.headers, self.body, self.at = path, headers, body, time.monotonic()
        self.lines = lines

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event


class Consumer:
    """A real HTTP server; `answer` decides, None resets the connection."""

    def __init__(self) -> None:
        self.seen: list[Delivered] = []
        self.answer: Callable[[Delivered], Answer] = lambda _: (200, {}, b"ok")
        self.hold: asyncio.Event | None = None
        self.in_flight = self.most_in_flight = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers["content-length"]))
        seen = Delivered(head[0].split()[1], headers, body, head[:-2])
        self.seen.append(seen)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        if self.hold is not None:
            await self.hold.wait()
        self.in_flight -= 1
        answer = self.answer(seen)
        if answer is None:
            return False
        status, extra, text = answer
        lines = "".join(f"{name}: {value}\r\n" for name, value in extra.items())
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Length: {len(text)}\r\n{lines}\r\n".encode() + text
        )
        await writer.drain()
        return True


class World:
    """What a test needs of a running gateway."""

    def __init__(
        self, gateway: Gateway, consumer: Consumer, folder: Path, ports: list[int]
    ) -> None:
        self.gateway, self.consumer, self.folder = gateway, consumer, folder
        self.public, self.admin, self.control = (f"http://127.0.0.1:{port}" for port in ports)
        # It asks http URLs alone, and to read the system's authorities takes a while.
        self.client = httpx2.AsyncClient(trust_env=False, timeout=60, verify=False)

    async def post(self, source: str, body: bytes, headers: dict[str, str]) -> httpx2.Response:
        return await self.client.post(
            f"{self.public}/hooks/{source}", content=body, headers=headers
        )

    async def shop(self, body: bytes | dict[str, Any], source: str = "shop") -> httpx2.Response:
        """Send a signed PrintStudio callback."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        signature = hmac.new(SHOP_SECRET.encode(), raw, hashlib.sha256).hexdigest()
        return await self.post(source, raw, {"x-printstudio-signature": f"sha256={signature}"})

    async def stripe(
        self, event: bytes | dict[str, Any], source: str = "stripe", age: int = 0
    ) -> httpx2.Response:
        """Send a signed Stripe callback."""
        raw = event if isinstance(event, bytes) else json.dumps(event).encode()
        stamp = int(time.time()) - age
        signed = hmac.new(STRIPE_SECRET.encode(), b"%d.%b" % (stamp, raw), hashlib.sha256)
        return await self.post(
            source, raw, {"stripe-signature": f"t={stamp},v1={signed.hexdigest()}"}
        )

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Look into the file with a connection of the test's own."""
        connection = sqlite3.connect(self.folder / "gateway.db")
        try:
            return connection.execute(sql, parameters).fetchall()
        finally:
            connection.close()

    async def until(self, condition: Callable[[], object], seconds: float = 30) -> None:
        """Wait until a condition holds; fails with its name otherwise."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not become true in time"
            await asyncio.sleep(0.01)

    async def without_janitor(self) -> None:
        """End the one part that works by the clock alone, whatever the test does meanwhile."""
        self.gateway.janitor.stop()
        await self.until(
            lambda: "janitor" not in {task.get_name() for task in self.gateway.running}
        )

    async def delivered(self, count: int) -> list[Delivered]:
        """Wait for so many deliveries."""
        await self.until(lambda: len(self.consumer.seen) >= count)
        return self.consumer.seen

    async def settled(self) -> None:
        """Wait until nothing is pending or in flight."""
        await self.until(lambda: not self.rows("SELECT 1 FROM deliveries WHERE state < 2"))


SHOP_EVENT = "order.created"


def shop_event(
    number: int | str, kind: str = SHOP_EVENT, order: str = "ord-1", **data: object
) -> dict[str, Any]:
    """A PrintStudio envelope."""
    return {
        "id": f"evt-{number}",
        "event": kind,
        "timestamp": "2026-01-15T14:30:00Z",
        "data": {"orderId": order, **data},
    }


def configuration(port: int, subscriptions: str = "", sources: str = "", server: str = "") -> str:
    """A configuration with a shop, Stripe, and one subscription `good`."""
    return f"""
[server]
port = 0
{server}
[admin]
port = 0
[sources.shop]
provider = "printstudio"
secrets = ["{SHOP_SECRET}"]
[sources.stripe]
provider = "stripe"
secrets = ["{STRIPE_SECRET}"]
{sources}
[subscriptions.good]
url = "http://127.0.0.1:{port}/good"
secrets = ["{SECRET}"]
schedule = ["100ms", "100ms", "100ms"]
{subscriptions}
[egress]
allow = ["127.0.0.0/8:*"]
"""


@asynccontextmanager
async def running(
    folder: Path,
    consumer: Consumer,
    text: str | None = None,
    *,
    limits: Limits | None = None,
) -> AsyncIterator[World]:
    """Start a gateway on the file in `folder`, stop it politely at the end."""
    (folder / "gateway.toml").write_text(text or configuration(consumer.port))
    environ = {"GATEWAY_STORE__URL": f"sqlite:///{folder}/gateway.db"}
    fatal: list[str] = []
    gateway = build(load(folder / "gateway.toml", environ), on_fatal=fatal.append)
    gateway.store.open()
    await gateway.start()
    with ExitStack() as undo:
        sockets = [undo.enter_context(bind("127.0.0.1", 0, path="server")) for _ in range(3)]
        ports = [sock.getsockname()[1] for sock in sockets]
        apps = [public_app(gateway), admin_app(gateway), control_app(gateway)]
        servers: list[Server] = [
            make_server(app, limits=limits or Limits(), sock=sock)
            for app, sock in zip(apps, sockets, strict=True)
        ]
        tasks = [asyncio.create_task(server.serve()) for server in servers]
        world = World(gateway, consumer, folder, ports)
        try:
            yield world
        finally:
            await world.client.aclose()
            gateway.end_waiting()
            for server in servers:
                server.stop(gateway.settings.server.stop_grace)
            await asyncio.gather(*tasks)
            await gateway.stop(5)
    assert fatal == []


@asynccontextmanager
async def consuming() -> AsyncIterator[Consumer]:
    """A consumer that runs."""
    consumer = Consumer()
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()
