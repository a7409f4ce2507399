"""Where the history that a new subscription asks for begins in the outbox."""

import sqlite3

from gateway.models import Millis


def last_before(connection: sqlite3.Connection, start: Millis) -> int:
    """The place of the last event before all those that happened at `start` or later, 0 without one."""
    if start <= 0:
        return 0
    first = connection.execute(
        "SELECT id FROM events WHERE time >= ? ORDER BY id LIMIT 1", (start,)
    ).fetchone()
    if first is not None:
        return int(first[0]) - 1
    (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()
    return int(last)
