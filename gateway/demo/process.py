"""The gateway of the demo: a real `gateway serve` in its own folder, started and stopped."""

import asyncio
import contextlib
import json
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import httpx2

from gateway.demo.marketiger import MarketigerApi
from gateway.demo.payloads import CURRENCY, MARKETIGER, PRINTSTUDIO, STRIPE
from gateway.demo.receivers import Receiver
from gateway.errors import StartupError
from gateway.web.server import unix_address

SCHEDULE = ("300ms", "500ms", "1s", "1s")  # retries within seconds, so that they can be watched
INTERVAL = "1s"  # between two questions about an order
START, STOP = 30.0, 5.0  # seconds
PAUSE = 0.03  # seconds between two looks at /readyz
OURS = "GATEWAY_"


class Clients(NamedTuple):
    """Who talks to a gateway: everybody, and its owner."""

    public: httpx2.AsyncClient
    control: httpx2.AsyncClient


class Gateway:
    """One serving process; `environ` is the environment that it inherits, but for our own keys."""

    def __init__(
        self,
        folder: Path,
        receivers: Sequence[Receiver],
        api: MarketigerApi,
        *,
        environ: Mapping[str, str],
    ) -> None:
        self.folder = folder
        self.config = folder / "gateway.toml"
        self.log = folder / "gateway.log"
        self.store_url = f"sqlite:///{folder}/gateway.db"
        self.secrets = {
            STRIPE: f"whsec_{secrets.token_hex(24)}",
            PRINTSTUDIO: secrets.token_urlsafe(24),
        }
        port, self._admin_port = _free_ports()
        self.url = f"http://127.0.0.1:{port}"
        self._environ = {key: environ[key] for key in environ if not key.startswith(OURS)}
        self._process: asyncio.subprocess.Process | None = None
        text = _configuration(self, receivers, api, ports=(port, self._admin_port))
        self.config.touch(mode=0o600)
        self.config.write_text(text, "utf-8")

    async def __aenter__(self) -> Self:
        """Start it and wait until it is ready; `StartupError` with its own last words."""
        try:
            with self.log.open("wb") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "gateway", "serve", "--config", str(self.config)),
                    env=self._environ,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C reaches the demo alone, which ends it quietly
                )
            await self._wait_until_ready(self._process)
        except OSError as error:
            raise StartupError(f"the demo's gateway cannot be started: {error}") from error
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    @contextlib.asynccontextmanager
    async def clients(self, patience: float) -> AsyncIterator[Clients]:
        """Clients of its public listener, and of its control socket beside the database.

        `patience` is seconds for each answer.
        """
        with unix_address(self.folder / "gateway.db.sock") as address:
            transport = httpx2.AsyncHTTPTransport(uds=address, trust_env=False)
            async with (
                httpx2.AsyncClient(base_url=self.url, trust_env=False, timeout=patience) as public,
                httpx2.AsyncClient(
                    base_url="http://gateway",
                    transport=transport,
                    trust_env=False,
                    timeout=patience,
                ) as control,
            ):
                yield Clients(public, control)

    def last_words(self) -> str:
        """The last line that it wrote, without our own prefix."""
        lines = self.log.read_text("utf-8", errors="replace").splitlines()
        return lines[-1].removeprefix("gateway: ") if lines else "it said nothing"

    async def _wait_until_ready(self, process: asyncio.subprocess.Process) -> None:
        try:
            async with asyncio.timeout(START), httpx2.AsyncClient(trust_env=False) as client:
                while not await self._ready(client):
                    if process.returncode is not None:
                        raise StartupError(f"the demo's gateway ended: {self.last_words()}")
                    await asyncio.sleep(PAUSE)
        except TimeoutError:
            raise StartupError(f"the demo's gateway was not ready after {START:g} s") from None

    async def _ready(self, client: httpx2.AsyncClient) -> bool:
        try:
            answer = await client.get(f"http://127.0.0.1:{self._admin_port}/readyz")
        except httpx2.TransportError:
            return False
        return answer.status_code == 200

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        try:
            process.terminate()
            async with asyncio.timeout(STOP):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()


def _free_ports() -> tuple[int, int]:
    """Two ports that nobody listens on at this moment."""
    try:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            other.bind(("127.0.0.1", 0))
            return one.getsockname()[1], other.getsockname()[1]
    except OSError as error:
        raise StartupError(f"the demo finds no free port on 127.0.0.1: {error}") from error


def _configuration(
    gateway: Gateway,
    receivers: Sequence[Receiver],
    api: MarketigerApi,
    *,
    ports: tuple[int, int],
) -> str:
    """The configuration; a JSON string is a TOML string too."""
    allowed = [f"127.0.0.1/32:{listener.port}" for listener in (*receivers, api)]
    tables = [
        "# The gateway of `gateway demo`; what it called and asked ended with the demo.",
        f'[server]\nport = {ports[0]}\npublic_url = "{gateway.url}"\nstop_grace = "2s"',
        f"[admin]\nport = {ports[1]}",
        f"[store]\nurl = {json.dumps(gateway.store_url)}",
        f"[egress]\nallow = {json.dumps(allowed)}",
    ]
    for source, secret in gateway.secrets.items():
        tables.append(f'[sources.{source}]\nprovider = "{source}"\nsecrets = ["{secret}"]')
    tables[-1] += f'\ncurrency = "{CURRENCY}"'
    tables.append(
        f'[sources.{MARKETIGER}]\nprovider = "{MARKETIGER}"\nbase_url = "{api.url}"\n'
        f'token = "{api.token}"\ninterval = "{INTERVAL}"'
    )
    tables += [_subscription(receiver) for receiver in receivers]
    return "\n\n".join(tables) + "\n"


def _subscription(receiver: Receiver) -> str:
    part = receiver.part
    return "\n".join(
        [
            f"[subscriptions.{part.name}]",
            f'url = "http://127.0.0.1:{receiver.port}/{part.name}"',
            f"types = {json.dumps(part.types)}",
            f'mode = "{part.mode}"',
            f'secrets = ["{receiver.secret}"]',
            f"schedule = {json.dumps(SCHEDULE)}",
        ]
    )
