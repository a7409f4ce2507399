"""Replay jobs, history and parked lanes in a gateway that runs."""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Unavailable
from gateway.models import Millis, Subscription
from gateway.replayer import Replayer
from gateway.stores.base import Status
from gateway.stores.replaying import Chosen, Replay
from gateway.stores.sqlite import catching_up, replays
from tests.pipeline.world import (
    SECRET,
    Consumer,
    Delivered,
    World,
    configuration,
    consuming,
    running,
    shop_event,
)

LANES = 'ordering = "order"\nfinal_status = [422]'


def subscription(consumer: Consumer, name: str, more: str = "") -> str:
    return (
        f'[subscriptions.{name}]\nurl = "http://127.0.0.1:{consumer.port}/{name}"\n'
        f'secrets = ["{SECRET}"]\nschedule = ["100ms"]\n{more}\n'
    )


async def posted(world: World, path: str, body: object) -> tuple[int, dict[str, Any]]:
    answer = await world.client.post(f"{world.control}{path}", json=body)
    return answer.status_code, answer.json()


async def job_done(world: World, number: int) -> dict[str, Any]:
    """A job once it has come to its end."""
    while True:
        answer = await world.client.get(f"{world.control}/v1/replays/{number}")
        assert answer.status_code == 200
        job: dict[str, Any] = answer.json()
        if job["finished_at"] is not None:
            return job
        await asyncio.sleep(0.02)


def seen_at(consumer: Consumer, name: str) -> list[Delivered]:
    return [one for one in consumer.seen if one.path == f"/{name}"]


def sequences(seen: Sequence[Delivered]) -> dict[str, list[int]]:
    """The numbers of the events of each order, as they came."""
    found: dict[str, list[int]] = {}
    for one in seen:
        found.setdefault(one.event["subject"], []).append(one.event["orderseq"])
    return found


def test_a_job_sends_again_what_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "SENT", 3)

    async def story() -> None:
        async with consuming() as consumer, running(tmp_path, consumer) as world:
            for number in range(10):
                await world.shop(shop_event(number, order=f"o-{number}"))
            await world.settled()
            first = {one.id for one in consumer.seen}
            consumer.seen.clear()
            status, preview = await posted(
                world, "/v1/replays", {"type": "order.*", "dry_run": True}
            )
            assert (status, preview["total"], preview["subscriptions"]) == (200, 10, {"good": 10})
            assert consumer.seen == []
            status, job = await posted(world, "/v1/replays", {"subscription": "good"})
            assert (status, job["total"], job["finished_at"]) == (200, 10, None)
            job = await job_done(world, job["id"])
            assert (job["sent"], job["looked"], job["skipped"]) == (10, 10, 0)
            await world.settled()
            assert {one.id for one in consumer.seen} == first
            assert len(consumer.seen) == 10

    asyncio.run(story())


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, "nothing is chosen"),
        ({"dry_run": True}, 400, "nothing is chosen"),
        ({"type": "Order Paid"}, 400, "type: expected"),
        ({"state": "lost"}, 400, "'lost' - at `$.state`"),
        ({"since": "yesterday"}, 400, "since: expected an RFC 3339 time"),
        ({"since": 5}, 400, "body: Expected"),
        (
            {"since": "2026-08-02T00:00:00Z", "until": "2026-08-01T00:00:00Z"},
            400,
            "until: nothing lies before it and after since",
        ),
        ({"delivery": "x"}, 404, "there is no delivery x"),
        ({"orders": "1"}, 400, "unknown field `orders`"),
        ([], 400, "body: Expected"),
        ({"order": "x" * 300_000}, 413, "over"),
        ({"order": "nobody's"}, 404, "there is no order nobody's"),
        ({"event": "evt_1", "dry_run": True}, 404, "there is no event evt_1"),
    ],
)
def test_what_cannot_be_replayed(tmp_path: Path, body: object, status: int, words: str) -> None:
    async def story() -> None:
        async with consuming() as consumer, running(tmp_path, consumer) as world:
            code, problem = await posted(world, "/v1/replays", body)
            assert code == status
            assert words in problem["detail"]
            for job in ("1", "x", "9" * 30):
                answer = await world.client.get(f"{world.control}/v1/replays/{job}")
                assert answer.status_code == 404
            assert world.rows("SELECT count(*) FROM replays") == [(0,)]

    asyncio.run(story())


