"""The circuit breaker of one subscription (design 7): leave an endpoint alone that is down.

It opens when at least half of at least ten attempts within a minute failed in a way that is the
endpoint's, stays open for half a minute, doubling up to ten minutes, then lets probes through: one,
and after each success twice as many, until there is room for all again. So what has gathered
meanwhile does not come down on an endpoint that has just got up.
"""

from collections.abc import Callable

from gateway.models import Failure, Millis, Outcome

WINDOW = 60  # seconds that attempts are counted for
FEWEST = 10  # attempts within them before it may open
FIRST, LONGEST = 30_000, 600_000  # milliseconds that it stays open
JITTER = 0.1  # of these, both ways: many gateways must not probe in step

DOWN = frozenset(
    {
        Failure.TIMEOUT,
        Failure.DNS,
        Failure.CONNECT,
        Failure.TLS,
        Failure.RESET,
        Failure.PROTOCOL,
    }
)


def is_down(outcome: Outcome) -> bool:
    """Whether an outcome speaks against the endpoint: other 4xx may be one poisonous order's."""
    if outcome.status is not None and (outcome.status >= 500 or outcome.status == 429):
        return True
    return outcome.failure in DOWN


class Breaker:
    """`until` and `trips` survive a restart; what was counted does not. `random()` lies in 0..1."""

    def __init__(
        self, *, until: Millis | None = None, trips: int = 0, random: Callable[[], float]
    ) -> None:
        self.until, self.trips = until, trips
        self._random = random
        self._probes = 1
        self._second = [-WINDOW] * WINDOW  # which second each place counts
        self._all = [0] * WINDOW
        self._bad = [0] * WINDOW

    def room(self, now: Millis) -> int | None:
        """How many attempts may be in flight; None when it is closed."""
        if self.until is None:
            return None
        if self.until - now > LONGEST * (1 + JITTER):  # the clock was set back meanwhile
            self.until = now
        return 0 if now < self.until else self._probes

    def record(self, now: Millis, *, down: bool, slots: int) -> None:
        """Count an attempt that has ended; `slots` is how many may be in flight when closed."""
        if self.until is None:
            self._count(now, down=down)
            if down and self._too_many(now // 1000):
                self._open(now)
        elif now < self.until:
            return  # it began before the breaker opened, and says nothing new
        elif down:
            self._open(now)
        else:
            self._probes *= 2
            if self._probes > slots:
                self._close()

    def _count(self, now: Millis, *, down: bool) -> None:
        second = now // 1000
        place = second % WINDOW
        if self._second[place] != second:
            self._second[place], self._all[place], self._bad[place] = second, 0, 0
        self._all[place] += 1
        self._bad[place] += down

    def _too_many(self, second: int) -> bool:
        recent = [place for place in range(WINDOW) if 0 <= second - self._second[place] < WINDOW]
        attempts = sum(self._all[place] for place in recent)
        return attempts >= FEWEST and 2 * sum(self._bad[place] for place in recent) >= attempts

    def _open(self, now: Millis) -> None:
        length = min(FIRST * 2**self.trips, LONGEST) * (1 + JITTER * (2 * self._random() - 1))
        self.until = Millis(now + int(length))
        self.trips = min(self.trips + 1, 10)
        self._probes = 1

    def _close(self) -> None:
        self.until, self.trips = None, 0
        self._second = [-WINDOW] * WINDOW
