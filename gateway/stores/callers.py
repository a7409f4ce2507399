"""Whether callbacks come, and how many: by that the writer and those who claim divide their work."""

from collections.abc import Callable
from enum import Enum

MANY = 800.0  # a second, above which it is a crowd
LULL = 0.2  # seconds without one after which nobody is taken to call
WINDOW = 0.1  # seconds over which they are counted


class Calling(Enum):
    """Who calls now: in a crowd callbacks wait for each other anyway, few are to wait for nothing."""

    NOBODY = 0
    SOME = 1
    CROWD = 2


class Callers:
    """Counts jobs that somebody waits for; `clock` tells seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.rate = 0.0  # a second
        self._stored, self._since = 0, clock()  # how many since when
        self.last = clock() - LULL  # when the last one came

    def come(self) -> None:
        """One has come."""
        self.last = self._clock()

    def stored(self, count: int) -> None:
        """A transaction with so many of them has ended."""
        self._stored += count
        passed = self._clock() - self._since
        if passed >= WINDOW:
            self.rate = self._stored / passed
            self._stored, self._since = 0, self._since + passed

    @property
    def crowd(self) -> bool:
        """Whether so many come that they wait for each other anyway."""
        return self.rate > MANY and self._clock() - self.last < LULL

    @property
    def calling(self) -> Calling:
        """Who calls now. The first one after a lull counts at once."""
        if self.crowd:
            return Calling.CROWD
        return Calling.SOME if self._clock() - self.last < LULL else Calling.NOBODY
