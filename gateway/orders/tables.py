"""The order state's rules as data (design 6.2); `docs/orders.md` is tested against these tables."""

from enum import StrEnum


class OrderType(StrEnum):
    """Every event type that an order can have."""

    CREATED = "order.created"
    PAID = "order.paid"
    PAYMENT_FAILED = "order.payment_failed"
    PRINTING = "order.printing"
    READY = "order.ready"
    SHIPPED = "order.shipped"
    CANCELLED = "order.cancelled"
    REFUNDED = "order.refunded"
    DISPUTED = "order.disputed"
    ON_HOLD = "order.on_hold"
    UPDATED = "order.updated"


RANKS = {
    "created": 0,
    "processing": 1,
    "printing": 2,
    "post_processing": 3,
    "ready": 4,
    "shipped": 5,
}
"""The fulfilment track only rises; `cancelled` stands outside and ends it."""

IN_PRINT = RANKS["printing"]
"""From this rank on a soft cancel is void."""

FULFILMENT_TYPES = {
    "created": None,  # told by order.created
    "processing": OrderType.UPDATED,
    "printing": OrderType.PRINTING,
    "post_processing": OrderType.UPDATED,
    "ready": OrderType.READY,
    "shipped": OrderType.SHIPPED,
    "cancelled": OrderType.CANCELLED,
}
"""What a fulfilment state that is reached for the first time emits."""

PAYMENT_RANKS = {"failed": 0, "paid": 1}
REFUND_RANKS = {"pending": 0, "succeeded": 1, "failed": 2}

OCCURRENCES = {
    OrderType.CREATED: "none",
    OrderType.PRINTING: "the provider order",
    OrderType.READY: "the provider order",
    OrderType.SHIPPED: "the provider order; partial: and the cumulative quantity",
    OrderType.CANCELLED: "the provider order; partial: and the cumulative quantity",
    OrderType.PAID: "the payment id, none when the source names none",
    OrderType.PAYMENT_FAILED: "the payment id, none when the source names none",
    OrderType.REFUNDED: "the refund id; charge and cumulative amount when the source names none",
    OrderType.DISPUTED: "the dispute id",
    OrderType.ON_HOLD: "the reason and the provider's time",
    OrderType.UPDATED: "what changed, the new value and the provider's time",
}
"""Each (type, occurrence) of an order makes at most one event."""
