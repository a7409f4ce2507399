"""The values that travel through the gateway, all frozen; they know no store, no network, no clock.

Times are integer milliseconds since 1970 UTC (`Millis`): they are compared, stored and
indexed far more often than shown. They become RFC 3339 text in `events.py` only.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NewType

import msgspec

Millis = NewType("Millis", int)


class Track(StrEnum):
    """The part of an order's state that a fact is about (design 6.2)."""

    CREATED = "created"
    PAYMENT = "payment"
    HOLD = "hold"
    FULFILMENT = "fulfilment"
    REFUND = "refund"
    DISPUTE = "dispute"
    CHANGE = "change"
    EVENT = "event"


class Unknown(StrEnum):
    """What to do with a fact whose order is not known (design 6.3)."""

    WAIT = "wait"
    OWN = "own"
    IGNORE = "ignore"


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """An amount: `value` in major units as decimal text, `minor` only when unit and currency are known."""

    value: str | None = None
    minor: int | None = None
    currency: str | None = None


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an order, as far as the provider tells it.

    `status` is the provider's own word or code; `price` its own digits, where nobody knows their
    unit, or whether they are for one piece.
    """

    id: str | None = None
    sku: str | None = None
    name: str | None = None
    quantity: int | None = None
    unit_price: Money | None = None
    total: Money | None = None
    status: str | None = None
    price: str | None = None


class Shipment(msgspec.Struct, frozen=True, kw_only=True):
    """How an order travels; `expected` is the provider's own text for the day of delivery."""

    tracking_number: str | None = None
    tracking_url: str | None = None
    carrier: str | None = None
    expected: str | None = None


def name_key(order: str) -> str:
    """The link key of an order id: where an alias leads to its order."""
    return f"name:{order}"


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that a callback or a poll says about an order; the pure output of a normalizer.

    `key` is the id that the provider gives to what the track counts: its order (fulfilment),
    the payment, the refund, the dispute. `state` is the state that is claimed, a key of the
    track's table in `orders/tables.py`.
    """

    track: Track
    at: Millis
    state: str = ""
    key: str | None = None

    # Which order (design 6.3). `links` are looked up first, then `order`, then `own`.
    order: str | None = None  # the order id that the provider names
    links: tuple[str, ...] = ()  # "stripe:pi_1": ids that lead to an order once one fact names both
    own: str | None = None  # the id to use when the order is an order of its own
    unknown: Unknown = Unknown.OWN
    patience: Millis | None = None  # WAIT only: after this long it becomes an order of its own

    # What is said.
    amount: Money | None = None  # of the payment, the refund, the dispute
    total: Money | None = None  # of the order
    group: str | None = None  # refunds: the payment or charge whose sum they count into
    same_payment: tuple[str, ...] = ()  # names of one payment: its intent, then its charges
    cumulative: Money | None = None  # refunds: what the charge says was refunded in all
    quantity: int | None = None  # partial shipments and cancels: the cumulative quantity
    soft: bool = False  # cancels that a payment or a print undoes
    implied: bool = False
    reason: str | None = None  # why on hold, why the payment failed
    what: str | None = None  # CHANGE: what changed; `state` is the new value
    ids: Mapping[str, tuple[str, ...]] = {}  # ids at every system: {"stripe": ("cs_1", "pi_1")}
    livemode: bool | None = None
    lines: tuple[Line, ...] | None = None
    shipment: Shipment | None = None
    customer: Mapping[str, object] | None = (
        None  # personal data: leaves only where `include` says so
    )

    # EVENT: an event that is no order's, passed on under its own type.
    type: str | None = None
    subject: str | None = None
    data: msgspec.Raw | None = None
    envelope: bytes | None = None  # of one that was published as a CloudEvent: it is sent as it is

    @property
    def named(self) -> str | None:
        """The order that it is about where no link leads to one: `own` only where none is named."""
        return self.own if self.order is None else self.order

    def keys(self) -> tuple[str, ...]:
        """The link keys to look up: the links, and the name by which an alias may lead on."""
        named = self.named
        return (*self.links, name_key(named)) if named else self.links


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a normalizer made of one callback: its id and type at the provider, and the facts.

    Without facts `ignored` says why in one sentence.
    """

    event_id: str
    event_type: str
    at: Millis
    facts: Sequence[Fact] = ()
    ignored: str | None = None


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a provider's API: `path` is relative to the source's `base_url`."""

    path: str
    params: tuple[tuple[str, str], ...] = ()
    method: str = "GET"
    body: bytes = b""  # JSON, of a request that is not a GET


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer to a `Query`; header names are lower case, `at` is when it was asked."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    at: Millis


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One order of a list; `body` when the entry says all that asking for the order would."""

    number: str
    body: bytes | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a provider's list; `cursor` leads to the next one, None after the last."""

    orders: Sequence[Listed]
    cursor: str | None = None


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """An order to ask for: its number at the provider, and the shop's name for it when given."""

    number: str
    order: str | None = None


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """One raw request that a source sent, kept byte for byte; header names are lower case."""

    source: str
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    received_at: Millis

    def header(self, name: bytes) -> bytes | None:
        """The value of the only header of this name; None without one or with several."""
        found = [value for key, value in self.headers if key == name]
        return found[0] if len(found) == 1 else None


