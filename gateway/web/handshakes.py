"""`GET|POST /handshakes/{secret}`: an endpoint consents by calling back (CloudEvents webhooks, 4.1.3)."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from gateway.errors import BadRequest, GatewayError
from gateway.handshakes import PATH
from gateway.web.problems import error_problem, problem

ROUTE = PATH + "{secret}"
METHODS = ("GET", "POST")
RATE = "webhook-allowed-rate"

Grant = Callable[[str, bytes | None], Awaitable[str]]
"""Takes the secret and the rate's header; the name of the subscription, or one of our errors."""


class Granting:
    """The route's endpoint; what stands in a body is never read."""

    def __init__(self, grant: Grant) -> None:
        self._grant = grant

    async def __call__(self, request: Request) -> Response:
        """200 with a sentence for the person who may have followed the link in a browser."""
        if request.method not in METHODS:  # HEAD: whoever only looks at a link consents to nothing
            return problem(405, "consent is given by GET or POST", allow=", ".join(METHODS))
        try:
            await self._grant(request.path_params["secret"], _rate(request))
        except GatewayError as error:
            return error_problem(error)
        return PlainTextResponse(
            "Thank you: deliveries to this endpoint are allowed now.\n",
            headers={"cache-control": "no-store"},
        )


def _rate(request: Request) -> bytes | None:
    values = request.headers.getlist(RATE)
    if len(values) > 1:
        raise BadRequest("nothing is granted: there are several WebHook-Allowed-Rate headers")
    return values[0].encode("latin-1") if values else None
