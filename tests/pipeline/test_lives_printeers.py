"""Orders at Printeers: found by its list, with shipments and cancels that are read off the lines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.lives import ORDER, Act, Life, live, polled, walk
from tests.providers.callbacks import dispute, refund, session
from tests.simulators.marketiger import MarketigerApi
from tests.simulators.printeers import KEY, PrinteersApi

pytestmark = pytest.mark.slow

Printer = Act[PrinteersApi]
Told = Sequence[tuple[Printer, Sequence[str]]]


def place(*quantities: int, name: str | None = ORDER, shipped: int = 0) -> Printer:
    """A new order with a line for each quantity, of which the list tells at the next round."""

    async def act(life: Life[PrinteersApi]) -> None:
        life.number = life.api.place(name, quantities)
        life.order = name or life.number
        if shipped:
            life.api.ship(life.number, shipped)
        await life.poll()

    return act


def done(*, ship: int = 0, cancel: int = 0, line: int = 0, tracking: str = "") -> Printer:
    """So many more are shipped; so many in all are cancelled."""

    async def act(life: Life[PrinteersApi]) -> None:
        if ship:
            shipment = life.api.ship(life.number, ship, line)
            if tracking:
                life.api.track(shipment, tracking, f"https://gls.example/{tracking}")
        if cancel:
            life.api.cancel(life.number, cancel, line)
        await life.poll()

    return act


def track(place: int, code: str) -> Printer:
    """The shipment that was made as the first, second ... gets its tracking."""

    async def act(life: Life[PrinteersApi]) -> None:
        shipments = life.api.orders[life.number]["shipments"]
        life.api.track(shipments[place - 1], code, f"https://gls.example/{code}")
        await life.poll()

    return act


def move(status: object) -> Printer:
    async def act(life: Life[PrinteersApi]) -> None:
        life.api.move(life.number, status)
        await life.poll()

    return act


async def nothing_new(life: Life[PrinteersApi]) -> None:
    found = await life.poll()
    assert {entry["verdict"] for entry in found} == {"unchanged"}


def stripe(kind: str, thing: dict[str, Any]) -> Printer:
    async def act(life: Life[PrinteersApi]) -> None:
        await life.stripe(kind, thing)

    return act


def run(folder: Path, steps: Told, *, brief: bool = False, **options: object) -> None:
    api = PrinteersApi()
    api.brief = brief

    async def story(life: Life[PrinteersApi]) -> None:
        await walk(life, steps)

    def source() -> tuple[str, str]:
        return "press", polled("press", "printeers", api, token=KEY, **options)

    live(folder, api, source, story)


ALONE: dict[str, Told] = {
    "shipped at once": [
        (place(2, 1), ["1 created"]),
        (nothing_new, []),
        (done(ship=2), ["2 shipped partial 2"]),
        (done(ship=1, line=1), ["3 shipped"]),
        (nothing_new, []),
    ],
    "shipped in parts": [
        (place(2, 3), ["1 created"]),
        (done(ship=1), ["2 shipped partial 1"]),
        (nothing_new, []),
        (done(ship=2, line=1), ["3 shipped partial 3"]),
        (done(ship=1), ["4 shipped partial 4"]),
        (done(ship=1, line=1), ["5 shipped"]),
    ],
    "without a name of the shop's": [
        (place(1, name=None), ["1 created"]),
        (done(ship=1), ["2 shipped"]),
    ],
    "first seen shipped in part": [
        (place(5, shipped=2), ["1 created implied", "2 shipped partial 2"]),
        (done(ship=1, cancel=1), ["3 shipped partial 3", "4 cancelled partial 1"]),
        (done(ship=1), ["5 shipped"]),
    ],
    "first seen shipped": [(place(2, shipped=2), ["1 created implied", "2 shipped"])],
    "a part cancelled, the rest shipped": [
        (place(5), ["1 created"]),
        (done(cancel=2), ["2 cancelled partial 2"]),
        (nothing_new, []),
        (done(ship=1), ["3 shipped partial 1"]),
        (done(ship=2), ["4 shipped"]),
    ],
    "a part cancelled and the rest shipped between two polls": [
        (place(5), ["1 created"]),
        (done(ship=3, cancel=2), ["2 shipped", "3 cancelled partial 2"]),
        (nothing_new, []),
    ],
    "a part shipped, the rest cancelled": [
        (place(2, 3), ["1 created"]),
        (done(ship=2), ["2 shipped partial 2"]),
        (done(cancel=3, line=1), ["3 shipped", "4 cancelled partial 3"]),
    ],
    "all cancelled": [
        (place(2, 3), ["1 created"]),
        (done(cancel=2), ["2 cancelled partial 2"]),
        (done(cancel=3, line=1), ["3 cancelled"]),
        (nothing_new, []),
    ],
    "all cancelled at once": [(place(2), ["1 created"]), (done(cancel=2), ["2 cancelled"])],
    "tracking with the shipment": [
        (place(2), ["1 created"]),
        (done(ship=1, tracking="GLS1"), ["2 shipped partial 1"]),
        (done(ship=1, tracking="GLS2"), ["3 shipped"]),
        (nothing_new, []),
    ],
    "tracking afterwards": [
        (place(2), ["1 created"]),
        (done(ship=1), ["2 shipped partial 1"]),
        (track(1, "GLS1"), ["3 updated shipment=GLS1"]),
        (done(ship=1), ["4 shipped"]),
        (track(2, "GLS2"), ["5 updated shipment=GLS2"]),
        (nothing_new, []),
    ],
}


@pytest.mark.parametrize("brief", [False, True], ids=["a list with lines", "a list without lines"])
@pytest.mark.parametrize("steps", ALONE.values(), ids=ALONE)
def test_alone(tmp_path: Path, steps: Told, brief: bool) -> None:
    run(tmp_path, steps, brief=brief)


def test_statuses_that_are_configured(tmp_path: Path) -> None:
    """They fill in what the lines do not tell; a whole shipment is the lines' word."""
    words = {
        "open": "created",
        "paid": "paid",
        "producing": "printing",
        "packed": "ready",
        "sent": "shipped",
        "waiting": "on_hold",
    }
    steps: Told = [
        (place(2), ["1 created"]),
        (move({"state": "paid"}), ["2 paid"]),
        (move({"state": "producing"}), ["3 printing"]),
        (move({"state": "waiting"}), ["4 on_hold waiting"]),
        (move({"state": "packed"}), ["5 updated hold=released", "6 ready"]),
        (done(ship=1), ["7 shipped partial 1"]),
        (move({"state": "sent"}), ["8 updated status=sent"]),
        (done(ship=1), ["9 shipped"]),
        (move({"state": "closed"}), ["10 updated status=closed"]),
    ]
    run(tmp_path, steps, status_path="/status/state", status_map=words)


