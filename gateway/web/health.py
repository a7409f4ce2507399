"""`/healthz`: this process answers. `/readyz`: the database can be written, the dispatcher runs."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import Unavailable

DEADLINE = 2.0  # seconds for one durable write; a disk that takes longer is not ready


def healthz(_: Request) -> Response:
    """Alive."""
    return _answer(200, {"status": "alive"})


class Ready:
    """Asks the parts; `heartbeat` writes one row durably."""

    def __init__(
        self, *, heartbeat: Callable[[], Awaitable[None]], dispatching: Callable[[], bool]
    ) -> None:
        self._heartbeat, self._dispatching = heartbeat, dispatching

    async def __call__(self, _: Request) -> Response:
        """200, or 503 with the part that is not ready."""
        checks = {"database": await self._database(), "dispatcher": self._dispatcher()}
        ready = all(word == "ok" for word in checks.values())
        return _answer(
            200 if ready else 503, {"status": "ready" if ready else "not ready", **checks}
        )

    async def _database(self) -> str:
        try:
            async with asyncio.timeout(DEADLINE):
                await self._heartbeat()
        except TimeoutError:
            return f"a write took longer than {DEADLINE:g} s"
        except Unavailable as error:
            return str(error)
        return "ok"

    def _dispatcher(self) -> str:
        return "ok" if self._dispatching() else "it does not run"


def _answer(status: int, body: dict[str, str]) -> Response:
    return Response(
        msgspec.json.encode(body),
        status_code=status,
        media_type="application/json",
        headers={"cache-control": "no-store"},
    )
