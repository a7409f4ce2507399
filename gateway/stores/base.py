"""The contract of a store: small protocols, each named for who uses it.

One method is one transaction; no connection crosses this border; a result is durable.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from gateway.keys import KeyRecord
from gateway.models import (
    Callback,
    Decision,
    Delivery,
    Entry,
    Event,
    Known,
    Millis,
    Note,
    Outcome,
    Receipt,
    Subscription,
    Verdict,
    Waiting,
)
from gateway.retries import Decision as RetryDecision
from gateway.stores.callers import Calling

BY_HAND = "paused by "
"""What the reason begins with when a person holds a subscription, and not the gateway."""

Decide = Callable[[Sequence[Entry], Known], Decision]
WaitOver = Callable[[Sequence[Waiting], Known], Decision]


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """An order that a polled source is asked for; `number` is the provider's, `order` the shop's if given.

    `wanted`: a person asked for it. `baseline`: what its first reply says is recorded silently.
    `seen` hashes the facts of the last reply, whose time was `said_at`; they changed at
    `changed_at`. `entry` hashes those of its entry in a list. Without `next_at` it is asked no
    more: it is final, or `problem` says why.
    """

    source: str
    number: str
    order: str | None = None
    wanted: bool = False
    baseline: bool = False
    seen: bytes | None = None
    entry: bytes | None = None
    said_at: Millis | None = None
    changed_at: Millis
    next_at: Millis | None
    failures: int = 0
    problem: str | None = None


class Poll(msgspec.Struct, frozen=True, kw_only=True):
    """Where the poller of a source is; `refused` says why it asks no more.

    `fingerprint` hashes the configuration, `account` whose orders they are, and `since` is when they
    were first asked for. `cursor` is where the listing goes on, `listed` whether
    it was complete once, `adopted` the last callback whose order was taken into the watch. Until
    `paused_until` the API wants to be left alone.
    """

    source: str
    fingerprint: bytes
    account: bytes
    since: Millis
    cursor: str | None = None
    listed: bool = False
    adopted: int = 0
    refused: str | None = None
    failures: int = 0
    problem: str | None = None
    next_at: Millis = Millis(0)
    paused_until: Millis = Millis(0)
    asked_at: Millis | None = None
    answered_at: Millis | None = None


class Intake(msgspec.Struct, frozen=True, kw_only=True):
    """One authentic callback, or one reply of a polled source, read: its entries, or why there are none.

    With `malformed` it goes to quarantine; with `ignored` it is stored, and makes nothing. `watch`
    is the order that a poll asked for, written with what it said; `watches` are the orders that
    are watched from now on. `again` is the quarantined callback that is read once more, at `read_at`.
    """

    callback: Callback
    provider: str
    shop: str
    event_id: str
    event_type: str
    entries: Sequence[Entry] = ()
    ignored: str = ""
    malformed: str = ""
    watch: Watch | None = None
    watches: Sequence[Watch] = ()
    again: str | None = None
    read_at: Millis | None = None


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """One event that an intake would make, and for which subscriptions."""

    id: str
    type: str
    order: str | None
    subscriptions: Sequence[str]


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """What accepting an intake does, in detail."""

    verdict: Verdict
    reason: str
    notes: Sequence[Note]
    made: Sequence[Made]


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A callback as it was received, and what became of it."""

    callback: Callback
    provider: str
    event_id: str
    verdict: Verdict


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How a subscription's endpoint does, as far as it is kept over a restart."""

    failing_since: Millis | None = None  # the fourth failed attempt in a row
    streak: int = 0  # failed attempts in a row, up to those four
    broken_until: Millis | None = None  # the breaker lets nothing through
    trips: int = 0  # how often it has opened since it was last closed


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """How one attempt ended and what follows; `events` are operational events to publish with it.

    `health` is written when this attempt changed it.
    """

    delivery: Delivery
    outcome: Outcome
    decision: RetryDecision
    events: Sequence[Event] = ()
    health: Health | None = None


class Wanted(msgspec.Struct, frozen=True):
    """How many may be claimed: deliveries, or batches of `batch` events of whoever takes batches."""

    count: int
    batch: int = 0


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """Deliveries that are now leased, and when the next one of each subscription is due.

    `calling` says who waits for callbacks to be stored meanwhile.
    """

    deliveries: Sequence[Delivery]
    next_due: Mapping[int, Millis | None]
    calling: Calling = Calling.NOBODY


