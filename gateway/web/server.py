"""A listener: its socket, and a uvicorn server that shares process and loop with others."""

import asyncio
import contextlib
import errno
import logging
import os
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from gateway.errors import StartupError
from gateway.models import Duration
from gateway.web.direct import direct
from gateway.web.limits import Limits
from gateway.web.protocol import GuardedProtocol, guarded

logger = logging.getLogger(__name__)

BACKLOG = 2048
# The shorter of the two usual sizes of `sun_path`: 104 on the BSDs, 108 on Linux, with a NUL.
_SUN_PATH = 108 if sys.platform == "linux" else 104
_DESCRIPTORS = Path("/proc/self/fd")
_TICK = 0.02  # seconds; how often a stopping server looks whether all is answered
_MOURNING = 1.0  # seconds that applications have to notice that they were cut off


class Server(uvicorn.Server):
    """Serves one socket until `stop`. It leaves signals, logging and the loop to its caller."""

    def __init__(self, config: uvicorn.Config, sock: socket.socket) -> None:
        super().__init__(config)
        self.sock = sock
        self._grace = Duration(0)
        self._stopping = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing: several servers live in one process, and its signals are not theirs."""
        yield

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until `stop` was called and the connections are closed."""
        await super().serve(sockets or [self.sock])

    def stop(self, grace: Duration) -> None:
        """Accept no more; close idle connections now, the others when answered or after `grace`."""
        self._grace = grace
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        """Keep the Date header right, once a second, until `stop`."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), 1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the socket, then every connection: politely within the grace, else at once."""
        for server in self.servers:
            server.close()
        for sock in sockets or []:
            sock.close()
        for connection in self._connections():
            connection.shutdown()
        if await self._settled(self._grace / 1000):
            return
        logger.warning("cutting off %d connections", len(self.server_state.connections))
        for connection in self._connections():
            connection.cut()
        if not await self._settled(_MOURNING):
            tasks = list(self.server_state.tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _connections(self) -> list[GuardedProtocol]:
        return cast("list[GuardedProtocol]", list(self.server_state.connections))

    async def _settled(self, seconds: float) -> bool:
        """Whether every connection and task ends within this time."""
        state = self.server_state
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while state.connections or state.tasks:  # noqa: ASYNC110 - uvicorn keeps plain sets
                    await asyncio.sleep(_TICK)
        return not (state.connections or state.tasks)


def make_server(app: ASGIApp, *, limits: Limits, sock: socket.socket) -> Server:
    """A server for one bound socket, TCP or Unix; several may run in one loop.

    An application that has `begin` (see `direct.Begin`) is offered whole requests through it.
    """
    begin = getattr(app, "begin", None)
    config = uvicorn.Config(
        app,
        http=guarded(limits) if begin is None else direct(limits, begin),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
    )
    return Server(config, sock)


def bind(host: str, port: int, *, path: str) -> socket.socket:
    """A listening TCP socket; port 0 takes a free one.

    `path` is the table of the configuration that holds `host` and `port`, as in `server`.
    Raises `StartupError`, with the key to change, when this cannot be.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        message = f"{path}.host: {host!r} is no address or name that is known here"
        raise StartupError(message) from error
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind(address)
        # Not left to the server: two sockets may be bound to one port, but not both listen.
        sock.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        sock.close()
        raise StartupError(_why(error, host, port, path)) from error
    return sock


def _why(error: Exception, host: str, port: int, path: str) -> str:
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.EADDRINUSE:
        return f"{path}.port: {shown} is in use by another program; stop it or choose another port"
    if code in {errno.EACCES, errno.EPERM}:
        return f"{path}.port: {shown} needs privileges that the gateway lacks; choose a port above 1023"
    if code in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
        return f"{path}.host: {host} is no address of this machine; choose one that is"
    return f"{path}: cannot listen on {shown}: {error}"


def bind_unix(path: Path) -> socket.socket:
    """A listening Unix socket that only its owner may connect to, from the first moment.

    A socket file that nothing listens on any more is replaced. The file stays when the socket is
    closed. Raises `StartupError` when something listens there, or the file is no socket.
    """
    _clear(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        with unix_address(path) as address:
            before = os.umask(0o177)
            try:
                sock.bind(address)
            finally:
                os.umask(before)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise StartupError(f"cannot listen on {path}: {error.strerror or error}") from error
    except StartupError:
        sock.close()
        raise
    return sock


def _clear(path: Path) -> None:
    """Remove a stale socket file; leave everything else, and say so."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise StartupError(f"cannot listen on {path}: {error.strerror}") from error
    if not stat.S_ISSOCK(mode):
        raise StartupError(f"{path} is in the way: it is no socket; move it elsewhere")
    if _answers(path):
        raise StartupError(f"{path} is in use by another gateway; stop it first")
    path.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, unix_address(path) as address:
        probe.setblocking(False)
        try:
            probe.connect(address)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True  # a full backlog, or somebody else's socket
        return True


@contextlib.contextmanager
def unix_address(path: Path) -> Iterator[str]:
    """The address to bind or connect to for a socket file, however long its path is.

    A path over the size of `sun_path` (man 7 unix) goes through a descriptor of its directory,
    where the system has them under /proc; elsewhere `StartupError`.
    """
    if len(os.fsencode(path)) < _SUN_PATH:
        yield str(path)
        return
    short = len(os.fsencode(path.name)) < _SUN_PATH - len("/proc/self/fd/1234567/")
    if not (short and _DESCRIPTORS.is_dir()):
        raise StartupError(f"{path}: the path is too long for a socket; choose a shorter one")
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"{_DESCRIPTORS}/{directory}/{path.name}"
    finally:
        os.close(directory)
