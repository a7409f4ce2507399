"""Whether a subscription with these filters would want an event, and what each term says of it."""

from collections.abc import Sequence

import msgspec

from gateway.filters.opened import Opened
from gateway.filters.terms import Filter, explain
from gateway.filters.trace import Term, trace
from gateway.matching import REASONS, Match, match
from gateway.models import Event, Millis, Subscription


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the event is wanted, the first reason why not, and all terms of the filters."""

    matched: bool
    reason: str
    terms: list[Term]


def tried(subscription: Subscription, event: Event, filters: Sequence[Filter]) -> Trial:
    """How the subscription, were it enabled, and these filters of it take the event.

    All terms are told also where its types, sources or shops have said no before.
    """
    enabled = msgspec.structs.replace(subscription, enabled=True)
    verdict = match(enabled, event, gone=False, filters=filters)
    words = {"type": event.type, "source": event.source, "shop": event.shop}
    reason, opened = REASONS[verdict].format(**words), Opened.of(event.body)
    failed = explain(filters, opened) if verdict is Match.FILTER else None
    return Trial(
        matched=verdict is Match.MATCHED,
        reason=reason if failed is None else f"{reason}: {failed.reason}",
        terms=trace(filters, opened),
    )


def event_of(kind: str, source: str, shop: str, body: bytes) -> Event:
    """As much of an event as it takes to try it; `source` is the source's name."""
    return Event(
        id="",
        type=kind,
        source=source,
        shop=shop,
        order=None,
        seq=None,
        time=Millis(0),
        recorded=Millis(0),
        body=body,
    )
