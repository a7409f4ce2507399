"""What was measured, as one table for a person and one value for a program."""

import os
import platform
import sqlite3
from collections.abc import Iterator

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.drain import Drain, Prune
from benchmarks.isolation import Isolation
from benchmarks.latency import Latency
from benchmarks.memory import Memory
from benchmarks.parts import Parts
from benchmarks.scale import FanOut, Retained
from benchmarks.stats import Bar, Quantiles, efficiency
from benchmarks.whole import Whole

EFFICIENCY = 0.6
EFFICIENCY_ORDERED = 0.5
FAN_OUT = 2.5
TIMES_UNLOADED = 5.0
TIMES_CALM = 1.3
RESIDENT = 120.0  # MiB
READY = 3.0  # seconds
LOSS = 15.0  # per cent
TIMES_ALONE, MORE_THAN_ALONE = 1.5, 20.0  # milliseconds
THROUGHPUT = 0.9

Row = tuple[str, str, str]


class Results(msgspec.Struct, kw_only=True):
    """The sections that were run; None for those that were not."""

    quick: bool
    parts: Parts | None = None
    whole: Whole | None = None
    latency: Latency | None = None
    ordered: Whole | None = None
    fan_out: FanOut | None = None
    memory: Memory | None = None
    drain: Drain | None = None
    isolation: Isolation | None = None
    retained: Retained | None = None
    prune: Prune | None = None

    def bars(self) -> list[Bar]:
        """What was measured of what must be reached (design section 10)."""
        return [*self._of_cost(), *self._of_time()]

    def _of_cost(self) -> Iterator[Bar]:
        if self.parts and self.whole:
            share = efficiency(self.parts.costs(), self.whole.cpu)
            yield Bar(name="efficiency", value=share, limit=EFFICIENCY, at_least=True)
        if self.parts and self.ordered:
            share = efficiency(self.parts.costs(), self.ordered.cpu)
            name = "efficiency, ordered"
            yield Bar(name=name, value=share, limit=EFFICIENCY_ORDERED, at_least=True)
        if self.fan_out and self.whole:
            share = self.whole.cpu * self.fan_out.subscriptions / self.fan_out.cpu
            yield Bar(name="fan-out", value=share, limit=FAN_OUT, at_least=True)
        if self.memory:
            highest = max(self.memory.serving, self.memory.restarted)
            yield _most("resident memory", highest, RESIDENT, " MiB")
            yield _most("ready", self.memory.ready, READY, " s")
        if self.retained:
            yield _most("loss", self.retained.loss * 100, LOSS, " %")

    def _of_time(self) -> Iterator[Bar]:
        if self.latency:
            yield _most("p50 / unloaded sum", self.latency.ratio, TIMES_UNLOADED)
        if self.drain:
            yield _most("accept beside a drain", self.drain.ratio, TIMES_CALM)
        if self.prune:
            yield _most("accept beside retention", self.prune.ratio, TIMES_CALM)
        if self.isolation:
            yield from _isolation_bars(self.isolation)


def _most(name: str, value: float, limit: float, unit: str = "") -> Bar:
    return Bar(name=name, value=value, limit=limit, at_least=False, unit=unit)


def _isolation_bars(found: Isolation) -> Iterator[Bar]:
    limit = round(found.allowed(times=TIMES_ALONE, more=MORE_THAN_ALONE), 1)
    for name, side in (("hanging", found.hanging), ("refusing or dripping", found.mixed)):
        p99, share = side.arrival.p99, found.throughput(side)
        yield Bar(name=f"p99 beside {name}", value=p99, limit=limit, at_least=False, unit=" ms")
        yield Bar(name=f"throughput beside {name}", value=share, limit=THROUGHPUT, at_least=True)


def show(console: Console, results: Results) -> None:
    """Print the table."""
    table = Table(title="The gateway, measured", caption=_machine(results))
    table.add_column("measured")
    table.add_column("value", justify="right")
    table.add_column("bar", justify="right")
    for section in (
        _parts,
        _whole,
        _others,
        _latency,
        _memory,
        _drain,
        _isolation,
        _prune,
        _retained,
    ):
        rows = list(section(results))
        for row in rows:
            table.add_row(*row)
        if rows:
            table.add_section()
    console.print(table)


def _machine(results: Results) -> str:
    kind = "quick run, figures are rough; " if results.quick else ""
    return (
        "CPU at the pace of the run's beginning\n"
        f"{kind}{os.cpu_count()} cores, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}"
    )


def _parts(results: Results) -> Iterator[Row]:
    parts = results.parts
    if parts:
        for name, cost in parts.costs().items():
            yield f"CPU an event, {name} alone", f"{cost:.0f} us", ""
        yield "sum of the parts", f"{sum(parts.costs().values()):.0f} us", ""


