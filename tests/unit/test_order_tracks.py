"""Design 6.2 as a table: facts of one order, told one by one, and what follows from them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from gateway.models import Fact, Money, Shipment, Track, Unknown, Verdict
from gateway.orders.tables import (
    FULFILMENT_TYPES,
    OCCURRENCES,
    PAYMENT_RANKS,
    RANKS,
    REFUND_RANKS,
    OrderType,
)
from tests.unit.order_shop import (
    NOTHING,
    ORDER,
    PART,
    START,
    Shop,
    at,
    body,
    change,
    charge,
    created,
    data,
    dispute,
    eur,
    failed,
    hold,
    identity,
    linked,
    paid,
    part,
    refund,
    tracked,
)

OTHER = "printstudio:8"
FLAGS = ("implied", "additional", "partial")


class E(NamedTuple):
    """One event: its type, its occurrence, and the flags that are set in `data.change`."""

    kind: str
    occurrence: tuple[str, ...] = ()
    flags: str = ""


CREATED = E("created")
IMPLIED = E("created", flags="implied")


def time(second: int) -> str:
    """A provider's time as it stands in occurrences."""
    return str(at(second))


def updated(second: int, what: str, *rest: str) -> E:
    return E("updated", (what, *rest, time(second)))


Row = tuple[Sequence[Fact], Sequence[E], dict[str, str]]

FULFILMENT: dict[str, Row] = {
    "created": ([created(1)], [CREATED], {}),
    "created again": ([created(1), created(2)], [CREATED], {}),
    "created told by its fulfilment": (
        [part(1, "created"), created(2)],
        [CREATED],
        {"fulfilment": "created"},
    ),
    "created and its fulfilment": (
        [created(1), part(1, "created")],
        [CREATED],
        {"fulfilment": "created"},
    ),
    "later first": (
        [part(1, "printing"), created(2)],
        [IMPLIED, E("printing", (PART,))],
        {"fulfilment": "printing"},
    ),
    "all in order": (
        [
            created(1),
            part(1, "created"),
            part(2, "processing"),
            part(3, "printing"),
            part(4, "post_processing"),
            part(5, "ready"),
            part(6, "shipped"),
        ],
        [
            CREATED,
            updated(2, "fulfilment", PART, "processing"),
            E("printing", (PART,)),
            updated(4, "fulfilment", PART, "post_processing"),
            E("ready", (PART,)),
            E("shipped", (PART,)),
        ],
        {"fulfilment": "shipped"},
    ),
    "all in reverse": (
        [part(3, "shipped"), part(2, "ready"), part(1, "printing"), created(0)],
        [IMPLIED, E("shipped", (PART,))],
        {"fulfilment": "shipped"},
    ),
    "steps left out": (
        [created(1), part(2, "ready"), part(1, "printing"), part(3, "ready")],
        [CREATED, E("ready", (PART,))],
        {"fulfilment": "ready"},
    ),
    "cancelled": (
        [created(1), part(2, "printing"), part(3, "cancelled"), part(4, "cancelled")],
        [CREATED, E("printing", (PART,)), E("cancelled", (PART,))],
        {"fulfilment": "cancelled"},
    ),
    "cancelled after shipped": (
        [created(1), part(2, "shipped"), part(3, "cancelled")],
        [CREATED, E("shipped", (PART,)), E("cancelled", (PART,))],
        {"fulfilment": "cancelled"},
    ),
    "nothing after cancelled": (
        [created(1), part(2, "cancelled"), part(3, "shipped")],
        [CREATED, E("cancelled", (PART,))],
        {"fulfilment": "cancelled"},
    ),
    "two provider orders": (
        [created(1), part(2, "shipped"), part(3, "shipped", OTHER)],
        [CREATED, E("shipped", (PART,)), E("shipped", (OTHER,))],
        {"fulfilment": "shipped"},
    ),
    "the slowest provider order counts": (
        [created(1), part(2, "shipped"), part(3, "printing", OTHER)],
        [CREATED, E("shipped", (PART,)), E("printing", (OTHER,))],
        {"fulfilment": "printing"},
    ),
    "a cancelled provider order does not count": (
        [created(1), part(2, "shipped"), part(3, "cancelled", OTHER)],
        [CREATED, E("shipped", (PART,)), E("cancelled", (OTHER,))],
        {"fulfilment": "shipped"},
    ),
    "the order's own cancel": (
        [created(1), part(2, "printing"), part(3, "cancelled", None)],
        [CREATED, E("printing", (PART,)), E("cancelled", ("",))],
        {"fulfilment": "cancelled"},
    ),
    "partial shipments": (
        [
            created(1),
            part(2, "printing"),
            part(3, "shipped", quantity=2),
            part(4, "shipped", quantity=5),
            part(5, "shipped", quantity=2),
            part(6, "shipped", quantity=5),
        ],
        [
            CREATED,
            E("printing", (PART,)),
            E("shipped", (PART, "2"), "partial"),
            E("shipped", (PART, "5"), "partial"),
        ],
        {"fulfilment": "printing"},
    ),
    "a whole shipment never merges with a partial one": (
        [created(1), part(2, "shipped", quantity=2), part(3, "shipped")],
        [CREATED, E("shipped", (PART, "2"), "partial"), E("shipped", (PART,))],
        {"fulfilment": "shipped"},
    ),
    "a partial shipment after the whole one": (
        [created(1), part(3, "shipped"), part(2, "shipped", quantity=2)],
        [CREATED, E("shipped", (PART,))],
        {"fulfilment": "shipped"},
    ),
    "partial cancels": (
        [
            created(1),
            part(2, "cancelled", quantity=1),
            part(3, "cancelled", quantity=1),
            part(4, "ready"),
            part(5, "cancelled"),
            part(6, "cancelled", quantity=3),
        ],
        [
            CREATED,
            E("cancelled", (PART, "1"), "partial"),
            E("ready", (PART,)),
            E("cancelled", (PART,)),
        ],
        {"fulfilment": "cancelled"},
    ),
    "a partial cancel told after the shipment of the rest": (
        [created(1), part(3, "shipped"), part(2, "cancelled", quantity=1)],
        [CREATED, E("shipped", (PART,)), E("cancelled", (PART, "1"), "partial")],
        {"fulfilment": "shipped"},
    ),
    "tracking with the shipment": (
        [created(1), tracked(2, "shipped", "JJD1"), tracked(3, "shipped", "JJD1")],
        [CREATED, E("shipped", (PART,))],
        {"fulfilment": "shipped"},
    ),
    "tracking added later": (
        [created(1), part(2, "shipped"), tracked(3, "shipped", "JJD1")],
        [CREATED, E("shipped", (PART,)), updated(3, "shipment", PART, "JJD1")],
        {"fulfilment": "shipped"},
    ),
    "an address of tracking added later": (
        [
            created(1),
            part(2, "shipped"),
            part(3, "shipped", shipment=Shipment(tracking_url="https://dhl.example/JJD1")),
        ],
        [
            CREATED,
            E("shipped", (PART,)),
            updated(3, "shipment", PART, "https://dhl.example/JJD1"),
        ],
        {"fulfilment": "shipped"},
    ),
    "a carrier added later is filled in silently": (
        [
            created(1),
            tracked(2, "shipped", "JJD1"),
            part(3, "shipped", shipment=Shipment(carrier="DHL")),
        ],
        [CREATED, E("shipped", (PART,))],
        {"fulfilment": "shipped"},
    ),
    "tracking told by an older fact": (
        [created(1), part(3, "shipped"), tracked(2, "printing", "JJD1")],
        [CREATED, E("shipped", (PART,)), updated(2, "shipment", PART, "JJD1")],
        {"fulfilment": "shipped"},
    ),
    "older tracking overwrites nothing": (
        [created(1), tracked(3, "shipped", "JJD2"), tracked(2, "shipped", "JJD1")],
        [CREATED, E("shipped", (PART,))],
        {"fulfilment": "shipped"},
    ),
}

