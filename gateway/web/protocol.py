"""The HTTP/1.1 protocol of both listeners: uvicorn's, with the deadlines, caps and refusals it lacks.

It judges the outside of a request only: how long it takes, how large its head is, how it is
framed, and whom it is addressed to. It knows no route; the size of a body is the application's.
"""

import asyncio
import logging
import math
from types import SimpleNamespace
from typing import Any, ClassVar

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gateway.web.limits import Hosts, Limits, Refusal
from gateway.web.wire import Wire

logger = logging.getLogger(__name__)

_WATCHED = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect", b"upgrade"))
# What the framing of one chunk may cost before it counts as padding: its data twice, and this.
_CHUNK_ALLOWANCE = 16
# Where the parser is: between two requests, in a head, in a body.
_BETWEEN, _HEAD, _BODY = range(3)


def _abandon(cycle: RequestResponseCycle) -> None:
    """Tell the application that its client is gone; the rest of its answer is dropped."""
    cycle.disconnected = True
    cycle.message_event.set()


class _Refused(Exception):
    """Stops the parser, which hands it on as the context of its own error."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


class GuardedProtocol(HttpToolsProtocol):
    """One connection. Every refusal is written once, after the answers that are still owed.

    At most one timer runs a connection, whatever the number of requests: it looks at
    `_deadline` at least once every shortest timeout, so no later deadline is missed.
    """

    limits: ClassVar[Limits]
    hosts: ClassVar[Hosts]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        limits = self.limits
        self._head_seconds = limits.head_timeout / 1000
        self._body_seconds = limits.body_timeout / 1000
        self._idle_seconds = limits.idle_timeout / 1000
        self._write_seconds = limits.write_timeout / 1000
        timeouts = (limits.head_timeout, limits.body_timeout, limits.idle_timeout)
        self._pace = min(*timeouts, limits.write_timeout) / 1000

        # The connection.
        self._wire: Wire = None  # type: ignore[assignment]  # what a cycle has for a transport
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = math.inf
        self._write_deadline = math.inf
        self._unsent = 0  # what the client had not read when that deadline was set
        self._ending = False  # closed or lingering: whatever still arrives is dropped
        self._spare = int(limits.linger_size)
        self._refusal: Refusal | None = None
        self._active: RequestResponseCycle | None = None  # the one being answered
        self._known_host: bytes | None = None  # the last good one: a connection checks it once

        # The request that is being read.
        self._phase = _BETWEEN
        self._timed = _BETWEEN  # the phase that `_deadline` was set for
        self._size = 0  # of the data that is being parsed
        self._foreign = 0  # what of it came before this request, at most
        self._head = 0  # bytes of this head in earlier data
        self._excess = 0  # bytes of this body that were neither data nor fair framing
        self._host = self._upgrade = False
        self._framing = b""
        self._skipped = False  # the parser, seeing an upgrade, will skip the body
        self._keep_alive = False

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or answer 503 when too many are open."""
        if len(self.connections) >= self.limits.connections:
            self.transport = transport
            self._ending = True
            logger.debug("refused a connection: %s", Refusal.CONNECTIONS.detail)
            transport.write(Refusal.CONNECTIONS.encode(self.server_state.default_headers))
            transport.close()
            return
        super().connection_made(transport)
        self._wire = Wire(transport, self.loop, self._finish)
        self._deadline = self.loop.time() + self._head_seconds
        self._tick()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request that is unanswered, not only the newest, that its client is gone."""
        self._ending = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.pipeline.clear()
        if self._active is not None and not self._active.response_complete:
            _abandon(self._active)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the clock for a client that does not read."""
        self._await_reader()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Stop that clock, but for the last answer."""
        if not self._ending:
            self._write_deadline = math.inf
        super().resume_writing()

    def shutdown(self) -> None:
        """Close when idle; otherwise after the answers to the requests that were read."""
        if self._ending:
            return
        self._keep_alive = False
        if self._answering():
            self.cycle.keep_alive = False
        else:
            self._close()

    def cut(self) -> None:
        """Drop the connection now; an application that still answers sees a disconnect."""
        self._ending = True
        self.transport.abort()

    def _answering(self) -> bool:
        return self._active is not None and not self._active.response_complete

    # Deadlines

    def _tick(self) -> None:
        self._timer = None
        now = self.loop.time()
        if now >= self._write_deadline:
            if self.transport.get_write_buffer_size() >= self._unsent:
                self.cut()
                return
            self._await_reader()
        if now >= self._deadline:
            self._expire(now)
        if self._timer is None:
            due = min(self._deadline, self._write_deadline, now + self._pace)
            self._timer = self.loop.call_at(due, self._tick)

    def _await_reader(self) -> None:
        """Expect the client to read some of what is written before the next look."""
        self._unsent = self.transport.get_write_buffer_size()
        self._write_deadline = self.loop.time() + self._write_seconds

    def _expire(self, now: float) -> None:
        self._deadline = math.inf
        if self._ending:
            self.transport.abort()
        elif self._phase == _BETWEEN:
            self._close()
        elif self.flow.read_paused:
            # The client waits for us: the application, or an earlier answer, is slow.
            self._timed = _BETWEEN
            self._deadline = now + self._pace
        elif self._timed == _BETWEEN:
            self._set_deadline()
        else:
            self._refuse(Refusal.SLOW_HEAD if self._phase == _HEAD else Refusal.SLOW_BODY)

    def _set_deadline(self) -> None:
        phase = self._phase
        if phase == _BETWEEN:
            if self._answering():
                self._deadline = math.inf
        elif phase != self._timed:
            seconds = self._head_seconds if phase == _HEAD else self._body_seconds
            self._deadline = self.loop.time() + seconds
        self._timed = phase

    # The end of the connection

    def _close(self) -> None:
        """Close once everything is written; a client that does not read is cut off."""
        self._ending = True
        if not self.transport.is_closing():
            self._wire.flush()
            self._await_reader()
            self.transport.close()

    def _linger(self) -> None:
        """Half-close, and drop what still arrives for a while.

        A close with unread data would reset the connection, and the client, still busy
        sending, would lose the answer that tells it why (RFC 9112 section 9.6).
        """
        self._ending = True
        if self.transport.is_closing():
            return
        self._deadline = self.loop.time() + self.limits.linger_timeout / 1000
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(self._deadline, self._tick)
        self._wire.flush()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()

    def _finish(self) -> None:
        """End the connection after a response; called by the cycle in place of `transport.close`."""
        self.pipeline.clear()
        if self._phase == _BETWEEN:
            self._close()
        else:
            self._linger()

    # Refusals

    def _refuse(self, refusal: Refusal) -> None:
        """Read no more requests; answer this one when its turn comes."""
        logger.debug("refused a request of %s: %d %s", self.client, refusal.status, refusal.detail)
        self._refusal = refusal
        self._deadline = math.inf
        if self._phase == _BODY and self._drop_request():
            return
        if self._answering():
            self.flow.pause_reading()
        else:
            self._answer_refusal(refusal)

    def _drop_request(self) -> bool:
        """Take the half-read request from the application; True when nothing can be written."""
        cycle = self.cycle
        _abandon(cycle)
        if self.pipeline:
            self.pipeline.popleft()
            return False
        self._active = None
        if cycle.response_started:
            self._linger()
        return cycle.response_started

    def _answer_refusal(self, refusal: Refusal) -> None:
        if not self.transport.is_closing():
            self.transport.write(refusal.encode(self.server_state.default_headers))
        self._linger()

    # Data and parser callbacks

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; every way out is a request, a refusal or silence."""
        size = len(data)
        if self._ending or self._refusal is not None:
            self._spare -= size
            if self._spare < 0:
                self.cut()
            return
        self._size = size
        self._foreign = size if self._phase != _BETWEEN else 0
        if self._phase == _BODY:
            self._excess += size
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause.refusal if isinstance(cause, _Refused) else Refusal.MALFORMED)
            return
        if self._phase != _BETWEEN:
            refusal = self._judge_part(size)
            if refusal is not None:
                self._refuse(refusal)
                return
        self._set_deadline()

    def _judge_part(self, size: int) -> Refusal | None:
        """Judge a request of which a part is still to come."""
        if len(self.headers) > self.limits.headers:
            return Refusal.MANY_HEADERS
        if self._phase == _HEAD:
            self._head += size
            return Refusal.LARGE_HEAD if self._head > self.limits.head_size else None
        # Bytes that are no data: endless chunk extensions or trailers.
        self._excess = max(self._excess, 0)
        return Refusal.PADDING if self._excess > self.limits.head_size else None

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # An upgrade may be ignored (RFC 9110 section 7.8), but the parser skipped the body.
            rest = data[upgrade.args[0] :]
            if self._skipped:
                self._skipped = False
                callbacks = ("on_body", "on_message_complete")
                body_only = SimpleNamespace(**{name: getattr(self, name) for name in callbacks})
                self.parser = httptools.HttpRequestParser(body_only)
                head = b"POST / HTTP/1.1\r\nconnection: close\r\n%s\r\n\r\n" % self._framing
                self.parser.feed_data(head)
            if rest:
                self._feed(rest)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._phase = _HEAD
        self._timed = _BETWEEN
        self._head = 1 - self._foreign if self._foreign else 0
        self._foreign = self._size
        self._host = self._upgrade = False
        self._framing = b""

    def on_url(self, url: bytes) -> None:
        """A part of the request target."""
        self.url += url
        if len(self.url) > self.limits.target_size:
            raise _Refused(Refusal.LONG_TARGET)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header or trailer."""
        name = name.lower()
        self.headers.append((name, value))
        if name in _WATCHED:
            self._watch(name, value.strip())

    def _watch(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._check_host(value)
        elif name == b"content-length":
            if self._framing:
                raise _Refused(Refusal.FRAMING)
            self._framing = b"content-length: " + value
        elif name == b"transfer-encoding":
            if self._framing:
                raise _Refused(Refusal.FRAMING)
            if value.lower() != b"chunked":
                raise _Refused(Refusal.CODING)
            self._framing = b"transfer-encoding: chunked"
        elif name == b"upgrade":
            self._upgrade = True
        elif value.lower() == b"100-continue":
            self.expect_100_continue = True

    def _check_host(self, value: bytes) -> None:
        if self._host:
            raise _Refused(Refusal.HOST)
        self._host = True
        if value == self._known_host:
            return
        refusal = self.hosts.check(value)
        if refusal is not None:
            raise _Refused(refusal)
        self._known_host = value

    def _check_size(self) -> None:
        if self._head > 0 or self._size > self.limits.head_size:
            lengths = sum(len(name) + len(value) + 4 for name, value in self.headers)
            if len(self.url) + lengths > self.limits.head_size:
                raise _Refused(Refusal.LARGE_HEAD)
        if len(self.headers) > self.limits.headers:
            raise _Refused(Refusal.MANY_HEADERS)

    def _check_head(self) -> None:
        path = self.url.startswith(b"/") and b"#" not in self.url and self.url.isascii()
        if not path or self.parser.get_method() == b"CONNECT":
            raise _Refused(Refusal.TARGET)
        if not self._host:
            raise _Refused(Refusal.HOST)
        version = self.parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            raise _Refused(Refusal.VERSION)
        if version == "1.0" and self._framing.startswith(b"t"):
            raise _Refused(Refusal.CODING)
        if len(self.pipeline) >= self.limits.pipelined:
            raise _Refused(Refusal.PIPELINE)

    def on_headers_complete(self) -> None:
        """The head is whole: hand the request to the application, or queue it."""
        self._check_size()
        self._check_head()
        super().on_headers_complete()
        cycle = self.cycle
        cycle.transport = self._wire  # type: ignore[assignment]
        # Until the body is whole, an answer announces the end of the connection.
        self._keep_alive = cycle.keep_alive
        cycle.keep_alive = False
        if not self.pipeline:
            self._active = cycle
        self._skipped = self._upgrade and self._framing != b"" and self.parser.should_upgrade()
        self._phase = _BODY
        self._excess = 0
        # The application decides by the headers: trailers come too late, and end here.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._excess -= 3 * len(body) + _CHUNK_ALLOWANCE
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is whole, but for a request to upgrade, whose body is yet to be parsed."""
        if self._skipped:
            self._keep_alive = False
            return
        if len(self.headers) > self.limits.headers:
            raise _Refused(Refusal.MANY_HEADERS)
        self._phase = _BETWEEN
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._keep_alive
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Begin the next request that waits; otherwise the connection is idle."""
        self.server_state.total_requests += 1
        if self._ending or self.transport.is_closing():
            return
        if self.pipeline:
            self._active, app = self.pipeline.pop()
            self._start_asgi_task(self._active, app)
            return
        if self._refusal is not None:
            self._answer_refusal(self._refusal)
            return
        self.flow.resume_reading()
        if self._phase == _BETWEEN:
            self._deadline = self.loop.time() + self._idle_seconds


def guarded(limits: Limits) -> type[GuardedProtocol]:
    """The protocol class that holds these limits."""

    class Guarded(GuardedProtocol):
        pass

    Guarded.limits = limits
    Guarded.hosts = Hosts(limits.allowed_hosts)
    return Guarded
