"""CloudEvents out and in: the canonical order, its envelope, its schemas, and the SDK's only door.

The hot path encodes with msgspec; tests hold that the CloudEvents SDK reads back the same event.
Format: CloudEvents 1.0.2 JSON format; extensions `partitionkey`, `recordedtime` and `traceparent`
as in the CloudEvents registry of extensions, `orderseq` is ours (design 6.4).
"""

import hashlib
import json
from base64 import b64decode
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from importlib import resources
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from msgspec import UNSET, Meta, Raw, UnsetType

from gateway.errors import GatewayError
from gateway.media import check_data_type, out_of_json
from gateway.models import Event, Line, Millis, Money, Shipment

SCHEMA_VERSION = "v1"
LATEST = 253_402_300_799_000  # 9999-12-31T23:59:59Z, the last second that RFC 3339 can write

Text = Annotated[str, Meta(min_length=1, max_length=255)]
Amount = Annotated[str, Meta(pattern=r"^-?[0-9]+(\.[0-9]+)?$")]


def _words(*words: str) -> Meta:
    """A constraint to one of some words, which JSON Schema shows as an `enum`."""
    return Meta(pattern=f"^({'|'.join(words)})$", extra_json_schema={"enum": list(words)})


FulfilmentWord = Annotated[
    str,
    _words("created", "processing", "printing", "post_processing", "ready", "shipped", "cancelled"),
]
PaymentWord = Annotated[str, _words("paid", "failed")]
RefundWord = Annotated[str, _words("pending", "succeeded", "failed")]
RefundSum = Annotated[str, _words("partial", "full", "unknown")]
DisputeWord = Annotated[str, _words("open", "closed")]


class UnfitEvent(GatewayError):
    """An event that does not fit its schema: a bug of the gateway; its callback is quarantined."""


