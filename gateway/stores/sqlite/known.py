"""Reads what the entries of a callback may touch: links, what waits for these links, and orders.

For most callbacks that is one statement, with a point look-up a name. Statements of their own would
cost twice as much, and `IN` builds a table of its parameters first.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from gateway.models import Entry, Known, Waiting
from gateway.stores.sqlite.keys import key, marks, plain_key
from gateway.stores.sqlite.writer import Batch

MOST = 100  # look-ups in one statement

_CALLBACK = "SELECT 0, id, verdict, body_hash, notes FROM callbacks WHERE dedupe = ?"
_LINK = "SELECT 1, key, order_id, NULL, NULL FROM links WHERE key = ?"
_ORDER = "SELECT 2, id, order_id, state, NULL FROM orders WHERE key = ?"

_entry = msgspec.msgpack.Decoder(Entry)

First = tuple[int, str, bytes, bytes]
"""The row, verdict, body hash and notes of the callback that came first."""


@lru_cache(maxsize=400)
def _statement(callbacks: int, links: int, orders: int) -> str:
    parts = [_CALLBACK] * callbacks + [_LINK] * links + [_ORDER] * orders
    return " UNION ALL ".join(parts)


class Look:
    """One look into the store, within a transaction; `rows` are those of the orders that are there."""

    def __init__(self, batch: Batch, shop: str) -> None:
        self._batch, self.shop = batch, shop
        self._execute = batch.connection.execute
        self._keys: dict[str, bytes] = {}
        self._links: dict[str, str] = {}
        self._states: dict[str, bytes] = {}
        self._read: set[str] = set()  # orders that were looked up
        self._seen: set[str] = set()  # links that were
        self._last: dict[bytes, str] = {}  # the keys of the last look, to their names
        self.rows: dict[str, int] = {}

    def key(self, name: str) -> bytes:
        """The key of a name of the shop."""
        found = self._keys.get(name)
        if found is None:
            found = self._keys[name] = key(self.shop, name)
        return found

    def begin(self, entries: Sequence[Entry], dedupe: bytes | None = None) -> First | None:
        """Look up all that the entries name, and what came first under this key."""
        return self._look(_links(entries), _orders(entries), dedupe)

    def known(self) -> Known:
        """Everything that the entries of `begin` may touch."""
        waiting: dict[int, Waiting] = {}
        while self._anything_waits():
            new = [one for one in self._waiting(self._last) if one.id not in waiting]
            waiting.update((one.id, one) for one in new)
            links = _links(one.entry for one in new) - self._seen
            if not links:
                break
            self._look(links, set(), None)
        named = _orders(one.entry for one in waiting.values()) if waiting else set()
        missing = (named | set(self._links.values())) - self._read
        if missing:
            self._look(set(), missing, None)
        return Known(links=self._links, orders=self._states, waiting=list(waiting.values()))

    def _look(self, links: set[str], orders: set[str], dedupe: bytes | None) -> First | None:
        self._seen |= links
        self._read |= orders
        self._last = {self.key(name): name for name in links}
        if self._plain_keys():
            self._last |= {plain_key(self.shop, name): name for name in links}
        ordered = [self.key(name) for name in orders]
        if len(self._last) + len(ordered) < MOST:
            return self._ask(dedupe, list(self._last), ordered)
        for start in range(0, len(self._last), MOST):
            self._ask(None, list(self._last)[start : start + MOST], [])
        for start in range(0, len(ordered), MOST):
            self._ask(None, [], ordered[start : start + MOST])
        return self._ask(dedupe, [], []) if dedupe is not None else None

    def _ask(
        self, dedupe: bytes | None, links: Sequence[bytes], orders: Sequence[bytes]
    ) -> First | None:
        callbacks = [] if dedupe is None else [dedupe]
        if not (callbacks or links or orders):
            return None
        statement = _statement(len(callbacks), len(links), len(orders))
        first: First | None = None
        row: tuple[Any, ...]
        for row in self._execute(statement, (*callbacks, *links, *orders)):
            if row[0] == 0:
                first = row[1:]
            elif row[0] == 1:
                self._links[self._last[row[1]]] = row[2]
            else:
                self.rows[row[2]], self._states[row[2]] = row[1], row[3]
        return first

    def _anything_waits(self) -> bool:
        if self._batch.unlinked is None:
            row = self._execute("SELECT 1 FROM unlinked LIMIT 1").fetchone()
            self._batch.unlinked = row is not None
        return self._batch.unlinked

    def _plain_keys(self) -> bool:
        """Whether there are links of before schema 3."""
        if self._batch.plain_keys is None:
            row = self._execute("SELECT 1 FROM plain_keys").fetchone()
            self._batch.plain_keys = row is not None
        return self._batch.plain_keys

    def _waiting(self, keys: dict[bytes, str]) -> list[Waiting]:
        rows = self._execute(
            "SELECT DISTINCT id, entry FROM unlinked_keys JOIN unlinked ON id = unlinked"  # noqa: S608
            f" WHERE key IN ({marks(keys)}) ORDER BY id",
            tuple(keys),
        )
        return [Waiting(id=number, entry=self.entry(entry)) for number, entry in rows.fetchall()]

    def entry(self, stored: bytes) -> Entry:
        """A fact that waits; what the provider sent stands in its callback."""
        entry = _entry.decode(stored)
        if "original" not in entry.origin.include:
            return entry
        (body,) = self._execute(
            "SELECT body FROM callbacks WHERE id = ?", (entry.origin.callback,)
        ).fetchone()
        origin = msgspec.structs.replace(entry.origin, original=msgspec.Raw(body))
        return msgspec.structs.replace(entry, origin=origin)


def _links(entries: Iterable[Entry]) -> set[str]:
    return {name for entry in entries for name in entry.fact.keys()}  # noqa: SIM118 - not a dict


def _orders(entries: Iterable[Entry]) -> set[str]:
    return {named for entry in entries if (named := entry.fact.named)}
