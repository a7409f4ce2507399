"""The contract of what keeps a store small, and of what is remembered of each source."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from gateway.models import Event, Millis


class Cutoffs(msgspec.Struct, frozen=True, kw_only=True):
    """Before these times, rows may go: callbacks by reception, events by recording, attempts by start.

    `hashes` is when the last that is needed to know a repeat may go; never later than `callbacks`.
    `answers` are those of the API that were kept to be given again.
    """

    callbacks: Millis
    hashes: Millis
    events: Millis
    attempts: Millis
    answers: Millis = Millis(0)


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """What one slice did; `more` says that another one may find something.

    `callbacks` counts the rows that went, `emptied` those of which the hash stays, `revisions`
    those of the catalog that no event refers to any more.
    """

    callbacks: int = 0
    emptied: int = 0
    events: int = 0
    attempts: int = 0
    revisions: int = 0
    answers: int = 0
    more: bool = False


class SourceState(msgspec.Struct, frozen=True, kw_only=True):
    """When a source was last heard of, and since when it is known to be silent."""

    last_at: Millis | None = None
    silent_since: Millis | None = None


class Upkeep(Protocol):
    """What the janitor needs."""

    async def prune(self, cutoffs: Cutoffs) -> Removed:
        """Remove one slice of what is too old, and nothing that is still needed."""
        ...

    async def shrink(self) -> bool:
        """Give a slice of free pages back to the disk; whether there are more."""
        ...

    async def sources(self) -> Mapping[str, SourceState]:
        """What is remembered, by the names of sources."""
        ...

    async def remember(
        self, states: Mapping[str, SourceState], events: Sequence[Event] = ()
    ) -> None:
        """Write what is known of sources, and publish operational events with it."""
        ...


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How an enabled subscription stands: `state` is `active`, `paused` or `gone`.

    `failing_since` is when its fourth attempt in a row failed; `parked` counts orders that wait for
    the operator.
    """

    subscription: str
    state: str
    reason: str
    failing_since: Millis | None
    parked: int


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """What a database says of itself, read without changing anything.

    `wal` is the bytes of the log. The subscriptions that are to get something are URLs by name:
    those that a file declared when the gateway was last started, and the others. A source that is
    paused may be neither of the file nor made.
    """

    version: int
    newest: int  # the version that this gateway knows
    pages: int
    free_pages: int
    wal: int
    last_received: Millis | None
    subscriptions: Mapping[str, str]
    undeclared: Mapping[str, str]
    standings: Sequence[Standing]
    paused_sources: Mapping[str, Millis]
    made_sources: Sequence[str]
