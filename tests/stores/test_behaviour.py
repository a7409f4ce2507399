"""What every store does: accept once, isolate, lease, fence, settle, bury, wait."""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from gateway.errors import Conflict, NotFound, Unavailable
from gateway.events import Writer
from gateway.models import (
    Callback,
    Decision,
    Delivery,
    Entry,
    Fact,
    Failure,
    Known,
    Millis,
    Mode,
    Note,
    Origin,
    Outcome,
    Receipt,
    Subscription,
    Track,
    Verdict,
)
from gateway.retries import Decision as RetryDecision
from gateway.retries import Step
from gateway.stores.base import Intake, Settlement, Wanted
from gateway.stores.registry import Store

Run = Callable[..., None]
NOW = Millis(1_768_487_400_000)
WRITER = Writer("")


def entry(order: str | None = "1001", **fact: Any) -> Entry:
    origin = Origin(
        source="shop",
        provider="printstudio",
        shop="default",
        event_id="e",
        event_type="t",
        recorded=NOW,
        traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    )
    return Entry(fact=Fact(track=Track.CREATED, at=NOW, order=order, **fact), origin=origin)


def intake(number: int, *, order: str | None = "1001", body: bytes = b"{}", **fact: Any) -> Intake:
    return Intake(
        callback=Callback(source="shop", headers=[(b"a", b"\xff")], body=body, received_at=NOW),
        provider="printstudio",
        shop="default",
        event_id=f"e{number}",
        event_type="order.created",
        entries=[entry(order, **fact)],
    )


def one_event(entries: Sequence[Entry], known: Known) -> Decision:
    """A decider that makes one event of its first entry, and counts in the order's state."""
    order = entries[0].fact.order or "?"
    seq = int(known.orders.get(order, b"0")) + 1
    event = WRITER.other_event(
        Raw(b"{}"),
        event_type="order.created",
        occurrence=(order, str(seq)),
        subject=order,
        shop="default",
        source="shop",
        at=NOW,
        recorded=NOW,
    )
    note = Note(track="created", state="", verdict=Verdict.EVENT, events=(event.id,), order=order)
    return Decision(
        events=[(0, event)],
        orders={order: (seq, str(seq).encode())},
        links=dict.fromkeys(entries[0].fact.links, order),
        notes={0: [note]},
        verdicts={0: Verdict.EVENT},
    )


class Taker:
    """A dispatcher that takes what is born."""

    def __init__(self, room: int) -> None:
        self.born, self.waiting = [], {}  # type: ignore[var-annotated]
        self.room = room

    @property
    def room(self) -> int:
        """What each of both subscriptions has left."""
        assert len(set(self._left.values())) == 1
        return self._left[1]

    @room.setter
    def room(self, room: int) -> None:
        self._left = {1: room, 2: room}

    def offer(self, subscription: int) -> int:
        room, self._left[subscription] = self._left[subscription], 0
        return room

    def hand_over(
        self, born: Sequence[Delivery], unused: Mapping[int, int], waiting: Mapping[int, Millis]
    ) -> None:
        self.born.extend(born)
        self.waiting.update(waiting)
        for subscription, count in unused.items():
            self._left[subscription] += count


def settlement(delivery: Delivery, step: Step, **decision: Any) -> Settlement:
    return Settlement(
        delivery=delivery,
        outcome=Outcome(started_at=NOW, duration=5.0, status=200),
        decision=RetryDecision(step=step, **decision),
    )


def test_a_repeat_gets_the_first_receipt(run: Run) -> None:
    async def story(store: Store) -> None:
        first = await store.outbox.accept(intake(1), one_event)
        again = await store.outbox.accept(intake(1), one_event)
        other = await store.outbox.accept(intake(1, body=b"[]"), one_event)
        assert (first.duplicate, again.duplicate, other.duplicate) == (False, True, True)
        assert (first.id, first.events) == (again.id, again.events) == (other.id, other.events)
        claimed = await store.queue.claim({1: Wanted(10), 2: Wanted(10)}, NOW)
        assert len(claimed.deliveries) == 2

    run(story)