def test_an_unfinished_job_goes_on_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            async with running(tmp_path, consumer) as world:
                for number in range(5):
                    await world.shop(shop_event(number, order=f"o-{number}"))
                await world.settled()
                world.gateway.replayer.stop()
                job = await world.gateway.replayer.start(Chosen(subscription="good"))
            consumer.seen.clear()
            async with running(tmp_path, consumer) as world:
                assert (await job_done(world, job.id))["sent"] == 5
                await world.settled()
            assert len(consumer.seen) == 5

    asyncio.run(story())


def test_history_comes_first_and_then_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over two restarts in the middle, with events that come all the time."""
    monkeypatch.setattr(catching_up, "SLICE", 4)
    kinds = ["order.created", "order.paid", "order.printing", "order.shipped"]

    async def story() -> None:
        async with consuming() as consumer:
            number = 0

            async def tell(world: World, kind: str, first: int, last: int) -> None:
                nonlocal number
                for order in range(first, last):
                    number += 1
                    await world.shop(shop_event(number, kind, order=f"o-{order}"))
                    await asyncio.sleep(0.005)

            async with running(tmp_path, consumer) as world:
                await tell(world, kinds[0], 0, 12)
                await tell(world, kinds[1], 0, 12)
                await world.settled()
            new = subscription(consumer, "new", f'from = "beginning"\n{LANES}')
            text = configuration(consumer.port, new)
            for kind in kinds[2:]:
                async with running(tmp_path, consumer, text) as world:
                    await tell(world, kind, 0, 6)
            async with running(tmp_path, consumer, text) as world:
                await world.until(lambda: not _catching_up(world))
                await tell(world, kinds[2], 6, 12)
                await world.settled()
            found = sequences(seen_at(consumer, "new"))
            assert len(found) == 12
            for order, order_sequence in found.items():
                last = 4 if int(order.removeprefix("o-")) < 6 else 3
                assert order_sequence == list(range(1, last + 1)), order

    asyncio.run(story())


def _catching_up(world: World) -> bool:
    return any(status.catching_up for status in world.gateway.store.catalog.statuses)


def test_parked_lanes_are_released_and_skipped(tmp_path: Path) -> None:
    def answer(seen: Delivered) -> tuple[int, dict[str, str], bytes]:
        bad = seen.path == "/laned" and seen.event["type"] == "order.created"
        return (422 if bad else 200, {}, b"")

    async def story() -> None:
        async with consuming() as consumer:
            consumer.answer = answer
            text = configuration(consumer.port, subscription(consumer, "laned", LANES))
            async with running(tmp_path, consumer, text) as world:
                for order in ("o-1", "o-2"):
                    await world.shop(shop_event(f"{order}-1", order=order))
                    await world.shop(shop_event(f"{order}-2", "order.paid", order=order))
                await world.until(lambda: len(_parked(world)) == 2)
                assert [one.event["type"] for one in seen_at(consumer, "laned")] == [
                    "order.created"
                ] * 2
                wanted = {"subscription": "laned", "order": "o-1"}
                status, lane = await posted(world, "/v1/lanes/skip", wanted)
                assert (status, lane["order"]) == (200, "o-1")
                for number in (lane["delivery"], lane["next"]):  # as all other calls have them
                    found = await world.client.get(f"{world.control}/v1/deliveries/{number}")
                    assert found.status_code == 200, number
                await world.until(lambda: len(seen_at(consumer, "laned")) == 3)
                consumer.answer = lambda _: (200, {}, b"")
                status, lane = await posted(world, "/v1/lanes/release", wanted | {"order": "o-2"})
                assert (status, lane["delivery"]) == (200, lane["next"])
                await world.settled()
                assert (await posted(world, "/v1/lanes/release", wanted))[0] == 409
                assert (await posted(world, "/v1/lanes/skip", wanted | {"order": "x"}))[0] == 404
                assert (await posted(world, "/v1/lanes/skip", {"order": "x"}))[0] == 400
            assert sequences(seen_at(consumer, "laned")) == {"o-1": [1, 2], "o-2": [1, 1, 2]}

    asyncio.run(story())


def _parked(world: World) -> list[tuple[Any, ...]]:
    return world.rows("SELECT id FROM deliveries WHERE state = -2")


def test_a_replay_into_a_lane_says_where_it_waits(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer:
            text = configuration(consumer.port, subscription(consumer, "laned", LANES))
            async with running(tmp_path, consumer, text) as world:
                await world.shop(shop_event(1))
                await world.settled()
                consumer.hold = asyncio.Event()
                await world.shop(shop_event(2, "order.paid"))
                ((old,), (busy,)) = world.rows(
                    "SELECT id FROM deliveries WHERE lane IS NOT NULL ORDER BY id"
                )
                await world.until(lambda: consumer.in_flight == 2)
                path = f"/v1/deliveries/dl_{old}/replay"
                status, again = await posted(world, path, None)
                assert (status, again["behind"], again["held"]) == (200, f"dl_{busy}", None)
                consumer.hold.set()
                await world.settled()
            assert sequences(seen_at(consumer, "laned")) == {"ord-1": [1, 2, 1]}

    asyncio.run(story())


# The running part alone.


class Work:
    """A store that does `left` slices of each job and history, and fails as it is told."""

    def __init__(self, **left: int) -> None:
        self.left, self.done = left, list[str]()
        self.failures: list[Exception] = []
        self.refreshed = 0

    async def unfinished(self) -> Sequence[Replay]:
        return [
            Replay(id=int(name[1:]), chosen=Chosen(), made_at=Millis(0), upto=0)
            for name, left in self.left.items()
            if left and name.startswith("j")
        ]

    async def step(self, job: int, _: Millis) -> None:
        self._slice(f"j{job}")

    async def catch_up(self, subscription: int, _: Millis) -> bool:
        return self._slice(f"s{subscription}") > 0

    def _slice(self, name: str) -> int:
        if self.failures:
            raise self.failures.pop()
        self.done.append(name)
        self.left[name] -= 1
        return self.left[name]

    async def refresh(self) -> None:
        self.refreshed += 1
        if self.refreshed == 1:  # it is asked for again
            raise Unavailable("not now")


async def worked(work: Work, done: Callable[[], bool], statuses: Sequence[Status] = ()) -> None:
    """Let a replayer work until all is done, then stop it."""
    replayer = Replayer(
        work,  # type: ignore[arg-type]
        clock=lambda: Millis(0),
        refresh=work.refresh,
        pause=0.0,
    )
    replayer.update(statuses)
    running = asyncio.create_task(replayer.run())
    end = time.monotonic() + 30
    while not done():
        assert time.monotonic() < end, work.left
        await asyncio.sleep(0.01)
    replayer.stop()
    await running


def behind(number: int, **status: Any) -> Status:
    subscription = Subscription(id=number, name=f"s{number}", url="", enabled=number < 9)
    return Status(subscription=subscription, catching_up=True, **status)


def test_jobs_and_histories_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.replayer.STORE_PAUSE", 0.01)
    work = Work(j1=2, j2=1, s3=2, s4=0, s9=0)
    statuses = [behind(3), behind(4, state="gone"), behind(9)]
    asyncio.run(worked(work, lambda: work.refreshed == 2, statuses))
    assert work.done == ["j1", "j2", "s3", "j1", "s3"]


def test_a_store_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.replayer.STORE_PAUSE", 0.01)
    work = Work(j1=2)
    work.failures = [Unavailable("the disk is full"), Unavailable("the disk is full")]
    asyncio.run(worked(work, lambda: work.left == {"j1": 0}))
    assert work.done == ["j1", "j1"]


def test_a_job_that_meets_a_bug_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    work = Work(j1=1, j2=2)
    work.failures = [ZeroDivisionError()]

    asyncio.run(worked(work, lambda: work.left["j2"] == 0))
    assert work.left == {"j1": 1, "j2": 0}
    assert "job 1 met a bug" in caplog.text
    assert work.done == ["j2", "j2"]
