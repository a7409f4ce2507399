"""PrintStudio's API and webhooks, as its public pages describe them.

https://printstudio-docs.pages.dev/api/orders (orders, statuses),
https://printstudio-docs.pages.dev/api/overview (errors, rate limits) and
https://docs.printstudio.r5i.io/api/webhooks (endpoints, envelope, signature, retries). The pages
do not show how a list, a single order or a new endpoint is wrapped: `listed_under`,
`order_under` and `paged` choose.
"""

import asyncio
import hashlib
import hmac
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import httpx2
import msgspec

from tests.simulators.api import Api, Request, Response, json_response

ORDER_EVENTS = (
    *("order.created", "order.paid", "order.printing"),
    *("order.ready", "order.shipped", "order.cancelled"),
)
OTHER_EVENTS = ("job.failed", "job.completed", "inventory.low", "printer.offline")
STATUSES = (
    *("pending_payment", "paid", "processing", "printing", "post_processing"),
    *("ready", "shipped", "cancelled", "refunded"),
)
LIMITS = {"": 20, "standard": 300, "admin": 1000}  # requests a minute, by the tier of the key
RETRIES = (60.0, 300.0, 1500.0, 7200.0, 36000.0)  # seconds before the next try
FAILURES = 5  # after so many in a row an endpoint is disabled
KEY = "ps-test-key"

Json = dict[str, Any]


class Endpoint(msgspec.Struct):
    """A registered endpoint."""

    id: str
    url: str
    events: Sequence[str]
    secret: str
    failures: int = 0
    enabled: bool = True


class Sent(msgspec.Struct, frozen=True):
    """One try of a webhook; `status` is None when nothing was answered."""

    endpoint: str
    event: str
    number: str
    body: bytes
    status: int | None


class Refused(Exception):
    """The API says no, in its own words."""

    def __init__(self, status: int, error: str, code: str, **details: str) -> None:
        super().__init__(error)
        self.response = {"error": error, "code": code, "details": details}
        self.status = status