class OrderMoney(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`value` in major units as text, `minor` only when unit and currency are known."""

    value: Amount | None
    minor: int | None
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] | None


class OrderLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the order; `status` and `price` are the provider's own, of unknown meaning and unit."""

    id: str | None
    sku: str | None
    name: str | None
    quantity: int | None
    unit_price: OrderMoney | None
    total: OrderMoney | None
    status: str | None
    price: str | None


class OrderShipment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the order travels."""

    tracking_number: str | None
    tracking_url: str | None
    carrier: str | None
    expected: str | None


class OrderSummary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The order in five words, one per track; null while nothing is known."""

    fulfilment: FulfilmentWord | None
    payment: PaymentWord | None
    refund: RefundSum | None
    dispute: DisputeWord | None
    hold: str | None


class OrderPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One provider order that makes (a part of) this order."""

    provider: Text
    id: str
    state: FulfilmentWord
    shipped: int | None
    cancelled: int | None
    shipment: OrderShipment | None


class OrderPayment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One payment; `id` is null when the source names none."""

    id: str | None
    state: PaymentWord
    amount: OrderMoney | None
    implied: bool
    amount_mismatch: bool


class OrderRefund(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One refund that has an id."""

    id: str
    state: RefundWord
    amount: OrderMoney | None


class OrderDispute(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One dispute."""

    id: str
    state: DisputeWord
    amount: OrderMoney | None


class OrderPayments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All payments, refunds and disputes, and their sums."""

    paid: OrderMoney | None
    refunded: OrderMoney | None
    payments: list[OrderPayment]
    refunds: list[OrderRefund]
    disputes: list[OrderDispute]


class OrderChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What this event says that was not known before.

    `id` is the payment, refund, dispute or provider order concerned; `what` and `value` are those of
    an `order.updated`; `amount` is the refund's, the payment's or the dispute's. `baseline` marks the
    first event of an order that was there before the gateway first looked: no `order.created` precedes it.
    """

    id: str | None
    what: str | None
    value: str | None
    amount: OrderMoney | None
    reason: str | None
    quantity: int | None
    partial: bool
    implied: bool
    additional: bool
    baseline: bool
    full: bool | None


class OrderCause(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The callback that told it: the provider, its event id and type."""

    provider: Text
    event_id: Text
    type: Text


class OrderData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The canonical order: `data` of every `order.*` event."""

    shop: Text
    order: Text
    aliases: list[str]
    ids: dict[str, list[str]]
    livemode: bool | None
    state: OrderSummary
    previous: OrderSummary
    change: OrderChange
    total: OrderMoney | None
    lines: list[OrderLine]
    parts: list[OrderPart]
    shipment: OrderShipment | None
    payment: OrderPayments
    cause: OrderCause
    customer: dict[str, Any] | UnsetType = UNSET
    original: Raw | UnsetType = UNSET


class SupersededData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`data` of `gateway.fact.superseded`: what a source said too late, and why it makes no event."""

    shop: Text
    order: Text
    track: Text
    state: str
    id: str | None
    reason: str
    cause: OrderCause


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """The structured CloudEvent, in the order in which it is written."""

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    subject: str | UnsetType = UNSET
    time: str
    datacontenttype: str = "application/json"
    dataschema: str | UnsetType = UNSET
    partitionkey: str | UnsetType = UNSET
    orderseq: int | UnsetType = UNSET
    recordedtime: str
    traceparent: str | UnsetType = UNSET
    data: Raw


_encoder = msgspec.json.Encoder()
_order_decoder = msgspec.json.Decoder(OrderData)
_JSON_TYPE = Raw(b'"application/json"')
_envelope_decoder = msgspec.json.Decoder(dict[str, Raw])


def event_id(shop: str, order: str, event_type: str, occurrence: tuple[str, ...]) -> str:
    """`evt_` + the first 40 hex digits of the SHA-256 of the JSON array that names the event."""
    name = _encoder.encode([shop, order, event_type, occurrence])
    return "evt_" + hashlib.sha256(name).hexdigest()[:40]


def rfc3339(at: Millis) -> str:
    """Milliseconds since 1970 as RFC 3339 in UTC, without a fraction where there is none."""
    text, fraction = _second(at // 1000), at % 1000
    return f"{text}.{fraction:03d}Z" if fraction else f"{text}Z"


@lru_cache(maxsize=256)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().removesuffix("+00:00")


def escape(text: str) -> str:
    """`text` as printable ASCII: everything else percent-encoded as UTF-8 (design 6.4)."""
    if text.isascii() and text.isprintable() and "%" not in text:
        return text
    return quote(text, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")


def money(amount: Money | None) -> OrderMoney | None:
    """An amount as it stands in an event."""
    if amount is None:
        return None
    return OrderMoney(amount.value, amount.minor, amount.currency)


def line(item: Line) -> OrderLine:
    """A line as it stands in an event."""
    amounts = (money(item.unit_price), money(item.total))
    return OrderLine(item.id, item.sku, item.name, item.quantity, *amounts, item.status, item.price)


def shipment(parcel: Shipment | None) -> OrderShipment | None:
    """A shipment as it stands in an event."""
    if parcel is None:
        return None
    return OrderShipment(
        parcel.tracking_number, parcel.tracking_url, parcel.carrier, parcel.expected
    )


class Writer:
    """Makes events; knows the public URL, under which sources and schemas have their addresses."""

    def __init__(self, public_url: str) -> None:
        self._public_url = public_url.rstrip("/")

    def order_event(
        self,
        data: OrderData,
        *,
        event_type: str,
        occurrence: tuple[str, ...],
        seq: int,
        source: str,
        at: Millis,
        recorded: Millis,
        traceparent: str,
    ) -> Event:
        """One `order.*` event; `UnfitEvent` when its data do not fit the schema."""
        body = _encoder.encode(data)
        try:
            _order_decoder.decode(body)
        except msgspec.ValidationError as error:
            raise UnfitEvent(f"{event_type} does not fit its schema: {error}") from None
        return self._event(
            Envelope(
                id=event_id(data.shop, data.order, event_type, occurrence),
                source=self._source(source),
                type=event_type,
                subject=escape(data.order),
                time=rfc3339(at),
                dataschema=self._schema(event_type),
                partitionkey=escape(f"{data.shop}/{data.order}"),
                orderseq=seq,
                recordedtime=rfc3339(recorded),
                traceparent=traceparent,
                data=Raw(body),
            ),
            source=source,
            shop=data.shop,
            order=data.order,
            at=at,
            recorded=recorded,
        )

    def other_event(
        self,
        data: Raw,
        *,
        event_type: str,
        occurrence: tuple[str, ...],
        subject: str | None,
        shop: str,
        source: str,
        at: Millis,
        recorded: Millis,
        traceparent: str | None = None,
        envelope: bytes | None = None,
    ) -> Event:
        """An event that is no order's: `printstudio.job.failed`, `gateway.subscription.gone`.

        With `envelope` it was published, and is sent as these bytes under an id of our own.
        """
        event = self._event(
            Envelope(
                id=event_id(shop, "", event_type, (source, *occurrence)),
                source=self._source(source),
                type=event_type,
                subject=escape(subject) if subject else UNSET,
                time=rfc3339(at),
                recordedtime=rfc3339(recorded),
                traceparent=traceparent if traceparent is not None else UNSET,
                data=data,
            ),
            source=source,
            shop=shop,
            order=None,
            at=at,
            recorded=recorded,
        )
        return event if envelope is None else msgspec.structs.replace(event, body=envelope)

    @staticmethod
    def _event(
        envelope: Envelope,
        *,
        source: str,
        shop: str,
        order: str | None,
        at: Millis,
        recorded: Millis,
    ) -> Event:
        return Event(
            id=envelope.id,
            type=envelope.type,
            source=source,
            shop=shop,
            order=order,
            seq=envelope.orderseq if envelope.orderseq is not UNSET else None,
            time=at,
            recorded=recorded,
            body=_encoder.encode(envelope),
        )

    def _source(self, name: str) -> str:
        path = f"/sources/{name}" if name != "gateway" else "/gateway"
        return self._public_url + path

    def _schema(self, event_type: str) -> str | UnsetType:
        if not self._public_url:
            return UNSET
        return f"{self._public_url}/schemas/{SCHEMA_VERSION}/{event_type}.json"


def binary(body: bytes) -> tuple[list[tuple[str, str]], bytes]:
    """The headers and the data of a structured event in binary mode (HTTP binding, 3.1).

    Header values are percent-encoded by rule CE-5: space, `"`, `%` and all beyond printable ASCII.
    ValueError where its data cannot be sent so.
    """
    attributes = _envelope_decoder.decode(body)
    content_type = msgspec.json.decode(attributes.pop("datacontenttype", _JSON_TYPE))
    content_type = str(content_type or "application/json")
    check_data_type(content_type)  # what is stored may come from an older program, even a number
    data = out_of_json(bytes(attributes.pop("data", Raw(b""))), content_type)
    if "data_base64" in attributes:
        data = b64decode(msgspec.json.decode(attributes.pop("data_base64"), type=str))
    headers = [("content-type", content_type)]
    for name, raw in attributes.items():
        value = msgspec.json.decode(raw)
        if value is None:  # as if it were not there (JSON format, 2.2)
            continue
        text = value if isinstance(value, str) else bytes(raw).decode()  # 1, true
        headers.append((f"ce-{name}", quote(text, safe="!#$&'()*+,-./:;<=>?@[\\]^_`{|}~")))
    return headers, data


def parse(headers: Mapping[str, str], body: bytes) -> BaseCloudEvent:
    """Read a delivery of any mode with the CloudEvents SDK; its own errors pass through."""
    return from_http_event(HTTPMessage(dict(headers), body))


def schemas() -> dict[str, bytes]:
    """The JSON Schemas by file name: those of the installed package, else of the checkout."""
    packaged = resources.files("gateway") / "schemas"
    folder = packaged if packaged.is_dir() else Path(__file__).parent.parent / "schemas"
    version = folder / SCHEMA_VERSION
    return {
        entry.name: entry.read_bytes()
        for entry in version.iterdir()
        if entry.name.endswith(".json")
    }


def order_schema() -> dict[str, Any]:
    """The JSON Schema of the canonical order, made from the same types that check every event."""
    (reference,), components = msgspec.json.schema_components(
        [OrderData], ref_template="#/$defs/{name}", schema_hook=lambda _: {}
    )
    return {**reference, "$defs": components}


def dump_schema(schema: Mapping[str, Any]) -> str:
    """A schema as the text of its file."""
    return json.dumps(_dedented(schema), indent=2, ensure_ascii=False) + "\n"


def _dedented(part: Any) -> Any:
    """Descriptions without the indentation of the source: Python 3.13 takes it out by itself."""
    if isinstance(part, Mapping):
        return {
            key: cleandoc(value)
            if key == "description" and isinstance(value, str)
            else _dedented(value)
            for key, value in part.items()
        }
    return [_dedented(one) for one in part] if isinstance(part, list) else part
