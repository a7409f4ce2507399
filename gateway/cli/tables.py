"""From what the store shows to text for a person, or JSON for a script.

Ids, types and answers were written by others. Nothing of them reaches a terminal but printable
characters, and no markup of theirs is read.
"""

import json
import os
import shlex
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from io import StringIO

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.models import Millis
from gateway.shown import shown
from gateway.stores.views import (
    CallbackRow,
    DeliveryRow,
    EventRow,
    RejectedRow,
    SubscriptionRow,
    UnlinkedRow,
)

DUMB = {"dumb", "unknown"}  # values of TERM
GAP = 2  # blanks between two columns
NARROWEST = 14  # to how few places a column of words may be folded on a terminal
HEAD = 80  # characters of an answer that a table shows; --json has all that was kept
BODY_HEAD = 400  # characters of a rejected request's body, likewise

STYLES = {
    "ok": "green",
    "warning": "yellow",
    "event": "green",
    "delivered": "green",
    "matched": "green",
    "active": "green",
    "pending": "yellow",
    "leased": "yellow",
    "batched": "yellow",
    "behind": "yellow",
    "parked": "yellow",
    "unlinked": "yellow",
    "paused": "yellow",
    "failing": "yellow",
    "expired": "yellow",
    "problem": "red",
    "refused": "red",
    "quarantined": "red",
    "dead": "red",
    "gone": "red",
    "revoked": "red",
}
"""The words that have a colour on a terminal."""


class Column(msgspec.Struct, frozen=True):
    """A column; `whole` ones hold ids and times, and are never folded.

    Where a terminal has no room for all, the `spare` ones are left out, the lowest first.
    """

    title: str
    whole: bool = True
    spare: int = 0


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


def ahead(at: Millis | None) -> str:
    """A time that is yet to come, else nothing: the store keeps the end of a wait that is over."""
    return "" if at is None or at <= time.time() * 1000 else local(at)


def shortened(text: str, length: int = HEAD) -> str:
    """The beginning of a text, with a mark where something was left out."""
    return text if len(text) <= length else text[: length - 1] + "…"


def to_json(value: object) -> str:
    """Rows, or what else `shown` takes, as one JSON value; times are RFC 3339, as at the API.

    It is ASCII, controls escaped, so that it may be printed to a terminal too.
    """
    return json.dumps(msgspec.to_builtins(shown(value)), indent=2)


def drawn(view: View, *, width: int | None) -> str:
    """The view as lines. `width` is that of a terminal; without one nothing is folded or coloured.

    A terminal that is too narrow gets fewer columns; one that is too narrow for the ids gets a
    block of lines a row, with everything in it.
    """
    whole = view
    places = _places(view, width)
    while places is None and (fewer := _without_spare(view)) is not None:
        view = fewer
        places = _places(view, width)
    if places is None:
        return "\n".join(filter(None, [clean(whole.title), *_blocks(whole)]))
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
            console.print(Text(clean(view.title), style="bold"), soft_wrap=True)
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
            *(Column(title) for title in ("event", "type", "no.")),
            *(Column("shop", spare=1), Column("order"), Column("happened", spare=2)),
            *(Column("recorded", spare=5), Column("source", spare=4), Column("callback", spare=3)),
            Column("for", whole=False),
        ],
        rows=[
            (
                *(event.id, event.type, maybe(event.seq), event.shop, event.order or ""),
                *(local(event.time), local(event.recorded), event.source, event.callback or ""),
                ", ".join(r.subscription for r in event.routing if r.matched) or "nobody",
            )
            for event in events
        ],
    )


def deliveries_view(deliveries: Sequence[DeliveryRow]) -> View:
    """Deliveries with their last attempt."""
    return View(
        columns=[
            *(Column("delivery"), Column("subscription"), Column("event", spare=4)),
            *(Column("type"), Column("order", spare=3)),
            *(Column(title) for title in ("state", "attempts", "last")),
            *(Column("due", spare=2), Column("ended", spare=1)),
            Column("reason", whole=False),
        ],
        rows=[
            (
                *(row.id, row.subscription, row.event_id, row.type, row.order or "", row.state),
                *(str(row.attempts), answer(row.last_status, row.last_failure)),
                *times(row),
                why(row),
            )
            for row in deliveries
        ],
    )


