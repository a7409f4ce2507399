"""All calls of the API, and the documents about them."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.runtime import Gateway
from gateway.web.api.about import ABOUT
from gateway.web.api.acting import ACTING
from gateway.web.api.doors import api_routes
from gateway.web.api.keys import KEYS
from gateway.web.api.openapi import encoded
from gateway.web.api.operation import Door, Operation
from gateway.web.api.publishing import PUBLISHING
from gateway.web.api.reading import READING
from gateway.web.api.samples import SAMPLES
from gateway.web.api.subscribing import SUBSCRIBING

OPERATIONS: tuple[Operation, ...] = (
    *ABOUT,
    *READING,
    *SAMPLES,
    *SUBSCRIBING,
    *ACTING,
    *PUBLISHING,
    *KEYS,
)


def routes_at(gateway: Gateway, door: Door | None) -> list[Route]:
    """The calls that are reached at a door, None for the owner's socket, and what describes them."""
    operations = tuple(
        operation for operation in OPERATIONS if door is None or door in operation.doors
    )
    return [
        Route("/openapi.json", _described(operations), methods=["GET"]),
        *api_routes(gateway, operations, owner=door is None),
    ]


def _described(
    operations: tuple[Operation, ...],
) -> Callable[[Request], Awaitable[Response]]:
    async def describe(_: Request) -> Response:
        return Response(encoded(operations), media_type="application/json")

    return describe
