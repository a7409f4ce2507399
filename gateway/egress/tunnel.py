"""A tunnel through a forward proxy: CONNECT (RFC 9110 9.3.6), before TLS with the target itself."""

import asyncio
import re
import socket

from gateway.egress.answer import AttemptFailed
from gateway.egress.rules import Target
from gateway.models import Failure

HEAD_CAP = 16 * 1024  # bytes of the proxy's answer

_STATUS = re.compile(rb"HTTP/1\.[01] (?P<status>[0-9]{3})(?: [^\r\n]*)?\r\n")
_END = b"\r\n\r\n"


async def open_tunnel(sock: socket.socket, target: Target, *, address: str) -> None:
    """Ask the proxy behind `sock`, shown as `address`, for a tunnel to `target`.

    Raises `AttemptFailed`: forbidden when it answers 403, else that there is no connection. The
    caller has the deadline, and closes the socket when this fails.
    """
    loop = asyncio.get_running_loop()
    authority = target.origin.removeprefix(f"{target.scheme}://").encode("ascii")
    request = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (authority, authority)
    try:
        await loop.sock_sendall(sock, request)
        head, rest = await _head(sock)
    except OSError as error:
        reason = error.strerror or error
        raise _refused(Failure.CONNECT, target, f"failed: {reason}", address) from None
    found = _STATUS.match(head)
    if found is None:
        raise _refused(Failure.CONNECT, target, "failed: it speaks no HTTP/1.1", address)
    status = int(found["status"])
    if not 200 <= status < 300:
        failure = Failure.FORBIDDEN if status == 403 else Failure.CONNECT
        raise _refused(failure, target, f"was refused with {status}", address)
    if rest:  # a server speaks second in TLS: these bytes are nobody's
        raise _refused(Failure.CONNECT, target, "failed: it sent bytes unasked", address)


async def _head(sock: socket.socket) -> tuple[bytes, bytes]:
    """The head of the answer, and what came behind it; OSError when there is none within the cap."""
    loop = asyncio.get_running_loop()
    received = b""
    while _END not in received:
        if len(received) >= HEAD_CAP:
            raise ConnectionError("its answer is longer than is read")
        data = await loop.sock_recv(sock, HEAD_CAP - len(received))
        if not data:
            raise ConnectionError("it closed the connection")
        received += data
    head, _, rest = received.partition(_END)
    return head + _END, rest


def _refused(failure: Failure, target: Target, what: str, address: str) -> AttemptFailed:
    text = f"The tunnel through the proxy to {target.origin} {what}."
    return AttemptFailed(failure, text, address=address)
