"""What the gateway knows of one order: independent tracks that end alike whatever the order of arrival.

Every track keeps the highest, or the latest by provider time, of what was said; nothing here
depends on which fact came first but `seq` and `told`, the record of what was sent.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec

from gateway.models import Line, Millis, Money, Shipment
from gateway.orders.tables import IN_PRINT, RANKS

NEVER = Millis(-1)
INT64 = 2**63 - 1
SUMS_LIMIT = 4096  # more sums of refunds than any real charge has


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
    same_payment: dict[str, str] = msgspec.field(default_factory=dict)  # charge -> intent
    unnamed_refund: bool = False
    disputes: dict[str, Dispute] = msgspec.field(default_factory=dict)
    hold: str = ""
    hold_at: Millis = NEVER
    changes: dict[str, tuple[str, Millis]] = msgspec.field(default_factory=dict)
    baseline: bool = False  # known from before the gateway looked: its beginning was not told

    def begun(self) -> bool:
        """Whether the order is known: told of, or recorded as a baseline."""
        return self.seq > 0 or self.baseline

    def paid(self) -> bool:
        """Whether any payment has succeeded."""
        unnamed = self.unnamed_payment
        return (unnamed is not None and unnamed.state == "paid") or any(
            payment.state == "paid" for payment in self.payments.values()
        )

    def proven(self) -> bool:
        """Whether a payment or a print makes soft cancels void."""
        parts = self.fulfilments.values()
        return self.paid() or any(part.rank >= IN_PRINT or part.shipped for part in parts)

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
        found: list[tuple[str | None, Payment]] = sorted(self.payments.items())
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

    def known_amount(self) -> Money | None:
        """What was paid, else the order's total."""
        paid = self.paid_total()
        return paid if value_of(paid) is not None else self.total

    def payment_of(self, group: str) -> str:
        """One name for a payment that has several: an object may tell its charge or its intent."""
        return self.same_payment.get(group, group)

    def said(self, payment: str) -> tuple[Money | None, Millis]:
        """The latest sum that a payment's charge told, and when."""
        sums = [
            said for group, said in self.cumulative.items() if self.payment_of(group) == payment
        ]
        return max(sums, key=lambda said: (said[1], _value(said[0])), default=(None, NEVER))

    def refunded_in(self, payment: str) -> Decimal:
        """What was refunded of one payment, at least.

        Named refunds, and what the charge itself says beyond those that its sum may contain. A
        refund that failed after the charge spoke may be in that sum too, and is so no longer.
        """
        named = [r for r in self.refunds.values() if self.payment_of(r.group) == payment]
        said, at = self.said(payment)
        succeeded = [_value(r.amount) for r in named if r.state == "succeeded"]
        lost = [_value(r.amount) for r in named if r.state == "failed" and r.at > at]
        beyond = _value(said) - _contained([*succeeded, *lost], _value(said))
        return sum(succeeded, beyond)

    def refunded(self) -> Decimal:
        """What was refunded in all, in major units."""
        if not self.refunds and not self.cumulative:
            return Decimal()
        groups = {refund.group for refund in self.refunds.values()} | set(self.cumulative)
        payments = {self.payment_of(group) for group in groups}
        return sum((self.refunded_in(payment) for payment in payments), Decimal())

    def refunded_any(self) -> bool:
        """Whether any refund has succeeded, of known amount or not."""
        return self.unnamed_refund or self.refunds_known()

    def refunds_known(self) -> bool:
        """Whether a refund with a name, or a charge's sum, tells what was refunded."""
        return self.refunded() > 0 or any(r.state == "succeeded" for r in self.refunds.values())

    def refund_sum(self) -> Money | None:
        """What was refunded in all, as an amount; None while no amount is known."""
        if self.unnamed_refund and not self.refunds_known():
            return None
        named = [refund.amount for _, refund in sorted(self.refunds.items()) if refund.amount]
        said = [amount for _, (amount, _) in sorted(self.cumulative.items())]
        if len({amount.currency for amount in (*named, *said)}) != 1:
            return None
        return like((*said, *named)[0], self.refunded())

    def dispute(self) -> str | None:
        """`open` while any dispute is, `closed` when all are, None without one."""
        states = {dispute.state for dispute in self.disputes.values()}
        return "open" if "open" in states else ("closed" if states else None)


def latest(
    known: tuple[Money | None, Millis], said: Money | None, at: Millis
) -> tuple[Money | None, Millis]:
    """The later of two amounts, at equal times the greater text; silence never overwrites."""
    if said is None:
        return known
    return max(known, (said, at), key=_lateness)


def _lateness(said: tuple[Money | None, Millis]) -> tuple[Millis, str, str]:
    amount = said[0] or Money()
    return said[1], amount.value or "", amount.currency or ""


def _value(money: Money | None) -> Decimal:
    return value_of(money) or Decimal()


def value_of(money: Money | None) -> Decimal | None:
    """The amount in major units, None when it is not known."""
    return Decimal(money.value) if money is not None and money.value is not None else None


def plain(value: Decimal) -> str:
    """The digits, never with an exponent."""
    return format(value, "f")


def _contained(amounts: Sequence[Decimal], limit: Decimal) -> Decimal:
    """The most that some of these amounts add up to without passing `limit`.

    Amounts count whole: a sum of 4 does not contain a refund of 6.
    """
    if sum(amounts, Decimal()) <= limit:
        return sum(amounts, Decimal())
    sums = {Decimal()}
    for amount in amounts:
        if len(sums) < SUMS_LIMIT:
            sums |= {total + amount for total in sums if total + amount <= limit}
    return max(sums)


def add(amounts: Iterable[Money]) -> Money | None:
    """The sum; None without amounts, and without a value when the currencies differ."""
    items = list(amounts)
    if len(items) < 2:
        return items[0] if items else None
    if len({item.currency for item in items}) > 1:
        return Money()
    minors = [item.minor for item in items if item.minor is not None]
    return Money(
        value=plain(sum((_value(item) for item in items), Decimal())),
        minor=_storable(sum(minors)) if len(minors) == len(items) else None,
        currency=items[0].currency,
    )


def like(model: Money, value: Decimal) -> Money:
    """`value` in the currency and unit of `model`, with as many decimals at least."""
    known = value_of(model)
    minor = None
    if known is not None:
        value += Decimal(0).scaleb(int(known.as_tuple().exponent))
    if known and model.minor is not None:
        count, rest = divmod(value * model.minor, known)
        minor = None if rest else _storable(int(count))
    return Money(value=plain(value), minor=minor, currency=model.currency)


def _storable(minor: int) -> int | None:
    return minor if abs(minor) <= INT64 else None


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(OrderState)


def save(state: OrderState) -> bytes:
    """The state as the store keeps it."""
    return _encoder.encode(state)


def load(stored: bytes) -> OrderState:
    """What `save` wrote."""
    return _decoder.decode(stored)
