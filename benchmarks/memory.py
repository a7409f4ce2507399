"""Resident memory and start-up with a long backlog: the queue lives in the store, not in memory."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from benchmarks import harness
from benchmarks.gateway_process import Gateway
from benchmarks.processes import BenchmarkError, Process, memory
from benchmarks.settings import Settings


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """MiB, and the seconds from the start of the process until `/readyz` said 200."""

    pending: int
    empty: float
    serving: float
    restarted: float
    highest: float
    ready_empty: float
    ready: float


def measure(folder: Path, settings: Settings) -> Memory:
    """Fill the store while no subscriber can be reached; look; restart; look again."""
    with refusing(settings.backlog_subscriptions) as targets:
        gateway = Gateway(folder, targets=targets)
        with gateway.serve() as (process, ready_empty):
            empty, _ = memory(process.pid)
            harness.send_checked(
                folder, gateway.port, count=settings.backlog_callbacks, senders=settings.senders
            )
            pending = settings.backlog_callbacks * settings.backlog_subscriptions
            _check(gateway, pending)
            serving, first_peak = _look(folder, gateway, process, settings)
        with gateway.serve() as (process, ready):
            restarted, second_peak = _look(folder, gateway, process, settings)
            _check(gateway, pending)
    return Memory(
        pending=pending,
        empty=empty,
        serving=serving,
        restarted=restarted,
        highest=max(first_peak, second_peak),
        ready_empty=ready_empty,
        ready=ready,
    )


def _check(gateway: Gateway, wanted: int) -> None:
    """Raise `BenchmarkError` when the backlog is not there: little memory would prove nothing."""
    if (found := gateway.pending()) < wanted:
        raise BenchmarkError(f"only {found} of {wanted} deliveries are pending")


def _look(
    folder: Path, gateway: Gateway, process: Process, settings: Settings
) -> tuple[float, float]:
    """Memory after a rest and some callbacks more: with the backlog, and at work."""
    time.sleep(settings.rest)
    harness.send_checked(folder, gateway.port, count=500, senders=settings.senders)
    return memory(process.pid)


@contextlib.contextmanager
def refusing(count: int) -> Iterator[list[str]]:
    """URLs that refuse every connection: their ports are taken, and nobody listens."""
    with contextlib.ExitStack() as stack:
        urls = []
        for _ in range(count):
            taken = stack.enter_context(socket.socket())
            taken.bind(("127.0.0.1", 0))
            urls.append(f"http://127.0.0.1:{taken.getsockname()[1]}/")
        yield urls
