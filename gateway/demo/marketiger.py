"""Marketiger's API as far as the demo needs it: one order by its GUID, every error as 400.

Format: https://docs.marketiger3d.com/docs/status-codes and
https://docs.marketiger3d.com/docs/requests-conventions. The texts of its errors are our own.
"""

import hmac
import json
import secrets
from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from gateway.demo.listener import Clock, Listener

VERSION = "/v2"
JSON = "application/json; charset=utf-8"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One question that the gateway asked; `at` is seconds of the API's clock.

    `answer` is the body, `fault` the type of the error that it tells.
    """

    at: float
    answer: bytes
    fault: str = ""


class MarketigerApi(Listener):
    """Answers with what `tell` was told last of an order, and tells `heard` of each question."""

    def __init__(self, heard: Callable[[Asked], None], *, clock: Clock) -> None:
        super().__init__(self._serve, name="marketiger")
        self.token = secrets.token_urlsafe(24)
        self._heard, self._clock = heard, clock
        self._answers: dict[str, bytes] = {}

    @property
    def url(self) -> str:
        """The `base_url` of its source."""
        return f"http://127.0.0.1:{self.port}{VERSION}"

    def tell(self, answer: bytes) -> None:
        """From now on this is the answer about the order that it names."""
        self._answers[json.loads(answer)["data"]["order"]["id"]] = answer

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        at = self._clock()
        fault = self._fault(request)
        if fault:
            error = {"type": fault, "message": "The request was refused."}
            response: Response = JSONResponse({"success": False, "error": error}, status_code=400)
        else:
            found = self._answers[request.query_params["orderId"]]
            response = Response(found, headers={"content-type": JSON})
        self._heard(Asked(at=at, answer=bytes(response.body), fault=fault))
        await response(scope, receive, send)

    def _fault(self, request: Request) -> str:
        """The type of error that this request gets; empty when there is an answer."""
        if (request.method, request.url.path) != ("GET", f"{VERSION}/Order/GetOrder"):
            return "INCORRECT_PARAMETERS"
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            return "AUTHENTICATION"
        return "" if request.query_params.get("orderId") in self._answers else "NOT_FOUND"
