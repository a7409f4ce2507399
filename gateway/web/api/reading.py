"""The calls that only read: events, deliveries, orders, callbacks, and what waits or is set aside."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from gateway.errors import NotFound
from gateway.keys import Role
from gateway.models import Verdict
from gateway.retries import DeliveryState
from gateway.stores.views import (
    AttemptRow,
    CallbackFilter,
    CallbackRow,
    DeliveryFilter,
    DeliveryRow,
    DeliveryStory,
    EventFilter,
    EventRow,
    Story,
)
from gateway.web.api.lists import Listed, Listing, Since, Until, ends, time_of
from gateway.web.api.operation import (
    OPERATORS,
    READERS,
    Call,
    Nothing,
    Operation,
)


class EventQuery(Listed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events are listed, by when they were recorded."""

    type: str | None = None
    order: str | None = None
    shop: str | None = None
    source: str | None = None
    since: Since | None = None
    until: Until | None = None


class DeliveryQuery(Listed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which deliveries are listed."""

    subscription: str | None = None
    event: str | None = None
    state: DeliveryState | None = None


class CallbackQuery(Listed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which callbacks are listed, by when they were received."""

    source: str | None = None
    verdict: Verdict | None = None
    since: Since | None = None
    until: Until | None = None


class EventList(Listing[EventRow], frozen=True, kw_only=True):
    """Events, newest first; with `done` there are no more."""


class DeliveryList(Listing[DeliveryRow], frozen=True, kw_only=True):
    """Deliveries, newest first; with `done` there are no more."""


class CallbackList(Listing[CallbackRow], frozen=True, kw_only=True):
    """Callbacks, newest first; with `done` there are no more."""


class EventDetail(msgspec.Struct, frozen=True, kw_only=True):
    """An event, and the CloudEvent as it is sent."""

    event: EventRow
    cloudevent: msgspec.Raw


async def list_events(call: Call[EventQuery, None]) -> EventList:
    """Events, newest first."""
    asked = call.query
    wanted = EventFilter(
        type=asked.type,
        order=asked.order,
        shop=asked.shop,
        source=asked.source,
        since=time_of("since", asked.since),
        until=time_of("until", asked.until),
    )
    before = call.cursors.read("events", asked.cursor)
    async with call.gateway.store.records() as records:
        page = await records.event_page(wanted, before=before, limit=asked.limit)
    return EventList(**ends(call, "events", page))


async def get_event(call: Call[Nothing, None]) -> EventDetail:
    """An event, and the CloudEvent that is sent of it."""
    async with call.gateway.store.records() as records:
        row, body = await records.event_body(call.path["id"])
    return EventDetail(event=row, cloudevent=msgspec.Raw(body))


async def list_deliveries(call: Call[DeliveryQuery, None]) -> DeliveryList:
    """Deliveries, newest first."""
    asked = call.query
    wanted = DeliveryFilter(subscription=asked.subscription, event=asked.event, state=asked.state)
    before = call.cursors.read("deliveries", asked.cursor)
    async with call.gateway.store.records() as records:
        page = await records.delivery_page(wanted, before=before, limit=asked.limit)
    return DeliveryList(**ends(call, "deliveries", page))


async def get_delivery(call: Call[Nothing, None]) -> DeliveryStory:
    """A delivery with its event and all its attempts."""
    async with call.gateway.store.records() as records:
        return await records.delivery(call.path["id"])


async def list_attempts(call: Call[Nothing, None]) -> list[AttemptRow]:
    """The attempts of a delivery, oldest first."""
    async with call.gateway.store.records() as records:
        return list((await records.delivery(call.path["id"])).attempts)


async def list_callbacks(call: Call[CallbackQuery, None]) -> CallbackList:
    """Callbacks as they were received, newest first."""
    asked = call.query
    wanted = CallbackFilter(
        source=asked.source,
        verdict=asked.verdict,
        since=time_of("since", asked.since),
        until=time_of("until", asked.until),
    )
    before = call.cursors.read("callbacks", asked.cursor)
    async with call.gateway.store.records() as records:
        page = await records.callback_page(wanted, before=before, limit=asked.limit)
    return CallbackList(**ends(call, "callbacks", page))


async def get_callback(call: Call[Nothing, None]) -> CallbackRow:
    """A callback, and what became of it."""
    async with call.gateway.store.records() as records:
        row, _ = await records.callback(call.path["id"])
    return row


async def download_callback(call: Call[Nothing, None]) -> Response:
    """The body of a callback, byte for byte; it may hold personal data."""
    async with call.gateway.store.records() as records:
        row, callback = await records.callback(call.path["id"])
    return Response(
        callback.body,
        media_type="application/octet-stream",
        headers={
            "content-disposition": f'attachment; filename="{row.id}.bin"',
            "x-content-type-options": "nosniff",
        },
    )


async def explain(call: Call[Nothing, None]) -> list[Story]:
    """Everything about an order, event, delivery, callback or a provider's id."""
    name = call.path["id"]
    async with call.gateway.store.records() as records:
        stories = list(await records.explain(name))
    if not stories:
        raise NotFound(f"nothing is known of {name}")
    return stories


def _reads(
    path: str,
    name: str,
    act: Callable[[Call[Any, Any]], Awaitable[object]],
    answer: Any,
    *,
    query: type[msgspec.Struct] = Nothing,
    roles: frozenset[Role] = READERS,
    may_miss: bool = False,
    tells: tuple[str, ...] = (),
) -> Operation:
    return Operation(
        method="GET",
        path=path,
        name=name,
        roles=roles,
        act=act,
        query=query,
        answer=answer,
        codes=("not_found",) if may_miss or "{" in path else (),
        tells=tells,
    )


READING: Sequence[Operation] = (
    _reads(
        "/v1/events",
        "listEvents",
        list_events,
        EventList,
        query=EventQuery,
    ),
    _reads("/v1/events/{id}", "getEvent", get_event, EventDetail),
    _reads(
        "/v1/deliveries",
        "listDeliveries",
        list_deliveries,
        DeliveryList,
        query=DeliveryQuery,
        may_miss=True,
    ),
    _reads(
        "/v1/deliveries/{id}",
        "getDelivery",
        get_delivery,
        DeliveryStory,
    ),
    _reads(
        "/v1/deliveries/{id}/attempts",
        "listAttempts",
        list_attempts,
        list[AttemptRow],
    ),
    _reads(
        "/v1/callbacks",
        "listCallbacks",
        list_callbacks,
        CallbackList,
        query=CallbackQuery,
    ),
    _reads("/v1/callbacks/{id}", "getCallback", get_callback, CallbackRow),
    _reads(
        "/v1/callbacks/{id}/body",
        "downloadCallback",
        download_callback,
        None,
        roles=OPERATORS,
        tells=("Content-Disposition",),
    ),
    _reads(
        "/v1/explain/{id}",
        "explain",
        explain,
        list[Story],
    ),
)
