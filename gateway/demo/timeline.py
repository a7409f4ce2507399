"""The lines on the terminal: one a happening, in columns, calm; plain when piped."""

from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from gateway.demo.cast import Order, Way
from gateway.demo.ledger import DISPLAY, Ledger, Sent
from gateway.demo.receivers import Arrival
from gateway.models import Receipt, Verdict

CLOCK, WHO, WHAT, OUTCOME = 8, 14, 28, 30  # columns; of the rest, the detail, 20 fit into 100
DIM, GOOD, ODD, BAD = "dim", "green", "yellow", "red"
MARK = len("verified")


class Words(NamedTuple):
    """What became of a step: a line for each event that it made, else one."""

    lines: Sequence[str]
    colour: str
    detail: str  # left out where the terminal is too narrow


class Timeline:
    """Prints what the ledger holds; `begin` sets the clock of its lines to zero."""

    def __init__(self, console: Console, ledger: Ledger) -> None:
        self._console, self._ledger = console, ledger
        self._zero: float | None = None

    def open(self) -> None:
        """The first lines: who is on stage."""
        heading = "A gateway, two receivers and a print provider's API, all on this machine:"
        self._print(Text(heading, DIM))
        for part in self._ledger.parts:
            trouble = f", first {part.refuses} answered 503" if part.refuses else ""
            wants = f"gets {', '.join(part.types)}, {part.mode} mode{trouble}"
            self._print(Text.assemble((f"  {part.name:<{WHO - 2}}", "cyan"), (wants, DIM)))
        asked = "never calls anybody, so the gateway asks it every second"
        self._print(Text.assemble((f"  {'Marketiger':<{WHO - 2}}", "bold"), (asked, DIM)))

    def ready(self, url: str) -> None:
        """The gateway is up."""
        self._print(Text.assemble((f"  {'gateway':<{WHO - 2}}", "bold"), (f"ready on {url}", DIM)))
        legend = (
            "The clock starts at an order's first line, a delivery's time at what made its event."
        )
        self._print(Text(legend, DIM))

    def begin(self, order: Order) -> None:
        """The heading of an order."""
        self._zero = None
        self._console.print()
        self._print(Text.assemble((f"Order {order.id}", "bold"), (f"  {order.title}", DIM)))

    def callback(self, sent: Sent) -> None:
        """The line of one step; below it further events that it made."""
        step, words = sent.step, self._words(sent)
        what = f"asked: {step.kind}" if step.way is Way.POLL else step.kind
        what += " (forged)" if step.forged else ""
        who = Text("shop" if step.way is Way.WATCH else DISPLAY[step.source], "bold")
        self._line(sent.at, who, what, Text(words.lines[0], words.colour), words.detail)
        for line in words.lines[1:]:
            self._line(None, Text(), "", Text(line, words.colour), "")

    def delivery(self, arrival: Arrival, sent: Sent | None) -> None:
        """The line of one attempt, as its receiver saw it."""
        after = _milliseconds(arrival.at - sent.at) if sent else "no time"
        retry = f", retry {arrival.attempt - 1}" if arrival.attempt > 1 else ""
        outcome, detail = Text(f"delivered in {after}{retry}", GOOD), "signature verified"
        if arrival.fault:
            outcome, detail = Text("refused", BAD), arrival.fault
        elif arrival.status >= 300:
            outcome = Text(f"attempt {arrival.attempt} failed: {arrival.status}", ODD)
            detail = "will be retried"
        event = self._ledger.event(arrival.event_id)
        what = f"{event.type} #{event.seq}" if event else "?"
        self._line(arrival.at, Text(f"→ {arrival.receiver}", "cyan"), what, outcome, detail)

    def _words(self, sent: Sent) -> Words:
        receipt, took = sent.receipt, f"answered in {_milliseconds(sent.took)}"
        if receipt is None:
            return _without_receipt(sent, took)
        if receipt.duplicate:
            return Words([f"duplicate of {receipt.id}: ignored"], ODD, "makes nothing new")
        known = self._ledger.latest(sent.order, sent.step.says)
        if receipt.verdict is Verdict.EVENT:
            return self._made(sent, receipt, took)
        if receipt.verdict is Verdict.UNLINKED or known is None:
            return Words([f"{receipt.verdict}: no order yet"], ODD, "waits for its order")
        if receipt.verdict is Verdict.MERGED:
            first = f"{DISPLAY.get(known.told_by, known.told_by)} told it first"
            return Words([f"merged with {known.type} #{known.seq}"], ODD, first)
        return Words([f"{receipt.verdict}: {known.fulfilment} by now"], ODD, took)

    def _made(self, sent: Sent, receipt: Receipt, took: str) -> Words:
        polled = sent.step.way is Way.POLL
        found = [self._ledger.event(event_id) for event_id in receipt.events]
        labels = [f"{one.type} #{one.seq}" if one else "it arrived nowhere" for one in found]
        mark = "changed" if polled else "verified"
        marks = [f"{mark:<{MARK}}", *[" " * MARK] * len(labels)]
        lines = [f"{mark} → {label}" for mark, label in zip(marks, labels, strict=False)]
        return Words(lines, GOOD, ", ".join(one.news for one in found if one) if polled else took)

    def _line(self, at: float | None, who: Text, what: str, outcome: Text, detail: str) -> None:
        if self._zero is None:
            self._zero = at
        clock = "" if at is None or self._zero is None else f"{at - self._zero:.3f}"
        line = Text.assemble((clock.rjust(CLOCK - 2) + "  ", DIM))
        who.align("left", WHO)
        line.append_text(who).append(what.ljust(WHAT)).append_text(outcome)
        column = CLOCK + WHO + WHAT + OUTCOME
        if detail and max(column, line.cell_len + 1) + len(detail) <= self._console.width:
            line.append(" " * max(1, column - line.cell_len) + detail, DIM)
        self._print(line)

    def _print(self, line: Text) -> None:
        self._console.print(line, no_wrap=True, overflow="ellipsis", highlight=False)


def _without_receipt(sent: Sent, took: str) -> Words:
    if sent.step.way is Way.WATCH and sent.status == 200:
        return Words([f"is order {sent.order}: asked for now"], GOOD, took)
    if sent.step.way is Way.POLL:
        return Words(["not asked for" if sent.status is None else "not taken in"], BAD, "")
    if sent.status == 401:
        return Words([f"refused: 401 {sent.title}"], ODD, sent.detail)
    return Words([f"{sent.status} {sent.title}" if sent.status else "no answer"], BAD, sent.detail)


def _milliseconds(seconds: float) -> str:
    """Three digits or so: `6.2 ms`, `1718 ms`."""
    amount = seconds * 1000
    return f"{amount:.0f} ms" if amount >= 100 else f"{amount:.1f} ms"
