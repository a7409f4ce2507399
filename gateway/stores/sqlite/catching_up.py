"""Makes deliveries of past events for a subscription that asked for them.

While `history` of a subscription is set, nothing else makes deliveries for it (publish.py), so that
no new event overtakes an old one; the slice that reaches the end of the outbox clears it.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.filters.reading import read_filters
from gateway.matching import Match, match
from gateway.models import Event, Millis, Mode, Ordering, Subscription
from gateway.stores.sqlite.lanes import PULLED, append
from gateway.stores.sqlite.writer import Batch

SLICE = 250  # events that are looked at in one transaction

_names = msgspec.json.Decoder(list[tuple[int, str]])


def catch_up(batch: Batch, subscription: Subscription, now: Millis) -> bool:
    """Make the next deliveries; whether there is more to look at."""
    execute = batch.connection.execute
    history, enabled, state = execute(
        "SELECT history, enabled, state FROM subscriptions WHERE id = ?", (subscription.id,)
    ).fetchone()
    if history is None or not enabled or state == "gone":
        return False
    body = "body" if subscription.filters else "x''"  # nothing else looks into it
    rows = execute(
        f"SELECT id, type, source, shop, time, order_row, routing, {body} FROM events"  # noqa: S608
        " WHERE id > ? ORDER BY id LIMIT ?",
        (history, SLICE),
    ).fetchall()
    for row in _wanted(batch, subscription, rows):
        lane = row[5] if subscription.ordering is Ordering.ORDER else None
        append(
            batch,
            event=row[0],
            subscription=subscription.id,
            lane=PULLED if subscription.pull else lane,
            batches=subscription.mode is Mode.BATCH,
            now=now,
            reason=None,
        )
    more = len(rows) == SLICE
    execute(
        "UPDATE subscriptions SET history = ? WHERE id = ?",
        (rows[-1][0] if more else None, subscription.id),
    )
    return more


def _wanted(
    batch: Batch, subscription: Subscription, rows: Sequence[Sequence[Any]]
) -> list[Sequence[Any]]:
    """The events that it wants by its present rules."""
    enabled = msgspec.structs.replace(subscription, enabled=True)
    filters = read_filters(subscription.filters)
    wanted = [
        row
        for row in rows
        if match(enabled, _event(row), gone=False, filters=filters) is Match.MATCHED
    ]
    start = subscription.start or 0
    if all(row[4] >= start for row in wanted):
        return wanted
    # What was told after it was made is not the past, however late it was told.
    known = _known_since(batch, subscription)
    return [row for row in wanted if row[4] >= start or _revision(row[6]) >= known]


def _event(row: Sequence[Any]) -> Event:
    """As much of the event as the rules look at."""
    return Event(
        id="",
        type=row[1],
        source=row[2],
        shop=row[3],
        order=None,
        seq=None,
        time=row[4],
        recorded=row[4],
        body=row[7],
    )


def _revision(routing: bytes) -> int:
    return int.from_bytes(routing[:4], "big")


def _known_since(batch: Batch, subscription: Subscription) -> int:
    """The first revision of the catalog that has this subscription."""
    revisions = batch.connection.execute(
        "SELECT revision, subscriptions FROM revisions ORDER BY revision DESC"
    )
    first = 1 << 32  # beyond the last one
    for revision, names in revisions:
        if (subscription.id, subscription.name) not in _names.decode(names):
            break
        first = revision
    return first
