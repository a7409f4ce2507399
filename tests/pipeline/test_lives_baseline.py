"""What was there before the gateway first looked is no news; what anybody knew or asked for is."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.lives import Life, live, living, polled
from tests.pipeline.world import SHOP_SECRET, consuming
from tests.providers.callbacks import intent, refund, session
from tests.simulators.api import BAD_GATEWAY, Request, Response, json_response, serving
from tests.simulators.printeers import KEY, PrinteersApi
from tests.simulators.printstudio import KEY as STUDIO_KEY
from tests.simulators.printstudio import PrintStudioApi
from tests.simulators.threeyourmind import TOKEN, ThreeYourMindApi

BAD = "502"


def press_of(api: PrinteersApi) -> Callable[[], tuple[str, str]]:
    return lambda: ("press", polled("press", "printeers", api, token=KEY))


def studio_of(api: PrintStudioApi) -> Callable[[], tuple[str, str]]:
    more = {"token": STUDIO_KEY, "secrets": [SHOP_SECRET]}
    return lambda: ("studio", polled("studio", "printstudio", api, **more))


def mind_of(api: ThreeYourMindApi) -> Callable[[], tuple[str, str]]:
    states = {"production": "printing", "sent": "shipped"}
    more = {"token": TOKEN, "status_map": states}
    return lambda: ("mind", polled("mind", "threeyourmind", api, **more))


def named(order: str, **fields: Any) -> dict[str, Any]:
    return session(metadata={"order_id": order}, **fields)


async def recorded(life: Life[Any], orders: int) -> None:
    """So many orders are known, and nothing was told of any."""
    await life.world.settled()
    assert life.world.rows("SELECT count(*) FROM orders") == [(orders,)]
    assert life.world.consumer.seen == []


# Orders that were there.


@pytest.mark.parametrize("brief", [False, True], ids=["a list with lines", "a list without lines"])
def test_what_was_there_is_told_from_its_next_event_on(tmp_path: Path, brief: bool) -> None:
    api = PrinteersApi()
    api.brief = brief
    fresh, begun, over = (api.place(name, [2]) for name in ("fresh", "begun", "over"))
    api.ship(begun, 1)
    api.ship(over, 2)

    async def story(life: Life[PrinteersApi]) -> None:
        await life.poll()
        await recorded(life, 3)
        api.place("new", [2])
        for number in (fresh, begun):
            api.ship(number, 1)
        await life.poll()
        assert await life.told("fresh") == ["1 shipped partial baseline 1"]
        assert await life.told("begun") == ["1 shipped baseline"]
        assert await life.told("over") == []
        assert await life.told("new") == ["1 created"]
        api.ship(fresh, 1)
        await life.poll()
        assert await life.told("fresh") == ["1 shipped partial baseline 1", "2 shipped"]

    live(tmp_path, api, press_of(api), story)


def test_a_callback_tells_the_next_event_of_what_was_there(tmp_path: Path) -> None:
    """One that only repeats what the first listing has shown tells nothing."""
    api = PrintStudioApi()
    number = api.place("ord-7", status="printing")

    async def story(life: Life[PrintStudioApi]) -> None:
        await recorded(life, 1)
        for event in ("order.created", "order.paid", "order.printing"):
            answer = await life.world.shop(api.webhook(event, number), "studio")
            assert answer.json()["events"] == []
        await recorded(life, 1)
        await life.world.shop(api.webhook("order.ready", number), "studio")
        api.move(number, "ready")
        await life.poll()
        await life.world.shop(api.webhook("order.shipped", number), "studio")
        assert await life.told(number) == ["1 ready baseline", "2 shipped"]
        first, second = await life.events(number)
        assert first["data"]["previous"]["fulfilment"] == "printing"
        assert [event["data"]["change"]["implied"] for event in (first, second)] == [False, False]

    live(tmp_path, api, studio_of(api), story)


def test_stripe_tells_the_next_event_of_what_was_there(tmp_path: Path) -> None:
    api = PrintStudioApi()
    unpaid, paid = api.place("unpaid"), api.place("paid", status="paid")

    async def story(life: Life[PrintStudioApi]) -> None:
        await recorded(life, 2)
        await life.stripe("checkout.session.completed", named(unpaid))
        assert await life.told(unpaid) == ["1 paid baseline 49.26 EUR"]
        await life.stripe("refund.created", refund())
        assert await life.told(unpaid) == ["1 paid baseline 49.26 EUR", "2 refunded 10.00 EUR"]
        api.move(paid, "shipped")
        await life.poll()
        assert await life.told(paid) == ["1 shipped baseline"]

    live(tmp_path, api, studio_of(api), story)


def test_a_baseline_outlives_a_restart(tmp_path: Path) -> None:
    api = PrinteersApi()
    old = api.place("old", [2])

    async def story() -> None:
        async with serving(api), consuming() as consumer:
            name, text = press_of(api)()
            async with living(tmp_path, consumer, api, name, text) as life:
                await recorded(life, 1)
            new = api.place("new", [1])
            async with living(tmp_path, consumer, api, name, text) as life:
                await life.poll()
                assert await life.told("old") == []
                assert await life.told("new") == ["1 created"]
                api.ship(old, 1)
                api.ship(new, 1)
                await life.poll()
            async with living(tmp_path, consumer, api, name, text) as life:
                api.ship(old, 1)
                await life.poll()
                assert await life.told("old") == ["1 shipped partial baseline 1", "2 shipped"]
                assert await life.told("new") == ["1 created", "2 shipped"]

    asyncio.run(story())


class Interrupted(PrinteersApi):
    """Its list breaks off after the first page until it is `mended`."""

    mended = False

    def answer(self, request: Request) -> Response:
        if "cursor" in request.params and not self.mended:
            return json_response({}, 502)
        return super().answer(request)


def test_a_first_listing_that_breaks_off_is_a_baseline_to_its_end(tmp_path: Path) -> None:
    """What is placed before its end is as old as the rest, as far as the gateway can tell."""
    api = Interrupted(page_size=2)
    for index in range(3):
        api.place(f"old-{index}", [1])

    async def story(life: Life[Interrupted]) -> None:
        await life.poll(problem=BAD)
        meanwhile = api.place("meanwhile", [1])
        await life.poll(problem=BAD)
        api.mended = True
        await life.poll()
        await recorded(life, 4)
        api.place("new", [1])
        api.ship(meanwhile, 1)
        await life.poll()
        assert await life.told("meanwhile") == ["1 shipped baseline"]
        assert await life.told("new") == ["1 created"]
        assert [await life.told(f"old-{index}") for index in range(3)] == [[], [], []]

    live(tmp_path, api, press_of(api), story)


# Orders that somebody knew, or asked for, before the first listing.


Before = Callable[[Life[ThreeYourMindApi], str], Awaitable[object]]


async def known_from_a_session(life: Life[ThreeYourMindApi], number: str) -> None:
    await life.stripe("checkout.session.completed", named("1001"))
    assert await life.told() == ["1 created", "2 paid 49.26 EUR"]


async def known_from_an_intent(life: Life[ThreeYourMindApi], number: str) -> None:
    await life.stripe("payment_intent.succeeded", intent(metadata={"order_id": "1001"}))
    assert await life.told() == ["1 created implied", "2 paid 49.26 EUR"]


async def watched(life: Life[ThreeYourMindApi], number: str) -> None:
    url = f"{life.world.control}/v1/sources/mind/watch"
    answer = await life.world.client.post(url, json={"id": number, "order": "1001"})
    assert answer.json()["new"] is True
    assert await life.told() == []


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (known_from_a_session, ["1 created", "2 paid 49.26 EUR", "3 printing"]),
        (known_from_an_intent, ["1 created implied", "2 paid 49.26 EUR", "3 printing"]),
        (watched, ["1 created implied", "2 printing"]),
    ],
)
def test_who_is_known_or_wanted_is_told_as_ever(
    tmp_path: Path, before: Before, expected: list[str]
) -> None:
    """The API fails until Stripe has told of the order, or a person has asked for it."""
    api = ThreeYourMindApi()
    number = api.place(reference="1001", status="production")
    stranger = api.place(reference="1002", status="production")
    api.broken = BAD_GATEWAY

    async def story(life: Life[ThreeYourMindApi]) -> None:
        await before(life, number)
        await life.poll(problem=BAD)
        api.broken = None
        await life.poll()
        assert await life.told() == expected
        assert await life.told("1002") == []
        for moved in (number, stranger):
            api.move(moved, "sent")
        await life.poll()
        assert await life.told() == [*expected, f"{len(expected) + 1} shipped"]
        assert await life.told("1002") == ["1 shipped baseline"]

    live(tmp_path, api, mind_of(api), story)


def test_who_is_wanted_before_the_first_answer_is_told_as_ever(tmp_path: Path) -> None:
    """The first listing shows both orders, but neither can be read before one is asked for."""
    api = ThreeYourMindApi()
    wanted, stranger = (api.place(reference=name, status="sent") for name in ("1001", "1002"))
    api.strangers |= {wanted, stranger}

    async def story(life: Life[ThreeYourMindApi]) -> None:
        assert [found["problem"] != "" for found in await life.poll()] == [True, True]
        api.strangers.clear()
        await life.watch(wanted)
        assert await life.told() == ["1 created implied", "2 shipped"]
        assert await life.told("1002") == []
        api.move(stranger, "customs")
        await life.poll()
        assert await life.told("1002") == ["1 updated baseline status=customs"]

    live(tmp_path, api, mind_of(api), story)


def test_who_is_known_from_a_callback_is_told_as_ever(tmp_path: Path) -> None:
    api = PrintStudioApi()
    number, stranger = api.place("ord-7", status="paid"), api.place("ord-8", status="paid")
    api.broken = BAD_GATEWAY

    async def story(life: Life[PrintStudioApi]) -> None:
        await life.world.shop(api.webhook("order.created", number), "studio")
        api.broken = None
        await life.poll()
        assert await life.told(number) == ["1 created", "2 paid"]
        assert await life.told(stranger) == []

    live(tmp_path, api, studio_of(api), story)


def test_a_baseline_order_that_is_asked_for_by_hand_stays_one(tmp_path: Path) -> None:
    """It was recorded; a watch that comes later does not make its past news."""
    api = PrinteersApi()
    number = api.place("1001", [1])

    async def story(life: Life[PrinteersApi]) -> None:
        await recorded(life, 1)
        await life.watch(number, "1001")
        await recorded(life, 1)
        api.ship(number, 1)
        await life.poll()
        assert await life.told() == ["1 shipped baseline"]

    live(tmp_path, api, press_of(api), story)
