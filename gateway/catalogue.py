"""Every event type that the gateway makes: its meaning, the JSON Schema of its `data`, an example."""

from typing import Any

import msgspec
from msgspec import Raw

from gateway.events import SCHEMA_VERSION, event_id, order_schema, rfc3339
from gateway.examples import examples
from gateway.glossary import FIELDS
from gateway.models import Delivery, Event, Millis, Mode, Subscription
from gateway.operations import TYPES
from gateway.orders.tables import OCCURRENCES, OrderType
from gateway.sender import request_of

PUBLIC_URL = "https://hooks.example.com"
TEST = "gatewaytest"  # the CloudEvents extension, true, that marks what never happened

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

WHEN: dict[str, str] = {
    **{kind: f"Once for the same occurrence: {named}." for kind, named in OCCURRENCES.items()},
    OrderType.CREATED: "Once an order. Made with a later fact, where that is the first one.",
    "gateway.subscription.gone": "At once, and again when it answers 410 after a person resumed it.",
    "gateway.subscription.paused": "When the gateway pauses it, and not when a person does.",
    "gateway.subscription.failing": "Once, until it has recovered.",
    "gateway.subscription.recovered": "Once, after `gateway.subscription.failing`.",
    "gateway.delivery.exhausted": "For each delivery or batch, but not for those of `gateway.*`.",
    "gateway.source.failing": "When it begins, and again after it worked in between.",
    "gateway.source.silent": "Once, until something authentic comes.",
    "gateway.source.rejecting": "Once, until the source is heard again; at most once an hour.",
    "gateway.fact.superseded": "For each such fact.",
}
"""How often each comes."""

_attributes = msgspec.json.Decoder(dict[str, Raw])
_encode = msgspec.json.encode


def example(event_type: str, *, public_url: str = PUBLIC_URL) -> Event:
    """An event of this type, always the same one, made by the code that makes the real ones.

    `public_url` is where its source and its schema have their addresses. KeyError for a type that
    is not in `MEANINGS`.
    """
    return examples(public_url)[event_type]


def marked(event: Event, *, now: Millis, nonce: str) -> Event:
    """The same as a test event of `now`: marked `gatewaytest`, under an id that `nonce` makes new."""
    attributes = _attributes.decode(event.body)
    data = attributes.pop("data")
    name, time = event_id(event.shop, "", event.type, (TEST, nonce)), Raw(_encode(rfc3339(now)))
    attributes |= {"id": Raw(_encode(name)), "time": time, "recordedtime": time}
    body = _encode(attributes | {TEST: Raw(b"true"), "data": data})
    return msgspec.structs.replace(event, id=name, time=now, recorded=now, body=body)


def in_mode(event: Event, mode: Mode, *, flat: bool = False) -> tuple[dict[str, str], bytes]:
    """The event as a delivery has it: the headers that tell what the body is, and the body.

    Names are lower case: `content-type`, and in mode `binary` those that begin with `ce-`. Mode
    `batch` has it as its only member.
    """
    subscription = Subscription(id=0, name="example", url=PUBLIC_URL, mode=mode, flat=flat)
    delivery = Delivery(
        id=0,
        subscription=0,
        event_id=event.id,
        event_type=event.type,
        body=b"[%b]" % event.body if mode is Mode.BATCH else event.body,
        attempts=0,
        number=0,
        first_at=None,
        claim=0,
    )
    request = request_of(subscription, delivery, 0)
    lines = [one.partition(": ") for one in request.head.decode("ascii").split("\r\n")]
    headers = {name.lower(): value for name, _, value in lines}
    told = {name: headers[name] for name in headers if name.startswith(("content-type", "ce-"))}
    return told, request.body


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
        "$defs": {name: _told(name, part) for name, part in schema["$defs"].items()},
    }


def _told(name: str, part: dict[str, Any]) -> dict[str, Any]:
    """A type of the schema, with what its fields mean."""
    fields = {
        field: {"description": FIELDS[name][field], **schema}
        for field, schema in part["properties"].items()
    }
    return part | {"properties": fields}


def schema_files() -> dict[str, dict[str, Any]]:
    """What belongs into `schemas/`, by path: one file a type, and the canonical order alone."""
    files = {f"{SCHEMA_VERSION}/{name}.json": schema_of(name) for name in MEANINGS}
    files[f"{SCHEMA_VERSION}/order.json"] = {
        **schema_of(OrderType.CREATED),
        "title": "order",
        "description": "The canonical order: `data` of every order.* event.",
    }
    return files
