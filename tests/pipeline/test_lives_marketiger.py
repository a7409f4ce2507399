"""Orders at Marketiger: watched by their GUID, polled, alone and with Stripe beside them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.lives import ORDER, Act, Life, live, polled, walk
from tests.providers.callbacks import charge, intent, refund, session
from tests.simulators.marketiger import MarketigerApi

Tiger = Act[MarketigerApi]
Told = Sequence[tuple[Tiger, Sequence[str]]]


def place(status: int = 1, *, order: str | None = ORDER, checkout: str | None = None) -> Tiger:
    """An order that is watched from now on."""

    async def act(life: Life[MarketigerApi]) -> None:
        life.number = life.api.place(session=checkout)
        life.order = order or life.number
        life.api.move(life.number, status)
        await life.watch(life.number, order)

    return act


def code(status: int) -> Tiger:
    async def act(life: Life[MarketigerApi]) -> None:
        life.api.move(life.number, status)
        await life.poll()

    return act


def track(number: str) -> Tiger:
    async def act(life: Life[MarketigerApi]) -> None:
        life.api.track(life.number, number)
        await life.poll()

    return act


async def nothing_new(life: Life[MarketigerApi]) -> None:
    found = await life.poll()
    assert [(entry["verdict"], entry["events"]) for entry in found] == [("unchanged", [])]


def stripe(kind: str, thing: dict[str, Any]) -> Tiger:
    async def act(life: Life[MarketigerApi]) -> None:
        await life.stripe(kind, thing)

    return act


def source_of(api: MarketigerApi, **options: object) -> Callable[[], tuple[str, str]]:
    return lambda: ("tiger", polled("tiger", "marketiger", api, token="tiger-token", **options))


def run(folder: Path, steps: Told, **options: object) -> None:
    api = MarketigerApi()

    async def story(life: Life[MarketigerApi]) -> None:
        await walk(life, steps)

    live(folder, api, source_of(api, **options), story)


ALONE: dict[str, Told] = {
    "from created to shipped": [
        (place(1), ["1 created"]),
        (nothing_new, []),
        (code(3), []),
        (code(4), []),
        (code(5), ["2 paid"]),
        (nothing_new, []),
        (code(10), ["3 shipped"]),
        (track("JJD1"), ["4 updated shipment=JJD1"]),
        (nothing_new, []),
    ],
    "under its own number": [(place(5, order=None), ["1 created implied", "2 paid"])],
    "first seen paid": [(place(5), ["1 created implied", "2 paid"])],
    "first seen shipped": [(place(10), ["1 created implied", "2 paid implied", "3 shipped"])],
    "first seen on hold": [(place(15), ["1 created implied", "2 on_hold production"])],
    "first seen cancelled": [(place(0), ["1 created implied", "2 cancelled"])],
    "one hold after the other": [
        (place(1), ["1 created"]),
        (code(2), ["2 on_hold on_hold"]),
        (code(15), ["3 on_hold production"]),
        (code(5), ["4 paid", "5 updated hold=released"]),
        (code(2), ["6 on_hold on_hold"]),
        (code(10), ["7 updated hold=released", "8 shipped"]),
    ],
    "expired, then paid": [
        (place(1), ["1 created"]),
        (code(0), ["2 cancelled"]),
        (nothing_new, []),
        (code(5), [f"3 updated reopened={ORDER}", "4 paid"]),
        (code(10), ["5 shipped"]),
    ],
    "expired, then shipped": [
        (place(1), ["1 created"]),
        (code(0), ["2 cancelled"]),
        (code(10), [f"3 updated reopened={ORDER}", "4 paid implied", "5 shipped"]),
    ],
    "an expiry of what was paid is void": [
        (place(5), ["1 created implied", "2 paid"]),
        (code(0), []),
        (code(10), ["3 shipped"]),
    ],
    "a code that nobody knows": [
        (place(2), ["1 created implied", "2 on_hold on_hold"]),
        (code(7), ["3 updated status=7"]),
        (nothing_new, []),
        (code(8), ["4 updated status=8"]),
        (code(5), ["5 paid", "6 updated hold=released"]),
    ],
    "tracking before code 10": [
        (place(5), ["1 created implied", "2 paid"]),
        (track("JJD1"), ["3 updated shipment=JJD1"]),
        (code(10), ["4 shipped"]),
        (track("JJD2"), ["5 updated shipment=JJD2"]),
    ],
}


@pytest.mark.parametrize("steps", ALONE.values(), ids=ALONE)
def test_alone(tmp_path: Path, steps: Told) -> None:
    run(tmp_path, steps)


BY_TRACKING: dict[str, Told] = {
    "of a paid order": [
        (place(5), ["1 created implied", "2 paid"]),
        (track("JJD1"), ["3 shipped"]),
        (code(10), []),
        (track("JJD2"), ["4 updated shipment=JJD2"]),
    ],
    "of one that is not known to be paid": [
        (place(1), ["1 created"]),
        (track("JJD1"), ["2 paid implied", "3 shipped"]),
        (code(5), []),
    ],
    "or code 10, whichever is first": [
        (place(5), ["1 created implied", "2 paid"]),
        (code(10), ["3 shipped"]),
        (track("JJD1"), ["4 updated shipment=JJD1"]),
    ],
    "but not of a cancelled one": [
        (place(0), ["1 created implied", "2 cancelled"]),
        (track("JJD1"), ["3 updated shipment=JJD1"]),
    ],
}


@pytest.mark.parametrize("steps", BY_TRACKING.values(), ids=BY_TRACKING)
def test_tracking_ships(tmp_path: Path, steps: Told) -> None:
    run(tmp_path, steps, shipped_when="tracking")


NAMED = {"order_id": ORDER}
SESSION = stripe("checkout.session.completed", session(metadata=NAMED))
UNPAID = stripe("checkout.session.completed", session(metadata=NAMED, payment_status="unpaid"))
INTENT = stripe("payment_intent.succeeded", intent(metadata=NAMED))
CHARGE = stripe("charge.refunded", charge(metadata=NAMED, amount_refunded=1000))
NAMELESS_CHARGE = stripe("charge.refunded", charge(amount_refunded=1000))
REFUND = stripe("refund.created", refund())
FAILED = stripe(
    "payment_intent.payment_failed",
    intent(metadata=NAMED, amount_received=0, last_payment_error={"code": "card_declined"}),
)

BESIDE_STRIPE: dict[str, Told] = {
    "Stripe first": [
        (SESSION, ["1 created", "2 paid 49.26 EUR"]),
        (INTENT, []),
        (CHARGE, ["3 refunded 10.00 EUR"]),
        (place(5), []),
        (code(10), ["4 shipped"]),
        (REFUND, []),
    ],
    "Marketiger first": [
        (place(1), ["1 created"]),
        (code(5), ["2 paid"]),
        (SESSION, ["3 updated amount=49.26"]),
        (INTENT, []),
        (code(10), ["4 shipped"]),
        (CHARGE, ["5 refunded 10.00 EUR"]),
    ],
    "the intent, the poll, the session": [
        (INTENT, ["1 created implied", "2 paid 49.26 EUR"]),
        (place(5), []),
        (SESSION, []),
        (code(10), ["3 shipped"]),
    ],
    "the refund before everything": [
        (CHARGE, ["1 created implied", "2 refunded 10.00 EUR"]),
        (place(5), ["3 paid"]),
        (SESSION, ["4 updated amount=49.26"]),
        (INTENT, []),
        (REFUND, []),
        (code(10), ["5 shipped"]),
    ],
    "a refund that waits for its order": [
        (NAMELESS_CHARGE, []),
        (place(5), ["1 created implied", "2 paid"]),
        (SESSION, ["3 updated amount=49.26", "4 refunded 10.00 EUR"]),
        (REFUND, []),
    ],
    "paid only at the shop's Stripe": [
        (UNPAID, ["1 created"]),
        (FAILED, ["2 payment_failed"]),
        (place(3), []),
        (INTENT, ["3 paid 49.26 EUR"]),
        (FAILED, []),
        (code(5), []),
        (code(10), ["4 shipped"]),
    ],
    "an implied payment gets its name": [
        (place(10), ["1 created implied", "2 paid implied", "3 shipped"]),
        (INTENT, ["4 updated amount=49.26"]),
        (SESSION, []),
    ],
    "shipped when Stripe's payment is known": [
        (INTENT, ["1 created implied", "2 paid 49.26 EUR"]),
        (place(10), ["3 shipped"]),
    ],
    "expired, then paid at Stripe": [
        (place(1), ["1 created"]),
        (code(0), ["2 cancelled"]),
        (INTENT, [f"3 updated reopened={ORDER}", "4 paid 49.26 EUR"]),
        (code(5), []),
    ],
    "an expiry after Stripe's payment is void": [
        (INTENT, ["1 created implied", "2 paid 49.26 EUR"]),
        (place(0), []),
        (code(10), ["3 shipped"]),
    ],
}


@pytest.mark.parametrize("steps", BESIDE_STRIPE.values(), ids=BESIDE_STRIPE)
def test_with_stripe_beside_it(tmp_path: Path, steps: Told) -> None:
    run(tmp_path, steps)


CHECKOUT = "cs_test_a1"
OF_CHECKOUT = stripe("checkout.session.completed", session(id=CHECKOUT, metadata={}))


def test_its_checkout_session_finds_the_order(tmp_path: Path) -> None:
    """The session names no order; Marketiger's `paymentLink` names the session."""
    run(
        tmp_path,
        [
            (place(1, checkout=CHECKOUT), ["1 created"]),
            (OF_CHECKOUT, ["2 paid 49.26 EUR"]),
            (code(5), []),
            (REFUND, ["3 refunded 10.00 EUR"]),
        ],
    )


