"""The answer table of design section 7, row by row, over real sockets."""

import asyncio
import re
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.world import (
    SECRET,
    Answer,
    Consumer,
    Delivered,
    World,
    configuration,
    consuming,
    running,
    shop_event,
)

OK: Answer = (200, {}, b"")


def first_then_ok(first: Answer) -> Any:
    """Answer the first request with `first`, all others with 200."""
    answers = iter([first])
    return lambda _: next(answers, OK)


@pytest.mark.parametrize(
    ("first", "failure", "detail"),
    [
        ((301, {"Location": "http://127.0.0.1:1/"}, b""), "redirect", "http://127.0.0.1:1/"),
        ((302, {"Location": "/elsewhere"}, b""), "redirect", "/elsewhere"),
        ((307, {}, b""), "redirect", "nowhere"),
        ((400, {}, b"bad"), "status", "answered 400"),
        ((401, {}, b""), "status", "answered 401"),
        ((404, {}, b""), "status", "answered 404"),
        ((408, {}, b""), "status", "answered 408"),
        ((409, {}, b""), "status", "answered 409"),
        ((422, {}, b""), "status", "answered 422"),
        ((429, {}, b""), "status", "answered 429"),
        ((500, {}, b""), "status", "answered 500"),
        ((502, {}, b""), "status", "answered 502"),
        ((503, {}, b""), "status", "answered 503"),
        ((504, {}, b""), "status", "answered 504"),
        (None, "reset", ""),
    ],
)
def test_failures_are_retried_and_kept(
    tmp_path: Path, first: Answer, failure: str, detail: str
) -> None:
    async def story() -> None:
        async with consuming() as consumer, running(tmp_path, consumer) as world:
            consumer.answer = first_then_ok(first)
            await world.shop(shop_event(1))
            await world.settled()
            assert len({seen.id for seen in consumer.seen}) == 1
            assert len({seen.body for seen in consumer.seen}) == 1
            assert {seen.path for seen in consumer.seen} == {"/good"}
            (one, two) = world.rows("SELECT failure, detail, status FROM attempts ORDER BY number")
            assert one[0] == failure
            assert detail in one[1]
            assert two[2] == 200
            assert world.rows("SELECT state, attempts FROM deliveries") == [(2, 2)]

    asyncio.run(story())


def test_the_log_counts_the_wait_from_the_end_of_the_attempt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    async def story() -> None:
        async with consuming() as consumer:
            consumer.hold = asyncio.Event()
            text = configuration(consumer.port)
            text = text.replace('schedule = ["100ms"', 'timeout = "2s"\nschedule = ["1s"')
            async with running(tmp_path, consumer, text) as world:
                await world.shop(shop_event(1))
                await world.until(lambda: "the next one is due in" in caplog.text)
                (wait,) = re.findall(r"the next one is due in ([0-9.]+) s", caplog.text)
                assert 0.9 <= float(wait) <= 1.1  # 10 % of jitter; the two seconds are over
                consumer.hold.set()

    asyncio.run(story())


@pytest.mark.parametrize("status", [200, 201, 202, 204, 226, 299])
def test_every_2xx_is_a_success_whatever_its_body_says(tmp_path: Path, status: int) -> None:
    async def story() -> None:
        async with consuming() as consumer, running(tmp_path, consumer) as world:
            text = b"" if status == 204 else b'{"error": "no"}'
            consumer.answer = lambda _: (status, {}, text)
            await world.shop(shop_event(1))
            await world.settled()
            assert world.rows("SELECT state, number FROM deliveries") == [(2, 1)]

    asyncio.run(story())


