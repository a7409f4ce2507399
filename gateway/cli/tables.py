"""From what the store shows to text for a person, or JSON for a script.

Ids, types and answers were written by others. Nothing of them reaches a terminal but printable
characters, and no markup of theirs is read.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from io import StringIO

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.models import Millis
from gateway.stores.base import (
    AttemptRow,
    CallbackRow,
    DeliveryRow,
    EventRow,
    Story,
    SubscriptionRow,
    UnlinkedRow,
)

DUMB = {"dumb", "unknown"}  # values of TERM
GAP = 2  # blanks between two columns
NARROWEST = 14  # to how few places a column of words may be folded on a terminal
HEAD = 80  # characters of an answer that a table shows; --json has all that was kept

STYLES = {
    "event": "green",
    "delivered": "green",
    "matched": "green",
    "active": "green",
    "pending": "yellow",
    "leased": "yellow",
    "unlinked": "yellow",
    "paused": "yellow",
    "quarantined": "red",
    "dead": "red",
    "gone": "red",
}
"""The words that have a colour on a terminal."""


class Column(msgspec.Struct, frozen=True):
    """A column; `whole` ones hold ids and times, and are never folded."""

    title: str
    whole: bool = True


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A table that is not yet drawn; its cells are raw text."""

    title: str = ""
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]


