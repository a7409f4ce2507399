"""Sends one delivery of the past again, and lets parked lanes go on."""

from typing import Any

import msgspec

from gateway.errors import Conflict, NotFound
from gateway.models import Millis, Mode, Ordering
from gateway.retries import CODES, DeliveryState
from gateway.stores.base import Consent, Handshake
from gateway.stores.replaying import Again, Lane
from gateway.stores.sqlite.lanes import (
    BATCHED,
    LEASED,
    PARKED,
    PENDING,
    PULLED,
    advance,
    append,
    head,
)
from gateway.stores.sqlite.writer import Batch

SKIPPED = "skipped by the operator"
DEAD = CODES[DeliveryState.DEAD]
PAST = (
    "SELECT d.id, d.event, d.subscription, d.state, d.leader, e.order_row"
    " FROM deliveries d JOIN events e ON e.id = d.event"
)
"""What `Past` needs."""


class Shown(msgspec.Struct, frozen=True):
    """Of the settings that the catalog keeps of a subscription, those that count here."""

    url: str | None = None
    mode: Mode = Mode.STRUCTURED
    ordering: Ordering = Ordering.NONE
    origin: str | None = None


_shown = msgspec.json.Decoder(Shown)
_handshake = msgspec.msgpack.Decoder(Handshake)


