"""`gateway serve`: the process itself, with its three doors, its signals and its first words."""

import asyncio
import contextlib
import gc
import logging
import resource
import shlex
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import uvloop

from gateway.cli.first_key import make_first_key
from gateway.cli.installation import command, documentation
from gateway.config.settings import PollSettings, Settings, SubscriptionSettings
from gateway.egress.rules import parse_target
from gateway.models import Duration
from gateway.runtime import Gateway, build
from gateway.sources import Known
from gateway.stores.registry import database_path
from gateway.web.app import admin_app, control_app, public_app
from gateway.web.limits import Limits
from gateway.web.server import Server, bind, bind_unix, make_server

SIGNALS = (signal.SIGTERM, signal.SIGINT)
OPEN_FILES = 65_536
GARBAGE = 20_000  # new containers between two collections
LAST_REQUESTS = Duration(5_000)  # for requests that are under way when the gateway stops
SOURCE = """\
    [sources.stripe-live]
    provider = "stripe"
    secrets = ["${STRIPE_WEBHOOK_SECRET}"]"""
SUBSCRIPTION = """\
    [subscriptions.fulfilment]
    url = "https://example.com/hooks"
    secrets = ["${FULFILMENT_SECRET}"]"""

logger = logging.getLogger("gateway")


def socket_path(settings: Settings) -> Path:
    """The control socket, beside the database."""
    database = database_path(settings.store.url)
    return database.with_name(database.name + ".sock")


def serve(settings: Settings, *, config: Path | None, say: Callable[[str], None]) -> int:
    """Run until SIGTERM or SIGINT; the exit code. Raises `StartupError` in one sentence.

    `config` is the file that the settings came from, for the first words alone.
    """
    failure: list[str] = []
    process = Process(settings, failure)
    with ExitStack() as undo:
        process.open(undo)
        uvloop.run(process.run(lambda: say("\n".join(process.greeting(config)))))
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

    def greeting(self, config: Path | None) -> Iterator[str]:
        """What a person wants to know first, once the sources that were made are taken up."""
        settings, public = self._settings, self._url("server")
        yield f"Listening on {public}; callbacks go to {public}/hooks/SOURCE"
        yield f"Admin on {self._url('admin')}; {self._url('admin')}/readyz says when all is well"
        yield f"Database {database_path(settings.store.url).resolve()}"
        for known in self._gateway.sources.all.values():
            yield f"Source {known.name}: {_comes(known, public)}"
        for name, wanted in settings.subscriptions.items():
            yield f"Subscription {name}: {_told(wanted) if wanted.enabled else 'disabled'}"
        yield from _next_steps(settings, config, sources=bool(self._gateway.sources.all))
        yield documentation()

    def _url(self, name: str) -> str:
        host, port = self._sockets[name].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def run(self, greet: Callable[[], None]) -> None:
        """Serve until told to stop; `greet` says the first words when all parts work."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._stop)
        await self._gateway.start()
        greet()
        await make_first_key(self._gateway.keyring, self._settings, self._gateway.clock())
        _settle_down()
        servers = self._servers()
        serving = [asyncio.create_task(server.serve()) for server in servers]
        for task in serving:
            task.add_done_callback(self._server_ended)
        logger.info("ready")
        await self._stopping.wait()
        for number in SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)  # a second one ends us at once: nothing is lost
        if self._failure:
            self._gateway.dispatcher.abandon()
            return
        self._gateway.end_waiting()
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

    def _server_ended(self, task: "asyncio.Task[None]") -> None:
        if not self._stopping.is_set():
            why = task.exception() if not task.cancelled() else None
            self._fatal(f"a listener ended by itself: {why!r}: restart, and report it")

    def _fatal(self, sentence: str) -> None:
        self._failure.append(sentence)
        self._stopping.set()


def _comes(known: Known, public: str) -> str:
    """How the facts of a source come, as far as it can be read."""
    source = known.settings
    if source is None:
        return f"rests, as {known.problem}"
    if not source.enabled:
        return "disabled"
    if known.paused_at is not None:
        return f"paused until `gateway sources resume {known.name}`"
    doors = [f"POST {public}/hooks/{known.name}"] if source.secrets else []
    doors += [_asked(source.poll)] if source.poll is not None else []
    return "; ".join(doors)


def _asked(poll: PollSettings) -> str:
    """Which API is asked, and how often; the URL's path may be a secret."""
    to = parse_target(poll.base_url)
    return f"asks {to.scheme}://{to.host_header.decode()} every {poll.interval / 1000:g}s"


def _told(wanted: SubscriptionSettings) -> str:
    """Which events go where and how; the URL's path may be a secret."""
    if wanted.pull:
        return f"{', '.join(wanted.types)}, which its consumer fetches"
    to = parse_target(wanted.url).origin
    return f"{', '.join(wanted.types)} to {to} (profile {wanted.profile}, mode {wanted.mode})"


def _next_steps(settings: Settings, config: Path | None, *, sources: bool) -> Iterator[str]:
    """How to add what is missing, as lines that can be copied; whether there are `sources`."""
    file = shlex.quote(str(config or "gateway.toml"))
    if not sources:
        yield f"No sources yet: nothing can be received. Write one into {file}, as in"
        yield SOURCE
    if not settings.subscriptions:
        yield f"No subscriptions yet: nothing is delivered. Write one into {file}, as in"
        yield SUBSCRIPTION
        yield f"`{command()} secret` makes its secret."
    if not (sources and settings.subscriptions):
        yield f"Export the secrets, then run `{command()} serve --config {file}`."
    if config is None:
        yield f"Or see it work first: `{command()} demo`"


def _settle_down() -> None:
    """Before the first request: many connections, and no garbage collection of what stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, OPEN_FILES)), hard))
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE, 20, 100)  # a callback makes little that only the collector finds
