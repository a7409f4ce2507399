"""Connects as a delivery would, looks at the certificate, and hangs up: nothing is sent.

The way is that of every outgoing call, so that what is said of it holds for deliveries too.
"""

import asyncio
import ssl
import time
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from gateway.egress.answer import AttemptFailed
from gateway.egress.connection import Connection, Limits
from gateway.egress.connector import Connector, Resolver, verified_context
from gateway.egress.resolver import SystemResolver
from gateway.egress.rules import Rules, Target
from gateway.egress.transport import Transport
from gateway.models import Millis

FAREWELL = 1.0  # seconds
LIMITS = Limits(body_cap=0, header_cap=16 * 1024, header_count=100)


class Reached(msgspec.Struct, frozen=True, kw_only=True):
    """A connection that was made. `took` is milliseconds.

    `tls` is the protocol, as in `TLSv1.3`, and `expires` the end of the certificate; both are None
    without TLS.
    """

    address: str
    took: float
    tls: str | None
    expires: Millis | None


class _Looking(Connection):
    """Keeps what the event loop knows of the connection."""

    __slots__ = ("seen",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop once TCP, and TLS if any, are up."""
        self.seen = transport
        super().connection_made(transport)


class Prober:
    """Tries targets under `rules`, through `proxy` if any; `timeout` is seconds for each."""

    def __init__(
        self,
        *,
        rules: Rules,
        proxy: Target | None,
        timeout: float,
        resolve: Resolver | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._rules, self._proxy, self._timeout = rules, proxy, timeout
        self._resolve = resolve or SystemResolver()
        self._ssl = ssl_context or verified_context()

    async def connect(self, target: Target) -> Reached:
        """Resolve, have the addresses judged, connect, shake hands, hang up; `AttemptFailed`."""
        connector = Connector(
            rules=self._rules, resolve=self._resolve, ssl_context=self._ssl, proxy=self._proxy
        )
        lost = asyncio.Event()
        made: list[_Looking] = []

        def make(address: str) -> Connection:
            made.append(
                _Looking(
                    limits=LIMITS,
                    origin=target.origin,
                    address=address,
                    clock=time.perf_counter,
                    lost=lambda _: lost.set(),
                )
            )
            return made[-1]

        begun = time.perf_counter()
        deadline = asyncio.get_running_loop().time() + self._timeout
        await connector.open(target, make, deadline=deadline)
        took = (time.perf_counter() - begun) * 1000
        looking = made[-1]
        # On plain asyncio a peer that hangs up at once is still known: what is asked stays there.
        certificate: dict[str, Any] = looking.seen.get_extra_info("peercert") or {}
        secured = looking.seen.get_extra_info("ssl_object")
        looking.seen.close()
        try:
            # A farewell, so that the peer's log shows no error; some wait long for its answer.
            async with asyncio.timeout(FAREWELL):
                await lost.wait()
        except TimeoutError:
            looking.abort()
        return Reached(
            address=looking.address,
            took=took,
            tls=secured.version() if secured is not None else None,
            expires=_expires(certificate),
        )

    async def told_time(self, target: Target) -> Millis | None:
        """How far our clock is before that of a server, by the `Date` of its answer to HEAD.

        None when there is no answer, or none that tells (RFC 9110 6.6.1).
        """
        transport = Transport(
            rules=self._rules, proxy=self._proxy, resolve=self._resolve, ssl_context=self._ssl
        )
        try:
            answer = await transport.request(b"HEAD", target, b"", b"", timeout=self._timeout)
        except AttemptFailed:
            return None
        finally:
            await transport.close()
        try:
            told = parsedate_to_datetime(answer.headers[b"date"].decode("latin-1"))
        except (KeyError, ValueError):
            return None
        return Millis(int((time.time() - told.timestamp()) * 1000))


def _expires(certificate: dict[str, Any]) -> Millis | None:
    end = certificate.get("notAfter")
    return None if end is None else Millis(int(ssl.cert_time_to_seconds(end) * 1000))
