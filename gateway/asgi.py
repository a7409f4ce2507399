"""The public application for any ASGI server: `uvicorn --factory gateway.asgi:application`.

`gateway serve` is the better way: only its own server holds the deadlines and caps of inbound
requests, opens the admin listener and the control socket, and ends streams when it stops: another
server may wait for them (uvicorn: `--timeout-graceful-shutdown`). `GATEWAY_CONFIG` names the file.
"""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Mount

from gateway.config.load import load
from gateway.runtime import build
from gateway.telemetry.redaction import HidingKeys
from gateway.web.app import public_app


def application() -> Starlette:
    """A Starlette application that opens the store at start-up and closes it at the end."""
    name = os.environ.get("GATEWAY_CONFIG")
    logging.getLogger("uvicorn.access").addFilter(HidingKeys())  # its lines have the query
    settings = load(Path(name) if name else None, os.environ)
    gateway = build(settings, on_fatal=logging.getLogger("gateway").critical)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        gateway.store.open()
        await gateway.start()
        yield
        await gateway.stop(settings.server.stop_grace / 1000)

    return Starlette(routes=[Mount("/", public_app(gateway))], lifespan=lifespan)
