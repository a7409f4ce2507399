"""One open connection: writes a request, reads the answer within its limits, under a deadline.

It is an `asyncio.Protocol` without tasks or streams, because it stands on the hot path of every
delivery. It knows no pool: `transport.py` keeps it.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools
import msgspec

from gateway.egress.answer import Answer, AttemptFailed
from gateway.models import Failure

# Chunks of a byte each carry five bytes of framing; what costs more than this is no body.
_FRAMING = 8
_OTHERS = (b"R", b"I")  # of RTSP/1.0 and ICE/1.0, which the parser takes for HTTP
_TICK = 0.001  # event loops round their timers to a millisecond


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much of an answer is read, in bytes; `header_count` in lines, trailers included."""

    body_cap: int
    header_cap: int
    header_count: int


class _Enough(Exception):
    """Stops the parser from inside one of its callbacks."""


class Connection(asyncio.Protocol):
    """Made once per TCP connection; `send` starts an exchange, one at a time.

    `lost` is called once, with the connection, when it is closed by either side; `write` with what
    is to be written to its transport, now or in this turn of the loop.
    """

    __slots__ = (
        "_bodiless",
        "_body",
        "_bytes_left",
        "_ceiling",
        "_clock",
        "_complete",
        "_deadline",
        "_failed",
        "_first",
        "_head_done",
        "_headers",
        "_keep_alive",
        "_limits",
        "_lines_left",
        "_loop",
        "_lost",
        "_on_lost",
        "_overdue",
        "_parser",
        "_received",
        "_started",
        "_status",
        "_timer",
        "_timer_at",
        "_transport",
        "_truncated",
        "_waiter",
        "_write",
        "address",
        "connected",
        "origin",
        "reused",
    )

    def __init__(
        self,
        *,
        limits: Limits,
        origin: str,
        address: str,
        clock: Callable[[], float],
        lost: Callable[["Connection"], None],
        write: Callable[[asyncio.Transport, bytes], None] = asyncio.Transport.write,
    ) -> None:
        self.origin = origin
        self.address = address
        self.reused = False
        self.connected = 0.0
        self._limits = limits
        self._clock = clock
        self._on_lost = lost
        self._write = write
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._lost: AttemptFailed | None = None
        self._waiter: asyncio.Future[Answer | AttemptFailed] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._deadline = self._started = self._first = 0.0
        self._bodiless = False
        self._reset()

    def _reset(self) -> None:
        self._status = 0
        self._headers: dict[bytes, bytes] = {}
        self._body = bytearray()
        self._received = 0
        self._lines_left = self._limits.header_count
        self._bytes_left = self._ceiling = self._limits.header_cap
        self._head_done = self._complete = self._truncated = self._keep_alive = False
        self._overdue = False
        self._failed: AttemptFailed | None = None

    @property
    def usable(self) -> bool:
        """Whether another request may be sent: open, the last one sent and answered whole."""
        transport = self._transport
        return (
            self._keep_alive
            and transport is not None
            and not transport.is_closing()
            and transport.get_write_buffer_size() == 0
        )

    @property
    def closed(self) -> bool:
        """Whether the connection is gone and `lost` was called."""
        return self._transport is None

    @property
    def unanswered(self) -> bool:
        """Whether not one byte has come since the last `send`."""
        return self._received == 0

    def timed(self, failed: AttemptFailed) -> AttemptFailed:
        """The failure of the exchange that began with the last `send`, with its times filled in."""
        failed.connected = self.connected
        failed.first_byte = (self._first - self._started) * 1000 if self._received else None
        return failed

    def send(
        self, wire: bytes, *, bodiless: bool, started: float, deadline: float
    ) -> asyncio.Future[Answer | AttemptFailed]:
        """Write a whole request; the future gets what came of it, never an exception.

        `bodiless` says that the answer has no body whatever its head claims (HEAD, RFC 9110 9.3.2).
        `started` is of the constructor's clock, `deadline` of the event loop's, both in seconds.
        """
        waiter: asyncio.Future[Answer | AttemptFailed] = self._loop.create_future()
        if self._lost is not None or self._transport is None:
            waiter.set_result(self._lost or self._failure(Failure.RESET, "was closed"))
            return waiter
        self._reset()
        self._waiter = waiter
        self._bodiless = bodiless
        self._started = started
        self.expire_at(deadline)
        self._write(self._transport, wire)
        return waiter

    def expire_at(self, deadline: float) -> None:
        """Set when this connection ends, busy or idle.

        A timer that is due earlier stays and moves itself when it fires: so a busy connection
        sets one timer every few seconds, not two for each request.
        """
        self._deadline = deadline
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_at(deadline, self._tick)

    def abort(self, failure: AttemptFailed | None = None) -> None:
        """Close at once; `failure`, if any, is what an exchange under way ends with."""
        waiter, self._waiter = self._waiter, None
        self._lost = self._lost or failure or self._failure(Failure.RESET, "was closed")
        if self._transport is not None:
            self._transport.abort()
        if failure is not None and waiter is not None and not waiter.done():
            waiter.set_result(failure)

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop once TCP, and TLS if any, are up."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop last: the end of an answer without a length, or its loss."""
        if self._timer is not None:
            self._timer.cancel()
        if self._waiter is not None and exc is None and self._ends_with_connection():
            self._finish()
        self.abort(self._failure(Failure.RESET, f"was closed {self._stage()}"))
        self._transport = None
        del self._parser  # it holds our methods: a cycle that only the collector would find
        self._on_lost(self)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop; bytes that nobody asked for end the connection."""
        if self._waiter is None:
            self.abort(self._failure(Failure.PROTOCOL, "brought bytes that were not asked for"))
            return
        first = not self._received
        self._received += len(data)
        if first:
            self._first = self._clock()
            if data.lstrip(b"\r\n")[:1] in _OTHERS:
                self.abort(self._failure(Failure.PROTOCOL, "brought no valid HTTP/1.1"))
                return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._parser_stopped(error)
            return
        if self._complete:
            self._finish()
        elif self._received > self._ceiling:
            self.abort(self._failure(Failure.PROTOCOL, "brought more framing than is read"))

    def _tick(self) -> None:
        self._timer = None
        if self._lost is not None:
            return
        now = self._loop.time()
        if self._deadline - now > _TICK:
            self.expire_at(self._deadline)
        elif self._waiter is not None and not self._overdue:
            # uvloop fires timers before it reads: where the loop was held up, the answer may lie
            # there since before the deadline. So it is read once more, and then given up.
            self._overdue = True
            self.expire_at(now + 2 * _TICK)
        else:
            self.abort(self._failure(Failure.TIMEOUT, f"met its deadline {self._stage()}"))

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Stop at a second answer: it would be taken for that of the next request."""
        if self._complete:
            raise _Enough

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count the line against both caps; trailers are counted and dropped."""
        self._lines_left -= 1
        self._bytes_left -= len(name) + len(value)
        if self._lines_left < 0 or self._bytes_left < 0:
            self._failed = self._failure(Failure.PROTOCOL, "brought a longer head than is read")
            raise _Enough
        if self._head_done:
            return
        key = name.lower()
        known = self._headers.get(key)
        self._headers[key] = value if known is None else known + b", " + value

    def on_headers_complete(self) -> None:
        """Take the status; 1xx are passed over (RFC 9110 15.2)."""
        self._status = self._parser.get_status_code()
        if self._status < 100:
            self._failed = self._failure(Failure.PROTOCOL, "brought a status below 100")
            raise _Enough
        if self._status < 200:
            return
        self._head_done = True
        self._ceiling += _FRAMING * self._limits.body_cap
        if self._bodiless:
            self._complete = True
            raise _Enough

    def on_body(self, body: bytes) -> None:
        """Keep raw bytes up to the cap; more of them end the answer."""
        room = self._limits.body_cap - len(self._body)
        self._body += body[:room]
        if len(body) > room:
            self._complete = self._truncated = True
            raise _Enough

    def on_message_complete(self) -> None:
        """Note whether the connection may be used again, while the parser still knows it."""
        if self._status < 200:
            self._headers = {}
            return
        self._complete = True
        self._keep_alive = self._parser.should_keep_alive() and not self._promises_more()

    # What follows.

    def _parser_stopped(self, error: Exception) -> None:
        self._keep_alive = False
        if self._failed is not None:
            self.abort(self._failed)
        elif self._complete:
            self._finish()
        elif isinstance(error, httptools.HttpParserUpgrade):
            self.abort(self._failure(Failure.PROTOCOL, "changed its protocol unasked"))
        else:
            self.abort(self._failure(Failure.PROTOCOL, f"brought no valid HTTP/1.1: {error}"))

    def _promises_more(self) -> bool:
        """Whether a 204 tells of a body, which none may have (RFC 9110 8.6).

        Who tells of one sends it, a moment later: in front of the next answer, if we waited for one.
        """
        headers = self._headers
        return self._status == 204 and (
            headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
        )

    def _ends_with_connection(self) -> bool:
        """Whether the end of the connection is the end of the answer (RFC 9112 6.3, rule 8)."""
        coding = self._headers.get(b"transfer-encoding")
        if coding is not None:
            return self._head_done and not coding.lower().endswith(b"chunked")
        return self._head_done and b"content-length" not in self._headers

    def _finish(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            return
        answer = Answer(
            status=self._status,
            headers=self._headers,
            body=bytes(self._body),
            truncated=self._truncated,
            address=self.address,
            connected=self.connected,
            first_byte=(self._first - self._started) * 1000,
            done=(self._clock() - self._started) * 1000,
        )
        waiter.set_result(answer)

    def _stage(self) -> str:
        if self._head_done:
            return f"within the body of the answer (status {self._status})"
        return "within the head of the answer" if self._received else "before an answer came"

    def _failure(self, failure: Failure, what: str) -> AttemptFailed:
        return AttemptFailed(failure, f"The connection {what}.", address=self.address)
