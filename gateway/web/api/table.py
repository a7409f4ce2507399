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
from gateway.web.api.openapi import document, encoded
from gateway.web.api.operation import Door, Operation
from gateway.web.api.orders import ORDERS
from gateway.web.api.publishing import PUBLISHING
from gateway.web.api.pulling import PULLING
from gateway.web.api.reading import READING
from gateway.web.api.samples import SAMPLES
from gateway.web.api.setaside import SET_ASIDE
from gateway.web.api.sources import SOURCES
from gateway.web.api.sourcing import SOURCING
from gateway.web.api.stats import STATS
from gateway.web.api.streaming import STREAMING
from gateway.web.api.subscribing import SUBSCRIBING
from gateway.web.api.testing import TESTING
from gateway.web.pages.docs import docs_page

OPERATIONS: tuple[Operation, ...] = (
    *ABOUT,
    *READING,
    *SOURCES,
    *SOURCING,
    *ORDERS,
    *SET_ASIDE,
    *SAMPLES,
    *TESTING,
    *SUBSCRIBING,
    *PULLING,
    *STATS,
    *STREAMING,
    *ACTING,
    *PUBLISHING,
    *KEYS,
)


def routes_at(gateway: Gateway, door: Door | None) -> list[Route]:
    """The calls that are reached at a door, None for the owner's socket, and what describes them."""
    operations = tuple(
        operation for operation in OPERATIONS if door is None or door in operation.doors
    )
    docs = docs_page(lambda: document(operations), owner=door is None)
    return [
        Route("/openapi.json", _described(operations), methods=["GET"]),
        *([] if door is Door.PUBLIC else [Route("/docs", docs, methods=["GET"])]),
        *api_routes(gateway, operations, owner=door is None),
    ]


def _described(
    operations: tuple[Operation, ...],
) -> Callable[[Request], Awaitable[Response]]:
    async def describe(_: Request) -> Response:
        return Response(encoded(operations), media_type="application/json")

    return describe
