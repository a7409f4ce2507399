"""The canonical order of an event: an order's state as it stands after one fact."""

import msgspec
from msgspec import UNSET

from gateway.events import (
    OrderCause,
    OrderChange,
    OrderData,
    OrderDispute,
    OrderLine,
    OrderMoney,
    OrderPart,
    OrderPayment,
    OrderPayments,
    OrderRefund,
    OrderShipment,
    OrderSummary,
    line,
    money,
    shipment,
)
from gateway.models import Fact, Money, Origin
from gateway.orders.state import OrderState, value_of
from gateway.orders.tables import OrderType
from gateway.orders.tracks import Emission


def summary(state: OrderState) -> OrderSummary:
    """The order in five words."""
    return OrderSummary(
        fulfilment=state.fulfilment(),
        payment=state.payment(),
        refund=_refund_word(state),
        dispute=state.dispute(),
        hold=state.hold or None,
    )


class CanonicalOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order as it stands: what `data` of its next event says of it, but for what happened."""

    shop: str
    order: str
    aliases: list[str]
    ids: dict[str, list[str]]
    livemode: bool | None
    state: OrderSummary
    total: OrderMoney | None
    lines: list[OrderLine]
    parts: list[OrderPart]
    shipment: OrderShipment | None
    payment: OrderPayments
    baseline: bool  # it was there before the gateway looked, and its beginning was not told


def canonical(state: OrderState) -> CanonicalOrder:
    """The order as it stands."""
    parts = _parts(state)
    return CanonicalOrder(
        shop=state.shop,
        order=state.order,
        aliases=list(state.aliases),
        ids=_ids(state),
        livemode=state.livemode,
        state=summary(state),
        total=money(state.total),
        lines=[line(item) for item in state.lines],
        parts=parts,
        shipment=_any_shipment(parts),
        payment=_payments(state),
        baseline=state.baseline,
    )


def order_data(
    state: OrderState, emission: Emission, fact: Fact, origin: Origin, before: OrderSummary
) -> OrderData:
    """`data` of the event that `emission` asks for; `before` is the summary before the fact."""
    parts = _parts(state)
    parcel = state.fulfilments.get(fact.key or "") if fact.key else None
    own = shipment(parcel.shipment()) if parcel is not None else None
    return OrderData(
        shop=state.shop,
        order=state.order,
        aliases=list(state.aliases),
        ids=_ids(state),
        livemode=state.livemode,
        state=summary(state),
        previous=before,
        change=_change(state, emission, fact),
        total=money(state.total),
        lines=[line(item) for item in state.lines],
        parts=parts,
        shipment=own or _any_shipment(parts),
        payment=_payments(state),
        cause=OrderCause(origin.provider, origin.event_id, origin.event_type),
        customer=dict(fact.customer) if fact.customer and "customer" in origin.include else UNSET,
        original=origin.original if origin.original is not None else UNSET,
    )


def _change(state: OrderState, emission: Emission, fact: Fact) -> OrderChange:
    return OrderChange(
        id=emission.about,
        what=emission.what,
        value=emission.value,
        amount=money(emission.amount),
        reason=fact.reason if emission.type is not OrderType.CREATED else None,
        quantity=emission.quantity,
        partial=emission.partial,
        implied=emission.implied,
        additional=emission.additional,
        baseline=state.baseline and not state.seq,
        full=_is_full(state) if emission.type is OrderType.REFUNDED else None,
    )


def _is_full(state: OrderState) -> bool | None:
    """Whether everything that was paid was given back; None while one of the two is not known."""
    paid, refunded = state.known_amount(), state.refund_sum()
    if paid is None or refunded is None or not state.refunded():
        return None
    if paid.currency and refunded.currency and paid.currency != refunded.currency:
        return None
    value = value_of(paid)
    return state.refunded() >= value if value is not None else None


def _refund_word(state: OrderState) -> str | None:
    if not state.refunded_any():
        return None
    full = _is_full(state)
    return "unknown" if full is None else ("full" if full else "partial")


def _ids(state: OrderState) -> dict[str, list[str]]:
    return {system: list(ids) for system, ids in sorted(state.ids.items())}


def _parts(state: OrderState) -> list[OrderPart]:
    return [_part(key, state) for key in sorted(state.fulfilments) if key]


def _part(key: str, state: OrderState) -> OrderPart:
    part = state.fulfilments[key]
    provider, _, number = key.partition(":")
    return OrderPart(
        provider=provider,
        id=number,
        state="cancelled" if state.is_cancelled(part) else part.state,
        shipped=part.shipped,
        cancelled=part.cancelled,
        shipment=shipment(part.shipment()),
    )


def _any_shipment(parts: list[OrderPart]) -> OrderShipment | None:
    return next((part.shipment for part in parts if part.shipment is not None), None)


def _payments(state: OrderState) -> OrderPayments:
    payments = [
        OrderPayment(
            id=key,
            state=payment.state,
            amount=money(payment.amount),
            implied=payment.implied,
            amount_mismatch=_differs(payment.amount, state.total),
        )
        for key, payment in state.visible_payments()
    ]
    return OrderPayments(
        paid=money(state.paid_total()),
        refunded=money(state.refund_sum()),
        payments=payments,
        refunds=[
            OrderRefund(key, refund.state, money(refund.amount))
            for key, refund in sorted(state.refunds.items())
        ],
        disputes=[
            OrderDispute(key, dispute.state, money(dispute.amount))
            for key, dispute in sorted(state.disputes.items())
        ],
    )


def _differs(amount: Money | None, total: Money | None) -> bool:
    """Whether a payment is not the order's total, as far as the two can be compared."""
    left, right = value_of(amount), value_of(total)
    if amount is None or total is None or left is None or right is None:
        return False
    other = amount.currency and total.currency and amount.currency != total.currency
    return bool(other) or left != right