def test_a_failing_callback_never_fails_its_neighbours(run: Run) -> None:
    def poisonous(entries: Sequence[Entry], known: Known) -> Decision:
        decision = one_event(entries, known)
        # No database can hold that number; it is written after the event and its deliveries.
        decision.wait = [entry(None, links=("l",), patience=Millis(1 << 70))]
        return decision

    async def story(store: Store) -> None:
        taker = Taker(room=100)
        store.attach(taker)
        results = await asyncio.gather(
            *(
                store.outbox.accept(
                    intake(number, order=f"o{number}"), poisonous if number % 3 == 0 else one_event
                )
                for number in range(12)
            ),
            return_exceptions=True,
        )
        failed = [number for number, result in enumerate(results) if isinstance(result, Exception)]
        assert failed == [0, 3, 6, 9]
        assert len(taker.born) == 16
        receipt = await store.outbox.accept(intake(3, order="o3"), one_event)
        assert receipt.duplicate is False

    run(story)


def test_what_a_decider_cannot_decide_is_quarantined_and_tried_again(run: Run) -> None:
    def broken(entries: Sequence[Entry], known: Known) -> Decision:
        raise KeyError("bug")

    async def story(store: Store) -> None:
        first = await store.outbox.accept(intake(1), broken)
        assert (first.verdict, first.duplicate) == (Verdict.QUARANTINED, False)
        again = await store.outbox.accept(intake(1), one_event)
        assert (again.id, again.verdict, again.duplicate) == (first.id, Verdict.EVENT, False)
        once_more = await store.outbox.accept(intake(1), one_event)
        assert (once_more.events, once_more.duplicate) == (again.events, True)

    run(story)


def test_deliveries_are_born_leased_while_there_is_room(run: Run) -> None:
    async def story(store: Store) -> None:
        taker = Taker(room=2)
        store.attach(taker)
        for number in range(4):
            await store.outbox.accept(intake(number), one_event)
        assert [delivery.subscription for delivery in taker.born] == [1, 2, 1, 2]
        assert len({delivery.claim for delivery in taker.born}) == 2
        assert taker.waiting == {1: NOW, 2: NOW}
        # Now that older ones wait, nothing new overtakes them, whatever room there is.
        taker.room = 5
        await store.outbox.accept(intake(9), one_event)
        assert len(taker.born) == 4
        assert len((await store.queue.claim({1: Wanted(9)}, NOW)).deliveries) == 3

    run(story)


def test_a_claim_takes_what_is_due_oldest_first_and_never_twice(run: Run) -> None:
    async def story(store: Store) -> None:
        for number in range(5):
            await store.outbox.accept(intake(number, order=f"o{number}"), one_event)
        first = await store.queue.claim({1: Wanted(3)}, NOW)
        second = await store.queue.claim({1: Wanted(3)}, NOW)
        numbers = [delivery.id for claimed in (first, second) for delivery in claimed.deliveries]
        assert numbers == sorted(set(numbers))
        assert len(numbers) == 5
        assert first.next_due == {1: NOW}
        assert second.next_due == {1: None}

    run(story)


