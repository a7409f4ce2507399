"""Orders at PrintStudio: by its callbacks, by its API, by both at once, and with Stripe beside it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.pipeline.lives import Act, Life, live, living, polled, walk
from tests.pipeline.world import SHOP_SECRET, consuming
from tests.providers.callbacks import intent, refund, session
from tests.simulators.api import serving
from tests.simulators.printstudio import KEY, ORDER_EVENTS, PrintStudioApi

pytestmark = pytest.mark.slow

Studio = Life[PrintStudioApi]
Told = Sequence[tuple[Act[PrintStudioApi], Sequence[str]]]
NUMBER = "ord-7"


def source_of(api: PrintStudioApi, *, calls: bool = True, polls: bool = True) -> tuple[str, str]:
    """A source that is called, asked, or both."""
    if not polls:
        return "studio", f'[sources.studio]\nprovider = "printstudio"\nsecrets = ["{SHOP_SECRET}"]'
    secrets = {"secrets": [SHOP_SECRET]} if calls else {}
    return "studio", polled("studio", "printstudio", api, token=KEY, **secrets)


async def register(life: Studio) -> None:
    """The shop calls the gateway's hook from now on."""
    hook = {
        "url": f"{life.world.public}/hooks/{life.source}",
        "events": ORDER_EVENTS,
        "secret": SHOP_SECRET,
    }
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.post(
            f"{life.api.url}/api/webhooks/endpoints", json=hook, headers={"X-API-Key": KEY}
        )
    assert answer.status_code == 201


def run(folder: Path, steps: Told, *, calls: bool = True, polls: bool = True) -> dict[str, str]:
    """The ids of what was told, by type."""
    api, ids = PrintStudioApi(), {}

    async def story(life: Studio) -> None:
        life.number = life.order = NUMBER
        if calls:
            await register(life)
        await walk(life, steps)
        ids.update(await life.ids())

    live(folder, api, lambda: source_of(api, calls=calls, polls=polls), story)
    return ids


# What happens, and how the gateway hears of it.


async def happens(life: Studio, status: str) -> None:
    if life.number not in life.api.orders:
        life.api.place(life.number)
    life.api.move(life.number, status)
    if status == "shipped":
        life.api.track(life.number, "1Z999")


async def poll(life: Studio) -> None:
    await life.poll()


async def fired(life: Studio, event: str, **envelope: Any) -> None:
    if event:
        sent = await life.api.fire(event, life.number, **envelope)
        assert {one.status for one in sent} == {200}


def called(event: str, **envelope: Any) -> Act[PrintStudioApi]:
    """A callback that comes late, or again."""

    async def act(life: Studio) -> None:
        await fired(life, event, **envelope)

    return act


def step(status: str, event: str = "", ways: str = "call poll") -> Act[PrintStudioApi]:
    """The order has a new status; the shop calls with `event`, if with any, and the gateway asks.

    `ways` says in which order they come: "call poll", "poll call", one of them, none, or "at once".
    """

    async def act(life: Studio) -> None:
        await happens(life, status)
        if ways == "at once":
            await asyncio.gather(fired(life, event), life.poll(), fired(life, event))
            return
        for way in ways.split():
            await (fired(life, event) if way == "call" else life.poll())

    return act


def whole(ways: str) -> Told:
    """All that can happen to an order; what is told where the gateway asks after every step."""
    return [
        (step("pending_payment", "order.created", ways), ["1 created"]),
        (step("paid", "order.paid", ways), ["2 paid"]),
        (step("processing", "", ways), ["3 updated fulfilment=processing"]),
        (step("printing", "order.printing", ways), ["4 printing"]),
        (step("post_processing", "", ways), ["5 updated fulfilment=post_processing"]),
        (step("ready", "order.ready", ways), ["6 ready"]),
        (step("shipped", "order.shipped", ways), ["7 shipped"]),
        (step("refunded", "", ways), ["8 refunded"]),
    ]


