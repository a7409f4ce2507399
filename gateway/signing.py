"""Standard Webhooks signatures: the sender's side, and `verify` for consumers.

Format: Standard Webhooks 1.0.0. The signed content is `{id}.{timestamp}.{body}`; a `v1` entry is
`v1,` + base64(HMAC-SHA256(key, content)); a secret is shown as `whsec_` + base64 of 24 to 64 bytes.
This module uses the standard library only, so that consumers can take it as it is.
"""

import binascii
import hmac
import secrets as random_source
import string
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence

PREFIX = "whsec_"
MINIMUM_KEY, MAXIMUM_KEY = 24, 64  # bytes, Standard Webhooks "Signature scheme"
TOLERANCE = 300  # seconds; what the reference libraries allow
MOST_ENTRIES = 50  # a rotation has two; far more is an attempt to make us work


class VerificationError(ValueError):
    """The delivery is not authentic, or too old; the only error that `verify` raises."""


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
    return b" ".join(
        b"v1," + binascii.b2a_base64(hmac.digest(key, content, "sha256"), newline=False)
        for key in keys
    )


def verify(
    body: bytes,
    headers: Mapping[str, str],
    secrets: str | Sequence[str],
    *,
    now: float,
    tolerance: int = TOLERANCE,
) -> None:
    """Return when one of `secrets` signed this delivery within `tolerance` seconds of `now` (Unix time).

    Header names are matched without case. Verify the raw bytes first, then parse them. Every
    malformed input raises `VerificationError`.
    """
    keys = _keys([secrets] if isinstance(secrets, str) else secrets)
    fields = {name.lower(): value for name, value in headers.items()}
    message_id = fields.get("webhook-id", "")
    stamp = fields.get("webhook-timestamp", "")
    entries = fields.get("webhook-signature", "").split(" ")
    if not message_id.isascii() or not message_id:
        raise VerificationError("webhook-id is missing or not ASCII")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise VerificationError("webhook-timestamp is missing or not a number of seconds")
    if abs(now - int(stamp)) > tolerance:
        raise VerificationError(
            f"the timestamp is {abs(now - int(stamp)):.0f} s off, {tolerance} s are allowed"
        )
    if len(entries) > MOST_ENTRIES:
        raise VerificationError("webhook-signature has too many entries")
    given = [entry.encode("utf-8", "replace") for entry in entries if entry.startswith("v1,")]
    expected = [sign([key], message_id, int(stamp), body) for key in keys]
    if not _any_equal(given, expected):
        raise VerificationError(f"no v1 entry matches any of {len(keys)} secrets")


def _keys(secrets: Sequence[str]) -> list[bytes]:
    if not secrets:
        raise VerificationError("no secret was given")
    try:
        return [parse_secret(secret) for secret in secrets]
    except ValueError as error:
        raise VerificationError(str(error)) from None


def _any_equal(given: Sequence[bytes], expected: Sequence[bytes]) -> bool:
    """Compare all pairs, without an early exit, in constant time each."""
    found = False
    for left in given:
        for right in expected:
            found |= hmac.compare_digest(left, right)
    return found
