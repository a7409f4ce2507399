"""What a published `order.*` event says, as facts: the canonical order, read backwards (design 6.4).

An event tells one thing, which its type and `data.change` name. The details of the order, its ids,
total, lines and mode, are taken in beside it; what the gateway derives by itself is not
(docs/decisions/0016).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from gateway.errors import Unprocessable
from gateway.events import OrderData, OrderLine, OrderMoney, OrderPart, OrderShipment, escape
from gateway.fitting import check, check_name, check_values
from gateway.models import Fact, Line, Millis, Money, Shipment, Track
from gateway.orders.tables import FULFILMENT_TYPES, OrderType
from gateway.published import Published, why

Facts = tuple[Fact, ...]

UNTYPED = [state for state, kind in FULFILMENT_TYPES.items() if kind is OrderType.UPDATED]
_PAYMENT = re.compile(r"(pi|ch|py|cs)_[A-Za-z0-9_]+", re.ASCII)  # ids by which Stripe's facts link
_decoder = msgspec.json.Decoder(OrderData)


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of one event, in the order in which they are decided upon.

    `unheard` are those to decide upon instead where the order is not known yet, and `facts` make no
    `order.updated` of it: what changed is told, though nobody has told what was there before.
    """

    shop: str
    facts: Facts
    unheard: Facts = ()


def tell(event: Published, *, shop: str | None, now: Millis, path: str = "$") -> Told:
    """Read an order event; `path` leads to it in the request, `now` is its time where it has none.

    `shop` is the one that was asked for. Raises `Unprocessable` with the path of what does not fit.
    """
    read = _READERS.get(event.type)
    if read is None:
        raise Unprocessable(f"{path}.type: expected one of {', '.join(_READERS)}")
    data = _data(event, f"{path}.data")
    if shop is not None and data.shop != shop:
        raise Unprocessable(f"{path}.data.shop: expected {shop}, as ?shop= says")
    if event.subject not in {None, data.order, escape(data.order)}:
        raise Unprocessable(f"{path}.subject: expected the order, as data.order has it")
    said = _Said(data, event.time if event.time is not None else now, f"{path}.data")
    facts = read(said)
    unheard = _unheard(said, facts) if event.type == OrderType.UPDATED else ()
    return Told(shop=data.shop, facts=facts, unheard=unheard)


