"""The calls about orders: which there are, how one stands, and what happened to it."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.errors import Conflict, NotFound
from gateway.events import OrderSummary
from gateway.models import Millis
from gateway.orders.render import CanonicalOrder, canonical, summary
from gateway.orders.state import load
from gateway.stores.timelines import KnownOrder, OrderRecords, Timeline
from gateway.stores.views import CallbackRow, DeliveryRow, EventRow
from gateway.web.api.lists import Listed, Listing, ends
from gateway.web.api.operation import READERS, Call, Operation

CURSORS = "orders"


class OrderListQuery(Listed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which orders are listed."""

    shop: Annotated[str, Meta(description="Only of this shop.")] | None = None


class OrderQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose order it is."""

    shop: (
        Annotated[str, Meta(description="The shop, where several have an order of this id.")] | None
    ) = None


class OrderRow(msgspec.Struct, frozen=True, kw_only=True):
    """An order in a list; `events` were made of it, and `updated_at` is when it was last told of."""

    shop: str
    order: str
    state: OrderSummary
    events: int
    updated_at: Millis


class OrderList(Listing[OrderRow], frozen=True, kw_only=True):
    """Orders, those with the newest event first; with `done` there are no more."""


class TimelineEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event, and what became of its deliveries."""

    event: EventRow
    deliveries: list[DeliveryRow]


class TimelineEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What a source said, with the verdict and the reason of each fact, and the events made of it.

    `callback` is null where it is not kept any more, or was about other orders too.
    """

    at: Millis
    callback: CallbackRow | None
    events: list[TimelineEvent]


class OrderDetail(msgspec.Struct, frozen=True, kw_only=True):
    """An order as it stands, and what happened to it, oldest first.

    `truncated`: there was more than is told; the oldest is left out.
    """

    order: CanonicalOrder
    events: int
    updated_at: Millis
    timeline: list[TimelineEntry]
    truncated: bool


async def list_orders(call: Call[OrderListQuery, None]) -> OrderList:
    """Orders, those with the newest event first."""
    asked = call.query
    before = call.cursors.read(CURSORS, asked.cursor)
    async with call.gateway.store.records() as records:
        page = await records.order_page(shop=asked.shop, before=before, limit=asked.limit)
    told = ends(call, CURSORS, page)
    return OrderList(
        data=[row_of(order) for order in page.rows], cursor=told["cursor"], done=told["done"]
    )


async def get_order(call: Call[OrderQuery, None]) -> OrderDetail:
    """An order as it stands, and all that happened to it, whichever source told it."""
    name, shop = call.path["id"], call.query.shop
    async with call.gateway.store.records() as records:
        return await detail_of(records, name, shop)


async def detail_of(records: OrderRecords, name: str, shop: str | None) -> OrderDetail:
    """The order that this leads to; `NotFound`, and `Conflict` where it leads to several."""
    order = _only(name, await records.orders_named(name, shop=shop))
    told = await records.timeline(order)
    return OrderDetail(
        order=canonical(load(order.state)),
        events=order.events,
        updated_at=order.updated_at,
        timeline=_entries(told),
        truncated=told.truncated,
    )


def row_of(order: KnownOrder) -> OrderRow:
    """An order as lists show it."""
    return OrderRow(
        shop=order.shop,
        order=order.order,
        state=summary(load(order.state)),
        events=order.events,
        updated_at=order.updated_at,
    )


def _only(name: str, found: Sequence[KnownOrder]) -> KnownOrder:
    if not found:
        raise NotFound(f"there is no order {name}")
    if len(found) == 1:
        return found[0]
    shops = {order.shop for order in found}
    if len(shops) > 1:
        raise Conflict(
            f"order {name} is in several shops, {', '.join(sorted(shops))}: name one as `shop`"
        )
    orders = ", ".join(order.order for order in found)
    raise Conflict(f"{name} leads to several orders: {orders}")


def _entries(told: Timeline) -> list[TimelineEntry]:
    """What was said and what was made, put together, oldest first."""
    deliveries: defaultdict[str, list[DeliveryRow]] = defaultdict(list)
    for delivery in told.deliveries:
        deliveries[delivery.event_id].append(delivery)
    events: defaultdict[str | None, list[TimelineEvent]] = defaultdict(list)
    for event in told.events:
        made = TimelineEvent(event=event, deliveries=deliveries[event.id])
        events[event.callback].append(made)
    entries = [
        TimelineEntry(at=one.received_at, callback=one, events=events.pop(one.id, []))
        for one in told.callbacks
    ]
    entries += [
        TimelineEntry(at=several[0].event.recorded, callback=None, events=several)
        for several in events.values()
    ]
    return sorted(entries, key=lambda entry: entry.at)


ORDERS: Sequence[Operation] = (
    Operation(
        method="GET",
        path="/v1/orders",
        name="listOrders",
        roles=READERS,
        act=list_orders,
        query=OrderListQuery,
        answer=OrderList,
    ),
    Operation(
        method="GET",
        path="/v1/orders/{id}",
        name="getOrder",
        roles=READERS,
        act=get_order,
        query=OrderQuery,
        answer=OrderDetail,
        codes=("not_found", "conflict"),
        deep=True,
    ),
)
