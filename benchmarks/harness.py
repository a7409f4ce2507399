"""One load against one server: start the senders, say go, read their log, hold it against the sink."""

import contextlib
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from benchmarks import traffic
from benchmarks.children import load, sink
from benchmarks.gateway_process import Gateway
from benchmarks.pace import Paced
from benchmarks.processes import BenchmarkError, Process, child, cpu_seconds, free_port
from benchmarks.stats import compare

_PATIENCE = 60.0  # seconds for what should take a few


class Answer(msgspec.Struct, frozen=True):
    """The receipt of one callback, as the gateway writes it."""

    events: list[str]
    duplicate: bool


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """A running gateway, and the sink that all its subscriptions lead to."""

    folder: Path
    gateway: Gateway
    process: Process
    sink: Process
    subscriptions: int = 1


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One checked load: nanoseconds by event id, and the gateway's CPU seconds at the run's first pace."""

    sent: dict[str, int]
    answered: dict[str, int]
    arrived: dict[str, list[int]]
    cpu: float
    late: float


@contextlib.contextmanager
def bench(folder: Path, *, subscriptions: int = 1, ordering: str = "none") -> Iterator[Bench]:
    """A sink and a gateway that delivers to it, so many times, on the database of `folder`."""
    port = free_port()
    targets = [f"http://127.0.0.1:{port}/webhook-events"] * subscriptions
    gateway = Gateway(folder, targets=targets, ordering=ordering)
    with (
        child("sink", sink.Params(port=port, key=traffic.KEY), folder=folder) as receiver,
        gateway.serve() as (process, _),
    ):
        receiver.answer(within=20)
        yield Bench(
            folder=folder,
            gateway=gateway,
            process=process,
            sink=receiver,
            subscriptions=subscriptions,
        )


def send(
    folder: Path,
    port: int,
    *,
    count: int,
    senders: int,
    rate: float = 0.0,
    server: Process | None = None,
) -> tuple[load.Log, float]:
    """Run the senders against a port; their log, and the CPU of `server` at the word go."""
    out = folder / "load.msgpack"
    params = load.Params(
        port=port,
        run=secrets.token_hex(4),
        count=count,
        senders=senders,
        out=str(out),
        rate=rate,
    )
    with child("load", params, folder=folder) as process:
        process.answer(within=_PATIENCE)
        before = cpu_seconds(server.pid) if server else 0.0
        process.ask("go", within=_PATIENCE)
    return msgspec.msgpack.decode(out.read_bytes(), type=load.Log), before


def send_checked(folder: Path, port: int, *, count: int, senders: int) -> None:
    """Run the closed loop against the gateway; every callback must make exactly one event."""
    log, _ = send(folder, port, count=count, senders=senders)
    receipts(log)


def receipts(log: load.Log) -> list[Answer]:
    """The receipts. Raises `BenchmarkError` unless each was a 200 with one new event."""
    refused = sorted({status for status in log.statuses if status != 200})
    if refused:
        raise BenchmarkError(f"some callbacks were answered {refused}")
    answers = [msgspec.json.decode(answer, type=Answer) for answer in log.answers]
    if any(answer.duplicate or len(answer.events) != 1 for answer in answers):
        raise BenchmarkError("a unique callback did not make exactly one event")
    return answers


def deliver_all(work: Bench, *, count: int, senders: int, rate: float = 0.0) -> Round:
    """Send, wait until all has arrived, and check that each event came signed, and once to each.

    The CPU counts until the last attempt is recorded, a moment after the last arrival.
    Raises `BenchmarkError` when anything is missing, repeated, unknown or wrongly signed.
    """
    work.sink.ask("reset", within=10)
    paced = Paced()
    try:
        log, before = send(
            work.folder,
            work.gateway.port,
            count=count,
            senders=senders,
            rate=rate,
            server=work.process,
        )
    except BenchmarkError as error:
        raise work.process.error(f"its senders ended early; {error}") from error
    _wait_arrived(work, count)
    _wait_settled(work.gateway)
    cpu = paced.cpu(cpu_seconds(work.process.pid) - before)
    ids = [answer.events[0] for answer in receipts(log)]
    path = work.folder / "arrivals.json"
    checked = work.sink.ask(f"verify {path}", within=_PATIENCE)
    arrived = msgspec.json.decode(path.read_bytes(), type=dict[str, list[int]])
    arrivals = compare(ids, arrived, times=work.subscriptions)
    if checked["invalid"] or not arrivals.exact:
        raise BenchmarkError(f"{checked['invalid']} bad signatures, {arrivals}")
    return Round(
        sent=dict(zip(ids, log.sent, strict=True)),
        answered=dict(zip(ids, log.answered, strict=True)),
        arrived=arrived,
        cpu=cpu,
        late=log.late,
    )


def _wait_arrived(work: Bench, count: int) -> None:
    try:
        work.sink.ask(f"expect {count}", within=_PATIENCE)
    except BenchmarkError as error:
        why = f"not all of {count} events arrived; {work.gateway.describe()}"
        raise work.process.error(f"{why}; {error}") from error


def _wait_settled(gateway: Gateway) -> None:
    deadline = time.monotonic() + 10
    time.sleep(0.2)
    while left := gateway.pending():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{left} deliveries arrived but were not recorded within 10 s")
        time.sleep(0.05)