SESSION = stripe("checkout.session.completed", session(metadata={"order_id": ORDER}))
REFUND = stripe("refund.created", refund())
DISPUTE = stripe("charge.dispute.created", dispute())
CLOSED = stripe("charge.dispute.closed", dispute(status="won"))

BESIDE_STRIPE: dict[str, Told] = {
    "Stripe first": [
        (SESSION, ["1 created", "2 paid 49.26 EUR"]),
        (place(2, 1), []),
        (done(ship=2), ["3 shipped partial 2"]),
        (DISPUTE, ["4 disputed"]),
        (done(cancel=1, line=1), ["5 shipped", "6 cancelled partial 1"]),
        (REFUND, ["7 refunded 10.00 EUR"]),
        (CLOSED, ["8 updated dispute=closed"]),
        (nothing_new, []),
    ],
    "the list first": [
        (place(2), ["1 created"]),
        (SESSION, ["2 paid 49.26 EUR"]),
        (done(ship=2, tracking="GLS1"), ["3 shipped"]),
    ],
    "shipped before Stripe tells of the payment": [
        (place(1), ["1 created"]),
        (REFUND, []),
        (done(ship=1), ["2 shipped"]),
        (SESSION, ["3 paid 49.26 EUR", "4 refunded 10.00 EUR"]),
    ],
    "cancelled and given back": [
        (SESSION, ["1 created", "2 paid 49.26 EUR"]),
        (place(2), []),
        (done(cancel=2), ["3 cancelled"]),
        (stripe("refund.created", refund(amount=4926)), ["4 refunded 49.26 EUR full"]),
    ],
}


@pytest.mark.parametrize("steps", BESIDE_STRIPE.values(), ids=BESIDE_STRIPE)
def test_with_stripe_beside_it(tmp_path: Path, steps: Told) -> None:
    run(tmp_path, steps)


def test_an_order_that_two_printers_share(tmp_path: Path) -> None:
    """Each provider order is shipped by itself; the order as a whole when both are."""
    tiger = MarketigerApi()

    async def story(life: Life[PrinteersApi]) -> None:
        other = Life(life.world, tiger, "tiger")

        async def at_the_other(life: Life[PrinteersApi]) -> None:
            other.number = tiger.place()
            await other.watch(other.number, ORDER)

        async def shipped_there(life: Life[PrinteersApi]) -> None:
            tiger.move(other.number, 10)
            await other.poll()

        steps: Told = [
            (place(1), ["1 created"]),
            (at_the_other, []),
            (done(ship=1), ["2 shipped"]),
            (shipped_there, ["3 paid implied", "4 shipped"]),
        ]
        await walk(life, steps)
        _, first, paid, second = await life.events()
        states = [event["data"]["state"]["fulfilment"] for event in (first, paid, second)]
        assert states == ["created", "created", "shipped"]
        about = [event["data"]["change"]["id"] for event in (first, second)]
        assert about == [life.number, other.number]

    def source() -> tuple[str, str]:
        press = polled("press", "printeers", api, token=KEY)
        return "press", press + polled("tiger", "marketiger", tiger, token="tiger-token")

    api = PrinteersApi()
    live(tmp_path, api, source, story, tiger)
