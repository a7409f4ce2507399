"""How fast the machine is just now.

A virtual processor may be nearly half as fast for half a minute, as its neighbours please: seen here
as 42 and 75 ms for the same loop, with nothing else running. What is set against each other is
therefore measured in short rounds, and the CPU of each is told as it would be at the pace at which
the run began.
"""

import os
import time

LOOPS = 200_000
TRIES = 3  # of which the fastest counts: an interrupt may meet one
REFERENCE = "BENCHMARK_PACE"  # the variable that tells the processes of a run how it began


def pace() -> float:
    """CPU seconds of a piece of work that is always the same."""
    return min(_work() for _ in range(TRIES))


def _work() -> float:
    begun, total = time.process_time(), 0
    for number in range(LOOPS):
        total += number * number
    return time.process_time() - begun


class Paced:
    """Made before a round; `cpu` is asked after it."""

    def __init__(self) -> None:
        self._before = pace()

    def cpu(self, seconds: float) -> float:
        """The CPU seconds of the round, as they would be at the pace at which the run began."""
        return at_reference(seconds, before=self._before, after=pace(), reference=reference())


def at_reference(seconds: float, *, before: float, after: float, reference: float) -> float:
    """Seconds at the mean of two paces, as they would be at the pace `reference`."""
    return seconds * 2 * reference / (before + after)


def reference() -> float:
    """The pace at the beginning of the run, for this process and those that it starts from then on."""
    if REFERENCE not in os.environ:
        os.environ[REFERENCE] = str(pace())
    return float(os.environ[REFERENCE])
