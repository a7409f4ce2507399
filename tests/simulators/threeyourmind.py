"""3YOURMIND's API v2.0, as far as it is known publicly, with orders that a test moves on.

Known are the paths, `Authorization: Token`, the paged lists and single fields (the apidocs and the
vendor's SDK). The values of `status` and its place are this simulator's own.
"""

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.simulators.api import Api, Request, Response, json_response

TOKEN = "3ym-token"
ORDERS = "/user-panel/orders/"


def _utc_now() -> datetime:
    return datetime.now(UTC)


class ThreeYourMindApi(Api):
    """One tenant; `list_status` says whether the list's entries carry a status, too."""

    prefix = "/api/v2.0"

    def __init__(
        self,
        *,
        token: str = TOKEN,
        orders_path: str = ORDERS,
        page_size: int = 20,
        list_status: bool = False,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        super().__init__()
        self.token = token
        self.page_size = page_size
        self.list_status = list_status
        self.orders: dict[str, dict[str, Any]] = {}
        self.strangers: set[str] = set()  # orders that the token may not read
        self.budget: int | None = None  # requests that are still answered; then 429
        self.wait = 3  # seconds that a 429 names
        self._path = orders_path
        self._now = now

    def place(self, *, reference: str | None = None, total: str = "12.34", **more: Any) -> str:
        """A new order; its number. `more` are fields of its own."""
        index, now = len(self.orders) + 1, self._time()
        number = 500 + index
        self.orders[str(number)] = {
            "id": number,
            "number": 100_000 + index,
            "fullNumber": f"{100_000 + index}-3D-Project-O{index}",
            "status": "new",
            "dateCreated": now,
            "lastModified": now,
            "currency": "EUR",
            "totalPrice": {"inclusiveTax": total},
            "additionalInformation": {"reference": reference},
            "customer": {"id": 9, "name": "Ada Example", "email": "ada@shop.example"},
            "lines": [{"id": 7000 + index, "name": "bracket.stl", "quantity": 2}],
        } | more
        return str(number)

    def move(self, number: str, status: object, **more: Any) -> None:
        """The order has another status from now on."""
        self.orders[number] |= {"status": status, "lastModified": self._time()} | more

    def answer(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Token {self.token}":
            return _refusal(request)
        if self.budget == 0:
            return _detail(
                429,
                f"Request was throttled. Expected available in {self.wait} seconds.",
                retry_after=str(self.wait),
            )
        if self.budget is not None:
            self.budget -= 1
        if not request.path.startswith(self._path):
            return Response(
                status=404, headers={"Content-Type": "text/html"}, body=b"<h1>Not Found</h1>"
            )
        if request.method != "GET":
            return _detail(405, f'Method "{request.method}" not allowed.')
        below = request.path.removeprefix(self._path).removesuffix("/")
        return self._order(*below.split("/", 1)) if below else self._list(request)

    def _list(self, request: Request) -> Response:
        page, size = request.params.get("page", "1"), self.page_size
        orders = list(reversed(self.orders.values()))
        pages = max(1, -(-len(orders) // size))
        if not page.isdecimal() or not 1 <= int(page) <= pages:
            return _detail(404, "Invalid page.")
        entries = copy.deepcopy(orders[(int(page) - 1) * size : int(page) * size])
        for entry in entries:
            if not self.list_status:
                del entry["status"]
        return json_response(
            {
                "count": len(orders),
                "currentPage": int(page),
                "totalPages": pages,
                "pageSize": size,
                "results": entries,
            }
        )

    def _order(self, number: str, line: str | None = None) -> Response:
        if number in self.strangers:
            return _detail(403, "You do not have permission to perform this action.")
        order = self.orders.get(number)
        if order is None:
            return _detail(404, "Not found.")
        if line is None:
            return json_response(order)
        found = [item for item in order["lines"] if str(item["id"]) == line]
        return json_response(found[0]) if found else _detail(404, "Not found.")

    def _time(self) -> str:
        return self._now().astimezone(UTC).isoformat().replace("+00:00", "Z")


def _refusal(request: Request) -> Response:
    sent = request.headers.get("authorization", "").startswith("Token ")
    words = "Invalid token." if sent else "Authentication credentials were not provided."
    return _detail(401, words, www_authenticate="Token")


def _detail(status: int, words: str, **headers: str) -> Response:
    return json_response({"detail": words}, status, **headers)
