"""Standard Webhooks signatures: the sender's side, and `verify` for consumers.

Format: Standard Webhooks 1.0.0. The signed content is `{id}.{timestamp}.{body}`; a `v1` entry is
`v1,` + base64(HMAC-SHA256(key, content)); a secret is shown as `whsec_` + base64 of 24 to 64 bytes.
This module uses the standard library only, and nothing else of the gateway, so that consumers can
take the file as it is.
"""

import binascii
import hmac
import secrets as random_source
import string
import time
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

PREFIX = "whsec_"
MINIMUM_KEY, MAXIMUM_KEY = 24, 64  # bytes, Standard Webhooks "Signature scheme"
TOLERANCE = 300  # seconds; what the reference libraries allow
LONGEST_STAMP = 12  # digits; more are no time, but an attempt to make us work
MOST_ENTRIES = 50  # a rotation has two; far more is an attempt to make us work
NAMES = ("webhook-id", "webhook-timestamp", "webhook-signature")


class VerificationError(ValueError):
    """The delivery is not authentic, or too old; the only error that `verify` raises."""


@runtime_checkable
class Fields(Protocol):
    """Headers by name: a dictionary, or what Django, Flask, Starlette or `http.server` give."""

    def items(self) -> Iterable[tuple[str, str]]:
        """All of them, one that came twice as often as it came."""
        ...


Headers = Fields | Iterable[tuple[bytes, bytes]]
"""As a framework gives them; the second form is the one of ASGI's `scope["headers"]`."""


def parse_secret(text: str) -> bytes:
    """The key bytes of a `whsec_...` secret; `ValueError` with one sentence that does not show it."""
    if not text.startswith(PREFIX):
        raise ValueError(f"a secret begins with {PREFIX} and goes on with base64")
    try:
        key = b64decode(text[len(PREFIX) :].encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError(f"what follows {PREFIX} is not base64") from None
    if not MINIMUM_KEY <= len(key) <= MAXIMUM_KEY:
        raise ValueError(f"a secret has 24 to 64 bytes, this one has {len(key)}")
    return key


def generate_secret() -> str:
    """A new secret whose bytes are 32 printable ASCII characters.

    Tools that take the key as text (n8n's Crypto node) can then verify too; 190 bits remain.
    """
    alphabet = string.ascii_letters + string.digits
    key = "".join(random_source.choice(alphabet) for _ in range(32))
    return PREFIX + b64encode(key.encode()).decode()


def sign(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> bytes:
    """The value of `webhook-signature`: one `v1` entry per key, so that an old key still verifies."""
    content = b"%b.%d.%b" % (message_id.encode("ascii"), timestamp, body)
    return b" ".join(_entry(key, content) for key in keys)


def _entry(key: bytes, content: bytes) -> bytes:
    return b"v1," + binascii.b2a_base64(hmac.digest(key, content, "sha256"), newline=False)


def verify(
    body: bytes,
    headers: Headers,
    secrets: str | Sequence[str],
    *,
    now: float | None = None,
    tolerance: int = TOLERANCE,
) -> str:
    """The `webhook-id` of a delivery that one of `secrets` signed, at most `tolerance` seconds ago.

    Take the body as it came, verify it, and parse it only then; answer 401 when it is refused:

    >>> secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
    >>> body = b'{"type":"order.shipped"}'
    >>> headers = {
    ...     "Webhook-Id": "evt_1",
    ...     "Webhook-Timestamp": "1768487400",
    ...     "Webhook-Signature": "v1,6lYMKhPG2eXmbRu2WyHcIBOjdaoViOZOwZjoiK6GHMk=",
    ... }
    >>> def handle(body, headers):
    ...     try:
    ...         webhook_id = verify(body, headers, secret, now=1768487401)
    ...     except VerificationError as error:
    ...         return 401, str(error)
    ...     return 200, webhook_id
    >>> handle(body, headers)
    (200, 'evt_1')
    >>> handle(body.replace(b"shipped", b"paid"), headers)
    (401, 'no v1 entry matches any of 1 secrets')

    Outside of an example leave `now` away: it is Unix time, the clock's unless given. The future is
    held to the same tolerance. Of several secrets one is enough, for as long as a rotation lasts.
    A delivery is repeated until a 2xx comes back: drop repeats by the id, as `gateway.inbox` does.

    Raises `VerificationError`, and nothing else, for whatever a sender can put into the body and the
    headers, a header that came twice included; a body that is no longer bytes is refused so as well.
    """
    keys = _keys([secrets] if isinstance(secrets, str) else secrets)
    if not isinstance(body, bytes | bytearray | memoryview):
        raise VerificationError("the body has to be the bytes as they came, before any decoding")
    message_id, stamp, signature = _fields(headers)
    _check_signed(message_id, stamp)
    off = abs((time.time() if now is None else now) - int(stamp))
    if not off <= tolerance:
        raise VerificationError(f"the timestamp is {off:.0f} s off, {tolerance} s are allowed")
    entries = signature.split(" ", MOST_ENTRIES)
    if len(entries) > MOST_ENTRIES:
        raise VerificationError("webhook-signature has too many entries")
    given = [entry.encode("utf-8", "replace") for entry in entries if entry.startswith("v1,")]
    # The timestamp is signed as it stands in the header: `007` is not what `7` was signed for.
    expected = [
        _entry(key, b"%b.%b.%b" % (message_id.encode(), stamp.encode(), body)) for key in keys
    ]
    if not _any_equal(given, expected):
        raise VerificationError(f"no v1 entry matches any of {len(keys)} secrets")
    return message_id


def _check_signed(message_id: str, stamp: str) -> None:
    """Refuse what would let the border between id, timestamp and body be drawn elsewhere."""
    if not (message_id.isascii() and message_id.isprintable()) or "." in message_id:
        raise VerificationError("webhook-id is not printable ASCII without a dot")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= LONGEST_STAMP):
        raise VerificationError("webhook-timestamp is not a number of seconds")


def _fields(headers: Headers) -> list[str]:
    """The values of the three headers, in the order of `NAMES`; each must be there once."""
    found: dict[str, str] = {}
    try:
        pairs = [(n, v) for n, v in (headers.items() if isinstance(headers, Fields) else headers)]
    except (TypeError, ValueError):
        raise VerificationError("the headers are no pairs of name and value") from None
    for raw, value in pairs:
        name = _text(raw).lower()
        if name in found:
            raise VerificationError(f"{name} came twice")
        if name in NAMES:
            found[name] = _text(value)
    for name in NAMES:
        if not found.get(name):
            raise VerificationError(f"{name} is missing or empty")
    return [found[name] for name in NAMES]


def _text(part: object) -> str:
    if isinstance(part, bytes):
        return part.decode("latin-1")
    if isinstance(part, str):
        return part
    raise VerificationError("a header is neither text nor bytes")


def _keys(secrets: Sequence[str]) -> list[bytes]:
    keys = []
    for secret in secrets or ():
        if not isinstance(secret, str):  # bytes, or what an unset variable gives
            raise VerificationError(f"a secret is text that begins with {PREFIX}")
        try:
            keys.append(parse_secret(secret))
        except ValueError as error:
            raise VerificationError(str(error)) from None
    if not keys:
        raise VerificationError("no secret was given")
    return keys


def _any_equal(given: Sequence[bytes], expected: Sequence[bytes]) -> bool:
    """Compare all pairs, without an early exit, in constant time each."""
    found = False
    for left in given:
        for right in expected:
            found |= hmac.compare_digest(left, right)
    return found
