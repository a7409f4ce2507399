"""Printeers' API v2 as its public pages describe it, over real HTTP.

Sources: https://api-docs.printeers.com/guides/creating-orders (orders, cancelling),
https://api-docs.printeers.com/guides/rate-limiting (headers) and
https://api-docs.test-printeers.com/guides/v1-vs-v2 (wrapping, `nextCursor`). Not published, and
guessed here: the shape of errors, of a shipment and of `status`, the parameter `cursor`.
"""

import base64
import itertools
import json
from collections.abc import Sequence
from typing import Any

from tests.simulators.api import Api, Request, Response, json_response

KEY = "sk_printeers_test"
LIMIT = 3000  # requests in a window of 60 seconds, of the policy "default"
WINDOW = 60


def reference(resource: str, number: int) -> str:
    """`Order_` and 26 opaque characters."""
    return f"{resource}_{number:026d}"


class PrinteersApi(Api):
    """One organization; `budget` is what the window still allows, `page_size` what a page holds."""

    prefix = "/v2"

    def __init__(self, key: str = KEY, *, page_size: int = 50) -> None:
        super().__init__()
        self.key = key
        self.page_size = page_size
        self.budget = LIMIT
        self.orders: dict[str, dict[str, Any]] = {}
        self.shipments: dict[str, dict[str, Any]] = {}
        self.brief = False  # whether a list leaves the lines out
        self._numbers = itertools.count(1)

    # What a test does.

    def place(self, custom: str | None = None, quantities: Sequence[int] = (1,)) -> str:
        """A new order with a line for each quantity; its reference."""
        number = reference("Order", next(self._numbers))
        lines = [
            {"index": index, "quantity": quantity, "canceledQuantity": 0, "shippedQuantity": 0}
            for index, quantity in enumerate(quantities)
        ]
        order = {"reference": number, "status": {"state": "open"}, "orderlines": lines}
        self.orders[number] = order | ({"customIdentifier": custom} if custom is not None else {})
        return number

    def ship(self, number: str, quantity: int, line: int = 0) -> str:
        """Ship so many more of a line; the shipment's reference."""
        order = self.orders[number]
        order["orderlines"][line]["shippedQuantity"] += quantity
        shipment = reference("Shipment", next(self._numbers))
        self.shipments[shipment] = {
            "reference": shipment,
            "lines": [{"linenumber": line, "quantity": quantity}],
        }
        order.setdefault("shipments", []).append(shipment)
        return shipment

    def track(self, shipment: str, code: str, url: str, carrier: str = "GLS") -> None:
        """The shipment gets its tracking."""
        self.shipments[shipment] |= {
            "trackAndTraceCode": code,
            "trackAndTraceUrl": url,
            "shipper": carrier,
        }

    def cancel(self, number: str, quantity: int, line: int = 0) -> None:
        """Support cancels: so many of a line in all."""
        self.orders[number]["orderlines"][line]["canceledQuantity"] = quantity

    def move(self, number: str, status: object) -> None:
        """The order's `status` becomes this JSON value."""
        self.orders[number]["status"] = status

    # What the API says.

    def answer(self, request: Request) -> Response:
        if request.headers.get("x-printeers-secret-key") != self.key:
            return _error(401, "unauthorized", "The secret key is missing or not valid.")
        if self.budget <= 0:
            return self._limited(_error(429, "rate_limited", "Too many requests."))
        self.budget -= 1
        return self._limited(self._route(request))

    def _limited(self, response: Response) -> Response:
        headers = dict(response.headers) | {
            "X-RateLimit-Policy": f'"default";q={LIMIT};w={WINDOW}',
            "X-RateLimit": f'"default";r={self.budget};t={WINDOW}',
        }
        if response.status == 429:
            headers["Retry-After"] = str(WINDOW)
        return Response(status=response.status, headers=headers, body=response.body)

    def _route(self, request: Request) -> Response:
        match (request.method, *request.path.strip("/").split("/")):
            case ("GET", "orders"):
                return self._list(request.params.get("cursor"))
            case ("POST", "orders"):
                return self._create(json.loads(request.body))
            case ("GET", "orders", number) if number in self.orders:
                return json_response({"order": self.orders[number]})
            case ("POST", "orders", number, "cancel") if number in self.orders:
                return self._cancel(self.orders[number], json.loads(request.body))
            case ("GET", "shipments", number) if number in self.shipments:
                return json_response({"shipment": self.shipments[number]})
        return _error(404, "not_found", "There is no such resource.")

    def _list(self, cursor: str | None) -> Response:
        start = int(base64.urlsafe_b64decode(cursor)) if cursor else 0
        found = list(self.orders.values())[start : start + self.page_size]
        if self.brief:
            found = [{k: v for k, v in order.items() if k != "orderlines"} for order in found]
        after = start + self.page_size
        further = base64.urlsafe_b64encode(str(after).encode()).decode()
        more = further if after < len(self.orders) else None
        return json_response({"orders": found, "nextCursor": more})

    def _create(self, body: dict[str, Any]) -> Response:
        order = body["order"]
        quantities = [line["quantity"] for line in order["orderlines"]]
        number = self.place(order.get("customIdentifier"), quantities)
        return json_response({"order": {"reference": number}})

    def _cancel(self, order: dict[str, Any], body: dict[str, Any]) -> Response:
        """All lines or none; the quantities are totals, so that a repeat changes nothing."""
        wanted = {line["index"]: line["canceledQuantity"] for line in body["orderlines"]}
        for index, quantity in wanted.items():
            line = order["orderlines"][index]
            if quantity < line["canceledQuantity"]:
                return _error(409, "canceled_quantity_below_current", "It cannot be taken back.")
            if quantity > line["quantity"] - line["shippedQuantity"]:
                return _error(409, "canceled_quantity_exceeds_shippable", "More than is left.")
        for index, quantity in wanted.items():
            order["orderlines"][index]["canceledQuantity"] = quantity
        return Response(status=204, headers={})


def _error(status: int, code: str, message: str) -> Response:
    return json_response({"error": {"code": code, "message": message}}, status)
