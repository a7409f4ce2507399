"""The control socket's routes: what changes something in a running gateway."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.errors import BadRequest
from gateway.runtime import Gateway
from gateway.web.problems import answered

Act = Callable[[str], Awaitable[object]]


def _endpoint(act: Act) -> Callable[[Request], Awaitable[Response]]:
    return answered(lambda request: act(request.path_params["id"]))


def _retry(gateway: Gateway) -> Callable[[Request], Awaitable[Response]]:
    async def retry(request: Request) -> object:
        dry_run = request.query_params.get("dry_run", "false")
        if dry_run not in {"true", "false"}:
            raise BadRequest("dry_run is true or false")
        callback = request.path_params["id"]
        return await gateway.retry_callback(callback, dry_run=dry_run == "true")

    return answered(retry)


def control_routes(gateway: Gateway) -> list[Route]:
    """What the control socket can do."""
    return [
        Route("/v1/deliveries/{id}/replay", _endpoint(gateway.replay), methods=["POST"]),
        Route("/v1/callbacks/{id}/retry", _retry(gateway), methods=["POST"]),
        Route("/v1/subscriptions/{id}/resume", _endpoint(gateway.resume), methods=["POST"]),
        Route("/v1/subscriptions/{id}/pause", _endpoint(gateway.pause), methods=["POST"]),
    ]
