"""What is read again out of the quarantine, and what is not."""

import asyncio
from pathlib import Path

from tests.pipeline.polling import asking
from tests.pipeline.world import SHOP_SECRET, World, configuration, consuming, running
from tests.simulators.api import serving
from tests.simulators.marketiger import MarketigerApi

UNREADABLE = {"id": "evt-1", "event": "order.paid", "data": {"orderId": 5}}


async def retry(world: World, callback: str) -> tuple[int, str]:
    answer = await world.client.post(f"{world.control}/v1/callbacks/{callback}/retry")
    return answer.status_code, answer.json().get("detail", "")


def test_another_provider_under_the_same_name_does_not_read_it(tmp_path: Path) -> None:
    """Its signature was checked by the rules of the first one."""

    async def story() -> None:
        async with consuming() as consumer:
            async with running(tmp_path, consumer) as world:
                assert (await world.shop(UNREADABLE)).status_code == 202
                status, _ = await retry(world, "cb_1")
                assert status == 200  # still unreadable, but it was read
            text = configuration(consumer.port).replace(
                f'provider = "printstudio"\nsecrets = ["{SHOP_SECRET}"]',
                f'provider = "stripe"\nsecrets = ["{SHOP_SECRET}"]',
            )
            async with running(tmp_path, consumer, text) as world:
                status, detail = await retry(world, "cb_1")
                assert status == 409
                assert "came from a printstudio source" in detail
                assert world.rows("SELECT verdict FROM callbacks") == [("quarantined",)]

    asyncio.run(story())


def test_the_reply_of_a_poll_is_asked_for_anew(tmp_path: Path) -> None:
    async def story() -> None:
        api = MarketigerApi()
        async with serving(api), asking(tmp_path, api) as asked:
            await asked.watch(api.place())
            ((callback,),) = asked.world.rows("SELECT id FROM callbacks")
            status, detail = await retry(asked.world, f"cb_{callback}")
            assert status == 409
            assert "gateway reconcile mt --emit" in detail

    asyncio.run(story())
