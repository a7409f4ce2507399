"""What the gateway knows of one order: independent tracks that end alike whatever the order of arrival.

Every track keeps the highest, or the latest by provider time, of what was said; nothing here
depends on which fact came first but `seq` and `told`, the record of what was sent.
"""

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from gateway.models import Line, Millis, Money, Shipment
from gateway.orders.tables import IN_PRINT, RANKS

NEVER = Millis(-1)


class Payment(msgspec.Struct, array_like=True):
    """The best state that was said of a payment, and the latest amount that came with that state."""

    state: str
    amount: Money | None = None
    amount_at: Millis = NEVER
    implied: bool = False


class Refund(msgspec.Struct, array_like=True):
    """A refund that has an id; `at` is when it first had this state."""

    state: str
    at: Millis
    amount: Money | None = None
    amount_at: Millis = NEVER
    group: str = ""


class Dispute(msgspec.Struct, array_like=True):
    """A dispute as of the latest provider time."""

    state: str
    at: Millis
    amount: Money | None = None
    amount_at: Millis = NEVER


class Fulfilment(msgspec.Struct, array_like=True):
    """One provider order: its rank, how it was cancelled, partial quantities, and its shipment."""

    state: str = "created"
    hard: bool = False
    soft: bool = False
    shipped: int | None = None
    cancelled: int | None = None
    parcel: dict[str, tuple[str, Millis]] = msgspec.field(default_factory=dict)

    def shipment(self) -> Shipment | None:
        """The shipment as far as it is known."""
        if not self.parcel:
            return None
        return Shipment(**{name: value for name, (value, _) in self.parcel.items()})

    @property
    def rank(self) -> int:
        """How far this provider order has come, a cancel aside."""
        return RANKS[self.state]


class OrderState(msgspec.Struct):
    """All tracks of one order, as the store keeps them."""

    shop: str
    order: str
    seq: int = 0
    told: set[str] = msgspec.field(default_factory=set)
    aliases: list[str] = msgspec.field(default_factory=list)
    ids: dict[str, list[str]] = msgspec.field(default_factory=dict)
    livemode: bool | None = None
    livemode_at: Millis = NEVER
    total: Money | None = None
    total_at: Millis = NEVER
    lines: tuple[Line, ...] = ()
    lines_at: Millis = NEVER
    fulfilments: dict[str, Fulfilment] = msgspec.field(default_factory=dict)
    payments: dict[str, Payment] = msgspec.field(default_factory=dict)
    unnamed_payment: Payment | None = None
    refunds: dict[str, Refund] = msgspec.field(default_factory=dict)
    cumulative: dict[str, tuple[Money, Millis]] = msgspec.field(default_factory=dict)
    unnamed_refund: bool = False
    disputes: dict[str, Dispute] = msgspec.field(default_factory=dict)
    hold: str = ""
    hold_at: Millis = NEVER
    changes: dict[str, tuple[str, Millis]] = msgspec.field(default_factory=dict)

    def paid(self) -> bool:
        """Whether any payment has succeeded."""
        unnamed = self.unnamed_payment
        return (unnamed is not None and unnamed.state == "paid") or any(
            payment.state == "paid" for payment in self.payments.values()
        )

    def proven(self) -> bool:
        """Whether a payment or a print makes soft cancels void."""
        return self.paid() or any(part.rank >= IN_PRINT for part in self.fulfilments.values())

    def is_cancelled(self, part: Fulfilment) -> bool:
        """Whether this provider order counts as cancelled."""
        return part.hard or (part.soft and not self.proven())

    def fulfilment(self) -> str | None:
        """The order's fulfilment in one word: that of its slowest part that was not cancelled."""
        own = self.fulfilments.get("")
        if own is not None and self.is_cancelled(own):
            return "cancelled"
        parts = [part for key, part in self.fulfilments.items() if key]
        going = [part for part in parts if not self.is_cancelled(part)]
        if going:
            return min(going, key=lambda part: part.rank).state
        return "cancelled" if parts else None

    def payment(self) -> str | None:
        """`paid`, `failed`, or None while nothing was said of a payment."""
        if self.paid():
            return "paid"
        return "failed" if self.payments or self.unnamed_payment else None

    def visible_payments(self) -> list[tuple[str | None, Payment]]:
        """The named payments, and the unnamed one unless a named one has come as far."""
        found: list[tuple[str | None, Payment]] = list(self.payments.items())
        unnamed = self.unnamed_payment
        if unnamed is not None and not self.covers(unnamed.state):
            found.append((None, unnamed))
        return found

    def covers(self, state: str) -> bool:
        """Whether a named payment is what an unnamed one of this state tells about."""
        states = {payment.state for payment in self.payments.values()}
        return "paid" in states or (state == "failed" and bool(states))

    def paid_total(self) -> Money | None:
        """The sum of what was paid; an unnamed amount counts while no named one is known."""
        amounts = [p.amount for p in self.payments.values() if p.state == "paid" and p.amount]
        unnamed = self.unnamed_payment
        if not amounts and unnamed is not None and unnamed.state == "paid" and unnamed.amount:
            amounts = [unnamed.amount]
        return add(amounts)

    def refunded_in(self, group: str) -> Decimal:
        """What was refunded of one payment or charge.

        Named refunds that succeeded, or what the charge itself says when that is more. A refund
        that failed after the charge spoke is no longer in what the charge said.
        """
        named = [refund for refund in self.refunds.values() if refund.group == group]
        succeeded = sum((_value(r.amount) for r in named if r.state == "succeeded"), Decimal())
        said, at = self.cumulative.get(group, (None, NEVER))
        lost = sum(
            (_value(r.amount) for r in named if r.state == "failed" and r.at > at), Decimal()
        )
        return max(succeeded, _value(said) - lost)

    def refunded(self) -> Decimal:
        """What was refunded in all, in major units."""
        groups = {refund.group for refund in self.refunds.values()} | set(self.cumulative)
        return sum((self.refunded_in(group) for group in groups), Decimal())

    def refunded_any(self) -> bool:
        """Whether any refund has succeeded, of known amount or not."""
        return self.unnamed_refund or self.refunds_known()

    def refunds_known(self) -> bool:
        """Whether a refund with a name, or a charge's sum, tells what was refunded."""
        return self.refunded() > 0 or any(r.state == "succeeded" for r in self.refunds.values())

    def refund_like(self) -> Money | None:
        """An amount in the currency and unit of this order's refunds, for rendering sums."""
        for refund in self.refunds.values():
            if refund.amount is not None:
                return refund.amount
        for money, _ in self.cumulative.values():
            return money
        return None

    def dispute(self) -> str | None:
        """`open` while any dispute is, `closed` when all are, None without one."""
        states = {dispute.state for dispute in self.disputes.values()}
        return "open" if "open" in states else ("closed" if states else None)


