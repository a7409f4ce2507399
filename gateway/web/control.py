"""The control socket's routes: what changes something in a running gateway."""

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.errors import GatewayError
from gateway.runtime import Gateway
from gateway.web.problems import error_problem, problem

Act = Callable[[str], Awaitable[dict[str, object]]]


def _endpoint(act: Act) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            body = await act(request.path_params["id"])
        except GatewayError as error:
            return error_problem(error)
        return _json(body)

    return answer


def _json(body: object) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")


def _retry(gateway: Gateway) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        dry_run = request.query_params.get("dry_run", "false")
        if dry_run not in {"true", "false"}:
            return problem(400, "dry_run is true or false")
        try:
            body = await gateway.retry_callback(
                request.path_params["id"], dry_run=dry_run == "true"
            )
        except GatewayError as error:
            return error_problem(error)
        return _json(body)

    return answer


def control_routes(gateway: Gateway) -> list[Route]:
    """What the control socket can do."""
    return [
        Route("/v1/deliveries/{id}/replay", _endpoint(gateway.replay), methods=["POST"]),
        Route("/v1/callbacks/{id}/retry", _retry(gateway), methods=["POST"]),
        Route("/v1/subscriptions/{id}/resume", _endpoint(gateway.resume), methods=["POST"]),
        Route("/v1/subscriptions/{id}/pause", _endpoint(gateway.pause), methods=["POST"]),
    ]
