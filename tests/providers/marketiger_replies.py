"""Replies of Marketiger's API, made from the fields that a test is about."""

import json
from typing import Any

from gateway.models import Fact, Millis, Reading, Reply, Shipment, Track, Watched
from gateway.providers.marketiger import Marketiger, MarketigerOptions

NUMBER = "0f8fad5b-d9cb-469f-a165-70867728950e"
KEY = f"marketiger:{NUMBER}"
CREATED = Millis(1_750_000_000_000)
UPDATED = Millis(CREATED + 60_000)
ASKED = Millis(CREATED + 3_600_000)
WATCHED = Watched(number=NUMBER)
TRACKING = {"trackingNumber": "1Z", "shippingMethodId": 7, "trackingUrl": "https://t.example/1Z"}
PARCEL = Shipment(tracking_number="1Z", tracking_url="https://t.example/1Z")
NO_PARCEL = {"trackingNumber": None, "shippingMethodId": None, "trackingUrl": None}
STAGES = {"20": "printing", "30": "ready"}


def model(**fields: Any) -> dict[str, Any]:
    return {
        "poId": 4711,
        "modelId": "9b2e",
        "modelName": "gear.stl",
        "imageUrl": "https://images.example/1?expires=300",
        "price": 1050,
        "status": 0,
        "bounds": {"x": 1.5},
        "quantity": 1,
    } | fields


def order(**fields: Any) -> dict[str, Any]:
    """What is told of an order; a time of theirs, and every field that is documented."""
    return {
        "id": NUMBER,
        "status": 1,
        "createdDate": "2025-06-15T15:06:40Z",
        "updated": "2025-06-15T15:07:40Z",
        "trackAndTrace": None,
        "shippingMethodId": 7,
        "projectName": "Shop",
        "paymentLink": None,
        "shippingRate": 500,
        "orderModels": [model()],
    } | fields


def reply(body: Any, status: int = 200, at: Millis = ASKED) -> Reply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status=status, headers={"content-type": "application/json"}, body=data, at=at)


def found(**fields: Any) -> dict[str, Any]:
    return {"success": True, "data": {"order": order(**fields)}}


def read(
    *, options: MarketigerOptions | None = None, watched: Watched = WATCHED, **fields: Any
) -> Reading:
    provider = Marketiger(options or MarketigerOptions())
    return provider.read(watched, [reply(found(**fields))])


def fact(reading: Reading, track: Track) -> Fact:
    (one,) = [fact for fact in reading.facts if fact.track is track]
    return one


def told(reading: Reading) -> list[tuple[str, str, bool]]:
    return [(fact.track.value, fact.state, fact.implied) for fact in reading.facts]


def refusal(kind: object, message: object = "Text.") -> dict[str, Any]:
    return {"success": False, "error": {"type": kind, "message": message}}