class Verdict(StrEnum):
    """What became of a callback, or of one of its facts."""

    EVENT = "event"
    BASELINE = "baseline"
    MERGED = "merged"
    SUPERSEDED = "superseded"
    UNLINKED = "unlinked"
    IGNORED = "ignored"
    QUARANTINED = "quarantined"


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a callback; `id` and `events` of a repeat are those of the first time."""

    id: str
    events: Sequence[str]
    duplicate: bool
    verdict: Verdict


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One CloudEvent, serialized once: `body` is the structured JSON that is stored, signed and sent."""

    id: str
    type: str
    source: str  # the source's name, for matching; the CloudEvents attribute stands in `body`
    shop: str
    order: str | None  # the order id, None for events that are no order's
    seq: int | None  # orderseq
    time: Millis
    recorded: Millis
    body: bytes


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where facts come from; `callback` is 0 for the callback that is being accepted."""

    callback: int = 0
    source: str
    provider: str
    shop: str
    event_id: str
    event_type: str
    recorded: Millis
    traceparent: str
    include: tuple[str, ...] = ()
    original: msgspec.Raw | None = None
    baseline: bool = False  # an order that is not known yet is recorded, and nothing is told


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One fact and its origin: what is decided upon, and what waits while it is unlinked."""

    fact: Fact
    origin: Origin


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that was stored because its order was not known."""

    id: int
    entry: Entry


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What the store knows of the links, orders and waiting facts that the entries may touch.

    The states of orders are bytes to the store; `orders/state.py` reads and writes them.
    """

    links: dict[str, str]
    orders: dict[str, bytes]
    waiting: Sequence[Waiting] = ()


