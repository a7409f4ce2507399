"""Stripe: verifies `Stripe-Signature`; reads events of Checkout, payments, refunds and disputes.

Formats: https://docs.stripe.com/webhooks (signature, envelope),
https://docs.stripe.com/api/events/types (which event carries which object) and
https://docs.stripe.com/currencies (units).
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, ClassVar, Final, Literal, NamedTuple

import msgspec

from gateway.errors import Malformed, Rejected
from gateway.models import Callback, Duration, Fact, Millis, Money, Reading, Track, Unknown
from gateway.providers import base
from gateway.providers.reading import (
    check_unicode,
    contact,
    count,
    counted_secrets,
    currency_code,
    decoded,
    from_iso,
    from_seconds,
    is_id,
    is_signed,
    minor_units,
    no_float,
    only_header,
    readable_id,
    required_id,
    text,
)
from gateway.providers.stripe_samples import samples
from gateway.providers.stripe_signature import HEADER, read_signature, write_signature


class Kind(StrEnum):
    """The objects of Stripe that are read, by Stripe's names for them."""

    SESSION = "checkout.session"
    INTENT = "payment_intent"
    CHARGE = "charge"
    REFUND = "refund"
    DISPUTE = "dispute"


class Row(NamedTuple):
    """What an event of one type says: about which object, and which state of which track.

    An empty state is told by the object's own status (`REFUND_STATES`).
    """

    kind: Kind
    track: Track
    state: str


EVENTS: Final[Mapping[str, Row]] = {
    # With a second fact, PAYMENT paid, when `payment_status` is one of PAID.
    "checkout.session.completed": Row(Kind.SESSION, Track.CREATED, "created"),
    "checkout.session.async_payment_succeeded": Row(Kind.SESSION, Track.PAYMENT, "paid"),
    "checkout.session.async_payment_failed": Row(Kind.SESSION, Track.PAYMENT, "failed"),
    "payment_intent.succeeded": Row(Kind.INTENT, Track.PAYMENT, "paid"),
    "payment_intent.payment_failed": Row(Kind.INTENT, Track.PAYMENT, "failed"),
    "refund.created": Row(Kind.REFUND, Track.REFUND, ""),
    "refund.updated": Row(Kind.REFUND, Track.REFUND, ""),
    "refund.failed": Row(Kind.REFUND, Track.REFUND, "failed"),
    "charge.refund.updated": Row(Kind.REFUND, Track.REFUND, ""),
    "charge.refunded": Row(Kind.CHARGE, Track.REFUND, "succeeded"),
    "charge.dispute.created": Row(Kind.DISPUTE, Track.DISPUTE, "open"),
    "charge.dispute.closed": Row(Kind.DISPUTE, Track.DISPUTE, "closed"),
    # Soft cancels, ignored unless the source lists them in `cancel_from`.
    "checkout.session.expired": Row(Kind.SESSION, Track.FULFILMENT, "cancelled"),
    "payment_intent.canceled": Row(Kind.INTENT, Track.FULFILMENT, "cancelled"),
}
PAID: Final = frozenset({"paid", "no_payment_required"})
PAYMENT_STATUSES: Final = PAID | {"unpaid"}
REFUND_STATES: Final[Mapping[str, str]] = {
    "pending": "pending",
    "requires_action": "pending",
    "succeeded": "succeeded",
    "failed": "failed",
    "canceled": "failed",
}
# What the option says of a fact that names no order, and whether it waits for `link_wait` only.
UNNAMED_SESSION: Final[Mapping[str, tuple[Unknown, bool]]] = {
    "own": (Unknown.OWN, False),
    "wait": (Unknown.WAIT, True),
}
UNLINKED: Final[Mapping[str, tuple[Unknown, bool]]] = {
    "wait": (Unknown.WAIT, False),
    "own": (Unknown.WAIT, True),
    "ignore": (Unknown.IGNORE, False),
}

CHARGE_LIMIT: Final = 20  # an old payment intent lists up to ten of its charges


class StripeOptions(base.Options, frozen=True, kw_only=True):
    """The keys of a Stripe source; design 6.3 says how they find the order."""

    order_id: tuple[str, ...] = ("order_id", "orderId")
    trust_client_reference: bool = False
    unnamed_session: Literal["own", "wait"] = "own"
    unlinked: Literal["wait", "own", "ignore"] = "wait"
    link_wait: Duration = Duration(600_000)
    livemode: bool | None = None
    cancel_from: tuple[Literal["checkout.session.expired", "payment_intent.canceled"], ...] = ()


