"""What the faces read of a store: rows as they are shown, and `Records`, which changes nothing."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from gateway.keys import KeyRecord
from gateway.models import Callback, Delivery, Millis, Note, Subscription
from gateway.stores.base import Consent, Poll
from gateway.stores.replaying import Chosen, Preview, Replay
from gateway.stores.sourcing import MadeSource

R = TypeVar("R")


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
    """One attempt as it is shown; `head` is the kept beginning of the answer.

    It could be sent since `queued_at`. `connected`, `first_byte` and `duration` are milliseconds
    since `started_at`: None when it did not come so far, `connected` 0 on an open connection.
    """

    number: int
    queued_at: Millis | None
    started_at: Millis
    connected: float | None
    first_byte: float | None
    duration: float
    status: int | None
    failure: str | None
    detail: str
    address: str | None
    head: str


class DeliveryRow(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery as it is shown; the attempts and the due time of a batch are those of each member.

    `leader` is the first delivery of its batch, itself perhaps; `behind` the head of its lane while
    it waits for that.
    """

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
    leader: str | None = None
    behind: str | None = None


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

    id: str
    callback: str
    source: str
    shop: str
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
    host: str  # of its URL, with the port: the rest may be a secret; `(pull)` without one
    hold_until: Millis | None
    last_success: Millis | None
    unfinished: int
    failing_since: Millis | None
    broken_until: Millis | None  # until then its breaker lets nothing through
    handshake: str | None  # how its handshake stands, if it was ever asked


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """How a subscription is now; `state` is `active`, `paused` or `gone`, also of a disabled one."""

    state: str
    reason: str | None
    hold_until: Millis | None
    last_success: Millis | None
    failing_since: Millis | None
    broken_until: Millis | None
    handshake: str | None


class SecretRow(msgspec.Struct, frozen=True, kw_only=True):
    """A secret that signs, as it is shown: since when, and until when if it was rotated."""

    made_at: Millis
    expires_at: Millis | None


class HandshakeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A handshake as it is shown; `rate` is what was granted, in deliveries a minute."""

    state: str
    rate: int | None
    reason: str
    asked_at: Millis | None
    next_at: Millis


class History(msgspec.Struct, frozen=True, kw_only=True):
    """How many of the events that are kept a new subscription was already given a look at."""

    looked: int
    last: int


class SubscriptionDetail(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of one subscription that may be shown.

    `settings` has the keys of `models.Subscription`, with the number of `secrets` that are
    declared, the names of `headers`, and no query in `url`, which ends with its host where it is
    sealed and the master key is not here. `secrets` are those of one that is not
    `declared`, newest first. `trips` is how often its breaker has opened since it was last closed.
    `history` is None unless deliveries of past events are still made.
    """

    subscription: SubscriptionRow
    declared: bool
    settings: Mapping[str, Any]
    secrets: Sequence[SecretRow]
    trips: int
    handshake: HandshakeRow | None
    history: History | None


class MappingRow(msgspec.Struct, frozen=True, kw_only=True):
    """What turned a callback into facts: the provider's own keys of the source, in force `since` then.

    `version` is that of the package that brings the provider, with its name.
    """

    provider: str
    version: str
    options: Mapping[str, Any]
    since: Millis


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one order, event, delivery or callback; each list oldest first.

    `mappings` tells of callbacks, by their ids, what they were read by, as far as that is known.
    """

    found_as: str
    shop: str | None
    order: str | None
    callbacks: Sequence[CallbackRow]
    mappings: Mapping[str, MappingRow]
    events: Sequence[EventRow]
    deliveries: Sequence[DeliveryRow]
    attempts: Mapping[str, Sequence[AttemptRow]]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What may keep a subscription's deliveries from being sent; `state` as in `SubscriptionRow`.

    Until `hold_until` the endpoint wants to be left alone, until `broken_until` the breaker is
    open. `consent` is None where no handshake is asked for. `catching_up`: past events come first.
    """

    name: str
    state: str
    reason: str | None
    hold_until: Millis | None
    broken_until: Millis | None
    failing_since: Millis | None
    consent: Consent | None
    consent_reason: str
    catching_up: bool
    pull: bool = False  # its consumer fetches what it gets


