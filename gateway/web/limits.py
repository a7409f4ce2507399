"""What one client may cost, whom it may address, and the answers when it goes too far."""

import http
import re
from collections.abc import Sequence
from enum import Enum

import msgspec

from gateway.models import Duration, Size
from gateway.web.problems import CODES, REFUSED

# RFC 3986 section 3.2.2 without percent-encoding and sub-delimiters, which no host name has.
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_][A-Za-z0-9._-]{0,254})(:[0-9]{0,5})?")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one listener. `allowed_hosts` without entries allows every host."""

    head_timeout: Duration = Duration(10_000)  # from connect, or from a request's first byte
    body_timeout: Duration = Duration(30_000)  # from the head's end to the body's
    idle_timeout: Duration = Duration(75_000)  # between two requests
    write_timeout: Duration = Duration(30_000)  # for a client that does not read its answer
    linger_timeout: Duration = Duration(2_000)  # after an early answer, for the client to read it
    linger_size: Size = Size(8 << 20)  # what is read and dropped meanwhile
    head_size: Size = Size(64 << 10)  # request line and headers
    target_size: Size = Size(8 << 10)
    headers: int = 100
    pipelined: int = 64  # requests that wait behind one that is being answered
    connections: int = 5_000
    allowed_hosts: tuple[str, ...] = ()


class Refusal(Enum):
    """An answer of the protocol itself: a status, and a sentence for the client."""

    MALFORMED = (400, "The request is not well-formed HTTP/1.1.")
    VERSION = (400, "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    TARGET = (400, "The request target must be a path that begins with '/'.")
    FRAMING = (400, "The request says more than once how long its body is.")
    CODING = (400, "The only transfer coding that is taken is 'chunked', in HTTP/1.1.")
    PADDING = (400, "The body has far more framing than data.")
    HOST = (400, "The request must have exactly one Host header, with a valid host.")
    FOREIGN_HOST = (421, "This host name is not served here.")
    SLOW_HEAD = (408, "The head of the request did not arrive in time.")
    SLOW_BODY = (408, "The body of the request did not arrive in time.")
    LONG_TARGET = (414, "The request target is too long.")
    LARGE_HEAD = (431, "The head of the request is too large.")
    MANY_HEADERS = (431, "The request has too many headers.")
    PIPELINE = (429, "Too many requests wait on this connection.")
    CONNECTIONS = (503, "Too many connections are open.")

    def __init__(self, status: int, detail: str) -> None:
        self.status = status
        self.detail = detail

    def encode(self, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        """The whole response: `headers`, and a problem (RFC 9457) that closes the connection."""
        title = http.HTTPStatus(self.status).phrase
        problem = {"type": "about:blank", "title": title, "status": self.status}
        told = {"code": CODES.get(self.status, REFUSED), "detail": self.detail}
        body = msgspec.json.encode(problem | told)
        own = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        lines = b"".join(b"%s: %s\r\n" % header for header in [*headers, *own])
        return b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (self.status, title.encode(), lines, body)


class Hosts:
    """The hosts that a listener serves: names and addresses, compared without case and port.

    `*.example.com` allows every name below `example.com`, but not that name itself.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        wild = [entry for entry in allowed if entry.startswith("*.")]
        self._every = not allowed
        self._names = frozenset(_name(entry) for entry in allowed if entry not in wild)
        self._suffixes = tuple(_name(entry[1:]) for entry in wild)

    def check(self, value: bytes) -> Refusal | None:
        """Judge the value of a Host header; None when it is served here."""
        if not _HOST.fullmatch(value):
            return Refusal.HOST
        name = _name(value.decode("ascii"))
        if self._every or name in self._names or name.endswith(self._suffixes):
            return None
        return Refusal.FOREIGN_HOST


def _name(host: str) -> str:
    """A host as it is compared: no port, no brackets, no final dot, lower case."""
    if host.startswith("[") or host.count(":") < 2:
        host = re.sub(r":[0-9]*$", "", host)
    return host.strip("[]").rstrip(".").lower()