class Note(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one fact: a line of the order's timeline."""

    track: str
    state: str
    verdict: Verdict
    reason: str = ""
    events: tuple[str, ...] = ()
    order: str | None = None


class Decision(msgspec.Struct, kw_only=True):
    """What the store has to write; `notes` and `verdicts` go by callback, 0 for the new one."""

    events: list[tuple[int, Event]] = []  # the callback that made it, and the event
    orders: dict[str, tuple[int, bytes]] = {}  # orderseq and state
    links: dict[str, str] = {}
    wait: list[Entry] = []
    linked: list[int] = []
    notes: dict[int, list[Note]] = {}
    verdicts: dict[int, Verdict] = {}


class Mode(StrEnum):
    """The content mode of a delivery (design 7)."""

    STRUCTURED = "structured"
    BINARY = "binary"
    JSON = "json"
    BATCH = "batch"


class Ordering(StrEnum):
    """What order a subscription's deliveries keep: none, or that of the events of each order."""

    NONE = "none"
    ORDER = "order"


class OnExhausted(StrEnum):
    """What a delivery of a lane that ends without success does to those behind it."""

    PARK = "park"
    SKIP = "skip"


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants which events where; `id` is the catalog's number for the name.

    `start` is the event time from which on a new subscription gets history: 0 is the beginning,
    None only what comes. Without a `url` its consumer fetches them. `declared` says that it stands in the configuration file. `origin` is what
    its handshake asks for, None without one (`handshake = false`). `owner` is the id of the API key
    that made it, None for the configuration's and the command line's; at `expires_at` it is removed.
    """

    id: int
    name: str
    url: str
    types: tuple[str, ...] = ("order.*",)
    sources: tuple[str, ...] = ()
    shops: tuple[str, ...] = ()
    filters: tuple[Mapping[str, Any], ...] = ()  # in their plain form, see gateway/filters/
    profile: str = "service"
    mode: Mode = Mode.STRUCTURED
    flat: bool = False
    secrets: tuple[bytes, ...] = ()
    timeout: Millis = Millis(15_000)
    slots: int = 32
    rate: float | None = None  # deliveries a second
    schedule: tuple[Millis, ...] = ()  # delays before the 2nd, 3rd ... attempt
    enabled: bool = True
    headers: tuple[tuple[str, bytes], ...] = ()  # own headers, whose values are secrets
    origin: str | None = None
    ordering: Ordering = Ordering.NONE
    on_exhausted: OnExhausted = OnExhausted.PARK
    final_status: tuple[int, ...] = ()  # 4xx after which nothing is tried again
    batch_size: int = 100
    batch_wait: Millis = Millis(1_000)
    start: Millis | None = None
    declared: bool = True
    owner: str | None = None
    description: str = ""
    expires_at: Millis | None = None

    @property
    def pull(self) -> bool:
        """Whether its consumer fetches what it gets: nothing is sent to it."""
        return not self.url


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one subscription, claimed for an attempt; `claim` fences its settlement.

    Of a batch it is the first member's: `event_id` is then the batch's own id, `body` the array of
    all members, `size` their number. `manual` is when it was due before a person asked for this
    attempt, which uses up no place in the schedule. `bugs` are its attempts since `first_at` that
    met a bug of the gateway.
    """

    id: int
    subscription: int
    event_id: str
    event_type: str
    body: bytes
    attempts: int  # scheduled attempts made so far
    number: int  # all attempts made so far, manual and interrupted ones too
    first_at: Millis | None
    claim: int
    due: Millis = Millis(0)  # since when it could be sent
    lane: int | None = None  # what it shares with the other deliveries of its order, when ordered
    size: int = 1
    manual: Millis | None = None
    bugs: int = 0


class Failure(StrEnum):
    """Why an attempt did not get a 2xx, as a class that the operator can act on."""

    STATUS = "status"
    REDIRECT = "redirect"
    TIMEOUT = "timeout"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    PROTOCOL = "protocol"
    RESET = "reset"
    FORBIDDEN = "forbidden"
    INTERRUPTED = "interrupted"
    INTERNAL = "internal"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt met: a value for 200, 500, timeout, refused, forbidden; times in milliseconds.

    `connected` and `first_byte` are since `started_at`, as `duration` is: None when it did not come
    so far, `connected` 0 on a connection that was open.
    """

    started_at: Millis
    duration: float
    connected: float | None = None
    first_byte: float | None = None
    status: int | None = None
    failure: Failure | None = None
    detail: str = ""  # one sentence for the operator
    retry_after: Millis | None = None  # from now
    address: str | None = None
    head: bytes = b""  # the kept beginning of the answer's body


class Duration(int):
    """Milliseconds; in the configuration `"30s"`, `"5m"`, `"2h"`, `"30d"`."""


class Size(int):
    """Bytes; in the configuration `"64KiB"`, `"1MiB"`."""
