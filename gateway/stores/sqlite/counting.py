"""Counts of one subscription, that stay cheap with a million deliveries.

What is unfinished is in an index, and counted up to `CAP`. There is none for what has ended, which
every delivery would have to write: the newest `SCANNED` deliveries are looked at.
"""

from collections import Counter
from collections.abc import Sequence

from gateway.models import Millis
from gateway.retries import CODES, DeliveryState
from gateway.stores.counting import Counted
from gateway.stores.sqlite.reading import Reading

CAP = 100_000  # deliveries of one state that are counted
SCANNED = 20_000  # deliveries that are looked at for what has ended

# Without `likely` the planner would read all that is unfinished.
_OPEN = (
    "FROM deliveries INDEXED BY deliveries_open"
    " WHERE subscription = ? AND state = ? AND likely(state < 2)"
)
_WAITING = f"SELECT count(*) FROM (SELECT 1 {_OPEN} LIMIT ?)"  # noqa: S608
_OLDEST = f"SELECT due {_OPEN} ORDER BY due LIMIT 1"
_FLOOR = "SELECT coalesce(max(id), 0) - ? FROM deliveries"
_BACK_TO = (
    "SELECT e.recorded FROM deliveries d JOIN events e ON e.id = d.event"
    " WHERE d.id > ? ORDER BY d.id LIMIT 1"
)
_ENDED = (
    "SELECT state, count(*) FROM deliveries NOT INDEXED"
    " WHERE id > ? AND subscription = ? AND state > 1 AND finished_at >= ? GROUP BY state"
)
_ATTEMPTS = (
    "SELECT a.failure, a.duration FROM deliveries d NOT INDEXED"
    " CROSS JOIN attempts a ON a.delivery = d.id"
    " WHERE d.id > ? AND d.subscription = ? AND a.started_at >= ?"
)


async def counted(reading: Reading, subscription: int, *, since: Millis) -> Counted:
    """See `gateway.stores.counting.Counting`."""
    waiting = {
        str(state): await _waiting(reading, subscription, code)
        for state, code in CODES.items()
        if code <= CODES[DeliveryState.LEASED]
    }
    pending = CODES[DeliveryState.PENDING]
    oldest = await reading.fetch(_OLDEST, (subscription, pending))
    ((floor,),) = await reading.fetch(_FLOOR, (SCANNED,))
    floor = max(floor, 0)
    back_to = await reading.fetch(_BACK_TO, (floor,)) if floor else []
    rows = await reading.fetch(_ENDED, (floor, subscription, since))
    ended = {row[0]: row[1] for row in rows}
    attempts = await reading.fetch(_ATTEMPTS, (floor, subscription, since))
    durations = sorted(row[1] for row in attempts)
    return Counted(
        waiting={state: min(count, CAP) for state, count in waiting.items()},
        capped=max(waiting.values()) > CAP,
        oldest_due=oldest[0][0] if oldest else None,
        delivered=ended.get(CODES[DeliveryState.DELIVERED], 0),
        dead=ended.get(CODES[DeliveryState.DEAD], 0),
        attempts=len(attempts),
        failures=dict(Counter(row[0] for row in attempts if row[0] is not None)),
        p50=_part(durations, 50),
        p95=_part(durations, 95),
        looked_back_to=back_to[0][0] if back_to else None,
    )


async def _waiting(reading: Reading, subscription: int, code: int) -> int:
    ((count,),) = await reading.fetch(_WAITING, (subscription, code, CAP + 1))
    return int(count)


def _part(durations: Sequence[float], percent: int) -> float | None:
    """What so many in a hundred took at most (nearest rank); None of nothing."""
    return durations[-(-len(durations) * percent // 100) - 1] if durations else None
