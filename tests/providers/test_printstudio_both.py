"""PrintStudio's callbacks and its API tell of one order: each event once, with the same id."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from gateway.models import Fact, Millis, Reply, Watched
from gateway.providers.printstudio import ORDER_EVENTS, STATUSES, PrintStudio, PrintStudioOptions
from tests.providers.callbacks import as_bytes, callback, envelope, intent, refund, stripe_event
from tests.providers.callbacks import read_stripe as read_stripe_event
from tests.unit.order_shop import Shop, data, identity

NUMBER = "ord-abc123"
START = 1_705_315_800_000  # 2024-01-15T10:50:00Z
SHOP = PrintStudio(PrintStudioOptions(currency="EUR"))
TRACKED = {"trackingNumber": "1Z999", "carrier": "UPS", "estimatedDelivery": "2024-01-17"}

# An order's life: what the shop calls with, if it calls, and the status that it then has.
LIFE: list[tuple[str | None, str]] = [
    ("order.created", "pending_payment"),
    ("order.paid", "paid"),
    (None, "processing"),
    ("order.printing", "printing"),
    (None, "post_processing"),
    ("order.ready", "ready"),
    ("order.shipped", "shipped"),
    (None, "refunded"),
]
TOLD = ["created", "paid", "updated", "printing", "updated", "ready", "shipped", "refunded"]

Telling = Callable[[int], Sequence[Fact]]


def asked(step: int, status: str, **more: Any) -> Sequence[Fact]:
    """What a poll says, an hour a step after the order was placed."""
    order = {"id": NUMBER, "status": status, "total": 49.26, "createdAt": "2024-01-15T10:50:00Z"}
    reply = Reply(status=200, headers={}, body=as_bytes(order | more), at=hour(step))
    return SHOP.read(Watched(number=NUMBER), [reply]).facts


def called(step: int, event: str, **more: Any) -> Sequence[Fact]:
    """What a callback says, half an hour before the poll of its step."""
    sent = envelope(event, {"orderId": NUMBER, **more}, timestamp=f"2024-01-15T{10 + step}:50:00Z")
    return SHOP.normalize(callback(as_bytes(sent))).facts


def stripe(kind: str, thing: Any, step: int) -> Sequence[Fact]:
    return read_stripe_event(stripe_event(kind, thing, created=hour(step) // 1000)).facts


def hour(step: int) -> Millis:
    return Millis(START + step * 3_600_000 + 1_800_000)


def told(shop: Shop) -> list[tuple[str, str]]:
    assert {event.order for event in shop.events} <= {NUMBER}
    return [(event.type.removeprefix("order."), event.id) for event in shop.events]


def live(callback_first: Sequence[bool], *, calls: bool = True, polls: bool = True) -> Shop:
    """An order's life, told by callbacks and polls; at each step one of them comes first."""
    shop = Shop()
    for step, ((event, status), first) in enumerate(zip(LIFE, callback_first, strict=True)):
        more = TRACKED if status in ("shipped", "refunded") else {}
        sides = [called(step, event, **more) if event and calls else ()]
        sides.append(asked(step, status, **more) if polls else ())
        for facts in sides if first else sides[::-1]:
            if facts:
                shop.tell(*facts)
        if polls:
            shop.tell(*asked(step, status, **more))  # polled again without a change
    return shop


CALLED_STEPS = [step for step, (event, _) in enumerate(LIFE) if event]


def test_the_life_of_an_order_knows_every_event_and_status() -> None:
    assert {event for event, _ in LIFE if event} == set(ORDER_EVENTS) - {"order.cancelled"}
    assert {status for _, status in LIFE} == set(STATUSES) - {"cancelled"}


@pytest.mark.parametrize("first", [*itertools.product([True, False], repeat=len(CALLED_STEPS))])
def test_both_ways_tell_each_event_once_and_with_the_same_ids(first: tuple[bool, ...]) -> None:
    order = [True] * len(LIFE)
    for step, callback_first in zip(CALLED_STEPS, first, strict=True):
        order[step] = callback_first
    shop = live(order)
    assert shop.types() == TOLD
    assert told(shop) == told(live([False] * len(LIFE), calls=False))


def test_callbacks_alone_tell_the_same_but_what_has_no_callback() -> None:
    alone = told(live([True] * len(LIFE), polls=False))
    assert alone == [
        event
        for event in told(live([False] * len(LIFE)))
        if event[0] not in ("updated", "refunded")
    ]
    assert alone[0] == ("created", identity("created", order=NUMBER))
    assert alone[-1] == ("shipped", identity("shipped", f"printstudio:{NUMBER}", order=NUMBER))


