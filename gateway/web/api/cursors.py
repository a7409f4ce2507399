"""Cursors: where a list goes on, signed, so that nobody leans on what is inside."""

from collections.abc import Callable

from itsdangerous import BadData, URLSafeSerializer

from gateway.errors import BadRequest


class Cursors:
    """Makes and reads them; each list has its own, `scope`. `secret` is asked for when it is needed."""

    def __init__(self, secret: Callable[[], bytes]) -> None:
        self._secret = secret

    def make(self, scope: str, row: int) -> str:
        """The cursor behind a row."""
        return str(URLSafeSerializer(self._secret(), salt=scope).dumps(row))

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