class Past(msgspec.Struct, frozen=True):
    """A delivery that is to be sent again: a row of `PAST`; `order` is its event's row in orders."""

    id: int
    event: int
    subscription: int
    state: int
    leader: int | None
    order: int | None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a subscription stands: whether nothing may be made for it, or nothing is started, and why."""

    name: str
    ordered: bool
    pull: bool
    batches: bool
    refused: str | None
    held: str | None


def standing(batch: Batch, subscription: int, now: Millis) -> Standing:
    """How a subscription stands in this transaction."""
    name, enabled, removed, state, declared, hold, broken, handshake = batch.connection.execute(
        "SELECT name, enabled, made IS NOT NULL AND made = x'', state, declared, hold_until,"
        " broken_until, handshake FROM subscriptions WHERE id = ?",
        (subscription,),
    ).fetchone()
    refused = None
    if removed:
        refused = f"subscription {name} was removed"
    elif not enabled:
        refused = f"subscription {name} is disabled: enable it first"
    elif state == "gone":
        refused = f"subscription {name} is gone: resume it first"
    shown = _shown.decode(declared)
    held: str | None
    if state == "paused":
        held = f"subscription {name} is paused until `gateway subscriptions resume {name}`"
    elif shown.origin is not None and not _consented(handshake):
        held = f"the endpoint of {name} has not consented to deliveries yet"
    elif shown.url == "":
        held = f"the consumer of {name} fetches its deliveries itself"
    else:
        held = _held(name, (hold or now) - now, (broken or now) - now)
    return Standing(
        name=name,
        ordered=shown.ordering is Ordering.ORDER,
        pull=shown.url == "",
        batches=shown.mode is Mode.BATCH,
        refused=refused,
        held=held,
    )


def _consented(handshake: bytes | None) -> bool:
    return handshake is not None and _handshake.decode(handshake).state is Consent.GRANTED


def _held(name: str, hold: int, broken: int) -> str | None:
    """`hold` and `broken` are the milliseconds that are left."""
    if hold > 0:
        return f"the endpoint of {name} wants to be left alone for another {-(-hold // 1000)} s"
    if broken > 0:
        return f"the endpoint of {name} fails and is left alone for another {-(-broken // 1000)} s"
    return None


def past(batch: Batch, delivery: int) -> Past:
    """A delivery as it stands; `NotFound`."""
    row = batch.connection.execute(PAST + " WHERE d.id = ?", (delivery,)).fetchone()
    if row is None:
        raise NotFound(f"there is no delivery dl_{delivery}")
    return Past(*row)


def send_again(batch: Batch, one: Past, to: Standing, now: Millis) -> Again:
    """Make it due now; of one that has ended, or waits in its lane, a new one. `Conflict`.

    Ends are final, and nothing overtakes in a lane.
    """
    leader = one.leader or one.id
    if one.state == LEASED or (one.state == BATCHED and past(batch, leader).state == LEASED):
        raise Conflict(f"delivery dl_{one.id} is in flight: wait for its end")
    if to.refused is not None:
        raise Conflict(to.refused)
    made, batched, behind = one.id, False, None
    if one.state == PARKED:
        _try_anew(batch, one.id, one.subscription, now)
    elif one.state == PENDING and to.pull:
        pass  # it is there to be fetched
    elif one.state in {PENDING, BATCHED}:
        made, batched = leader, one.state == BATCHED
        _hasten(batch, made, one.subscription, now)
    else:
        lane = one.order if to.ordered else None
        made, behind = append(
            batch,
            event=one.event,
            subscription=one.subscription,
            lane=PULLED if to.pull else lane,
            batches=to.batches,
            now=now,
            reason=f"replay of dl_{one.id}",
        )
    return Again(delivery=one.id, made=made, batch=batched, behind=behind, held=to.held)


def _hasten(batch: Batch, delivery: int, subscription: int, now: Millis) -> None:
    """What waits for its next attempt gets one now; when it fails, the time that was set holds again."""
    batch.connection.execute(
        "UPDATE deliveries SET manual = coalesce(manual, due), due = ? WHERE id = ? AND due > ?",
        (now, delivery, now),
    )
    batch.waits(subscription, now)


def _try_anew(batch: Batch, delivery: int, subscription: int, now: Millis) -> None:
    """What is parked begins its schedule once more."""
    batch.connection.execute(
        "UPDATE deliveries SET state = ?, attempts = 0, first_at = NULL, manual = NULL, due = ?,"
        " reason = NULL WHERE id = ?",
        (PENDING, now, delivery),
    )
    batch.waits(subscription, now)


class Parked(msgspec.Struct, frozen=True):
    """The head of a parked lane."""

    delivery: int
    lane: int
    subscription: int
    shop: str


def parked(batch: Batch, subscription: str, order: str, shop: str | None) -> Parked | None:
    """The parked delivery of this order; None without one, `Conflict` when several shops have one."""
    rows: list[Any] = batch.connection.execute(
        "SELECT d.id, d.lane, d.subscription, o.shop FROM subscriptions s"
        " CROSS JOIN deliveries d INDEXED BY deliveries_open ON d.subscription = s.id"
        " CROSS JOIN orders o ON o.id = d.lane"
        " WHERE s.name = ? AND d.state = ? AND likely(d.state < 2) AND o.order_id = ?"
        " AND (? IS NULL OR o.shop = ?)",
        (subscription, PARKED, order, shop, shop),
    ).fetchall()
    if len(rows) > 1:
        shops = ", ".join(sorted(row[3] for row in rows))
        raise Conflict(
            f"order {order} is parked for more than one shop ({shops}): name the shop too"
        )
    return Parked(*rows[0]) if rows else None


def release(batch: Batch, lane: Parked, now: Millis) -> int | None:
    """Let its head be tried again; the delivery that leads the lane now."""
    _try_anew(batch, lane.delivery, lane.subscription, now)
    return lane.delivery


def skip(batch: Batch, lane: Parked, now: Millis) -> int | None:
    """Give its head up; the delivery that leads the lane now."""
    batch.connection.execute(
        "UPDATE deliveries SET state = ?, finished_at = ?, reason = ? WHERE id = ?",
        (DEAD, now, SKIPPED, lane.delivery),
    )
    advance(batch, lane.subscription, lane.lane, now)
    return head(batch, lane.subscription, lane.lane)


def told(lane: Parked, order: str, to: Standing, following: int | None) -> Lane:
    """What was done to a lane."""
    return Lane(
        subscription=to.name,
        shop=lane.shop,
        order=order,
        delivery=f"dl_{lane.delivery}",
        next=None if following is None else f"dl_{following}",
        held=to.held,
    )
