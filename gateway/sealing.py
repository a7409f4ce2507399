"""Secrets as they are stored: sealed with a master key, each for one record.

A sealed value is a version byte, 4 bytes of the key's id, a nonce of 12 random bytes, and what
ChaCha20-Poly1305 makes of the secret (RFC 8439), 16 bytes longer than it. Version, key id and the
record's name are authenticated with it, so that a value opens at its own place alone.

A key as text is `gwm_` and the base64url of its 32 bytes and a checksum of 4.
"""

import binascii
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

PREFIX = "gwm_"
KEY = 32  # bytes
VERSION = b"\x01"
ID = 4  # bytes of a key's id
NONCE = 12  # bytes, RFC 8439; random ones may not repeat under one key, and 2^32 of them do not


class SealError(ValueError):
    """A value cannot be opened; the text says why, and shows nothing of it."""


class Sealer:
    """Seals with the key `current`; opens what that one sealed, or one of `older`, 32 bytes each."""

    def __init__(self, current: bytes, *older: bytes) -> None:
        self._current, self._id = current, key_id(current)
        self._ciphers = {key_id(key): ChaCha20Poly1305(key) for key in (*older, current)}

    def seal(self, record: str, secret: bytes) -> bytes:
        """The secret, to be stored as `record`, such as `subscription:3:headers`."""
        head, nonce = VERSION + self._id, secrets.token_bytes(NONCE)
        return head + nonce + self._ciphers[self._id].encrypt(nonce, secret, head + record.encode())

    def open(self, record: str, sealed: bytes) -> bytes:
        """The secret that was sealed as `record`; `SealError`."""
        head, nonce = sealed[: 1 + ID], sealed[1 + ID :][:NONCE]
        if head[:1] != VERSION or len(nonce) < NONCE:
            raise SealError(f"{record} is not sealed as this gateway seals")
        cipher = self._ciphers.get(head[1:])
        if cipher is None:
            raise SealError(f"{record} is sealed with another key, whose id is {head[1:].hex()}")
        try:
            return cipher.decrypt(nonce, sealed[1 + ID + NONCE :], head + record.encode())
        except InvalidTag:
            raise SealError(f"{record} was changed, or belongs elsewhere") from None

    def derived(self, purpose: str) -> bytes:
        """A key of 32 bytes for another purpose, the same for as long as the master key is."""
        return blake2b(purpose.encode(), key=self._current, digest_size=32).digest()


def new_key() -> bytes:
    """A new master key."""
    return secrets.token_bytes(KEY)


def key_id(key: bytes) -> bytes:
    """What stands beside a sealed value: it tells keys apart, and nothing of the key."""
    return blake2b(key, digest_size=ID, person=b"gateway key id").digest()


def key_text(key: bytes) -> str:
    """A key as it is written, `gwm_...`."""
    return PREFIX + urlsafe_b64encode(key + _checksum(key)).decode()


def parse_key(text: str) -> bytes:
    """The key of a text; `ValueError` with a sentence that does not show it."""
    if not text.startswith(PREFIX):
        raise ValueError(f"a master key begins with {PREFIX}")
    try:
        found = urlsafe_b64decode(text[len(PREFIX) :].encode("ascii"))
    except (binascii.Error, UnicodeEncodeError):
        found = b""
    key, checksum = found[:KEY], found[KEY:]
    # Decoding overlooks what is not base64: only what is written as we write it counts.
    if len(key) < KEY or not hmac.compare_digest(checksum, _checksum(key)) or key_text(key) != text:
        raise ValueError("a master key has 52 characters: some are missing or mistyped")
    return key


def _checksum(key: bytes) -> bytes:
    return blake2b(key, digest_size=4, person=b"gateway checksum").digest()
