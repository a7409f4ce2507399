"""An order of PrintStudio as its JSON tells it, in a callback's `data` or from the API.

Both halves of the provider read it here, so that they say the same order id, keys and details.
"""

from typing import Any, Final

import msgspec

from gateway.errors import Malformed
from gateway.models import Line, Millis, Money, Shipment
from gateway.providers.reading import (
    contact,
    count,
    currency_code,
    decimal_money,
    decoded,
    literal_number,
    no_float,
    text,
)

NAME: Final = "printstudio"
LINE_LIMIT: Final = 1_000  # more are not told: empty ones would be thirty times as long in an event


class _Line(msgspec.Struct, frozen=True, rename="camel"):
    id: Any = None
    sku_id: Any = None
    name: Any = None
    quantity: Any = None
    unit_price: msgspec.Raw = msgspec.Raw()
    total: msgspec.Raw = msgspec.Raw()


class Order(msgspec.Struct, frozen=True, rename="camel"):
    """The `data` of an order event, whose id is `orderId`, or an order of the API, whose is `id`."""

    order_id: Any = None
    id: Any = None
    status: Any = None
    created_at: Any = None
    tracking_number: Any = None
    tracking_url: Any = None
    carrier: Any = None
    estimated_delivery: Any = None
    currency: Any = None
    customer: Any = None
    total: msgspec.Raw = msgspec.Raw()
    line_items: msgspec.Raw = msgspec.Raw()


LIST = msgspec.json.Decoder(list[msgspec.Raw])
ORDER = msgspec.json.Decoder(Order, float_hook=no_float)
_LINES = msgspec.json.Decoder(list[_Line], float_hook=no_float)


def part_key(order_id: str) -> str:
    """The key of the provider order on the fulfilment track."""
    return f"{NAME}:{order_id}"


def details(order: Order, order_id: str, *, currency: str | None, at: Millis) -> dict[str, Any]:
    """What every fact about the order says beside its own track; `currency` is the source's."""
    known = currency or currency_code(order.currency)
    return {
        "at": at,
        "order": order_id,
        "ids": {NAME: (order_id,)},
        "total": _money(order.total, known),
        "lines": _lines(order.line_items, known),
        "shipment": _shipment(order),
        "customer": _customer(order.customer),
    }


def _money(raw: msgspec.Raw, currency: str | None) -> Money | None:
    number = literal_number(raw)
    return None if number is None else decimal_money(number, currency)


def _lines(raw: msgspec.Raw, currency: str | None) -> tuple[Line, ...] | None:
    try:
        if len(decoded(LIST, raw)) > LINE_LIMIT:
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


def _shipment(order: Order) -> Shipment | None:
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
