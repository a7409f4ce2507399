"""The whole path again: ordered, to many subscriptions, and beside a long history."""

import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks import whole
from benchmarks.children import fill
from benchmarks.gateway_process import DATABASE
from benchmarks.harness import bench, deliver_all
from benchmarks.processes import child
from benchmarks.settings import Settings
from benchmarks.stats import per_event


class FanOut(msgspec.Struct, frozen=True, kw_only=True):
    """CPU in microseconds an event, each of which makes `subscriptions` deliveries."""

    subscriptions: int
    cpu: float


def merged(turns: Sequence[FanOut]) -> FanOut:
    """The median of several turns."""
    cpu = statistics.median(turn.cpu for turn in turns)
    return FanOut(subscriptions=turns[0].subscriptions, cpu=cpu)


class Retained(msgspec.Struct, frozen=True, kw_only=True):
    """CPU in microseconds an event, in an empty store and beside `events` old ones."""

    events: int
    empty: float
    full: float
    mebibytes: float

    @property
    def loss(self) -> float:
        """By how much there are fewer events per CPU-second, as a share."""
        return 1 - self.empty / self.full


def ordered(folder: Path, settings: Settings) -> whole.Whole:
    """The whole path with `ordering = "order"`."""
    return whole.measure(folder, settings, ordering="order")


def fan_out(folder: Path, settings: Settings) -> FanOut:
    """Every event to many subscriptions."""
    with bench(folder, subscriptions=settings.fan_out) as work:
        deliver_all(work, count=settings.warm_up // settings.fan_out, senders=settings.senders)
        rounds = [
            deliver_all(work, count=settings.fan_out_events, senders=settings.senders).cpu
            for _ in range(settings.whole_rounds)
        ]
    return FanOut(subscriptions=settings.fan_out, cpu=per_event(rounds, settings.fan_out_events))


def retained(folder: Path, settings: Settings) -> Retained:
    """Rounds on an empty store and on a full one in turn, so that both have the same weather."""
    places = {name: folder / name for name in ("empty", "full")}
    for place in places.values():
        place.mkdir()
    params = fill.Params(database=str(places["full"] / DATABASE), events=settings.retained)
    with child("fill", params, folder=folder) as filler:
        filler.answer(within=1_200)
    costs: dict[str, list[float]] = {"empty": [], "full": []}
    with bench(places["empty"]) as empty, bench(places["full"]) as full:
        works = {"empty": empty, "full": full}
        for work in works.values():
            deliver_all(work, count=settings.warm_up, senders=settings.senders)
        for _ in range(settings.retained_rounds):
            for name, work in works.items():
                done = deliver_all(work, count=settings.whole_events, senders=settings.senders)
                costs[name].append(done.cpu / settings.whole_events * 1e6)
    return Retained(
        events=settings.retained,
        empty=statistics.median(costs["empty"]),
        full=statistics.median(costs["full"]),
        mebibytes=(places["full"] / DATABASE).stat().st_size / (1 << 20),
    )
