"""From a callback's last byte to its event's arrival at 200/s, beside what its steps take alone.

Each step is taken one at a time, at the same rate: back to back the processor would never rest,
and the sum would flatter itself.
"""

import statistics
from pathlib import Path

import msgspec

from benchmarks import harness, traffic
from benchmarks.children import compute, deliver, receive, sink, store
from benchmarks.processes import child, free_port, wait_for_port
from benchmarks.settings import Settings
from benchmarks.stats import Quantiles, lags, quantiles


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds; `arrival` from the request's last byte, `after_answer` from the whole answer."""

    events: int
    rate: float
    arrival: Quantiles
    after_answer: Quantiles
    accept: Quantiles
    late: float
    receive: float
    commit: float
    deliver: float

    @property
    def unloaded(self) -> float:
        """One receive, one commit and one deliver."""
        return self.receive + self.commit + self.deliver

    @property
    def ratio(self) -> float:
        """How many times the unloaded sum the median is."""
        return self.arrival.p50 / self.unloaded


def measure(folder: Path, settings: Settings) -> Latency:
    """The open loop against a fresh gateway, then the three steps, each in its own process."""
    with harness.bench(folder) as work:
        harness.deliver_all(work, count=settings.warm_up, senders=settings.senders)
        done = harness.deliver_all(
            work, count=settings.latency_events, senders=settings.senders, rate=settings.rate
        )
    return Latency(
        events=settings.latency_events,
        rate=settings.rate,
        arrival=quantiles(lags(done.sent, done.arrived)),
        after_answer=quantiles(lags(done.answered, done.arrived)),
        accept=quantiles([(done.answered[name] - at) / 1e6 for name, at in done.sent.items()]),
        late=done.late * 1e3,
        receive=one_receive(folder, settings),
        commit=one_commit(folder, settings),
        deliver=one_deliver(folder, settings),
    )


def one_receive(folder: Path, settings: Settings) -> float:
    """Milliseconds from the last byte to the whole answer of the bare endpoint."""
    port = free_port()
    with child("receive", receive.Params(port=port), folder=folder) as server:
        wait_for_port(server, port)
        log, _ = harness.send(folder, port, count=settings.unloaded, senders=1, rate=settings.rate)
    return statistics.median(
        (end - begin) / 1e6 for begin, end in zip(log.sent, log.answered, strict=True)
    )


def one_commit(folder: Path, settings: Settings) -> float:
    """Milliseconds of one transaction with one callback's rows."""
    params = store.Params(
        database=str(folder / "commit.db"),
        events=settings.unloaded,
        rounds=1,
        batch=1,
        settle=False,
        pause=1 / settings.rate,
    )
    with child("store", params, folder=folder) as process:
        latency: float = process.answer(within=120)["latency"]
        return latency


def one_deliver(folder: Path, settings: Settings) -> float:
    """Milliseconds from the write of an event to the status of its answer."""
    port = free_port()
    params = deliver.Params(
        port=port,
        body=compute.sample().decode(),
        events=settings.unloaded,
        rounds=1,
        connections=1,
        pause=1 / settings.rate,
    )
    with child("sink", sink.Params(port=port, key=traffic.KEY), folder=folder) as receiver:
        receiver.answer(within=20)
        with child("deliver", params, folder=folder) as process:
            latency: float = process.answer(within=120)["latency"]
            return latency