BY_CALLBACK: Told = [
    (step("pending_payment", "order.created", "call"), ["1 created"]),
    (step("paid", "order.paid", "call"), ["2 paid"]),
    (step("processing", "", "call"), []),
    (step("printing", "order.printing", "call"), ["3 printing"]),
    (step("post_processing", "", "call"), []),
    (step("ready", "order.ready", "call"), ["4 ready"]),
    (step("shipped", "order.shipped", "call"), ["5 shipped"]),
    (step("refunded", "", "call"), []),
]
KINDS = ["created", "paid", "printing", "ready", "shipped"]


@pytest.mark.slow
def test_each_way_tells_the_same_events_with_the_same_ids(tmp_path: Path) -> None:
    """By callback only, by poll only, and both with one ahead, the other ahead, or side by side."""
    (tmp_path / "calls").mkdir()
    called_only = run(tmp_path / "calls", BY_CALLBACK, polls=False)
    assert list(called_only) == KINDS
    (tmp_path / "polls").mkdir()
    polled_only = run(tmp_path / "polls", whole("poll"), calls=False)
    assert list(polled_only) == [*KINDS, "refunded"]
    assert {kind: polled_only[kind] for kind in KINDS} == called_only
    for ways in ("call poll", "poll call", "at once", "poll call poll call"):
        folder = tmp_path / ways
        folder.mkdir()
        assert run(folder, whole(ways)) == polled_only


FIRST_SEEN = {
    "processing": ["1 created implied", "2 paid implied", "3 updated fulfilment=processing"],
    "shipped": ["1 created implied", "2 paid implied", "3 shipped"],
    "cancelled": ["1 created implied", "2 cancelled"],
    "refunded": ["1 created implied", "2 paid implied", "3 refunded"],
    "in_customs": ["1 created implied", "2 updated status=in_customs"],
}


@pytest.mark.parametrize("status", FIRST_SEEN)
def test_a_first_poll_tells_what_it_sees_and_what_that_implies(tmp_path: Path, status: str) -> None:
    steps: Told = [(step(status, "", "poll"), FIRST_SEEN[status]), (poll, [])]
    run(tmp_path, steps, calls=False)


CANCELS: dict[str, Told] = {
    ways: [
        (step("pending_payment", "order.created", ways), ["1 created"]),
        (step("paid", "order.paid", ways), ["2 paid"]),
        (step("cancelled", "order.cancelled", ways), ["3 cancelled"]),
        (poll, []),
        (called("order.printing"), []),
        (step("refunded", "", "poll"), ["4 refunded"]),
    ]
    for ways in ("call poll", "poll call", "at once")
}


@pytest.mark.parametrize("steps", CANCELS.values(), ids=CANCELS)
def test_a_cancel_and_what_was_paid_back(tmp_path: Path, steps: Told) -> None:
    run(tmp_path, steps)


MIXED: dict[str, Told] = {
    "polls lag behind": [
        (step("pending_payment", "order.created", "call"), ["1 created"]),
        (step("paid", "order.paid", "call"), ["2 paid"]),
        (step("processing", "", "call"), []),
        (step("printing", "order.printing", "call"), ["3 printing"]),
        (poll, []),
        (step("post_processing", "", "call"), []),
        (step("ready", "order.ready", "call"), ["4 ready"]),
        (poll, []),
        (step("shipped", "order.shipped", "call"), ["5 shipped"]),
        (poll, []),
        (step("refunded", "", "poll"), ["6 refunded"]),
    ],
    "polls lead, callbacks come at the end in disorder": [
        *whole("poll"),
        (called("order.shipped"), []),
        (called("order.created"), []),
        (called("order.ready"), []),
        (called("order.paid"), []),
        (called("order.printing"), []),
        (poll, []),
    ],
    "a poll jumps over what the callbacks tell later": [
        (step("pending_payment", "order.created", ""), []),
        (step("printing", "", "poll"), ["1 created implied", "2 paid implied", "3 printing"]),
        (called("order.paid"), []),
        (called("order.created"), []),
        (called("order.printing"), []),
        (step("ready", "order.ready", "call"), ["4 ready"]),
        (step("shipped", "order.shipped", "poll"), ["5 shipped"]),
        (called("order.shipped"), []),
    ],
    "each tells a half": [
        (step("pending_payment", "order.created", "call"), ["1 created"]),
        (step("paid", "order.paid", "poll"), ["2 paid"]),
        (step("printing", "order.printing", "call"), ["3 printing"]),
        (step("ready", "order.ready", "poll"), ["4 ready"]),
        (step("shipped", "order.shipped", "call"), ["5 shipped"]),
        (poll, []),
    ],
    "a status without a name in the tables": [
        (step("paid", "order.paid"), ["1 created implied", "2 paid"]),
        (step("in_customs"), ["3 updated status=in_customs"]),
        (poll, []),
        (step("shipped", "order.shipped"), ["4 shipped"]),
    ],
}


