"""`POST /hooks/{source}`: read the raw bytes under a cap, hand them to the receiver, answer.

The protocol holds the deadlines (`protocol.py`); this holds the caps, and answers 200 or 202 only
with a receipt in hand.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

import msgspec
from starlette.types import Message, Receive, Scope, Send

from gateway.errors import (
    BadRequest,
    GatewayError,
    Rejected,
    TooLarge,
    Unavailable,
    UnsupportedMedia,
)
from gateway.models import Callback, Millis, Receipt, Verdict
from gateway.receiver import unknown_source
from gateway.telemetry.logs import Throttle
from gateway.web.direct import Answer
from gateway.web.problems import PUBLIC, error_problem, problem

HOOKS = "/hooks/"
BODIES = 64 << 20  # bytes of bodies under way in all, so that slow senders cannot fill the memory
SMALL = 16 << 10  # bytes of one body that are taken all the same: most callbacks are smaller
MAXIMUM_DIGITS = 15  # of a Content-Length: more is no length

logger = logging.getLogger("gateway.hooks")
_encoder = msgspec.json.Encoder()


class Answers(Protocol):
    """The part of a source that a hook needs."""

    @property
    def rejection_status(self) -> int:
        """The status for whoever does not prove to be this source."""
        ...


class Receives(Protocol):
    """The part of the receiver that a hook needs."""

    def source(self, name: str) -> Answers:
        """`NotFound` when there is no such source."""
        ...

    async def receive(self, callback: Callback) -> Receipt:
        """Verify and store."""
        ...

    def begin(self, callback: Callback) -> "asyncio.Future[Receipt]":
        """The same as far as it goes without waiting; whoever is refused is not counted."""
        ...


class Keeps(Protocol):
    """Who keeps samples of what is rejected; it never fails, and never waits."""

    def keep(self, source: str, reason: str, callback: Callback) -> None:
        """Keep a sample, or only count it."""
        ...


class Hooks:
    """The ASGI application of the paths below `HOOKS`; `body_limit` is bytes."""

    def __init__(
        self,
        receiver: Receives,
        rejections: Keeps,
        *,
        body_limit: int,
        clock: Callable[[], Millis],
    ) -> None:
        self._receiver, self._rejections = receiver, rejections
        self._limit, self._clock = body_limit, clock
        self._room = max(BODIES, 4 * body_limit)
        self._under_way = 0
        self._throttle = Throttle(time.monotonic)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] != "POST":
            await problem(405, "callbacks are sent by POST", allow="POST")(scope, receive, send)
            return
        await self._answer(scope["path"].removeprefix(HOOKS), scope, receive, send)

    def begin(
        self, scope: Scope, body: bytes, answer: Answer, otherwise: Callable[[], None]
    ) -> bool:
        """See `gateway.web.direct.Begin`: only what is accepted is answered so."""
        if not scope["path"].startswith(HOOKS) or len(body) > min(SMALL, self._limit):
            return False
        callback = Callback(
            source=scope["path"][len(HOOKS) :],
            headers=scope["headers"],
            body=body,
            received_at=self._clock(),
        )
        try:
            _declared_length(scope)
            accepting = self._receiver.begin(callback)
        except GatewayError:
            return False  # it is met again, and then the sender is told why
        except Exception:
            logger.debug("a callback takes the long way", exc_info=True)
            return False
        self._under_way += len(body)
        accepting.add_done_callback(partial(self._end, len(body), answer, otherwise))
        return True

    def _end(
        self,
        size: int,
        answer: Answer,
        otherwise: Callable[[], None],
        accepting: "asyncio.Future[Receipt]",
    ) -> None:
        self._under_way -= size
        if accepting.cancelled() or accepting.exception() is not None:
            otherwise()  # it is idempotent: once more, in full
        else:
            receipt = accepting.result()
            answer(_status(receipt), _encoder.encode(receipt))

    async def _answer(self, source: str, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            receipt = await self._receive(source, scope, receive)
        except Disconnected:
            return
        except Rejected as error:
            self._log_rejection(source, error)
            status = self._receiver.source(source).rejection_status
            # With 404 a stranger shall not even learn that the source is there.
            detail = PUBLIC[Rejected] if status != 404 else unknown_source(source)
            await problem(status, detail)(scope, receive, send)
            return
        except GatewayError as error:
            await error_problem(error)(scope, receive, send)
            return
        except Exception:
            logger.exception("a callback of source %s met a bug", source)
            bug = problem(500, "a bug of the gateway; its log has the details")
            await bug(scope, receive, send)
            return
        await _send_receipt(receipt, send)

    async def _receive(self, source: str, scope: Scope, receive: Receive) -> Receipt:
        received_at = self._clock()
        self._receiver.source(source)
        declared = _declared_length(scope)
        if declared is not None and declared > self._limit:
            raise TooLarge(f"the body is over {self._limit} bytes")
        held = 0
        chunks = []
        try:
            while True:
                message = await receive()
                chunk = _chunk(message)
                held += len(chunk)
                self._under_way += len(chunk)
                if held > self._limit:
                    raise TooLarge(f"the body is over {self._limit} bytes")
                if self._under_way > self._room and held > SMALL:
                    raise Unavailable("too many large callbacks at once", retry_after=2)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    break
            callback = Callback(
                source=source,
                headers=scope["headers"],
                body=chunks[0] if len(chunks) == 1 else b"".join(chunks),
                received_at=received_at,
            )
            try:
                return await self._receiver.receive(callback)
            except Rejected as error:
                self._rejections.keep(source, str(error), callback)
                raise
        finally:
            self._under_way -= held

    def _log_rejection(self, source: str, error: Rejected) -> None:
        held = self._throttle.admit(source)
        if held is not None:
            more = f" ({held} more were rejected meanwhile)" if held else ""
            logger.warning("rejected a callback of source %s: %s%s", source, error, more)


async def _send_receipt(receipt: Receipt, send: Send) -> None:
    """Without a `Response`, which would cost more than all else here."""
    body = _encoder.encode(receipt)
    status = _status(receipt)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _status(receipt: Receipt) -> int:
    return 202 if receipt.verdict is Verdict.QUARANTINED else 200


class Disconnected(Exception):
    """The sender went away before its body was complete."""


def _chunk(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise Disconnected
    body: bytes = message.get("body", b"")
    return body


def _declared_length(scope: Scope) -> int | None:
    """The Content-Length; refuses encoded bodies, since the raw bytes are what is signed."""
    declared: int | None = None
    for name, value in scope["headers"]:
        if name == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
            raise UnsupportedMedia("send the body as it is, without a content encoding")
        if name == b"content-length":
            if not value.isdigit() or len(value) > MAXIMUM_DIGITS:
                raise BadRequest("the content length is no number")
            declared = int(value)
    return declared
