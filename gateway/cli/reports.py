"""From the lines of a round, or of a comparison, to what a person reads."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.cli.control import LATER
from gateway.cli.look import draw, say
from gateway.cli.remote import Line
from gateway.cli.tables import Column, View, clean, counted, filled, local
from gateway.poller.reconcile import Kind

UNCHANGED = "unchanged"
TITLES: Mapping[Kind, str] = {
    Kind.SILENT: "Orders silent: the gateway was never told of them",
    Kind.MISSED: "Facts missed",
    Kind.DIFFERS: "Facts that differ: the gateway goes on believing what it knows",
    Kind.UNREADABLE: "Unreadable",
}
"""What a report lists order by order; of all others it only says how many there are."""
WORDS: Mapping[Kind, str] = {
    Kind.SAME: "the same",
    Kind.SILENT: "silent",
    Kind.MISSED: "with facts missed",
    Kind.DIFFERS: "with facts that differ",
    Kind.UNREADABLE: "unreadable",
    Kind.OLDER: "unchanged since then",
}


class Round:
    """What one round found; it keeps the last word on each order."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._end: Mapping[str, Any] | None = None
        self._error = "the gateway gave no more answers"
        self.found: dict[str, Mapping[str, Any]] = {}

    def take(self, line: Line) -> None:
        """One line of `Poller.once`."""
        if "end" in line:
            self._end = line["end"]
        elif "error" in line:
            self._error = line["error"]
        else:
            self._find(line["found"])

    def _find(self, found: Mapping[str, Any]) -> None:
        """An order may be found in the list, and once more when it is asked for by itself."""
        known = self.found.get(found["number"])
        if known is None or known["problem"] or _word(found) != UNCHANGED:
            self.found[found["number"]] = found

    @property
    def finished(self) -> bool:
        """Whether the API and the store let the round come to its end."""
        return self._end is not None and not self._end["refused"] and not self._end["problem"]

    def show(self, *, live: bool) -> None:
        """Print what changed, and how it ended."""
        news = [found for found in self.found.values() if _word(found) != UNCHANGED]
        if news:
            draw(filled(_round_view(news)))
            say("")
        say(clean(f"{self._sums(live=live)} {self._ending(live=live)}".strip()))

    def _sums(self, *, live: bool) -> str:
        if not self.found:
            return "No order was asked for." if self.finished else ""
        words = [_word(found) for found in self.found.values()]
        same, failed = words.count(UNCHANGED), words.count("problem")
        events = sum(len(found["events"]) for found in self.found.values())
        return (
            f"Of {counted(len(words), 'order')} {len(words) - same - failed} changed and made"
            f" {counted(events, 'event')}, {same} did not change, {failed} could not be read"
            f"{LATER if events and not live else ''}."
        )

    def _ending(self, *, live: bool) -> str:
        end = self._end
        if end is None:
            return f"The round ended early: {_bare(self._error)}."
        if end["refused"]:
            return (
                f"It is asked no more until its configuration changes, or `gateway poll {self._name}"
                f" --once` succeeds: {_bare(end['refused'])}."
            )
        at = local(end["next_at"])
        again = f"it is asked again at {at}" if live else f"`gateway serve` asks again from {at} on"
        if end["problem"]:
            return f"The round ended early: {_bare(end['problem'])}; {again}."
        return f"{again[0].upper()}{again[1:]}."


class Comparison:
    """What reconciling found."""

    def __init__(self, *, emit: bool) -> None:
        self._emit = emit
        self._listed = True
        self._error: str | None = None
        self._counts: Counter[Kind] = Counter()
        self._orders: dict[Kind, list[Mapping[str, Any]]] = {kind: [] for kind in TITLES}

    def take(self, line: Line) -> None:
        """One line of `Poller.reconcile`."""
        if "listed" in line:
            self._listed = line["listed"]
        elif "error" in line:
            self._error = line["error"]
        else:
            compared = line["compared"]
            kind = Kind(compared["kind"])
            self._counts[kind] += 1
            if kind in TITLES:
                self._orders[kind].append(compared)

    @property
    def good(self) -> bool:
        """Whether it went over everything, and nothing is left for a person to look at."""
        told = {Kind.UNREADABLE} if self._emit else set(TITLES)
        return self._error is None and not any(self._counts[kind] for kind in told)

    def show(self, *, live: bool) -> None:
        """Print what is not the same, and the sums."""
        for kind, title in TITLES.items():
            if self._orders[kind]:
                draw(filled(_compared_view(title, self._orders[kind], emit=self._emit)))
                say("")
        for sentence in self._sums(live=live):
            say(clean(sentence))

    def _sums(self, *, live: bool) -> Iterator[str]:
        told = [
            f"{self._counts[kind]} {words}" for kind, words in WORDS.items() if self._counts[kind]
        ]
        orders = counted(self._counts.total(), "order")
        yield f"{orders} compared{': ' if told else ''}{', '.join(told)}."
        if not self._listed:
            yield "This source has no list of orders: only those that the gateway knows were asked for."
        events = sum(len(order["events"]) for found in self._orders.values() for order in found)
        if self._emit and events:
            yield f"{counted(events, 'event')} made{'' if live else LATER}."
        elif events:
            yield f"--emit would make {counted(events, 'event')}."
        if self._error is not None:
            yield f"It ended early: {_bare(self._error)}."


def _round_view(news: Sequence[Mapping[str, Any]]) -> View:
    columns = ("number", "status", "what followed", "order")
    return View(
        columns=[*(Column(title) for title in columns), *_folded("events", "reason")],
        rows=[
            (
                *(found["number"], found["status"], _word(found), _orders(found)),
                _types(found),
                found["problem"] or found["reason"],
            )
            for found in news
        ],
    )


def _compared_view(title: str, orders: Sequence[Mapping[str, Any]], *, emit: bool) -> View:
    events = "events made" if emit else "events with --emit"
    return View(
        title=title,
        columns=[*(Column(title) for title in ("number", "status")), *_folded(events, "reason")],
        rows=[
            (one["number"], one["status"], _types(one), "; ".join(one["reasons"])) for one in orders
        ],
    )


def _folded(*titles: str) -> Iterator[Column]:
    return (Column(title, whole=False) for title in titles)


def _word(found: Mapping[str, Any]) -> str:
    return "problem" if found["problem"] else str(found["verdict"])


def _orders(found: Mapping[str, Any]) -> str:
    named = dict.fromkeys(event["order"] for event in found["events"] if event["order"])
    return ", ".join(named)


def _types(told: Mapping[str, Any]) -> str:
    return ", ".join(event["type"] for event in told["events"])


def _bare(sentence: str) -> str:
    return sentence.removesuffix(".")
