"""Asks providers' APIs: httpx2 in front, and behind it the door that every outgoing call takes.

So a poll connects to permitted addresses only, follows no redirect, reads no more than the cap,
and ends within its deadline, whatever the API does.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import quote

import httpx2

from gateway.egress.answer import AttemptFailed
from gateway.egress.rules import parse_target
from gateway.egress.transport import Transport
from gateway.errors import AskFailed, Unreached
from gateway.models import Failure, Millis, Query, Reply

BODY_CAP = 8 << 20  # bytes of one reply; a page of a hundred orders has some hundred KiB
SHOWN = 40  # bytes of a stranger's header that a log line repeats
TIMEOUT = 30.0  # seconds for one request in all
OURS = frozenset({b"host", b"content-length", b"accept-encoding", b"connection"})
"""Headers that the transport writes itself."""
UNSENT = frozenset({Failure.DNS, Failure.CONNECT, Failure.TLS, Failure.FORBIDDEN})
UNUSED = frozenset({b"transfer-encoding", b"set-cookie"})
"""Headers of an answer that must mean nothing here: its body is whole, and nobody is logged in."""


class Door(httpx2.AsyncBaseTransport):
    """The gateway's own transport as one of httpx2's; raises `AskFailed`."""

    def __init__(self, transport: Transport, *, timeout: float) -> None:
        self._transport, self._timeout = transport, timeout

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request and read its whole answer."""
        body = await request.aread()
        head = b"".join(
            b"%b: %b\r\n" % (name, value)
            for name, value in request.headers.raw
            if name.lower() not in OURS
        )
        try:
            target = parse_target(str(request.url))
            answer = await self._transport.request(
                request.method.encode(), target, head, body, timeout=self._timeout
            )
        except ValueError as error:
            raise AskFailed(f"its URL is not one to ask: {error}") from None
        except AttemptFailed as error:
            kind = Unreached if error.failure in UNSENT else AskFailed
            raise kind(error.detail.rstrip(".")) from None
        if answer.truncated:
            raise AskFailed(f"it answered more than {BODY_CAP >> 20} MiB")
        coding = answer.headers.get(b"content-encoding", b"identity").lower()
        if coding != b"identity":
            raise AskFailed(
                f"it answered in the encoding {coding[:SHOWN]!r}, which was not asked for"
            )
        headers = [pair for pair in answer.headers.items() if pair[0] not in UNUSED]
        return httpx2.Response(answer.status, headers=headers, content=answer.body)


class ApiClient:
    """Asks for one source; `headers` prove who asks, `clock` gives the time of a request."""

    def __init__(
        self,
        transport: Transport,
        *,
        base_url: str,
        headers: Mapping[str, str],
        clock: Callable[[], Millis],
        timeout: float = TIMEOUT,
    ) -> None:
        self._base_url, self._clock = base_url, clock
        self._secrets = _forms([value.rpartition(" ")[2] for value in headers.values()])
        self._client = httpx2.AsyncClient(
            transport=Door(transport, timeout=timeout),
            headers={**headers, "accept": "application/json"},
            trust_env=False,
            follow_redirects=False,
            timeout=None,  # the door has one deadline round everything
        )

    async def ask(self, query: Query) -> Reply:
        """Send one request; raises `AskFailed` when no whole answer came.

        Some APIs name the token that they refuse, and what they say is logged and stored: it is
        masked in headers and in the bodies of errors. Whoever quotes from a reply masks that too,
        because JSON can write the same text in many ways.
        """
        at = self._clock()
        try:
            response = await self._client.request(
                query.method,
                f"{self._base_url}/{query.path}",
                params=query.params or None,
                content=query.body or None,
                headers={"content-type": "application/json"} if query.body else None,
            )
        except httpx2.InvalidURL as error:
            raise AskFailed(f"its URL is not one to ask: {error}") from None
        except AskFailed as error:
            raise type(error)(self.mask(str(error))) from None
        except (httpx2.HTTPError, ValueError) as error:
            # httpx2 takes every `Location` apart, and some break it.
            raise AskFailed(self.mask(f"its answer cannot be taken: {error}")) from None
        status, body = response.status_code, response.content
        return Reply(
            status=status,
            headers={name.lower(): self.mask(text) for name, text in response.headers.items()},
            body=body
            if 200 <= status < 300
            else self.mask(body.decode("latin-1")).encode("latin-1"),
            at=at,
        )

    def mask(self, text: str) -> str:
        """The text without the token, also where it is percent-encoded."""
        return self._secrets.sub("***", text)

    async def close(self) -> None:
        """Let go of the client; the transport belongs to who gave it."""
        await self._client.aclose()


def _forms(secrets: Iterable[str]) -> re.Pattern[str]:
    """Matches each secret as it is, and as it stands in a URL."""
    forms = {form for secret in secrets for form in (secret, quote(secret, safe=""), quote(secret))}
    longest_first = sorted((form for form in forms if form), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)", re.IGNORECASE)
