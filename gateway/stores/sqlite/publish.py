"""Writes one event into the outbox, with its routing verdicts and its deliveries."""

from collections.abc import Callable

from gateway.models import Delivery, Event, Millis
from gateway.stores.sqlite.writer import Batch

Route = Callable[[Event], tuple[bytes, tuple[int, ...]]]


def publish(
    batch: Batch,
    route: Route,
    event: Event,
    *,
    now: Millis,
    callback: int | None = None,
    order_row: int | None = None,
) -> tuple[int, ...]:
    """Write one event and its deliveries; those for whom there is room are born leased.

    Returns the subscriptions that it is for.
    """
    routing, matched = route(event)
    execute = batch.connection.execute
    row = execute(
        "INSERT INTO events (event_id, type, source, shop, order_id, order_row, seq, time, recorded,"
        " callback, routing, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            event.id,
            event.type,
            event.source,
            event.shop,
            event.order,
            order_row,
            event.seq,
            event.time,
            event.recorded,
            callback,
            routing,
            event.body,
        ),
    ).lastrowid
    for subscription in matched:
        leased = batch.room.get(subscription, 0) > 0 and not _behind(batch, subscription, now)
        delivery = execute(
            "INSERT INTO deliveries (event, subscription, state, due, claim) VALUES (?, ?, ?, ?, ?)",
            (row, subscription, int(leased), now, batch.claim if leased else None),
        ).lastrowid
        assert delivery is not None
        if not leased:
            batch.behind[subscription] = True
            batch.waiting[subscription] = now
            continue
        batch.room[subscription] -= 1
        batch.born.append(
            Delivery(
                id=delivery,
                subscription=subscription,
                event_id=event.id,
                event_type=event.type,
                body=event.body,
                attempts=0,
                number=0,
                first_at=None,
                claim=batch.claim,
            )
        )
    return matched


def _behind(batch: Batch, subscription: int, now: Millis) -> bool:
    """Whether due deliveries of this subscription wait already: nothing new may overtake them."""
    known = batch.behind.get(subscription)
    if known is None:
        found = batch.connection.execute(
            "SELECT 1 FROM deliveries WHERE subscription = ? AND state = 0 AND state < 2"
            " AND due <= ? LIMIT 1",
            (subscription, now),
        ).fetchone()
        known = batch.behind[subscription] = found is not None
    return known
