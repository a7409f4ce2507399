"""What the faces read of a store: rows as they are shown, and `Records`, which changes nothing."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from gateway.models import Callback, Millis, Note
from gateway.stores.base import Poll


class CallbackRow(msgspec.Struct, frozen=True, kw_only=True):
    """A callback as it is shown; its facts' notes are in `notes`."""

    id: str
    source: str
    provider: str
    event_id: str
    event_type: str
    received_at: Millis
    verdict: str
    reason: str
    notes: Sequence[Note]
    size: int


class AttemptRow(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt as it is shown; `head` is the kept beginning of the answer."""

    number: int
    started_at: Millis
    duration: float
    status: int | None
    failure: str | None
    detail: str
    address: str | None
    head: str


class DeliveryRow(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery as it is shown."""

    id: str
    event_id: str
    type: str
    order: str | None
    subscription: str
    state: str
    due: Millis
    attempts: int
    finished_at: Millis | None
    reason: str | None
    last_status: int | None
    last_failure: str | None


class Routing(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one event at one subscription."""

    subscription: str
    matched: bool
    reason: str


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it is shown."""

    id: str
    type: str
    source: str
    shop: str
    order: str | None
    seq: int | None
    time: Millis
    recorded: Millis
    callback: str | None
    routing: Sequence[Routing]


class UnlinkedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A fact that waits for its order, as it is shown."""

    callback: str
    source: str
    event_type: str
    track: str
    state: str
    links: Sequence[str]
    since: Millis
    deadline: Millis | None


class SubscriptionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription as it is shown; `state` is `active`, `paused`, `gone` or `disabled`."""

    name: str
    state: str
    reason: str | None
    host: str  # of its URL, with the port: the rest may be a secret
    hold_until: Millis | None
    last_success: Millis | None
    unfinished: int


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one order, event, delivery or callback; each list oldest first."""

    found_as: str
    shop: str | None
    order: str | None
    callbacks: Sequence[CallbackRow]
    events: Sequence[EventRow]
    deliveries: Sequence[DeliveryRow]
    attempts: Mapping[str, Sequence[AttemptRow]]


class RejectedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A rejected request as it is kept and shown: redacted."""

    source: str
    received_at: Millis
    reason: str
    headers: Sequence[tuple[str, str]]
    body: str
    size: int  # bytes of the body as it was sent
    missed: int  # how many were rejected since the sample before, and not kept


class Records(Protocol):
    """What the faces read; it changes nothing."""

    async def events(
        self, *, order: str | None, event_type: str | None, limit: int
    ) -> Sequence[EventRow]:
        """The newest events, newest first."""
        ...

    async def deliveries(
        self, *, subscription: str | None, state: str | None, limit: int
    ) -> Sequence[DeliveryRow]:
        """The newest deliveries, newest first."""
        ...

    async def unlinked(self, *, limit: int) -> Sequence[UnlinkedRow]:
        """Facts that wait, oldest first."""
        ...

    async def quarantined(self, *, limit: int) -> Sequence[CallbackRow]:
        """Callbacks in quarantine, newest first."""
        ...

    async def subscriptions(self) -> Sequence[SubscriptionRow]:
        """All subscriptions by name, those that the configuration has no more too."""
        ...

    async def sources(self) -> Mapping[str, tuple[Poll | None, int]]:
        """By the names of polled sources: where the poller is, and how many orders it asks for."""
        ...

    async def callback(self, callback: str) -> tuple[CallbackRow, Callback]:
        """A callback as it is shown, and as it was sent; `NotFound`."""
        ...

    async def explain(self, name: str) -> Sequence[Story]:
        """Everything about an order id, event id, delivery id, callback id or provider's id."""
        ...

    async def rejected(self, source: str, *, limit: int) -> Sequence[RejectedRow]:
        """The newest samples of a source's rejected requests, newest first."""
        ...
