"""Writes one event into the outbox, with its routing verdicts and its deliveries."""

from collections.abc import Callable

from gateway.models import Delivery, Event, Millis
from gateway.stores.sqlite.batches import gathered
from gateway.stores.sqlite.lanes import BEHIND, GATHERED, PENDING, PULLED, line_waits, occupied
from gateway.stores.sqlite.routes import Addressee
from gateway.stores.sqlite.writer import Batch

Route = Callable[[Event], tuple[bytes, tuple[Addressee, ...]]]

_INSERT = "INSERT INTO deliveries (event, subscription, state, due, claim, lane) VALUES (?, ?, ?, ?, ?, ?)"


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
    routing, addressees = route(event)
    row = batch.connection.execute(
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
    assert row is not None
    batch.published = True
    for to in addressees:
        if to.batch:
            _gather(batch, row, to, now)
        elif to.pull:
            _lay_by(batch, row, to, now)
        elif not to.catching_up or not _catching_up(batch, to.id):
            _deliver(batch, event, row, to, now=now, lane=order_row if to.ordered else None)
    return tuple(to.id for to in addressees)


def _deliver(
    batch: Batch, event: Event, row: int, to: Addressee, *, now: Millis, lane: int | None
) -> None:
    """One delivery: born leased, or pending, or behind others of its lane."""
    subscription = to.id
    if lane is not None and occupied(batch, subscription, lane):
        batch.connection.execute(_INSERT, (row, subscription, BEHIND, now, None, lane))
        return
    leased = batch.room_for(subscription) > 0 and not line_waits(batch, subscription, now)
    delivery = batch.connection.execute(
        _INSERT, (row, subscription, int(leased), now, batch.claim if leased else None, lane)
    ).lastrowid
    assert delivery is not None
    if not leased:
        batch.behind[subscription] = True
        batch.waits(subscription, now)
        return
    batch.bear(
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
            due=now,
            lane=lane,
        )
    )


def _gather(batch: Batch, row: int, to: Addressee, now: Millis) -> None:
    """One delivery of a subscription that takes batches: due once enough or enough time came together."""
    if to.catching_up and _catching_up(batch, to.id):
        return
    due = Millis(now + to.wait)
    batch.connection.execute(
        "INSERT INTO deliveries (event, subscription, state, due, leader) VALUES (?, ?, ?, ?, ?)",
        (row, to.id, PENDING, due, GATHERED),
    )
    batch.waits(to.id, now if gathered(batch, to.id, to.batch) else due)


def _lay_by(batch: Batch, row: int, to: Addressee, now: Millis) -> None:
    """One delivery that its consumer fetches: the dispatcher never hears of it."""
    if to.catching_up and _catching_up(batch, to.id):
        return
    batch.connection.execute(_INSERT, (row, to.id, PENDING, now, None, PULLED))
    batch.pulled.add(to.id)


def _catching_up(batch: Batch, subscription: int) -> bool:
    """Whether its history is not told yet: this event will be a part of it.

    The routes may not know yet that it has ended; the transaction does.
    """
    row = batch.connection.execute(
        "SELECT history IS NOT NULL FROM subscriptions WHERE id = ?", (subscription,)
    ).fetchone()
    return bool(row[0])
