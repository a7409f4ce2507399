"""Printeers v2: asks `orders/{reference}` and its shipments; what was shipped is read off the lines.

Formats: https://api-docs.printeers.com/guides/creating-orders (paths, `orderlines[]`) and
https://api-docs.test-printeers.com/guides/v1-vs-v2 (wrapping, `nextCursor`). The fields of a
shipment, of `status` and of times are not published: what is tried for them is data below.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, ClassVar, Final
from urllib.parse import quote

import msgspec

from gateway.errors import (
    AskFailed,
    ConfigError,
    Denied,
    Malformed,
    Missing,
    Throttled,
    TokenRefused,
)
from gateway.models import (
    Fact,
    Line,
    Listed,
    Millis,
    Page,
    Query,
    Reading,
    Reply,
    Shipment,
    Track,
    Watched,
)
from gateway.providers import base
from gateway.providers.pointer import check_pointer, pointer
from gateway.providers.reading import (
    contact,
    count,
    decoded,
    from_iso,
    is_id,
    no_float,
    required_id,
    text,
)
from gateway.providers.replies import body_of


class Step(StrEnum):
    """One fulfilment fact that a row of `LINES` tells."""

    STATUS = "state of the status"  # "created" where the status names no such state
    PART_SHIPPED = "partly shipped"
    PART_CANCELLED = "partly cancelled"
    SHIPPED = "shipped"
    CANCELLED = "cancelled"


# What the quantities of all lines say together, and the facts that follow, in their order.
# None implies a payment: the shop pays Printeers, whether or not its customer has paid the shop.
LINES: Final[Mapping[str, tuple[Step, ...]]] = {
    "open": (Step.STATUS,),
    "partly_shipped": (Step.STATUS, Step.PART_SHIPPED),
    "partly_cancelled": (Step.STATUS, Step.PART_CANCELLED),
    "partly_shipped_and_cancelled": (Step.STATUS, Step.PART_SHIPPED, Step.PART_CANCELLED),
    "shipped": (Step.SHIPPED,),
    "shipped_rest_cancelled": (Step.PART_CANCELLED, Step.SHIPPED),
    "cancelled": (Step.CANCELLED,),
}
# What each word of `status_map` is about; a status that is in no map is told as a change.
STATUSES: Final[Mapping[str, Track]] = {
    "created": Track.FULFILMENT,
    "paid": Track.PAYMENT,
    "processing": Track.FULFILMENT,
    "printing": Track.FULFILMENT,
    "post_processing": Track.FULFILMENT,
    "ready": Track.FULFILMENT,
    "shipped": Track.FULFILMENT,
    "cancelled": Track.FULFILMENT,
    "on_hold": Track.HOLD,
}
ENDS: Final = frozenset({"shipped", "cancelled"})  # words that the quantities may overrule

# Names that are tried, the first that is readable counts.
CREATED_AT: Final = ("createdAt", "created")
UPDATED_AT: Final = ("updatedAt", "updated")
ADDRESS: Final = ("shippingAddress", "address")
TRACKING: Final[Mapping[str, Sequence[str]]] = {
    "tracking_number": (
        *("trackingNumber", "trackingCode", "trackAndTraceCode", "track_and_trace_code"),
    ),
    "tracking_url": ("trackingUrl", "trackAndTraceUrl", "track_and_trace_url"),
    "carrier": ("carrier", "shipper"),
}

SHIPMENT_LIMIT: Final = 20  # a request each, at every poll; the last of the list count
LINE_LIMIT: Final = 1_000  # more are not told: an event that repeats them all would be too long
QUANTITY_LIMIT: Final = 10**9  # so that no sum of a body's lines outgrows 64 bits
_SHIPMENT = re.compile(r"Shipment_[0-9A-Za-z]{26}")
_PATH = re.compile(r"[^\s/?#{}:][^\s?#{}:]*")


class PrinteersOptions(base.Options, frozen=True, kw_only=True):
    """The keys of a Printeers source.

    `status_path` is a JSON pointer into the order, "" reads no status; `status_map` leads from
    the text found there to a word of `STATUSES`; `order_path` has `{id}` for the reference.
    """

    order_path: str = "orders/{id}"
    status_path: str = "/status"
    status_map: dict[str, str] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        filled = self.order_path.replace("{id}", "x", 1)
        if filled == self.order_path or not _PATH.fullmatch(filled):
            example = 'must be a path below base_url with one {id}, such as "orders/{id}"'
            raise ConfigError("order_path", example)
        try:
            check_pointer(self.status_path)
        except ValueError as error:
            raise ConfigError("status_path", str(error)) from error
        for status, word in self.status_map.items():
            if word not in STATUSES:
                known = ", ".join(STATUSES)
                raise ConfigError(
                    "status_map", f'"{status}" leads to "{word}", not to one of {known}'
                )


class _Envelope(msgspec.Struct, frozen=True):
    order: dict[str, Any]


class _Shipped(msgspec.Struct, frozen=True):
    shipment: dict[str, Any]


class _List(msgspec.Struct, frozen=True, rename="camel"):
    orders: list[msgspec.Raw]
    next_cursor: Any = None


class _Quantities(msgspec.Struct, frozen=True):
    """Sums over the lines; `complete` when every line tells how much of it is done."""

    total: int
    shipped: int
    cancelled: int
    complete: bool

    def row(self, word: str | None) -> str:
        """The key of `LINES`; a status of this word counts where lines are silent."""
        done = self.complete and self.shipped + self.cancelled == self.total
        if not self.complete and not self.shipped and word == "cancelled":
            return "cancelled"
        if not self.complete and word == "shipped":
            return "shipped_rest_cancelled" if self.cancelled else "shipped"
        if self.shipped and self.cancelled:
            return "shipped_rest_cancelled" if done else "partly_shipped_and_cancelled"
        if self.shipped:
            return "shipped" if done else "partly_shipped"
        if self.cancelled:
            return "cancelled" if done else "partly_cancelled"
        return "open"


class _Seen(msgspec.Struct, frozen=True):
    """What one reply shows: the status as sent, its word in `STATUSES`, the row of `LINES`."""

    status: str | None
    word: str | None
    row: str
    quantities: _Quantities

    def is_later(self) -> bool:
        """Whether the order has come further than created."""
        return self.row != "open" or self.word not in {None, "created"}

    def is_heard(self) -> bool:
        """Whether the other facts say what the status says; if not, it is told as a change."""
        if self.status is None:
            return True
        return self.word is not None and (self.word not in ENDS or LINES[self.row][-1] == self.word)


_ENVELOPE = msgspec.json.Decoder(_Envelope, float_hook=no_float)
_SHIPPED = msgspec.json.Decoder(_Shipped, float_hook=no_float)
_LIST = msgspec.json.Decoder(_List, float_hook=no_float)
_ENTRY = msgspec.json.Decoder(dict[str, Any], float_hook=no_float)


class Printeers:
    """One Printeers account."""

    name: ClassVar[str] = "printeers"
    Options: ClassVar[type[base.Options]] = PrinteersOptions
    base_url: ClassVar[str] = "https://api.printeers.com/v2"

    def __init__(self, options: PrinteersOptions) -> None:
        self._order_path = options.order_path
        self._status_path = options.status_path
        self._map = dict(options.status_map)
        self._holds = "on_hold" in self._map.values()

    def authorize(self, token: str) -> Mapping[str, str]:
        """The header of https://api-docs.printeers.com/guides/creating-orders."""
        return {"X-Printeers-Secret-Key": token}

    def order(self, number: str) -> Query:
        """Ask for one order by its reference, `Order_` and 26 characters."""
        return Query(path=self._order_path.replace("{id}", quote(number, safe="")))

    def more(self, reply: Reply) -> Sequence[Query]:
        """The shipments that the order refers to, each once."""
        order = decoded(_ENVELOPE, body_of(reply)).order
        found = dict.fromkeys(_shipments_of(order))
        return [Query(path=f"shipments/{reference}") for reference in found][-SHIPMENT_LIMIT:]

    def read(self, watched: Watched, replies: Sequence[Reply]) -> Reading:
        """Read `{"order": {...}}`, and of the `{"shipment": {...}}` what can be read.

        A shipment that cannot be had fails the order only where asking on would do harm
        (`TokenRefused`, `Throttled`).
        """
        first, *others = replies
        order = decoded(_ENVELOPE, body_of(first)).order
        number = required_id(order.get("reference"), "$.order.reference")
        if number != watched.number:
            raise Malformed(f"is not {watched.number} as asked for", path="$.order.reference")
        lines = _objects(order.get("orderlines"))
        seen = self._seen(order, _quantities(lines))
        common: dict[str, Any] = {
            "order": watched.order or _own_name(order) or number,
            "links": (f"{self.name}:{number}",),
            "ids": {self.name: (number,)},
            "lines": _lines(lines),
            "customer": _customer(order),
        }
        born = common | {"at": _moment(order, CREATED_AT, first.at)}
        common["at"] = at = _moment(order, UPDATED_AT, first.at)
        facts = [Fact(track=Track.CREATED, state="created", implied=seen.is_later(), **born)]
        facts += self._before(seen, common)
        facts += _fulfilment(seen, _latest(others), common | {"key": f"{self.name}:{number}"})
        if not seen.is_heard():
            change = Fact(track=Track.CHANGE, what="status", state=seen.status or "", **common)
            facts.insert(len(facts) - (facts[-1].state == "cancelled"), change)
        return Reading(event_id=number, event_type=seen.status or seen.row, at=at, facts=facts)

    def page(self, cursor: str | None) -> Query | None:
        """`orders`, or what `order_path` has before its last part; None where that is no `{id}`.

        By which parameter `nextCursor` goes back is not published; `cursor` is assumed.
        """
        path = self._order_path.removesuffix("/{id}")
        if path == self._order_path:
            return None
        return Query(path=path, params=(("cursor", cursor),) if cursor is not None else ())

    def read_page(
        self,
        reply: Reply,
        cursor: str | None = None,
    ) -> Page:
        """Read `{"orders": [...], "nextCursor": ...}`; an entry with `orderlines` is the whole order.

        Entries without a readable reference are passed over, unless there is no other.
        """
        page = decoded(_LIST, body_of(reply))
        orders = [found for found in map(_listed, page.orders) if found is not None]
        if page.orders and not orders:
            raise Malformed("no order of the list has a reference", path="$.orders")
        cursor = text(page.next_cursor)
        if cursor is None and page.next_cursor:
            raise Malformed(
                "must be a text of up to 2,000 characters, or null", path="$.nextCursor"
            )
        return Page(orders=orders, cursor=cursor)

    def _seen(self, order: dict[str, Any], quantities: _Quantities) -> _Seen:
        """The status is the text, or the whole number, that `status_path` leads to."""
        status = _shown(pointer(order, self._status_path))
        if not is_id(status) or not status.strip():
            return _Seen(None, None, quantities.row(None), quantities)
        word = self._map.get(status)
        return _Seen(status, word, quantities.row(word), quantities)

    def _before(self, seen: _Seen, common: dict[str, Any]) -> Iterator[Fact]:
        if seen.word == "paid":
            yield Fact(track=Track.PAYMENT, state="paid", **common)
        if self._holds and seen.status is not None:
            reason = seen.status if seen.word == "on_hold" else None
            yield Fact(track=Track.HOLD, state=reason or "", reason=reason, **common)