SOFT: dict[str, Row] = {
    "soft cancel": (
        [created(1), part(2, "cancelled", None, soft=True)],
        [CREATED, E("cancelled", ("",))],
        {"fulfilment": "cancelled"},
    ),
    "void when the order is paid": (
        [created(1), paid(2, "pi_1"), part(3, "cancelled", None, soft=True)],
        [CREATED, E("paid", ("pi_1",))],
        {"payment": "paid"},
    ),
    "void when the order is in print": (
        [part(2, "printing"), part(3, "cancelled", soft=True)],
        [IMPLIED, E("printing", (PART,))],
        {"fulfilment": "printing"},
    ),
    "void when a part of it was shipped": (
        [created(1), part(2, "shipped", quantity=1), part(3, "cancelled", None, soft=True)],
        [CREATED, E("shipped", (PART, "1"), "partial")],
        {"fulfilment": "created"},
    ),
    "not void when it is only processed": (
        [created(1), part(2, "processing"), part(3, "cancelled", soft=True)],
        [CREATED, updated(2, "fulfilment", PART, "processing"), E("cancelled", (PART,))],
        {"fulfilment": "cancelled"},
    ),
    "undone by a payment": (
        [created(1), part(2, "cancelled", None, soft=True), paid(3, "pi_1")],
        [CREATED, E("cancelled", ("",)), updated(3, "reopened", ORDER), E("paid", ("pi_1",))],
        {"payment": "paid"},
    ),
    "undone by a print": (
        [created(1), part(2, "cancelled", soft=True), part(3, "printing")],
        [CREATED, E("cancelled", (PART,)), updated(3, "reopened", ORDER), E("printing", (PART,))],
        {"fulfilment": "printing"},
    ),
    "not undone by a payment that failed": (
        [created(1), part(2, "cancelled", None, soft=True), failed(3, "pi_1")],
        [CREATED, E("cancelled", ("",)), E("payment_failed", ("pi_1",))],
        {"fulfilment": "cancelled", "payment": "failed"},
    ),
    "soft again after it was undone": (
        [
            created(1),
            part(2, "cancelled", None, soft=True),
            paid(3, "pi_1"),
            part(4, "cancelled", None, soft=True),
        ],
        [CREATED, E("cancelled", ("",)), updated(3, "reopened", ORDER), E("paid", ("pi_1",))],
        {"payment": "paid"},
    ),
    "hard after it was undone": (
        [
            created(1),
            part(2, "cancelled", None, soft=True),
            paid(3, "pi_1"),
            part(4, "cancelled", None),
        ],
        [
            CREATED,
            E("cancelled", ("",)),
            updated(3, "reopened", ORDER),
            E("paid", ("pi_1",)),
            E("cancelled", ("", "reopened")),
        ],
        {"fulfilment": "cancelled", "payment": "paid"},
    ),
    "hard upon soft": (
        [created(1), part(2, "cancelled", soft=True), part(3, "cancelled"), paid(4, "pi_1")],
        [CREATED, E("cancelled", (PART,)), E("paid", ("pi_1",))],
        {"fulfilment": "cancelled", "payment": "paid"},
    ),
}

