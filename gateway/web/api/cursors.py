"""Cursors: where a list goes on, signed, so that nobody leans on what is inside."""

from collections.abc import Callable
from functools import lru_cache

from itsdangerous import BadData, URLSafeSerializer

from gateway.errors import BadRequest

SHARED = 1_024  # cursors that are kept: all streams are at the same events, and signing costs most


class Cursors:
    """Makes and reads them; each list has its own, `scope`. `secret` is asked for when it is needed."""

    def __init__(self, secret: Callable[[], bytes]) -> None:
        self._secret = secret

    def make(self, scope: str, row: int) -> str:
        """The cursor behind a row."""
        return _signed(self._secret(), scope, row)

    def read(self, scope: str, cursor: str | None) -> int | None:
        """The row behind which a page begins; None for None. `BadRequest` for what was not made here."""
        if cursor is None:
            return None
        try:
            row = URLSafeSerializer(self._secret(), salt=scope).loads(cursor)
        except BadData:
            row = None
        if not isinstance(row, int):
            raise BadRequest("cursor: take it from the page before, of the same list")
        return row


@lru_cache(SHARED)
def _signed(secret: bytes, scope: str, row: int) -> str:
    return str(URLSafeSerializer(secret, salt=scope).dumps(row))