def _fulfilment(seen: _Seen, shipment: Shipment | None, common: dict[str, Any]) -> Iterator[Fact]:
    """The facts of the row; the shipment comes with the last that says shipped, else with the first.

    With an earlier one, the same tracking would be told twice: as a change, then as shipped.
    """
    says = _claims(seen)
    steps = LINES[seen.row]
    shipping = [step for step in steps if says[step]["state"] == "shipped"]
    bearer = shipping[-1] if shipping else Step.STATUS
    for step in steps:
        parcel = shipment if step is bearer else None
        yield Fact(track=Track.FULFILMENT, shipment=parcel, **says[step], **common)


def _claims(seen: _Seen) -> Mapping[Step, Mapping[str, Any]]:
    word = seen.word or "created"
    going = STATUSES[word] is Track.FULFILMENT and word not in ENDS
    return {
        Step.STATUS: {"state": word if going else "created"},
        Step.PART_SHIPPED: {"state": "shipped", "quantity": seen.quantities.shipped},
        Step.PART_CANCELLED: {"state": "cancelled", "quantity": seen.quantities.cancelled},
        Step.SHIPPED: {"state": "shipped"},
        Step.CANCELLED: {"state": "cancelled"},
    }


def _objects(value: object) -> list[dict[str, Any]]:
    """The entries of a list, an empty object for what is none."""
    if not isinstance(value, list):
        return []
    return [entry if isinstance(entry, dict) else {} for entry in value]