@pytest.mark.parametrize("steps", MIXED.values(), ids=MIXED)
def test_both_ways_out_of_step(tmp_path: Path, steps: Told) -> None:
    run(tmp_path, steps)


BY_CALLBACK_ONLY: dict[str, Told] = {
    "backwards": [
        (step("shipped", "order.shipped", "call"), ["1 created implied", "2 shipped"]),
        (called("order.ready"), []),
        (called("order.printing"), []),
        (called("order.paid"), ["3 paid"]),
        (called("order.created"), []),
    ],
    "in disorder": [
        (step("shipped", "order.ready", "call"), ["1 created implied", "2 ready"]),
        (called("order.created"), []),
        (called("order.shipped"), ["3 shipped"]),
        (called("order.paid"), ["4 paid"]),
        (called("order.printing"), []),
    ],
    "sent again, with the same id and with another": [
        (called("order.created", id="evt-a"), ["1 created"]),
        (called("order.created", id="evt-a"), []),
        (called("order.created", id="evt-b"), []),
        (called("order.paid", id="evt-c"), ["2 paid"]),
        (called("order.paid", id="evt-c"), []),
        (called("order.paid", id="evt-d", timestamp="2030-01-01T00:00:00Z"), []),
    ],
}


@pytest.mark.parametrize("steps", BY_CALLBACK_ONLY.values(), ids=BY_CALLBACK_ONLY)
def test_callbacks_in_disorder(tmp_path: Path, steps: Told) -> None:
    run(tmp_path, steps, polls=False)


def test_polls_fill_the_gap_of_a_disabled_endpoint(tmp_path: Path) -> None:
    """While the gateway is down, five calls in a row fail; after that the shop calls no more."""
    api = PrintStudioApi()

    async def story() -> None:
        async with serving(api), consuming() as consumer:
            async with living(tmp_path, consumer, api, *source_of(api)) as life:
                life.number = life.order = NUMBER
                await register(life)
                before: Told = [
                    (step("pending_payment", "order.created"), ["1 created"]),
                    (step("paid", "order.paid"), ["2 paid"]),
                ]
                await walk(life, before)
            await happens(life, "printing")
            sent = await api.fire("order.printing", NUMBER)
            assert [one.status for one in sent] == [None] * 5
            assert api.told == ["endpoint whe-1 was disabled"]
            async with living(tmp_path, consumer, api, *source_of(api)) as life:
                life.number = life.order = NUMBER
                await happens(life, "ready")
                assert await api.fire("order.ready", NUMBER) == []
                await poll(life)
                told = ["1 created", "2 paid", "3 ready"]
                assert await life.told() == told
                await register(life)
                await step("shipped", "order.shipped")(life)
                assert await life.told() == [*told, "4 shipped"]

    asyncio.run(story())


# With Stripe beside it.


def stripe(kind: str, thing: dict[str, Any]) -> Act[PrintStudioApi]:
    async def act(life: Studio) -> None:
        await life.stripe(kind, thing)

    return act


NAMED = {"order_id": NUMBER}
SESSION = stripe("checkout.session.completed", session(metadata=NAMED))
INTENT = stripe("payment_intent.succeeded", intent(metadata=NAMED))
REFUND = stripe("refund.created", refund(amount=4926))
AGAIN = stripe("charge.refund.updated", refund(amount=4926))

