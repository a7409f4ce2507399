"""The whole path: what one event costs the real gateway, and how many it does a second."""

import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.harness import Round, bench, deliver_all
from benchmarks.settings import Settings
from benchmarks.stats import Quantiles, median_of, per_event, per_row, quantiles


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """CPU in microseconds an event; rates a second, the median round; accept in milliseconds."""

    events: int
    cpu: float
    rounds: list[float]
    accepted_rate: float
    delivered_rate: float
    accept: Quantiles
    rows: dict[str, float]  # an event, by table


def merged(turns: Sequence[Whole]) -> Whole:
    """Several turns as one: the median round, and the median of each percentile."""
    rounds = [cost for turn in turns for cost in turn.rounds]
    return Whole(
        events=sum(turn.events for turn in turns),
        cpu=statistics.median(rounds),
        rounds=rounds,
        accepted_rate=statistics.median(turn.accepted_rate for turn in turns),
        delivered_rate=statistics.median(turn.delivered_rate for turn in turns),
        accept=median_of([turn.accept for turn in turns]),
        rows=turns[0].rows,
    )


def measure(
    folder: Path, settings: Settings, *, subscriptions: int = 1, ordering: str = "none"
) -> Whole:
    """A warm-up, then rounds of the closed loop, each checked to the last event."""
    with bench(folder, subscriptions=subscriptions, ordering=ordering) as work:
        deliver_all(work, count=settings.warm_up, senders=settings.senders)
        rounds = [
            deliver_all(work, count=settings.whole_events, senders=settings.senders)
            for _ in range(settings.whole_rounds)
        ]
        rows = per_row(work.gateway.rows())
    accepts = [
        (done.answered[name] - sent) / 1e6 for done in rounds for name, sent in done.sent.items()
    ]
    return Whole(
        events=settings.whole_events * settings.whole_rounds,
        cpu=per_event([done.cpu for done in rounds], settings.whole_events),
        rounds=[per_event([done.cpu], settings.whole_events) for done in rounds],
        accepted_rate=statistics.median(_rate(done, done.answered) for done in rounds),
        delivered_rate=statistics.median(
            _rate(done, {name: times[0] for name, times in done.arrived.items()}) for done in rounds
        ),
        accept=quantiles(accepts),
        rows=rows,
    )


def _rate(done: Round, ends: dict[str, int]) -> float:
    """Events a second, from the first request to the last end."""
    return len(ends) / (max(ends.values()) - min(done.sent.values())) * 1e9
