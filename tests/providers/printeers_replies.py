"""Replies of Printeers in few words, and what is read off them."""

import json
from typing import Any

from gateway.models import Fact, Millis, Reading, Reply, Track, Watched
from gateway.providers.printeers import Printeers, PrinteersOptions

AT = Millis(1_750_000_000_000)  # 2025-06-15T15:06:40Z
REF = "Order_5jcavdegg8n9pvgxq887jq0zbc"
KEY = f"printeers:{REF}"
MAP = {
    "new": "created",
    "settled": "paid",
    "accepted": "processing",
    "printing": "printing",
    "finishing": "post_processing",
    "packed": "ready",
    "sent": "shipped",
    "void": "cancelled",
    "waiting": "on_hold",
}


def provider(**options: Any) -> Printeers:
    return Printeers(PrinteersOptions(**options))


def reply(value: object, status: int = 200, at: int = AT) -> Reply:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    headers = {"content-type": "application/json"}
    return Reply(status=status, headers=headers, body=content, at=Millis(at))


def line(quantity: object, shipped: object, cancelled: object, index: int = 0) -> dict[str, Any]:
    return {
        "index": index,
        "quantity": quantity,
        "shippedQuantity": shipped,
        "canceledQuantity": cancelled,
    }


def order(*lines: tuple[object, object, object], **more: Any) -> dict[str, Any]:
    found = [line(*amounts, index=index) for index, amounts in enumerate(lines)]
    return {"order": {"reference": REF, "orderlines": found} | more}


def shipment(place: int) -> str:
    return f"Shipment_{place:026d}"


def read(value: object, *shipments: Reply, at: int = AT, **options: Any) -> Reading:
    watched = Watched(number=REF, order=options.pop("name", None))
    return provider(**options).read(watched, [reply(value, at=at), *shipments])


def told(reading: Reading) -> list[tuple[str, str, int | None]]:
    """Track, state and quantity of all facts."""
    return [(fact.track.value, fact.state, fact.quantity) for fact in reading.facts]


def only(reading: Reading, track: Track) -> Fact:
    (fact,) = (fact for fact in reading.facts if fact.track is track)
    return fact


CREATED = ("created", "created", None)
OPEN = ("fulfilment", "created", None)
SHIPPED = ("fulfilment", "shipped", None)
CANCELLED = ("fulfilment", "cancelled", None)


def some(state: str, quantity: int) -> tuple[str, str, int | None]:
    return ("fulfilment", state, quantity)


def parcel(number: str, **more: Any) -> Reply:
    return reply({"shipment": {"reference": shipment(1), "trackingNumber": number} | more})
