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

    `shop` is whose the event is. `since` and `until` bound when the event was recorded, `until` not included. `type` is a pattern
    as in a subscription (`order.paid`, `order.*`). `state` is a `DeliveryState`.
    """

    delivery: int | None = None
    event: str | None = None
    order: str | None = None
    shop: str | None = None
    subscription: str | None = None
    type: str | None = None
    since: Millis | None = None
    until: Millis | None = None
    state: str | None = None


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A replay job. `looked` of `total` deliveries were looked at so far, up to the delivery `upto`.

    Of the chosen ones `sent` counts those that are due again, `waiting` those of them that went to
    the end of a lane, and `skipped` those in flight, those that will be sent anyway once it is their
    turn in their lane, and those of a subscription that is gone or disabled. Where an event was sent
    to a subscription more than once, only the last of these deliveries can be chosen.
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
    """What a replay would send again: how many, by subscription's name, and the first few (`dl_7`)."""

    total: int
    subscriptions: dict[str, int]
    first: Sequence[str]


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery that is sent again, by the attempts of the delivery `made`.

    That is itself when it waits for its next attempt or is parked, the first of its batch when it is
    in one (`batch`), else a new one. `behind` is the delivery at the head of its lane, for which the
    new one waits; `held` says in words why its subscription starts nothing now.
    """

    delivery: int
    made: int
    batch: bool = False
    behind: int | None = None
    held: str | None = None


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to a parked lane; `delivery` is its former head, `next` who leads it now.

    `held` says in words why its subscription starts nothing now.
    """

    subscription: str
    shop: str
    order: str
    delivery: str
    next: str | None
    held: str | None = None


class Replays(Protocol):
    """What sends past events again."""

    async def again(self, delivery: int, now: Millis) -> Again:
        """Send one delivery again; `NotFound`, and `Conflict` while it is in flight."""
        ...

    async def preview(self, chosen: Chosen) -> Preview:
        """What `start` would send again; `NotFound` as there."""
        ...

    async def start(self, chosen: Chosen, now: Millis) -> Replay:
        """Begin a job; nothing is sent before `step`.

        `NotFound` for an unknown delivery, event, order or subscription.
        """
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
        """Make the next deliveries of past events; whether there are more.

        For a subscription that is disabled or gone nothing is made before that changes.
        """
        ...

    async def release(
        self, subscription: str, order: str, now: Millis, *, shop: str | None = None
    ) -> Lane:
        """Try the head of a parked lane again, from the beginning of its schedule.

        `NotFound`; `Conflict` when the lane is not parked, or when several shops have such an order.
        """
        ...

    async def skip(
        self, subscription: str, order: str, now: Millis, *, shop: str | None = None
    ) -> Lane:
        """Give the head of a parked lane up, and go on behind it; `NotFound`, `Conflict`."""
        ...
