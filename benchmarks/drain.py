"""What a long backlog that drains does to those who call meanwhile."""

from pathlib import Path

import msgspec

from benchmarks import harness
from benchmarks.processes import BenchmarkError, memory
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


def measure(folder: Path, settings: Settings) -> Drain:
    """The same open loop twice: with nothing to do, and while everything that waited goes out."""
    with harness.bench(folder, subscriptions=settings.backlog_subscriptions) as work:
        harness.deliver_all(work, count=settings.warm_up // 10, senders=settings.senders)
        calm = _accepts(work, settings)
        work.gateway.each("pause")
        harness.send_checked(
            folder, work.gateway.port, count=settings.backlog_callbacks, senders=settings.senders
        )
        pending = work.gateway.pending()
        work.gateway.each("resume")
        before = work.gateway.pending()
        draining = _accepts(work, settings)
        left = work.gateway.pending()
        if not left:
            raise BenchmarkError("the backlog was gone before the end: it was too short")
        resident, _ = memory(work.process.pid)
    seconds = settings.latency_events / settings.rate
    new = settings.latency_events * settings.backlog_subscriptions
    return Drain(
        pending=pending,
        rate=settings.rate,
        drained_rate=(before + new - left) / seconds,
        calm=calm,
        draining=draining,
        resident=resident,
    )


def _accepts(work: harness.Bench, settings: Settings) -> Quantiles:
    log, _ = harness.send(
        work.folder,
        work.gateway.port,
        count=settings.latency_events,
        senders=settings.senders,
        rate=settings.rate,
    )
    harness.receipts(log)
    return quantiles(
        [(end - begin) / 1e6 for begin, end in zip(log.sent, log.answered, strict=True)]
    )