# The structs name only what is read. Optional fields are `Any`, so that a surprise in one of
# them is nothing more than a missing value.


class _Event(msgspec.Struct, frozen=True, gc=False):
    id: str
    type: str
    object: Any = None
    created: Any = None
    livemode: Any = None
    data: msgspec.Raw = msgspec.Raw()


class _Object(msgspec.Struct, frozen=True):
    id: str
    metadata: Any = None
    currency: Any = None
    amount: Any = None
    status: Any = None
    reason: Any = None
    payment_intent: Any = None
    charge: Any = None
    shipping: Any = None
    # Sessions.
    mode: Any = None
    payment_status: Any = None
    payment_link: Any = None
    client_reference_id: Any = None
    amount_total: Any = None
    customer_details: Any = None
    customer_email: Any = None
    shipping_details: Any = None
    collected_information: Any = None
    # Payment intents.
    amount_received: Any = None
    latest_charge: Any = None
    charges: Any = None
    last_payment_error: Any = None
    receipt_email: Any = None
    # Charges.
    amount_refunded: Any = None


class _Data(msgspec.Struct, frozen=True):
    object: _Object


_EVENT = msgspec.json.Decoder(_Event, float_hook=no_float)
_DATA = msgspec.json.Decoder(_Data, float_hook=no_float)


class _Ids(NamedTuple):
    """The ids at Stripe that an object carries."""

    intent: str | None
    charges: tuple[str, ...]
    session: str | None
    own: str  # the one under which an order of its own is known


