"""The HTTP/1.1 client of every outgoing call: one deadline round everything, nothing followed.

Our own because it stands on the hot path: a pooled request is one write, one parse and one
future, without tasks. It never reads the environment, so proxy variables do not matter.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Coroutine

from gateway.egress.answer import Answer, AttemptFailed
from gateway.egress.connection import Connection, Limits
from gateway.egress.connector import Connector, Resolver, verified_context
from gateway.egress.resolver import SystemResolver
from gateway.egress.rules import Rules, Target
from gateway.models import Failure

BODY_CAP = 16 * 1024  # bytes that are kept of an answer, unless its reader says otherwise


class Transport:
    """Sends requests and keeps connections open, at most `max_idle_per_target` idle ones each.

    Whoever is sent much in a short time keeps its connections: those that are not used any more end
    by `idle`. That is seconds, the caps are bytes; `clock` measures the times of an answer, in seconds.

    With a `proxy` (see `parse_proxy`) every connection goes there: to https targets through a
    tunnel, with http ones in absolute form (RFC 9112 3.2.2), where a refusal of the proxy's looks
    like an answer of the target. Literals are judged here as ever, but names are the proxy's to
    resolve, so the proxy must refuse private addresses itself. Its own address is not judged.
    """

    def __init__(
        self,
        *,
        rules: Rules,
        resolve: Resolver | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: Target | None = None,
        body_cap: int = BODY_CAP,
        header_cap: int = 64 * 1024,
        header_count: int = 100,
        idle: float = 30.0,
        max_idle_per_target: int = 1000,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._connector = Connector(
            rules=rules,
            resolve=resolve or SystemResolver(),
            ssl_context=ssl_context or verified_context(),
            proxy=proxy,
        )
        self._absolute = proxy is not None
        self._limits = Limits(body_cap=body_cap, header_cap=header_cap, header_count=header_count)
        self._idle = idle
        self._max_idle = max_idle_per_target
        self._clock = clock
        self._open: set[Connection] = set()
        self._unsent: list[tuple[asyncio.Transport, bytes]] = []
        self._pool: dict[str, list[Connection]] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self._closed = False

    @property
    def connections(self) -> int:
        """How many connections are open, busy and idle."""
        return len(self._open)

    def post(
        self, target: Target, head: bytes, body: bytes, *, timeout: float
    ) -> Coroutine[None, None, Answer]:
        """`request` with the method POST."""
        return self.request(b"POST", target, head, body, timeout=timeout)

    async def request(
        self,
        method: bytes,
        target: Target,
        head: bytes,
        body: bytes,
        *,
        timeout: float,  # noqa: ASYNC109  # the connection's own timer is cheaper than a scope
    ) -> Answer:
        """Send one request and read its answer within `timeout` seconds; redirects are answers.

        `head` holds complete further lines, each ending in CR LF. Raises `AttemptFailed`, and
        nothing else but `CancelledError`, which closes the connection.

        A request on a pooled connection that is closed before any byte came back is sent once
        more on a new one: the peer's idle limit may have met our request half-way. It may
        arrive twice; consumers drop repeats by `webhook-id`, as they must for every retry.
        """
        loop = asyncio.get_running_loop()
        started = self._clock()
        deadline = loop.time() + timeout
        path = target.path
        if self._absolute and not target.tls:
            path = b"http://%b%b" % (target.host_header, path)
        wire = (
            b"%b %b HTTP/1.1\r\nHost: %b\r\nAccept-Encoding: identity\r\n"
            b"Content-Length: %d\r\n%b\r\n%b"
            % (method, path, target.host_header, len(body), head, body)
        )
        bodiless = method == b"HEAD"
        connection = self._take(target.origin) or await self._connect(target, started, deadline)
        while True:
            waiter = connection.send(wire, bodiless=bodiless, started=started, deadline=deadline)
            try:
                result = await waiter
            except asyncio.CancelledError:
                connection.abort()
                raise
            if isinstance(result, Answer):
                self._release(connection, loop.time())
                return result
            if not connection.reused or result.failure is not Failure.RESET:
                raise connection.timed(result)
            if not connection.unanswered:
                raise connection.timed(result)
            connection = await self._connect(target, started, deadline)

    async def close(self) -> None:
        """Close every connection; what is under way or comes later fails as interrupted."""
        self._closed = True
        for connection in list(self._open):
            connection.abort(_stopping(connection.address))
        await self._empty.wait()

    def _write(self, to: asyncio.Transport, wire: bytes) -> None:
        """Write it when what else this turn sends is ready: so a sleeping peer is woken once."""
        self._unsent.append((to, wire))
        if len(self._unsent) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        for to, wire in unsent:
            if not to.is_closing():
                to.write(wire)

    def _take(self, origin: str) -> Connection | None:
        pool = self._pool.get(origin)
        while pool:
            connection = pool.pop()
            if connection.usable:
                connection.reused = True
                connection.connected = 0.0
                return connection
            connection.abort()
        return None

    def _release(self, connection: Connection, now: float) -> None:
        if not connection.usable:
            connection.abort()
            return
        pool = self._pool.setdefault(connection.origin, [])
        if len(pool) >= self._max_idle or self._closed:
            connection.abort()
            return
        connection.expire_at(now + self._idle)
        pool.append(connection)

    async def _connect(self, target: Target, started: float, deadline: float) -> Connection:
        if self._closed:
            raise _stopping(None)

        def make(address: str) -> Connection:
            return Connection(
                limits=self._limits,
                origin=target.origin,
                address=address,
                clock=self._clock,
                lost=self._forget,
                write=self._write,
            )

        connection = await self._connector.open(target, make, deadline=deadline)
        connection.connected = (self._clock() - started) * 1000
        if not connection.closed:
            self._open.add(connection)
            self._empty.clear()
        if self._closed:
            connection.abort()
            raise _stopping(connection.address)
        return connection

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        if not self._open:
            self._empty.set()
        pool = self._pool.get(connection.origin)
        if pool is None:
            return
        if connection in pool:
            pool.remove(connection)
        if not pool:
            del self._pool[connection.origin]


def _stopping(address: str | None) -> AttemptFailed:
    return AttemptFailed(Failure.INTERRUPTED, "The gateway is stopping.", address=address)
