"""The contract of what sends past events again: replay jobs, history for new subscriptions, lanes.

All of it works in slices, each one transaction together with the place where it stands, so that a
restart goes on where it was and makes nothing twice.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from gateway.models import Millis


class Chosen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which deliveries to send again; what is None does not matter, the rest must all hold.

    `since` and `until` bound when the event was recorded, `until` not included. `type` is a pattern
    as in a subscription (`order.paid`, `order.*`). `state` is a `DeliveryState`.
    """

    delivery: int | None = None
    event: str | None = None
    order: str | None = None
    subscription: str | None = None
    type: str | None = None
    since: Millis | None = None
    until: Millis | None = None
    state: str | None = None


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A replay job. `looked` of `total` deliveries were looked at so far, up to the delivery `upto`.

    `sent` counts those that are due again, `waiting` those of them that went to the end of a lane,
    `skipped` those in flight, or of a subscription that is gone or disabled.
    """

    id: int
    chosen: Chosen
    made_at: Millis
    upto: int
    looked: int = 0
    total: int = 0
    sent: int = 0
    waiting: int = 0
    skipped: int = 0
    finished_at: Millis | None = None


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay would send again: how many, by subscription, and the first few (`dl_7`)."""

    total: int
    subscriptions: dict[str, int]
    first: Sequence[str]


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery that is sent again: as itself when it had not ended, else as a new one.

    `behind` is the delivery at the head of its lane, for which it waits; `held` says in words why its
    subscription starts nothing now.
    """

    delivery: int
    made: int
    behind: int | None = None
    held: str | None = None


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to a parked lane; `delivery` is its former head, `next` who leads it now."""

    subscription: str
    order: str
    delivery: int
    next: int | None


class Replays(Protocol):
    """What sends past events again."""

    async def again(self, delivery: int, now: Millis) -> Again:
        """Send one delivery again; `NotFound`, and `Conflict` while it is in flight."""
        ...

    async def preview(self, chosen: Chosen) -> Preview:
        """What `start` would send again."""
        ...

    async def start(self, chosen: Chosen, now: Millis) -> Replay:
        """Begin a job; nothing is sent before `step`."""
        ...

    async def find(self, job: int) -> Replay:
        """How a job stands; `NotFound`."""
        ...

    async def unfinished(self) -> Sequence[Replay]:
        """The jobs that have not come to their end, oldest first."""
        ...

    async def step(self, job: int, now: Millis) -> Replay:
        """Do the next slice of a job."""
        ...

    async def catch_up(self, subscription: int, now: Millis) -> bool:
        """Make the next deliveries of past events; whether there are more."""
        ...

    async def release(self, subscription: str, order: str, now: Millis) -> Lane:
        """Try the head of a parked lane again, from the beginning of its schedule.

        `NotFound`, and `Conflict` when the lane is not parked.
        """
        ...

    async def skip(self, subscription: str, order: str, now: Millis) -> Lane:
        """Give the head of a parked lane up, and go on behind it; `NotFound`, `Conflict`."""
        ...
