"""The calls of a consumer that fetches its events: what is there, and what it has taken.

Its cursors are places in its own deliveries, oldest first. Nothing but an acknowledgement ends one.
"""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.responses import Response

from gateway.errors import BadRequest, Conflict, Unauthenticated
from gateway.flat import flatten
from gateway.models import Subscription
from gateway.news import Listener
from gateway.stores.base import Status
from gateway.stores.feed import Fetched
from gateway.web.api.lists import Limit
from gateway.web.api.operation import SUBSCRIBERS, Call, Operation
from gateway.web.api.subscribing import find
from gateway.web.api.waiting import read_by, stands

TOGETHER = 1 << 20  # bytes of events in one answer, but for the last one


class PullQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Behind which cursor, how many, and for how many seconds to wait where there is nothing."""

    cursor: (
        Annotated[str, Meta(max_length=500, description="A `cursor` of an event or an answer.")]
        | None
    ) = None
    limit: Limit = 50
    wait: Annotated[
        int, Meta(ge=0, le=60, description="Seconds to wait where there is nothing.")
    ] = 0


class PulledEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as a delivery in the mode `json` has it; `cursor` acknowledges up to it."""

    id: str
    cursor: str
    event: dict[str, Any]


class Pulled(msgspec.Struct, frozen=True, kw_only=True):
    """Events, oldest first. `cursor` is the last one's, or the one that was given; `done`: no more now."""

    data: list[PulledEvent]
    cursor: str | None
    done: bool


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Up to where all events have been taken."""

    cursor: Annotated[str, Meta(max_length=500)]


class Acknowledged(msgspec.Struct, frozen=True, kw_only=True):
    """How many were acknowledged by this, and how many are left."""

    acknowledged: int
    left: int


async def fetch(call: Call[PullQuery, None]) -> Response:
    """The events of a subscription with `pull`, oldest first, from the oldest unacknowledged one on."""
    query, status = call.query, _open(call)
    after = call.cursors.read(_scope(status), query.cursor) or 0
    limit = query.limit + 1  # one more tells whether there are more
    rows = await call.gateway.store.feed.fetched(status.subscription.id, after, limit)
    if not rows and query.wait:
        news, key = call.gateway.store.news, call.principal.key
        with news.listen(status.subscription.id, key=key) as listener:
            async with read_by(call.request.receive, listener):
                rows = await _wait(call, listener, after, limit)
        if not stands(call):
            raise Unauthenticated("this key was revoked, or its time is over: send a valid one")
        status = _open(call)  # much may have changed meanwhile
    return await _said(call, status.subscription, rows)


async def _wait(
    call: Call[PullQuery, None], listener: Listener, after: int, limit: int
) -> Sequence[Fetched]:
    """What comes within the time that was given; nothing when it is over."""
    assert listener.subscription is not None
    loop = asyncio.get_running_loop()
    end = loop.time() + call.query.wait
    while True:
        listener.clear()
        rows = await call.gateway.store.feed.fetched(listener.subscription, after, limit)
        if rows or listener.over or loop.time() >= end:
            return rows
        await listener.wait(end - loop.time())


async def _said(
    call: Call[PullQuery, None], subscription: Subscription, rows: Sequence[Fetched]
) -> Response:
    taken = _together(rows[: call.query.limit])
    bodies = await call.gateway.store.feed.bodies([row.event for row in taken])
    found = [(row, body) for row, body in zip(taken, bodies, strict=True) if body is not None]
    told = [body for _, body in found]
    if subscription.flat:
        told = await asyncio.to_thread(lambda: [_flat(body) for body in told])
    scope = f"pull:{subscription.id}"
    data = [
        {
            "id": row.event_id,
            "cursor": call.cursors.make(scope, row.number),
            "event": msgspec.Raw(body),
        }
        for (row, _), body in zip(found, told, strict=True)
    ]
    cursor = data[-1]["cursor"] if data else call.query.cursor
    answer = {"data": data, "cursor": cursor, "done": len(taken) == len(rows)}
    return Response(msgspec.json.encode(answer), media_type="application/json")


def _together(rows: Sequence[Fetched]) -> Sequence[Fetched]:
    """As many as fit into one answer, and one in any case."""
    size = 0
    for index, row in enumerate(rows):
        size += row.size
        if index and size > TOGETHER:
            return rows[:index]
    return rows


def _flat(body: bytes) -> bytes:
    """As it is, where flat it would be too large: it would hold up all behind it."""
    try:
        return flatten(body)
    except ValueError:
        return body


async def acknowledge(call: Call[Any, Acknowledgement]) -> Acknowledged:
    """Take all events up to a cursor as delivered; doing so again is no harm."""
    status, gateway = _pulled(call), call.gateway
    upto = call.cursors.read(_scope(status), call.body.cursor)
    if upto is None:
        raise BadRequest("cursor: is required")
    number = status.subscription.id
    count = await gateway.store.pulls.acknowledge(number, upto, gateway.clock())
    return Acknowledged(acknowledged=count, left=await gateway.store.feed.left(number))


def _scope(status: Status) -> str:
    return f"pull:{status.subscription.id}"


def _pulled(call: Call[Any, Any]) -> Status:
    status = find(call)
    if not status.subscription.pull:
        raise Conflict(
            f"subscription {status.subscription.name} has a URL, to which its events are sent:"
            " make one with pull = true to fetch them"
        )
    return status


def _open(call: Call[Any, Any]) -> Status:
    """The one that the path names, when it may be read now; `Conflict`, `NotFound`."""
    status = _pulled(call)
    name, reason = status.subscription.name, status.reason
    if not status.subscription.enabled:
        raise Conflict(f"subscription {name} is disabled: enable it first")
    if status.state != "active":
        because = f" ({reason})" if reason else ""
        raise Conflict(f"subscription {name} is {status.state}{because}: resume it first")
    return status


PULLING: Sequence[Operation] = (
    Operation(
        method="GET",
        path="/v1/subscriptions/{id}/events",
        name="fetchEvents",
        roles=SUBSCRIBERS,
        act=fetch,
        query=PullQuery,
        answer=Pulled,
        codes=("not_found", "conflict"),
    ),
    Operation(
        method="POST",
        path="/v1/subscriptions/{id}/ack",
        name="acknowledgeEvents",
        roles=SUBSCRIBERS,
        act=acknowledge,
        body=Acknowledgement,
        answer=Acknowledged,
        codes=("not_found", "conflict", "too_large", "unsupported_media_type"),
    ),
)
