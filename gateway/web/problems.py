"""From our errors to HTTP: the one place, as problem+json (RFC 9457)."""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from http.client import responses

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import (
    BadRequest,
    ConfigError,
    Conflict,
    Forbidden,
    GatewayError,
    NotFound,
    PreconditionFailed,
    Rejected,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unprocessable,
    UnsupportedMedia,
)

STATUSES: Mapping[type[GatewayError], int] = {
    Rejected: 401,
    Unauthenticated: 401,
    Forbidden: 403,
    BadRequest: 400,
    NotFound: 404,
    Conflict: 409,
    PreconditionFailed: 412,
    TooLarge: 413,
    UnsupportedMedia: 415,
    Unprocessable: 422,
    Unavailable: 503,
}

CODES: Mapping[int, str] = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    409: "conflict",
    412: "precondition_failed",
    413: "too_large",
    415: "unsupported_media_type",
    422: "unprocessable",
    500: "internal",
    503: "unavailable",
}
"""The stable word for each status of a problem: programs look at it, people at `detail`."""

REFUSED = "refused"  # where the status has no word of its own

UNANSWERED = (
    *("ConfigError", "StartupError", "Malformed", "ForbiddenAddress", "UnfitEvent"),
    *("AskFailed", "Unreached", "TokenRefused", "Denied", "Missing", "Throttled"),
)
"""Errors that end elsewhere: at the start, in quarantine, in an outcome, in a poll; a test holds this."""

PUBLIC: Mapping[type[GatewayError], str] = {
    Rejected: "the signature is missing, wrong or too old; the gateway's log says which"
}
"""What a sender may know: the reason itself would help to forge."""


def new_request_id() -> str:
    """What a problem and the log call a request by."""
    return f"req_{secrets.token_hex(12)}"


def problem(status: int, detail: str, *, request_id: str | None = None, **headers: str) -> Response:
    """A problem as an answer; `headers` are further ones, as in `allow="POST"`."""
    body = {
        "type": "about:blank",
        "title": responses.get(status, "Refused"),
        "status": status,
        "code": CODES.get(status, REFUSED),
        "detail": detail,
    }
    return Response(
        msgspec.json.encode(body if request_id is None else body | {"request_id": request_id}),
        status_code=status,
        media_type="application/problem+json",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def error_problem(error: GatewayError, *, request_id: str | None = None) -> Response:
    """The answer to one of our errors."""
    status = STATUSES.get(type(error), 500)
    detail = PUBLIC.get(type(error), str(error))
    headers: dict[str, str] = {}
    if isinstance(error, Unavailable):
        headers["retry_after"] = str(error.retry_after)
    if isinstance(error, Unauthenticated):
        headers["www_authenticate"] = 'Bearer realm="gateway"'
    return problem(status, detail, request_id=request_id, **headers)


def answered(
    act: Callable[[Request], Awaitable[object]],
) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint whose errors of ours become problems; what a configuration would refuse is a 400.

    What is no `Response` is sent as JSON.
    """

    async def answer(request: Request) -> Response:
        try:
            said = await act(request)
        except ConfigError as error:
            return error_problem(BadRequest(str(error)))
        except GatewayError as error:
            return error_problem(error)
        if isinstance(said, Response):
            return said
        return Response(msgspec.json.encode(said), media_type="application/json")

    return answer
