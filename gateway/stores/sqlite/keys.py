"""Keys of what others choose: their hash, behind their first bytes; and parameters of statements.

Only these are indexed (design section 4): they are short, and hold whatever bytes were sent. The
first bytes are there for speed: order numbers grow, and the ids of Stripe begin with their time, so
that what comes now lies together in an index, however long the history (docs/decisions/0012).
"""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

SIZE = 16  # bytes, of each half of a key
EVENT_ROW = (
    "WITH RECURSIVE block(number) AS (SELECT (SELECT max(id) FROM events) >> 14 UNION ALL"
    " SELECT number - 1 FROM block WHERE number > 0)"
    " SELECT e.id FROM block CROSS JOIN events e INDEXED BY events_event_id"
    " ON (e.id >> 14) = block.number AND substr(e.event_id, -20) = substr(?, -20)"
    " WHERE +e.event_id = ? LIMIT 1"
)
"""Finds an event by its id, which is bound twice, the newest blocks first (docs/decisions/0012).

The plus keeps SQLite from putting the last term's value into the one before, which then has no index.
"""
BY_EVENT_ID = f"id IN ({EVENT_ROW})"


def key(space: str, text: str) -> bytes:
    """The key of a text within a shop or a source."""
    encoded = text.encode()
    return encoded[:SIZE] + _hash(space, encoded)


def plain_key(space: str, text: str) -> bytes:
    """The hash alone: how links were written before schema 3, which does not know their names."""
    return _hash(space, text.encode())


def _hash(space: str, text: bytes) -> bytes:
    hashed = _begun(space).copy()  # half as dear as to begin anew
    hashed.update(text)
    return hashed.digest()


@lru_cache(maxsize=1_000)
def _begun(space: str) -> blake2b:
    return blake2b(f"{len(space)}:{space}".encode(), digest_size=SIZE)


def digest(body: bytes) -> bytes:
    """The hash of a body."""
    return blake2b(body, digest_size=SIZE).digest()


def marks(items: Iterable[object]) -> str:
    """As many question marks of a statement as there are items."""
    return ", ".join("?" for _ in items)
