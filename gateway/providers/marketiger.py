"""Marketiger: asks `GET Order/GetOrder` for one order at a time, and reads its status code.

Formats: https://docs.marketiger3d.com/docs/status-codes (an order's codes) and
https://docs.marketiger3d.com/docs/requests-conventions (times). It has no list of orders and no
callbacks, and knows no caller's reference. `docs/providers/marketiger.md` says what is not known.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from gateway.errors import AskFailed, ConfigError, Denied, Malformed, Missing, TokenRefused
from gateway.models import (
    Fact,
    Line,
    Millis,
    Money,
    Page,
    Query,
    Reading,
    Reply,
    Shipment,
    Track,
    Watched,
)
from gateway.providers import base
from gateway.providers.reading import (
    ISO_EXPONENTS,
    count,
    currency_code,
    decimal_money,
    decoded,
    from_iso,
    literal_number,
    no_float,
    required_id,
    text,
)
from gateway.providers.replies import body_of, error_body, quoted


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What an order's code says; a `hold` of None says nothing of a hold."""

    name: str  # the documentation's, not unique
    payment: Literal["", "paid", "implied"] = ""
    hold: str | None = ""
    fulfilment: str = "created"
    lines: bool = False  # whether the codes of its lines count (`line_status`)
    change: bool = False  # whether the code itself is news


STATUSES: Final[Mapping[int, Status]] = {
    0: Status(name="CanceledOrExpired", fulfilment="cancelled"),
    1: Status(name="Created"),
    2: Status(name="OnHold", hold="on_hold", lines=True),
    3: Status(name="Unpaid"),
    4: Status(name="Pending"),
    5: Status(name="Paid", payment="paid", lines=True),
    10: Status(name="Shipped", payment="implied", fulfilment="shipped"),
    15: Status(name="OnHold", hold="production", lines=True),
}
UNKNOWN: Final = Status(name="any other", hold=None, change=True)

PAID_FOR: Final = ("printing", "ready", "shipped")  # code 5 is "paid and ready for production"

# What the types of its errors mean, and what a person can do. All come with HTTP 400.
ERRORS: Final[Mapping[str, tuple[type[AskFailed], str]]] = {
    "AUTHENTICATION": (TokenRefused, "put a valid one into this source's token"),
    "NOT_FOUND": (
        Missing,
        "check that the number is its orderId, and that base_url is where it was ordered",
    ),
    "NO_PERMISSION": (Denied, "only its owner can read an order: use the token of who ordered it"),
    "INCORRECT_PARAMETERS": (
        Missing,
        "check that the number is the orderId (a GUID) that CreateOrder returned",
    ),
    "OPERATION_FAILED": (
        AskFailed,
        "it failed on their side and is asked again; tell Marketiger if it stays so",
    ),
}
NO_USER: Final = (
    TokenRefused,
    "the token's user does not exist there: check base_url, then put another token into this source",
)
OTHER_ERROR: Final = (AskFailed, "its documentation has no such error; it is asked again")

LINE_LIMIT: Final = 1_000  # more are not told: empty ones would be thirty times as long in an event
_CODE = re.compile(r"0|[1-9][0-9]{0,9}")
_CHECKOUT = re.compile(r"(?<![A-Za-z0-9_])cs_(?:test|live)_[A-Za-z0-9]{1,200}(?![A-Za-z0-9_])")


class MarketigerOptions(base.Options, frozen=True, kw_only=True):
    """The keys of a Marketiger source: what its documentation leaves open.

    `line_status` leads from the code of a line, as text, to "printing" or "ready".
    """

    currency: str | None = None
    price_unit: Literal["major", "minor"] | None = None
    shipped_when: Literal["status", "tracking"] = "status"
    line_status: dict[str, str] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.currency is not None and currency_code(self.currency) is None:
            raise ConfigError("currency", "must be three letters, such as EUR")
        if self.price_unit == "minor" and self.currency is None:
            raise ConfigError("price_unit", '"minor" needs currency too: its decimals hang on it')
        for code, state in self.line_status.items():
            if _CODE.fullmatch(code) is None:
                raise ConfigError("line_status", f'"{code}" is no code, such as "20"')
            if state not in {"printing", "ready"}:
                raise ConfigError(
                    "line_status", f'"{code}" must lead to "printing" or "ready", not "{state}"'
                )


class _Model(msgspec.Struct, frozen=True, rename="camel"):
    po_id: Any = None
    model_id: Any = None
    model_name: Any = None
    quantity: Any = None
    status: Any = None
    price: msgspec.Raw = msgspec.Raw()


