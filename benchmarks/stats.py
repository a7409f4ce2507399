"""The arithmetic of the table: pure functions over numbers, so that they can be tested alone."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

import msgspec


class Quantiles(msgspec.Struct, frozen=True, kw_only=True):
    """The 50th, 95th and 99th percentile and the largest of some measurements, in their unit."""

    p50: float
    p95: float
    p99: float
    worst: float


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """A measured value beside what it must reach; `at_least` says which side is good."""

    name: str
    value: float
    limit: float
    at_least: bool
    unit: str = ""

    @property
    def holds(self) -> bool:
        """Whether the bar is reached; NaN never reaches one."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


class Arrivals(msgspec.Struct, frozen=True, kw_only=True):
    """How what arrived compares with what was promised (security invariants I1 to I3)."""

    missing: int
    repeated: int
    unknown: int

    @property
    def exact(self) -> bool:
        """Whether each promised event came once, and nothing else came."""
        return not (self.missing or self.repeated or self.unknown)


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: a value that was measured, never one between two.

    `share` lies in (0, 1]. Raises ValueError without values or with another share.
    """
    if not values or not 0 < share <= 1:
        raise ValueError("a percentile needs values and a share above 0, up to 1")
    # Rounded first: 0.07 * 100 is 7.000000000000001, whose ceiling is the wrong rank.
    rank = math.ceil(round(share * len(values), 9))
    return sorted(values)[rank - 1]


def quantiles(values: Sequence[float]) -> Quantiles:
    """The percentiles that the table shows. Raises ValueError without values."""
    ordered = sorted(values)
    return Quantiles(
        p50=percentile(ordered, 0.50),
        p95=percentile(ordered, 0.95),
        p99=percentile(ordered, 0.99),
        worst=ordered[-1],
    )


def median_of(found: Sequence[Quantiles]) -> Quantiles:
    """The median of each percentile, for what was measured in several turns."""
    names = Quantiles.__struct_fields__
    return Quantiles(
        **{name: statistics.median(getattr(one, name) for one in found) for name in names}
    )


def per_event(seconds: Iterable[float], events: int) -> float:
    """The median round in microseconds an event, from the CPU seconds of rounds of `events` each."""
    return statistics.median(seconds) / events * 1e6


def per_row(rows: Mapping[str, int]) -> dict[str, float]:
    """Rows an event by table, from the rows of all tables, one of them `events`."""
    return {table: count / rows["events"] for table, count in rows.items()}


def efficiency(parts: Mapping[str, float], whole: float) -> float:
    """What the parts cost alone over what the whole costs, both an event; 1 is a free composition."""
    return sum(parts.values()) / whole


def compare(
    promised: Iterable[str], arrived: Mapping[str, Sequence[int]], *, times: int = 1
) -> Arrivals:
    """Hold the ids of the receipts against the arrivals by webhook-id; each is to come so often."""
    expected = set(promised)
    return Arrivals(
        missing=sum(max(times - len(arrived.get(name, ())), 0) for name in expected),
        repeated=sum(max(len(found) - times, 0) for found in arrived.values()),
        unknown=sum(1 for name in arrived if name not in expected),
    )


def lags(started: Mapping[str, int], arrived: Mapping[str, Sequence[int]]) -> list[float]:
    """Milliseconds from each start to the first arrival of the same id; both in nanoseconds.

    Ids without an arrival are left out: `compare` counts them.
    """
    return [
        (min(arrived[name]) - begun) / 1e6 for name, begun in started.items() if name in arrived
    ]
