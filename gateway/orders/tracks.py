"""One function a track: what a fact does to an order's state, and which events follow from it.

The functions change the state they are given and touch nothing else. What they return says
which events to make; an empty list comes with the reason why not.
"""

from collections.abc import Callable

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
    plain,
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
    about: str | None = None  # the id of the payment, refund, dispute or provider order
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


def updated(
    what: str,
    value: str,
    at: Millis,
    *,
    key: tuple[str, ...] = (),
    about: str | None = None,
    amount: Money | None = None,
) -> Emission:
    """`order.updated`: what changed, and its new value; `key` tells apart things of one kind."""
    return Emission(
        type=OrderType.UPDATED,
        occurrence=(what, *key, value, str(at)),
        what=what,
        value=value,
        about=about,
        amount=amount,
    )


def apply(state: OrderState, fact: Fact) -> Applied:
    """Apply one fact to its track; its details were learnt before."""
    known = value_of(state.paid_total())
    was_cancelled = _soft_told(state)
    applied = TRACKS[fact.track](state, fact)
    if was_cancelled and state.proven():
        reopened = updated("reopened", state.order, fact.at)
        return Applied(emissions=(reopened, *applied.emissions))
    if applied.verdict is Verdict.MERGED and known is None and state.seq:
        # The payment was told without an amount, and this names it. (An order's total that a
        # later order.created adds is filled in silently: the payment follows, or has told it.)
        paid = state.paid_total()
        amount = value_of(paid)
        if amount is not None:
            return _emit(updated("amount", plain(amount), fact.at, about=fact.key, amount=paid))
    return applied


def _soft_told(state: OrderState) -> bool:
    """Whether consumers believe that the order was cancelled, by a cancel that can be undone."""
    return any(
        part.soft and not part.hard and state.is_cancelled(part)
        for part in state.fulfilments.values()
    )


def learn(state: OrderState, fact: Fact) -> None:
    """Take in details: the latest by provider time wins, and nothing known is lost to silence.

    At equal times (Stripe counts seconds) the greater value wins, whichever came first.
    """
    for system, ids in fact.ids.items():
        known = state.ids.setdefault(system, [])
        known.extend(found for found in ids if found not in known)
        known.sort()
    for name in fact.same_payment[1:]:
        state.same_payment[name] = fact.same_payment[0]
    live = (state.livemode_at, bool(state.livemode))
    if fact.livemode is not None and (fact.at, fact.livemode) >= live:
        state.livemode, state.livemode_at = fact.livemode, fact.at
    state.total, state.total_at = latest((state.total, state.total_at), fact.total, fact.at)
    if fact.lines and fact.at >= state.lines_at:
        state.lines, state.lines_at = fact.lines, fact.at


def _created(state: OrderState, fact: Fact) -> Applied:
    if state.begun():
        return _merged("order.created was made before" if state.seq else "the order was known")
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
        about=fact.key,
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
    if fact.key is not None:
        return _named_refund(state, fact, fact.key)
    if fact.cumulative is not None:
        return _cumulative_refund(state, fact, fact.cumulative)
    had_any, state.unnamed_refund = state.refunded_any(), True
    if had_any:
        return _merged("a refund of this order was told before")
    return _emit(Emission(type=OrderType.REFUNDED, occurrence=(fact.group or "", "")))


def _named_refund(state: OrderState, fact: Fact, key: str) -> Applied:
    known, before, unnamed = state.refunds.get(key), state.refunded(), _only_unnamed(state)
    state.refunds[key] = _better_refund(known, fact, fact.group or "")
    changed = state.refunded() != before
    was = known.state if known is not None else None
    if was is not None and REFUND_RANKS[was] > REFUND_RANKS[fact.state]:
        return _superseded(f"this refund is {was} by now")
    if fact.state == "failed" and (changed or was == "succeeded"):
        return _emit(
            updated("refund", "failed", fact.at, key=(key,), about=key, amount=fact.amount)
        )
    if fact.state == "failed":
        return _merged("the refund failed, and its success was never told")
    if fact.state == "pending":
        return _merged("the refund is pending; it is told when it succeeds")
    if (unnamed or was == "succeeded") and changed:
        return _emit(
            updated("refund", "amount", fact.at, key=(key,), about=key, amount=fact.amount)
        )
    if unnamed or was == "succeeded":
        return _merged("this refund was told before")
    if not changed and value_of(fact.amount):
        return _merged("what the charge said to be refunded includes it")
    return _emit(
        Emission(type=OrderType.REFUNDED, occurrence=(key,), about=key, amount=fact.amount)
    )


def _only_unnamed(state: OrderState) -> bool:
    """Whether a refund was told of which neither name nor amount is known yet."""
    return state.unnamed_refund and not state.refunds_known()


