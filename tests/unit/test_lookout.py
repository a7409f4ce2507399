"""Sources that are silent and sources that are refused: told once, and never without end."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from gateway.errors import Unavailable
from gateway.events import Writer
from gateway.lookout import ABSENT, HOUR, KEEP_EVERY, LONGEST, MINUTE, WINDOW, Lookout
from gateway.models import Event, Millis
from gateway.operations import Operations
from gateway.stores.upkeep import Cutoffs, Removed, SourceState
from gateway.testing.doubles import Clock

START = Millis(1_800_000_000_000)


class Store:
    """An `Upkeep` in memory, which can be broken."""

    def __init__(self) -> None:
        self.states: dict[str, SourceState] = {}
        self.events: list[Event] = []
        self.writes = 0
        self.broken = False

    async def sources(self) -> Mapping[str, SourceState]:
        return dict(self.states)

    async def remember(
        self, states: Mapping[str, SourceState], events: Sequence[Event] = ()
    ) -> None:
        if self.broken:
            raise Unavailable("made by a test")
        self.writes += 1
        self.states.update(states)
        self.events.extend(events)

    async def prune(self, cutoffs: Cutoffs) -> Removed:
        raise AssertionError

    async def shrink(self) -> bool:
        raise AssertionError

    def told(self) -> list[tuple[str, str]]:
        """The kinds of the events, and the reasons that they give."""
        data = [(event.type, msgspec.json.decode(event.body)["data"]) for event in self.events]
        return [(kind.removeprefix("gateway.source."), one["reason"]) for kind, one in data]


class World:
    """A lookout over the source `shop`, whose silence is told after five minutes."""

    def __init__(self) -> None:
        self.store, self.clock = Store(), Clock(START)
        self.restart()

    def restart(self) -> None:
        operations = Operations(Writer(""), clock=self.clock)
        silent_after = {"shop": Millis(5 * MINUTE)}
        self.lookout = Lookout(self.store, operations, clock=self.clock)
        self.lookout.update(silent_after)

    async def watch(self, duration: int, step: int = ABSENT // 2) -> None:
        """Let time pass, and look from time to time."""
        for _ in range(duration // step):
            self.clock.advance(step)
            await self.lookout.look()

    def refuse(self, count: int, apart: int = 1_000) -> None:
        for _ in range(count):
            self.clock.advance(apart)
            self.lookout.refused("shop", "the signature is wrong")


def play(story: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story(World()))


def test_silence_is_told_once_until_something_comes() -> None:
    async def story(world: World) -> None:
        world.lookout.heard("shop")
        await world.watch(4 * MINUTE)
        assert world.store.told() == []
        await world.watch(20 * MINUTE)
        reason = "nothing came for 5m: the last time was 2027-01-15T08:00:00Z"
        assert world.store.told() == [("silent", reason)]
        assert world.store.states["shop"].silent_since == START + 5 * MINUTE
        world.lookout.heard("shop")
        await world.watch(MINUTE)
        assert world.store.states["shop"].silent_since is None
        await world.watch(10 * MINUTE)
        assert [kind for kind, _ in world.store.told()] == ["silent", "silent"]

    play(story)


def test_a_source_that_never_came_is_silent_too() -> None:
    async def story(world: World) -> None:
        await world.watch(6 * MINUTE)
        assert world.store.told() == [("silent", "nothing came for 5m: nothing has come so far")]

    play(story)


def test_sources_without_the_key_are_remembered_and_never_told() -> None:
    async def story(world: World) -> None:
        world.lookout.heard("other")
        for _ in range(10):
            world.lookout.heard("shop")
            await world.watch(2 * MINUTE)
        assert world.store.told() == []
        assert world.store.states["other"] == SourceState(last_at=START)

    play(story)


def test_a_gateway_that_was_down_does_not_complain() -> None:
    async def story(world: World) -> None:
        world.lookout.heard("shop")
        await world.lookout.close()
        world.clock.advance(10 * HOUR)
        world.restart()
        await world.watch(4 * MINUTE)
        assert world.store.told() == []
        await world.watch(2 * MINUTE)
        reason = "nothing came for 5m: the last time was 2027-01-15T08:00:00Z"
        assert world.store.told() == [("silent", reason)]

    play(story)


def test_a_computer_that_slept_does_not_complain_either() -> None:
    async def story(world: World) -> None:
        world.lookout.heard("shop")
        await world.watch(MINUTE)
        world.clock.advance(10 * HOUR)
        await world.watch(4 * MINUTE)
        assert world.store.told() == []

    play(story)


def test_a_restart_does_not_tell_again() -> None:
    async def story(world: World) -> None:
        await world.watch(6 * MINUTE)
        world.restart()
        await world.watch(20 * MINUTE)
        assert len(world.store.told()) == 1

    play(story)


def test_what_was_not_written_is_told_later() -> None:
    async def story(world: World) -> None:
        world.lookout.heard("shop")
        world.refuse(3)
        world.store.broken = True
        for _ in range(3):
            with pytest.raises(Unavailable):
                await world.watch(MINUTE)
        world.store.broken = False
        await world.watch(MINUTE)
        assert [kind for kind, _ in world.store.told()] == ["rejecting"]
        assert world.store.states["shop"].last_at == START
        world.store.broken = True
        with pytest.raises(Unavailable):
            await world.watch(6 * MINUTE)
        world.store.broken = False
        await world.watch(6 * MINUTE)
        assert [kind for kind, _ in world.store.told()] == ["rejecting", "silent"]

    play(story)


def test_hearing_is_written_now_and_then_and_at_the_end() -> None:
    async def story(world: World) -> None:
        for _ in range(60):
            world.lookout.heard("shop")
            await world.watch(1_000, step=1_000)
        assert world.store.writes == 60_000 // KEEP_EVERY
        world.lookout.heard("shop")
        await world.lookout.close()
        assert world.store.states["shop"].last_at == START + 60_000

    play(story)


def test_the_third_refusal_in_a_row_is_told_once() -> None:
    async def story(world: World) -> None:
        world.refuse(2)
        await world.watch(MINUTE)
        assert world.store.told() == []
        world.refuse(1)
        for _ in range(4):
            await world.watch(MINUTE)
            world.refuse(50)
        reason = "3 requests in a row were refused, the last one because the signature is wrong"
        assert [one for one in world.store.told() if one[0] == "rejecting"] == [
            ("rejecting", reason)
        ]

    play(story)


def test_refusals_far_apart_or_among_good_callbacks_are_not_told() -> None:
    async def story(world: World) -> None:
        for _ in range(9):
            world.lookout.heard("shop")
            world.refuse(2)
            await world.watch(MINUTE)
        world.lookout.heard("shop")
        for _ in range(9):
            world.refuse(1, apart=WINDOW // 2 + 1)
            await world.lookout.look()
        assert "rejecting" not in {kind for kind, _ in world.store.told()}

    play(story)


def test_it_is_told_again_only_after_a_good_callback_and_an_hour() -> None:
    async def story(world: World) -> None:
        def times() -> int:
            return sum(kind == "rejecting" for kind, _ in world.store.told())

        world.refuse(3)
        await world.lookout.look()
        assert times() == 1
        world.lookout.heard("shop")
        world.refuse(3)
        await world.watch(30 * MINUTE)
        assert times() == 1  # an hour has not passed
        world.lookout.heard("shop")
        await world.watch(31 * MINUTE)
        world.refuse(3)
        await world.lookout.look()
        assert times() == 2
        await world.watch(2 * HOUR)
        world.refuse(9)
        await world.lookout.look()
        assert times() == 2  # no good callback came in between

    play(story)


def test_a_long_reason_is_cut() -> None:
    async def story(world: World) -> None:
        for _ in range(3):
            world.lookout.refused("shop", "x" * 10_000)
        await world.lookout.look()
        (_, reason) = world.store.told()[0]
        assert len(reason) < LONGEST + 100

    play(story)
