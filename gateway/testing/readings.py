"""What a reading must be so that all behind the provider can rely on it."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec

from gateway.events import LATEST, Writer
from gateway.models import Entry, Fact, Known, Millis, Money, Origin, Reading, Track
from gateway.orders.decide import Orders
from gateway.orders.tables import FULFILMENT_TYPES, PAYMENT_RANKS, REFUND_RANKS
from gateway.testing.judging import is_id, require, shown

STATES: Final[Mapping[Track, frozenset[str]]] = {
    Track.CREATED: frozenset({"created"}),
    Track.PAYMENT: frozenset(PAYMENT_RANKS),
    Track.FULFILMENT: frozenset(FULFILMENT_TYPES),
    Track.REFUND: frozenset(REFUND_RANKS),
    Track.DISPUTE: frozenset({"open", "closed"}),
}
RESERVED: Final = ("order.", "gateway.")  # types of events that no provider may pass on
TRACEPARENT: Final = f"00-{'1' * 32}-{'1' * 16}-01"
DECIMALS: Final = 4  # no currency of ISO 4217 has more

_orders = Orders(Writer(""))


def check_reading(reading: Reading, *, name: str, about: str) -> None:
    """Raise `AssertionError` unless this is what provider `name` may say; `about` names the call."""
    require(isinstance(reading, Reading), f"{about} returned {shown(reading)}, not a Reading")
    for field in ("event_id", "event_type"):
        value = getattr(reading, field)
        require(is_id(value), f"{about}: {field} is {shown(value)}: {_AN_ID}")
    _check_time(reading.at, f"{about}: at")
    require(
        reading.facts or reading.ignored,
        f"{about} tells no facts: say in `ignored` why, in one sentence",
    )
    for fact in reading.facts:
        check_fact(fact, name=name, about=about)
    _check_told(reading, name=name, about=about)


def check_fact(fact: Fact, *, name: str, about: str) -> None:
    """Raise `AssertionError` unless the gateway can place, order and tell this fact."""
    about = f"{about}: the {fact.track} fact"
    _check_time(fact.at, f"{about}: at")
    _check_names(fact, about)
    if fact.track is Track.EVENT:
        _check_event(fact, about)
        return
    require(
        fact.order or fact.own or fact.links,
        f"{about} names no order: give it `order`, or `links` and `own`",
    )
    _check_state(fact, about)
    if fact.track is Track.FULFILMENT and fact.key is not None:
        system, _, number = fact.key.partition(":")
        require(
            system == name and number,
            f'{about} has the key {shown(fact.key)}: write f"{{self.name}}:{{number}}"',
        )
    _check_quantity(fact, about)
    for field in ("amount", "total", "cumulative"):
        _check_money(getattr(fact, field), f"{about}: {field}")


def _check_time(at: Millis, about: str) -> None:
    require(
        type(at) is int and 0 <= at <= LATEST,
        f"{about} is {shown(at)}: it must be whole milliseconds within the years 1970 to 9999",
    )


_AN_ID: Final = "an id has 1 to 255 characters, none of them a control character"


def _check_names(fact: Fact, about: str) -> None:
    fields = ("order", "own", "key", "group", "subject", "type")
    named = [(field, getattr(fact, field)) for field in fields]
    named += [("links", link.partition(":")[2]) for link in fact.links]
    named += [("same_payment", payment) for payment in fact.same_payment]
    named += [(f"ids of {system}", one) for system, found in fact.ids.items() for one in found]
    for field, value in named:
        require(value is None or is_id(value), f"{about}: {field} has {shown(value)}: {_AN_ID}")
    for link in fact.links:
        require(":" in link, f'{about}: the link {link!r} must be "system:id", as in "stripe:pi_1"')


def _check_event(fact: Fact, about: str) -> None:
    require(fact.type, f"{about} needs a `type`: the provider's name, a dot and what happened")
    kind = fact.type or ""
    require(
        not kind.startswith(RESERVED),
        f"{about} has the type {kind!r}: order.* is made from facts only, gateway.* is not yours",
    )


def _check_state(fact: Fact, about: str) -> None:
    if fact.track is Track.HOLD:
        require(
            bool(fact.state) is (fact.reason is not None),
            f'{about}: on hold needs a word as `state` and a `reason`; not on hold is state "" '
            "without a reason",
        )
    elif fact.track is Track.CHANGE:
        require(fact.what, f'{about} needs `what` changed, as in "status", and its new `state`')
    else:
        known = sorted(STATES[fact.track])
        require(
            fact.state in known,
            f"{about} has the state {fact.state!r}: gateway.orders.tables knows {', '.join(known)}",
        )
    if fact.track is Track.DISPUTE:
        require(fact.key, f"{about} needs the dispute's id as its key")


def _check_quantity(fact: Fact, about: str) -> None:
    if fact.quantity is None:
        return
    require(
        fact.track is Track.FULFILMENT and fact.state in {"shipped", "cancelled"},
        f"{about} has a quantity: only partial shipments and partial cancels have one",
    )
    require(fact.quantity > 0, f"{about} has the quantity {fact.quantity}: none is no fact")


def _check_money(money: Money | None, about: str) -> None:
    if money is None or money.value is None:
        require(
            money is None or money.minor is None, f"{about} has `minor` and no `value`: give both"
        )
        return
    try:
        value = Decimal(money.value)
    except InvalidOperation:
        value = Decimal("NaN")
    require(
        value.is_finite() and "e" not in money.value.lower(),
        f"{about}: the value {shown(money.value)} is no plain decimal number",
    )
    code = money.currency
    require(
        code is None or (len(code) == 3 and code.isascii() and code.isalpha() and code.isupper()),
        f"{about}: the currency {shown(code)} is not three letters in upper case",
    )
    if money.minor is None:
        return
    require(code, f"{about}: without a currency nobody knows the minor unit; leave `minor` out")
    sign, digits, exponent = value.as_tuple()
    scaled = [Decimal((sign, digits, int(exponent) + places)) for places in range(DECIMALS + 1)]
    require(money.minor in scaled, f"{about}: {money.value} and minor {money.minor} do not agree")


def _check_told(reading: Reading, *, name: str, about: str) -> None:
    """Let the gateway decide upon the facts as if nothing were known of the order yet."""
    origin = Origin(
        source="source",
        provider=name,
        shop="default",
        event_id=reading.event_id,
        event_type=reading.event_type,
        recorded=reading.at,
        traceparent=TRACEPARENT,
    )
    entries = [Entry(fact=fact, origin=origin) for fact in reading.facts]
    if not entries:
        return
    try:
        msgspec.json.encode(reading)
        decision = _orders.decide(entries, Known(links={}, orders={}))
        for _, event in decision.events:
            msgspec.json.decode(event.body)
    except Exception as error:
        raise AssertionError(f"{about}: no event can be made of its facts: {error!r}") from error