def _whole(results: Results) -> Iterator[Row]:
    whole = results.whole
    if not whole:
        return
    spread = f" ({min(whole.rounds):.0f}-{max(whole.rounds):.0f})"
    yield "CPU an event, whole path", f"{whole.cpu:.0f} us{spread}", ""
    yield "events per CPU-second", f"{1e6 / whole.cpu:,.0f}", ""
    yield from _bar(results, "efficiency", "efficiency: parts / whole")
    yield "accepted", f"{whole.accepted_rate:,.0f}/s", ""
    yield "delivered", f"{whole.delivered_rate:,.0f}/s", ""
    yield "accept at full load, p50/99", _two(whole.accept), ""
    yield "each event came once, signed", f"{whole.events:,} of {whole.events:,}", ""


def _others(results: Results) -> Iterator[Row]:
    if results.ordered:
        yield "CPU an event, ordered", f"{results.ordered.cpu:.0f} us", ""
        yield from _bar(results, "efficiency, ordered", "efficiency, ordered")
    found = results.fan_out
    if found:
        name = f"CPU an event to {found.subscriptions} subscriptions"
        yield name, f"{found.cpu:.0f} us", ""
        yield "deliveries per CPU-second", f"{found.subscriptions * 1e6 / found.cpu:,.0f}", ""
        yield from _bar(results, "fan-out", "times those of fan-out 1")


def _drain(results: Results) -> Iterator[Row]:
    found = results.drain
    if found:
        yield f"accept at {found.rate:.0f}/s, calm, p50/99", _two(found.calm), ""
        yield f"beside {found.pending:,} that drain", _two(found.draining), ""
        yield "drained meanwhile", f"{found.drained_rate:,.0f}/s", ""
        yield "memory then", f"{found.resident:.0f} MiB", ""
        yield from _bar(results, "accept beside a drain", "p99 beside the drain / calm")


def _isolation(results: Results) -> Iterator[Row]:
    found = results.isolation
    if not found:
        return
    name = f"delivered, {found.rate:.0f}/s to each of {found.subscriptions}, p50/95/99"
    yield name, _three(found.calm.arrival), ""
    half = found.subscriptions // 2
    for name, side in (("hanging", found.hanging), ("refusing or dripping", found.mixed)):
        yield f"to the others beside {half} {name}", _three(side.arrival), ""
        yield from _bar(results, f"p99 beside {name}", "p99 of these")
        yield from _bar(results, f"throughput beside {name}", "their throughput / calm")


def _prune(results: Results) -> Iterator[Row]:
    found = results.prune
    if found:
        yield "accept before retention, p50/99", _two(found.calm), ""
        yield f"while {found.removed:,} old rows go", _two(found.pruning), ""
        yield from _bar(results, "accept beside retention", "p99 while it removes / before")


def _retained(results: Results) -> Iterator[Row]:
    found = results.retained
    if found:
        yield "CPU an event, empty store", f"{found.empty:.0f} us", ""
        name = f"beside {found.events:,} events ({found.mebibytes:,.0f} MiB)"
        yield name, f"{found.full:.0f} us", ""
        yield from _bar(results, "loss", "events per CPU-second lost")


def _latency(results: Results) -> Iterator[Row]:
    found = results.latency
    if not found:
        return
    yield f"accept at {found.rate:.0f}/s, p50/99", _two(found.accept), ""
    yield f"delivered at {found.rate:.0f}/s, p50/95/99", _three(found.arrival), ""
    yield "the same, from the answer on", _three(found.after_answer), ""
    steps = f"{found.receive:.2f} + {found.commit:.2f} + {found.deliver:.2f}"
    yield f"unloaded: {steps}", f"{found.unloaded:.2f} ms", ""
    yield from _bar(results, "p50 / unloaded sum", "p50 / unloaded sum")


def _memory(results: Results) -> Iterator[Row]:
    found = results.memory
    if not found:
        return
    yield "memory, empty store", f"{found.empty:.0f} MiB", ""
    yield f"memory, {found.pending:,} pending", f"{found.serving:.0f} MiB", ""
    yield "memory, after a restart", f"{found.restarted:.0f} MiB", ""
    yield "memory, highest ever", f"{found.highest:.0f} MiB", ""
    yield from _bar(results, "resident memory", "resident memory, the higher")
    yield "ready, empty store", f"{found.ready_empty:.2f} s", ""
    yield "ready, with the backlog", f"{found.ready:.2f} s", ""
    yield from _bar(results, "ready", "ready with the backlog")


def _bar(results: Results, name: str, label: str) -> Iterator[Row]:
    for bar in results.bars():
        if bar.name == name:
            sign, colour = (">=" if bar.at_least else "<="), ("green" if bar.holds else "red")
            word = "reached" if bar.holds else "missed"
            yield (
                f"[bold]{label}[/]",
                f"[bold]{bar.value:.2f}{bar.unit}[/]",
                f"[{colour}]{sign} {bar.limit:g}{bar.unit} {word}[/]",
            )


def _two(values: Quantiles) -> str:
    return f"{values.p50:.2f} / {values.p99:.2f} ms"


def _three(values: Quantiles) -> str:
    return f"{values.p50:.2f} / {values.p95:.2f} / {values.p99:.2f} ms"
