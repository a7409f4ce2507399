"""The control socket's routes of subscriptions that no configuration declares."""

from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.errors import BadRequest, TooLarge
from gateway.models import Millis
from gateway.runtime import Gateway
from gateway.web.problems import answered

BODY_LIMIT = 64 << 10  # bytes of a request's body
LONGEST_OVERLAP = 365 * 86_400_000  # milliseconds, as of every time in the configuration

T = TypeVar("T")


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body that adds a subscription: the keys of its table in the configuration, and its name."""

    name: str
    settings: dict[str, object]


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a rotation: for how many milliseconds the secrets of now sign as well."""

    overlap_ms: int


_wanted = msgspec.json.Decoder(Wanted)
_rotation = msgspec.json.Decoder(Rotation)


def subscription_routes(gateway: Gateway) -> list[Route]:
    """What the control socket can do with subscriptions."""
    doors = Subscriptions(gateway)
    return [
        Route("/v1/subscriptions", answered(doors.add), methods=["POST"]),
        Route("/v1/subscriptions/{name}/remove", answered(doors.remove), methods=["POST"]),
        Route("/v1/subscriptions/{name}/rotate", answered(doors.rotate), methods=["POST"]),
    ]


class Subscriptions:
    """Each method answers one request, or raises one of our errors."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def add(self, request: Request) -> Response:
        """`{"name", "settings"}`; answers with how it stands and its secret, this once."""
        wanted = await _body(request, _wanted, '{"name", "settings"}')
        made = await self._gateway.subscribe(wanted.name, wanted.settings)
        return _json(made, status=201)

    async def remove(self, request: Request) -> Response:
        """Answers with its name."""
        return _json(await self._gateway.unsubscribe(request.path_params["name"]))

    async def rotate(self, request: Request) -> Response:
        """`{"overlap_ms"}`; answers with how it stands and its new secret, this once."""
        asked = await _body(request, _rotation, '{"overlap_ms"}')
        if not 0 <= asked.overlap_ms <= LONGEST_OVERLAP:
            raise BadRequest(f"overlap_ms: expected 0 to {LONGEST_OVERLAP}")
        name = request.path_params["name"]
        return _json(await self._gateway.rotate(name, Millis(asked.overlap_ms)))


def _json(body: object, *, status: int = 200) -> Response:
    """An answer that nobody keeps: it may hold a secret."""
    return Response(
        msgspec.json.encode(body),
        status_code=status,
        media_type="application/json",
        headers={"cache-control": "no-store"},
    )


async def _body(request: Request, decoder: msgspec.json.Decoder[T], shape: str) -> T:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise TooLarge(f"the body is over {BODY_LIMIT} bytes")
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body must be {shape}: {error}") from error
