"""The contract of counting: how much waits for a subscription, and how its attempts went."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from gateway.models import Millis


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What is counted of one subscription.

    `waiting` has how many deliveries stand in each unfinished state, `capped` whether there are more
    in one than were counted. The rest is since a time: how many were `delivered` and are `dead`, and
    of the attempts how many there were, how many of each failure, and how long half of them and 95
    in 100 took at most, in milliseconds. It is told of the newest deliveries of all subscriptions;
    `looked_back_to` is when the event of the oldest of these was recorded, None when it is all of them.
    """

    waiting: Mapping[str, int]
    capped: bool
    oldest_due: Millis | None
    delivered: int
    dead: int
    attempts: int
    failures: Mapping[str, int]
    p50: float | None
    p95: float | None
    looked_back_to: Millis | None


class Counting(Protocol):
    """What the faces have counted."""

    async def counted(self, subscription: int, *, since: Millis) -> Counted:
        """How a subscription does; all zero for one that is not there."""
        ...