PAYMENT: dict[str, Row] = {
    "named": (
        [paid(1, "pi_1", "49.26"), paid(2, "pi_1", "49.26")],
        [IMPLIED, E("paid", ("pi_1",))],
        {"payment": "paid"},
    ),
    "without a name": ([paid(1), paid(2)], [IMPLIED, E("paid")], {"payment": "paid"}),
    "implied": (
        [created(1), paid(2, implied=True), paid(3)],
        [CREATED, E("paid", flags="implied")],
        {"payment": "paid"},
    ),
    "implied when a payment is known": (
        [created(1), paid(2, "pi_1"), paid(3, implied=True)],
        [CREATED, E("paid", ("pi_1",))],
        {"payment": "paid"},
    ),
    "implied, then named without an amount": (
        [created(1), paid(2, implied=True), paid(3, "pi_1")],
        [CREATED, E("paid", flags="implied")],
        {"payment": "paid"},
    ),
    "a name learnt later adds the amount": (
        [created(1), paid(2), paid(3, "pi_1", "49.26"), paid(4, "pi_1", "49.26")],
        [CREATED, E("paid"), updated(3, "amount", "49.26")],
        {"payment": "paid"},
    ),
    "an amount that was known is not told again": (
        [created(1), paid(2, None, "49.26"), paid(3, "pi_1", "49.26")],
        [CREATED, E("paid")],
        {"payment": "paid"},
    ),
    "a name known before": (
        [created(1), paid(2, "pi_1", "49.26"), paid(3)],
        [CREATED, E("paid", ("pi_1",))],
        {"payment": "paid"},
    ),
    "the same payment, its amount later": (
        [created(1), paid(2, "pi_1"), paid(3, "pi_1", "49.26")],
        [CREATED, E("paid", ("pi_1",)), updated(3, "amount", "49.26")],
        {"payment": "paid"},
    ),
    "a second payment": (
        [created(1), paid(2, "pi_1", "49.26"), paid(3, "pi_2", "49.26")],
        [CREATED, E("paid", ("pi_1",)), E("paid", ("pi_2",), "additional")],
        {"payment": "paid"},
    ),
    "one without a name is one of two": (
        [created(1), paid(2), paid(3, "pi_1", "1.00"), paid(4, "pi_2", "2.00"), paid(5)],
        [
            CREATED,
            E("paid"),
            updated(3, "amount", "1.00"),
            E("paid", ("pi_2",), "additional"),
        ],
        {"payment": "paid"},
    ),
    "declined": (
        [created(1), failed(2, "pi_1"), failed(3, "pi_1")],
        [CREATED, E("payment_failed", ("pi_1",))],
        {"payment": "failed"},
    ),
    "declined, then paid": (
        [created(1), failed(2, "pi_1"), paid(3, "pi_1", "49.26")],
        [CREATED, E("payment_failed", ("pi_1",)), E("paid", ("pi_1",))],
        {"payment": "paid"},
    ),
    "paid, then declined": (
        [created(1), paid(3, "pi_1", "49.26"), failed(2, "pi_1")],
        [CREATED, E("paid", ("pi_1",))],
        {"payment": "paid"},
    ),
    "paid, then another declined": (
        [created(1), paid(2, "pi_1"), failed(3, "pi_2"), failed(4)],
        [CREATED, E("paid", ("pi_1",))],
        {"payment": "paid"},
    ),
    "declined without a name, and with one": (
        [created(1), failed(2), failed(3, "pi_1"), failed(4, "pi_2"), failed(5)],
        [CREATED, E("payment_failed"), E("payment_failed", ("pi_2",))],
        {"payment": "failed"},
    ),
    "declined without a name, then paid with one": (
        [created(1), failed(2), paid(3, "pi_1", "1.00"), paid(4)],
        [CREATED, E("payment_failed"), E("paid", ("pi_1",))],
        {"payment": "paid"},
    ),
    "declined and paid without a name": (
        [created(1), failed(2), paid(3), failed(4)],
        [CREATED, E("payment_failed"), E("paid")],
        {"payment": "paid"},
    ),
    "paid without a name while a declined one is known": (
        [created(1), failed(2, "pi_1"), paid(3), paid(4, "pi_1", "1.00")],
        [
            CREATED,
            E("payment_failed", ("pi_1",)),
            E("paid"),
            updated(4, "amount", "1.00"),
        ],
        {"payment": "paid"},
    ),
}