def _first(members: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first text under one of these names."""
    return next((found for name in names if (found := text(members.get(name)))), None)


def _moment(order: Mapping[str, Any], names: Sequence[str], asked: Millis) -> Millis:
    """The first readable time under one of these names; when it was asked, if none is earlier."""
    found = (from_iso(order.get(name)) for name in names)
    return min(next((at for at in found if at is not None), asked), asked)


def _own_name(order: Mapping[str, Any]) -> str | None:
    name = order.get("customIdentifier")
    return name if is_id(name) and name.strip() else None


def _amount(value: object) -> int | None:
    found = count(value)
    return found if found is not None and found <= QUANTITY_LIMIT else None


def _quantities(lines: Sequence[Mapping[str, Any]]) -> _Quantities:
    """Add up the lines; one without `quantity`, or without both others, says nothing.

    Of a line not more than its quantity is done, and what was shipped counts first.
    """
    told = [done for done in map(_done, lines) if done is not None]
    total = sum(quantity for quantity, _, _ in told)
    return _Quantities(
        total=total,
        shipped=sum(shipped for _, shipped, _ in told),
        cancelled=sum(cancelled for _, _, cancelled in told),
        complete=total > 0 and len(told) == len(lines),
    )


def _done(line: Mapping[str, Any]) -> tuple[int, int, int] | None:
    quantity = _amount(line.get("quantity"))
    shipped, cancelled = _amount(line.get("shippedQuantity")), _amount(line.get("canceledQuantity"))
    if quantity is None or (shipped is None and cancelled is None):
        return None
    shipped = min(shipped or 0, quantity)
    return quantity, shipped, min(cancelled or 0, quantity - shipped)


def _lines(lines: Sequence[Mapping[str, Any]]) -> tuple[Line, ...] | None:
    if not lines or len(lines) > LINE_LIMIT:
        return None
    return tuple(
        Line(id=_shown(line.get("index")), quantity=_amount(line.get("quantity"))) for line in lines
    )


def _shown(value: object) -> str | None:
    """A text, or the digits of a whole number."""
    number = count(value)
    return str(number) if number is not None else text(value)


def _customer(order: Mapping[str, Any]) -> dict[str, object] | None:
    address = next((order[name] for name in ADDRESS if isinstance(order.get(name), dict)), None)
    if address is None:
        return None
    person = {name: address.get(name) for name in ("email", "name", "phone")}
    return contact(address={k: v for k, v in address.items() if k not in person}, **person)


def _shipments_of(order: Mapping[str, Any]) -> Iterator[str]:
    """The references of shipments of the order and of its lines, as text or inside objects."""
    for holder in (order, *_objects(order.get("orderlines"))):
        entries = holder.get("shipments")
        for entry in entries if isinstance(entries, list) else []:
            reference = entry.get("reference") if isinstance(entry, dict) else entry
            if isinstance(reference, str) and _SHIPMENT.fullmatch(reference):
                yield reference


def _latest(replies: Sequence[Reply]) -> Shipment | None:
    """The shipment that was made last, as far as times are told; else the last in the list.

    None while one of them cannot be had: an older one would look like a change of the tracking.
    """
    found: list[tuple[int, int, Shipment]] = []
    for place, reply in enumerate(replies):
        try:
            members = decoded(_SHIPPED, body_of(reply)).shipment
        except (TokenRefused, Throttled):
            raise
        except (Missing, Denied, Malformed):
            continue  # it will not come back
        except AskFailed:
            return None
        shipment = Shipment(**{key: _first(members, names) for key, names in TRACKING.items()})
        if shipment != Shipment():
            times = (from_iso(members.get(name)) for name in CREATED_AT)
            found.append((next((at for at in times if at is not None), -1), place, shipment))
    return max(found, key=lambda entry: entry[:2])[2] if found else None


def _listed(raw: msgspec.Raw) -> Listed | None:
    try:
        entry = decoded(_ENTRY, raw)
        number = required_id(entry.get("reference"), "$.reference")
    except Malformed:
        return None
    whole = isinstance(entry.get("orderlines"), list)
    return Listed(number=number, body=b'{"order":' + bytes(raw) + b"}" if whole else None)