class Consent(StrEnum):
    """How the handshake with an endpoint stands (CloudEvents webhooks, section 4)."""

    PENDING = "pending"
    GRANTED = "granted"
    DENIED = "denied"
    UNSUPPORTED = "unsupported"


class Handshake(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint answered when it was asked for its consent; `rate` is deliveries a minute.

    `asked_for` names the URL and the origin that the answer holds for: another one is asked anew.
    `secret` is in the callback's URL, by which an endpoint may consent later.
    """

    state: Consent = Consent.PENDING
    rate: int | None = None
    reason: str = ""
    asked_for: str = ""
    asked_at: Millis | None = None
    next_at: Millis = Millis(0)
    secret: str = ""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What the catalog remembers of a subscription: `active`, `paused` or `gone`, and why.

    `catching_up`: deliveries of past events are being made, and new events wait for that.
    """

    subscription: Subscription
    state: str = "active"
    reason: str | None = None
    hold_until: Millis | None = None
    last_success: Millis | None = None
    health: Health = Health()
    handshake: Handshake | None = None
    catching_up: bool = False


class Put(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a subscription that was put: how it stands, and the text of its newest secret.

    `made`: it is new. `resumed`: it was there, and gone or paused by the gateway.
    """

    status: Status
    secret: str
    made: bool
    resumed: bool


class KeptKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key that was not revoked, and the SHA-256 of its secret."""

    record: KeyRecord
    digest: bytes


class Handover(Protocol):
    """Who takes the deliveries that are born leased: the dispatcher of this process."""

    def offer(self, subscription: int) -> int:
        """Reserve the room that a subscription has: how many more it may have leased now."""
        ...

    def hand_over(
        self, born: Sequence[Delivery], unused: Mapping[int, int], waiting: Mapping[int, Millis]
    ) -> None:
        """Take what was born after the commit, the room that was not used, and who waits unclaimed."""
        ...


class Outbox(Protocol):
    """What the receiver needs."""

    def accept(self, intake: Intake, decide: Decide) -> "asyncio.Future[Receipt]":
        """Store a callback and what follows; a repeat gets the first receipt. `Unavailable`."""
        ...

    async def rehearse(self, intake: Intake, decide: Decide, *, keep: bool) -> Rehearsal:
        """Say what `accept` does, and do it only with `keep`.

        Raises `NotFound` and `Conflict` for a callback that is not in quarantine `again`.
        """
        ...

    async def stored(self, callback: str) -> Stored:
        """A callback as it was received, to normalize it again; `NotFound`."""
        ...

    async def wait_over(self, decide: WaitOver, now: Millis) -> int:
        """Make facts whose wait has ended orders of their own; the number of facts."""
        ...


class Polls(Protocol):
    """What the poller needs to go on where it was."""

    async def state(self, source: str) -> Poll | None:
        """Where the poller of this source was; None before its first round."""
        ...

    async def save(self, poll: Poll, events: Sequence[Event] = ()) -> None:
        """Write where it is, and publish operational events with it."""
        ...

    async def watch(self, watches: Sequence[Watch]) -> Sequence[str]:
        """Watch orders that are not watched yet; the numbers of those that are new."""
        ...

    async def want(self, watch: Watch) -> bool:
        """Watch an order because a person asks, whatever was known of it; whether it is new."""
        ...

    async def find(self, source: str, numbers: Sequence[str]) -> Mapping[str, Watch]:
        """The watched ones of these orders, by number."""
        ...

    async def due(self, source: str, now: Millis, limit: int) -> Sequence[Watch]:
        """The orders to ask for now: the most overdue first, but those of a baseline last."""
        ...

    async def all(self, source: str, *, after: str | None, limit: int) -> Sequence[Watch]:
        """All watched orders, those that are asked no more too, in an order that stays."""
        ...

    async def put(self, watch: Watch) -> None:
        """Write how asking for an order went."""
        ...

    async def refresh(self, source: str, now: Millis) -> None:
        """Read every order anew: what the replies mean may have changed with the configuration."""
        ...

    async def adopt(
        self, source: str, *, after: int, limit: int, numbers_of: Callable[[bytes], Sequence[str]]
    ) -> tuple[int, Sequence[str]]:
        """The orders that callbacks of this source told of, at the provider, from a callback on.

        Returns the last callback looked at (`after` again when there are no more) and the numbers.
        """
        ...


class Queue(Protocol):
    """What the dispatcher needs."""

    async def claim(self, wanted: Mapping[int, Wanted], now: Millis) -> Claimed:
        """Lease due deliveries, at most so many a subscription; batches are formed here."""
        ...

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Record attempts and what follows; a success counts whatever became of its claim."""
        ...

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        """Give leases back: these were not attempted, and are due again as they were before."""
        ...

    async def bury(self, subscription: int, reason: str, now: Millis) -> int:
        """End all pending deliveries of a subscription that is gone."""
        ...


class Catalog(Protocol):
    """What the runtime and the control socket need."""

    async def sync(
        self, declared: Sequence[Subscription], *, origin: str | None = None
    ) -> Sequence[Status]:
        """Take over the file's, disable others that were; those made ask for consent as `origin`, if any."""
        ...

    async def resume(self, key: str | int) -> Status:
        """Make a paused or gone subscription active; `NotFound`.

        Here and below `key` is a name, or the id that the name has.
        """
        ...

    async def pause(self, key: str | int, reason: str) -> Status:
        """Hold a subscription's deliveries; `NotFound`, and `Conflict` for one that is gone."""
        ...

    async def create(self, subscription: Subscription, secret: str, now: Millis) -> Status:
        """Keep a subscription that the configuration does not declare; `Conflict` when it is known.

        `secret` is its `whsec_` text; `subscription.secrets` is not read.
        """
        ...

    async def put(self, subscription: Subscription, secret: str, now: Millis) -> Put:
        """The same, but one that its owner has made for the same URL is changed instead.

        That one keeps its name and its secrets, and goes on unless a person paused it. Raises
        `Conflict` for a name that is known, and for an ordering or a batch mode that is another.
        """
        ...

    async def change(
        self, key: str | int, revise: Callable[[Subscription], Subscription]
    ) -> Status:
        """Replace the settings of such a subscription by what `revise` makes of those of now.

        Raises `NotFound`, `Conflict`, and what `revise` raises, which may be called in any thread.
        """
        ...

    async def remove(
        self, key: str | int, now: Millis, *, declared: Collection[str] | None = None
    ) -> None:
        """Forget such a subscription and end its deliveries; `NotFound`, `Conflict`.

        What was sent to it is still explained, and its name may be used again. `declared` are the
        names in the configuration, where no `sync` has told them.
        """
        ...

    async def rotate(self, key: str | int, secret: str, now: Millis, *, overlap: Millis) -> Status:
        """Sign with `secret` from now on, and with the others until `overlap` is over.

        Raises `NotFound`, and `Conflict` for one whose secrets stand in the configuration.
        """
        ...

    async def expire(self, now: Millis) -> Millis | None:
        """End the secrets, and the subscriptions, whose time is over; when the next one's is."""
        ...

    async def consent(self, handshakes: Mapping[str, Handshake]) -> Collection[str]:
        """Write how the handshakes of these subscriptions stand; the names of which there is none."""
        ...

    async def heartbeat(self, now: Millis) -> None:
        """Write one row durably; `Unavailable` when the store cannot."""
        ...


class Keys(Protocol):
    """What the keyring needs."""

    async def create(self, record: KeyRecord, digest: bytes) -> None:
        """Keep a new key; `digest` is the SHA-256 of its secret. `Conflict` when its id is known."""
        ...

    async def revoke(self, key: str, now: Millis) -> None:
        """Note that a key ended; of one that ended before, the first time stays. `NotFound`."""
        ...

    async def all(self) -> Sequence[KeyRecord]:
        """All keys, newest first, those that were revoked too."""
        ...

    async def present(self) -> Sequence[KeptKey]:
        """All keys that were not revoked."""
        ...

    async def used(self, times: Mapping[str, Millis]) -> None:
        """Write when each of these keys was last used, by id."""
        ...


class Rejections(Protocol):
    """What the hooks need to tell an operator why a sender is refused."""

    def keep(self, source: str, reason: str, callback: Callback) -> None:
        """Keep a sample, redacted, unless there are too many; never fails, never waits."""
        ...

    async def close(self) -> None:
        """Write the samples that wait."""
        ...
