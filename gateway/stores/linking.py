"""The contract of linking by hand: a person says which order a waiting fact is about."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from gateway.models import Decision, Known, Millis, Note, Verdict, Waiting
from gateway.stores.base import Made

DecideLink = Callable[[Waiting, str, Known], Decision]


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """Which fact, by its id as shown (`ul_7_3`), is about which order.

    `shop`, where it is given, must be the fact's. `new` lets an order begin that is not known yet.
    """

    unlinked: str
    order: str
    shop: str | None = None
    new: bool = False


class LinkedCallback(msgspec.Struct, frozen=True, kw_only=True):
    """A callback with facts that waited, and what became of it and of them."""

    id: str
    verdict: Verdict
    notes: Sequence[Note]


class Linked(msgspec.Struct, frozen=True, kw_only=True):
    """What a link has made; `facts` counts those that wait no longer.

    `order` is the id that the order goes by, where it was named by another.
    """

    shop: str
    order: str
    facts: int
    callbacks: Sequence[LinkedCallback]
    events: Sequence[Made]


class Links(Protocol):
    """What the linker needs."""

    async def link(self, wanted: Link, decide: DecideLink, now: Millis) -> Linked:
        """Make a waiting fact, and all that shares its links, an order's, in one transaction.

        `NotFound` when it waits no more; `Conflict` for another shop and for an order that is not known.
        """
        ...
