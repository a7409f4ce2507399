"""When an order is asked for again: often while it is young, seldom later, no more once it is final."""

from collections.abc import Callable, Sequence

from gateway.models import Fact, Millis, Track

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR

AGES = ((DAY, 1), (7 * DAY, 5), (30 * DAY, 30))
"""Up to this age, the time since its last change, an order is asked for every so many intervals."""
LISTED = 5  # intervals at least, for what a list shows as well: it tells of changes
OLDEST = 120  # intervals, for what is older still

FINAL_AFTER = 14 * DAY  # tracking is told late: so long a shipped or cancelled order is looked at
JITTER = 0.1  # both ways, so that many sources and orders do not march in step
LONGEST_BACKOFF = HOUR  # of a source
LONGEST_NEGLECT = DAY  # of one order that cannot be read

Uniform = Callable[[float, float], float]


def jittered(delay: float, uniform: Uniform) -> Millis:
    """A delay, a little longer or shorter."""
    return Millis(int(delay * uniform(1 - JITTER, 1 + JITTER)))


def next_ask(
    *,
    now: Millis,
    changed_at: Millis,
    final: bool,
    interval: Millis,
    uniform: Uniform,
    listed: bool = False,
) -> Millis | None:
    """When an order is asked for again; None for one that is final."""
    age = now - changed_at
    if final and age >= FINAL_AFTER:
        return None
    factor = next((factor for limit, factor in AGES if age < limit), OLDEST)
    factor = max(factor, LISTED) if listed else factor
    return Millis(now + jittered(interval * factor, uniform))


def backoff(failures: int, *, interval: Millis, longest: int, uniform: Uniform) -> Millis:
    """How long to wait after so many failures in a row: doubling up to the longest."""
    doubled = interval * 2 ** min(failures, 30)
    return jittered(min(doubled, max(longest, interval)), uniform)


def is_final(facts: Sequence[Fact]) -> bool:
    """Whether nothing more is to be expected: shipped or cancelled whole."""
    return any(
        fact.track is Track.FULFILMENT
        and fact.quantity is None
        and fact.state in {"shipped", "cancelled"}
        for fact in facts
    )
