"""How an endpoint of the control socket answers: JSON, its own response, or a problem (RFC 9457)."""

import asyncio
from typing import Any

import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import BadRequest, ConfigError, Conflict, GatewayError, NotFound, Unavailable
from gateway.web.problems import answered

REQUEST = Request({"type": "http", "method": "POST", "path": "/", "headers": []})


def answer(said: object) -> Response:
    """What an endpoint answers that says this, or raises it."""

    async def act(_: Request) -> object:
        if isinstance(said, Exception):
            raise said
        return said

    async def ask() -> Response:
        return await answered(act)(REQUEST)

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("none"), 404),
        (Conflict("none"), 409),
        (BadRequest("none"), 400),
        (ConfigError("", "none"), 400),
        (Unavailable("none"), 503),
        (GatewayError("none"), 500),
    ],
)
def test_our_errors_are_problems(error: GatewayError, status: int) -> None:
    response = answer(error)
    body: dict[str, Any] = msgspec.json.decode(response.body)
    assert (response.status_code, body["status"], body["detail"]) == (status, status, "none")
    assert response.media_type == "application/problem+json"
    assert ("retry-after" in response.headers) == (status == 503)


def test_a_bug_is_nobodys_problem() -> None:
    with pytest.raises(ZeroDivisionError):
        answer(ZeroDivisionError())


def test_what_is_no_response_is_json() -> None:
    response = answer({"state": "active"})
    assert (response.status_code, response.body) == (200, b'{"state":"active"}')
    assert response.headers["content-type"] == "application/json"
    own = Response(b"own", status_code=201)
    assert answer(own) is own
