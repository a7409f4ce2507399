"""PrintStudio: verifies `X-PrintStudio-Signature`; reads `{id, event, timestamp, data}`.

Formats: https://docs.printstudio.r5i.io/api/webhooks (signature, envelope, events) and
https://printstudio-docs.pages.dev/api/orders (states). Of an order event's `data` only
`orderId` is promised, so all else may be missing.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec

from gateway.errors import ConfigError, Malformed, Rejected
from gateway.models import Callback, Duration, Fact, Line, Millis, Money, Reading, Shipment, Track
from gateway.providers import base
from gateway.providers.reading import (
    check_unicode,
    contact,
    count,
    currency_code,
    decimal_money,
    decoded,
    from_iso,
    hashed_id,
    is_id,
    is_signed,
    literal_number,
    no_float,
    only_header,
    passed_on,
    readable_id,
    required_id,
    text,
)

ORDER_EVENTS: Final[Mapping[str, tuple[tuple[Track, str], ...]]] = {
    "order.created": ((Track.CREATED, "created"), (Track.FULFILMENT, "created")),
    "order.paid": ((Track.PAYMENT, "paid"),),
    "order.printing": ((Track.FULFILMENT, "printing"),),
    "order.ready": ((Track.FULFILMENT, "ready"),),
    "order.shipped": ((Track.FULFILMENT, "shipped"),),
    "order.cancelled": ((Track.FULFILMENT, "cancelled"),),
}
# Passed on as `printstudio.<event>`; the subject is the first of these names that `data` has.
OTHER_EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "job.*": ("jobId", "id"),
    "inventory.low": ("sku", "skuId", "materialId", "id"),
    "printer.offline": ("printerId", "id"),
}

HEADER: Final = "X-PrintStudio-Signature"
LINE_LIMIT: Final = 1_000  # more are not told: empty ones would be thirty times as long in an event
_DIGEST = re.compile(r"(?:sha256=)?([0-9A-Fa-f]{64})")
_JOB = re.compile(r"job\.[A-Za-z0-9_.-]{1,64}")


class PrintStudioOptions(base.Options, frozen=True, kw_only=True):
    """The keys of a PrintStudio source: `currency` is that of all its amounts, which name none."""

    currency: str | None = None

    def __post_init__(self) -> None:
        if self.currency is not None and currency_code(self.currency) is None:
            raise ConfigError("currency", "must be three letters, such as EUR")


class _Envelope(msgspec.Struct, frozen=True, gc=False):
    event: str
    id: Any = None
    timestamp: Any = None
    data: msgspec.Raw = msgspec.Raw()


class _Line(msgspec.Struct, frozen=True, rename="camel"):
    id: Any = None
    sku_id: Any = None
    name: Any = None
    quantity: Any = None
    unit_price: msgspec.Raw = msgspec.Raw()
    total: msgspec.Raw = msgspec.Raw()


class _Order(msgspec.Struct, frozen=True, rename="camel"):
    order_id: Any = None
    tracking_number: Any = None
    tracking_url: Any = None
    carrier: Any = None
    estimated_delivery: Any = None
    currency: Any = None
    customer: Any = None
    total: msgspec.Raw = msgspec.Raw()
    line_items: msgspec.Raw = msgspec.Raw()


_ENVELOPE = msgspec.json.Decoder(_Envelope, float_hook=no_float)
_ORDER = msgspec.json.Decoder(_Order, float_hook=no_float)
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_LINES = msgspec.json.Decoder(list[_Line], float_hook=no_float)
_MEMBERS = msgspec.json.Decoder(dict[str, Any], float_hook=no_float)


class PrintStudio:
    """One PrintStudio webhook endpoint."""

    name: ClassVar[str] = "printstudio"
    Options: ClassVar[type[base.Options]] = PrintStudioOptions

    def __init__(self, options: PrintStudioOptions) -> None:
        self._currency = currency_code(options.currency)

    def verify(
        self,
        callback: Callback,
        *,
        secrets: Sequence[bytes],
        tolerance: Duration,  # noqa: ARG002 - the contract's
        now: Millis,  # noqa: ARG002
    ) -> None:
        """Check `sha256=<hex>`, or bare hex, over the body; raises `Rejected`.

        The scheme signs no time: `tolerance` and `now` decide nothing, the event id stops replays.
        """
        found = _DIGEST.fullmatch(only_header(callback, HEADER))
        if found is None:
            raise Rejected(f"{HEADER} is not sha256= and 64 hex digits")
        if not is_signed(callback.body, [found[1].lower().encode()], secrets):
            raise Rejected(f"the signature matches none of {len(secrets)} secrets")

    def normalize(self, callback: Callback) -> Reading:
        """Read one envelope; an event in no table is ignored, with a reason. Raises `Malformed`."""
        try:
            check_unicode(callback.body)
            return self._read(callback)
        except Malformed as error:
            error.event_id = readable_id(callback.body)
            raise

    def _read(self, callback: Callback) -> Reading:
        envelope = decoded(_ENVELOPE, callback.body)
        event = required_id(envelope.event, "$.event")
        named = isinstance(envelope.id, str) and envelope.id != ""
        event_id = required_id(envelope.id, "$.id") if named else hashed_id(callback.body)
        at = from_iso(envelope.timestamp)
        at = callback.received_at if at is None else at
        facts: Sequence[Fact] = ()
        ignored = None
        names = _subject_names(event)
        if event in ORDER_EVENTS:
            facts = self._order(event, envelope.data, at=at)
        elif names is not None:
            facts = (_other(event, envelope.data, at=at, event_id=event_id, names=names),)
        else:
            ignored = f"events of the type {event} are not known"
        return Reading(event_id=event_id, event_type=event, at=at, facts=facts, ignored=ignored)

    def _order(self, event: str, data: msgspec.Raw, *, at: Millis) -> Sequence[Fact]:
        order = decoded(_ORDER, data, path="$.data")
        order_id = required_id(order.order_id, "$.data.orderId")
        currency = self._currency or currency_code(order.currency)
        common: dict[str, Any] = {
            "at": at,
            "order": order_id,
            "ids": {"printstudio": (order_id,)},
            "total": _money(order.total, currency),
            "lines": _lines(order.line_items, currency),
            "shipment": _shipment(order),
            "customer": _customer(order.customer),
        }
        key = f"printstudio:{order_id}"
        return tuple(
            Fact(track=track, state=state, key=key if track is Track.FULFILMENT else None, **common)
            for track, state in ORDER_EVENTS[event]
        )


def _money(raw: msgspec.Raw, currency: str | None) -> Money | None:
    number = literal_number(raw)
    return None if number is None else decimal_money(number, currency)


def _lines(raw: msgspec.Raw, currency: str | None) -> tuple[Line, ...] | None:
    try:
        if len(decoded(_LIST, raw)) > LINE_LIMIT:
            return None
        items = decoded(_LINES, raw)
    except Malformed:
        return None
    return tuple(
        Line(
            id=text(item.id),
            sku=text(item.sku_id),
            name=text(item.name),
            quantity=count(item.quantity),
            unit_price=_money(item.unit_price, currency),
            total=_money(item.total, currency),
        )
        for item in items
    )


def _shipment(order: _Order) -> Shipment | None:
    shipment = Shipment(
        tracking_number=text(order.tracking_number),
        tracking_url=text(order.tracking_url),
        carrier=text(order.carrier),
        expected=text(order.estimated_delivery),
    )
    return None if shipment == Shipment() else shipment


def _customer(value: object) -> dict[str, object] | None:
    if not isinstance(value, dict):
        return None
    return contact(
        email=value.get("email"),
        name=value.get("name"),
        phone=value.get("phone"),
        address=value.get("address"),
    )


def _subject_names(event: str) -> Sequence[str] | None:
    if event.startswith("job."):
        return OTHER_EVENTS["job.*"] if _JOB.fullmatch(event) else None
    return OTHER_EVENTS.get(event)


def _other(
    event: str, data: msgspec.Raw, *, at: Millis, event_id: str, names: Sequence[str]
) -> Fact:
    members = decoded(_MEMBERS, data, path="$.data")
    found = [members[name] for name in names if is_id(members.get(name))]
    return Fact(
        track=Track.EVENT,
        at=at,
        type=f"printstudio.{event}",
        subject=found[0] if found else event_id,
        data=passed_on(data, path="$.data"),
    )