def test_a_refused_connection_is_retried(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            dead = configuration(consumer.port).replace(f":{consumer.port}/good", ":1/good")
            async with running(tmp_path, consumer, dead) as world:
                await world.shop(shop_event(1))
                await world.until(lambda: world.rows("SELECT 1 FROM attempts"))
                assert world.rows("SELECT failure FROM attempts LIMIT 1") == [("connect",)]

    asyncio.run(story())


def test_a_forbidden_address_is_never_connected(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            text = configuration(consumer.port).replace("127.0.0.1:", "localhost:", 1)
            text = text.replace('["127.0.0.0/8:*"]', "[]")
            async with running(tmp_path, consumer, text) as world:
                await world.shop(shop_event(1))
                await world.until(lambda: world.rows("SELECT 1 FROM attempts"))
                (row,) = world.rows("SELECT failure, detail FROM attempts LIMIT 1")
                assert row[0] == "forbidden"
                assert "loopback" in row[1]
                assert consumer.seen == []

    asyncio.run(story())


def test_410_ends_the_subscription_and_resume_revives_it(tmp_path: Path) -> None:
    more = """
[subscriptions.operator]
url = "http://127.0.0.1:PORT/operator"
types = ["gateway.*"]
secrets = ["SECRET"]
"""

    async def story() -> None:
        async with consuming() as consumer:
            extra = more.replace("PORT", str(consumer.port)).replace("SECRET", SECRET)
            text = configuration(consumer.port, extra)
            async with running(tmp_path, consumer, text) as world:
                consumer.answer = lambda seen: (410 if seen.path == "/good" else 200, {}, b"")
                await world.shop(shop_event(1))
                await world.until(lambda: _state(world) == "gone")
                assert world.rows("SELECT state, reason FROM deliveries WHERE id = 1")[0][0] == 3
                await world.until(lambda: any(s.path == "/operator" for s in consumer.seen))
                told = next(seen for seen in consumer.seen if seen.path == "/operator")
                assert told.event["type"] == "gateway.subscription.gone"
                assert told.event["data"]["subscription"] == "good"
                assert told.event["data"]["origin"] == f"http://127.0.0.1:{consumer.port}"
                await world.shop(shop_event(2, "order.paid"))
                await world.settled()
                assert sum(seen.path == "/good" for seen in consumer.seen) == 1
                consumer.answer = lambda _: OK
                answer = await world.client.post(f"{world.control}/v1/subscriptions/good/resume")
                assert answer.json()["state"] == "active"
                await world.shop(shop_event(3, "order.printing"))
                await world.settled()
                assert sum(seen.path == "/good" for seen in consumer.seen) == 2
            # It survives a restart, too.
            consumer.answer = lambda seen: (410, {}, b"")
            async with running(tmp_path, consumer, text) as world:
                await world.shop(shop_event(4, "order.ready"))
                await world.until(lambda: _state(world) == "gone")
            async with running(tmp_path, consumer, text) as world:
                assert _state(world) == "gone"

    asyncio.run(story())


def test_many_410s_at_once_are_told_once(tmp_path: Path) -> None:
    more = f"""
[subscriptions.operator]
url = "http://127.0.0.1:PORT/operator"
types = ["gateway.*"]
secrets = ["{SECRET}"]
"""

    async def story() -> None:
        async with consuming() as consumer:
            text = configuration(consumer.port, more.replace("PORT", str(consumer.port)))
            async with running(tmp_path, consumer, text) as world:
                consumer.hold = asyncio.Event()
                consumer.answer = lambda seen: (410 if seen.path == "/good" else 200, {}, b"")
                for number in range(6):
                    await world.shop(shop_event(number, order=f"o-{number}"))
                await world.delivered(6)
                consumer.hold.set()
                await world.settled()
                await asyncio.sleep(0.2)
                told = [seen.event["type"] for seen in consumer.seen if seen.path == "/operator"]
                assert told == ["gateway.subscription.gone"]
                assert world.rows(
                    "SELECT DISTINCT state FROM deliveries WHERE subscription = 1"
                ) == [(3,)]

    asyncio.run(story())


def test_415_pauses_the_subscription_and_keeps_the_delivery(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer, running(tmp_path, consumer) as world:
            consumer.answer = first_then_ok((415, {}, b""))
            await world.shop(shop_event(1))
            await world.until(lambda: _state(world) == "paused")
            await world.shop(shop_event(2, "order.paid"))
            await asyncio.sleep(0.3)
            assert len(consumer.seen) == 1
            assert world.rows("SELECT state FROM deliveries") == [(0,), (0,)]
            await world.client.post(f"{world.control}/v1/subscriptions/good/resume")
            await world.settled()
            assert world.rows("SELECT DISTINCT state FROM deliveries") == [(2,)]

    asyncio.run(story())


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_holds_the_whole_subscription(tmp_path: Path, status: int, form: str) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            # The whole schedule must last longer than the wait, else it would be paused.
            text = configuration(consumer.port).replace(
                '["100ms", "100ms", "100ms"]', '["100ms", "10s"]'
            )
            async with running(tmp_path, consumer, text) as world:
                began = time.time()

                def answer(_: Delivered) -> Answer:
                    if len(consumer.seen) > 1:
                        return OK
                    # The date is some way off: it may be read late, and must not be over then.
                    date = formatdate(time.time() + 4, usegmt=True)
                    return (status, {"Retry-After": "1" if form == "seconds" else date}, b"")

                consumer.answer = answer
                await world.shop(shop_event(1))
                await world.until(lambda: world.rows("SELECT 1 FROM attempts"))
                await world.shop(shop_event(2, "order.paid"))
                await world.settled()
                until = world.rows("SELECT hold_until FROM subscriptions")[0][0] / 1000
                assert until - began > 0.9
                starts = world.rows("SELECT started_at FROM attempts ORDER BY started_at")
                assert len(starts) == 3
                assert all(row[0] / 1000 >= until - 0.001 for row in starts[1:])

    asyncio.run(story())


async def asked_to_wait(world: World, status: int, hint: str) -> None:
    """The first of two deliveries is answered so, the second one goes on."""
    world.consumer.answer = first_then_ok((status, {"Retry-After": hint}, b""))
    await world.shop(shop_event(1))
    await world.until(lambda: world.rows("SELECT 1 FROM attempts"))
    await world.shop(shop_event(2, "order.paid"))
    await world.until(lambda: world.rows("SELECT 1 FROM deliveries WHERE state = 2"))


@pytest.mark.parametrize("status", [404, 500, 502, 504])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_of_other_answers_holds_this_delivery_alone(
    tmp_path: Path, status: int, form: str
) -> None:
    """Neither sooner nor later, and nothing else of its subscription."""

    async def story() -> None:
        async with consuming() as consumer:
            text = configuration(consumer.port).replace(
                '["100ms", "100ms", "100ms"]', '["100ms", "2h"]'
            )
            async with running(tmp_path, consumer, text) as world:
                until = time.time() + 3600
                hint = "3600" if form == "seconds" else formatdate(until, usegmt=True)
                await asked_to_wait(world, status, hint)
                rows = world.rows("SELECT state, due, attempts FROM deliveries ORDER BY id")
                assert [row[0] for row in rows] == [0, 2]
                assert until - 1 <= rows[0][1] / 1000 <= time.time() + 3600
                assert rows[0][2] == 1
                assert world.rows("SELECT hold_until FROM subscriptions") == [(None,)]
                assert [seen.event["type"] for seen in consumer.seen] == [
                    "order.created",
                    "order.paid",
                ]

    asyncio.run(story())


def test_after_its_wait_such_a_delivery_is_sent_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            text = configuration(consumer.port).replace(
                '["100ms", "100ms", "100ms"]', '["100ms", "10s"]'
            )
            async with running(tmp_path, consumer, text) as world:
                await asked_to_wait(world, 500, "1")
                await world.settled()
                one, _, again = world.rows("SELECT started_at FROM attempts ORDER BY started_at")
                assert again[0] - one[0] >= 1000
                assert world.rows("SELECT state, number FROM deliveries") == [(2, 2), (2, 1)]

    asyncio.run(story())


def test_one_attempt_that_is_asked_to_wait_holds_the_others(tmp_path: Path) -> None:
    """`schedule = []`: this delivery has ended, the next one is kept until the wait is over."""

    async def story() -> None:
        async with consuming() as consumer:
            text = configuration(consumer.port).replace('["100ms", "100ms", "100ms"]', "[]")
            async with running(tmp_path, consumer, text) as world:
                consumer.answer = first_then_ok((429, {"Retry-After": "1"}, b""))
                await world.shop(shop_event(1))
                await world.until(lambda: world.rows("SELECT 1 FROM attempts"))
                await world.shop(shop_event(2, "order.paid"))
                await world.settled()
                assert _state(world) == "active"
                found = world.rows("SELECT state, attempts FROM deliveries ORDER BY id")
                assert found == [(3, 1), (2, 1)]
                until = world.rows("SELECT hold_until FROM subscriptions")[0][0]
                one, two = world.rows("SELECT started_at FROM attempts ORDER BY started_at")
                assert one[0] < until <= two[0] + 1

    asyncio.run(story())


def test_a_wait_beyond_the_schedule_pauses(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer, running(tmp_path, consumer) as world:
            consumer.answer = lambda _: (503, {"Retry-After": "3600"}, b"")
            await world.shop(shop_event(1))
            await world.until(lambda: _state(world) == "paused")
            assert world.rows("SELECT state FROM deliveries") == [(0,)]

    asyncio.run(story())


def test_an_exhausted_delivery_pauses_a_subscription_of_which_nothing_succeeds(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with consuming() as consumer, running(tmp_path, consumer) as world:
            consumer.answer = lambda _: (500, {}, b"")
            await world.shop(shop_event(1))
            await world.until(lambda: _state(world) == "paused")
            assert len(consumer.seen) == 4
            assert world.rows("SELECT state FROM deliveries") == [(0,)]
            consumer.answer = lambda _: OK
            await world.client.post(f"{world.control}/v1/subscriptions/good/resume")
            await world.settled()
            assert world.rows("SELECT state, number FROM deliveries") == [(2, 5)]

    asyncio.run(story())


def test_an_exhausted_delivery_is_a_dead_letter_when_others_get_through(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer, running(tmp_path, consumer) as world:
            poison = (await world.shop(shop_event(1))).json()["events"][0]
            await world.settled()
            consumer.seen.clear()
            consumer.answer = lambda seen: (500 if _is(seen.event, "order.paid") else 200, {}, b"")
            await world.shop(shop_event(2, "order.paid"))
            number = 3
            while not world.rows("SELECT 1 FROM deliveries WHERE state = 3"):
                await world.shop(shop_event(number, order=f"o-{number}"))
                await asyncio.sleep(0.05)
                number += 1
                assert number < 100
            dead = world.rows("SELECT id, reason, attempts FROM deliveries WHERE state = 3")
            assert [row[1:] for row in dead] == [("the schedule is used up", 4)]
            assert _state(world) == "active"
            await _replay_works(world, consumer, dead[0][0])
            assert poison

    asyncio.run(story())


@pytest.mark.parametrize(("status", "attempts"), [(422, 1), (400, 1), (404, 4)])
def test_a_final_status_of_the_subscription_is_never_tried_again(
    tmp_path: Path, status: int, attempts: int
) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            text = configuration(consumer.port).replace(
                '/good"', '/good"\nfinal_status = [400, 422]'
            )
            async with running(tmp_path, consumer, text) as world:
                await world.shop(shop_event(1))
                await world.settled()
                # Something gets through after the first attempt, or the schedule's end would pause.
                answers = {"o-2": status}
                consumer.answer = lambda seen: (answers.get(seen.event["subject"], 200), {}, b"")
                await world.shop(shop_event(2, order="o-2"))
                number = 3
                while not world.rows("SELECT 1 FROM deliveries WHERE state = 3"):
                    await world.shop(shop_event(number, order=f"o-{number}"))
                    await asyncio.sleep(0.05)
                    number += 1
                    assert number < 100
                dead = world.rows("SELECT attempts, reason FROM deliveries WHERE state = 3")
                assert [row[0] for row in dead] == [attempts]
                if attempts == 1:
                    assert dead[0][1] == f"the endpoint answered {status}, which is final here"

    asyncio.run(story())


def test_own_headers_of_the_configuration_reach_the_consumer(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            own = '{ Authorization = "Basic shop:pass word", "X-Shop" = "berlin" }'
            text = configuration(consumer.port).replace('/good"', f'/good"\nheaders = {own}')
            async with running(tmp_path, consumer, text) as world:
                await world.shop(shop_event(1))
                (seen,) = await world.delivered(1)
                assert seen.headers["authorization"] == "Basic c2hvcDpwYXNzIHdvcmQ="
                assert seen.headers["x-shop"] == "berlin"

    asyncio.run(story())


async def _replay_works(world: World, consumer: Consumer, dead: int) -> None:
    """A replay is a new delivery with the same webhook-id; the dead letter stays as it ended."""
    consumer.answer = lambda _: OK
    answer = await world.client.post(f"{world.control}/v1/deliveries/dl_{dead}/replay")
    assert answer.status_code == 200
    await world.settled()
    made = int(answer.json()["delivery"].removeprefix("dl_"))
    assert made != dead
    rows = dict(world.rows("SELECT id, state FROM deliveries WHERE id IN (?, ?)", dead, made))
    assert rows == {dead: 3, made: 2}
    paid = [seen for seen in consumer.seen if _is(seen.event, "order.paid")]
    assert len({seen.id for seen in paid}) == 1
    assert len(paid) == 5


def test_replay_of_what_is_in_flight_or_unknown(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer, running(tmp_path, consumer) as world:
            consumer.hold = asyncio.Event()
            await world.shop(shop_event(1))
            await world.delivered(1)
            busy = await world.client.post(f"{world.control}/v1/deliveries/dl_1/replay")
            assert busy.status_code == 409
            assert busy.headers["content-type"] == "application/problem+json"
            consumer.hold.set()
            for unknown in ("dl_99", "dl_x", "99999999999999999999999"):
                answer = await world.client.post(f"{world.control}/v1/deliveries/{unknown}/replay")
                assert answer.status_code == 404
            await world.settled()

    asyncio.run(story())


def _state(world: World) -> str:
    state: str = world.rows("SELECT state FROM subscriptions WHERE name = 'good'")[0][0]
    return state


def _is(event: dict[str, Any], kind: str) -> bool:
    return bool(event["type"] == kind)
