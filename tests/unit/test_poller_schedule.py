"""When an order is asked for again, and how long a failing source is left alone."""

from collections.abc import Sequence

import pytest

from gateway.models import Fact, Millis, Track
from gateway.poller.schedule import (
    DAY,
    FINAL_AFTER,
    HOUR,
    JITTER,
    LONGEST_BACKOFF,
    LONGEST_NEGLECT,
    MINUTE,
    backoff,
    is_final,
    jittered,
    next_ask,
)

NOW = Millis(1_795_264_825_000)


def middle(low: float, high: float) -> float:
    return (low + high) / 2


def lowest(low: float, high: float) -> float:
    return low


def highest(low: float, high: float) -> float:
    return high


@pytest.mark.parametrize(
    ("age", "final", "intervals"),
    [
        (0, False, 1),
        (DAY - 1, False, 1),
        (DAY, False, 5),
        (7 * DAY - 1, False, 5),
        (7 * DAY, False, 30),
        (30 * DAY - 1, False, 30),
        (30 * DAY, False, 120),
        (3650 * DAY, False, 120),
        (-HOUR, False, 1),  # a provider's clock is ahead
        (0, True, 1),
        (FINAL_AFTER - 1, True, 30),
        (FINAL_AFTER, True, None),
        (3650 * DAY, True, None),
    ],
)
@pytest.mark.parametrize("interval", [1_000, MINUTE, DAY])
def test_the_older_the_slower(age: int, final: bool, intervals: int | None, interval: int) -> None:
    asked = next_ask(
        now=NOW,
        changed_at=Millis(NOW - age),
        final=final,
        interval=Millis(interval),
        uniform=middle,
    )
    assert asked == (None if intervals is None else NOW + intervals * interval)


@pytest.mark.parametrize(
    ("failures", "interval", "longest", "wait"),
    [
        (1, MINUTE, LONGEST_BACKOFF, 2 * MINUTE),
        (2, MINUTE, LONGEST_BACKOFF, 4 * MINUTE),
        (5, MINUTE, LONGEST_BACKOFF, 32 * MINUTE),
        (6, MINUTE, LONGEST_BACKOFF, HOUR),
        (31, MINUTE, LONGEST_BACKOFF, HOUR),
        (10**9, MINUTE, LONGEST_BACKOFF, HOUR),
        (1, 1_000, LONGEST_BACKOFF, 2_000),
        # Who asks seldom is not asked oftener when it fails.
        (1, 6 * HOUR, LONGEST_BACKOFF, 6 * HOUR),
        (9, DAY, LONGEST_BACKOFF, DAY),
        (10, MINUTE, LONGEST_NEGLECT, 1024 * MINUTE),
        (11, MINUTE, LONGEST_NEGLECT, DAY),
    ],
)
def test_a_failure_doubles_the_wait(failures: int, interval: int, longest: int, wait: int) -> None:
    found = backoff(failures, interval=Millis(interval), longest=longest, uniform=middle)
    assert found == wait


def test_jitter_goes_both_ways() -> None:
    assert jittered(1000, lowest) == 1000 * (1 - JITTER)
    assert jittered(1000, highest) == 1000 * (1 + JITTER)
    for uniform, factor in ((lowest, 0.9), (highest, 1.1)):
        asked = next_ask(
            now=NOW, changed_at=NOW, final=False, interval=Millis(MINUTE), uniform=uniform
        )
        assert asked == NOW + MINUTE * factor
        assert backoff(1, interval=Millis(MINUTE), longest=HOUR, uniform=uniform) == (
            2 * MINUTE * factor
        )


def fact(
    track: Track = Track.FULFILMENT, state: str = "shipped", quantity: int | None = None
) -> Fact:
    return Fact(track=track, at=NOW, state=state, quantity=quantity)


@pytest.mark.parametrize(
    ("facts", "final"),
    [
        ([], False),
        ([fact()], True),
        ([fact(state="cancelled")], True),
        ([fact(Track.CREATED, "created"), fact(Track.PAYMENT, "paid"), fact()], True),
        ([fact(quantity=2)], False),
        ([fact(state="cancelled", quantity=2)], False),
        ([fact(state="cancelled", quantity=2), fact()], True),
        ([fact(state="ready")], False),
        ([fact(Track.REFUND, "succeeded")], False),
        ([fact(Track.CHANGE, "shipped")], False),
    ],
)
def test_only_shipped_or_cancelled_whole_is_final(facts: Sequence[Fact], final: bool) -> None:
    assert is_final(facts) is final