def test_settlements_are_fenced_and_late_successes_count(run: Run) -> None:
    async def story(store: Store) -> None:
        await store.outbox.accept(intake(1), one_event)
        (old,) = (await store.queue.claim({1: Wanted(1)}, NOW)).deliveries
        later = Millis(NOW + 500)
        await store.queue.settle([settlement(old, Step.RETRY, due=later)])
        assert (await store.queue.claim({1: Wanted(1)}, NOW)).next_due == {1: later}
        (new,) = (await store.queue.claim({1: Wanted(1)}, later)).deliveries
        assert (new.attempts, new.number, new.first_at) == (1, 1, NOW)
        assert new.claim != old.claim
        # The old holder comes back: its failure means nothing, but its success is a success.
        stale = Delivery(
            **{name: getattr(old, name) for name in old.__struct_fields__} | {"number": 7}
        )
        await store.queue.settle([settlement(stale, Step.DEAD, reason="stale")])
        await store.queue.settle([settlement(new, Step.DELIVERED)])
        stale = Delivery(
            **{name: getattr(old, name) for name in old.__struct_fields__} | {"number": 8}
        )
        await store.queue.settle([settlement(stale, Step.DELIVERED)])
        async with store.records() as records:
            rows = await records.deliveries(subscription="a", state=None, limit=9)
            assert [(row.state, row.reason) for row in rows] == [("delivered", None)]

    run(story)


def test_a_late_success_under_an_old_claim_counts(run: Run) -> None:
    async def story(store: Store) -> None:
        await store.outbox.accept(intake(1), one_event)
        (old,) = (await store.queue.claim({1: Wanted(1)}, NOW)).deliveries
        await store.queue.void_leases()
        await store.queue.claim({1: Wanted(1)}, NOW)
        await store.queue.settle([settlement(old, Step.DELIVERED)])
        async with store.records() as records:
            (row,) = await records.deliveries(subscription="a", state=None, limit=9)
            assert row.state == "delivered"

    run(story)


def test_a_manual_attempt_that_a_stop_cuts_off_stays_one(run: Run) -> None:
    async def story(store: Store) -> None:
        await store.outbox.accept(intake(1), one_event)
        (first,) = (await store.queue.claim({1: Wanted(1)}, NOW)).deliveries
        await store.queue.settle([settlement(first, Step.RETRY, due=Millis(NOW + 5_000))])
        await store.replays.again(first.id, NOW)
        (manual,) = (await store.queue.claim({1: Wanted(1)}, NOW)).deliveries
        assert manual.manual == NOW + 5_000
        cut = settlement(manual, Step.RETRY, due=NOW)
        cut = msgspec.structs.replace(
            cut, outcome=msgspec.structs.replace(cut.outcome, failure=Failure.INTERRUPTED)
        )
        await store.queue.settle([cut])
        (after,) = (await store.queue.claim({1: Wanted(1)}, NOW)).deliveries
        assert after.manual == NOW + 5_000

    run(story)


def test_what_is_released_is_due_again_as_it_was(run: Run) -> None:
    async def story(store: Store) -> None:
        await store.outbox.accept(intake(1), one_event)
        (before,) = (await store.queue.claim({1: Wanted(1)}, NOW)).deliveries
        await store.queue.release([before])
        (after,) = (await store.queue.claim({1: Wanted(1)}, NOW)).deliveries
        assert after.claim != before.claim
        assert msgspec.structs.replace(after, claim=before.claim) == before
        await store.queue.release([before])  # another has it by now
        assert (await store.queue.claim({1: Wanted(1)}, NOW)).deliveries == []

    run(story)


def test_what_is_released_of_a_gone_subscription_has_ended(run: Run) -> None:
    async def story(store: Store) -> None:
        for number in (1, 2):
            await store.outbox.accept(intake(number), one_event)
        first, second = (await store.queue.claim({1: Wanted(2)}, NOW)).deliveries
        await store.queue.settle([settlement(first, Step.GONE, reason="410")])
        await store.queue.release([second])
        async with store.records() as records:
            rows = await records.deliveries(subscription="a", state=None, limit=9)
            assert [(row.state, row.reason) for row in rows] == [("dead", "gone"), ("dead", "410")]

    run(story)


