"""The orders of the demo: what happens to each, told or asked for, and what must come of it."""

import json
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from gateway.demo.payloads import MARKETIGER, PRINTSTUDIO, STRIPE, TRACKING, Shopping
from gateway.models import Verdict

PAID, SHIPPED, REVIEWED = 5, 10, 15  # codes of Marketiger


class Way(StrEnum):
    """How the gateway comes to know something."""

    CALLBACK = "callback"
    WATCH = "watch"  # the shop says under which id a provider knows an order
    POLL = "poll"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One callback, one watch or one answer to a poll, and what must come of it.

    `makes` are the types of its events in their order. `verdict` is None when it must be refused.
    `says` is the type of event that a merged one repeats.
    """

    way: Way = Way.CALLBACK
    source: str
    kind: str  # the provider's name for what happened
    body: bytes
    code: str = ""  # a poll's: the status as the gateway reads it
    makes: tuple[str, ...] = ()
    verdict: Verdict | None = Verdict.EVENT
    says: str = ""
    duplicate: bool = False
    forged: bool = False
    news: str = ""  # what its event says beyond its type


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One order and its story."""

    id: str
    title: str
    steps: Sequence[Step]


def orders(now: int) -> Sequence[Order]:
    """The whole cast; all that it tells happened in the minutes before `now` (Unix seconds)."""
    return (_told_twice(now), _overtaken(now), _asked_for(now))


def _told_twice(now: int) -> Order:
    buyer = Shopping("1001", cents=4926)
    merged = Verdict.MERGED
    return Order(
        id="1001",
        title="paid at Stripe, printed by PrintStudio; both say that it is paid",
        steps=(
            _stripe(
                "checkout.session.completed",
                buyer.session_completed(now - 240),
                makes=("order.created", "order.paid"),
            ),
            _stripe(
                "payment_intent.succeeded",
                buyer.intent_succeeded(now - 239),
                verdict=merged,
                says="order.paid",
            ),
            _printstudio(
                "order.created",
                buyer.printstudio("order.created", now - 238),
                verdict=merged,
                says="order.created",
            ),
            _printstudio(
                "order.paid",
                buyer.printstudio("order.paid", now - 237),
                verdict=merged,
                says="order.paid",
            ),
            _told(buyer, "order.printing", now - 180),
            _told(buyer, "order.ready", now - 60),
            _shipped(buyer, now - 5),
        ),
    )


def _overtaken(now: int) -> Order:
    buyer = Shopping("1002", cents=1790)
    forged = buyer.printstudio("order.cancelled", now - 100)
    return Order(
        id="1002",
        title="a stranger tries to cancel it; one callback overtakes another",
        steps=(
            _printstudio(
                "order.created",
                buyer.printstudio("order.created", now - 140),
                makes=("order.created",),
            ),
            _told(buyer, "order.paid", now - 139),
            _printstudio("order.cancelled", forged, verdict=None, forged=True),
            _shipped(buyer, now - 10),
            _printstudio(
                "order.printing",
                buyer.printstudio("order.printing", now - 90),
                verdict=Verdict.SUPERSEDED,
            ),
        ),
    )


def _asked_for(now: int) -> Order:
    buyer = Shopping("1003", cents=3200, placed=now - 200)
    session = buyer.session_completed(now - 210)
    made = ("order.created", "order.paid")
    return Order(
        id="1003",
        title="paid at Stripe, printed by Marketiger, which never calls: the gateway asks",
        steps=(
            _stripe(
                "payment_intent.succeeded",
                buyer.intent_succeeded(now - 210),
                verdict=Verdict.UNLINKED,
            ),
            _stripe("checkout.session.completed", session, makes=made),
            _watch(buyer, "1003"),
            _polled(buyer, PAID, "Paid", now - 180, says="order.paid"),
            _stripe("checkout.session.completed", session, makes=made, duplicate=True),
            _polled(
                buyer,
                REVIEWED,
                "OnHold",
                now - 120,
                makes="order.on_hold",
                news="reason: production",
            ),
            _polled(buyer, PAID, "Paid", now - 60, makes="order.updated", news="hold released"),
            _stripe(
                "refund.created",
                buyer.refund_created(now - 30, cents=1200),
                makes=("order.refunded",),
            ),
            _polled(buyer, SHIPPED, "Shipped", now - 5, makes="order.shipped", news=TRACKING),
        ),
    )


def _stripe(
    kind: str,
    body: bytes,
    *,
    makes: tuple[str, ...] = (),
    verdict: Verdict = Verdict.EVENT,
    says: str = "",
    duplicate: bool = False,
) -> Step:
    return Step(
        source=STRIPE,
        kind=kind,
        body=body,
        makes=makes,
        verdict=verdict,
        says=says,
        duplicate=duplicate,
    )


def _printstudio(
    kind: str,
    body: bytes,
    *,
    makes: tuple[str, ...] = (),
    verdict: Verdict | None = Verdict.EVENT,
    says: str = "",
    forged: bool = False,
    news: str = "",
) -> Step:
    return Step(
        source=PRINTSTUDIO,
        kind=kind,
        body=body,
        makes=makes,
        verdict=verdict,
        says=says,
        forged=forged,
        news=news,
    )


def _told(buyer: Shopping, event: str, at: int) -> Step:
    """A step of PrintStudio's that makes the event of the same name."""
    return _printstudio(event, buyer.printstudio(event, at), makes=(event,))


def _shipped(buyer: Shopping, at: int) -> Step:
    body = buyer.printstudio("order.shipped", at)
    return _printstudio("order.shipped", body, makes=("order.shipped",), news=TRACKING)


def _watch(buyer: Shopping, order: str) -> Step:
    """What `gateway watch marketiger GUID --order ORDER` sends."""
    body = json.dumps({"id": buyer.guid, "order": order}).encode()
    kind = f"watch {buyer.guid[:8]}…"
    return Step(way=Way.WATCH, source=MARKETIGER, kind=kind, body=body)


def _polled(
    buyer: Shopping,
    status: int,
    name: str,
    at: int,
    *,
    makes: str = "",
    says: str = "",
    news: str = "",
) -> Step:
    """Marketiger has had this status since `at`; `name` is its documentation's word for it."""
    tracking = TRACKING if status == SHIPPED else ""
    return Step(
        way=Way.POLL,
        source=MARKETIGER,
        kind=f"{status} {name}",
        body=buyer.marketiger(status, at, tracking=tracking),
        code=str(status),
        makes=(makes,) if makes else (),
        verdict=Verdict.EVENT if makes else Verdict.MERGED,
        says=says,
        news=news,
    )
