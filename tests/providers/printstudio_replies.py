"""Answers of PrintStudio's API, made from the fields that a test is about."""

from collections.abc import Sequence
from typing import Any

from gateway.models import Fact, Millis, Page, Reply, Watched
from gateway.providers.printstudio import PrintStudio, PrintStudioOptions
from tests.providers.callbacks import as_bytes

ASKED = Millis(1_705_400_000_000)
PLACED = Millis(1_705_315_800_000)
NUMBER = "ord-abc123"
KEY = f"printstudio:{NUMBER}"
ORDER = {
    "id": NUMBER,
    "status": "pending_payment",
    "customerId": "cust-1",
    "lineItems": [
        {"id": "li-1", "skuId": "sku-1", "quantity": 2, "unitPrice": 19.99, "total": 39.98}
    ],
    "subtotal": 39.98,
    "shipping": 5.0,
    "tax": 4.28,
    "total": 49.26,
    "createdAt": "2024-01-15T10:50:00Z",
}
JSON_TYPE = {"content-type": "application/json"}


def provider(**options: Any) -> PrintStudio:
    return PrintStudio(PrintStudioOptions(**options))


def answered(value: Any, status: int = 200) -> Reply:
    return Reply(status=status, headers=JSON_TYPE, body=as_bytes(value), at=ASKED)


def read(value: Any, **options: Any) -> Sequence[Fact]:
    return provider(**options).read(Watched(number=NUMBER), [answered(value)]).facts


def listed(value: Any, **asked: Any) -> Page:
    return provider().read_page(answered(value), **asked)


def many(amount: int) -> list[dict[str, Any]]:
    return [{"id": f"ord-{number}", "status": "paid"} for number in range(amount)]


def error(code: str, text: str) -> dict[str, Any]:
    return {"error": text, "code": code, "details": {"orderId": NUMBER}}
