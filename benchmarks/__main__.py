"""`python -m benchmarks`: one run, one table. Everything runs on loopback, in a temporary folder."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from benchmarks import drain, isolation, latency, memory, parts, scale, whole
from benchmarks.pace import reference
from benchmarks.processes import BenchmarkError, workplace
from benchmarks.settings import FULL, QUICK
from benchmarks.table import Results, show

SECTIONS = (
    "parts",
    "whole",
    "ordered",
    "fan_out",
    "latency",
    "memory",
    "drain",
    "isolation",
    "prune",
    "retained",
)

IN_TURNS: Mapping[str, tuple[Callable[..., object], Callable[..., object]]] = {
    "parts": (parts.measure, parts.merged),
    "whole": (whole.measure, whole.merged),
    "ordered": (scale.ordered, whole.merged),
    "fan_out": (scale.fan_out, scale.merged),
}
"""How these are measured, and how several measurements become one."""


def main(arguments: Sequence[str]) -> int:
    """0 when the run went through, 1 when a bar fails under `--check`, 2 when it could not run."""
    options = _parser().parse_args(arguments)
    console, progress = Console(), Console(stderr=True)
    try:
        results = _measure(options.only, quick=options.quick, progress=progress)
    except BenchmarkError as error:
        progress.print(str(error), markup=False)
        return 2
    except KeyboardInterrupt:
        progress.print("interrupted")
        return 130
    show(console, results)
    if options.json:
        figures = {**msgspec.to_builtins(results), "bars": msgspec.to_builtins(results.bars())}
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2))
    return 1 if options.check and not all(bar.holds for bar in results.bars()) else 0


def _measure(only: Sequence[str], *, quick: bool, progress: Console) -> Results:
    """Run the wanted sections, each in a folder of its own."""
    settings = QUICK if quick else FULL
    results = Results(quick=quick)
    reference()  # before any process is started: each would take one of its own
    with workplace() as folder:

        def measured(name: str, measure: Callable[..., object], turn: int = 0) -> object:
            progress.print(f"measuring: {name}", style="dim")
            place = folder / f"{name}{turn}"
            place.mkdir()
            return measure(place, settings)

        def run(name: str, measure: Callable[..., object]) -> None:
            if name in only:
                setattr(results, name, measured(name, measure))

        # What is set against each other is measured in turns, so that all has the same weather: a
        # machine that is a tenth slower for half a minute is no rare thing.
        turns: dict[str, list[Any]] = {name: [] for name in IN_TURNS if name in only}
        for turn in range(settings.turns):
            for name, found in turns.items():
                found.append(measured(name, IN_TURNS[name][0], turn))
        for name, found in turns.items():
            setattr(results, name, IN_TURNS[name][1](found))
        run("latency", latency.measure)
        run("memory", memory.measure)
        run("drain", drain.measure)
        run("isolation", isolation.measure)
        run("retained", scale.retained)
        run("prune", drain.prune)
    _same_rows(results)
    return results


def _same_rows(results: Results) -> None:
    """The store part must write what the gateway writes, or the efficiency means nothing."""
    if results.parts and results.whole and results.parts.rows != results.whole.rows:
        raise BenchmarkError(
            "children/store.py no longer writes the rows that the gateway writes an event: "
            f"{results.parts.rows} instead of {results.whole.rows}"
        )


def _sections(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(SECTIONS)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller numbers, about 20 s")
    parser.add_argument(
        "--only",
        type=_sections,
        default=list(SECTIONS),
        metavar="A,B",
        help=f"only these of {','.join(SECTIONS)}",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here too")
    parser.add_argument("--check", action="store_true", help="exit 1 when a bar is not reached")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