REFUND: dict[str, Row] = {
    "named": (
        [paid(1, "pi_1", "10.00"), refund(2, "re_1", "4.00"), refund(3, "re_1", "4.00")],
        [IMPLIED, E("paid", ("pi_1",)), E("refunded", ("re_1",))],
        {"payment": "paid", "refund": "partial"},
    ),
    "two, and all": (
        [paid(1, "pi_1", "10.00"), refund(2, "re_1", "4.00"), refund(3, "re_2", "6.00")],
        [IMPLIED, E("paid", ("pi_1",)), E("refunded", ("re_1",)), E("refunded", ("re_2",))],
        {"payment": "paid", "refund": "full"},
    ),
    "what was paid is not known": (
        [created(1), refund(2, "re_1", "4.00")],
        [CREATED, E("refunded", ("re_1",))],
        {"refund": "unknown"},
    ),
    "pending, then succeeded": (
        [created(1), refund(2, "re_1", "4.00", "pending"), refund(3, "re_1", "4.00")],
        [CREATED, E("refunded", ("re_1",))],
        {"refund": "unknown"},
    ),
    "pending told late": (
        [created(1), refund(3, "re_1", "4.00"), refund(2, "re_1", "4.00", "pending")],
        [CREATED, E("refunded", ("re_1",))],
        {"refund": "unknown"},
    ),
    "only pending": ([created(1), refund(2, "re_1", "4.00", "pending")], [CREATED], {}),
    "failed after success": (
        [
            created(1),
            refund(2, "re_1", "4.00"),
            refund(3, "re_1", "4.00", "failed"),
            refund(4, "re_1", "4.00", "failed"),
        ],
        [CREATED, E("refunded", ("re_1",)), updated(3, "refund", "re_1", "failed")],
        {},
    ),
    "failed after a success of unknown amount": (
        [created(1), refund(2, "re_1"), refund(3, "re_1", None, "failed")],
        [CREATED, E("refunded", ("re_1",)), updated(3, "refund", "re_1", "failed")],
        {},
    ),
    "failed without success": (
        [
            created(1),
            refund(2, "re_1", "4.00", "pending"),
            refund(3, "re_1", "4.00", "failed"),
            refund(4, "re_1", "4.00"),
        ],
        [CREATED],
        {},
    ),
    "the charge, then its refund": (
        [paid(1, "pi_1", "10.00"), charge(2, "4.00"), refund(3, "re_1", "4.00")],
        [IMPLIED, E("paid", ("pi_1",)), E("refunded", ("ch_1", "4.00"))],
        {"payment": "paid", "refund": "partial"},
    ),
    "the refund, then its charge": (
        [paid(1, "pi_1", "10.00"), refund(2, "re_1", "4.00"), charge(3, "4.00")],
        [IMPLIED, E("paid", ("pi_1",)), E("refunded", ("re_1",))],
        {"payment": "paid", "refund": "partial"},
    ),
    "the charge between two refunds": (
        [
            paid(1, "pi_1", "10.00"),
            refund(2, "re_1", "4.00"),
            charge(3, "10.00"),
            refund(4, "re_2", "6.00"),
        ],
        [
            IMPLIED,
            E("paid", ("pi_1",)),
            E("refunded", ("re_1",)),
            E("refunded", ("ch_1", "10.00")),
        ],
        {"payment": "paid", "refund": "full"},
    ),
    "a refund too big for what the charge said is another": (
        [
            paid(1, "pi_1", "10.00"),
            charge(2, "4.00"),
            refund(3, "re_2", "6.00"),
            refund(2, "re_1", "4.00"),
            charge(3, "10.00"),
        ],
        [
            IMPLIED,
            E("paid", ("pi_1",)),
            E("refunded", ("ch_1", "4.00")),
            E("refunded", ("re_2",)),
        ],
        {"payment": "paid", "refund": "full"},
    ),
    "an older sum of the charge": (
        [created(1), charge(3, "10.00"), charge(2, "4.00")],
        [CREATED, E("refunded", ("ch_1", "10.00"))],
        {"refund": "unknown"},
    ),
    "two sums of one second": (
        [created(1), charge(2, "10.00"), charge(2, "4.00")],
        [CREATED, E("refunded", ("ch_1", "10.00"))],
        {"refund": "unknown"},
    ),
    "two charges": (
        [paid(1, "pi_1", "10.00"), charge(2, "4.00"), charge(3, "6.00", "ch_2")],
        [
            IMPLIED,
            E("paid", ("pi_1",)),
            E("refunded", ("ch_1", "4.00")),
            E("refunded", ("ch_2", "6.00")),
        ],
        {"payment": "paid", "refund": "full"},
    ),
    "failed after its charge told it": (
        [created(1), charge(2, "4.00"), refund(3, "re_1", "4.00", "failed")],
        [CREATED, E("refunded", ("ch_1", "4.00")), updated(3, "refund", "re_1", "failed")],
        {},
    ),
    "failed, and never in what the charge said": (
        [created(1), charge(2, "4.00"), refund(3, "re_2", "6.00", "failed")],
        [CREATED, E("refunded", ("ch_1", "4.00"))],
        {"refund": "unknown"},
    ),
    "failed before the charge spoke": (
        [created(1), refund(2, "re_1", "4.00", "failed"), charge(3, "4.00")],
        [CREATED, E("refunded", ("ch_1", "4.00"))],
        {"refund": "unknown"},
    ),
    "refunded again after a failure": (
        [
            created(1),
            charge(2, "4.00"),
            refund(3, "re_1", "4.00", "failed"),
            charge(4, "4.00"),
            refund(4, "re_2", "4.00"),
        ],
        [
            CREATED,
            E("refunded", ("ch_1", "4.00")),
            updated(3, "refund", "re_1", "failed"),
            updated(4, "refund", "ch_1", "4.00"),
        ],
        {"refund": "unknown"},
    ),
    "the charge's sum falls": (
        [created(1), charge(2, "10.00"), charge(3, "4.00")],
        [CREATED, E("refunded", ("ch_1", "10.00")), updated(3, "refund", "ch_1", "4.00")],
        {"refund": "unknown"},
    ),
    "without name and amount": (
        [created(1), refund(2, None), refund(3, None)],
        [CREATED, E("refunded", ("ch_1", ""))],
        {"refund": "unknown"},
    ),
    "without name and amount, then named": (
        [paid(1, "pi_1", "4.00"), refund(2, None), refund(3, "re_1", "4.00")],
        [
            IMPLIED,
            E("paid", ("pi_1",)),
            E("refunded", ("ch_1", "")),
            updated(3, "refund", "re_1", "amount"),
        ],
        {"payment": "paid", "refund": "full"},
    ),
    "without name and amount, then the charge": (
        [paid(1, "pi_1", "10.00"), refund(2, None), charge(3, "4.00"), charge(4, "10.00")],
        [
            IMPLIED,
            E("paid", ("pi_1",)),
            E("refunded", ("ch_1", "")),
            updated(3, "refund", "ch_1", "4.00"),
            E("refunded", ("ch_1", "10.00")),
        ],
        {"payment": "paid", "refund": "full"},
    ),
    "named, then without name and amount": (
        [created(1), refund(2, "re_1", "4.00"), refund(3, None)],
        [CREATED, E("refunded", ("re_1",))],
        {"refund": "unknown"},
    ),
    "named, its amount later": (
        [created(1), refund(2, "re_1"), refund(3, "re_1", "4.00")],
        [CREATED, E("refunded", ("re_1",)), updated(3, "refund", "re_1", "amount")],
        {"refund": "unknown"},
    ),
}

