"""The ASGI applications of the three doors: public, admin, and the owner's control socket."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.events import schemas
from gateway.runtime import Gateway
from gateway.web.api.operation import Door
from gateway.web.api.table import routes_at
from gateway.web.handshakes import METHODS, ROUTE, Granting
from gateway.web.health import Ready, healthz
from gateway.web.hooks import HOOKS, Hooks
from gateway.web.problems import new_request_id, problem

SCHEMA_TYPE = "application/schema+json"


def _http_error(_: Request, error: Exception) -> Response:
    """An HTTP exception of the router as problem+json."""
    assert isinstance(error, HTTPException)
    number = new_request_id()
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    return problem(
        error.status_code, error.detail, request_id=number, x_request_id=number, **headers
    )


def _application(routes: Sequence[BaseRoute]) -> Starlette:
    app = Starlette(routes=routes, exception_handlers={HTTPException: _http_error})
    app.router.redirect_slashes = False
    return app


class Schemas:
    """`/schemas/v1/{name}`: where `dataschema` leads."""

    def __init__(self) -> None:
        self._files = schemas()

    async def __call__(self, request: Request) -> Response:
        """One schema, or 404."""
        body = self._files.get(request.path_params["name"])
        if body is None:
            raise HTTPException(404, "there is no such schema")
        return Response(
            body, media_type=SCHEMA_TYPE, headers={"cache-control": "public, max-age=3600"}
        )


class Public:
    """The public routes; callbacks go straight to their door, past layers that cost them a tenth.

    Where the server knows `begin`, most of them do not even come here.
    """

    def __init__(self, hooks: Hooks, others: ASGIApp) -> None:
        self._hooks, self._others = hooks, others
        self.begin = hooks.begin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"].startswith(HOOKS):
            await self._hooks(scope, receive, send)
        else:
            await self._others(scope, receive, send)


def public_app(gateway: Gateway) -> ASGIApp:
    """What the world may reach."""
    hooks = Hooks(
        gateway.receiver,
        gateway.rejections,
        body_limit=gateway.settings.server.body_limit,
        clock=gateway.clock,
    )
    granting = Granting(gateway.handshakes.grant)
    others = [
        Route("/schemas/v1/{name}", Schemas().__call__),
        Route(ROUTE, granting.__call__, methods=METHODS),
        Route("/healthz", healthz),
        *routes_at(gateway, Door.PUBLIC),
    ]
    return Public(hooks, _application(others))


def admin_app(gateway: Gateway) -> ASGIApp:
    """What the operator reaches, on loopback by default."""
    return _application([*_health(gateway), *routes_at(gateway, Door.ADMIN)])


def control_app(gateway: Gateway) -> ASGIApp:
    """What the owner of the database's folder reaches, through the socket."""
    return _application([*_health(gateway), *routes_at(gateway, None)])


def _health(gateway: Gateway) -> list[BaseRoute]:
    ready = Ready(heartbeat=gateway.heartbeat, dispatching=lambda: gateway.dispatcher.running)
    return [Route("/healthz", healthz), Route("/readyz", ready.__call__)]
