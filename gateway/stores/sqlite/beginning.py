"""Where a new subscription's history begins: a place in the outbox."""

import sqlite3

from gateway.models import Millis


def last_before(connection: sqlite3.Connection, start: Millis) -> int:
    """The id of the last event that was recorded before `start`; 0 when there is none.

    Nothing that happens later is recorded earlier, so that nothing is missed. Times grow with ids:
    some twenty looks are enough for a million events. A clock that was set back may move the place
    by the events of that time.
    """
    (newest,) = connection.execute("SELECT max(id) FROM events").fetchone()
    if start <= 0 or newest is None:
        return 0
    low, high = 0, int(newest)  # what was recorded before lies up to `low`, the rest above `high`
    while low < high:
        middle = (low + high + 1) // 2
        near = connection.execute(
            "SELECT id, recorded FROM events WHERE id <= ? ORDER BY id DESC LIMIT 1", (middle,)
        ).fetchone()
        if near is None or near[0] <= low or near[1] < start:
            low = middle  # without an event between the two there is a gap: retention takes some
        else:
            high = near[0] - 1
    (found,) = connection.execute("SELECT max(id) FROM events WHERE id <= ?", (low,)).fetchone()
    return int(found or 0)
