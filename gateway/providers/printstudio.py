"""PrintStudio calls, and is asked: there are no callbacks for `processing`, `post_processing`, `refunded`.

Formats: https://docs.printstudio.r5i.io/api/webhooks (signature, envelope, events, registration),
https://printstudio-docs.pages.dev/api/orders (statuses, orders) and
https://printstudio-docs.pages.dev/api/overview (errors). Of an order event's `data` only
`orderId` is promised, so all else may be missing. Both halves say the same of an order: the same
order id, keys and ids.
"""

import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, NamedTuple
from urllib.parse import quote

import msgspec

from gateway.errors import ConfigError, Malformed, Rejected
from gateway.models import (
    Callback,
    Duration,
    Fact,
    Listed,
    Millis,
    Page,
    Query,
    Reading,
    Reply,
    Track,
    Watched,
)
from gateway.providers import base
from gateway.providers.printstudio_order import LIST, NAME, ORDER, Order, details, part_key
from gateway.providers.printstudio_samples import samples
from gateway.providers.reading import (
    check_unicode,
    count,
    counted_secrets,
    currency_code,
    decoded,
    from_iso,
    hashed_id,
    is_id,
    is_signed,
    no_float,
    only_header,
    passed_on,
    readable_id,
    required_id,
)
from gateway.providers.replies import body_of, check_status


class Status(NamedTuple):
    """What an order of one status says when it is asked for.

    `fulfilment` is a state of that track. `payment` is `said` when the status is the payment's own,
    `implied` when the shop gives it only to orders that were paid.
    """

    fulfilment: str
    payment: Literal["", "said", "implied"] = ""
    refunded: bool = False


# A status that is not here is told as it stands: `order.updated`.
STATUSES: Final[Mapping[str, Status]] = {
    "pending_payment": Status("created"),
    "paid": Status("created", payment="said"),
    "processing": Status("processing", payment="implied"),
    "printing": Status("printing", payment="implied"),
    "post_processing": Status("post_processing", payment="implied"),
    "ready": Status("ready", payment="implied"),
    "shipped": Status("shipped", payment="implied"),
    "cancelled": Status("cancelled"),
    "refunded": Status("created", payment="implied", refunded=True),
}
FIRST_STATUS: Final = "pending_payment"

ORDER_EVENTS: Final[Mapping[str, tuple[tuple[Track, str], ...]]] = {
    "order.created": ((Track.CREATED, "created"), (Track.FULFILMENT, "created")),
    "order.paid": ((Track.PAYMENT, "paid"),),
    "order.printing": ((Track.FULFILMENT, "printing"),),
    "order.ready": ((Track.FULFILMENT, "ready"),),
    "order.shipped": ((Track.FULFILMENT, "shipped"),),
    "order.cancelled": ((Track.FULFILMENT, "cancelled"),),
}
# Passed on as `printstudio.<event>`; the subject is the first of these names that `data` has.
OTHER_EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "job.*": ("jobId", "id"),
    "inventory.low": ("sku", "skuId", "materialId", "id"),
    "printer.offline": ("printerId", "id"),
}

HEADER: Final = "X-PrintStudio-Signature"
ORDERS: Final = "api/orders"
ENDPOINTS: Final = "api/webhooks/endpoints"
PAGE_SIZE: Final = 100
_DIGEST = re.compile(r"(?:sha256=)?([0-9A-Fa-f]{64})")
_JOB = re.compile(r"job\.[A-Za-z0-9_.-]{1,64}")
_PAGE_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)


class PrintStudioOptions(base.Options, frozen=True, kw_only=True):
    """The keys of a PrintStudio source: `currency` is that of all its amounts, which name none."""

    currency: str | None = None

    def __post_init__(self) -> None:
        if self.currency is not None and currency_code(self.currency) is None:
            raise ConfigError("currency", "must be three letters, such as EUR")


class _Envelope(msgspec.Struct, frozen=True, gc=False):
    event: str
    id: Any = None
    timestamp: Any = None
    data: msgspec.Raw = msgspec.Raw()


class _Answer(msgspec.Struct, frozen=True):
    """One thing of the API, bare (it has an `id`) or under a name: the documents show neither."""

    id: msgspec.Raw = msgspec.Raw()
    order: msgspec.Raw = msgspec.Raw()
    endpoint: msgspec.Raw = msgspec.Raw()
    data: msgspec.Raw = msgspec.Raw()


class _Listing(msgspec.Struct, frozen=True):
    orders: msgspec.Raw = msgspec.Raw()
    data: msgspec.Raw = msgspec.Raw()
    page: Any = None
    limit: Any = None


