"""Rows of design 6.2: fulfilment, soft cancels, disputes, holds and other changes.

A row says which facts are told, which events follow, and what the order is then in five words
(those that are not null).
"""

from collections.abc import Sequence
from typing import NamedTuple

from gateway.models import Fact, Shipment
from tests.unit.order_shop import (
    ORDER,
    PART,
    at,
    change,
    created,
    dispute,
    failed,
    hold,
    paid,
    part,
    tracked,
)

OTHER = "printstudio:8"


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
