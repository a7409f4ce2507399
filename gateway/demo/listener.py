"""An HTTP server of the demo's own, on a free port of loopback."""

import asyncio
import socket
from collections.abc import Callable
from typing import Self

from starlette.types import ASGIApp

from gateway.models import Duration
from gateway.web.limits import Limits
from gateway.web.server import Server, bind, make_server

Clock = Callable[[], float]


class Listener:
    """Serves an application while it is entered; `name` is for errors. Raises `StartupError`."""

    def __init__(self, app: ASGIApp, *, name: str) -> None:
        self._socket: socket.socket = bind("127.0.0.1", 0, path=name)
        self._server: Server = make_server(app, limits=Limits(), sock=self._socket)
        self._serving: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1])

    async def __aenter__(self) -> Self:
        self._serving = asyncio.create_task(self._server.serve())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.stop(Duration(0))
        assert self._serving is not None
        await self._serving