def clean(text: str) -> str:
    r"""The text on one line with everything unprintable spelled out: `\x1b`, `\n`, `\u202e`.

    That covers C0 and C1 controls, format characters (bidirectional overrides too), surrogates,
    separators other than the blank, and what Unicode has not assigned.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text
    )


def local(at: Millis, zone: tzinfo | None = None) -> str:
    """A time in the zone of this machine, or in `zone`: `2026-08-01T12:00:05+02:00`."""
    moment = datetime.fromtimestamp(at / 1000, UTC)
    return moment.astimezone(zone).isoformat(timespec="seconds")


def shortened(text: str, length: int = HEAD) -> str:
    """The beginning of a text, with a mark where something was left out."""
    return text if len(text) <= length else text[: length - 1] + "…"


def to_json(rows: Sequence[msgspec.Struct]) -> str:
    """One JSON list of the rows; times are milliseconds since 1970 UTC.

    It is ASCII, controls escaped, so that it may be printed to a terminal too.
    """
    return json.dumps(msgspec.to_builtins(rows), indent=2)


def drawn(view: View, *, width: int | None) -> str:
    """The view as lines. `width` is that of a terminal; without one nothing is folded or coloured.

    On a terminal that is too narrow for the ids each row becomes a block of lines.
    """
    places = _places(view, width)
    if places is None:
        return "\n".join(filter(None, [clean(view.title), *_blocks(view)]))
    coloured = width is not None and os.environ.get("TERM") not in DUMB
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for column, wide in zip(view.columns, places, strict=True):
        table.add_column(column.title, width=wide, overflow="fold")
    for row in view.rows:
        table.add_row(*(Text(clean(cell), style=STYLES.get(cell, "")) for cell in row))
    console = Console(
        file=StringIO(),
        width=sum(places) + GAP * len(places),
        force_terminal=coloured,
        color_system="standard" if coloured else None,
        legacy_windows=False,
    )
    with console.capture() as captured:
        if view.title:
            console.print(Text(clean(view.title), style="bold"))
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n"))


def _blocks(view: View) -> Iterator[str]:
    """Each row as lines of title and cell, the empty ones left out; the terminal may break them."""
    titles = [column.title for column in view.columns]
    places = max(map(len, titles)) + GAP
    for row in view.rows:
        told = [pair for pair in zip(titles, row, strict=True) if pair[1]]
        lines = (f"  {title:<{places}}{clean(cell)}" for title, cell in told[1:])
        yield "\n".join([f"{told[0][0]:<{places + 2}}{clean(told[0][1])}", *lines])


def _places(view: View, width: int | None) -> list[int] | None:
    """The width of each column; None when a terminal of `width` has no room for the whole ones.

    Not left to rich: its `min_width` cuts words off.
    """
    places = [_widest(view, index) for index in range(len(view.columns))]
    if width is None:
        return places
    folded = [index for index, column in enumerate(view.columns) if not column.whole]
    room = width - GAP * len(places) - sum(places) + sum(places[index] for index in folded)
    for done, index in enumerate(sorted(folded, key=places.__getitem__)):
        share = room // (len(folded) - done)
        if share < min(places[index], NARROWEST):
            return None
        places[index] = min(places[index], share)
        room -= places[index]
    return places if room >= 0 else None


def _widest(view: View, index: int) -> int:
    cells = (clean(row[index]) for row in view.rows)
    return max(map(cell_len, (view.columns[index].title, *cells)))


def events_view(events: Sequence[EventRow]) -> View:
    """Events, and whom each one was for."""
    return View(
        columns=[
            *(Column(title) for title in ("event", "type", "no.", "shop", "order")),
            *(Column(title) for title in ("happened", "recorded", "source", "callback")),
            Column("for", whole=False),
        ],
        rows=[
            (
                *(event.id, event.type, _maybe(event.seq), event.shop, event.order or ""),
                *(local(event.time), local(event.recorded), event.source, event.callback or ""),
                ", ".join(r.subscription for r in event.routing if r.matched) or "nobody",
            )
            for event in events
        ],
    )


def deliveries_view(deliveries: Sequence[DeliveryRow]) -> View:
    """Deliveries with their last attempt."""
    columns = ("delivery", "subscription", "event", "type", "order", "state", "attempts", "last")
    return View(
        columns=[
            *(Column(title) for title in (*columns, "due", "ended")),
            Column("reason", whole=False),
        ],
        rows=[
            (
                *(row.id, row.subscription, row.event_id, row.type, row.order or "", row.state),
                *(str(row.attempts), _answer(row.last_status, row.last_failure)),
                *_times(row),
                row.reason or "",
            )
            for row in deliveries
        ],
    )


def unlinked_view(rows: Sequence[UnlinkedRow]) -> View:
    """Facts that wait for their order."""
    columns = ("callback", "source", "type", "track", "state", "since", "waits until")
    return View(
        columns=[*(Column(title) for title in columns), Column("would be known by")],
        rows=[
            (
                *(row.callback, row.source, row.event_type, row.track, row.state),
                local(row.since),
                local(row.deadline) if row.deadline is not None else "it is linked",
                " ".join(row.links),
            )
            for row in rows
        ],
    )


def quarantine_view(callbacks: Sequence[CallbackRow]) -> View:
    """Callbacks that could not be read, and why."""
    columns = ("callback", "received", "source", "provider's id", "bytes")
    return View(
        columns=[*(Column(title) for title in columns), Column("reason", whole=False)],
        rows=[
            (
                *(row.id, local(row.received_at), row.source, row.event_id, str(row.size)),
                row.reason,
            )
            for row in callbacks
        ],
    )


def subscriptions_view(rows: Sequence[SubscriptionRow]) -> View:
    """Subscriptions and how they stand."""
    columns = ("subscription", "state", "host", "unfinished", "last success", "waits until")
    return View(
        columns=[*(Column(title) for title in columns), Column("reason", whole=False)],
        rows=[
            (
                *(row.name, row.state, row.host, str(row.unfinished)),
                local(row.last_success) if row.last_success is not None else "never",
                local(row.hold_until) if row.hold_until is not None else "",
                row.reason or "",
            )
            for row in rows
        ],
    )


def story_views(story: Story) -> list[View]:
    """The tables of a story, each oldest first; what did not happen has no table and no column.

    Only the table of events has their ids; the others call them `order.paid #2`.
    """
    names = {event.id: f"{event.type} #{event.seq}" for event in story.events if event.seq}
    views = [
        _callbacks_view(story.callbacks),
        _facts_view(story.callbacks, names),
        _events_view(story.events),
        _routing_view(story, names),
        _deliveries_view(story.deliveries, names),
        _attempts_view(story),
    ]
    return [_filled(view) for view in views if view.rows]


def _filled(view: View) -> View:
    """The view without the columns in which nothing stands."""
    kept = [index for index in range(len(view.columns)) if any(row[index] for row in view.rows)]
    return View(
        title=view.title,
        columns=[view.columns[index] for index in kept],
        rows=[[row[index] for index in kept] for row in view.rows],
    )


def newest(story: Story) -> str:
    """The last thing that happened, and what is next, as one line."""
    happened: list[tuple[Millis, int, str]] = []
    for callback in story.callbacks:
        said = callback.event_type or "unreadable"
        what = f"callback {callback.id} from {callback.source}: {said}, {callback.verdict}"
        happened.append((callback.received_at, 0, what))
    happened += [(row.recorded, 1, f"event {row.id}: {row.type}") for row in story.events]
    for delivery in story.deliveries:
        last = story.attempts.get(delivery.id, ())[-1:]
        for attempt in last:
            answer = _answer(attempt.status, attempt.failure)
            what = f"attempt {attempt.number} of {delivery.id} to {delivery.subscription}: {answer}"
            happened.append((attempt.started_at, 2, what))
    if not happened:
        return "Nothing is kept of it any more."
    at, _, what = max(happened)
    return f"Newest: {local(at)} {what}{_open(story)}"


def _open(story: Story) -> str:
    """What is still to come."""
    waiting = [d for d in story.deliveries if d.state in {"pending", "leased"}]
    if not waiting:
        return ""
    first = min(waiting, key=lambda delivery: delivery.due)
    return f"; unfinished deliveries: {len(waiting)}, {first.id} is due {local(first.due)}"


def _callbacks_view(callbacks: Sequence[CallbackRow]) -> View:
    columns = ("callback", "received", "source", "provider's id", "type", "bytes", "verdict")
    return View(
        title="Callbacks",
        columns=[*(Column(title) for title in columns), Column("reason", whole=False)],
        rows=[
            (
                *(row.id, local(row.received_at), row.source, row.event_id, row.event_type),
                *(str(row.size), row.verdict, row.reason),
            )
            for row in callbacks
        ],
    )


def _facts_view(callbacks: Sequence[CallbackRow], names: Mapping[str, str]) -> View:
    columns = ("callback", "track", "state", "verdict")
    return View(
        title="Facts",
        columns=[
            *(Column(title) for title in columns),
            *(Column(title, whole=False) for title in ("events", "reason")),
        ],
        rows=[
            (
                *(row.id, note.track, note.state, note.verdict),
                *(", ".join(names.get(one, one) for one in note.events), note.reason),
            )
            for row in callbacks
            for note in row.notes
        ],
    )


def _events_view(events: Sequence[EventRow]) -> View:
    """Events of one order; whom they were for has a table of its own."""
    columns = ("event", "type", "no.", "happened", "source", "callback")
    return View(
        title="Events",
        columns=[Column(title) for title in columns],
        rows=[
            (
                *(event.id, event.type, _maybe(event.seq), local(event.time)),
                *(event.source, event.callback or ""),
            )
            for event in events
        ],
    )


def _routing_view(story: Story, names: Mapping[str, str]) -> View:
    made: dict[tuple[str, str], list[str]] = {}
    for row in story.deliveries:
        made.setdefault((row.event_id, row.subscription), []).append(row.id)
    columns = ("event", "subscription", "verdict", "delivery")
    return View(
        title="Subscriptions",
        columns=[*(Column(title) for title in columns), Column("reason", whole=False)],
        rows=[
            (
                *(names.get(event.id, event.id), routing.subscription),
                "matched" if routing.matched else "not matched",
                " ".join(made.get((event.id, routing.subscription), ())),
                "" if routing.matched else routing.reason,
            )
            for event in story.events
            for routing in event.routing
        ],
    )


def _deliveries_view(deliveries: Sequence[DeliveryRow], names: Mapping[str, str]) -> View:
    """Deliveries of one order; why the last attempt failed stands in the table of attempts."""
    columns = ("delivery", "subscription", "event", "state", "attempts", "due", "ended")
    return View(
        title="Deliveries",
        columns=[*(Column(title) for title in columns), Column("reason", whole=False)],
        rows=[
            (
                *(row.id, row.subscription, names.get(row.event_id, row.event_id), row.state),
                *(str(row.attempts), *_times(row)),
                (row.reason or "") if row.finished_at is not None else "",
            )
            for row in deliveries
        ],
    )


def _times(row: DeliveryRow) -> tuple[str, str]:
    """When a delivery is due, or when it ended."""
    if row.finished_at is None:
        return local(row.due), ""
    return "", local(row.finished_at)


def _attempts_view(story: Story) -> View:
    columns = ("delivery", "no.", "started", "ms", "answer", "address")
    return View(
        title="Attempts",
        columns=[
            *(Column(title) for title in columns),
            Column("error", whole=False),
            Column("body of the answer", whole=False),
        ],
        rows=[
            (delivery, *_attempt(attempt))
            for delivery, attempts in story.attempts.items()
            for attempt in attempts
        ],
    )


def _attempt(row: AttemptRow) -> tuple[str, ...]:
    return (
        *(str(row.number), local(row.started_at), f"{row.duration:.1f}"),
        *(_answer(row.status, row.failure), row.address or ""),
        *(row.detail if row.failure is not None else "", shortened(row.head)),
    )


def _answer(status: int | None, failure: str | None) -> str:
    """A status, or why there was none."""
    return str(status) if status is not None else failure or ""


def _maybe(number: int | None) -> str:
    return "" if number is None else str(number)