def test_large_bodies_are_claimed_few_at_a_time(run: Run) -> None:
    def large(entries: Sequence[Entry], known: Known) -> Decision:
        decision = one_event(entries, known)
        decision.events = [
            (callback, msgspec.structs.replace(event, body=b"x" * 600_000))
            for callback, event in decision.events
        ]
        return decision

    async def story(store: Store) -> None:
        for number in range(5):
            await store.outbox.accept(intake(number), large)
        seen = [len((await store.queue.claim({1: Wanted(9)}, NOW)).deliveries) for _ in range(4)]
        assert seen == [2, 2, 1, 0]

    run(story)


def test_a_batch_that_is_released_when_its_subscription_is_gone_ends_whole(run: Run) -> None:
    async def story(store: Store) -> None:
        batches = Subscription(
            id=0, name="a", url="http://a.example/", mode=Mode.BATCH, batch_size=2
        )
        await store.catalog.sync([batches])
        for number in range(5):
            await store.outbox.accept(intake(number), one_event)
        first, second = (await store.queue.claim({1: Wanted(2, batch=2)}, NOW)).deliveries
        await store.queue.settle([settlement(first, Step.GONE, reason="410")])
        await store.queue.release([second])
        async with store.records() as records:
            rows = await records.deliveries(subscription="a", state=None, limit=9)
            assert [row.state for row in rows] == ["dead"] * 5

    run(story)


