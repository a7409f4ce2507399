"""The calls that sum up: how a subscription does, its parked lanes, and the replay jobs."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.models import Millis, Subscription
from gateway.runtime import Gateway
from gateway.stores.replaying import Replay
from gateway.stores.views import LaneRow
from gateway.web.api.lists import Listed, Listing, ago, ends
from gateway.web.api.operation import READERS, SUBSCRIBERS, Call, Operation
from gateway.web.api.subscribing import find
from gateway.web.api.subscriptions import PREFIX

LANES, REPLAYS = "lanes", "replays"  # whose cursors are whose


class StatsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is counted."""

    since: Annotated[
        str, Meta(description="How far to look back for what has ended, such as `24h` or `7d`.")
    ] = "24h"


class SubscriptionStats(msgspec.Struct, frozen=True, kw_only=True):
    """How a subscription does.

    `waiting` counts its unfinished deliveries by their state, up to 100,000 each, which `capped`
    tells; of those that are `leased`, `in_flight` are being sent and `in_line` wait for a slot.
    `oldest_due` is since when the first of the pending ones could be sent, or when it will be.

    The rest is since `since`: how many deliveries ended as `delivered` or `dead`, and of the
    attempts how many there were, how many of them `failed`, of which `failures`, and how many
    milliseconds half of them and 95 in 100 took at most. It is told of the newest 20,000 deliveries
    of the gateway; `truncated`: these do not reach back to `since`, but to `looked_back_to`.
    """

    id: str
    name: str
    since: Millis
    waiting: Mapping[str, int]
    capped: bool
    in_flight: int
    in_line: int
    oldest_due: Millis | None
    delivered: int
    dead: int
    attempts: int
    failed: int
    failures: Mapping[str, int]
    p50_ms: float | None
    p95_ms: float | None
    truncated: bool
    looked_back_to: Millis | None


class LaneQuery(Listed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which parked lanes are listed."""

    subscription: str | None = None


class ReplayQuery(Listed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which replay jobs are listed."""


class LaneList(Listing[LaneRow], frozen=True, kw_only=True):
    """Parked lanes, those first that have been for longest; with `done` there are no more."""


class ReplayList(Listing[Replay], frozen=True, kw_only=True):
    """Replay jobs, newest first; with `done` there are no more."""


async def get_stats(call: Call[StatsQuery, None]) -> SubscriptionStats:
    """How a subscription does: what waits for it, and how its attempts went."""
    subscription, gateway = find(call).subscription, call.gateway
    since = ago(call.query.since, gateway.clock())
    assert since is not None
    return await summed(gateway, subscription, since)


async def summed(gateway: Gateway, subscription: Subscription, since: Millis) -> SubscriptionStats:
    """The same of any gateway that has the store, for those who own it."""
    async with gateway.store.records() as records:
        found = await records.counted(subscription.id, since=since)
    in_flight, in_line = gateway.dispatcher.under_way(subscription.id)
    back_to = found.looked_back_to
    return SubscriptionStats(
        id=f"{PREFIX}{subscription.id}",
        name=subscription.name,
        since=since,
        waiting=found.waiting,
        capped=found.capped,
        in_flight=in_flight,
        in_line=in_line,
        oldest_due=found.oldest_due,
        delivered=found.delivered,
        dead=found.dead,
        attempts=found.attempts,
        failed=sum(found.failures.values()),
        failures=found.failures,
        p50_ms=found.p50,
        p95_ms=found.p95,
        truncated=back_to is not None and back_to >= since,
        looked_back_to=back_to,
    )


async def list_lanes(call: Call[LaneQuery, None]) -> LaneList:
    """Parked lanes, those first that have been for longest."""
    asked = call.query
    after = call.cursors.read(LANES, asked.cursor)
    async with call.gateway.store.records() as records:
        page = await records.lane_page(asked.subscription, after=after, limit=asked.limit)
    return LaneList(**ends(call, LANES, page))


async def list_replays(call: Call[ReplayQuery, None]) -> ReplayList:
    """Replay jobs, newest first, those that are done too."""
    asked = call.query
    before = call.cursors.read(REPLAYS, asked.cursor)
    async with call.gateway.store.records() as records:
        page = await records.replay_page(before=before, limit=asked.limit)
    return ReplayList(**ends(call, REPLAYS, page))


STATS: Sequence[Operation] = (
    Operation(
        method="GET",
        path="/v1/subscriptions/{id}/stats",
        name="getSubscriptionStats",
        roles=SUBSCRIBERS | READERS,
        act=get_stats,
        query=StatsQuery,
        answer=SubscriptionStats,
        codes=("not_found",),
    ),
    Operation(
        method="GET",
        path="/v1/lanes",
        name="listLanes",
        roles=READERS,
        act=list_lanes,
        query=LaneQuery,
        answer=LaneList,
        codes=("not_found",),
    ),
    Operation(
        method="GET",
        path="/v1/replays",
        name="listReplays",
        roles=READERS,
        act=list_replays,
        query=ReplayQuery,
        answer=ReplayList,
    ),
)