@pytest.mark.parametrize("status", ["pending_payment", "paid", "printing"])
@pytest.mark.parametrize("callback_first", [True, False])
def test_a_cancel_is_told_once(status: str, callback_first: bool) -> None:
    shop = Shop()
    shop.tell(*asked(0, status))
    before = len(shop.events)
    sides = [called(1, "order.cancelled"), asked(1, "cancelled")]
    for facts in sides if callback_first else sides[::-1]:
        shop.tell(*facts)
    assert told(shop)[before:] == [
        ("cancelled", identity("cancelled", f"printstudio:{NUMBER}", order=NUMBER))
    ]


@pytest.mark.parametrize("status", STATUSES)
def test_the_first_poll_begins_the_order_and_says_what_it_implies(status: str) -> None:
    shop = Shop()
    shop.tell(*asked(3, status))
    row = STATUSES[status]
    expected = ["created"]
    expected += ["paid"] if row.payment else []
    emitting = {"processing": "updated", "post_processing": "updated", "created": ""}
    kind = emitting.get(row.fulfilment, row.fulfilment)
    expected += [kind] if kind else []
    expected += ["refunded"] if row.refunded else []
    assert shop.types() == expected
    first = data(shop.events[0])
    assert first["change"]["implied"] is (status != "pending_payment")
    if row.payment:
        assert data(shop.events[1])["change"]["implied"] is (row.payment == "implied")
    assert shop.tell(*asked(4, status)) == []


def test_an_unknown_status_is_an_update() -> None:
    shop = Shop()
    shop.tell(*asked(1, "paid"))
    (event,) = shop.tell(*asked(2, "in_customs"))
    change = data(event)["change"]
    assert (event.type, change["what"], change["value"]) == (
        "order.updated",
        "status",
        "in_customs",
    )
    assert shop.tell(*asked(3, "in_customs")) == []
    assert [event.type for event in shop.tell(*asked(4, "printing"))] == ["order.printing"]


def test_tracking_that_only_the_callback_tells_is_an_update_after_the_poll() -> None:
    """The documented order has no tracking; `order.shipped` has."""
    shop = Shop()
    shop.tell(*asked(6, "shipped"))
    (event,) = shop.tell(*called(6, "order.shipped", **TRACKED))
    assert (event.type, data(event)["change"]["what"]) == ("order.updated", "shipment")
    assert data(event)["shipment"]["tracking_number"] == "1Z999"
    assert shop.tell(*asked(7, "shipped")) == []


# Beside Stripe.

PAYMENT = intent(metadata={"order_id": NUMBER})
REFUND = refund(amount=4926)


def paid_by_stripe(step: int) -> Sequence[Fact]:
    return stripe("payment_intent.succeeded", PAYMENT, step)


def refunded_by_stripe(step: int) -> Sequence[Fact]:
    return stripe("refund.created", REFUND, step)


PAID_BY: dict[str, Telling] = {
    "stripe": paid_by_stripe,
    "callback": lambda step: called(step, "order.paid"),
    "poll": lambda step: asked(step, "paid"),
    "a later poll": lambda step: asked(step, "printing"),
}


@pytest.mark.parametrize("tellers", [*itertools.permutations(PAID_BY)])
def test_one_payment_is_one_event_whoever_tells_it(tellers: tuple[str, ...]) -> None:
    shop = Shop()
    shop.tell(*asked(0, "pending_payment"))
    for step, teller in enumerate(tellers, 1):
        shop.tell(*PAID_BY[teller](step))
    assert shop.types().count("paid") == 1
    assert shop.state(NUMBER).paid_total() is not None
    last = data(shop.events[-1])
    assert last["payment"]["payments"][0]["amount_mismatch"] is False


@pytest.mark.parametrize("poll_first", [True, False])
def test_a_refund_that_both_tell_is_one_event(poll_first: bool) -> None:
    shop = Shop()
    shop.tell(*paid_by_stripe(0))
    shop.tell(*asked(0, "paid"))
    sides = [asked(2, "refunded"), refunded_by_stripe(1)]
    for facts in sides if poll_first else sides[::-1]:
        shop.tell(*facts)
    shop.tell(*asked(3, "refunded"))
    assert shop.types().count("refunded") == 1
    # Stripe's refund names the amount that the poll did not know: that is told, once.
    assert shop.types()[2:] == (["refunded", "updated"] if poll_first else ["refunded"])
    last = data(shop.events[-1])
    assert last["state"]["refund"] == "full"
    assert msgspec.json.decode(msgspec.json.encode(last["payment"]["refunded"]))["minor"] == 4926


def test_a_refund_that_only_the_poll_tells_is_told() -> None:
    shop = Shop()
    shop.tell(*called(0, "order.created"))
    shop.tell(*called(1, "order.paid"))
    shop.tell(*called(2, "order.cancelled"))
    (event,) = shop.tell(*asked(3, "refunded"))
    assert event.type == "order.refunded"
    assert data(event)["state"] | {} == {
        "fulfilment": "cancelled",
        "payment": "paid",
        "refund": "unknown",
        "dispute": None,
        "hold": None,
    }
