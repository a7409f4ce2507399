"""`Stripe-Signature`: taken apart, and made for test callbacks.

Format: https://docs.stripe.com/webhooks#verify-manually.
"""

import hmac
import re
from typing import Final

from gateway.errors import Rejected
from gateway.models import Millis

HEADER: Final = "Stripe-Signature"
LIMIT: Final = 20  # Stripe sends one a secret, and has two secrets while one is rolled
_SECONDS = re.compile(r"[0-9]{1,12}")


def read_signature(header: str) -> tuple[str, list[bytes]]:
    """The timestamp and all `v1` digests; raises `Rejected` when the header has another form."""
    times: list[str] = []
    digests: list[bytes] = []
    for element in header.split(","):
        scheme, equals, value = element.partition("=")
        if not equals:
            raise Rejected(f"an element of {HEADER} has no =")
        if scheme == "t":
            times.append(value)
        elif scheme == "v1":
            digests.append(value.encode())
    if len(times) != 1 or not _SECONDS.fullmatch(times[0]):
        raise Rejected(f"{HEADER} needs one t of 1 to 12 digits")
    if not digests:
        raise Rejected(f"{HEADER} has no v1 signature")
    if len(digests) > LIMIT:
        raise Rejected(f"{HEADER} has more than {LIMIT} v1 signatures")
    return times[0], digests


def write_signature(body: bytes, secret: bytes, now: Millis) -> str:
    """The header's value for a body that is sent now."""
    seconds = now // 1000
    digest = hmac.digest(secret, b"%d.%b" % (seconds, body), "sha256").hex()
    return f"t={seconds},v1={digest}"
