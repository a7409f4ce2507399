"""One example of every event type, by the code that makes the real ones: three orders, failing endpoints.

Times, ids and names are fixed and made up, and there is no personal data in them.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from gateway.events import Writer, event_id
from gateway.models import (
    Delivery,
    Entry,
    Event,
    Fact,
    Known,
    Line,
    Millis,
    Money,
    Origin,
    Shipment,
    Subscription,
    Track,
)
from gateway.operations import Operations
from gateway.orders.decide import Orders

SHOP = "default"
BEGIN = 1_768_487_400_000  # 2026-01-15T14:30:00Z
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
SILENT = "nothing came for 12h: the last time was 2026-01-15T02:30:00Z"
REJECTING = (
    "3 requests in a row were refused, the last one because no v1 entry matches any of 1 secret"
)

Source = tuple[str, str]  # its name, and its provider
STRIPE, STUDIO, TIGER = ("stripe-live", "stripe"), ("shop", "printstudio"), ("tiger", "marketiger")


@lru_cache(maxsize=4)
def examples(public_url: str) -> Mapping[str, Event]:
    """The examples by their types, as a gateway with this `server.public_url` makes them."""
    writer = Writer(public_url)
    found = [*_Store(Orders(writer)).story(), *_operational(writer)]
    # Of several events of a type, the first: what comes later in an order is less plain.
    return MappingProxyType({event.type: event for event in reversed(found)})


class _Store:
    """What a store keeps round `Orders`: links and states; `story` tells it three orders."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._links: dict[str, str] = {}
        self._states: dict[str, bytes] = {}

    def story(self) -> Iterator[Event]:
        for source, name, facts in (*_printed(), *_held(), *_cancelled()):
            yield from self._tell(source, name, facts)

    def _tell(self, source: Source, name: str, facts: tuple[Fact, ...]) -> Iterator[Event]:
        number, _, kind = name.partition(" ")
        origin = Origin(
            source=source[0],
            provider=source[1],
            shop=SHOP,
            event_id=number,
            event_type=kind,
            recorded=Millis(facts[0].at + 740),
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        entries = [Entry(fact=fact, origin=origin) for fact in facts]
        known = Known(links=self._links, orders=self._states)
        decision = self._orders.decide(entries, known)
        self._links |= decision.links
        self._states |= {order: state for order, (_, state) in decision.orders.items()}
        for _, event in decision.events:
            yield event


Told = tuple[Source, str, tuple[Fact, ...]]  # who, the id and the type of its event, what it says


def _printed() -> Iterator[Told]:
    """A shop that prints itself and takes money by Stripe; the first card is declined."""
    names: dict[str, Any] = {"order": "1001", "ids": {"printstudio": ("1001",)}}
    part = {"track": Track.FULFILMENT, "key": "printstudio:1001", **names}
    payment: dict[str, Any] = {
        "track": Track.PAYMENT,
        "key": "pi_3QExample",
        "amount": _eur("49.26"),
        "livemode": True,
        "order": "1001",
        "links": ("stripe:pi_3QExample",),
        "ids": {"stripe": ("pi_3QExample",)},
    }
    names |= {"total": _eur("49.26"), "lines": LINES}
    created = Fact(track=Track.CREATED, at=_at(0), state="created", **names)
    yield STUDIO, "evt-1 order.created", (created, Fact(at=_at(0), state="created", **part))
    declined = Fact(at=_at(MINUTE), state="failed", reason="Your card was declined.", **payment)
    yield STRIPE, "evt_1QFailed payment_intent.payment_failed", (declined,)
    yield (
        STRIPE,
        "evt_1QPaid payment_intent.succeeded",
        (Fact(at=_at(3 * MINUTE), state="paid", **payment),),
    )
    for number, (state, after, parcel) in enumerate(PRINTED, 2):
        fact = Fact(at=_at(after), state=state, shipment=parcel, **part)
        yield STUDIO, f"evt-{number} order.{state}", (fact,)
    about = payment | {"track": Track.REFUND, "key": "re_3QExample", "amount": _eur("19.90")}
    refund = Fact(at=_at(5 * DAY), state="succeeded", group="pi_3QExample", **about)
    yield STRIPE, "evt_3QRefund refund.created", (refund,)
    about = payment | {"track": Track.DISPUTE, "key": "dp_1QExample", "amount": _eur("29.36")}
    dispute = Fact(at=_at(9 * DAY), state="open", reason="product_not_received", **about)
    yield STRIPE, "evt_1QDispute charge.dispute.created", (dispute,)


def _held() -> Iterator[Told]:
    """An order that is asked for; each reply that says something new makes facts."""
    number = "7d3c1a52-0b64-4c0e-9a57-2f1f0c6b8e11"
    names: dict[str, Any] = {"order": "1002", "ids": {"marketiger": (number,)}}
    created = Fact(track=Track.CREATED, at=_at(0), state="created", **names)
    yield TIGER, f"poll:{number}:{_at(0)} Created", (created,)
    held = Fact(track=Track.HOLD, at=_at(HOUR), state="production", reason="production", **names)
    yield TIGER, f"poll:{number}:{_at(HOUR)} OnHold", (held,)
    released = Fact(track=Track.HOLD, at=_at(4 * HOUR), state="", **names)
    yield TIGER, f"poll:{number}:{_at(4 * HOUR)} Paid", (released,)


def _cancelled() -> Iterator[Told]:
    """An order that its customer takes back at once."""
    names: dict[str, Any] = {"order": "1003", "ids": {"printstudio": ("1003",)}}
    part = {"track": Track.FULFILMENT, "key": "printstudio:1003", **names}
    created = Fact(track=Track.CREATED, at=_at(0), state="created", total=_eur("12.50"), **names)
    yield STUDIO, "evt-7 order.created", (created, Fact(at=_at(0), state="created", **part))
    yield STUDIO, "evt-8 order.cancelled", (Fact(at=_at(HOUR), state="cancelled", **part),)


def _operational(writer: Writer) -> Iterator[Event]:
    """What the gateway says of itself; what is superseded was told by the orders."""
    operations = Operations(writer, clock=lambda: _at(DAY))
    one = Subscription(id=1, name="fulfilment", url="https://orders.example.com/hooks")
    dead = Delivery(
        id=7,
        subscription=1,
        event_id=event_id(SHOP, "1001", "order.paid", ("pi_3QExample",)),
        event_type="order.paid",
        body=b"",
        attempts=10,
        number=10,
        first_at=_at(0),
        claim=0,
    )
    for kind, reason in {
        "failing": "4 attempts failed in a row; the last one: answered 500",
        "recovered": "a delivery succeeded",
        "paused": "the schedule is used up and nothing was delivered since the first attempt",
        "gone": "the endpoint answered 410 Gone",
    }.items():
        yield operations.subscription(kind, one, reason)
    yield operations.exhausted(one, dead, "answered 500")
    yield operations.source("silent", "shop", SILENT)
    yield operations.source("rejecting", "stripe-live", REJECTING)
    yield operations.source("failing", "tiger", "its API refuses the token: answered 401")


def _at(after: int) -> Millis:
    """A time, in milliseconds after the orders were made."""
    return Millis(BEGIN + after)


def _eur(value: str) -> Money:
    return Money(value=value, minor=int(value.replace(".", "")), currency="EUR")


LINES = (
    Line(
        id="li_1",
        sku="VASE-WHITE-L",
        name="Vase, white, large",
        quantity=1,
        unit_price=_eur("29.36"),
        total=_eur("29.36"),
    ),
    Line(
        id="li_2",
        sku="HOOK-BLACK",
        name="Wall hook, black",
        quantity=2,
        unit_price=_eur("9.95"),
        total=_eur("19.90"),
    ),
)
SHIPMENT = Shipment(
    tracking_number="00340434161094042557",
    tracking_url="https://track.example.com/00340434161094042557",
    carrier="DHL",
    expected="2026-01-20",
)
PRINTED = (
    ("printing", HOUR, None),
    ("ready", 5 * HOUR, None),
    ("shipped", DAY, SHIPMENT),
    ("ready", 5 * HOUR, None),  # told again by a backup, after it was shipped
)
"""What the shop tells of order 1001 after it was paid: state, time and shipment."""
