"""Opens connections: resolves, has every address judged, connects to a judged address and no other.

The one place in the gateway where an outgoing connection begins.
"""

import asyncio
import functools
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Any, TypeAlias

from gateway.egress.answer import AttemptFailed
from gateway.egress.connection import Connection
from gateway.egress.rules import Rules, Target, is_literal
from gateway.egress.tunnel import open_tunnel
from gateway.errors import ForbiddenAddress
from gateway.models import Failure

Resolver: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a host name, as literals; raises OSError when it has none."""

MakeConnection: TypeAlias = Callable[[str], Connection]

_MAX_TRIED = 4  # addresses of one name, in the resolver's order
_TLS_SLACK = 60.0  # the loop's own handshake limit must not end before our deadline


@functools.cache
def verified_context() -> ssl.SSLContext:
    """TLS 1.2 or newer, verified against the system's authorities; one for all: reading these takes 30 ms."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


class Connector:
    """Gives open connections, all through `proxy` if any; every failure is an `AttemptFailed`."""

    def __init__(
        self,
        *,
        rules: Rules,
        resolve: Resolver,
        ssl_context: ssl.SSLContext,
        proxy: Target | None = None,
    ) -> None:
        self._rules = rules
        self._resolve = resolve
        self._ssl = ssl_context
        self._proxy = proxy

    async def open(self, target: Target, make: MakeConnection, *, deadline: float) -> Connection:
        """Connect before `deadline`, a time of the event loop; `make` gets the address as text."""
        try:
            async with asyncio.timeout_at(deadline):
                if self._proxy is None:
                    addresses = await self._addresses(target)
                    sock, shown = await self._first(addresses, target.port, deadline)
                else:
                    sock, shown = await self._by_proxy(self._proxy, target, deadline)
                return await self._start(sock, target, make(shown), deadline)
        except TimeoutError:
            text = f"No connection to {target.origin} was made in time."
            raise AttemptFailed(Failure.TIMEOUT, text) from None

    async def _addresses(self, target: Target) -> list[str]:
        """All addresses of the host, each permitted.

        One forbidden address refuses the whole answer: who mixes them waits for us to choose
        the forbidden one (DNS rebinding), and an honest name has no reason to.
        """
        host, port = target.host, target.port
        addresses = [host] if is_literal(host) else await self._lookup(host, port)
        for address in addresses:
            try:
                self._rules.check(address, port)
            except ForbiddenAddress as error:
                text = str(error) if address == host else f"{host} is {address}: {error}"
                raise AttemptFailed(Failure.FORBIDDEN, text) from None
        return addresses

    async def _by_proxy(
        self, proxy: Target, target: Target, deadline: float
    ) -> tuple[socket.socket, str]:
        """A socket whose far end is the target's, or the proxy itself for one without TLS.

        Names are the proxy's to resolve, and so to judge; a literal is judged here as ever.
        """
        try:
            self._rules.check_target(target)
        except ForbiddenAddress as error:
            raise AttemptFailed(Failure.FORBIDDEN, str(error)) from None
        try:
            named = not is_literal(proxy.host)
            found = await self._lookup(proxy.host, proxy.port) if named else [proxy.host]
            sock, shown = await self._first(found, proxy.port, deadline)
        except AttemptFailed as error:
            text = f"The proxy cannot be reached: {error.detail}"
            raise AttemptFailed(error.failure, text, address=error.address) from None
        with ExitStack() as on_failure:
            on_failure.callback(sock.close)
            if target.tls:
                await open_tunnel(sock, target, address=shown)
            on_failure.pop_all()
        return sock, shown

    async def _lookup(self, host: str, port: int) -> list[str]:
        try:
            found = list(dict.fromkeys(await self._resolve(host, port)))
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            text = f"The name {host} could not be resolved: {reason}."
            raise AttemptFailed(Failure.DNS, text) from None
        if not found:
            raise AttemptFailed(Failure.DNS, f"The name {host} has no address.")
        return found

    async def _first(
        self, addresses: list[str], port: int, deadline: float
    ) -> tuple[socket.socket, str]:
        """Try the addresses in order; each but the last gets its share of the time that is left."""
        clock = asyncio.get_running_loop().time
        *tried, last = addresses[:_MAX_TRIED]
        for done, address in enumerate(tried):
            share = (deadline - clock()) / (len(tried) + 1 - done)
            try:
                async with asyncio.timeout(share):
                    return await _connect(address, port), _shown(address, port)
            except OSError:
                continue
        try:
            return await _connect(last, port), _shown(last, port)
        except OSError as error:
            # uvloop and asyncio word these errors differently; the system's own words are better.
            reason = os.strerror(error.errno) if error.errno else str(error)
            text = f"No connection to {_shown(last, port)}: {reason}."
            raise AttemptFailed(Failure.CONNECT, text, address=_shown(last, port)) from None

    async def _start(
        self, sock: socket.socket, target: Target, connection: Connection, deadline: float
    ) -> Connection:
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {}
        if target.tls:
            options["ssl"] = self._ssl
            options["server_hostname"] = target.host.removesuffix(".")
            options["ssl_handshake_timeout"] = max(deadline - loop.time(), 0) + _TLS_SLACK
        try:
            await loop.create_connection(lambda: connection, sock=sock, **options)
        except ssl.SSLCertVerificationError as error:
            text = f"The certificate of {target.host} is not valid: {error.verify_message}."
            raise AttemptFailed(Failure.TLS, text, address=connection.address) from None
        except OSError as error:
            reason = getattr(error, "reason", None) or error.strerror or error
            failure = Failure.TLS if target.tls else Failure.CONNECT
            text = (
                f"{'TLS' if target.tls else 'The connection'} with {target.host} failed: {reason}."
            )
            raise AttemptFailed(failure, text, address=connection.address) from None
        finally:
            _hand_over(sock, loop)
        return connection


def _hand_over(sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
    """Leave the descriptor to an event loop that closes it by its number.

    uvloop does. Where the peer hangs up while it starts a connection, it forgets to tell the socket
    object, whose own end would then close whatever has got that number since: another connection,
    or the database.
    """
    if not isinstance(loop, asyncio.BaseEventLoop):
        sock.detach()


async def _connect(address: str, port: int) -> socket.socket:
    """A connected socket whose peer is `address` and nothing else; OSError otherwise."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    with ExitStack() as on_failure:
        on_failure.callback(sock.close)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
        peer = sock.getpeername()[0]
        if not _same(peer, address):
            raise ConnectionError(f"the peer is {peer}")
        on_failure.pop_all()
    return sock


def _same(peer: str, address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.inet_pton(family, peer) == socket.inet_pton(family, address)


def _shown(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
