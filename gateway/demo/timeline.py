"""The lines on the terminal: one a happening, in columns, calm; plain when piped."""

from rich.console import Console
from rich.text import Text

from gateway.demo.cast import Order
from gateway.demo.ledger import DISPLAY, Ledger, Sent
from gateway.demo.receivers import Arrival
from gateway.models import Verdict

CLOCK, WHO, WHAT = 8, 14, 28  # columns, with the space after them
DIM, GOOD, ODD, BAD = "dim", "green", "yellow", "red"
COLOURS = {Verdict.EVENT: GOOD, Verdict.QUARANTINED: BAD}


class Timeline:
    """Prints what the ledger holds; `begin` sets the clock of its lines to zero."""

    def __init__(self, console: Console, ledger: Ledger) -> None:
        self._console, self._ledger = console, ledger
        self._zero: float | None = None

    def begin(self, order: Order) -> None:
        """The heading of an order."""
        self._zero = None
        self._console.print()
        self._print(Text.assemble((f"Order {order.id}", "bold"), (f"  {order.title}", DIM)))

    def callback(self, sent: Sent) -> None:
        """The line of one callback; below it further events that it made."""
        outcome, colour, detail = self._outcome(sent)
        first, *more = outcome
        who = Text(DISPLAY[sent.step.source], "bold")
        self._line(sent.at, who, sent.step.kind, Text(first, colour), detail)
        for one in more:
            self._line(None, Text(), "", Text(one, colour), "")

    def delivery(self, arrival: Arrival, sent: Sent | None) -> None:
        """The line of one attempt, as its receiver saw it."""
        what = self._ledger.label(arrival.event_id) or "?"
        after = f"{(arrival.at - sent.at) * 1000:.1f} ms" if sent else "unasked"
        detail = "signature verified, read as a CloudEvent"
        if arrival.fault:
            outcome, detail = Text("refused", BAD), arrival.fault
        elif arrival.status == 503:
            outcome, detail = Text(f"attempt {arrival.attempt} failed: 503", ODD), "will be retried"
        elif arrival.attempt > 1:
            outcome = Text(f"delivered {after}, retry {arrival.attempt - 1}", GOOD)
        else:
            outcome = Text(f"delivered {after}", GOOD)
        self._line(arrival.at, Text(f"→ {arrival.receiver}", "cyan"), what, outcome, detail)

    def _outcome(self, sent: Sent) -> tuple[list[str], str, str]:
        """The words, their colour, and the detail that may be left out."""
        receipt, took = sent.receipt, f"answered after {sent.took:.1f} ms"
        if receipt is None:
            return [f"refused: {sent.status or 'no answer'}"], ODD, sent.detail.split(";")[0]
        if receipt.duplicate:
            return [f"duplicate of {receipt.id}: ignored"], ODD, "verified, makes nothing new"
        if receipt.verdict is Verdict.EVENT:
            labels = [self._ledger.label(one) or "an event" for one in receipt.events]
            return [f"verified → {labels[0]}", *(f"         → {one}" for one in labels[1:])], GOOD, took
        return [f"{receipt.verdict}: {self._reason(sent)}"], ODD, f"verified, {took}"

    def _reason(self, sent: Sent) -> str:
        verdict = sent.receipt.verdict if sent.receipt else None
        if verdict is Verdict.UNLINKED:
            return "no order yet"
        known = self._ledger.latest(sent.order, sent.step.says)
        if known is None:
            return "nothing of it has arrived"
        if verdict is Verdict.MERGED:
            return f"{DISPLAY.get(known.told_by, known.told_by)} told {known.type} #{known.seq}"
        return f"{known.fulfilment} by now"

    def _line(self, at: float | None, who: Text, what: str, outcome: Text, detail: str) -> None:
        if self._zero is None and at is not None:
            self._zero = at
        clock = "" if at is None or self._zero is None else f"{at - self._zero:.3f}"
        line = Text(clock.rjust(CLOCK - 2) + "  ", DIM)
        who.align("left", WHO)
        line.append_text(who).append(what.ljust(WHAT)).append_text(outcome)
        if detail and line.cell_len + 2 + len(detail) <= self._console.width:
            line.append(f"  {detail}", DIM)
        self._print(line)

    def _print(self, line: Text) -> None:
        self._console.print(line, no_wrap=True, overflow="ellipsis", highlight=False)
