"""`Idempotency-Key`: a POST that is sent again acts once, and is answered as the first time.

As Stripe does it, and draft-ietf-httpapi-idempotency-key-header. The value is taken as it is:
the draft has it in quotes, Stripe has not.
"""

import hashlib
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gateway.errors import BadRequest, Unavailable, Unprocessable
from gateway.keyring import Principal
from gateway.models import Millis
from gateway.stores.answers import Answer, Answers, Asked
from gateway.web.problems import problem

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
LONGEST = 255  # characters
LARGEST = 256 << 10  # bytes of a body that is kept
VALUE = re.compile(r"[ -~]{1,255}")
CODES = ("conflict", "unprocessable", "too_large")
"""The problems that every call with this header may answer."""

SCHEMA = {
    "type": "string",
    "minLength": 1,
    "maxLength": LONGEST,
    "pattern": "^[!-~]([ -~]*[!-~])?$",  # spaces at the ends are not the value's
}
KEPT_HEADERS = ("content-type", "etag", "location")
MENDABLE = {400, 401, 403, 408, 409, 413, 415, 422}
"""Statuses of what was refused before it did anything: it may be mended, and sent again.

`Conflict` (409) too is raised before an effect, or undone with its transaction, and much of it
passes by itself.
"""

logger = logging.getLogger("gateway.api")

_pack = msgspec.msgpack.Encoder().encode


def is_given(request: Request) -> bool:
    """Whether this request came with one."""
    return HEADER in request.headers


def asked(
    request: Request, principal: Principal, body: bytes, *, headers: Sequence[str], events: bool
) -> Asked:
    """What is asked, by digests; `BadRequest` for a value that cannot be.

    `headers` are those that the call looks at, with `events` also those of a CloudEvent.
    """
    values = request.headers.getlist(HEADER)
    if len(values) > 1 or VALUE.fullmatch(values[0]) is None:
        raise BadRequest(
            f"{HEADER}: send it once, with 1 to {LONGEST} printable ASCII characters, such as a UUID"
        )
    looked_at = {"content-type", *(name.lower() for name in headers)}
    told = [
        (name, value)
        for name, value in request.headers.items()
        if name in looked_at or (events and name.startswith("ce-"))
    ]
    said = (request.method, request.url.path, request.scope["query_string"], sorted(told), body)
    return Asked(
        principal=principal.key or "",
        key=hashlib.sha256(values[0].encode()).digest(),
        request=hashlib.sha256(_pack(said)).digest(),
    )


async def once(
    answers: Answers,
    asked: Asked,
    act: Callable[[], Awaitable[Response]],
    *,
    clock: Callable[[], Millis],
    request_id: str,
) -> Response:
    """What `act` answers, or has answered before; `Unprocessable`, `Unavailable`."""
    known = await answers.begin(asked, clock())
    if known is None:
        try:
            response = await act()
            await _keep(answers, asked, response, clock(), request_id)
        finally:
            answers.end(asked)
        return response
    if known.request != asked.request:
        raise Unprocessable(
            f"{HEADER}: this value came with another request before; choose a new value for each"
            " request, and repeat only what is the same to the byte"
        )
    if isinstance(known, Answer):
        return _again(known, request_id)
    return problem(
        409,
        f"a request with this {HEADER} is being answered; repeat it in a second",
        request_id=request_id,
        retry_after="1",
    )


async def _keep(
    answers: Answers, asked: Asked, response: Response, now: Millis, request_id: str
) -> None:
    status = response.status_code
    if status >= 500 or status in MENDABLE or isinstance(response, StreamingResponse):
        return
    body = bytes(response.body)
    headers = ((name, response.headers.get(name)) for name in KEPT_HEADERS)
    answer = Answer(
        request=asked.request,
        status=status,
        headers=tuple((name, value) for name, value in headers if value is not None),
        body=body if len(body) <= LARGEST else None,
    )
    try:
        await answers.keep(asked, answer, now)
    except Unavailable as error:
        # It was done: an error now would make the sender do it a second time for certain.
        logger.warning("%s: this answer will not be given again: %s", request_id, error)


def _again(answer: Answer, request_id: str) -> Response:
    if answer.body is None:
        return problem(
            409,
            f"a request with this {HEADER} was done, with the status {answer.status}, but its answer"
            f" was over {LARGEST} bytes, too long to be kept: look at what became of it",
            request_id=request_id,
            **{REPLAYED.lower(): "true"},
        )
    response = Response(answer.body, status_code=answer.status, headers=dict(answer.headers))
    response.headers[REPLAYED] = "true"
    return response


def replayable(request: Request, body: bytes) -> Request:
    """The same request, whose body has been read, to be read again."""
    unread: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return unread.pop() if unread else await request.receive()

    return Request(request.scope, receive)