class PrintStudioApi(Api):
    """A shop: `place`, `move` and `track` are what happens in it, `fire` what it tells about it.

    `hurry` shortens the retry schedule: seconds are multiplied by it.
    """

    def __init__(
        self, *, now: Callable[[], float] = time.time, hurry: float = 0.0, timeout: float = 5.0
    ) -> None:
        super().__init__()
        self.keys: dict[str, str] = {KEY: "standard"}
        self.orders: dict[str, Json] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.sent: list[Sent] = []
        self.told: list[str] = []  # what the operator was notified of
        self.listed_under: Literal["orders", "data", ""] = "orders"
        self.order_under: Literal["", "order", "data"] = ""
        self.paged = True  # whether a list says its total, page and limit
        self._now, self._hurry, self._timeout = now, hurry, timeout
        self._numbers = itertools.count(1)
        self._used: Counter[tuple[str, int]] = Counter()

    # What happens in the shop.

    def place(self, number: str | None = None, **fields: Any) -> str:
        """A new order, waiting for its payment; its id."""
        number = number or f"ord-{next(self._numbers):06d}"
        line = {"id": "li-1", "skuId": "sku-pla-black-20mm-cube", "quantity": 2}
        self.orders[number] = {
            "id": number,
            "status": "pending_payment",
            "customerId": "cust-1",
            "lineItems": [line | {"unitPrice": 19.99, "total": 39.98}],
            "subtotal": 39.98,
            "shipping": 5.0,
            "tax": 4.28,
            "total": 49.26,
            "createdAt": self._time(),
        } | fields
        return number

    def move(self, number: str, status: str) -> None:
        """The order has another status; unknown ones are allowed."""
        self.orders[number]["status"] = status

    def track(self, number: str, tracking: str = "1Z999AA10123456784", **more: str) -> None:
        """The order travels: what a webhook tells of it stands in the order too."""
        usual = {"carrier": "UPS", "estimatedDelivery": "2024-01-17"}
        self.orders[number] |= {"trackingNumber": tracking} | usual | more

    # What the API answers.

    def answer(self, request: Request) -> Response:
        """Errors are `{"error", "code", "details"}`; every answer tells what is left of the limit."""
        tier = self.keys.get(request.headers.get("x-api-key", ""), "")
        minute = int(self._now() // 60)
        who = request.headers.get("x-api-key", "") if tier else ""
        self._used[who, minute] += 1
        left = LIMITS[tier] - self._used[who, minute]
        limits = {
            "X-RateLimit-Limit": str(LIMITS[tier]),
            "X-RateLimit-Remaining": str(max(left, 0)),
            "X-RateLimit-Reset": str((minute + 1) * 60),
        }
        try:
            response = self._route(request, tier, left)
        except Refused as error:
            response = json_response(error.response, error.status)
        return msgspec.structs.replace(response, headers={**response.headers, **limits})

    def _route(self, request: Request, tier: str, left: int) -> Response:
        if left < 0:
            raise Refused(429, "Too many requests", "RATE_LIMITED")
        if not tier:
            raise Refused(401, "Invalid or missing API key", "UNAUTHENTICATED")
        match request.method, request.path.strip("/").split("/"):
            case "GET", ["api", "orders"]:
                return json_response(self._list(request.params))
            case "GET", ["api", "orders", number]:
                return json_response(self._wrapped(self._order(number)))
            case "POST", ["api", "orders"]:
                return self._create(_members(request))
            case "POST", ["api", "orders", number, "cancel"]:
                return self._cancel(number, _members(request))
            case "POST", ["api", "webhooks", "endpoints"]:
                return self._register(_members(request))
        return Response(status=404, headers={"Content-Type": "text/plain"}, body=b"404 Not Found")

    def _order(self, number: str) -> Json:
        if number not in self.orders:
            raise Refused(404, "Not found", "ORDER_NOT_FOUND", orderId=number)
        return self.orders[number]

    def _wrapped(self, order: Json) -> Json:
        return {self.order_under: order} if self.order_under else order

    def _list(self, params: Mapping[str, str]) -> Any:
        """The newest order first."""
        page, limit = _number(params, "page", 1), _number(params, "limit", 20)
        if page < 1 or not 1 <= limit <= 100:
            raise Refused(400, "Invalid page or limit", "VALIDATION_ERROR")
        found = [
            order
            for order in reversed(self.orders.values())
            if params.get("status") in (None, order["status"])
            and params.get("customerId") in (None, order["customerId"])
        ]
        cut = found[(page - 1) * limit : page * limit]
        if not self.listed_under:
            return cut
        numbers = {"total": len(found), "page": page, "limit": limit} if self.paged else {}
        return {self.listed_under: cut, **numbers}

    def _create(self, given: Json) -> Response:
        if not isinstance(given.get("lineItems"), list) or not given["lineItems"]:
            raise Refused(400, "lineItems is required", "VALIDATION_ERROR")
        number = self.place(customerId=given.get("customerId", "cust-1"))
        return json_response(self._wrapped(self.orders[number]), 201)

    def _cancel(self, number: str, given: Json) -> Response:
        order = self._order(number)
        if order["status"] in ("shipped", "cancelled", "refunded"):
            raise Refused(409, "Order can not be cancelled", "CONFLICT", orderId=number)
        order["status"] = "cancelled"
        return json_response(self._wrapped(order))

    def _register(self, given: Json) -> Response:
        events = given.get("events")
        known = {*ORDER_EVENTS, *OTHER_EVENTS}
        if not isinstance(events, list) or not events or not set(events) <= known:
            raise Refused(400, "Unknown events", "VALIDATION_ERROR")
        if not str(given.get("url", "")).startswith(("http://", "https://")) or not given["secret"]:
            raise Refused(400, "url and secret are required", "VALIDATION_ERROR")
        name = f"whe-{len(self.endpoints) + 1}"
        self.endpoints[name] = Endpoint(name, given["url"], events, given["secret"])
        return json_response({"id": name, "url": given["url"], "events": events}, 201)

    # Webhooks.

    async def fire(self, event: str, number: str, **envelope: Any) -> Sequence[Sent]:
        """Tell every endpoint that wants this event, tries and all; the tries that were made."""
        body = self.webhook(event, number, **envelope)
        before = len(self.sent)
        wanting = [end for end in self.endpoints.values() if event in end.events and end.enabled]
        async with httpx2.AsyncClient(trust_env=False, timeout=self._timeout) as client:
            for endpoint in wanting:
                await self._deliver(client, endpoint, event, number, body)
        return self.sent[before:]

    def webhook(self, event: str, number: str, **envelope: Any) -> bytes:
        """The body of a webhook; only `orderId` and, when shipped, the shipment stand in `data`."""
        order = self.orders.get(number, {})
        told = ("trackingNumber", "carrier", "estimatedDelivery", "trackingUrl")
        shipped = event == "order.shipped"
        data = {key: order[key] for key in told if key in order} if shipped else {}
        usual = {
            "id": f"evt-{next(self._numbers)}",
            "event": event,
            "timestamp": self._time(),
            "data": {"orderId": number, **data},
        }
        return json.dumps(usual | envelope).encode()

    async def _deliver(
        self, client: httpx2.AsyncClient, endpoint: Endpoint, event: str, number: str, body: bytes
    ) -> None:
        for wait in (*RETRIES, None):
            status = await self._post(client, endpoint, body)
            self.sent.append(Sent(endpoint.id, event, number, body, status))
            if status is not None and 200 <= status < 300:
                endpoint.failures = 0
                return
            endpoint.failures += 1
            if endpoint.failures >= FAILURES:
                endpoint.enabled = False
                self.told.append(f"endpoint {endpoint.id} was disabled")
                return
            if wait is not None:
                await asyncio.sleep(wait * self._hurry)

    async def _post(
        self, client: httpx2.AsyncClient, endpoint: Endpoint, body: bytes
    ) -> int | None:
        headers = {
            "Content-Type": "application/json",
            "X-PrintStudio-Signature": signature(body, endpoint.secret),
        }
        try:
            return (await client.post(endpoint.url, content=body, headers=headers)).status_code
        except httpx2.TransportError:
            return None

    def _time(self) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._now()))


def signature(body: bytes, secret: str) -> str:
    """`sha256=` and the lower-case hex HMAC-SHA256 of the body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _members(request: Request) -> Json:
    try:
        found = json.loads(request.body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Refused(400, "Invalid JSON", "VALIDATION_ERROR")
    return found


def _number(params: Mapping[str, str], name: str, default: int) -> int:
    text = params.get(name, str(default))
    return int(text) if text.isdecimal() else 0
