"""Every event type that the gateway makes, with what it means and the JSON Schema of its `data`."""

from typing import Any

import msgspec

from gateway.events import SCHEMA_VERSION, order_schema
from gateway.operations import TYPES
from gateway.orders.tables import OrderType

MEANINGS: dict[str, str] = {
    OrderType.CREATED: "An order became known. Always the first event of an order.",
    OrderType.PAID: "A payment of the order succeeded.",
    OrderType.PAYMENT_FAILED: "A payment of the order failed, and none has succeeded yet.",
    OrderType.PRINTING: "The first part of a provider order is being printed.",
    OrderType.READY: "Everything of a provider order is printed.",
    OrderType.SHIPPED: "A provider order, or with `change.partial` a part of it, is on its way.",
    OrderType.CANCELLED: "A provider order, or with `change.partial` a part of it, was cancelled.",
    OrderType.REFUNDED: "Money was given back; `change.full` says whether all of it.",
    OrderType.DISPUTED: "The customer's bank disputes a payment.",
    OrderType.ON_HOLD: "The provider holds the order; `change.reason` says why.",
    OrderType.UPDATED: "Something else of the order changed; `change.what` says what.",
    "gateway.subscription.gone": "A subscription's endpoint answered 410; nothing more is sent to it.",
    "gateway.subscription.paused": "A subscription is paused; its deliveries wait.",
    "gateway.subscription.failing": "Four attempts at a subscription failed in a row.",
    "gateway.subscription.recovered": "A failing subscription took a delivery again.",
    "gateway.delivery.exhausted": "A delivery ended without success: a dead letter, or parked.",
    "gateway.source.failing": "The API of a polled source refuses its token, or fails for long.",
    "gateway.source.silent": "A source sent no callback for as long as its `silent_after` says.",
    "gateway.source.rejecting": "Requests for a source are refused: nothing proves whose they are.",
    "gateway.fact.superseded": "A source said something that later facts had overtaken.",
}


def schema_of(event_type: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of `data` of one event type."""
    if event_type in TYPES:
        (reference,), components = msgspec.json.schema_components(
            [TYPES[event_type]], ref_template="#/$defs/{name}"
        )
        schema: dict[str, Any] = {**reference, "$defs": components}
    else:
        schema = order_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": event_type,
        "description": MEANINGS[event_type],
        **schema,
    }


def schema_files() -> dict[str, dict[str, Any]]:
    """What belongs into `schemas/`, by path: one file a type, and the canonical order alone."""
    files = {f"{SCHEMA_VERSION}/{name}.json": schema_of(name) for name in MEANINGS}
    files[f"{SCHEMA_VERSION}/order.json"] = {
        **schema_of(OrderType.CREATED),
        "title": "order",
        "description": "The canonical order: `data` of every order.* event.",
    }
    return files