BESIDE_STRIPE: dict[str, Told] = {
    "Stripe tells first": [
        (SESSION, ["1 created", "2 paid 49.26 EUR"]),
        (step("paid", "order.created"), []),
        (called("order.paid"), []),
        (INTENT, []),
        (step("cancelled", "order.cancelled"), ["3 cancelled"]),
        (REFUND, ["4 refunded 49.26 EUR full"]),
        (step("refunded"), []),
        (AGAIN, []),
    ],
    "the callback tells first": [
        (step("paid", "order.created", "call"), ["1 created"]),
        (called("order.paid"), ["2 paid"]),
        (INTENT, ["3 updated amount=49.26"]),
        (SESSION, []),
        (poll, []),
        (step("cancelled", "order.cancelled", "call"), ["4 cancelled"]),
        (REFUND, ["5 refunded 49.26 EUR full"]),
        (step("refunded"), []),
    ],
    "the poll tells first": [
        (step("paid", "", "poll"), ["1 created implied", "2 paid"]),
        (called("order.paid"), []),
        (SESSION, ["3 updated amount=49.26"]),
        (step("shipped", "order.shipped"), ["4 shipped"]),
        (step("refunded"), ["5 refunded"]),
        (REFUND, ["6 updated refund=amount"]),
        (AGAIN, []),
        (poll, []),
    ],
    "a later poll implies what Stripe names": [
        (step("printing", "", "poll"), ["1 created implied", "2 paid implied", "3 printing"]),
        (INTENT, ["4 updated amount=49.26"]),
        (called("order.paid"), []),
        (SESSION, []),
        (poll, []),
    ],
    "a refund that waits for its order": [
        (REFUND, []),
        (step("paid", "order.created", "call"), ["1 created"]),
        (step("refunded"), ["2 paid implied", "3 refunded"]),
        (SESSION, ["4 updated amount=49.26", "5 updated refund=amount"]),
    ],
}


@pytest.mark.parametrize("steps", BESIDE_STRIPE.values(), ids=BESIDE_STRIPE)
def test_with_stripe_beside_it(tmp_path: Path, steps: Told) -> None:
    run(tmp_path, steps)


def test_by_poll_only_with_stripe_beside_it(tmp_path: Path) -> None:
    steps: Told = [
        (step("pending_payment", "", "poll"), ["1 created"]),
        (SESSION, ["2 paid 49.26 EUR"]),
        (step("paid", "", "poll"), []),
        (step("ready", "", "poll"), ["3 ready"]),
        (REFUND, ["4 refunded 49.26 EUR full"]),
        (step("refunded", "", "poll"), []),
    ]
    run(tmp_path, steps, calls=False)


def test_by_callback_only_with_stripe_beside_it(tmp_path: Path) -> None:
    steps: Told = [
        (step("pending_payment", "order.created", "call"), ["1 created"]),
        (INTENT, ["2 paid 49.26 EUR"]),
        (step("paid", "order.paid", "call"), []),
        (step("printing", "order.printing", "call"), ["3 printing"]),
        (SESSION, []),
        (REFUND, ["4 refunded 49.26 EUR full"]),
        (step("shipped", "order.shipped", "call"), ["5 shipped"]),
    ]
    run(tmp_path, steps, polls=False)


def test_everybody_tells_of_one_payment_and_one_refund_at_once(tmp_path: Path) -> None:
    """Whoever is first: one `order.paid` and one `order.refunded`, and the amounts are known."""
    api = PrintStudioApi()

    async def story(life: Studio) -> None:
        life.number = life.order = NUMBER
        await register(life)
        await step("pending_payment", "order.created")(life)
        await happens(life, "paid")
        await asyncio.gather(
            fired(life, "order.paid"), life.poll(), SESSION(life), INTENT(life), life.poll()
        )
        paid = await life.told()
        assert paid in (
            ["1 created", "2 paid 49.26 EUR"],
            ["1 created", "2 paid", "3 updated amount=49.26"],
        )
        await happens(life, "refunded")
        await asyncio.gather(life.poll(), REFUND(life), AGAIN(life), poll(life))
        seq = len(paid) + 1
        assert (await life.told())[len(paid) :] in (
            [f"{seq} refunded 49.26 EUR full"],
            [f"{seq} refunded", f"{seq + 1} updated refund=amount"],
        )
        last = (await life.events())[-1]["data"]
        assert last["state"]["refund"] == "full"
        assert [last["payment"][sum_]["minor"] for sum_ in ("paid", "refunded")] == [4926, 4926]

    live(tmp_path, api, lambda: source_of(api), story)
