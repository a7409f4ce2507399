"""The gateway as a process: configured in a folder, started, waited for, killed, started again."""

import asyncio
import base64
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import msgspec

from tests.acceptance.load import SECRET
from tests.acceptance.machine import withheld
from tests.acceptance.peers import Receiver, read_message
from tests.ports import free_port

START_TIMEOUT = 60.0  # seconds; under a tracer on a busy machine a start is slow
STOP_TIMEOUT = 60.0  # seconds
READY_PAUSE = 0.02  # seconds between two looks at /readyz
SCHEDULE = ("200ms", "400ms", "800ms", *["1s"] * 20)


class DidNotStart(Exception):
    """The gateway ended, or was not ready in time; the text has the end of its log."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription: which types a receiver gets, how long one attempt may last, and in which order."""

    receiver: Receiver
    types: tuple[str, ...]
    timeout: float = 2.0  # seconds
    ordered: bool = False


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of the gateway; the names of the headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def secret(rng: Random) -> str:
    """A secret as Standard Webhooks writes it: `whsec_` and the base64 of 24 bytes or more."""
    return "whsec_" + base64.b64encode(rng.randbytes(32)).decode()


class Gateway:
    """`python -m gateway serve` in `folder`; the same ports and the same file over all restarts."""

    def __init__(
        self,
        folder: Path,
        wanted: Sequence[Wanted],
        *,
        command: Sequence[str] = ("-m", "gateway"),
        database: Path | None = None,
    ) -> None:
        """Write the configuration; `command` is what follows the interpreter's name."""
        self.port = free_port()
        self.admin_port = free_port()
        self.database = database or folder / "gateway.db"
        self.log = folder / "gateway.log"
        self.prefix: tuple[str, ...] = ()  # a tracer and its options, or what makes its disk
        self.environment: dict[str, str] = {}  # beside that of this process
        self._folder = folder
        self._command = (sys.executable, *command)
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "gateway.toml").write_text(self._configuration(wanted), encoding="utf-8")

    @property
    def pid(self) -> int:
        """The serving process; only while it was started and not yet ended."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> float:
        """Start and wait for `/readyz`; the seconds that took. Raises `DidNotStart`.

        Not counted are those in which a busy machine let it wait, or this process which looks.
        """
        begun, waited = time.monotonic(), withheld()
        process = self._process = self._spawn()
        while time.monotonic() - begun < START_TIMEOUT:
            if process.poll() is not None:
                raise DidNotStart(f"exit {process.returncode}\n{self.log_end()}")
            if await self._ready():
                waited = withheld() - waited + withheld(process.pid)
                return max(time.monotonic() - begun - waited, 0.0)
            await asyncio.sleep(READY_PAUSE)
        self.kill()
        raise DidNotStart(f"not ready after {START_TIMEOUT} s\n{self.log_end()}")

    def kill(self) -> None:
        """SIGKILL the serving process and reap it; nothing happens when none runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def stop(self) -> int:
        """SIGTERM the serving process; return its exit code, -9 when it had to be killed."""
        assert self._process is not None
        process, self._process = self._process, None
        process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.to_thread(process.wait, STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    async def ended(self) -> int:
        """Wait until the serving process has ended by itself; its exit code. Raises `TimeoutError`."""
        assert self._process is not None
        try:
            code = await asyncio.to_thread(self._process.wait, STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"it still runs\n{self.log_end()}") from None
        self._process = None
        return code

    async def run(self, *arguments: str, prefix: Sequence[str] = ()) -> str:
        """What another command prints that is given the same configuration; it has to succeed."""
        process = await asyncio.create_subprocess_exec(
            *(*prefix, *self._command, *arguments),
            *("--config", str(self._folder / "gateway.toml")),  # a prefix may lead elsewhere
            cwd=self._folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        printed, _ = await process.communicate()
        assert process.returncode == 0, printed.decode()
        return printed.decode()

    def log_end(self) -> str:
        """The last lines that the gateway wrote."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-30:])

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                (*self.prefix, *self._command, "serve", "--config", "gateway.toml"),
                cwd=self._folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(_root()), **self.environment}

    async def _ready(self) -> bool:
        try:
            async with asyncio.timeout(5.0):
                answer = await ask(self.admin_port, "GET /readyz")
        except (OSError, asyncio.IncompleteReadError):
            return False
        return answer.status == 200

    def _configuration(self, wanted: Sequence[Wanted]) -> str:
        parts = [
            f"[server]\nport = {self.port}\n",
            f"[admin]\nport = {self.admin_port}\n",
            f'[store]\nurl = "sqlite:///{self.database}"\n',
            f'[sources.shop]\nprovider = "printstudio"\nsecrets = ["{SECRET}"]\n',
            '[egress]\nallow = ["127.0.0.0/8:*"]\n',
            *(_subscription(one) for one in wanted),
        ]
        return "\n".join(parts)


async def ask(
    port: int, request: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Answer:
    """One request, as in `GET /readyz`. Raises `OSError`, `asyncio.IncompleteReadError`."""
    lines = {"Host": f"127.0.0.1:{port}", "Content-Length": str(len(body)), **(headers or {})}
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"{request} HTTP/1.1\r\n{head}\r\n".encode() + body)
        found, answered = await read_message(reader)
    finally:
        writer.close()
    return Answer(status=int(found[""].split(" ")[1]), headers=found, body=answered)


def _subscription(wanted: Wanted) -> str:
    receiver = wanted.receiver
    return (
        f'[subscriptions.{receiver.name}]\nurl = "{receiver.url}"\n'
        f'types = [{_strings(wanted.types)}]\nsecrets = ["{receiver.secret}"]\n'
        f'schedule = [{_strings(SCHEDULE)}]\ntimeout = "{round(wanted.timeout * 1000)}ms"\n'
        f'ordering = "{"order" if wanted.ordered else "none"}"\n'
    )


def _strings(values: Sequence[str]) -> str:
    return ", ".join(f'"{value}"' for value in values)


def _root() -> Path:
    """The folder that holds the packages `gateway` and `tests` which this process would import."""
    spec = importlib.util.find_spec("gateway")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent.parent
