"""What a long backlog that drains, and old rows that go, do to those who call meanwhile."""

import contextlib
import time
from pathlib import Path

import msgspec

from benchmarks import harness
from benchmarks.children import fill
from benchmarks.gateway_process import DATABASE
from benchmarks.processes import BenchmarkError, child, memory
from benchmarks.settings import Settings
from benchmarks.stats import Quantiles, quantiles


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds of an accept at a steady rate, without and with a backlog that drains; MiB."""

    pending: int
    rate: float
    drained_rate: float  # deliveries a second meanwhile
    calm: Quantiles
    draining: Quantiles
    resident: float

    @property
    def ratio(self) -> float:
        """How many times the calm p99 the other one is."""
        return self.draining.p99 / self.calm.p99


class Prune(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds of an accept at a steady rate, before and while the janitor removes old events."""

    removed: int  # rows of events and attempts
    calm: Quantiles
    pruning: Quantiles

    @property
    def ratio(self) -> float:
        """How many times the p99 before the other one is."""
        return self.pruning.p99 / self.calm.p99


def measure(folder: Path, settings: Settings) -> Drain:
    """The same open loop against two gateways in turns: one has nothing to do, one a backlog.

    In turns, because a disk that syncs slowly for ten seconds would decide the ratio otherwise. The
    backlog is held while the other gateway is measured, which comes first in every other turn.
    """
    places = [folder / name for name in ("calm", "backlog")]
    for place in places:
        place.mkdir()
    with contextlib.ExitStack() as stack:
        still, work = (
            stack.enter_context(harness.bench(place, subscriptions=settings.backlog_subscriptions))
            for place in places
        )
        for one in (still, work):
            harness.deliver_all(one, count=settings.warm_up // 10, senders=settings.senders)
        work.gateway.each("pause")
        harness.send_checked(
            work.folder,
            work.gateway.port,
            count=settings.backlog_callbacks,
            senders=settings.senders,
        )
        pending = work.gateway.pending()
        calm: list[float] = []
        draining: list[float] = []
        gone, seconds = 0, 0.0
        for turn in range(settings.turns):
            if turn % 2 == 0:
                calm += _accepts(still, settings)
            work.gateway.each("resume")
            before, begun = work.gateway.pending(), time.monotonic()
            draining += _accepts(work, settings)
            left, seconds = work.gateway.pending(), seconds + time.monotonic() - begun
            work.gateway.each("pause")
            if not left:
                raise BenchmarkError("the backlog was gone before the end: it was too short")
            gone += before - left
            if turn % 2:
                calm += _accepts(still, settings)
        resident, _ = memory(work.process.pid)
    new = settings.turns * settings.latency_events * settings.backlog_subscriptions
    return Drain(
        pending=pending,
        rate=settings.rate,
        drained_rate=(gone + new) / seconds,
        calm=quantiles(calm),
        draining=quantiles(draining),
        resident=resident,
    )


def _accepts(work: harness.Bench, settings: Settings) -> list[float]:
    """Milliseconds of each accept of a steady load."""
    log, _ = harness.send(
        work.folder,
        work.gateway.port,
        count=settings.latency_events,
        senders=settings.senders,
        rate=settings.rate,
    )
    harness.receipts(log)
    return [(end - begin) / 1e6 for begin, end in zip(log.sent, log.answered, strict=True)]


OLD = 100 * 86_400  # seconds: older than everything is kept
FIRST = 60.0  # seconds after its start, the janitor removes what is too old


def _old_rows(work: harness.Bench) -> int:
    rows = work.gateway.rows()
    return rows["attempts"] + rows["events"]


def prune(folder: Path, settings: Settings) -> Prune | None:
    """The same open loop before the janitor comes, and while it is at work."""
    if not settings.pruned:
        return None
    params = fill.Params(database=str(folder / DATABASE), events=settings.pruned, age=OLD)
    with child("fill", params, folder=folder) as filler:
        filler.answer(within=600)
    with harness.bench(folder) as work:
        begun = time.monotonic()
        harness.deliver_all(work, count=settings.warm_up, senders=settings.senders)
        calm = quantiles(_accepts(work, settings))
        time.sleep(max(begun + FIRST + 2 - time.monotonic(), 0))
        before = _old_rows(work)
        pruning = quantiles(_accepts(work, settings))
        left = _old_rows(work)
        removed = before + 2 * settings.latency_events - left
    if removed <= 0 or left < 2 * settings.latency_events:
        raise BenchmarkError(f"{removed} rows were removed meanwhile: too few, or all")
    return Prune(removed=removed, calm=calm, pruning=pruning)
