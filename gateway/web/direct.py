"""The short way of a callback: from the parser to the store and back, without a task of its own.

A task, two messages in and two out cost a callback more than all else that receives it. What goes
this way is a whole, small POST that nobody is in front of, and only its success: whatever else it
comes to, the application is asked as for any other request, and says why.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Protocol, cast

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from gateway.web.limits import Hosts, Limits
from gateway.web.protocol import GuardedProtocol

Answer = Callable[[int, bytes], None]  # a status, and a body of JSON


class Begin(Protocol):
    """Takes a request whose body is whole; False when that is not for the short way.

    Later it calls `answer`, or `otherwise` when the application shall answer after all.
    """

    def __call__(
        self, scope: Scope, body: bytes, answer: Answer, otherwise: Callable[[], None]
    ) -> bool:
        """Take it, or leave it; it never raises."""
        ...


class DirectProtocol(GuardedProtocol):
    """A connection whose requests are offered to `begin` before the application gets them."""

    begin: ClassVar[Begin]
    _new = False  # whether the request whose head was just read is the only one
    _held: RequestResponseCycle | None = None  # what the application has not been given yet

    def on_headers_complete(self) -> None:
        """The head is whole: the application gets the request later, or not at all."""
        self._new = True
        try:
            super().on_headers_complete()
        finally:
            self._new = False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Hold a new POST back until its body is whole; one that was queued goes on at once."""
        if self._new and cycle.scope["method"] == "POST":
            self._held = cycle
        else:
            super()._start_asgi_task(cycle, app)

    def on_message_complete(self) -> None:
        """Offer the request."""
        super().on_message_complete()
        cycle = self._held
        if cycle is None or cycle.more_body:
            return
        self._held = None
        otherwise = partial(super()._start_asgi_task, cycle, self.app)
        scope, body = cast("Scope", cycle.scope), bytes(cycle.body)
        clear = not (self.flow.write_paused or cycle.waiting_for_100_continue)
        if not (clear and self.begin(scope, body, partial(self._answer, cycle), otherwise)):
            otherwise()

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; a request that is not whole by then goes to the application."""
        super().data_received(data)
        cycle, self._held = self._held, None
        if cycle is not None:
            super()._start_asgi_task(cycle, self.app)

    def _answer(self, cycle: RequestResponseCycle, status: int, body: bytes) -> None:
        if cycle.disconnected:
            return
        cycle.response_started = cycle.response_complete = True
        lines = b"".join([b"%b: %b\r\n" % header for header in cycle.default_headers])
        self.transport.write(
            b"%b%bcontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n%b"
            % (
                STATUS_LINE[status],
                lines,
                len(body),
                b"" if cycle.keep_alive else b"connection: close\r\n",
                body,
            )
        )
        if not cycle.keep_alive:
            self._finish()
        cycle.on_response = _nothing  # it holds the connection, which holds the cycle
        self.on_response_complete()


def _nothing() -> None:
    pass


def direct(limits: Limits, begin: Begin) -> type[GuardedProtocol]:
    """The protocol class that holds these limits and asks `begin` first."""

    class Direct(DirectProtocol):
        pass

    Direct.limits = limits
    Direct.hosts = Hosts(limits.allowed_hosts)
    Direct.begin = staticmethod(begin)
    return Direct