class _Order(msgspec.Struct, frozen=True, rename="camel"):
    status: Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]
    id: Any = None
    created_date: Any = None
    updated: Any = None
    track_and_trace: Any = None
    payment_link: Any = None
    order_models: msgspec.Raw = msgspec.Raw()


class _Data(msgspec.Struct, frozen=True):
    order: _Order


class _Envelope(msgspec.Struct, frozen=True):
    data: _Data


_ENVELOPE = msgspec.json.Decoder(_Envelope, float_hook=no_float)
_MODELS = msgspec.json.Decoder(list[_Model], float_hook=no_float)


class Marketiger:
    """One Marketiger account, asked for each of its orders."""

    name: ClassVar[str] = "marketiger"
    Options: ClassVar[type[base.Options]] = MarketigerOptions
    base_url: ClassVar[str] = ""

    def __init__(self, options: MarketigerOptions) -> None:
        self._currency = currency_code(options.currency)
        self._unit = options.price_unit
        self._by_tracking = options.shipped_when == "tracking"
        self._stages = dict(options.line_status)

    def authorize(self, token: str) -> Mapping[str, str]:
        """A bearer token."""
        return {"Authorization": f"Bearer {token}"}

    def order(self, number: str) -> Query:
        """Ask for an order by its GUID; `base_url` ends with the version, as in `/v2`."""
        return Query(path="Order/GetOrder", params=(("orderId", number),))

    def more(self, reply: Reply) -> Sequence[Query]:  # noqa: ARG002 - the contract's
        """Nothing: one reply says all."""
        return ()

    def read(self, watched: Watched, replies: Sequence[Reply]) -> Reading:
        """Read `{success, data: {order}}`; raises by the error's type, or `Malformed`."""
        reply = replies[0]
        order = decoded(_ENVELOPE, _body(reply)).data.order
        number = required_id(order.id, "$.data.order.id")
        if number.casefold() != watched.number.casefold():  # GUIDs are written in either case
            raise Malformed(f"is not {watched.number}, that was asked for", path="$.data.order.id")
        return Reading(
            event_id=number,
            event_type=str(order.status),
            at=_moment(order.updated, reply.at),
            facts=self._facts(order, number, watched.order or number, reply.at),
        )

    def page(self, cursor: str | None) -> Query | None:  # noqa: ARG002 - the contract's
        """None: Marketiger lists no orders."""
        return None

    def read_page(
        self,
        reply: Reply,  # noqa: ARG002 - the contract's
        cursor: str | None = None,  # noqa: ARG002 - the contract's
    ) -> Page:
        """Raises `AskFailed`: there is no list."""
        raise AskFailed("Marketiger lists no orders: watch each one by its orderId")

    def _facts(self, order: _Order, number: str, name: str, asked: Millis) -> Sequence[Fact]:
        status = STATUSES.get(order.status, UNKNOWN)
        models, shipment = _models(order.order_models), _shipment(order.track_and_trace)
        fulfilment = self._fulfilment(status, models, shipment)
        payment = status.payment or ("implied" if fulfilment in PAID_FOR else "")
        names = _names(number, name, order.payment_link)
        created = Fact(
            track=Track.CREATED,
            at=_moment(order.created_date, asked),
            state="created",
            implied=fulfilment != "created" or payment != "" or status.hold != "",
            lines=self._lines(models),
            **names,
        )
        names["at"] = _moment(order.updated, asked)
        part = Fact(
            track=Track.FULFILMENT,
            state=fulfilment,
            key=f"marketiger:{number}",
            soft=fulfilment == "cancelled",  # the code says "canceled or has expired"
            shipment=shipment,
            **names,
        )
        paid, held = _payment(payment, names), _hold(status, names)
        return (created, *paid, *held, part, *_change(order.status, status, names))

    def _fulfilment(
        self, status: Status, models: Sequence[_Model], shipment: Shipment | None
    ) -> str:
        """The furthest state that the code, the tracking and the lines tell; a cancel ends all."""
        if status.fulfilment != "created":
            return status.fulfilment
        if self._by_tracking and shipment is not None:
            return "shipped"
        return (self._stage(models) if status.lines else None) or status.fulfilment

    def _stage(self, models: Sequence[_Model]) -> str | None:
        """The first line that prints is enough for "printing"; "ready" takes all lines."""
        stages = [self._stages.get(str(count(model.status))) for model in models]
        if not any(stages):
            return None
        return "ready" if all(stage == "ready" for stage in stages) else "printing"

    def _lines(self, models: Sequence[_Model]) -> tuple[Line, ...] | None:
        if not models or len(models) > LINE_LIMIT:
            return None
        return tuple(self._line(model) for model in models)

    def _line(self, model: _Model) -> Line:
        # Whether `price` is for one piece or for the line is not documented: of one piece it is both.
        price = self._money(model.price) if count(model.quantity) == 1 else None
        return Line(
            id=_identifier(model.po_id),
            sku=_identifier(model.model_id),
            name=text(model.model_name),
            quantity=count(model.quantity),
            unit_price=price,
            total=price,
            status=_identifier(model.status),
            price=_digits(model.price) if price is None else None,
        )

    def _money(self, raw: msgspec.Raw) -> Money | None:
        number = literal_number(raw)
        if number is None or self._unit is None:
            return None
        if self._unit == "major":
            return decimal_money(number, self._currency)
        if self._currency is None:
            return None
        sign, digits, exponent = number.as_tuple()
        places = ISO_EXPONENTS.get(self._currency, 2)
        # Built from its parts: arithmetic would round to the context's 28 digits.
        return decimal_money(Decimal((sign, digits, int(exponent) - places)), self._currency)