def _cumulative_refund(state: OrderState, fact: Fact, said: Money) -> Applied:
    group, before, unnamed = fact.group or "", state.refunded(), _only_unnamed(state)
    known, at = state.said(state.payment_of(group))
    if (fact.at, value_of(said) or 0) < (at, value_of(known) or 0):
        return _superseded("the charge has told a later sum")
    state.cumulative[group] = (said, fact.at)
    after = state.refunded()
    if after == before:
        return _merged("the refunds with names say as much")
    occurrence = (group, said.value or "")
    if after < before or unnamed or _was_told(state, OrderType.REFUNDED, occurrence):
        return _emit(updated("refund", plain(after), fact.at, key=(group,)))
    amount = like(said, after - before)
    return _emit(Emission(type=OrderType.REFUNDED, occurrence=occurrence, amount=amount))


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
        return _emit(
            Emission(type=OrderType.DISPUTED, occurrence=(key,), about=key, amount=fact.amount)
        )
    return _emit(updated("dispute", fact.state, fact.at, key=(key,), about=key))


def _older_dispute(known: Dispute, fact: Fact) -> bool:
    """At equal times closed wins."""
    return (fact.at, fact.state == "closed") < (known.at, known.state == "closed")


def _hold(state: OrderState, fact: Fact) -> Applied:
    before = state.hold
    if fact.state == before:
        state.hold_at = max(fact.at, state.hold_at)
        return _merged("the hold was known" if before else "the order was not on hold")
    if (fact.at, fact.state) < (state.hold_at, before):
        return _superseded("something later was told of the hold")
    state.hold, state.hold_at = fact.state, fact.at
    if not fact.state:
        return _emit(updated("hold", "released", fact.at))
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
    if applied.emissions or not tracked or not state.begun():
        return applied
    return _emit(updated("shipment", tracked, fact.at, key=(key,), about=_number(fact)))


def _advance(state: OrderState, part: Fulfilment, fact: Fact) -> Applied:
    rank, before = RANKS[fact.state], part.rank
    if fact.state == "created" and state.begun():
        return _merged("this provider order was known")  # it says no more than that
    cancelled = part.hard or (part.soft and not state.proven() and rank < IN_PRINT)
    if rank > before:
        part.state = fact.state
    if cancelled:
        return _superseded("this provider order was cancelled")
    if rank < before:
        return _superseded(f"this provider order is {part.state} by now")
    emitted = FULFILMENT_TYPES[fact.state]
    if emitted is None and not state.begun():
        return _emit(Emission(type=OrderType.CREATED))
    if rank == before or emitted is None:
        return _merged(f"this provider order was known as {fact.state}")
    key = fact.key or ""
    if emitted is OrderType.UPDATED:
        return _emit(updated("fulfilment", fact.state, fact.at, key=(key,), about=_number(fact)))
    return _emit(Emission(type=emitted, occurrence=(key,), about=_number(fact)))


def _number(fact: Fact) -> str | None:
    """The provider's id of its order: the key without the provider's name."""
    return (fact.key or "").partition(":")[2] or None


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
    return _emit(Emission(type=OrderType.CANCELLED, occurrence=occurrence, about=_number(fact)))


def _partial(state: OrderState, part: Fulfilment, fact: Fact, quantity: int) -> Applied:
    shipping = fact.state == "shipped"
    known = (part.shipped if shipping else part.cancelled) or 0
    if shipping:
        part.shipped = max(known, quantity)
    else:
        part.cancelled = max(known, quantity)
    if quantity == known:
        return _merged(f"{quantity} were known as {fact.state}")
    ended = shipping and part.state == "shipped"
    if quantity < known or state.is_cancelled(part) or ended:
        return _superseded("more was told of this provider order before")
    kind = OrderType.SHIPPED if shipping else OrderType.CANCELLED
    occurrence = (fact.key or "", str(quantity))
    return _emit(
        Emission(
            type=kind, occurrence=occurrence, partial=True, quantity=quantity, about=_number(fact)
        )
    )


def _ship(part: Fulfilment, fact: Fact) -> str | None:
    """Take in the shipment; by what it is tracked, when that is new."""
    if fact.shipment is None:
        return None
    before = _tracking(part)
    for name in Shipment.__struct_fields__:
        value = getattr(fact.shipment, name)
        known, at = part.parcel.get(name, ("", NEVER))
        if value is not None and (fact.at, value) >= (at, known):
            part.parcel[name] = (value, fact.at)
    after = _tracking(part)
    return after if after != before else None


def _tracking(part: Fulfilment) -> str | None:
    parcel = part.shipment() or Shipment()
    return parcel.tracking_number or parcel.tracking_url


def _change(state: OrderState, fact: Fact) -> Applied:
    """An empty value says that what there is to say has a type of its own by now."""
    what = fact.what or "status"
    slot = f"{what}\x1f{fact.key}" if fact.key else what
    known = state.changes.get(slot)
    if known is not None and known[0] == fact.state:
        state.changes[slot] = (fact.state, max(fact.at, known[1]))
        return _merged("it was known")
    if known is not None and (known[1], known[0]) > (fact.at, fact.state):
        return _superseded("something later was told of it")
    state.changes[slot] = (fact.state, fact.at)
    if not fact.state:
        return _merged(f"its {what} has a type of its own")
    key = (fact.key,) if fact.key else ()
    return _emit(updated(what, fact.state, fact.at, key=key, about=_number(fact)))


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