_ENVELOPE = msgspec.json.Decoder(_Envelope, float_hook=no_float)
_ANSWER = msgspec.json.Decoder(_Answer)
_LISTING = msgspec.json.Decoder(_Listing, float_hook=no_float)
_MEMBERS = msgspec.json.Decoder(dict[str, Any], float_hook=no_float)


class PrintStudio:
    """One PrintStudio installation: its webhook endpoint, its API, or both."""

    name: ClassVar[str] = NAME
    Options: ClassVar[type[base.Options]] = PrintStudioOptions
    base_url: ClassVar[str] = ""  # every shop runs its own

    def __init__(self, options: PrintStudioOptions) -> None:
        self._currency = currency_code(options.currency)

    def verify(
        self,
        callback: Callback,
        *,
        secrets: Sequence[bytes],
        tolerance: Duration,  # noqa: ARG002 - the contract's
        now: Millis,  # noqa: ARG002
    ) -> None:
        """Check `sha256=<hex>`, or bare hex, over the body; raises `Rejected`.

        The scheme signs no time: `tolerance` and `now` decide nothing, the event id stops replays.
        """
        found = _DIGEST.fullmatch(only_header(callback, HEADER))
        if found is None:
            raise Rejected(f"{HEADER} is not sha256= and 64 hex digits")
        if not is_signed(callback.body, [found[1].lower().encode()], secrets):
            raise Rejected(f"the signature matches none of {counted_secrets(secrets)}")

    def samples(self, occasion: base.Occasion) -> Mapping[str, bytes]:
        """A test callback of each event."""
        return samples(occasion)

    def sign(
        self,
        body: bytes,
        *,
        secret: bytes,
        now: Millis,  # noqa: ARG002 - the scheme signs no time
    ) -> Mapping[str, str]:
        """The headers with which the shop would send it."""
        digest = hmac.digest(secret, body, "sha256").hex()
        return {"content-type": "application/json", HEADER.lower(): f"sha256={digest}"}

    def normalize(self, callback: Callback) -> Reading:
        """Read one envelope; an event in no table is ignored, with a reason. Raises `Malformed`."""
        try:
            check_unicode(callback.body)
            return self._read(callback)
        except Malformed as error:
            error.event_id = readable_id(callback.body)
            raise

    def _read(self, callback: Callback) -> Reading:
        envelope = decoded(_ENVELOPE, callback.body)
        event = required_id(envelope.event, "$.event")
        named = isinstance(envelope.id, str) and envelope.id != ""
        event_id = required_id(envelope.id, "$.id") if named else hashed_id(callback.body)
        at = from_iso(envelope.timestamp)
        at = callback.received_at if at is None else at
        facts: Sequence[Fact] = ()
        ignored = None
        names = _subject_names(event)
        if event in ORDER_EVENTS:
            facts = self._order(event, envelope.data, at=at)
        elif names is not None:
            facts = (_other(event, envelope.data, at=at, event_id=event_id, names=names),)
        else:
            ignored = f"events of the type {event} are not known"
        return Reading(event_id=event_id, event_type=event, at=at, facts=facts, ignored=ignored)

    def _order(self, event: str, data: msgspec.Raw, *, at: Millis) -> Sequence[Fact]:
        order = decoded(ORDER, data, path="$.data")
        order_id = required_id(order.order_id, "$.data.orderId")
        common = details(order, order_id, currency=self._currency, at=at)
        return tuple(
            Fact(
                track=track,
                state=state,
                key=part_key(order_id) if track is Track.FULFILMENT else None,
                **common,
            )
            for track, state in ORDER_EVENTS[event]
        )

    # The API.

    def authorize(self, token: str) -> Mapping[str, str]:
        """The API key in its header."""
        return {"X-API-Key": token}

    def order(self, number: str) -> Query:
        """`GET api/orders/{id}`."""
        return Query(path=f"{ORDERS}/{quote(number, safe='')}")

    def more(self, reply: Reply) -> Sequence[Query]:  # noqa: ARG002 - the contract's
        """Nothing: an order tells all that the API knows of it."""
        return ()

    def read(self, watched: Watched, replies: Sequence[Reply]) -> Reading:
        """Read an order, bare or under `order` or `data`; raises `AskFailed` and `Malformed`.

        Its order id is PrintStudio's own, whatever `watched.order` says: callbacks know no other.
        """
        reply = replies[0]
        raw, path = _unwrapped(body_of(reply), "order")
        order = decoded(ORDER, raw, path=path)
        number = required_id(order.id, f"{path}.id")
        if number != watched.number:
            raise Malformed("must be the order that was asked for", path=f"{path}.id")
        status = required_id(order.status, f"{path}.status")
        facts = tuple(self._asked(order, number, status, at=reply.at))
        return Reading(event_id=number, event_type=status, at=reply.at, facts=facts)

    def _asked(self, order: Order, number: str, status: str, *, at: Millis) -> Iterator[Fact]:
        common = details(order, number, currency=self._currency, at=at)
        created_at = from_iso(order.created_at)
        yield Fact(
            track=Track.CREATED,
            state="created",
            implied=status != FIRST_STATUS,
            **common | {"at": at if created_at is None else min(created_at, at)},
        )
        says = STATUSES.get(status, Status("created"))
        if says.payment:
            implied = says.payment == "implied"
            yield Fact(track=Track.PAYMENT, state="paid", implied=implied, **common)
        yield Fact(track=Track.FULFILMENT, state=says.fulfilment, key=part_key(number), **common)
        if status not in STATUSES:
            yield Fact(track=Track.CHANGE, what="status", state=status, **common)
        if says.refunded:
            yield Fact(track=Track.REFUND, state="succeeded", **common)

    def page(self, cursor: str | None) -> Query:
        """`GET api/orders?page=&limit=`; the cursor is the number of the page."""
        return Query(path=ORDERS, params=(("page", cursor or "1"), ("limit", str(PAGE_SIZE))))

    def read_page(self, reply: Reply, cursor: str | None = None) -> Page:
        """Read `{"orders": [...]}`, `{"data": [...]}` or a bare array of orders; a full page has a next.

        Entries without a readable id are passed over, unless there is no other. The page counts
        that was asked for, whatever the answer says: some name none.
        """
        listing, raw, path = _listing(body_of(reply, arrays=True))
        entries = decoded(LIST, raw, path=path)
        orders = [found for found in map(_listed, entries) if found is not None]
        if entries and not orders:
            raise Malformed("no order of the list has an id", path=path)
        number = _page_number(cursor)
        # More than were asked for is a list that is not cut into pages.
        full = len(entries) == (count(listing.limit) or PAGE_SIZE)
        return Page(orders=orders, cursor=str(number + 1) if full and number else None)

    # Registration.

    def registration(self, *, url: str, secret: str) -> Query:
        """How to ask for callbacks of all order events to `url`, signed with `secret`."""
        body = {"url": url, "events": tuple(ORDER_EVENTS), "secret": secret}
        return Query(path=ENDPOINTS, method="POST", body=msgspec.json.encode(body))

    def read_registration(self, reply: Reply) -> str:
        """The id of the new endpoint, empty when the answer tells none; raises `AskFailed`."""
        check_status(reply)
        if not reply.body.strip():
            return ""
        body = body_of(reply)
        try:
            raw, path = _unwrapped(body, "endpoint")
            told = decoded(_MEMBERS, raw, path=path).get("id")
        except Malformed:
            return ""
        return told if is_id(told) else str(count(told) or "")


