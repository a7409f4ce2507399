"""Test callbacks as PrintStudio would send them: https://docs.printstudio.r5i.io/api/webhooks."""

import json
from collections.abc import Mapping
from typing import Any, Final

from gateway.events import rfc3339
from gateway.providers.base import Occasion

SKU: Final = "sku-pla-black-dragon"

Data = Mapping[str, Any]


def samples(occasion: Occasion) -> Mapping[str, bytes]:
    """A body of each event that the shop's webhooks know; each has the tag in its id."""
    order = {"orderId": occasion.order}
    job = {"jobId": f"job-{occasion.tag}", **order}
    found: Mapping[str, Data] = {
        "order.created": {**order, **_lines(occasion)},
        "order.paid": order,
        "order.printing": order,
        "order.ready": order,
        "order.shipped": {**order, **_parcel(occasion)},
        "order.cancelled": order,
        "job.completed": job,
        "job.failed": {**job, "error": "filament ran out"},
        "inventory.low": {"skuId": SKU, "quantity": 2},
        "printer.offline": {"printerId": f"printer-{occasion.tag}"},
    }
    return {name: _envelope(name, data, occasion) for name, data in found.items()}


def _lines(occasion: Occasion) -> Data:
    """The one line of the order; the API writes amounts as numbers."""
    price = round(occasion.minor / 100, 2)
    line = {"id": "line-1", "skuId": SKU, "quantity": 1, "unitPrice": price, "total": price}
    return {"lineItems": [line], "total": price}


def _parcel(occasion: Occasion) -> Data:
    return {
        "trackingNumber": occasion.tracking,
        "carrier": "UPS",
        "estimatedDelivery": "2030-01-17",
    }


def _envelope(name: str, data: Data, occasion: Occasion) -> bytes:
    envelope = {
        "id": f"evt-{occasion.tag}-{name.removeprefix('order.')}",
        "event": name,
        "timestamp": rfc3339(occasion.at),
        "data": data,
    }
    return json.dumps(envelope, separators=(",", ":")).encode()