REST: dict[str, Row] = {
    "dispute": (
        [created(1), dispute(2, "open"), dispute(3, "open")],
        [CREATED, E("disputed", ("dp_1",))],
        {"dispute": "open"},
    ),
    "dispute closed, and open again": (
        [created(1), dispute(2, "open"), dispute(3, "closed"), dispute(4, "open")],
        [
            CREATED,
            E("disputed", ("dp_1",)),
            updated(3, "dispute", "dp_1", "closed"),
            updated(4, "dispute", "dp_1", "open"),
        ],
        {"dispute": "open"},
    ),
    "dispute closed, told before its opening": (
        [created(1), dispute(3, "closed"), dispute(2, "open")],
        [CREATED, updated(3, "dispute", "dp_1", "closed")],
        {"dispute": "closed"},
    ),
    "dispute first told closed, then opened": (
        [created(1), dispute(2, "closed"), dispute(3, "open")],
        [CREATED, updated(2, "dispute", "dp_1", "closed"), E("disputed", ("dp_1",))],
        {"dispute": "open"},
    ),
    "dispute opened and closed in one second": (
        [created(1), dispute(2, "open"), dispute(2, "closed"), dispute(2, "open")],
        [CREATED, E("disputed", ("dp_1",)), updated(2, "dispute", "dp_1", "closed")],
        {"dispute": "closed"},
    ),
    "two disputes": (
        [created(1), dispute(2, "open"), dispute(3, "open", "dp_2"), dispute(4, "closed")],
        [
            CREATED,
            E("disputed", ("dp_1",)),
            E("disputed", ("dp_2",)),
            updated(4, "dispute", "dp_1", "closed"),
        ],
        {"dispute": "open"},
    ),
    "hold": (
        [created(1), hold(2, "address"), hold(3, "address")],
        [CREATED, E("on_hold", ("address", time(2)))],
        {"hold": "address"},
    ),
    "another reason to hold": (
        [created(1), hold(2, "address"), hold(3, "material")],
        [CREATED, E("on_hold", ("address", time(2))), E("on_hold", ("material", time(3)))],
        {"hold": "material"},
    ),
    "hold released, and again": (
        [created(1), hold(2, "address"), hold(3), hold(4), hold(5, "address")],
        [
            CREATED,
            E("on_hold", ("address", time(2))),
            updated(3, "hold", "released"),
            E("on_hold", ("address", time(5))),
        ],
        {"hold": "address"},
    ),
    "hold told after its release": (
        [created(1), hold(3), hold(2, "address")],
        [CREATED],
        {},
    ),
    "never on hold": ([created(1), hold(2)], [CREATED], {}),
    "another change": (
        [
            change(1, "deadline", "Friday"),
            change(3, "deadline", "Monday"),
            change(2, "deadline", "Sunday"),
            change(4, "deadline", "Monday"),
        ],
        [IMPLIED, updated(1, "deadline", "Friday"), updated(3, "deadline", "Monday")],
        {},
    ),
}

