"""What a hostile review tried: failures in the wrong place that must end nothing but themselves."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.dispatcher import Dispatcher
from gateway.errors import Unavailable
from gateway.models import Millis, Subscription
from gateway.stores.base import Settlement, Status
from gateway.web.hooks import BODIES
from tests.pipeline.world import (
    SECRET,
    World,
    configuration,
    consuming,
    running,
    shop_event,
)

LIMIT = 60  # seconds; far more than anything here takes


def play(story: Any) -> None:
    async def whole() -> None:
        async with asyncio.timeout(LIMIT):
            await story

    asyncio.run(whole())


# Callbacks.


def test_what_the_store_cannot_write_is_quarantined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An authentic callback is never lost, and its neighbours never know."""

    async def story() -> None:
        async with consuming() as consumer, running(tmp_path, consumer) as world:
            decide = world.gateway.receiver._orders.decide

            def twice(entries: Any, known: Any) -> Any:
                decision = decide(entries, known)
                if entries[0].fact.order == "bad":
                    decision.events = decision.events * 2  # the second breaks a constraint
                return decision

            monkeypatch.setattr(world.gateway.receiver._orders, "decide", twice)
            orders = ["good-1", "bad", "good-2"]
            answers = await asyncio.gather(
                *(world.shop(shop_event(n, order=order)) for n, order in enumerate(orders))
            )
            assert [answer.status_code for answer in answers] == [200, 202, 200]
            assert {seen.event["subject"] for seen in await world.delivered(2)} == {
                "good-1",
                "good-2",
            }
            monkeypatch.undo()
            again = await world.shop(shop_event(1, order="bad"))
            assert (again.status_code, again.json()["verdict"]) == (200, "event")

    play(story())


def test_an_original_waits_with_its_fact(tmp_path: Path) -> None:
    source = """
[sources.curious]
provider = "stripe"
secrets = ["whsec_stripe"]
include = ["original"]
"""

    async def story() -> None:
        async with consuming() as consumer:
            text = configuration(consumer.port, sources=source)
            async with running(tmp_path, consumer, text) as world:
                refund = _stripe("evt_1", "refund.created", _refund("re_1", intent="pi_1"))
                waiting = await world.stripe(refund, "curious")
                assert waiting.json()["verdict"] == "unlinked"
                paid = _stripe("evt_2", "payment_intent.succeeded", _intent("pi_1"))
                answer = await world.stripe(paid, "curious")
                assert (answer.status_code, answer.json()["verdict"]) == (200, "event")
                seen = {one.event["type"]: one.event for one in await world.delivered(3)}
                assert seen["order.refunded"]["data"]["original"] == refund
                assert seen["order.paid"]["data"]["original"] == paid

    play(story())


def test_what_waits_without_any_link_becomes_an_order_too(tmp_path: Path) -> None:
    source = """
[sources.own]
provider = "stripe"
secrets = ["whsec_stripe"]
unlinked = "own"
link_wait = "10ms"
"""

    async def story() -> None:
        async with consuming() as consumer:
            text = configuration(consumer.port, sources=source)
            async with running(tmp_path, consumer, text) as world:
                lonely = _refund("re_1", intent=None)
                await world.stripe(_stripe("evt_1", "refund.created", lonely), "own")
                linked = _refund("re_2", intent="pi_2")
                await world.stripe(_stripe("evt_2", "refund.created", linked), "own")
                seen = await world.delivered(4)
                assert {one.event["subject"] for one in seen} == {"re_1", "pi_2"}
                assert world.rows("SELECT count(*) FROM unlinked") == [(0,)]

    play(story())