def _body(reply: Reply) -> bytes:
    """The body of a reply that is no error; raises `AskFailed` or its kinds."""
    _check_told(reply)
    if reply.status in {403, 404}:
        raise AskFailed(
            f"it answered {reply.status} without an error of Marketiger's, whose errors are all"
            " 400: is base_url right, with the version at its end, as in /v2?"
        )
    return body_of(reply)


def _check_told(reply: Reply) -> None:
    """Raise what the API's own error object says; it may come with another status than 400."""
    if not (200 <= reply.status < 300 or reply.status in {400, 403, 404}):
        return
    body = error_body(reply) or {}
    found = body.get("error")
    error = found if isinstance(found, dict) else {}
    success = body.get("success")
    if success is True or (success is not False and not error):
        return
    kind, message = quoted(error.get("type")), quoted(error.get("message"))
    judged, advice = ERRORS.get(kind, OTHER_ERROR)
    if kind == "NOT_FOUND" and message.casefold().startswith("user not found"):
        judged, advice = NO_USER
    said = f"it answered {kind or 'an error without a type'}{f' ({message})' if message else ''}"
    raise judged(f"{said}: {advice}")


def _payment(payment: str, names: Mapping[str, Any]) -> Sequence[Fact]:
    if not payment:
        return ()
    implied = payment == "implied"
    return (Fact(track=Track.PAYMENT, state="paid", implied=implied, **names),)


def _hold(status: Status, names: Mapping[str, Any]) -> Sequence[Fact]:
    if status.hold is None:
        return ()
    return (Fact(track=Track.HOLD, state=status.hold, reason=status.hold or None, **names),)


def _change(code: int, status: Status, names: Mapping[str, Any]) -> Sequence[Fact]:
    if not status.change:
        return ()
    return (Fact(track=Track.CHANGE, what="status", state=str(code), **names),)


def _names(number: str, name: str, payment_link: object) -> dict[str, Any]:
    """Which order the facts are about; its Stripe Checkout session finds the same one."""
    names: dict[str, Any] = {
        "order": name,
        "links": (f"marketiger:{number}",),
        "ids": {"marketiger": (number,)},
    }
    session = _CHECKOUT.search(text(payment_link) or "")
    if session is not None:
        names["links"] += (f"stripe:{session[0]}",)
        names["ids"]["stripe"] = (session[0],)
    return names


def _moment(value: object, asked: Millis) -> Millis:
    """A time of theirs, but none after the asking; that, when theirs cannot be read."""
    found = from_iso(value)
    return asked if found is None else min(found, asked)


def _models(raw: msgspec.Raw) -> Sequence[_Model]:
    try:
        return decoded(_MODELS, raw)
    except Malformed:
        return ()


def _digits(raw: msgspec.Raw) -> str | None:
    """A number as it was sent, for who knows its unit."""
    number = literal_number(raw)
    return None if number is None else format(number, "f")


def _shipment(value: object) -> Shipment | None:
    """What tracks the parcel; `shippingMethodId` is an id of their settings and names no carrier."""
    if not isinstance(value, dict):
        return None
    number, url = _filled(value.get("trackingNumber")), _filled(value.get("trackingUrl"))
    return Shipment(tracking_number=number, tracking_url=url) if number or url else None


def _filled(value: object) -> str | None:
    found = text(value)
    return found if found and not found.isspace() else None


def _identifier(value: object) -> str | None:
    """An id that may be a number (`poId`) or text."""
    number = count(value)
    return text(value) if number is None else str(number)
