"""The janitor: each kind of work goes on whatever happens to the others."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

import pytest

from gateway.errors import Unavailable
from gateway.janitor import HASHES, Janitor, Retention
from gateway.lookout import Lookout
from gateway.models import Millis
from gateway.orders.decide import Orders
from gateway.stores.base import Outbox
from gateway.stores.upkeep import Cutoffs, Removed, Upkeep
from gateway.testing.doubles import Clock

DAY = 86_400_000
NOW = Millis(1_000 * DAY)


class Parts:
    """The outbox, the upkeep and the lookout of a janitor; what is broken raises."""

    def __init__(self, slices: Sequence[Removed] = ()) -> None:
        self.sweeps = self.looks = self.prunes = self.shrinks = self.closed = 0
        self.slices = list(slices)
        self.pages = 2
        self.broken: dict[str, Exception] = {}
        self.cutoffs: Cutoffs | None = None

    def _count(self, what: str) -> None:
        setattr(self, what, getattr(self, what) + 1)
        if what in self.broken:
            raise self.broken[what]

    async def wait_over(self, decide: object, now: Millis) -> int:
        self._count("sweeps")
        return 0

    async def look(self) -> None:
        self._count("looks")

    async def close(self) -> None:
        self._count("closed")

    async def prune(self, cutoffs: Cutoffs) -> Removed:
        self.cutoffs = cutoffs
        self._count("prunes")
        return self.slices.pop(0) if self.slices else Removed()

    async def shrink(self) -> bool:
        self._count("shrinks")
        self.pages -= 1
        return self.pages > 0


def janitor(parts: Parts, **more: Any) -> Janitor:
    orders = cast("Orders", type("NoOrders", (), {"wait_over": None})())
    kept = Retention(callbacks=Millis(DAY), events=Millis(90 * DAY), attempts=Millis(30 * DAY))
    often = {"interval": 0.01, "first": 0.01, "every": 0.01, "pause": 0.0}
    return Janitor(
        cast("Outbox", parts),
        orders,
        cast("Upkeep", parts),
        cast("Lookout", parts),
        retention=kept,
        clock=Clock(NOW),
        **{**often, **more},
    )


async def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not become true in time"
        await asyncio.sleep(0.005)


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


async def working(one: Janitor, condition: Callable[[], object]) -> None:
    """Let it run until a condition holds."""
    task = asyncio.create_task(one.run())
    await until(condition)
    one.stop()
    await asyncio.wait_for(task, 30)


@pytest.mark.parametrize("what", ["sweeps", "looks", "prunes", "shrinks", "closed"])
@pytest.mark.parametrize("error", [Unavailable("made by a test"), ValueError("made by a test")])
def test_what_fails_harms_nothing_else(what: str, error: Exception) -> None:
    async def story() -> None:
        parts = Parts()
        parts.broken[what] = error
        one = janitor(parts)
        await working(one, lambda: min(parts.sweeps, parts.prunes) > 2 and parts.looks > 0)
        assert parts.closed == 1

    play(story())


def test_hashes_outlive_their_callbacks() -> None:
    async def story() -> None:
        parts = Parts()
        await janitor(parts).prune()
        assert parts.cutoffs == Cutoffs(
            callbacks=Millis(NOW - DAY),
            hashes=Millis(NOW - HASHES),
            events=Millis(NOW - 90 * DAY),
            attempts=Millis(NOW - 30 * DAY),
            answers=Millis(NOW - DAY),
        )

    play(story())
    long = Retention(callbacks=Millis(60 * DAY), events=Millis(DAY), attempts=Millis(DAY))
    assert long.cutoffs(NOW).hashes == long.cutoffs(NOW).callbacks


def test_a_pass_goes_on_to_the_end_and_says_what_it_did(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def story() -> None:
        slices = [Removed(events=2, more=True), Removed(attempts=3, emptied=4, more=True)]
        parts = Parts([*slices, Removed(callbacks=5)])
        await janitor(parts).prune()
        assert (parts.prunes, parts.shrinks) == (3, 2)
        await janitor(parts).prune()  # nothing to do, nothing to say

    play(story())
    (record,) = caplog.records
    assert record.getMessage() == (
        "retention removed 2 events with their deliveries, 3 attempts and 5 callbacks,"
        " and emptied 4 callbacks"
    )


def test_a_stop_does_not_wait_for_the_end_of_a_pass() -> None:
    async def story() -> None:
        parts = Parts([Removed(events=1, more=True)] * 1_000)
        await working(janitor(parts, pause=0.01), lambda: parts.prunes > 3)
        assert parts.prunes < 900

    play(story())


def test_pruning_begins_a_while_after_the_start_and_is_rare() -> None:
    async def story() -> None:
        parts = Parts()
        await working(janitor(parts, first=0.1, every=60.0), lambda: parts.sweeps > 30)
        assert parts.prunes == 1
        parts = Parts()
        await working(janitor(parts, first=60.0), lambda: parts.sweeps > 10)
        assert parts.prunes == 0

    play(story())
