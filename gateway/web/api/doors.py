"""The table of calls as routes: who is let in, what comes in, problems, request ids."""

import logging
from collections.abc import Awaitable, Iterable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.errors import (
    BadRequest,
    ConfigError,
    Forbidden,
    GatewayError,
    StartupError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
)
from gateway.keyring import OWNER, Principal
from gateway.runtime import Gateway
from gateway.shown import shown
from gateway.web.api import idempotency
from gateway.web.api.cursors import Cursors
from gateway.web.api.operation import Call, Operation
from gateway.web.problems import error_problem, new_request_id, problem

BODY_LIMIT = 256 << 10  # bytes of a request's body
BEARER = "bearer "

logger = logging.getLogger("gateway.api")


def api_routes(gateway: Gateway, operations: Iterable[Operation], *, owner: bool) -> list[Route]:
    """The routes of these calls; at the owner's socket nobody needs a key."""
    cursors = Cursors(lambda: gateway.store.secret_for("cursors"))
    return [
        Route(
            operation.route,
            _Endpoint(gateway, operation, cursors, owner=owner).answer,
            methods=[operation.method],
            name=operation.name,
        )
        for operation in operations
    ]


class _Endpoint:
    """Answers the requests of one call."""

    def __init__(
        self, gateway: Gateway, operation: Operation, cursors: Cursors, *, owner: bool
    ) -> None:
        self._gateway, self._operation, self._owner = gateway, operation, owner
        self._cursors = cursors

    async def answer(self, request: Request) -> Response:
        number = new_request_id()
        response = await self._told(self._answer(request, number), number)
        response.headers["x-request-id"] = number
        response.headers.setdefault("cache-control", "no-store")
        return response

    async def _told(self, answer: Awaitable[Response], number: str) -> Response:
        """The answer, or the problem that it has met."""
        try:
            return await answer
        except ConfigError as error:
            return error_problem(BadRequest(str(error)), request_id=number)
        except StartupError as error:
            # It did start, so this is of the file that it now finds in its database's place.
            logger.warning("%s: %s cannot read the store: %s", number, self._operation.name, error)
            failed = Unavailable(f"the store cannot be read; the log has the details of {number}")
            return error_problem(failed, request_id=number)
        except GatewayError as error:
            return error_problem(error, request_id=number)
        except Exception:
            logger.exception("%s: %s met a bug", number, self._operation.name)
            return problem(
                500, f"a bug of the gateway; its log has the details of {number}", request_id=number
            )

    async def _answer(self, request: Request, number: str) -> Response:
        principal = OWNER if self._owner else self._let_in(request)
        if self._operation.once and idempotency.is_given(request):
            return await self._once(request, principal, number)
        return await self._act(request, principal)

    async def _once(self, request: Request, principal: Principal, number: str) -> Response:
        gateway, operation = self._gateway, self._operation
        body = await read_body(request, max(BODY_LIMIT, gateway.settings.server.body_limit))
        asked = idempotency.asked(
            request, principal, body, headers=operation.headers, events=bool(operation.takes)
        )
        again = idempotency.replayable(request, body)
        return await idempotency.once(
            gateway.store.answers,
            asked,
            lambda: self._told(self._act(again, principal), number),
            clock=gateway.clock,
            request_id=number,
        )

    async def _act(self, request: Request, principal: Principal) -> Response:
        operation = self._operation
        call = Call(
            gateway=self._gateway,
            cursors=self._cursors,
            principal=principal,
            path=request.path_params,
            query=_query(request, operation.query),
            body=None if operation.body is None else await _body(request, operation),
            request=request,
        )
        said = await operation.act(call)
        if isinstance(said, Response):
            return said
        return Response(
            msgspec.json.encode(shown(said)),
            status_code=operation.status,
            media_type="application/json",
        )

    def _let_in(self, request: Request) -> Principal:
        given = request.headers.get("authorization", "")
        key = given[len(BEARER) :].strip() if given.lower().startswith(BEARER) else ""
        if self._operation.keyed and not given:
            key = request.query_params.get("token", "")
        principal = self._gateway.keyring.authenticate(key, self._gateway.clock())
        if principal is None:
            raise Unauthenticated("send a valid key as `Authorization: Bearer gwk_...`")
        if principal.role not in self._operation.roles:
            raise Forbidden(f"a key of the role {principal.role} may not do this")
        return principal


def _query(request: Request, shape: type[msgspec.Struct]) -> Any:
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in given:
            raise BadRequest(f"{name} is given twice")
        given[name] = value
    try:
        return msgspec.convert(given, shape, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(f"query: {error}") from None


async def _body(request: Request, operation: Operation) -> Any:
    shape: Any = dict[str, Any] if operation.loose else operation.body
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedMedia("send the body as application/json")
    body = await read_body(request, BODY_LIMIT)
    try:
        return msgspec.json.decode(body or b"{}", type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"body: {error}") from None


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body; `TooLarge` beyond so many bytes."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge(f"the body is over {limit} bytes")
    return body