def latest(
    known: tuple[Money | None, Millis], said: Money | None, at: Millis
) -> tuple[Money | None, Millis]:
    """The later of two amounts; silence never overwrites."""
    return (said, at) if said is not None and at >= known[1] else known


def _value(money: Money | None) -> Decimal:
    return Decimal(money.value) if money is not None and money.value is not None else Decimal()


def value_of(money: Money | None) -> Decimal | None:
    """The amount in major units, None when it is not known."""
    return Decimal(money.value) if money is not None and money.value is not None else None


def add(amounts: Iterable[Money]) -> Money | None:
    """The sum; without a currency when they differ, without minor units when one lacks them."""
    items = list(amounts)
    if not items:
        return None
    if len(items) == 1:
        return items[0]
    currencies = {item.currency for item in items}
    minors = [item.minor for item in items if item.minor is not None]
    same = len(currencies) == 1
    return Money(
        value=str(sum((_value(item) for item in items), Decimal())) if same else None,
        minor=sum(minors) if same and len(minors) == len(items) else None,
        currency=currencies.pop() if same else None,
    )


def like(model: Money | None, value: Decimal) -> Money | None:
    """`value` in the currency and minor unit of `model`; None when there is no model."""
    if model is None:
        return None
    minor = None
    if model.minor is not None and model.value is not None:
        exponent = -int(Decimal(model.value).as_tuple().exponent)
        minor = int(value.scaleb(exponent))
        value = value.quantize(Decimal(1).scaleb(-exponent))
    return Money(value=str(value), minor=minor, currency=model.currency)


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(OrderState)


def save(state: OrderState) -> bytes:
    """The state as the store keeps it."""
    return _encoder.encode(state)


def load(stored: bytes) -> OrderState:
    """What `save` wrote."""
    return _decoder.decode(stored)
