"""Does this subscription want this event? Pure, and explainable: every no has a reason.

The verdicts of one event are packed into one value (design 5): four bytes with the catalog's
revision, then one byte per subscription of that revision, in the order of their ids.
"""

from collections.abc import Sequence
from enum import IntEnum

from gateway.filters.opened import Opened
from gateway.filters.terms import Filter, passes
from gateway.models import Event, Subscription


class Match(IntEnum):
    """One byte of a routing verdict; the names are what `explain` shows."""

    MATCHED = 1
    TYPE = 2
    SOURCE = 3
    SHOP = 4
    DISABLED = 5
    GONE = 6
    FILTER = 7


REASONS = {
    Match.MATCHED: "matched",
    Match.TYPE: "its types do not include {type}",
    Match.SOURCE: "its sources do not include {source}",
    Match.SHOP: "its shops do not include {shop}",
    Match.DISABLED: "it was disabled",
    Match.GONE: "it was gone (its endpoint had answered 410)",
    Match.FILTER: "its filters did not let it through",
}

QUIET = ("gateway.", "printstudio.")
"""Types with these prefixes reach only a subscription that names them: `*` alone does not."""


def wants_type(patterns: Sequence[str], event_type: str) -> bool:
    """Whether one of the patterns (`order.paid`, `order.*`, `*`) covers the type."""
    for pattern in patterns:
        if pattern == event_type:
            return True
        if pattern == "*":
            if not event_type.startswith(QUIET):
                return True
        elif pattern.endswith(".*") and event_type.startswith(pattern[:-1]):
            return True
    return False


def match(
    subscription: Subscription, event: Event, *, gone: bool, filters: Sequence[Filter]
) -> Match:
    """The first reason why not, or `MATCHED`; `filters` are the subscription's, as they were read."""
    if not subscription.enabled:
        return Match.DISABLED
    if gone:
        return Match.GONE
    if not wants_type(subscription.types, event.type):
        return Match.TYPE
    if subscription.sources and event.source not in subscription.sources:
        return Match.SOURCE
    if subscription.shops and event.shop not in subscription.shops:
        return Match.SHOP
    if filters and not passes(filters, Opened.of(event.body)):
        return Match.FILTER
    return Match.MATCHED


def pack(revision: int, verdicts: Sequence[Match]) -> bytes:
    """One value for all verdicts of an event."""
    return revision.to_bytes(4, "big") + bytes(verdicts)


def unpack(packed: bytes) -> tuple[int, list[Match]]:
    """The catalog revision and the verdicts, in the order of its subscriptions' ids."""
    return int.from_bytes(packed[:4], "big"), [Match(code) for code in packed[4:]]