def test_large_bodies_of_many_subscriptions_are_claimed_in_turns(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.stores.sqlite.queue.MOST_TOGETHER", 0)

    async def story(store: Store) -> None:
        await store.outbox.accept(intake(1), one_event)
        claimed = await store.queue.claim({1: Wanted(9), 2: Wanted(9)}, NOW)
        assert [delivery.subscription for delivery in claimed.deliveries] == [1]
        assert claimed.next_due == {1: None, 2: NOW}

    run(story)


def test_gone_buries_what_waits_and_routes_no_more(run: Run) -> None:
    async def story(store: Store) -> None:
        for number in range(3):
            await store.outbox.accept(intake(number), one_event)
        (head,) = (await store.queue.claim({1: Wanted(1)}, NOW)).deliveries
        await store.queue.settle([settlement(head, Step.GONE, reason="410")])
        statuses = await store.catalog.refresh()
        assert [(s.subscription.name, s.state) for s in statuses] == [
            ("a", "gone"),
            ("b", "active"),
        ]
        await store.outbox.accept(intake(9), one_event)
        async with store.records() as records:
            rows = await records.deliveries(subscription="a", state=None, limit=9)
            assert {row.state for row in rows} == {"dead"}
            assert len(rows) == 3
            (event, *_) = await records.events(order=None, event_type=None, limit=1)
            assert [(r.subscription, r.matched) for r in event.routing] == [
                ("a", False),
                ("b", True),
            ]
            assert "410" in event.routing[0].reason

    run(story)


def test_what_a_gone_subscription_left_in_flight_is_dead_at_the_next_start(run: Run) -> None:
    async def story(store: Store) -> None:
        await store.outbox.accept(intake(1), one_event)
        await store.outbox.accept(intake(2), one_event)
        first, _ = (await store.queue.claim({1: Wanted(2)}, NOW)).deliveries
        await store.queue.settle([settlement(first, Step.GONE, reason="410")])
        await store.queue.void_leases()
        async with store.records() as records:
            rows = await records.deliveries(subscription="a", state=None, limit=9)
            assert {row.state for row in rows} == {"dead"}

    run(story)


def test_pause_keeps_and_resume_goes_on(run: Run) -> None:
    async def story(store: Store) -> None:
        assert (await store.catalog.pause("a", "why")).state == "paused"
        await store.outbox.accept(intake(1), one_event)
        assert (await store.catalog.resume("a")).state == "active"
        assert len((await store.queue.claim({1: Wanted(9)}, NOW)).deliveries) == 1
        for act in (store.catalog.resume("nobody"), store.catalog.pause("nobody", "")):
            with pytest.raises(NotFound):
                await act
        (delivery,) = (await store.queue.claim({2: Wanted(1)}, NOW)).deliveries
        await store.queue.settle([settlement(delivery, Step.GONE, reason="410")])
        with pytest.raises(Conflict, match="is gone"):
            await store.catalog.pause("b", "why")

    run(story)


def test_unlinked_facts_wait_and_are_found_by_any_of_their_links(run: Run) -> None:
    def waits(entries: Sequence[Entry], known: Known) -> Decision:
        note = Note(track="refund", state="", verdict=Verdict.UNLINKED)
        return Decision(wait=list(entries), notes={0: [note]}, verdicts={0: Verdict.UNLINKED})

    seen: list[Known] = []

    def looks(entries: Sequence[Entry], known: Known) -> Decision:
        seen.append(known)
        return one_event(entries, known)

    async def story(store: Store) -> None:
        await store.outbox.accept(intake(1, order=None, links=("pi", "ch"), patience=50), waits)
        await store.outbox.accept(intake(2, order=None, links=("ch",)), waits)
        await store.outbox.accept(intake(3, order="1001", links=("pi",)), looks)
        # The second shares no link with the third, but with the first.
        assert sorted(w.id for w in seen[0].waiting) == [1, 2]
        assert {w.entry.origin.callback for w in seen[0].waiting} == {1, 2}
        assert seen[0].links == {}
        await store.outbox.accept(intake(4, order=None, links=("pi",)), looks)
        assert seen[1].links == {"pi": "1001"}
        assert set(seen[1].orders) == {"1001"}

        def over(waiting: Sequence[Any], known: Known) -> Decision:
            return Decision(linked=[w.id for w in waiting])

        assert await store.outbox.wait_over(over, Millis(NOW + 49)) == 0
        assert await store.outbox.wait_over(over, Millis(NOW + 50)) == 2
        assert await store.outbox.wait_over(over, Millis(NOW + 50)) == 0

    run(story)


def test_a_full_disk_refuses_and_recovers_by_itself(run: Run) -> None:
    async def story(store: Store) -> None:
        connection = store._writer._connection
        assert connection is not None
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 20}")
        fill = [store.outbox.accept(intake(n, body=b"x" * 4000), one_event) for n in range(200)]
        filled = await asyncio.gather(*fill, return_exceptions=True)
        assert any(isinstance(result, Unavailable) for result in filled)
        with pytest.raises(Unavailable, match="disk is full"):
            await store.outbox.accept(intake(998, body=b"x" * 99_000), one_event)
        connection.execute("PRAGMA max_page_count = 1000000")
        receipt = await store.outbox.accept(intake(999, body=b"x" * 99_000), one_event)
        assert receipt.duplicate is False
        async with store.records() as records:
            assert (await records.callback(receipt.id))[1].body == b"x" * 99_000

    run(story)


def test_a_failed_fsync_is_final(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """After it nothing is known of what was written: no answer is given any more."""

    async def story(store: Store) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC

        def failing(batch: Any, results: list[Any]) -> list[Any]:
            raise error

        told: list[str] = []
        monkeypatch.setattr(store._writer, "_commit", failing)
        monkeypatch.setattr(store._writer, "_on_fatal", told.append)
        with pytest.raises(Unavailable):
            await store.outbox.accept(intake(1), one_event)
        assert len(told) == 1
        assert "restart" in told[0]
        with pytest.raises(Unavailable):
            await store.outbox.accept(intake(2), one_event)

    run(story)


def test_a_full_queue_refuses(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.stores.sqlite.writer.CAPACITY", 10)

    async def story(store: Store) -> None:
        async def accept(number: int) -> Receipt:
            return await store.outbox.accept(intake(number), one_event)

        results = await asyncio.gather(*map(accept, range(50)), return_exceptions=True)
        refused = [result for result in results if isinstance(result, Unavailable)]
        assert len(refused) == 40
        assert {error.retry_after for error in refused} == {2}

    run(story)