def test_one_wait_that_cannot_end_does_not_keep_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
[sources.own]
provider = "stripe"
secrets = ["whsec_stripe"]
unlinked = "own"
link_wait = "10ms"
"""

    async def story() -> None:
        async with consuming() as consumer:
            text = configuration(consumer.port, sources=source)
            async with running(tmp_path, consumer, text) as world:
                wait_over = world.gateway.janitor._orders.wait_over

                def picky(waiting: Any, known: Any) -> Any:
                    if waiting[0].entry.fact.key == "re_1":
                        raise ValueError("made by a test")
                    return wait_over(waiting, known)

                monkeypatch.setattr(world.gateway.janitor._orders, "wait_over", picky)
                for number in (1, 2):
                    refund = _refund(f"re_{number}", intent=f"pi_{number}")
                    event = _stripe(f"evt_{number}", "refund.created", refund)
                    await world.stripe(event, "own")
                seen = await world.delivered(2)
                assert {one.event["subject"] for one in seen} == {"pi_2"}
                assert world.rows("SELECT deadline FROM unlinked") == [(None,)]

    play(story())


def test_an_event_is_no_many_times_its_callback(tmp_path: Path) -> None:
    """A list of empty lines would be thirty times as long in every event of its order."""

    async def story() -> None:
        async with consuming() as consumer, running(tmp_path, consumer) as world:
            many: list[dict[str, Any]] = [{}] * 200_000
            answer = await world.shop(shop_event(1, lineItems=many))
            assert answer.json()["verdict"] == "event"
            lines = [{"id": str(number), "name": "x" * 200} for number in range(1_000)]
            await world.shop(shop_event(2, order="ord-2", lineItems=lines))
            sizes = {one.event["subject"]: one for one in await world.delivered(2)}
            assert len(sizes["ord-1"].body) < 10_000
            assert sizes["ord-1"].event["data"]["lines"] == []
            assert len(sizes["ord-2"].event["data"]["lines"]) == 1_000
            assert len(sizes["ord-2"].body) > 256 * 1024

    play(story())


def test_slow_large_bodies_do_not_keep_small_callbacks_out(tmp_path: Path) -> None:
    """Anyone can begin to send: only a signature tells a sender, and that comes last."""

    async def story() -> None:
        async with consuming() as consumer, running(tmp_path, consumer) as world:
            size = 1 << 20
            writers = [await _stalled(world, size) for _ in range(BODIES // (size - 1) + 1)]
            await asyncio.sleep(0.3)
            assert (await world.shop(shop_event(1))).status_code == 200
            for writer in writers:
                writer.close()

    play(story())


async def _stalled(world: World, size: int) -> asyncio.StreamWriter:
    """A sender of a body of which the last byte does not come."""
    port = int(world.public.rsplit(":", 1)[1])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /hooks/shop HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"
    writer.write(head.encode() + b" " * (size - 1))
    await writer.drain()
    return writer


def _stripe(number: str, kind: str, thing: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": number,
        "object": "event",
        "type": kind,
        "created": 1_700_000_000,
        "livemode": False,
        "data": {"object": thing},
    }


def _refund(name: str, *, intent: str | None) -> dict[str, Any]:
    return {
        "id": name,
        "object": "refund",
        "status": "succeeded",
        "amount": 500,
        "currency": "eur",
        "payment_intent": intent,
        "charge": None,
    }


def _intent(name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "payment_intent",
        "amount": 4926,
        "amount_received": 4926,
        "currency": "eur",
        "metadata": {"order_id": "1001"},
    }


# Deliveries.


def test_an_attempt_that_cannot_be_recorded_ends_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with consuming() as consumer, running(tmp_path, consumer) as world:
            sender = world.gateway.dispatcher._sender
            send = sender.send

            async def poisonous(subscription: Any, delivery: Any) -> Any:
                outcome = await send(subscription, delivery)
                if b'"subject":"bad"' in delivery.body:
                    outcome = _replaced(outcome, detail="\ud800")
                return outcome

            monkeypatch.setattr(sender, "send", poisonous)
            for number, order in enumerate(("good-1", "bad", "good-2")):
                await world.shop(shop_event(number, order=order))
            await world.settled()
            assert world.rows("SELECT count(*) FROM deliveries WHERE state = 2") == [(3,)]
            assert world.rows("SELECT count(*) FROM attempts") == [(3,)]

    play(story())


def test_a_hold_outlives_a_refresh_that_was_read_before_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            consumer.answer = lambda _: (429, {"Retry-After": "3600"}, b"")
            text = configuration(consumer.port).replace('["100ms", "100ms", "100ms"]', '["2h"]')
            async with running(tmp_path, consumer, text) as world:
                dispatcher = world.gateway.dispatcher
                judge = dispatcher._judge
                settlement = judge.settlement

                def interleaved(*arguments: Any) -> Settlement:
                    made = settlement(*arguments)
                    dispatcher.update(world.gateway.store.catalog.statuses)  # read before it
                    return made

                judge.settlement = interleaved  # type: ignore[method-assign, assignment]
                await world.shop(shop_event(1))
                await world.until(lambda: world.rows("SELECT 1 FROM attempts"))
                await world.shop(shop_event(2, order="ord-2"))
                await asyncio.sleep(0.3)
                assert world.rows("SELECT state FROM subscriptions") == [("active",)]
                assert len(consumer.seen) == 1

    play(story())


def test_a_catalog_that_could_not_be_read_is_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise events would go on being kept for a subscription that is gone."""
    monkeypatch.setattr("gateway.recorder.STORE_PAUSE", 0.05)

    async def story() -> None:
        async with consuming() as consumer, running(tmp_path, consumer) as world:
            consumer.answer = lambda _: (410, {}, b"")
            dispatcher, calls = world.gateway.dispatcher, []
            refresh = dispatcher._refresh

            async def first_in_vain() -> object:
                calls.append("refresh")
                if len(calls) == 1:
                    raise Unavailable("not now")
                return await refresh()

            dispatcher._refresh = first_in_vain
            await world.shop(shop_event(1))
            await world.until(lambda: len(calls) == 2)
            await world.until(lambda: world.gateway.store.catalog.statuses[0].state == "gone")
            await world.shop(shop_event(2, order="ord-2"))
            assert world.rows("SELECT state FROM deliveries") == [(3,)]

    play(story())


