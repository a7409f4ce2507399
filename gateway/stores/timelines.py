"""The contract of reading orders: which there are, and what happened to one."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from gateway.models import Millis
from gateway.stores.views import CallbackRow, DeliveryRow, EventRow, Page


class KnownOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order as it is kept: `state` is bytes to the store, `events` the `orderseq` of its last one."""

    row: int
    shop: str
    order: str
    events: int
    updated_at: Millis
    state: bytes


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of one order, each list oldest first; `truncated`: older ones are left out."""

    callbacks: Sequence[CallbackRow]
    events: Sequence[EventRow]
    deliveries: Sequence[DeliveryRow]
    truncated: bool


class OrderRecords(Protocol):
    """What the faces read of orders."""

    async def order_page(
        self, *, shop: str | None, before: int | None, limit: int
    ) -> Page[KnownOrder]:
        """Orders, those with the newest event first, at the end those of which no event is kept."""
        ...

    async def orders_named(self, name: str, *, shop: str | None) -> Sequence[KnownOrder]:
        """The orders of this id, one a shop; where there is none, those that it leads to otherwise."""
        ...

    async def timeline(self, order: KnownOrder) -> Timeline:
        """What happened to an order."""
        ...