class Stripe:
    """One Stripe endpoint; secrets are its `whsec_...` texts, used as they are."""

    name: ClassVar[str] = "stripe"
    Options: ClassVar[type[base.Options]] = StripeOptions

    def __init__(self, options: StripeOptions) -> None:
        self._options = options

    def verify(
        self, callback: Callback, *, secrets: Sequence[bytes], tolerance: Duration, now: Millis
    ) -> None:
        """Check `t=<seconds>,v1=<hex>[,v1=<hex>]` over `t.body`; raises `Rejected`.

        Other schemes are ignored. Too old and too far in the future are rejected alike.
        """
        timestamp, digests = read_signature(only_header(callback, HEADER))
        if not is_signed(timestamp.encode() + b"." + callback.body, digests, secrets):
            raise Rejected(f"no v1 entry matches any of {counted_secrets(secrets)}")
        age = now - int(timestamp) * 1000
        if abs(age) > tolerance:
            seconds = -(-abs(age) // 1000)
            side = "s old" if age > 0 else "s in the future"
            raise Rejected(f"the timestamp is {seconds} {side}, {tolerance // 1000} s are allowed")

    def samples(self, occasion: base.Occasion) -> Mapping[str, bytes]:
        """A test event of each type; the order stands where this source looks for it first."""
        return samples(occasion, next(iter(self._options.order_id), None))

    def sign(self, body: bytes, *, secret: bytes, now: Millis) -> Mapping[str, str]:
        """The headers with which Stripe would send it."""
        return {
            "content-type": "application/json; charset=utf-8",
            "user-agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            HEADER.lower(): write_signature(body, secret, now),
        }

    def normalize(self, callback: Callback) -> Reading:
        """Read one event; what is not in `EVENTS` is ignored with a reason. Raises `Malformed`."""
        try:
            check_unicode(callback.body)
            return self._read(callback)
        except Malformed as error:
            error.event_id = readable_id(callback.body)
            raise

    def _read(self, callback: Callback) -> Reading:
        event = decoded(_EVENT, callback.body)
        event_id = required_id(event.id, "$.id")
        event_type = required_id(event.type, "$.type")
        if event.object == "v2.core.event":
            at = from_iso(event.created)
            return Reading(
                event_id=event_id,
                event_type=event_type,
                at=callback.received_at if at is None else at,
                ignored="a thin event carries no state; choose snapshot payloads at Stripe",
            )
        at = from_seconds(event.created, "$.created")
        facts: Sequence[Fact] = ()
        ignored = self._unwanted(event)
        if ignored is None:
            facts, ignored = self._facts(event, at)
        return Reading(
            event_id=event_id, event_type=event_type, at=at, facts=facts, ignored=ignored
        )

    def _unwanted(self, event: _Event) -> str | None:
        wanted = self._options.livemode
        if wanted is not None and event.livemode is not wanted:
            if not isinstance(event.livemode, bool):
                raise Malformed("must be true or false", path="$.livemode")
            mode = "live" if wanted else "test"
            said = "true" if event.livemode else "false"
            return f"livemode is {said}, the source takes only {mode} events"
        row = EVENTS.get(event.type)
        if row is None:
            return f"events of the type {event.type} say nothing about orders"
        if row.track is Track.FULFILMENT and event.type not in self._options.cancel_from:
            return f"{event.type} is not listed in the source's cancel_from"
        return None

    def _facts(self, event: _Event, at: Millis) -> tuple[Sequence[Fact], str | None]:
        thing = decoded(_DATA, event.data, path="$.data").object
        row = EVENTS[event.type]
        if row.kind is Kind.SESSION:
            mode = required_id(thing.mode, "$.data.object.mode")
            if mode != "payment":
                return (), f"the session's mode is {mode}, not payment"
        ids = _ids(row.kind, thing)
        common = self._common(row, thing, ids=ids) | {
            "at": at,
            "livemode": event.livemode if isinstance(event.livemode, bool) else None,
        }
        if row.track is Track.CREATED:
            return _completed(thing, ids, common), None
        if row.track is Track.PAYMENT:
            return (_payment(row, thing, ids=ids, common=common),), None
        if row.track is Track.REFUND:
            return (_refund(row, thing, ids=ids, common=common),), None
        if row.track is Track.DISPUTE:
            return (_dispute(row, thing, common),), None
        return (Fact(track=row.track, state=row.state, soft=True, **common),), None

    def _common(self, row: Row, thing: _Object, *, ids: _Ids) -> dict[str, Any]:
        order = self._order(row.kind, thing)
        links = tuple([n for n in (ids.intent, *ids.charges, ids.session) if n is not None])
        unknown, patience = (Unknown.OWN, None) if order else self._stranger(row.kind)
        return {
            "order": order,
            "links": tuple(["stripe:" + name for name in links]),
            "own": ids.own,
            "unknown": unknown,
            "patience": patience,
            "ids": {"stripe": links if thing.id in links else (*links, thing.id)},
            "same_payment": (ids.intent, *ids.charges) if ids.intent and ids.charges else (),
            "total": _money(thing.amount_total, thing.currency) if ids.session else None,
            "customer": _customer(row.kind, thing),
        }

    def _stranger(self, kind: Kind) -> tuple[Unknown, Millis | None]:
        if kind is Kind.SESSION:
            unknown, patient = UNNAMED_SESSION[self._options.unnamed_session]
        else:
            unknown, patient = UNLINKED[self._options.unlinked]
        return unknown, Millis(int(self._options.link_wait)) if patient else None

    def _order(self, kind: Kind, thing: _Object) -> str | None:
        if isinstance(thing.metadata, dict):
            for key in self._options.order_id:
                value = thing.metadata.get(key)
                if value and isinstance(value, str):
                    return required_id(value, f"$.data.object.metadata.{key}")
        if kind is not Kind.SESSION or not thing.client_reference_id:
            return None
        # The buyer can edit the reference in the address of a payment link.
        if thing.payment_link is not None and not self._options.trust_client_reference:
            return None
        return required_id(thing.client_reference_id, "$.data.object.client_reference_id")


def _ids(kind: Kind, thing: _Object) -> _Ids:
    required_id(thing.id, "$.data.object.id")
    session = thing.id if kind is Kind.SESSION else None
    intent = thing.id if kind is Kind.INTENT else _reference(thing.payment_intent, "payment_intent")
    charges: tuple[str, ...] = ()
    if kind is Kind.CHARGE:
        charges = (thing.id,)
    elif kind is Kind.INTENT:
        charges = _charges(thing)
    elif kind is not Kind.SESSION:
        charge = _reference(thing.charge, "charge")
        charges = () if charge is None else (charge,)
    own = session or intent or (charges[0] if charges else thing.id)
    return _Ids(intent=intent, charges=charges, session=session, own=own)


def _reference(value: object, field: str) -> str | None:
    """The id of another object, which may be given whole (expanded); None for null."""
    if value is None:
        return None
    if isinstance(value, dict):
        return required_id(value.get("id"), f"$.data.object.{field}.id")
    return required_id(value, f"$.data.object.{field}")


def _charges(intent: _Object) -> tuple[str, ...]:
    """The newest charge, and those that API versions before 2022-11-15 list."""
    latest, listed = intent.latest_charge, _part(intent.charges, "data")
    found = [latest if isinstance(latest, str) else _part(latest, "id")]
    if isinstance(listed, list):
        found += [_part(charge, "id") for charge in listed[:CHARGE_LIMIT]]
    return tuple(dict.fromkeys([name for name in found if is_id(name)]))


def _part(value: object, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _money(amount: object, currency: object) -> Money | None:
    number, code = count(amount), currency_code(currency)
    return None if number is None or code is None else minor_units(number, code)


def _required_money(thing: _Object, field: str) -> Money:
    money = _money(getattr(thing, field), thing.currency)
    if money is not None:
        return money
    if currency_code(thing.currency) is None:
        raise Malformed("must be a currency of three letters", path="$.data.object.currency")
    raise Malformed("must be a whole number from 0", path=f"$.data.object.{field}")


def _status(value: object, allowed: Iterable[str], field: str) -> str:
    if isinstance(value, str) and value in allowed:
        return value
    raise Malformed("must be one of " + ", ".join(sorted(allowed)), path=f"$.data.object.{field}")


def _completed(session: _Object, ids: _Ids, common: dict[str, Any]) -> Sequence[Fact]:
    status = _status(session.payment_status, PAYMENT_STATUSES, "payment_status")
    created = Fact(track=Track.CREATED, state="created", **common)
    if status not in PAID:
        return (created,)
    total = common["total"]
    # `no_payment_required` is also said when the payment comes later: then nothing was paid yet.
    amount = total if total is not None and (status == "paid" or not total.minor) else None
    key = ids.intent or ids.session
    return created, Fact(track=Track.PAYMENT, state="paid", key=key, amount=amount, **common)


def _payment(row: Row, thing: _Object, *, ids: _Ids, common: dict[str, Any]) -> Fact:
    if row.kind is Kind.SESSION:
        amount = common["total"]
    else:
        received = _money(thing.amount_received, thing.currency) if row.state == "paid" else None
        amount = received or _money(thing.amount, thing.currency)
    reason = None
    if row.state == "failed":
        error = thing.last_payment_error
        reason = text(_part(error, "message")) or text(_part(error, "code"))
    key = ids.intent or ids.session
    return Fact(
        track=Track.PAYMENT, state=row.state, key=key, amount=amount, reason=reason, **common
    )


def _refund(row: Row, thing: _Object, *, ids: _Ids, common: dict[str, Any]) -> Fact:
    """A named refund, or the growing sum of a charge (unnamed: no key, `cumulative`)."""
    if row.kind is Kind.CHARGE:
        total = _required_money(thing, "amount_refunded")
        return Fact(track=row.track, state=row.state, group=ids.own, cumulative=total, **common)
    return Fact(
        track=row.track,
        state=row.state or REFUND_STATES[_status(thing.status, REFUND_STATES, "status")],
        key=thing.id,
        group=ids.own,
        amount=_required_money(thing, "amount"),
        **common,
    )


def _dispute(row: Row, thing: _Object, common: dict[str, Any]) -> Fact:
    """The reason is Stripe's: `fraudulent`, and when it is closed `fraudulent: lost`."""
    reason = text(thing.reason)
    if row.state == "closed":
        reason = ": ".join(filter(None, (reason, text(thing.status)))) or None
    amount = _money(thing.amount, thing.currency)
    return Fact(
        track=row.track, state=row.state, key=thing.id, amount=amount, reason=reason, **common
    )


def _customer(kind: Kind, thing: _Object) -> dict[str, object] | None:
    """Where the goods go before whom the bill goes to; newer API versions nest the former."""
    if kind not in (Kind.SESSION, Kind.INTENT):
        return None
    details = thing.customer_details
    collected = _part(thing.collected_information, "shipping_details")
    shipping = collected or thing.shipping_details or thing.shipping
    return contact(
        email=_part(details, "email") or thing.customer_email or thing.receipt_email,
        name=_part(details, "name") or _part(shipping, "name"),
        phone=_part(details, "phone") or _part(shipping, "phone"),
        address=_part(shipping, "address") or _part(details, "address"),
    )
