"""The control socket's routes: what changes something in a running gateway."""

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.errors import GatewayError
from gateway.runtime import Gateway
from gateway.web.problems import error_problem

Act = Callable[[str], Awaitable[dict[str, object]]]


def _endpoint(act: Act) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            body = await act(request.path_params["id"])
        except GatewayError as error:
            return error_problem(error)
        return Response(msgspec.json.encode(body), media_type="application/json")

    return answer


def control_routes(gateway: Gateway) -> list[Route]:
    """What the control socket can do."""
    return [
        Route("/v1/deliveries/{id}/replay", _endpoint(gateway.replay), methods=["POST"]),
        Route("/v1/subscriptions/{id}/resume", _endpoint(gateway.resume), methods=["POST"]),
        Route("/v1/subscriptions/{id}/pause", _endpoint(gateway.pause), methods=["POST"]),
    ]
