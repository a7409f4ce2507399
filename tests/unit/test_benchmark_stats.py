"""The benchmark's arithmetic: a table that adds up wrongly is worse than none."""

import math

import pytest

from benchmarks.pace import at_reference
from benchmarks.stats import (
    Arrivals,
    Bar,
    compare,
    efficiency,
    lags,
    per_event,
    per_row,
    percentile,
    quantiles,
)


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.001, 1.0), (0.01, 1.0), (0.07, 7.0), (0.5, 50.0), (0.95, 95.0), (0.99, 99.0), (1.0, 100.0)],
)
def test_percentile_is_the_nearest_rank(share: float, expected: float) -> None:
    """Of 1 to 100 the share p is the value 100 * p, in whatever order they came."""
    assert percentile([float(n) for n in range(100, 0, -1)], share) == expected


@pytest.mark.parametrize(
    ("values", "expected"), [([7.0], 7.0), ([1.0, 2.0], 1.0), ([1.0, 2.0, 9.0], 2.0)]
)
def test_percentile_of_few_values_is_one_of_them(values: list[float], expected: float) -> None:
    """No interpolation: the median of two is the lower one."""
    assert percentile(values, 0.5) == expected


@pytest.mark.parametrize(
    ("values", "share"), [([], 0.5), ([1.0], 0.0), ([1.0], 1.01), ([1.0], math.nan)]
)
def test_percentile_refuses_what_has_no_answer(values: list[float], share: float) -> None:
    """An empty run must not look like a fast one."""
    with pytest.raises(ValueError, match="percentile"):
        percentile(values, share)


def test_quantiles_name_the_tail() -> None:
    """One slow value of a hundred shows in the worst only; two show in p99."""
    one = quantiles([1.0] * 99 + [50.0])
    two = quantiles([1.0] * 98 + [50.0, 50.0])
    assert (one.p50, one.p95, one.p99, one.worst) == (1.0, 1.0, 1.0, 50.0)
    assert (two.p95, two.p99) == (1.0, 50.0)


def test_per_event_takes_the_median_round() -> None:
    """A disturbed round does not move the figure; seconds become microseconds."""
    assert per_event([0.5, 9.0, 0.4], 1000) == 500.0


def test_per_row_counts_by_event() -> None:
    """Two links an event stay two, whatever the number of events."""
    assert per_row({"events": 50, "links": 100, "attempts": 50}) == {
        "events": 1.0,
        "links": 2.0,
        "attempts": 1.0,
    }


def test_efficiency_is_parts_over_whole() -> None:
    """Two parts of 50 us in a whole of 200 us: half."""
    assert efficiency({"receive": 50.0, "store": 50.0}, 200.0) == 0.5


@pytest.mark.parametrize(
    ("value", "at_least", "holds"),
    [(0.5, True, True), (0.49, True, False), (0.5, False, True), (0.51, False, False)],
)
def test_bar_knows_its_good_side(*, value: float, at_least: bool, holds: bool) -> None:
    """The limit itself is reached on both sides."""
    assert Bar(name="b", value=value, limit=0.5, at_least=at_least).holds is holds


@pytest.mark.parametrize("at_least", [True, False])
def test_bar_is_not_reached_by_nan(*, at_least: bool) -> None:
    """A figure that could not be computed is not a success."""
    assert not Bar(name="b", value=math.nan, limit=0.5, at_least=at_least).holds


def test_compare_counts_each_kind_of_wrong() -> None:
    """One missing, two extra arrivals of one id, one id that nobody promised."""
    arrived = {"a": [1], "b": [1, 2, 3], "x": [4]}
    assert compare(["a", "b", "c"], arrived) == Arrivals(missing=1, repeated=2, unknown=1)


def test_compare_is_exact_only_when_all_came_once() -> None:
    """An id with an empty list of arrivals is missing too."""
    assert compare(["a", "b"], {"a": [1], "b": [2]}).exact
    assert not compare(["a", "b"], {"a": [1], "b": []}).exact
    assert not compare(["a"], {"a": [1, 2]}).exact
    assert not compare([], {"a": [1]}).exact


def test_lags_pair_by_id_and_take_the_first_arrival() -> None:
    """Nanoseconds in, milliseconds out; an arrival before the answer is a negative lag."""
    arrived = {"a": [5_000_000, 3_000_000], "b": [500_000]}
    assert lags({"a": 1_000_000, "b": 1_000_000, "gone": 0}, arrived) == [2.0, -0.5]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [(0.01, 0.01, 3.0), (0.02, 0.02, 1.5), (0.01, 0.02, 2.0), (0.005, 0.005, 6.0)],
    ids=["as at the beginning", "half as fast", "slower meanwhile", "twice as fast"],
)
def test_seconds_are_told_at_the_pace_of_the_beginning(
    before: float, after: float, expected: float
) -> None:
    assert at_reference(3.0, before=before, after=after, reference=0.01) == pytest.approx(expected)