def unlinked_view(rows: Sequence[UnlinkedRow]) -> View:
    """Facts that wait for their order."""
    columns = ("id", "source", "type", "track", "state", "since", "waits until")
    return View(
        columns=[*(Column(title) for title in columns), Column("would be known by")],
        rows=[
            (
                *(row.id, row.source, row.event_type, row.track, row.state),
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


def rejected_view(row: RejectedRow) -> View:
    """One rejected request, a line a part, as far as it was kept."""
    missed = [("not kept", f"{row.missed} more were rejected just before")] if row.missed else []
    headers = [("header", f"{name}: {value}" if name else value) for name, value in row.headers]
    body = shortened(row.body, BODY_HEAD) if row.size else "empty"
    return View(
        columns=[Column("rejected"), Column(local(row.received_at), whole=False)],
        rows=[("reason", row.reason), *missed, *headers, ("body", body)],
    )


def callback_view(row: CallbackRow, headers: int | None) -> View:
    """One callback, a line a part; `headers` is how many it had, if that is known."""
    parts = (
        *(("received", local(row.received_at)), ("source", row.source)),
        *(("provider's id", row.event_id), ("type", row.event_type)),
        *(("verdict", row.verdict), ("reason", row.reason)),
        *(("headers", maybe(headers)), ("bytes", str(row.size))),
    )
    notes = [
        ("fact", f"{note.track} {note.state}: {note.verdict} {note.reason}".rstrip())
        for note in row.notes
    ]
    return View(
        columns=[Column("callback"), Column(row.id, whole=False)],
        rows=[*(part for part in parts if part[1]), *notes],
    )


def subscriptions_view(rows: Sequence[SubscriptionRow]) -> View:
    """Subscriptions and how they stand."""
    columns = ("subscription", "state", "host", "unfinished", "last success", "waits until")
    health = (Column("failing since"), Column("breaker open until"), Column("handshake"))
    view = View(
        columns=[*(Column(title) for title in columns), *health, Column("reason", whole=False)],
        rows=[
            (
                *(row.name, row.state, row.host, str(row.unfinished)),
                local(row.last_success) if row.last_success is not None else "never",
                ahead(row.hold_until),
                *map(_maybe_local, (row.failing_since, row.broken_until)),
                row.handshake or "",
                row.reason or "",
            )
            for row in rows
        ],
    )
    return filled(view)


def _maybe_local(at: Millis | None) -> str:
    return "" if at is None else local(at)


def filled(view: View) -> View:
    """The view without the columns in which nothing stands."""
    columns = range(len(view.columns))
    return _kept(view, [index for index in columns if any(row[index] for row in view.rows)])


def _without_spare(view: View) -> View | None:
    """The view without the column that is missed least; None when all of them are needed."""
    spare = {column.spare: index for index, column in enumerate(view.columns) if column.spare}
    if not spare:
        return None
    least = spare[min(spare)]
    return _kept(view, [index for index in range(len(view.columns)) if index != least])


def _kept(view: View, kept: Sequence[int]) -> View:
    return View(
        title=view.title,
        columns=[view.columns[index] for index in kept],
        rows=[[row[index] for index in kept] for row in view.rows],
    )


def times(row: DeliveryRow) -> tuple[str, str]:
    """When a delivery is due, or when it ended; one that waits for its lane is neither."""
    if row.finished_at is not None:
        return "", local(row.finished_at)
    return "" if row.state in {"parked", "behind"} else local(row.due), ""


def why(row: DeliveryRow) -> str:
    """Why a delivery stands as it does, and what can be done where it cannot go on by itself."""
    said = [row.reason] if row.reason else []
    if row.state == "parked":
        lane = f"{shlex.quote(row.subscription)} {shlex.quote(row.order or '')}"
        said.append(
            f"`gateway lanes release {lane}` tries it again, `gateway lanes skip {lane}` gives it up"
        )
    if row.behind is not None:
        said.append(f"waits behind {row.behind} of the same order")
    if row.leader not in {None, row.id}:
        said.append(f"in the batch of {row.leader}")
    return "; ".join(said)


def answer(status: int | None, failure: str | None) -> str:
    """A status, or why there was none."""
    return str(status) if status is not None else failure or ""


def counted(number: int, what: str) -> str:
    """A number and a noun, in the plural where it needs it."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def maybe(number: int | None) -> str:
    """A number, or nothing."""
    return "" if number is None else str(number)