def test_a_replay_says_when_its_subscription_takes_nothing(tmp_path: Path) -> None:
    more = f"""
[subscriptions.gone]
url = "http://127.0.0.1:PORT/gone"
secrets = ["{SECRET}"]
"""

    async def story() -> None:
        async with consuming() as consumer:
            consumer.answer = lambda seen: (410 if seen.path == "/gone" else 200, {}, b"")
            text = configuration(consumer.port, more.replace("PORT", str(consumer.port)))
            async with running(tmp_path, consumer, text) as world:
                await world.shop(shop_event(1))
                await world.settled()
                answers = await _replay_all(world)
                assert answers["good"][0] == 200
                assert answers["gone"] == (409, "subscription gone is gone: resume it first")
                await world.settled()
        text = configuration(consumer.port, more.replace("PORT", str(consumer.port)))
        text = text.replace('/good"', '/good"\nenabled = false')
        async with consuming() as other, running(tmp_path, other, text) as world:
            answers = await _replay_all(world)
            assert answers["good"] == (409, "subscription good is disabled: enable it first")

    play(story())


async def _replay_all(world: World) -> dict[str, tuple[int, str]]:
    """Replay the first delivery of each subscription: status, and what went wrong."""
    rows = world.rows(
        "SELECT s.name, min(d.id) FROM deliveries d JOIN subscriptions s ON s.id = d.subscription"
        " GROUP BY s.name"
    )
    found = {}
    for name, number in rows:
        answer = await world.client.post(f"{world.control}/v1/deliveries/dl_{number}/replay")
        found[name] = (answer.status_code, answer.json().get("detail", ""))
    return found


def test_a_clock_that_is_set_back_keeps_no_rate_waiting() -> None:
    now = [Millis(10_000_000)]
    subscription = Subscription(id=1, name="a", url="http://a.example/", rate=20.0)
    dispatcher = _dispatcher(lambda: now[0], [Status(subscription=subscription)])
    assert dispatcher.offer(1) == 0  # something may be due from before the start
    dispatcher._desks[1].next_due = None
    assert dispatcher.offer(1) == 1
    dispatcher.hand_over([], {1: 1}, {})
    now[0] = Millis(now[0] - 3_600_000)
    assert dispatcher.offer(1) == 1


def test_a_stopped_dispatcher_starts_nothing(tmp_path: Path) -> None:
    """What a transaction brings that was under way at the stop is due again at the next start."""

    async def story() -> None:
        async with consuming() as consumer:
            async with running(tmp_path, consumer) as world:
                desk = world.gateway.dispatcher._desks[1]
                # It has looked for what was left.
                await world.until(lambda: desk.next_due is None and not desk.claiming)
                room = world.gateway.dispatcher.offer(1)
                assert room
                world.gateway.store._writer.attach(_Late(world, room))
                await world.gateway.dispatcher.stop(1)
                await world.shop(shop_event(1))
                await asyncio.sleep(0.2)
                assert world.rows("SELECT state FROM deliveries") == [(1,)]
                assert consumer.seen == []
            async with running(tmp_path, consumer) as world:
                await world.delivered(1)

    play(story())


class _Late:
    """Offers the room that was reserved before the stop."""

    def __init__(self, world: World, room: int) -> None:
        self._room, self.hand_over = room, world.gateway.dispatcher.hand_over

    def offer(self, subscription: int) -> int:
        room, self._room = self._room, 0
        return room if subscription == 1 else 0


def _dispatcher(clock: Callable[[], Millis], statuses: Sequence[Status]) -> Dispatcher:
    nobody: Any = None
    made = Dispatcher(nobody, nobody, nobody, clock=clock, refresh=nobody)
    made.update(statuses)
    return made


def _replaced(struct: Any, **changes: Any) -> Any:
    return type(struct)(
        **{name: getattr(struct, name) for name in struct.__struct_fields__} | changes
    )
