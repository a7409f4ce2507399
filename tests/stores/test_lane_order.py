"""Lanes, whatever happens: one at a time, in the order of the outbox, and none forgotten (I7)."""

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.models import (
    Decision,
    Delivery,
    Entry,
    Known,
    Millis,
    OnExhausted,
    Ordering,
    Subscription,
)
from gateway.retries import Step
from gateway.stores.base import Wanted
from gateway.stores.registry import Store, make_store
from tests.stores.test_behaviour import NOW, intake, one_event, settlement

pytestmark = pytest.mark.slow

ORDERS = ("o1", "o2", "o3")
FINAL = {Step.DELIVERED, Step.DEAD}

moves = st.lists(
    st.one_of(
        st.tuples(st.just("accept"), st.sampled_from(ORDERS), st.integers(0, 2)),
        st.tuples(st.just("claim"), st.integers(1, 4), st.just(0)),
        st.tuples(
            st.just("settle"),
            st.integers(0, 5),
            st.sampled_from([Step.DELIVERED, Step.DELIVERED, Step.RETRY, Step.DEAD]),
        ),
        st.tuples(st.just("die"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


def order_event(entries: Sequence[Entry], known: Known) -> Decision:
    """One event of the order that the first entry names."""
    decision = one_event(entries, known)
    ((callback, event),) = decision.events
    decision.events = [(callback, replace(event, order=entries[0].fact.order))]
    return decision


class Lives:
    """A store that is opened again and again, its dispatcher, and what may be in flight."""

    def __init__(self, path: Path, ordering: Ordering) -> None:
        self._path, self._ordering = path, ordering
        self.room = 0
        self.flying: list[Delivery] = []
        self.done: dict[int, list[int]] = defaultdict(list)
        self.made = 0

    async def open(self) -> None:
        self.store: Store = make_store(f"sqlite:///{self._path}", on_fatal=lambda _: None)
        self.store.open()
        await self.store.start()
        wanted = Subscription(
            id=0,
            name="a",
            url="http://a.example/",
            ordering=self._ordering,
            on_exhausted=OnExhausted.SKIP,
        )
        await self.store.catalog.sync([wanted])
        self.store.attach(self)

    def offer(self, subscription: int) -> int:
        assert subscription == 1
        room, self.room = self.room, 0
        return room

    def hand_over(
        self, born: Sequence[Delivery], unused: Mapping[int, int], waiting: Mapping[int, Millis]
    ) -> None:
        self._fly(born)

    def _fly(self, deliveries: Sequence[Delivery]) -> None:
        self.flying.extend(deliveries)

    def look(self) -> None:
        lanes = [delivery.lane for delivery in self.flying]
        assert None not in lanes
        assert len(set(lanes)) == len(lanes), "two of one lane are in flight"

    async def accept(self, order: str, room: int) -> None:
        self.made += 1
        self.room = room
        await self.store.outbox.accept(intake(self.made, order=order), order_event)

    async def claim(self, count: int) -> int:
        claimed = await self.store.queue.claim({1: Wanted(count)}, NOW)
        self._fly(claimed.deliveries)
        return len(claimed.deliveries)

    async def settle(self, place: int, step: Step) -> None:
        if not self.flying:
            return
        delivery = self.flying.pop(place % len(self.flying))
        assert delivery.lane is not None
        if step in FINAL:
            self.done[delivery.lane].append(delivery.id)
        due = NOW if step is Step.RETRY else None
        self.room = place % 2
        await self.store.queue.settle([settlement(delivery, step, due=due)])

    async def die(self) -> None:
        await self.store.close()
        self.flying.clear()
        await self.open()

    async def drain(self) -> None:
        while self.flying or await self.claim(9):
            await self.settle(0, Step.DELIVERED)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(moves)
def test_every_lane_is_delivered_in_order_and_to_its_end(
    story: list[tuple[str, int | str, int | Step]],
) -> None:
    async def play(folder: str) -> None:
        lives = Lives(Path(folder) / "lanes.db", Ordering.ORDER)
        await lives.open()
        for move, first, second in story:
            act = getattr(lives, move)
            await (
                act() if move == "die" else act(first) if move == "claim" else act(first, second)
            )
            lives.look()
        await lives.drain()
        await lives.store.close()
        for lane, ended in lives.done.items():
            assert ended == sorted(ended), f"lane {lane} was not in order"
        assert sum(map(len, lives.done.values())) == lives.made

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(folder))