def _data(event: Published, path: str) -> OrderData:
    if event.data is None:
        raise Unprocessable(f"{path}: expected the order, as JSON")
    try:
        data = _decoder.decode(event.data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        message, _, where = why(error).partition(" - at `$")
        raise Unprocessable(f"{path}{where.rstrip('`')}: {message[:200]}") from None
    # These two are not passed on, so they may be anything.
    data = msgspec.structs.replace(data, customer=UNSET, original=UNSET)
    check_values(msgspec.to_builtins(data), path)
    check(data, path)
    return data


class _Said:
    """One event's data, and how facts are made of it."""

    def __init__(self, data: OrderData, at: Millis, path: str) -> None:
        self.data, self.change, self._path = data, data.change, path
        self._common: dict[str, Any] = {
            "at": at,
            "order": data.order,
            "links": _links(data),
            "ids": {system: tuple(ids) for system, ids in data.ids.items() if ids},
            "livemode": data.livemode,
            "total": _money(data.total),
            "lines": tuple(map(_line, data.lines)) or None,
        }

    def fact(self, track: Track, state: str, **more: Any) -> Fact:
        return Fact(track=track, state=state, **{**self._common, **more})

    def unfit(self, where: str, expected: str) -> Unprocessable:
        return Unprocessable(f"{self._path}.{where}: expected {expected}")

    def check_name(self, name: str, where: str) -> None:
        check_name(name, f"{self._path}.{where}")

    def part(self) -> OrderPart | None:
        """The part that `change.id` names; without an id the only one."""
        number, teller = self.change.id, self.data.cause.provider
        named = [part for part in self.data.parts if number in {None, part.id}]
        if len(named) > 1 and number is not None:
            named = [part for part in named if part.provider == teller]
            if len(named) != 1:
                raise self.unfit("cause.provider", "whose part change.id is: several have this id")
        return named[0] if len(named) == 1 else None

    def part_key(self) -> str:
        """The provider order; where no part tells whose it is, it is that of who told it."""
        part = self.part()
        if part is not None:
            return f"{part.provider}:{part.id}"
        return f"{self.data.cause.provider}:{self.change.id or self.data.order}"

    def parcel(self) -> Shipment | None:
        """The shipment of this part; of several parts, another one's is not it."""
        part = self.part()
        if part is not None and (part.shipment is not None or len(self.data.parts) > 1):
            return _shipment(part.shipment)
        return _shipment(self.data.shipment)

    def amount(self) -> Money | None:
        """How much `change` is about; else what is said of the payment, refund or dispute."""
        told, money = self.change.amount, self.data.payment
        said: list[tuple[str | None, OrderMoney | None]] = [
            *((payment.id, payment.amount) for payment in money.payments),
            *((refund.id, refund.amount) for refund in money.refunds),
            *((dispute.id, dispute.amount) for dispute in money.disputes),
        ]
        if told is None and self.change.id is not None:
            told = next((amount for name, amount in said if name == self.change.id), None)
        return self._positive(told, "change.amount")

    def sum(self) -> Money | None:
        """What was refunded in all so far."""
        return self._positive(self.data.payment.refunded, "payment.refunded")

    def _positive(self, amount: OrderMoney | None, where: str) -> Money | None:
        if amount is not None and (amount.value or "").startswith("-"):
            raise self.unfit(f"{where}.value", "an amount that is not negative")
        return _money(amount)

    def payments(self) -> Sequence[str]:
        """The payments that a refund may be of."""
        named = [one.id for one in self.data.payment.payments if one.id is not None]
        stripe = self.data.ids.get("stripe", ())
        intents = [name for name in stripe if name.startswith("pi_")]
        charges = [name for name in stripe if name.startswith("ch_")]
        return list(dict.fromkeys((*named, *intents))) or charges

    def payment(self) -> str | None:
        """What a refund counts into, where there is no choice."""
        return self.payments()[0] if len(self.payments()) == 1 else None


def _links(data: OrderData) -> tuple[str, ...]:
    """The ids by which a provider's facts find their order, now that this names both."""
    ids = [*data.ids.get("stripe", ()), data.change.id]
    ids += [payment.id for payment in data.payment.payments]
    links = [f"stripe:{one}" for one in ids if one is not None and _PAYMENT.fullmatch(one)]
    links += [f"{part.provider}:{part.id}" for part in data.parts]
    return tuple(dict.fromkeys(links))


def _money(amount: OrderMoney | None) -> Money | None:
    if amount is None:
        return None
    return Money(value=amount.value, minor=amount.minor, currency=amount.currency)


def _shipment(parcel: OrderShipment | None) -> Shipment | None:
    return Shipment(**msgspec.structs.asdict(parcel)) if parcel is not None else None


def _line(line: OrderLine) -> Line:
    amounts = {"unit_price": _money(line.unit_price), "total": _money(line.total)}
    return Line(**msgspec.structs.asdict(line) | amounts)


# Types, each with what it says.


def _created(said: _Said) -> Facts:
    """The order, and that its provider orders are there."""
    created = said.fact(Track.CREATED, "created", implied=said.change.implied)
    keys = [f"{part.provider}:{part.id}" for part in said.data.parts]
    return created, *(said.fact(Track.FULFILMENT, "created", key=key) for key in keys)


def _payment(said: _Said, state: str) -> Facts:
    change = said.change
    about = {"key": change.id, "amount": said.amount(), "reason": change.reason}
    return (said.fact(Track.PAYMENT, state, implied=change.implied, **about),)


def _made(said: _Said, state: str) -> Facts:
    return (said.fact(Track.FULFILMENT, state, key=said.part_key(), shipment=said.parcel()),)


def _in_part(said: _Said, state: str) -> Facts:
    quantity = said.change.quantity
    if quantity is None or quantity < 1:
        raise said.unfit("change.quantity", "how many in all so far, as it is partial")
    about = {"key": said.part_key(), "shipment": said.parcel(), "quantity": quantity}
    return (said.fact(Track.FULFILMENT, state, **about),)


def _shipped(said: _Said) -> Facts:
    return _in_part(said, "shipped") if said.change.partial else _made(said, "shipped")


def _cancelled(said: _Said) -> Facts:
    """Without an id it is the order itself that was cancelled, and not what a provider makes of it."""
    if said.change.partial:
        return _in_part(said, "cancelled")
    if said.change.id is None:
        return (said.fact(Track.FULFILMENT, "cancelled"),)
    return _made(said, "cancelled")


def _refunded(said: _Said) -> Facts:
    """A refund with an id; else the sum so far; else that something was refunded.

    Whose sum it is nobody can tell where there are several payments, and it would be added to theirs.
    """
    amount, group = said.amount(), said.payment()
    if said.change.id is not None:
        about = {"key": said.change.id, "amount": amount, "group": group}
        return (said.fact(Track.REFUND, "succeeded", **about),)
    total = said.sum()
    if len(said.payments()) > 1:
        return (said.fact(Track.REFUND, "succeeded"),)
    if total is not None and total.value is not None:
        return (said.fact(Track.REFUND, "succeeded", cumulative=total, group=group),)
    if amount is not None and amount.value is not None:
        raise said.unfit("payment.refunded", "the sum of all refunds, as change.id names none")
    return (said.fact(Track.REFUND, "succeeded"),)


def _disputed(said: _Said, state: str = "open") -> Facts:
    change = said.change
    if change.id is None:
        raise said.unfit("change.id", "the id of the dispute")
    about = {"key": change.id, "amount": said.amount(), "reason": change.reason}
    return (said.fact(Track.DISPUTE, state, **about),)


def _held(said: _Said) -> Facts:
    reason = said.data.state.hold or said.change.reason
    if not reason:
        raise said.unfit("change.reason", "why it is on hold, here or in state.hold")
    return (said.fact(Track.HOLD, reason, reason=said.change.reason),)


def _updated(said: _Said) -> Facts:
    what, value = said.change.what, said.change.value
    if not what:
        raise said.unfit("change.what", "what changed")
    if not value:
        raise said.unfit("change.value", "the new value")
    return _CHANGES[what](said, value) if what in _CHANGES else (_change(said, what, value),)


# What may change, by `change.what`: all else is told as it stands.


def _change(said: _Said, what: str, value: str) -> Fact:
    """Of an id that no part has, only the id itself counts."""
    named = said.change.id is not None or what == "shipment"
    key = said.part_key() if named else None
    return said.fact(Track.CHANGE, value, what=what, key=key)


def _one_of(said: _Said, value: str, *words: str) -> str:
    if value not in words:
        raise said.unfit("change.value", f"{' or '.join(words)}; all else has a type of its own")
    return value


def _released(said: _Said, value: str) -> Facts:
    _one_of(said, value, "released")
    return (said.fact(Track.HOLD, ""),)


def _dispute_moved(said: _Said, value: str) -> Facts:
    return _disputed(said, _one_of(said, value, "open", "closed"))


def _refund_moved(said: _Said, value: str) -> Facts:
    if said.change.id is None:
        return _refunded(said)
    state = "failed" if _one_of(said, value, "failed", "amount") == "failed" else "succeeded"
    about = {"key": said.change.id, "amount": said.amount(), "group": said.payment()}
    return (said.fact(Track.REFUND, state, **about),)


def _amount_known(said: _Said, _value: str) -> Facts:
    amount = said.amount()
    if amount is None or amount.value is None:
        raise said.unfit("change.amount", "the amount of the payment")
    return (said.fact(Track.PAYMENT, "paid", key=said.change.id, amount=amount),)


def _fulfilment_moved(said: _Said, value: str) -> Facts:
    return _made(said, _one_of(said, value, *UNTYPED))


def _tracked(said: _Said, _value: str) -> Facts:
    """`created` says no more of the provider order than that it is there."""
    if said.parcel() is None:
        raise said.unfit("shipment", "the shipment that is told")
    return _made(said, "created")


def _named(said: _Said, value: str) -> Facts:
    """A link of their own leads the second fact, which has the other name, to the first one's order."""
    said.check_name(value, "change.value")
    opening = said.fact(Track.CREATED, "created", implied=True)
    links = (*opening.links, f"published:{said.data.order}")
    both = msgspec.structs.replace(opening, links=links)
    return both, msgspec.structs.replace(both, order=value)


_READERS: Mapping[str, Callable[[_Said], Facts]] = {
    OrderType.CREATED: _created,
    OrderType.PAID: lambda said: _payment(said, "paid"),
    OrderType.PAYMENT_FAILED: lambda said: _payment(said, "failed"),
    OrderType.PRINTING: lambda said: _made(said, "printing"),
    OrderType.READY: lambda said: _made(said, "ready"),
    OrderType.SHIPPED: _shipped,
    OrderType.CANCELLED: _cancelled,
    OrderType.REFUNDED: _refunded,
    OrderType.DISPUTED: _disputed,
    OrderType.ON_HOLD: _held,
    OrderType.UPDATED: _updated,
}
_CHANGES: Mapping[str, Callable[[_Said, str], Facts]] = {
    "hold": _released,
    "dispute": _dispute_moved,
    "refund": _refund_moved,
    "amount": _amount_known,
    "fulfilment": _fulfilment_moved,
    "shipment": _tracked,
    "alias": _named,
}


def _unheard(said: _Said, facts: Facts) -> Facts:
    what, value = said.change.what or "", said.change.value or ""
    if what not in _CHANGES or what == "alias":
        return ()
    opening = said.fact(Track.CREATED, "created", implied=True)
    return opening, *facts, _change(said, what, value)
