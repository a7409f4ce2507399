"""From our errors to HTTP: the one place, as problem+json (RFC 9457)."""

from collections.abc import Awaitable, Callable, Mapping
from http.client import responses

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import (
    BadRequest,
    ConfigError,
    Conflict,
    GatewayError,
    NotFound,
    Rejected,
    TooLarge,
    TooSlow,
    Unavailable,
    UnsupportedMedia,
)

STATUSES: Mapping[type[GatewayError], int] = {
    Rejected: 401,
    BadRequest: 400,
    NotFound: 404,
    TooSlow: 408,
    Conflict: 409,
    TooLarge: 413,
    UnsupportedMedia: 415,
    Unavailable: 503,
}

UNANSWERED = (
    *("ConfigError", "StartupError", "Malformed", "ForbiddenAddress", "UnfitEvent"),
    *("AskFailed", "Unreached", "TokenRefused", "Denied", "Missing", "Throttled"),
)
"""Errors that end elsewhere: at the start, in quarantine, in an outcome, in a poll; a test holds this."""

PUBLIC: Mapping[type[GatewayError], str] = {
    Rejected: "the signature is missing, wrong or too old; the gateway's log says which"
}
"""What a sender may know: the reason itself would help to forge."""


def problem(status: int, detail: str, **headers: str) -> Response:
    """A problem as an answer; `headers` are further ones, as in `allow="POST"`."""
    body = {"type": "about:blank", "title": responses.get(status, "Refused"), "status": status}
    return Response(
        msgspec.json.encode(body | {"detail": detail}),
        status_code=status,
        media_type="application/problem+json",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def error_problem(error: GatewayError) -> Response:
    """The answer to one of our errors."""
    status = STATUSES.get(type(error), 500)
    detail = PUBLIC.get(type(error), str(error))
    if isinstance(error, Unavailable):
        return problem(status, detail, retry_after=str(error.retry_after))
    return problem(status, detail)


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
