"""What subscribers that hang do to the healthy ones beside them.

The same load thrice, each time to a fresh gateway: all subscribers are healthy, half of them hang,
half of them refuse or drip. Of each run only the half that is healthy in all three is measured.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from benchmarks import harness, traffic
from benchmarks.children import bad, sink
from benchmarks.gateway_process import Gateway
from benchmarks.memory import refusing
from benchmarks.processes import BenchmarkError, Process, child, free_port
from benchmarks.settings import Settings
from benchmarks.stats import Quantiles, compare, quantiles

_PATIENCE = 30.0  # seconds for what should take one


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """The healthy half of one run: milliseconds from a callback to an arrival, arrivals a second."""

    arrival: Quantiles
    delivered_rate: float


class Isolation(msgspec.Struct, frozen=True, kw_only=True):
    """`rate` callbacks a second, each to so many `subscriptions`, of which half are measured."""

    subscriptions: int
    rate: float
    calm: Side
    hanging: Side
    mixed: Side

    def allowed(self, *, times: float, more: float) -> float:
        """The p99 in milliseconds that is so many times the calm one, or so much more."""
        return max(self.calm.arrival.p99 * times, self.calm.arrival.p99 + more)

    def throughput(self, side: Side) -> float:
        """The share of the calm run's deliveries a second."""
        return side.delivered_rate / self.calm.delivered_rate


def measure(folder: Path, settings: Settings) -> Isolation:
    """The three runs, one after the other."""
    half = settings.isolation_subscriptions // 2
    sides = {}
    for name, others in (("calm", _healthy), ("hanging", _hanging), ("mixed", _mixed)):
        place = folder / name
        place.mkdir()
        with contextlib.ExitStack() as stack:
            # What hangs is hung up on before the gateway is asked to stop: it would wait for it.
            gateway = stack.enter_context(contextlib.ExitStack())
            targets = stack.enter_context(others(place, half))
            sides[name] = _run(gateway, place, targets, settings)
    return Isolation(
        subscriptions=2 * half,
        rate=settings.isolation_rate,
        calm=sides["calm"],
        hanging=sides["hanging"],
        mixed=sides["mixed"],
    )


@contextlib.contextmanager
def _healthy(folder: Path, count: int) -> Iterator[list[str]]:
    place = folder / "others"
    place.mkdir()
    port = free_port()
    with child("sink", sink.Params(port=port, key=traffic.KEY), folder=place) as others:
        others.answer(within=20)
        yield [f"http://127.0.0.1:{port}/"] * count


@contextlib.contextmanager
def _hanging(folder: Path, count: int) -> Iterator[list[str]]:
    with child("bad", bad.Params(count=count), folder=folder) as others:
        yield others.answer(within=20)["urls"]


@contextlib.contextmanager
def _mixed(folder: Path, count: int) -> Iterator[list[str]]:
    dripping = count // 2
    params = bad.Params(count=dripping, drip=True)
    with child("bad", params, folder=folder) as others, refusing(count - dripping) as urls:
        yield [*others.answer(within=20)["urls"], *urls]


def _run(
    stack: contextlib.ExitStack, folder: Path, others: Sequence[str], settings: Settings
) -> Side:
    """One load, after a shorter one by which the bad ones have taken what they can."""
    port, count = free_port(), settings.isolation_events
    targets = [f"http://127.0.0.1:{port}/"] * len(others)
    gateway = Gateway(folder, targets=[*targets, *others])
    receiver = child("sink", sink.Params(port=port, key=traffic.KEY), folder=folder)
    stack.enter_context(receiver).answer(within=20)
    stack.enter_context(gateway.serve())
    warm_up = settings.warm_up // 10
    harness.send_checked(folder, gateway.port, count=warm_up, senders=settings.senders)
    receiver.ask(f"expect {warm_up}", within=_PATIENCE)
    time.sleep(1)
    receiver.ask("reset", within=10)
    log, _ = harness.send(
        folder, gateway.port, count=count, senders=settings.senders, rate=settings.isolation_rate
    )
    ids = [answer.events[0] for answer in harness.receipts(log)]
    arrived = _arrivals(receiver, folder, ids, len(targets))
    sent = dict(zip(ids, log.sent, strict=True))
    last = max(at for times in arrived.values() for at in times)
    return Side(
        arrival=quantiles(
            [(at - sent[name]) / 1e6 for name, found in arrived.items() for at in found]
        ),
        delivered_rate=count * len(targets) / (last - log.sent[0]) * 1e9,
    )


def _arrivals(
    receiver: Process, folder: Path, ids: Sequence[str], times: int
) -> dict[str, list[int]]:
    """Wait until each event has come to each healthy subscription; nanoseconds by event id.

    Raises `BenchmarkError` when anything is missing, repeated, unknown or wrongly signed.
    """
    path, deadline = folder / "arrivals.json", time.monotonic() + _PATIENCE
    while True:
        checked = receiver.ask(f"verify {path}", within=_PATIENCE)
        if checked["requests"] >= len(ids) * times or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    arrived = msgspec.json.decode(path.read_bytes(), type=dict[str, list[int]])
    arrivals = compare(ids, arrived, times=times)
    if checked["invalid"] or not arrivals.exact:
        raise BenchmarkError(f"{checked['invalid']} bad signatures, {arrivals}")
    return arrived
