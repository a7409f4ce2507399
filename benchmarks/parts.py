"""The parts, each alone in a process of its own: what the work costs when nothing joins it up."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import harness, traffic
from benchmarks.children import compute, deliver, receive, sink, store
from benchmarks.pace import Paced
from benchmarks.processes import child, cpu_seconds, free_port, wait_for_port
from benchmarks.settings import Settings
from benchmarks.stats import per_event, per_row


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """CPU in microseconds an event."""

    receive: float
    store: float
    compute: float
    deliver: float
    rows: dict[str, float]  # an event, by table

    def costs(self) -> dict[str, float]:
        """The four by name."""
        return {
            "receive": self.receive,
            "store": self.store,
            "compute": self.compute,
            "deliver": self.deliver,
        }


def merged(turns: Sequence[Parts]) -> Parts:
    """The median of each part over several turns."""
    costs = [turn.costs() for turn in turns]
    return Parts(
        **{name: statistics.median(one[name] for one in costs) for name in costs[0]},
        rows=turns[0].rows,
    )


def measure(folder: Path, settings: Settings) -> Parts:
    """One part after the other."""
    stored, rows = _store(folder, settings)
    return Parts(
        receive=_receive(folder, settings),
        store=stored,
        compute=_alone(
            "compute",
            compute.Params(events=settings.part_events, rounds=settings.part_rounds),
            folder=folder,
        ),
        deliver=_deliver(folder, settings),
        rows=rows,
    )


def _receive(folder: Path, settings: Settings) -> float:
    """The bare endpoint under the same load as the gateway."""
    port = free_port()
    spent = []
    with child("receive", receive.Params(port=port), folder=folder) as server:
        wait_for_port(server, port)
        for _ in range(settings.part_rounds + 1):
            paced = Paced()
            _, before = harness.send(
                folder, port, count=settings.part_events, senders=settings.senders, server=server
            )
            spent.append(paced.cpu(cpu_seconds(server.pid) - before))
    return per_event(spent[1:], settings.part_events)


def _store(folder: Path, settings: Settings) -> tuple[float, dict[str, float]]:
    """The CPU, and what was written."""
    params = store.Params(
        database=str(folder / "store.db"),
        events=settings.part_events,
        rounds=settings.part_rounds,
    )
    with child("store", params, folder=folder) as process:
        found = process.answer(within=300)
    return per_event(found["cpu"], params.events), per_row(found["rows"])


def _deliver(folder: Path, settings: Settings) -> float:
    port = free_port()
    params = deliver.Params(
        port=port,
        body=compute.sample().decode(),
        events=settings.part_events,
        rounds=settings.part_rounds,
    )
    with child("sink", sink.Params(port=port, key=traffic.KEY), folder=folder) as receiver:
        receiver.answer(within=20)
        return _alone("deliver", params, folder=folder)


def _alone(name: str, params: Any, *, folder: Path) -> float:
    with child(name, params, folder=folder) as process:
        return per_event(process.answer(within=300)["cpu"], params.events)
