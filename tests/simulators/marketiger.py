"""Marketiger's API: an order's status by its GUID, and every error as 400.

Facts: https://docs.marketiger3d.com/docs/status-codes and .../docs/requests-conventions. The texts
of the error messages, but for "User not found.", are this simulator's own.
"""

import itertools
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tests.simulators.api import Api, Request, Response, json_response

START = 1_750_000_000  # seconds since 1970: the first order is placed then
PAY = "https://checkout.stripe.com/pay/"


def refusal(kind: str, message: str) -> Response:
    """How every error looks."""
    return json_response({"success": False, "error": {"type": kind, "message": message}}, 400)


class MarketigerApi(Api):
    """Orders and their owners; every change is told to have happened a second after the last one.

    `tokens` leads from a token to its user; None for a user who was deleted.
    """

    prefix = "/v2"

    def __init__(self, tokens: Mapping[str, str | None] | None = None) -> None:
        super().__init__()
        self.tokens: dict[str, str | None] = dict(tokens or {"tiger-token": "ada"})
        self.orders: dict[str, dict[str, Any]] = {}
        self.owners: dict[str, str] = {}
        self.failing = False  # every question ends in OPERATION_FAILED
        self._seconds = itertools.count(START)
        self._numbers = itertools.count(1)

    def place(self, *, owner: str = "ada", session: str | None = None, lines: int = 1) -> str:
        """A new order; `session` is its Stripe Checkout session. Returns its GUID."""
        serial = next(self._numbers)
        number = str(uuid.UUID(int=serial << 64 | 0x4000_8000_0000_0000_0000, version=4))
        now = self._now()
        self.owners[number] = owner
        self.orders[number] = {
            "id": number,
            "status": 1,
            "createdDate": now,
            "updated": now,
            "trackAndTrace": None,
            "shippingMethodId": 7,
            "projectName": "Shop",
            "paymentLink": PAY + session if session else None,
            "shippingRate": 500,
            "orderModels": [self._model(serial * 100 + line) for line in range(lines)],
        }
        return number

    def move(self, number: str, status: int) -> None:
        """The order has this code from now on."""
        self._change(number, status=status)

    def track(self, number: str, tracking: str | None, url: str | None = None) -> None:
        """The parcel's number and page; without both it is an object of nulls."""
        where = {"trackingNumber": tracking, "trackingUrl": url}
        method = 7 if tracking or url else None
        self._change(number, trackAndTrace={**where, "shippingMethodId": method})

    def move_line(self, number: str, line: int, status: int) -> None:
        """One production order has this code from now on."""
        self.orders[number]["orderModels"][line]["status"] = status
        self._change(number)

    def answer(self, request: Request) -> Response:
        if (request.method, request.path) != ("GET", "/Order/GetOrder"):
            return Response(status=404, headers={})
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self.tokens:
            return refusal("AUTHENTICATION", "Authentication failed.")
        if self.failing:
            return refusal("OPERATION_FAILED", "The operation failed.")
        user = self.tokens[token]
        if user is None:
            return refusal("NOT_FOUND", "User not found.")
        return self._get(request.params.get("orderId", ""), user)

    def _get(self, number: str, user: str) -> Response:
        try:
            uuid.UUID(number)
        except ValueError:
            return refusal("INCORRECT_PARAMETERS", "orderId is not valid.")
        if number not in self.orders:
            return refusal("NOT_FOUND", "Order not found.")
        if self.owners[number] != user:
            return refusal("NO_PERMISSION", "You do not own this order.")
        return json_response({"success": True, "data": {"order": self._shown(number)}})

    def _shown(self, number: str) -> dict[str, Any]:
        """The order, with links to its pictures that hold for five minutes: new ones every time."""
        order = self.orders[number]
        asked = len(self.requests)
        models = [
            {**model, "imageUrl": f"{model['imageUrl']}?expires=300&asked={asked}"}
            for model in order["orderModels"]
        ]
        return {**order, "orderModels": models}

    def _model(self, po: int) -> dict[str, Any]:
        return {
            "poId": po,
            "modelId": str(uuid.UUID(int=po)),
            "modelName": f"part-{po}.stl",
            "imageUrl": f"https://images.example/{po}.png",
            "price": 1050,
            "status": 0,
            "bounds": {"x": 10.5, "y": 20.0, "z": 5.25},
            "quantity": 1,
        }

    def _change(self, number: str, **fields: Any) -> None:
        self.orders[number] |= {"updated": self._now(), **fields}

    def _now(self) -> str:
        return datetime.fromtimestamp(next(self._seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