def test_an_order_that_its_checkout_session_began(tmp_path: Path) -> None:
    """It keeps the name under which it was told, and the shop's is an alias of it."""

    async def known_as_session(life: Life[MarketigerApi]) -> None:
        life.order = CHECKOUT
        await OF_CHECKOUT(life)

    async def watched(life: Life[MarketigerApi]) -> None:
        await place(5, checkout=CHECKOUT)(life)
        life.order = CHECKOUT
        assert await life.told(ORDER) == []

    run(
        tmp_path,
        [
            (known_as_session, ["1 created", "2 paid 49.26 EUR"]),
            (watched, [f"3 updated alias={ORDER}"]),
            (code(10), ["4 shipped"]),
            (INTENT, []),
        ],
    )


def test_times_are_the_providers(tmp_path: Path) -> None:
    """The simulator's clock and Stripe's stand long before ours."""
    api = MarketigerApi()

    async def story(life: Life[MarketigerApi]) -> None:
        steps: Told = [
            (place(1), ["1 created"]),
            (code(2), ["2 on_hold on_hold"]),
            (INTENT, ["3 paid 49.26 EUR"]),
        ]
        await walk(life, steps)
        created, held, paid = await life.events()
        order = api.orders[life.number]
        assert [created["time"], held["time"]] == [order["createdDate"], order["updated"]]
        assert paid["time"] == "2025-10-09T08:53:21Z"  # START and a second

    live(tmp_path, api, source_of(api), story)


def test_an_unknown_code_that_comes_back_is_told_again(tmp_path: Path) -> None:
    run(
        tmp_path,
        [
            (place(7), ["1 created implied", "2 updated status=7"]),
            (code(7), []),
            (code(5), ["3 paid"]),
            (code(7), ["4 updated status=7"]),
            (code(8), ["5 updated status=8"]),
        ],
    )