class DeliveryStory(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one delivery; `batch` has the ids of all that are sent together with it."""

    delivery: DeliveryRow
    event: EventRow
    subscription: Standing
    attempts: Sequence[AttemptRow]
    batch: Sequence[str]


class RejectedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A rejected request as it is kept and shown: redacted."""

    source: str
    received_at: Millis
    reason: str
    headers: Sequence[tuple[str, str]]
    body: str
    size: int  # bytes of the body as it was sent
    missed: int  # how many were rejected since the sample before, and not kept


class LaneRow(msgspec.Struct, frozen=True, kw_only=True):
    """A parked lane as it is shown: the `delivery` that ended at its head without success.

    `behind` is how many deliveries wait for it.
    """

    subscription: str
    shop: str
    order: str
    delivery: str
    type: str
    since: Millis
    reason: str | None
    behind: int


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are listed; `since` and `until` are times of recording."""

    type: str | None = None
    order: str | None = None
    shop: str | None = None
    source: str | None = None
    since: Millis | None = None
    until: Millis | None = None


class DeliveryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries are listed; `state` is one of `retries.DeliveryState`."""

    subscription: str | None = None
    event: str | None = None
    state: str | None = None


class CallbackFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which callbacks are listed."""

    source: str | None = None
    verdict: str | None = None
    since: Millis | None = None
    until: Millis | None = None


class Page(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """A part of a list; `following` is the row behind which the next part begins, None at the end."""

    rows: Sequence[R]
    following: int | None


class Records(Protocol):
    """What the faces read; it changes nothing."""

    async def event_page(
        self, wanted: EventFilter, *, before: int | None, limit: int
    ) -> Page[EventRow]:
        """Events, newest first, from behind the row `before`."""
        ...

    async def delivery_page(
        self, wanted: DeliveryFilter, *, before: int | None, limit: int
    ) -> Page[DeliveryRow]:
        """Deliveries, newest first; `NotFound` for an event or a subscription that never was."""
        ...

    async def callback_page(
        self, wanted: CallbackFilter, *, before: int | None, limit: int
    ) -> Page[CallbackRow]:
        """Callbacks, newest first."""
        ...

    async def event_body(self, event: str) -> tuple[EventRow, bytes]:
        """An event, and its CloudEvent as it is sent; `NotFound`."""
        ...

    async def events(
        self, *, order: str | None, event_type: str | None, limit: int
    ) -> Sequence[EventRow]:
        """The newest events, newest first."""
        ...

    async def deliveries(
        self, *, subscription: str | None, state: str | None, limit: int
    ) -> Sequence[DeliveryRow]:
        """The newest deliveries, newest first; `NotFound` for a subscription that never was."""
        ...

    async def delivery(self, delivery: str) -> DeliveryStory:
        """Everything about one delivery, `dl_7`; `NotFound`."""
        ...

    async def delivery_request(self, delivery: str, now: Millis) -> tuple[Delivery, Subscription]:
        """A delivery as it is sent, its batch with it, and its subscription; `NotFound`.

        Of one that the configuration declares, the store knows no secrets and of its own headers
        only the names.
        """
        ...

    async def unlinked(self, *, limit: int) -> Sequence[UnlinkedRow]:
        """Facts that wait, oldest first."""
        ...

    async def unlinked_page(
        self, *, source: str | None, after: int | None, limit: int
    ) -> Page[UnlinkedRow]:
        """Facts that wait, oldest first, from behind the row `after`."""
        ...

    async def quarantined(self, *, limit: int) -> Sequence[CallbackRow]:
        """Callbacks in quarantine, newest first."""
        ...

    async def subscriptions(self) -> Sequence[SubscriptionRow]:
        """All subscriptions by name, those that the configuration has no more too."""
        ...

    async def conditions(self) -> Mapping[int, Condition]:
        """How all subscriptions are, by their ids."""
        ...

    async def subscription(self, name: str) -> SubscriptionDetail:
        """Everything of one subscription; `NotFound`."""
        ...

    async def sources(self) -> Mapping[str, tuple[Poll | None, int]]:
        """By the names of polled sources: where the poller is, and how many orders it asks for."""
        ...

    async def made_sources(self) -> Sequence[MadeSource]:
        """The sources made at run time, oldest first; `StartupError` without the master key."""
        ...

    async def made_names(self) -> tuple[Sequence[str], Sequence[str]]:
        """The names of the sources and of the subscriptions made at run time; needs no master key."""
        ...

    async def paused_sources(self) -> Mapping[str, Millis]:
        """The names of paused sources, and since when."""
        ...

    async def callback(self, callback: str) -> tuple[CallbackRow, Callback]:
        """A callback as it is shown, and as it was sent; `NotFound`."""
        ...

    async def explain(self, name: str) -> Sequence[Story]:
        """Everything about an order id, event id, delivery id, callback id or provider's id."""
        ...

    async def lanes(self, subscription: str | None, *, limit: int) -> Sequence[LaneRow]:
        """The parked lanes, of one subscription or of all, those first that have been for longest."""
        ...

    async def lane_page(
        self, subscription: str | None, *, after: int | None, limit: int
    ) -> Page[LaneRow]:
        """The same in pages, from behind the place `after`."""
        ...

    async def preview(self, chosen: Chosen) -> Preview:
        """What a replay would send again; `NotFound`."""
        ...

    async def replay_page(self, *, before: int | None, limit: int) -> Page[Replay]:
        """All replay jobs, newest first, from behind the job `before`."""
        ...

    async def keys(self) -> Sequence[KeyRecord]:
        """All API keys, newest first, those that were revoked too."""
        ...

    async def rejected(self, source: str, *, limit: int) -> Sequence[RejectedRow]:
        """The newest samples of a source's rejected requests, newest first."""
        ...
