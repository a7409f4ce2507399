"""The control socket's routes of polled sources; what takes long is told line by line (JSON Lines)."""

from collections.abc import AsyncIterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from gateway.config.values import A_DURATION, parse_duration
from gateway.errors import BadRequest
from gateway.models import Millis
from gateway.poller.poller import Line
from gateway.runtime import Gateway
from gateway.web.api.doors import read_body
from gateway.web.problems import answered

BODY_LIMIT = 16 << 10  # bytes of a request's body

_encoder = msgspec.json.Encoder()


class WatchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request to watch an order: its id at the provider, and the shop's if it is told."""

    id: str
    order: str | None = None


_watch = msgspec.json.Decoder(WatchRequest)


def source_routes(gateway: Gateway) -> list[Route]:
    """What the control socket can do with polled sources."""
    doors = Sources(gateway)
    return [
        Route("/v1/sources/{name}/watch", answered(doors.watch), methods=["POST"]),
        Route("/v1/sources/{name}/poll", answered(doors.poll), methods=["POST"]),
        Route("/v1/sources/{name}/reconcile", answered(doors.reconcile), methods=["POST"]),
    ]


class Sources:
    """Each method answers one request, or raises one of our errors."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def watch(self, request: Request) -> Response:
        """`{"id", "order"}`; answers `{"source", "id", "order", "new"}`."""
        body = await read_body(request, BODY_LIMIT)
        try:
            wanted = _watch.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BadRequest(f'the body must be {{"id", "order"}}: {error}') from error
        name = request.path_params["name"]
        answer = await self._gateway.poller.watch(name, wanted.id, wanted.order)
        return Response(_encoder.encode(answer), media_type="application/json")

    async def poll(self, request: Request) -> Response:
        """One round; its lines are those of `Poller.once`."""
        name = request.path_params["name"]
        self._gateway.poller.source(name)
        return _told(self._gateway.poller.once(name))

    async def reconcile(self, request: Request) -> Response:
        """`?since=7d&emit=true`; its lines are those of `Poller.reconcile`."""
        since, emit = request.query_params.get("since"), request.query_params.get("emit", "false")
        if emit not in {"true", "false"}:
            raise BadRequest("emit is true or false")
        name = request.path_params["name"]
        self._gateway.poller.source(name)
        start = since_of(since, self._gateway.clock())
        return _told(self._gateway.poller.reconcile(name, since=start, emit=emit == "true"))


def since_of(text: str | None, now: Millis) -> Millis | None:
    """The time that lies a duration such as `7d` before `now`; None for None. `BadRequest`."""
    if text is None:
        return None
    try:
        return Millis(max(now - parse_duration(text), 0))
    except ValueError:
        raise BadRequest(f"since: expected {A_DURATION}") from None


def _told(lines: AsyncIterator[Line]) -> Response:
    async def encoded() -> AsyncIterator[bytes]:
        async for line in lines:
            yield _encoder.encode(line) + b"\n"

    return StreamingResponse(encoded(), media_type="application/jsonl")
