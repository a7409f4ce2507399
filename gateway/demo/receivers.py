"""Two receivers beside the gateway: they verify every delivery and read it as a CloudEvent."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.demo.listener import Clock, Listener
from gateway.events import parse
from gateway.models import Mode
from gateway.signing import VerificationError, generate_secret, verify


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What a receiver subscribes to, and how many requests it answers with 503 at first."""

    name: str
    types: tuple[str, ...]
    mode: Mode
    refuses: int = 0


PARTS = (
    Part(name="fulfilment", types=("order.*",), mode=Mode.STRUCTURED),
    Part(name="accounting", types=("order.paid", "order.refunded"), mode=Mode.BINARY, refuses=2),
)


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery as its receiver saw it, and what it answered.

    `at` is seconds of the receiver's clock. `fault` says why the delivery is not what it should
    be; then the fields of the event are empty.
    """

    receiver: str
    at: float
    attempt: int  # how often this event came, with this time
    status: int
    event_id: str  # the header webhook-id
    type: str = ""
    seq: int = 0
    order: str = ""
    told_by: str = ""  # the provider
    fulfilment: str | None = None  # the order's state
    news: str = ""  # what it says beyond its type: a reason, a change, a tracking number
    fault: str | None = None


class Receiver(Listener):
    """An HTTP server that tells `heard` of each delivery; `wall` is Unix time."""

    def __init__(
        self, part: Part, heard: Callable[[Arrival], None], *, clock: Clock, wall: Clock
    ) -> None:
        super().__init__(self._answer, name=part.name)
        self.part = part
        self.secret = generate_secret()
        self._heard, self._clock, self._wall = heard, clock, wall
        self._seen: Counter[str] = Counter()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        at = self._clock()
        headers = dict(request.headers)
        event_id = headers.get("webhook-id", "")
        self._seen[event_id] += 1
        read, fault = self._read(headers, body)
        status = 400 if fault else 503 if self._refuses() else 204
        arrival = Arrival(
            receiver=self.part.name,
            at=at,
            attempt=self._seen[event_id],
            status=status,
            event_id=event_id,
            fault=fault,
            **read,
        )
        await Response(status_code=status)(scope, receive, send)
        self._heard(arrival)

    def _refuses(self) -> bool:
        return self._seen.total() <= self.part.refuses

    def _read(self, headers: dict[str, str], body: bytes) -> tuple[dict[str, Any], str | None]:
        """The fields of the event, or why it cannot be trusted or read."""
        try:
            verify(body, headers, self.secret, now=self._wall())
            event = parse(headers, body)
            data = event.get_data()
            assert isinstance(data, dict)
            read = {
                "type": event.get_type(),
                "seq": int(event.get_extension("orderseq")),
                "order": event.get_subject(),
                "told_by": data["cause"]["provider"],
                "fulfilment": data["state"]["fulfilment"],
                "news": _news(event.get_type(), data),
            }
        except VerificationError as error:
            return {}, f"its signature does not hold: {error}"
        except Exception as error:  # noqa: BLE001 - an HTTP border; the SDK's errors stay behind `events`
            return {}, f"it is no CloudEvent of an order: {error!r}"
        if event.get_id() != headers["webhook-id"]:
            return {}, "its webhook-id is not the event's id"
        return read, None


def _news(event_type: str, data: Mapping[str, Any]) -> str:
    """The one detail of an order event that its type does not tell; empty for most types."""
    change = data["change"]
    if event_type == "order.on_hold":
        return f"reason: {change['reason']}"
    if event_type == "order.updated":
        return f"{change['what']} {change['value']}"
    if event_type == "order.shipped":
        return str((data["shipment"] or {}).get("tracking_number") or "no tracking")
    return ""