def _unwrapped(body: bytes, name: Literal["order", "endpoint"]) -> tuple[bytes | msgspec.Raw, str]:
    """The thing itself and its path: bare, else under its name, else under `data`."""
    answer = decoded(_ANSWER, body)
    if answer.id:
        return body, "$"
    named: msgspec.Raw = getattr(answer, name)
    if named:
        return named, f"$.{name}"
    return (answer.data, "$.data") if answer.data else (body, "$")


def _listing(body: bytes) -> tuple[_Listing, bytes | msgspec.Raw, str]:
    """What the list says of itself, its array, and the path of that."""
    if body.lstrip().startswith(b"["):
        return _Listing(), body, "$"
    listing = decoded(_LISTING, body)
    if listing.data and not listing.orders:
        return listing, listing.data, "$.data"
    return listing, listing.orders, "$.orders"


def _listed(raw: msgspec.Raw) -> Listed | None:
    try:
        entry = decoded(ORDER, raw)
    except Malformed:
        return None
    if not is_id(entry.id):
        return None
    return Listed(number=entry.id, body=bytes(raw) if is_id(entry.status) else None)


def _page_number(cursor: str | None) -> int | None:
    if cursor is None:
        return 1
    return int(cursor) if _PAGE_NUMBER.fullmatch(cursor) else None


def _subject_names(event: str) -> Sequence[str] | None:
    if event.startswith("job."):
        return OTHER_EVENTS["job.*"] if _JOB.fullmatch(event) else None
    return OTHER_EVENTS.get(event)


def _other(
    event: str, data: msgspec.Raw, *, at: Millis, event_id: str, names: Sequence[str]
) -> Fact:
    members = decoded(_MEMBERS, data, path="$.data")
    found = [members[name] for name in names if is_id(members.get(name))]
    return Fact(
        track=Track.EVENT,
        at=at,
        type=f"printstudio.{event}",
        subject=found[0] if found else event_id,
        data=passed_on(data, path="$.data"),
    )
