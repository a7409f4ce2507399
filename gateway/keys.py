"""API keys: their text, their roles, and how one is checked against what the store has of it.

A key is `gwk_<id>_<secret>_<checksum>`: the id is 8 of a-z and 2-7, and may be shown; the secret is
256 random bits as 43 of 0-9, A-Z and a-z; the checksum is the CRC-32 of all that stands before its
underscore, as 6 of the same. So a typo is told without a look-up, and scanners for leaked secrets
know a key when they see one, as GitHub's tokens are known ("Behind GitHub's new authentication
token formats", github.blog, 2021). The store has the SHA-256 of the secret and nothing else of it:
what has 256 random bits needs no slow hash.
"""

import re
import string
import zlib
from base64 import b32encode
from collections.abc import Callable, Mapping
from enum import StrEnum
from hashlib import sha256
from hmac import compare_digest
from typing import NamedTuple

import msgspec

from gateway.models import Millis

PREFIX = "gwk_"
ID_BYTES, SECRET_BYTES = 5, 32
SECRET_LENGTH, CHECKSUM_LENGTH = 43, 6  # digits to the base of 62 for 256 and for 32 bits
DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
LONGEST_NAME = 100  # characters

NO_DIGEST = bytes(32)
"""What a secret is compared with when its id is unknown: no secret has this SHA-256."""

_ID = "[a-z2-7]{8}"
_KEY = re.compile(rf"{PREFIX}({_ID})_([0-9A-Za-z]{{43}})_([0-9A-Za-z]{{6}})")
_NAMED = re.compile(rf"(?:{PREFIX})?({_ID})(?:_.*)?")


class Role(StrEnum):
    """What a key may be used for; `MAY` says it in words."""

    ADMIN = "admin"
    OPERATOR = "operator"
    PUBLISHER = "publisher"
    SUBSCRIBER = "subscriber"
    READER = "reader"


MAY: Mapping[Role, str] = {
    Role.ADMIN: "do everything, and make and revoke keys",
    Role.OPERATOR: "do everything but make and revoke keys",
    Role.PUBLISHER: "publish events, and nothing else",
    Role.SUBSCRIBER: "make subscriptions, and see and change those that it made",
    Role.READER: "look at everything, and change nothing",
}


class KeyState(StrEnum):
    """How a key stands; only an active one opens anything."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known and may be shown of a key; `name` is a label for people.

    `last_used_at` is written in the background, and may be a minute behind.
    """

    id: str
    role: Role
    name: str | None = None
    made_at: Millis
    expires_at: Millis | None = None
    revoked_at: Millis | None = None
    last_used_at: Millis | None = None

    def state(self, now: Millis) -> KeyState:
        """How it stands; it has expired at `expires_at` itself."""
        if self.revoked_at is not None:
            return KeyState.REVOKED
        if self.expires_at is not None and now >= self.expires_at:
            return KeyState.EXPIRED
        return KeyState.ACTIVE


class Parsed(NamedTuple):
    """The two parts of a key; the second one is not to be shown."""

    id: str
    secret: str


def make_key(random: Callable[[int], bytes]) -> str:
    """A new key; `random` gives so many bytes that nobody can guess."""
    name = b32encode(random(ID_BYTES)).decode().lower()
    secret = _in_digits(int.from_bytes(random(SECRET_BYTES), "big"), SECRET_LENGTH)
    text = f"{PREFIX}{name}_{secret}"
    return f"{text}_{_checksum(text)}"


def parse_key(text: str) -> Parsed | None:
    """The id and the secret of a key; None for what was never one, as after a typo."""
    found = _KEY.fullmatch(text)
    if found is None or found[3] != _checksum(text[: found.end(2)]):
        return None
    return Parsed(found[1], found[2])


def named_key(text: str) -> str | None:
    """The id in what a person gives for one: the id, `gwk_` before it, or the whole key; else None."""
    found = _NAMED.fullmatch(text.strip())
    return None if found is None else found[1]


def digest_of(secret: str) -> bytes:
    """What the store keeps of a secret: its SHA-256."""
    return sha256(secret.encode()).digest()


def is_secret_of(secret: str, digest: bytes | None) -> bool:
    """Whether a secret has this digest; without one the same work is done, and the answer is no."""
    equal = compare_digest(digest_of(secret), NO_DIGEST if digest is None else digest)
    return equal and digest is not None


def _checksum(text: str) -> str:
    return _in_digits(zlib.crc32(text.encode("ascii")), CHECKSUM_LENGTH)


def _in_digits(number: int, length: int) -> str:
    digits = ""
    for _ in range(length):
        number, digit = divmod(number, len(DIGITS))
        digits = DIGITS[digit] + digits
    return digits
