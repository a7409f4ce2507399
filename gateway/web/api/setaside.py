"""The calls about what is set aside: facts without an order, which a person may link, and quarantine."""

from collections.abc import Sequence

import msgspec

from gateway.stores.linking import Link, Linked
from gateway.stores.views import CallbackFilter, UnlinkedRow
from gateway.web.api.lists import Listed, Listing, ends
from gateway.web.api.operation import OPERATORS, READERS, Call, Nothing, Operation
from gateway.web.api.reading import CallbackList

UNLINKED, QUARANTINE = "unlinked", "quarantine"  # whose cursors are whose


class UnlinkedQuery(Listed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which waiting facts are listed."""

    source: str | None = None


class QuarantineQuery(Listed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which quarantined callbacks are listed."""

    source: str | None = None


class UnlinkedList(Listing[UnlinkedRow], frozen=True, kw_only=True):
    """Facts that wait for their order, oldest first; with `done` there are no more."""


class LinkRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The order that a waiting fact is about."""

    order: str
    shop: str | None = None
    new: bool = False


async def list_unlinked(call: Call[UnlinkedQuery, None]) -> UnlinkedList:
    """Facts that wait for their order, oldest first."""
    asked = call.query
    after = call.cursors.read(UNLINKED, asked.cursor)
    async with call.gateway.store.records() as records:
        page = await records.unlinked_page(source=asked.source, after=after, limit=asked.limit)
    return UnlinkedList(**ends(call, UNLINKED, page))


async def link_unlinked(call: Call[Nothing, LinkRequest]) -> Linked:
    """Say which order a waiting fact is about; all that shares its links goes with it."""
    asked = call.body
    return await call.gateway.linker.link(
        Link(unlinked=call.path["id"], order=asked.order, shop=asked.shop, new=asked.new)
    )


async def list_quarantine(call: Call[QuarantineQuery, None]) -> CallbackList:
    """Authentic callbacks that could not be read, newest first."""
    asked = call.query
    wanted = CallbackFilter(source=asked.source, verdict="quarantined")
    before = call.cursors.read(QUARANTINE, asked.cursor)
    async with call.gateway.store.records() as records:
        page = await records.callback_page(wanted, before=before, limit=asked.limit)
    return CallbackList(**ends(call, QUARANTINE, page))


SET_ASIDE: Sequence[Operation] = (
    Operation(
        method="GET",
        path="/v1/unlinked",
        name="listUnlinked",
        roles=READERS,
        act=list_unlinked,
        query=UnlinkedQuery,
        answer=UnlinkedList,
    ),
    Operation(
        method="POST",
        path="/v1/unlinked/{id}/link",
        name="linkUnlinked",
        roles=OPERATORS,
        act=link_unlinked,
        body=LinkRequest,
        answer=Linked,
        codes=("not_found", "conflict", "too_large", "unsupported_media_type"),
    ),
    Operation(
        method="GET",
        path="/v1/quarantine",
        name="listQuarantine",
        roles=READERS,
        act=list_quarantine,
        query=QuarantineQuery,
        answer=CallbackList,
    ),
)
