"""The end of the demo: what came out in numbers, and what to do next."""

import shlex
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.demo.cast import Way
from gateway.demo.ledger import Ledger, Sent
from gateway.models import Verdict


def summary(console: Console, ledger: Ledger, missing: Sequence[str]) -> None:
    """Print what was counted: callbacks, polls, events, deliveries, retries, the median time."""
    callbacks = [sent for sent in ledger.sent if sent.step.way is Way.CALLBACK]
    polls = [sent for sent in ledger.sent if sent.step.way is Way.POLL]
    unchanged = len(ledger.asked) - len(polls)
    repeats = f", {unchanged} unchanged" if unchanged else ""
    delivered, times = ledger.delivered(), ledger.times()
    failed = len(ledger.arrivals) - len(delivered)
    events = {arrival.event_id for arrival in delivered}
    rows = [
        ("Callbacks", f"{len(callbacks)} sent: {_outcomes(callbacks)}"),
        ("Polls", f"{len(ledger.asked)} answered: {_outcomes(polls)}{repeats}"),
        ("Events", f"{len(events)}, each with its number in its order"),
        ("Deliveries", f"{len(delivered)} arrived, each one signed, verified and read"),
        ("Retries", f"{failed} attempts failed and were made again"),
    ]
    if times:
        rows.append(
            ("Time", f"p50 {statistics.median(times):.1f} ms from callback or answer to delivery")
        )
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, value in rows:
        table.add_row(Text(name, "dim"), Text(value))
    console.print()
    console.print(table)
    if not missing:
        console.print("\n[green]All came as expected.[/green]", highlight=False)


def farewell(console: Console, kept: Path | None, *, order: str, command: str) -> None:
    """Print what to do next; `kept` is the folder of the demo, when it stays."""
    if kept is None:
        lines = [
            (f"{command} demo --keep", "the same, and keeps its database for a look"),
            (f"{command} serve", "a gateway of your own; it says what it needs"),
        ]
    else:
        config = f"--config {shlex.quote(str(kept / 'gateway.toml'))}"
        lines = [
            (f"{command} events {config}", ""),
            (f"{command} explain {order} {config}", ""),
            (f"rm -r {shlex.quote(str(kept))}", "when you have seen enough"),
        ]
    console.print("\nNext:")
    width = max(len(line) for line, comment in lines if comment)
    for line, comment in lines:
        shown = f"{line:<{width}}  [dim]{comment}[/dim]" if comment else line
        console.print(f"  {shown}", highlight=False, soft_wrap=True)


def _outcomes(played: Iterable[Sent]) -> str:
    outcomes = Counter(map(_outcome, played))
    return ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())


def _outcome(sent: Sent) -> str:
    if sent.receipt is None:
        return "refused" if sent.status == 401 else f"answered {sent.status}"
    if sent.receipt.duplicate:
        return "duplicate"
    return "made events" if sent.receipt.verdict is Verdict.EVENT else str(sent.receipt.verdict)
