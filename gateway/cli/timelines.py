"""Orders as a person sees them: how they stand, and the timeline of one across all sources."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar
from urllib.parse import quote, urlencode

from gateway.cli.look import draw, require_store, say
from gateway.cli.options import Place
from gateway.cli.remote import RemoteRecords, client_of
from gateway.cli.tables import Column, View, filled, local, to_json, why
from gateway.config.settings import Settings
from gateway.events import OrderMoney, OrderShipment
from gateway.stores.registry import make_records
from gateway.stores.timelines import OrderRecords
from gateway.stores.views import CallbackRow, DeliveryRow
from gateway.web.api.orders import (
    OrderDetail,
    OrderRow,
    TimelineEntry,
    TimelineEvent,
    detail_of,
    row_of,
)

T = TypeVar("T")

Line = tuple[str, str, str, str, str, str]  # of the timeline: when, what, type, id, verdict, detail


class _RemoteOrders(RemoteRecords):
    """The orders of a gateway elsewhere; each method raises the errors of `ask_remote`."""

    def orders(self, *, shop: str | None, limit: int) -> Sequence[OrderRow]:
        """Orders, those with the newest event first."""
        return self._list("/v1/orders", OrderRow, limit, shop=shop)

    def order(self, name: str, *, shop: str | None) -> OrderDetail:
        """One order and its timeline."""
        asked = {} if shop is None else {"shop": shop}
        query = f"?{urlencode(asked, errors='surrogateescape')}" if asked else ""
        segment = quote(name, safe="", errors="surrogateescape")
        return self._row(f"/v1/orders/{segment}{query}", OrderDetail)


def orders(place: Place, *, shop: str | None, limit: int, as_json: bool) -> None:
    """Print orders, those with the newest event first."""
    rows: Sequence[OrderRow]
    if isinstance(place, Settings):
        rows = _read(place, lambda records: _rows_here(records, shop, limit + 1))
    else:
        with client_of(place) as client:
            rows = _RemoteOrders(place, client).orders(shop=shop, limit=limit + 1)
    if as_json:
        say(to_json(rows[:limit]))
    elif not rows:
        say("There are no such orders.")
    else:
        draw(orders_view(rows[:limit]))
        if len(rows) > limit:
            say(f"There are more than these {limit}: --limit shows them.")


def show(place: Place, name: str, *, shop: str | None, as_json: bool) -> None:
    """Print one order and what happened to it; `NotFound`, and `Conflict` where it is not only one."""
    if isinstance(place, Settings):
        detail = _read(place, lambda records: detail_of(records, name, shop))
    else:
        with client_of(place) as client:
            detail = _RemoteOrders(place, client).order(name, shop=shop)
    if as_json:
        say(to_json(detail))
        return
    draw(order_view(detail))
    if detail.timeline:
        say("")
        draw(timeline_view(detail.timeline))
    if detail.truncated:
        say("There was more: the oldest is left out.")


def _read(settings: Settings, query: Callable[[OrderRecords], Awaitable[T]]) -> T:
    """The answer to one query about orders; `StartupError` when there is no database of ours."""

    async def run() -> T:
        async with make_records(settings.store.url, key=settings.master_key) as records:
            return await query(records)

    require_store(settings)
    return asyncio.run(run())


async def _rows_here(records: OrderRecords, shop: str | None, limit: int) -> Sequence[OrderRow]:
    page = await records.order_page(shop=shop, before=None, limit=limit)
    return [row_of(order) for order in page.rows]


def orders_view(rows: Sequence[OrderRow]) -> View:
    """Orders, a word a track."""
    columns = ("fulfilment", "payment", "refund", "dispute")
    view = View(
        columns=[
            *(Column("order"), Column("shop", spare=1), *(Column(title) for title in columns)),
            *(Column("events", spare=2), Column("updated", spare=3), Column("hold", whole=False)),
        ],
        rows=[
            (
                *(row.order, row.shop, row.state.fulfilment or "", row.state.payment or ""),
                *(row.state.refund or "", row.state.dispute or "", str(row.events)),
                *(local(row.updated_at), row.state.hold or ""),
            )
            for row in rows
        ],
    )
    return filled(view)


def order_view(detail: OrderDetail) -> View:
    """One order as it stands, a line a part; what is not known has no line."""
    order = detail.order
    state, payment = order.state, order.payment
    parts = (
        *(("shop", order.shop), ("also", " ".join(order.aliases))),
        *(("fulfilment", state.fulfilment or ""), ("payment", state.payment or "")),
        *(("refund", state.refund or ""), ("dispute", state.dispute or "")),
        *(("hold", state.hold or ""), ("total", _money(order.total))),
        *(("paid", _money(payment.paid)), ("refunded", _money(payment.refunded))),
        *((f"ids of {system}", " ".join(ids)) for system, ids in order.ids.items()),
        *((f"part {part.provider}", f"{part.id} {part.state}") for part in order.parts),
        *(("shipment", _shipment(order.shipment)), ("items", _items(detail))),
        ("test mode", "yes" if order.livemode is False else ""),
        ("baseline", "its beginning was not told" if order.baseline else ""),
        *(("events", str(detail.events)), ("updated", local(detail.updated_at))),
    )
    return View(
        columns=[Column("order"), Column(order.order, whole=False)],
        rows=[part for part in parts if part[1]],
    )


def timeline_view(timeline: Sequence[TimelineEntry]) -> View:
    """What was said and what came of it, oldest first: callback, facts, events, deliveries."""
    return filled(
        View(
            title="Timeline",
            columns=[
                *(Column("at", spare=2), Column("what"), Column("type"), Column("id", spare=1)),
                *(Column("state"), Column("detail", whole=False)),
            ],
            rows=[line for entry in timeline for line in _lines(entry)],
        )
    )


def _lines(entry: TimelineEntry) -> Iterator[Line]:
    if entry.callback is not None:
        yield from _said(entry.callback)
    for made in entry.events:
        yield from _made(made)


def _said(row: CallbackRow) -> Iterator[Line]:
    at = local(row.received_at)
    yield at, row.source, row.event_type, row.id, row.verdict, row.reason
    for note in row.notes:
        yield "", "fact", f"{note.track} {note.state}".rstrip(), "", note.verdict, note.reason


def _made(made: TimelineEvent) -> Iterator[Line]:
    event = made.event
    number = "" if event.seq is None else f" #{event.seq}"
    matched = [one.subscription for one in event.routing if one.matched]
    nobody = "" if matched else "for nobody"
    yield local(event.recorded), f"event{number}", event.type, event.id, "", nobody
    for delivery in made.deliveries:
        yield _sent(delivery)


def _sent(row: DeliveryRow) -> Line:
    at = "" if row.finished_at is None else local(row.finished_at)
    return at, "delivery", row.subscription, row.id, row.state, why(row)


def _money(amount: OrderMoney | None) -> str:
    if amount is None:
        return ""
    return f"{amount.value or ''} {amount.currency or ''}".strip()


def _shipment(parcel: OrderShipment | None) -> str:
    if parcel is None:
        return ""
    told = (parcel.carrier, parcel.tracking_number, parcel.tracking_url)
    return " ".join(one for one in told if one)


def _items(detail: OrderDetail) -> str:
    told = (
        f"{'' if one.quantity is None else f'{one.quantity} × '}{one.name or one.sku or one.id or ''}"
        for one in detail.order.lines
    )
    return "; ".join(one for one in told if one)
