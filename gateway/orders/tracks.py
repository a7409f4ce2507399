"""One function a track: what a fact does to an order's state, and which events follow from it.

The functions change the state they are given and touch nothing else. What they return says
which events to make; an empty list comes with the reason why not.
"""

from collections.abc import Callable
from decimal import Decimal

import msgspec

from gateway.models import Fact, Millis, Money, Shipment, Track, Verdict
from gateway.orders.state import (
    NEVER,
    Dispute,
    Fulfilment,
    OrderState,
    Payment,
    Refund,
    latest,
    like,
    value_of,
)
from gateway.orders.tables import (
    FULFILMENT_TYPES,
    IN_PRINT,
    PAYMENT_RANKS,
    RANKS,
    REFUND_RANKS,
    OrderType,
)


class Emission(msgspec.Struct, frozen=True, kw_only=True):
    """One event to make; `occurrence` tells it from others of its type (design 6.2)."""

    type: OrderType
    occurrence: tuple[str, ...] = ()
    implied: bool = False
    additional: bool = False
    partial: bool = False
    quantity: int | None = None
    what: str | None = None
    value: str | None = None
    refund: str | None = None
    amount: Money | None = None


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What a fact did: the events that it makes, or why it makes none."""

    emissions: tuple[Emission, ...] = ()
    verdict: Verdict = Verdict.EVENT
    reason: str = ""


def _merged(reason: str) -> Applied:
    return Applied(verdict=Verdict.MERGED, reason=reason)


def _superseded(reason: str) -> Applied:
    return Applied(verdict=Verdict.SUPERSEDED, reason=reason)


def _emit(*emissions: Emission) -> Applied:
    return Applied(emissions=emissions)


def _updated(what: str, value: str, at: Millis, *key: str) -> Emission:
    return Emission(
        type=OrderType.UPDATED, occurrence=(what, *key, value, str(at)), what=what, value=value
    )


def apply(state: OrderState, fact: Fact) -> Applied:
    """Apply one fact to its track, and its details to the order."""
    known = state.paid_total()
    was_cancelled = _soft_told(state)
    _fill_in(state, fact)
    applied = TRACKS[fact.track](state, fact)
    if was_cancelled and state.proven():
        reopened = _updated("reopened", state.order, fact.at)
        applied = Applied(emissions=(reopened, *applied.emissions))
    if applied.verdict is Verdict.MERGED and known is None:
        # The payment was told without an amount, and this names it. (An order's total that a
        # later order.created adds is filled in silently: the payment follows, or has told it.)
        amount = value_of(state.paid_total())
        if amount is not None:
            return _emit(_updated("amount", str(amount), fact.at))
    return applied


def _soft_told(state: OrderState) -> bool:
    """Whether consumers believe that the order was cancelled, by a cancel that can be undone."""
    return any(
        part.soft and not part.hard and state.is_cancelled(part)
        for part in state.fulfilments.values()
    )


def _fill_in(state: OrderState, fact: Fact) -> None:
    """Details: the latest by provider time wins, and nothing known is lost to silence."""
    for system, ids in fact.ids.items():
        known = state.ids.setdefault(system, [])
        known.extend(found for found in ids if found not in known)
        known.sort()
    if fact.livemode is not None and fact.at >= state.livemode_at:
        state.livemode, state.livemode_at = fact.livemode, fact.at
    if fact.total is not None and fact.at >= state.total_at:
        state.total, state.total_at = fact.total, fact.at
    if fact.lines and fact.at >= state.lines_at:
        state.lines, state.lines_at = fact.lines, fact.at


def _created(state: OrderState, fact: Fact) -> Applied:
    if state.seq:
        return _merged("order.created was made before")
    return _emit(Emission(type=OrderType.CREATED, implied=fact.implied))


def _payment(state: OrderState, fact: Fact) -> Applied:
    if fact.key is None:
        return _unnamed_payment(state, fact)
    known = state.payments.get(fact.key)
    others_paid = any(
        key != fact.key and payment.state == "paid" for key, payment in state.payments.items()
    )
    unnamed = state.unnamed_payment
    told_unnamed = unnamed is not None and not state.covers(unnamed.state)
    was_paid = state.paid()
    state.payments[fact.key] = _better_payment(known, fact)
    if known is not None and PAYMENT_RANKS[known.state] >= PAYMENT_RANKS[fact.state]:
        return _repeated_payment(known, fact)
    if fact.state == "failed" and was_paid:
        return _superseded("a payment of this order has succeeded")
    if told_unnamed and unnamed is not None and unnamed.state == fact.state:
        return _merged(f"the {fact.state} payment that was told without a name is {fact.key}")
    return _emit(_payment_emission(fact, additional=others_paid and fact.state == "paid"))


def _unnamed_payment(state: OrderState, fact: Fact) -> Applied:
    known = state.unnamed_payment
    covered, was_paid = state.covers(fact.state), state.paid()
    state.unnamed_payment = _better_payment(known, fact)
    if fact.state == "failed" and was_paid:
        return _superseded("a payment of this order has succeeded")
    if covered:
        return _merged("a payment with a name tells it")
    if known is not None and PAYMENT_RANKS[known.state] >= PAYMENT_RANKS[fact.state]:
        return _repeated_payment(known, fact)
    return _emit(_payment_emission(fact, additional=False))


def _repeated_payment(known: Payment, fact: Fact) -> Applied:
    if known.state == fact.state:
        return _merged(f"this payment was known as {fact.state}")
    return _superseded(f"this payment is {known.state} by now")


def _payment_emission(fact: Fact, *, additional: bool) -> Emission:
    paid = fact.state == "paid"
    return Emission(
        type=OrderType.PAID if paid else OrderType.PAYMENT_FAILED,
        occurrence=(fact.key,) if fact.key is not None else (),
        implied=fact.implied,
        additional=additional,
        amount=fact.amount,
    )


def _better_payment(known: Payment | None, fact: Fact) -> Payment:
    """The higher state, with the latest amount that was said with that state."""
    old = PAYMENT_RANKS[known.state] if known is not None else -1
    if known is None or PAYMENT_RANKS[fact.state] > old:
        amount_at = fact.at if fact.amount is not None else NEVER
        return Payment(fact.state, fact.amount, amount_at, fact.implied)
    if PAYMENT_RANKS[fact.state] < old:
        return known
    amount, at = latest((known.amount, known.amount_at), fact.amount, fact.at)
    return Payment(known.state, amount, at, known.implied and fact.implied)


def _refund(state: OrderState, fact: Fact) -> Applied:
    before, group = state.refunded(), fact.group or ""
    nameless = state.unnamed_refund and not state.refunds_known()
    if fact.key is None and fact.cumulative is None:
        had_any, state.unnamed_refund = state.refunded_any(), True
        if had_any:
            return _merged("a refund of this order was told before")
        return _emit(Emission(type=OrderType.REFUNDED, occurrence=(group, "")))
    if fact.key is None:
        return _cumulative_refund(state, fact, group, before=before, told=nameless)
    known = state.refunds.get(fact.key)
    state.refunds[fact.key] = _better_refund(known, fact, group)
    if known is not None and REFUND_RANKS[known.state] > REFUND_RANKS[fact.state]:
        return _superseded(f"this refund is {known.state} by now")
    if known is not None and known.state == fact.state:
        return _merged(f"this refund was known as {fact.state}")
    return _named_refund(state, fact, before=before, told=nameless)


def _named_refund(state: OrderState, fact: Fact, *, before: Decimal, told: bool) -> Applied:
    after = state.refunded()
    key = fact.key or ""
    if fact.state == "failed":
        if after != before:
            return _emit(_updated("refund", "failed", fact.at, key))
        return _merged("the refund failed, and its success was never told")
    if fact.state == "pending":
        return _merged("the refund is pending; it is told when it succeeds")
    if told:
        if fact.amount is not None:
            return _emit(_updated("refund", key, fact.at))
        return _merged(f"the refund that was told without a name is {key}")
    if after == before and value_of(fact.amount):
        return _merged("what the charge said to be refunded includes it")
    return _emit(
        Emission(type=OrderType.REFUNDED, occurrence=(key,), refund=key, amount=fact.amount)
    )


def _cumulative_refund(
    state: OrderState, fact: Fact, group: str, *, before: Decimal, told: bool
) -> Applied:
    said = fact.cumulative
    known = state.cumulative.get(group)
    if said is None or (known is not None and known[1] > fact.at):
        return _superseded("the charge has told a later sum")
    state.cumulative[group] = (said, fact.at)
    after = state.refunded()
    if after < before or (told and after > before):
        return _emit(_updated("refund", str(after), fact.at, group))
    if after == before:
        return _merged("the refunds with names say as much")
    amount, sum_text = like(said, after - before), said.value or ""
    return _emit(Emission(type=OrderType.REFUNDED, occurrence=(group, sum_text), amount=amount))


def _better_refund(known: Refund | None, fact: Fact, group: str) -> Refund:
    """The higher state since its earliest time, and the latest amount."""
    amount_at = fact.at if fact.amount is not None else NEVER
    new = Refund(fact.state, fact.at, fact.amount, amount_at, group)
    if known is None:
        return new
    old_rank, new_rank = REFUND_RANKS[known.state], REFUND_RANKS[new.state]
    best = new if (new_rank, -new.at) > (old_rank, -known.at) else known
    amount, at = latest((known.amount, known.amount_at), fact.amount, fact.at)
    return Refund(best.state, best.at, amount, at, max(known.group, group))


def _dispute(state: OrderState, fact: Fact) -> Applied:
    key = fact.key or ""
    known = state.disputes.get(key)
    at = fact.at if fact.amount is not None else NEVER
    new = Dispute(fact.state, fact.at, fact.amount, at)
    if known is not None:
        new.amount, new.amount_at = latest((known.amount, known.amount_at), fact.amount, fact.at)
        if _older_dispute(known, fact):
            known.amount, known.amount_at = new.amount, new.amount_at
            return _superseded("something later was told of this dispute")
    state.disputes[key] = new
    if known is not None and known.state == fact.state:
        return _merged(f"the dispute was known as {fact.state}")
    if fact.state == "open" and not _was_told(state, OrderType.DISPUTED, (key,)):
        return _emit(Emission(type=OrderType.DISPUTED, occurrence=(key,), amount=fact.amount))
    return _emit(_updated("dispute", fact.state, fact.at, key))


def _older_dispute(known: Dispute, fact: Fact) -> bool:
    """At equal times closed wins."""
    return (fact.at, fact.state == "closed") < (known.at, known.state == "closed")


def _hold(state: OrderState, fact: Fact) -> Applied:
    if (fact.at, fact.state) < (state.hold_at, state.hold):
        return _superseded("something later was told of the hold")
    before = state.hold
    state.hold, state.hold_at = fact.state, fact.at
    if before == fact.state:
        return _merged("the hold was known" if before else "the order was not on hold")
    if not fact.state:
        return _emit(_updated("hold", "released", fact.at))
    occurrence = (fact.state, str(fact.at))
    return _emit(Emission(type=OrderType.ON_HOLD, occurrence=occurrence))


def _fulfilment(state: OrderState, fact: Fact) -> Applied:
    key = fact.key or ""
    part = state.fulfilments.setdefault(key, Fulfilment())
    tracked = _ship(part, fact)
    if fact.quantity is not None:
        applied = _partial(state, part, fact, fact.quantity)
    elif fact.state == "cancelled":
        applied = _cancel(state, part, fact)
    else:
        applied = _advance(state, part, fact)
    if applied.emissions or not tracked or not state.seq:
        return applied
    return _emit(_updated("shipment", tracked, fact.at, key))


def _advance(state: OrderState, part: Fulfilment, fact: Fact) -> Applied:
    rank, before = RANKS[fact.state], part.rank
    cancelled = part.hard or (part.soft and not state.proven() and rank < IN_PRINT)
    if rank > before:
        part.state = fact.state
    if cancelled:
        return _superseded("this provider order was cancelled")
    if rank < before:
        return _superseded(f"this provider order is {part.state} by now")
    emitted = FULFILMENT_TYPES[fact.state]
    if rank == before or emitted is None:
        return _merged(f"this provider order was known as {fact.state}")
    key = fact.key or ""
    if emitted is OrderType.UPDATED:
        return _emit(_updated("fulfilment", fact.state, fact.at, key))
    return _emit(Emission(type=emitted, occurrence=(key,)))


def _cancel(state: OrderState, part: Fulfilment, fact: Fact) -> Applied:
    key = fact.key or ""
    was_cancelled = state.is_cancelled(part)
    part.hard, part.soft = part.hard or not fact.soft, part.soft or fact.soft
    if was_cancelled:
        return _merged("this provider order was known as cancelled")
    if not state.is_cancelled(part):
        return _superseded("the order is paid or in print: an expiry cancels nothing")
    occurrence: tuple[str, ...] = (key,)
    if _was_told(state, OrderType.CANCELLED, occurrence):
        occurrence = (key, "reopened")  # cancelled softly, reopened, and now for good
    return _emit(Emission(type=OrderType.CANCELLED, occurrence=occurrence))


def _partial(state: OrderState, part: Fulfilment, fact: Fact, quantity: int) -> Applied:
    shipping = fact.state == "shipped"
    known = (part.shipped if shipping else part.cancelled) or 0
    if shipping:
        part.shipped = max(known, quantity)
    else:
        part.cancelled = max(known, quantity)
    if quantity == known:
        return _merged(f"{quantity} were known as {fact.state}")
    if quantity < known or state.is_cancelled(part) or part.state == "shipped":
        return _superseded("more was told of this provider order before")
    kind = OrderType.SHIPPED if shipping else OrderType.CANCELLED
    occurrence = (fact.key or "", str(quantity))
    return _emit(Emission(type=kind, occurrence=occurrence, partial=True, quantity=quantity))


def _ship(part: Fulfilment, fact: Fact) -> str | None:
    """Take in the shipment; the tracking number when it is a new one."""
    if fact.shipment is None:
        return None
    before = part.parcel.get("tracking_number", ("", NEVER))[0]
    for name in Shipment.__struct_fields__:
        value = getattr(fact.shipment, name)
        if value is not None and fact.at >= part.parcel.get(name, ("", NEVER))[1]:
            part.parcel[name] = (value, fact.at)
    after = part.parcel.get("tracking_number", ("", NEVER))[0]
    return after if after != before else None


def _change(state: OrderState, fact: Fact) -> Applied:
    what = fact.what or "status"
    known = state.changes.get(what)
    if known is not None and (known[1], known[0]) > (fact.at, fact.state):
        return _superseded("something later was told of it")
    state.changes[what] = (fact.state, fact.at)
    if known is not None and known[0] == fact.state:
        return _merged("it was known")
    return _emit(_updated(what, fact.state, fact.at))


TRACKS: dict[Track, Callable[[OrderState, Fact], Applied]] = {
    Track.CREATED: _created,
    Track.PAYMENT: _payment,
    Track.HOLD: _hold,
    Track.FULFILMENT: _fulfilment,
    Track.REFUND: _refund,
    Track.DISPUTE: _dispute,
    Track.CHANGE: _change,
}


def told_key(kind: OrderType, occurrence: tuple[str, ...]) -> str:
    """How `OrderState.told` writes a (type, occurrence)."""
    return "\x1f".join((kind.removeprefix("order."), *occurrence))


def _was_told(state: OrderState, kind: OrderType, occurrence: tuple[str, ...]) -> bool:
    return told_key(kind, occurrence) in state.told
