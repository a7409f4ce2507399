"""Orders at 3YOURMIND: found by its list, with statuses that mean what is configured."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.lives import ORDER, Act, Life, live, polled, walk
from tests.providers.callbacks import intent, refund, session
from tests.simulators.threeyourmind import TOKEN, ThreeYourMindApi

pytestmark = pytest.mark.slow

Mind = Act[ThreeYourMindApi]
Told = Sequence[tuple[Mind, Sequence[str]]]

STATUSES = {
    "new": "created",
    "confirmed": "paid",
    "planned": "processing",
    "production": "printing",
    "finishing": "post_processing",
    "done": "ready",
    "sent": "shipped",
    "waiting": "on_hold",
    "stopped": "cancelled",
    "money_back": "refunded",
}


def place(status: str = "new", reference: str | None = ORDER) -> Mind:
    """A new order, which the list shows at the next round."""

    async def act(life: Life[ThreeYourMindApi]) -> None:
        life.number = life.api.place(reference=reference, total="49.26", status=status)
        await life.poll()

    return act


def move(status: object) -> Mind:
    async def act(life: Life[ThreeYourMindApi]) -> None:
        life.api.move(life.number, status)
        await life.poll()

    return act


async def nothing_new(life: Life[ThreeYourMindApi]) -> None:
    found = await life.poll()
    assert {entry["verdict"] for entry in found} == {"unchanged"}


def stripe(kind: str, thing: dict[str, Any]) -> Mind:
    async def act(life: Life[ThreeYourMindApi]) -> None:
        await life.stripe(kind, thing)

    return act


def run(
    folder: Path, steps: Told, statuses: dict[str, str] = STATUSES, *, list_status: bool = False
) -> None:
    api = ThreeYourMindApi(list_status=list_status)
    before = api.place(reference="old")

    async def story(life: Life[ThreeYourMindApi]) -> None:
        await walk(life, steps)
        # What was there before the first listing is told from its next change on.
        assert await life.told("old") == []
        api.move(before, "sent")
        await life.poll()
        change = "shipped" if statuses else "updated"
        assert [entry.split()[:3] for entry in await life.told("old")] == [
            ["1", change, "baseline"]
        ]

    def source() -> tuple[str, str]:
        return "mind", polled("mind", "threeyourmind", api, token=TOKEN, status_map=statuses)

    live(folder, api, source, story)


ALONE: dict[str, Told] = {
    "a whole life": [
        (place(), ["1 created"]),
        (nothing_new, []),
        (move("confirmed"), ["2 paid"]),
        (move("planned"), ["3 updated fulfilment=processing"]),
        (move("production"), ["4 printing"]),
        (move("waiting"), ["5 on_hold waiting"]),
        (nothing_new, []),
        (move("production"), ["6 updated hold=released"]),
        (move("finishing"), ["7 updated fulfilment=post_processing"]),
        (move("done"), ["8 ready"]),
        (move("sent"), ["9 shipped"]),
        (move("money_back"), ["10 refunded"]),
        (nothing_new, []),
    ],
    "no status is known to come only after payment": [
        (place(), ["1 created"]),
        (move("done"), ["2 ready"]),
        (move("sent"), ["3 shipped"]),
    ],
    "first seen in production": [
        (place("production"), ["1 created implied", "2 printing"]),
        (move("planned"), []),
        (move("sent"), ["3 shipped"]),
    ],
    "first seen on hold": [
        (place("waiting"), ["1 created implied", "2 on_hold waiting"]),
        (move("new"), ["3 updated hold=released"]),
        (move("waiting"), ["4 on_hold waiting"]),
    ],
    "cancelled for good": [
        (place("confirmed"), ["1 created implied", "2 paid"]),
        (move("stopped"), ["3 cancelled"]),
        (move("production"), []),
        (move("money_back"), ["4 refunded"]),
    ],
    "a status that is in no map": [
        (place(), ["1 created"]),
        (move("customs"), ["2 updated status=customs"]),
        (nothing_new, []),
        (move("production"), ["3 printing"]),
        (move(17), ["4 updated status=17"]),
    ],
}


@pytest.mark.parametrize("list_status", [False, True], ids=["asked one by one", "read in the list"])
@pytest.mark.parametrize("steps", ALONE.values(), ids=ALONE)
def test_alone(tmp_path: Path, steps: Told, list_status: bool) -> None:
    run(tmp_path, steps, list_status=list_status)


def test_without_a_map_every_status_is_an_update(tmp_path: Path) -> None:
    steps: Told = [
        (place(), ["1 created", "2 updated status=new"]),
        (nothing_new, []),
        (move("production"), ["3 updated status=production"]),
        (move("sent"), ["4 updated status=sent"]),
    ]
    run(tmp_path, steps, {})


NAMED = {"order_id": ORDER}
SESSION = stripe("checkout.session.completed", session(metadata=NAMED))
INTENT = stripe("payment_intent.succeeded", intent(metadata=NAMED))
REFUND = stripe("refund.created", refund())
REST = stripe("refund.created", refund(id="re_2", amount=3926))

BESIDE_STRIPE: dict[str, Told] = {
    "Stripe first": [
        (SESSION, ["1 created", "2 paid 49.26 EUR"]),
        (place(), []),
        (move("confirmed"), []),
        (move("production"), ["3 printing"]),
        (INTENT, []),
        (move("sent"), ["4 shipped"]),
        (REFUND, ["5 refunded 10.00 EUR"]),
        (REST, ["6 refunded 39.26 EUR full"]),
        (move("money_back"), []),
    ],
    "the list first": [
        (place(), ["1 created"]),
        (SESSION, ["2 paid 49.26 EUR"]),
        (move("confirmed"), []),
        (move("stopped"), ["3 cancelled"]),
        (move("money_back"), ["4 refunded"]),
        (REFUND, ["5 updated refund=amount"]),
        (REST, ["6 refunded 39.26 EUR full"]),
    ],
    "Stripe names what was told without a name": [
        (place("confirmed"), ["1 created implied", "2 paid"]),
        (INTENT, ["3 updated amount=49.26"]),
        (SESSION, []),
        (REFUND, ["4 refunded 10.00 EUR"]),
        (move("money_back"), []),
    ],
}


@pytest.mark.parametrize("steps", BESIDE_STRIPE.values(), ids=BESIDE_STRIPE)
def test_with_stripe_beside_it(tmp_path: Path, steps: Told) -> None:
    run(tmp_path, steps)


def test_pages_of_the_list_are_one_baseline(tmp_path: Path) -> None:
    """Five orders on three pages, and what is placed afterwards, again on several pages."""
    api = ThreeYourMindApi(page_size=2)
    known = [api.place(reference=f"old-{index}") for index in range(5)]

    async def story(life: Life[ThreeYourMindApi]) -> None:
        new = [api.place(reference=f"new-{index}") for index in range(5)]
        await life.poll()
        for number in (*known, *new):
            api.move(number, "production")
        await life.poll()
        for index in range(5):
            assert await life.told(f"old-{index}") == ["1 printing baseline"]
            assert await life.told(f"new-{index}") == ["1 created", "2 printing"]

    def source() -> tuple[str, str]:
        return "mind", polled("mind", "threeyourmind", api, token=TOKEN, status_map=STATUSES)

    live(tmp_path, api, source, story)
