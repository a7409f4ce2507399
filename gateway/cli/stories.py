"""The story of one order, event, delivery or callback as tables, each oldest first."""

import json
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from gateway.cli.tables import (
    Column,
    View,
    answer,
    filled,
    local,
    maybe,
    shortened,
    times,
    why,
)
from gateway.models import Millis
from gateway.stores.views import (
    AttemptRow,
    CallbackRow,
    DeliveryRow,
    EventRow,
    MappingRow,
    Story,
)

LISTED = 5  # callbacks that a table lists by their ids


def story_views(story: Story) -> list[View]:
    """The tables of a story, each oldest first; what did not happen has no table and no column.

    Only the table of events has their ids; the others call them `order.paid #2`.
    """
    names = {event.id: f"{event.type} #{event.seq}" for event in story.events if event.seq}
    views = [
        _callbacks_view(story.callbacks),
        _mappings_view(story),
        _facts_view(story.callbacks, names),
        _events_view(story.events),
        _routing_view(story, names),
        _deliveries_view(story.deliveries, names),
        _attempts_view(story),
    ]
    return [filled(view) for view in views if view.rows]


def heading(story: Story) -> str:
    """What was found, and the order where that does not name it itself."""
    told = story.found_as + (f" of shop {story.shop}" if story.shop else "")
    if story.order is not None and not story.found_as.endswith(f"order {story.order}"):
        told += f", about order {story.order}"
    return told


def newest(story: Story, now: Millis) -> str:
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
            said = answer(attempt.status, attempt.failure)
            what = f"attempt {attempt.number} of {delivery.id} to {delivery.subscription}: {said}"
            happened.append((attempt.started_at, 2, what))
    if not happened:
        return "Nothing is kept of it any more."
    at, _, what = max(happened)
    return f"Newest: {local(at)} {what}{_open(story, now)}"


def _open(story: Story, now: Millis) -> str:
    """What is still to come."""
    waiting = [d for d in story.deliveries if d.finished_at is None and d.state != "delivered"]
    if not waiting:
        return ""
    going = [row for row in waiting if times(row)[0]]
    if not going:
        return f"; unfinished deliveries: {len(waiting)}, {waiting[0].id} is {waiting[0].state}"
    first = min(going, key=lambda delivery: delivery.due)
    told = f"; unfinished deliveries: {len(waiting)}, {first.id} is due"
    if first.due > now or first.state != "pending":
        return f"{told} {local(first.due)}"
    # A pause, a wait or a breaker, which are its subscription's, are in no story of an order.
    return (
        f"{told} since {local(first.due)}: `gateway deliveries show {first.id}` says what keeps it"
    )


def _callbacks_view(callbacks: Sequence[CallbackRow]) -> View:
    return View(
        title="Callbacks",
        columns=[
            *(Column("callback"), Column("received", spare=4), Column("source", spare=2)),
            *(Column("provider's id", spare=3), Column("type"), Column("bytes", spare=1)),
            *(Column("verdict"), Column("reason", whole=False)),
        ],
        rows=[
            (
                *(row.id, local(row.received_at), row.source, row.event_id, row.event_type),
                *(str(row.size), row.verdict, row.reason),
            )
            for row in callbacks
        ],
    )


def _mappings_view(story: Story) -> View:
    """What the callbacks were read by, in the order of the first one that each mapping read."""
    read: dict[tuple[str, Millis], list[str]] = {}
    known: dict[tuple[str, Millis], MappingRow] = {}
    for callback in story.callbacks:
        if (by := story.mappings.get(callback.id)) is not None:
            known[callback.source, by.since] = by
            read.setdefault((callback.source, by.since), []).append(callback.id)
    return View(
        title="Read by",
        columns=[
            *(Column("callbacks", whole=False), Column("source", spare=1), Column("provider")),
            *(Column("package", spare=3), Column("since", spare=2), Column("with", whole=False)),
        ],
        rows=[
            (
                *(_listed(read[source, since]), source, by.provider, by.version, local(by.since)),
                _options(by.options),
            )
            for (source, since), by in known.items()
        ],
    )


def _listed(callbacks: Sequence[str]) -> str:
    """The callbacks, or of many the first and last ones; the table of callbacks has them all."""
    if len(callbacks) <= LISTED:
        return ", ".join(callbacks)
    first = ", ".join(callbacks[: LISTED - 2])
    return f"{first} … {callbacks[-1]} ({len(callbacks)} in all)"


def _options(options: Mapping[str, object]) -> str:
    """Those that have a value; `--json` has the others too."""
    given = {key: value for key, value in options.items() if value not in (None, [], {}, "")}
    return ", ".join(
        f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in given.items()
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
                *(event.id, event.type, maybe(event.seq), local(event.time)),
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
                *(str(row.attempts), *times(row)),
                why(row if _says_more(row) else replace(row, reason=None)),
            )
            for row in deliveries
        ],
    )


def _says_more(row: DeliveryRow) -> bool:
    """Whether its reason is not that of its last attempt: why it ended, or why it was made."""
    replay = (row.reason or "").startswith("replay of ")
    return replay or row.finished_at is not None or row.attempts == 0 or row.state == "parked"


def _attempts_view(story: Story) -> View:
    return View(
        title="Attempts",
        columns=[
            *(Column("delivery"), Column("no."), Column("queued", spare=1), Column("started")),
            *(Column("connected", spare=2), Column("first byte", spare=3), Column("done")),
            *(Column("answer"), Column("error"), Column("address", spare=4)),
            *(Column("what it met", whole=False), Column("body of the answer", whole=False)),
        ],
        rows=[
            (delivery, *_attempt(attempt))
            for delivery, attempts in story.attempts.items()
            for attempt in attempts
        ],
    )


def _attempt(row: AttemptRow) -> tuple[str, ...]:
    return (
        *(str(row.number), "" if row.queued_at is None else local(row.queued_at)),
        *(local(row.started_at), "open" if row.connected == 0 else after(row.connected)),
        *(after(row.first_byte), after(row.duration)),
        *(maybe(row.status), row.failure or "", row.address or ""),
        *(row.detail if row.failure is not None else "", shortened(row.head)),
    )


def after(milliseconds: float | None) -> str:
    """How long something took, or nothing."""
    return "" if milliseconds is None else f"{milliseconds:.1f} ms"