ROWS = {
    f"{table}: {name}": row
    for table, rows in {
        "fulfilment": FULFILMENT,
        "soft": SOFT,
        "payment": PAYMENT,
        "refund": REFUND,
        "rest": REST,
    }.items()
    for name, row in rows.items()
}


@pytest.mark.parametrize("name", ROWS)
def test_facts_make_these_events(name: str) -> None:
    facts, expected, words = ROWS[name]
    shop = Shop()
    for fact in facts:
        shop.tell(fact)
    flags = [
        " ".join(flag for flag in FLAGS if data(event)["change"][flag]) for event in shop.events
    ]
    assert list(zip(shop.types(), flags, strict=True)) == [(e.kind, e.flags) for e in expected]
    assert [event.id for event in shop.events] == [identity(e.kind, *e.occurrence) for e in expected]
    assert [event.seq for event in shop.events] == list(range(1, len(expected) + 1))
    if expected:
        assert summary(shop) == NOTHING | words


def summary(shop: Shop) -> dict[str, Any]:
    """The order in five words after all that was told: that of a probe which changes nothing."""
    (event,) = shop.tell(change(99, "probe", "now"))
    state = data(event)["state"]
    assert isinstance(state, dict)
    return state


def test_every_type_and_state_has_a_row() -> None:
    """A type that no row makes, or a state that no row tells, would be a hole in the table."""
    kinds = {f"order.{e.kind}" for _, expected, _ in ROWS.values() for e in expected}
    assert kinds == set(OrderType) == set(OCCURRENCES)
    told = {(fact.track, fact.state) for facts, _, _ in ROWS.values() for fact in facts}
    states = {Track.FULFILMENT: {*RANKS, "cancelled"}, Track.PAYMENT: set(PAYMENT_RANKS)}
    states |= {Track.REFUND: set(REFUND_RANKS), Track.DISPUTE: {"open", "closed"}}
    assert told >= {(track, state) for track, found in states.items() for state in found}
    assert set(FULFILMENT_TYPES) == {*RANKS, "cancelled"}


