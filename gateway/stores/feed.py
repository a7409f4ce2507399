"""What those read who follow: consumers that fetch their deliveries, and streams of all events.

Places in both are the numbers of rows: nothing that is written later comes before what was read.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from gateway.models import Millis


class Fetched(msgspec.Struct, frozen=True):
    """A delivery that its consumer may fetch: its number, and its event with the bytes it has."""

    number: int
    event: int
    event_id: str
    size: int


class Head(msgspec.Struct, frozen=True):
    """What of an event decides who wants it, and the bytes that it has."""

    number: int
    event_id: str
    type: str
    source: str
    shop: str
    size: int


class Feed(Protocol):
    """What is there, oldest first. All raise `Unavailable`."""

    async def fetched(self, subscription: int, after: int, limit: int) -> Sequence[Fetched]:
        """The deliveries of a subscription behind one, that are not acknowledged."""
        ...

    async def left(self, subscription: int) -> int:
        """How many of them there are in all."""
        ...

    async def heads(self, after: int) -> Sequence[Head]:
        """The next events behind one, as many as are looked at together; none at the end."""
        ...

    async def bodies(self, events: Sequence[int]) -> Sequence[bytes | None]:
        """Their bytes; None for one that retention has taken meanwhile."""
        ...

    async def place(self, start: Millis | None) -> int:
        """The last event that was recorded before a time; None: the last one that there is."""
        ...


class Pulls(Protocol):
    """What a consumer that fetches its deliveries changes."""

    async def acknowledge(self, subscription: int, upto: int, now: Millis) -> int:
        """End all that it was given up to a delivery, durably; how many that were.

        Raises `Unavailable`; what was acknowledged before that stays so.
        """
        ...
