"""Hashes of what an attacker can choose: only these are indexed (design section 4); and parameters."""

from collections.abc import Iterable
from hashlib import blake2b

SIZE = 16  # bytes


def key(space: str, text: str) -> bytes:
    """The hash of a text within a shop or a source."""
    return blake2b(f"{len(space)}:{space}{text}".encode(), digest_size=SIZE).digest()


def digest(body: bytes) -> bytes:
    """The hash of a body."""
    return blake2b(body, digest_size=SIZE).digest()


def marks(items: Iterable[object]) -> str:
    """As many question marks of a statement as there are items."""
    return ", ".join("?" for _ in items)
