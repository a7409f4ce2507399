"""`gateway serve`: the process itself, with its three doors, its signals and its first words."""

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import uvloop

from gateway.config.settings import Settings
from gateway.models import Duration
from gateway.runtime import Gateway, build
from gateway.stores.registry import database_path
from gateway.web.app import admin_app, control_app, public_app
from gateway.web.limits import Limits
from gateway.web.server import Server, bind, bind_unix, make_server

SIGNALS = (signal.SIGTERM, signal.SIGINT)
OPEN_FILES = 65_536
GARBAGE = 20_000  # new containers between two collections
LAST_REQUESTS = Duration(5_000)  # for requests that are under way when the gateway stops
NO_SOURCES = (
    "No sources yet. Write one into gateway.toml, then run `gateway serve --config gateway.toml`:",
    "    [sources.stripe-live]",
    '    provider = "stripe"',
    '    secrets = ["${STRIPE_WEBHOOK_SECRET}"]',
    "Or see it work first: `gateway demo`",
)

logger = logging.getLogger("gateway")


def socket_path(settings: Settings) -> Path:
    """The control socket, beside the database."""
    database = database_path(settings.store.url)
    return database.with_name(database.name + ".sock")


def serve(settings: Settings, *, say: Callable[[str], None]) -> int:
    """Run until SIGTERM or SIGINT; the exit code. Raises `StartupError` in one sentence."""
    failure: list[str] = []
    process = Process(settings, failure)
    with ExitStack() as undo:
        process.open(undo)
        say(process.greeting())
        uvloop.run(process.run())
    if failure:
        sys.stderr.write(f"gateway: {failure[0]}\n")
        return 1
    return 0


class Process:
    """One serving process; `failure` gets the sentence when the store fails for good."""

    def __init__(self, settings: Settings, failure: list[str]) -> None:
        self._settings, self._failure = settings, failure
        self._gateway: Gateway = build(settings, on_fatal=self._fatal)
        self._sockets: dict[str, socket.socket] = {}
        self._stopping = asyncio.Event()

    def open(self, undo: ExitStack) -> None:
        """Bind and open everything that can fail, before anything runs."""
        server, admin = self._settings.server, self._settings.admin
        for name, host, port in (
            ("server", server.host, server.port),
            ("admin", admin.host, admin.port),
        ):
            self._sockets[name] = undo.enter_context(bind(host, port, path=name))
        self._gateway.store.open()
        path = socket_path(self._settings)
        self._sockets["control"] = undo.enter_context(bind_unix(path))
        undo.callback(path.unlink, missing_ok=True)

    def greeting(self) -> str:
        """What a person wants to know first."""
        settings, public = self._settings, self._url("server")
        lines = [
            f"Listening on {public}; callbacks go to {public}/hooks/SOURCE",
            f"Admin on {self._url('admin')}; {self._url('admin')}/readyz says when all is well",
            f"Database {database_path(settings.store.url).resolve()}",
        ]
        lines += [f"Source {name}: POST {public}/hooks/{name}" for name in settings.sources]
        if not settings.sources:
            lines += NO_SOURCES
        elif not settings.subscriptions:
            lines.append("No subscriptions yet: events are stored, and go nowhere.")
        lines.append("Documentation: README.md and docs/; every key: config.example.toml")
        return "\n".join(lines)

    def _url(self, name: str) -> str:
        host, port = self._sockets[name].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def run(self) -> None:
        """Serve until told to stop."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._stop)
        await self._gateway.start()
        _settle_down()
        servers = self._servers()
        serving = [asyncio.create_task(server.serve()) for server in servers]
        logger.info("ready")
        await self._stopping.wait()
        for number in SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)  # a second one ends us at once: nothing is lost
        if self._failure:
            return
        grace = self._settings.server.stop_grace
        for server in servers:
            server.stop(Duration(min(grace, LAST_REQUESTS)))
        await asyncio.gather(*serving)
        await self._gateway.stop(grace / 1000)

    def _servers(self) -> list[Server]:
        doors = {
            "server": public_app(self._gateway),
            "admin": admin_app(self._gateway),
            "control": control_app(self._gateway),
        }
        hosts = {"server": self._settings.server.allowed_hosts}
        return [
            make_server(
                app, limits=Limits(allowed_hosts=hosts.get(name, ())), sock=self._sockets[name]
            )
            for name, app in doors.items()
        ]

    def _stop(self) -> None:
        logger.info("stopping")
        self._stopping.set()

    def _fatal(self, sentence: str) -> None:
        self._failure.append(sentence)
        self._stopping.set()


def _settle_down() -> None:
    """Before the first request: many connections, and no garbage collection of what stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, OPEN_FILES)), hard))
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE, 20, 100)  # a callback makes little that only the collector finds