VERDICTS: dict[str, tuple[Sequence[Fact], Verdict, str]] = {
    "a repeat": ([created(1), created(2)], Verdict.MERGED, "made before"),
    "below the rank": ([part(2, "ready"), part(1, "printing")], Verdict.SUPERSEDED, "is ready by"),
    "after a cancel": ([part(2, "cancelled"), part(3, "ready")], Verdict.SUPERSEDED, "cancelled"),
    "a failure after success": (
        [paid(1, "pi_1"), failed(2, "pi_2")],
        Verdict.SUPERSEDED,
        "has succeeded",
    ),
    "a name for a payment": ([paid(1), paid(2, "pi_1")], Verdict.MERGED, "is pi_1"),
    "no name for a payment": ([paid(1, "pi_1"), paid(2)], Verdict.MERGED, "with a name"),
    "a pending refund": ([refund(1, "re_1", "1.00", "pending")], Verdict.MERGED, "pending"),
    "an older dispute": (
        [dispute(2, "closed"), dispute(1, "open")],
        Verdict.SUPERSEDED,
        "something later",
    ),
    "an older hold": ([hold(2, "a"), hold(1, "b")], Verdict.SUPERSEDED, "something later"),
    "a void soft cancel": (
        [paid(1), part(2, "cancelled", soft=True)],
        Verdict.SUPERSEDED,
        "cancels nothing",
    ),
    "an amount": ([paid(1), paid(2, "pi_1", "1.00")], Verdict.EVENT, ""),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_last_fact_gets_the_verdict_and_says_why(name: str) -> None:
    facts, verdict, reason = VERDICTS[name]
    shop = Shop()
    for fact in facts:
        shop.tell(fact)
    (note,) = shop.notes[shop.callbacks]
    assert (note.verdict, shop.verdict(), note.order) == (verdict, verdict, ORDER)
    assert reason in note.reason
    assert bool(note.reason) is (verdict is not Verdict.EVENT)


def test_callback_gets_the_strongest_verdict() -> None:
    shop = Shop()
    shop.tell(created(1), paid(1, "pi_1"))
    shop.tell(created(2), paid(2, "pi_2"))
    assert [note.verdict for note in shop.notes[2]] == [Verdict.MERGED, Verdict.EVENT]
    assert shop.verdict() is Verdict.EVENT
    shop.tell(created(3), failed(3, "pi_3"))
    assert shop.verdict() is Verdict.MERGED


def test_notes_name_the_events() -> None:
    shop = Shop()
    events = shop.tell(part(2, "printing"))
    (note,) = shop.notes[1]
    assert note.events == tuple(event.id for event in events)
    assert len(note.events) == 2


def test_implied_created_says_the_order_before_the_fact() -> None:
    """So that a consumer who acts on a state that is new to it acts once."""
    shop = Shop()
    first, second = shop.tell(paid(2, "pi_1", "49.26", total=eur("49.26"), reason="why"))
    begun, payment = data(first), data(second)
    assert begun["state"] == begun["previous"] == NOTHING
    assert begun["payment"]["payments"] == begun["parts"] == []
    assert begun["total"] == {"value": "49.26", "minor": 4926, "currency": "EUR"}
    assert begun["change"] == payment["change"] | {
        "implied": True,
        "id": None,
        "amount": None,
        "reason": None,
    }
    assert payment["previous"] == NOTHING
    assert payment["state"] == NOTHING | {"payment": "paid"}
    assert payment["change"]["id"] == "pi_1"
    assert payment["change"]["reason"] == "why"
    assert not payment["change"]["implied"]


def test_previous_is_the_state_of_the_event_before() -> None:
    shop = Shop()
    shop.tell(part(1, "printing"))
    shop.tell(paid(2, "pi_1", "4.00"))
    shop.tell(refund(3, "re_1", "1.00"))
    shop.tell(hold(4, "address"))
    shop.tell(dispute(5, "open"))
    states = [data(event)["state"] for event in shop.events]
    assert [data(event)["previous"] for event in shop.events] == [NOTHING, *states[:-1]]


def test_created_by_several_facts_of_a_callback() -> None:
    shop = Shop()
    events = shop.tell(created(1), paid(1, "pi_1", "1.00"))
    assert [data(event)["change"]["implied"] for event in events] == [False, False]
    assert [data(event)["state"]["payment"] for event in events] == [None, "paid"]


def test_change_names_the_provider_order() -> None:
    """Under the id that it has among the parts."""
    shop = Shop()
    *_, event = shop.tell(part(1, "printing"))
    assert data(event)["change"]["id"] == data(event)["parts"][0]["id"] == "7"
    assert data(event)["parts"][0]["provider"] == "printstudio"


def test_refund_says_how_much_in_all() -> None:
    shop = Shop()
    shop.tell(created(1), paid(1, "pi_1", "10.00"))
    seen = []
    for fact in (
        refund(2, "re_1", "4.00"),
        charge(3, "10.00"),
        refund(3, "re_2", "6.00"),
        refund(4, "re_2", "6.00", "failed"),
    ):
        for event in shop.tell(fact):
            change, payment = data(event)["change"], data(event)["payment"]
            seen.append((change["amount"]["value"], payment["refunded"]["value"], change["full"]))
    assert seen == [("4.00", "4.00", False), ("6.00", "10.00", True), ("6.00", "4.00", None)]


def test_unnamed_refund_tells_only_what_is_new() -> None:
    shop = Shop()
    shop.tell(refund(1, "re_1", "4.00"))
    (event,) = shop.tell(charge(2, "10.00"))
    assert data(event)["change"]["amount"] == {"value": "6.00", "minor": 600, "currency": "EUR"}
    assert data(event)["change"]["id"] is None


@pytest.mark.parametrize(
    ("amount", "full"),
    [
        (Money(value="10.00", minor=1000, currency="EUR"), True),
        (Money(value="10.00", minor=1000, currency="USD"), None),
        (Money(value="10.00"), True),
        (Money(value="9.99"), False),
        (Money(value="10.01"), True),
    ],
)
def test_full_compares_like_with_like(amount: Money, full: bool | None) -> None:
    shop = Shop()
    shop.tell(paid(1, "pi_1", "10.00"))
    (event,) = shop.tell(refund(2, "re_1", **{"amount": None}))
    assert data(event)["change"]["full"] is None
    (event,) = shop.tell(
        Fact(
            track=Track.REFUND, at=at(3), state="succeeded", key="re_2", order=ORDER, amount=amount
        )
    )
    assert data(event)["change"]["full"] is full


def test_full_compares_with_the_total_when_the_payment_has_no_amount() -> None:
    shop = Shop()
    shop.tell(created(1, total=eur("10.00")))
    shop.tell(paid(2))
    (event,) = shop.tell(refund(3, "re_1", "10.00"))
    assert data(event)["change"]["full"] is True


def test_amount_that_differs_from_the_total_is_flagged() -> None:
    shop = Shop()
    shop.tell(created(1, total=eur("10.00")))
    (first,) = shop.tell(paid(2, "pi_1", "10.00"))
    (second,) = shop.tell(paid(3, "pi_2", "9.00"))
    assert [p["amount_mismatch"] for p in data(first)["payment"]["payments"]] == [False]
    assert [p["amount_mismatch"] for p in data(second)["payment"]["payments"]] == [False, True]
    assert data(second)["payment"]["paid"]["value"] == "19.00"


def test_merge_that_adds_an_amount_tells_it_once() -> None:
    """A session names both: its created merges silently, its payment says the amount."""
    shop = Shop()
    shop.tell(created(1))
    shop.tell(paid(2))
    session = {"total": eur("49.26")}
    (event,) = shop.tell(created(3, **session), paid(3, "pi_1", "49.26", **session))
    assert event.type == "order.updated"
    assert data(event)["change"] | {"what": "amount", "value": "49.26", "id": "pi_1"} == data(
        event
    )["change"]
    assert data(event)["payment"]["paid"]["value"] == "49.26"
    (payment,) = data(event)["payment"]["payments"]
    assert (payment["id"], payment["implied"]) == ("pi_1", False)


def test_implied_payment_is_marked_until_a_real_one_is_known() -> None:
    shop = Shop()
    shop.tell(created(1))
    (event,) = shop.tell(paid(2, implied=True))
    assert [p["implied"] for p in data(event)["payment"]["payments"]] == [True]
    shop.tell(paid(3, "pi_1"))
    assert [p.implied for _, p in shop.state().visible_payments()] == [False]


def test_details_are_filled_in_and_older_ones_overwrite_nothing() -> None:
    shop = Shop()
    shop.tell(created(5, livemode=True, total=eur("5.00"), ids={"stripe": ("pi_1",)}))
    shop.tell(created(4, livemode=False, total=eur("4.00"), ids={"stripe": ("cs_1", "pi_1")}))
    shop.tell(created(6))
    (event,) = shop.tell(paid(7))
    order = data(event)
    assert order["livemode"] is True
    assert order["total"]["value"] == "5.00"
    assert order["ids"] == {"stripe": ["cs_1", "pi_1"]}


def test_shipment_keeps_what_each_fact_knew() -> None:
    shop = Shop()
    shop.tell(part(2, "shipped", shipment=Shipment(tracking_number="JJD2", carrier="DHL")))
    shop.tell(
        part(1, "printing", shipment=Shipment(tracking_number="JJD1", expected="2026-11-24"))
    )
    (event,) = shop.tell(hold(3, "address"))
    assert data(event)["shipment"] == data(event)["parts"][0]["shipment"]
    assert data(event)["shipment"] == {
        "tracking_number": "JJD2",
        "tracking_url": None,
        "carrier": "DHL",
        "expected": "2026-11-24",
    }


def test_alias_is_one_update_before_the_fact() -> None:
    shop = Shop()
    own = created(1, order=None, own="cs_1", unknown=Unknown.OWN, links=("stripe:pi_1",))
    shop.tell(own)
    events = shop.tell(linked(paid(2, "pi_1", "1.00"), "stripe:pi_1"))
    assert [event.id for event in events] == [
        identity("updated", "alias", ORDER, time(2), order="cs_1"),
        identity("paid", "pi_1", order="cs_1"),
    ]
    assert data(events[0])["aliases"] == [ORDER]
    assert data(events[0])["state"]["payment"] is None
    assert data(events[0])["change"]["id"] is None
    assert shop.tell(linked(paid(3, "pi_1", "1.00"), "stripe:pi_1")) == []


def test_time_and_recorded_time() -> None:
    """What the provider says, and when the callback that made the event came."""
    shop = Shop()
    events = shop.tell(paid(2, "pi_1"))
    assert {event.time for event in events} == {START + 2000}
    assert {event.recorded for event in events} == {at(10_001)}
    assert body(events[0])["time"] == "2025-06-15T15:06:42Z"


def test_event_that_is_no_orders_passes_through() -> None:
    shop = Shop()
    fact = Fact(track=Track.EVENT, at=at(1), type="printstudio.job.failed", subject="job_1")
    (event,) = shop.tell(fact, source="studio", event_id="ps_1")
    assert (event.order, event.seq, shop.verdict()) == (None, None, Verdict.EVENT)
    assert shop.states == {}
