"""What every store does without keeping it, and with a quarantined callback once more."""

import asyncio
from typing import Any

import pytest

from gateway.errors import Conflict, NotFound
from gateway.models import Verdict
from gateway.stores.base import Intake, Wanted
from gateway.stores.registry import Store
from tests.stores.test_behaviour import NOW, Taker, intake, one_event
from tests.stores.test_polls import (
    FULL,
    Run,
    changed,
    everything,
    found,
    polled,
    undecidable,
    unwritable,
    watch,
)

# Rehearsals.


def test_a_rehearsal_tells_what_accept_does(run: Run) -> None:
    async def story(store: Store) -> None:
        dry = await store.outbox.rehearse(intake(1), one_event, keep=False)
        wet = await store.outbox.rehearse(intake(1), one_event, keep=True)
        assert dry == wet
        assert (wet.verdict, wet.reason, [note.track for note in wet.notes]) == (
            Verdict.EVENT,
            "",
            ["created"],
        )
        (made,) = wet.made
        assert (made.type, made.subscriptions) == ("order.created", ["a", "b"])
        assert (await store.outbox.accept(intake(1), one_event)).events == [made.id]
        # A repeat tells what became of it, and makes nothing.
        again = await store.outbox.rehearse(intake(1), one_event, keep=True)
        assert (again.verdict, again.notes, again.made) == (wet.verdict, wet.notes, [])

    run(story)


def test_a_rehearsal_leaves_no_trace(run: Run) -> None:
    async def story(store: Store) -> None:
        taker = Taker(room=9)
        store.attach(taker)
        await store.polls.watch([watch("n1")])
        await store.outbox.accept(intake(9, order="o9"), one_event)
        before, born = await everything(store), list(taker.born)
        asked = watch("n1", **FULL)
        for taken, decide in (
            (polled(asked=asked, watches=[watch("n7")]), one_event),
            (polled(asked=asked), undecidable),
            (polled(asked=asked, malformed="why"), one_event),
            (polled(asked=asked, ignored="why"), one_event),
            (intake(9, order="o9"), one_event),
        ):
            await store.outbox.rehearse(taken, decide, keep=False)
            assert await everything(store) == before
        with pytest.raises(OverflowError):
            await store.outbox.rehearse(polled(asked=asked), unwritable, keep=False)
        assert await everything(store) == before
        # Neither is anything handed over, nor any room lost.
        assert taker.born == born
        assert taker.room == 8
        assert (await store.queue.claim({1: Wanted(9), 2: Wanted(9)}, NOW)).deliveries == []

    run(story)


def test_a_rehearsal_does_not_disturb_its_neighbours(run: Run) -> None:
    async def story(store: Store) -> None:
        taker = Taker(room=100)
        store.attach(taker)
        await store.polls.watch([watch(f"n{number}") for number in range(12)])
        asked = [watch(f"n{number}", **FULL) for number in range(12)]
        works: list[Any] = []
        for number in range(12):
            taken = polled(number, asked=asked[number])
            if number % 3 == 0:
                works.append(store.outbox.rehearse(taken, one_event, keep=False))
            elif number % 3 == 1:
                works.append(store.outbox.rehearse(taken, one_event, keep=True))
            else:
                works.append(store.outbox.accept(taken, one_event))
        results = await asyncio.gather(*works)
        assert [len(result.made) for result in results[::3]] == [1] * 4
        assert [len(result.made) for result in results[1::3]] == [1] * 4
        assert not any(result.duplicate for result in results[2::3])
        rows = await everything(store)
        kept = [number for number in range(12) if number % 3]
        assert {row[4] for row in rows["callbacks"]} == {f"poll:{number}" for number in kept}
        assert len(taker.born) == len(rows["deliveries"]) == 16
        for number in range(12):
            expected = asked[number] if number in kept else watch(f"n{number}")
            assert await found(store, f"n{number}") == [expected]

    run(story)


# What was quarantined is read once more.


def read_anew(callback: str, *, event_id: str = "e1", **more: Any) -> Intake:
    return changed(intake(1), event_id=event_id, again=callback, **more)


async def quarantined(store: Store, number: int = 1) -> str:
    receipt = await store.outbox.accept(changed(intake(number), malformed="$: why"), one_event)
    assert receipt.verdict is Verdict.QUARANTINED
    return receipt.id


async def shown(store: Store, callback: str) -> Any:
    async with store.records() as records:
        return (await records.callback(callback))[0]


def test_a_quarantined_callback_is_found_as_it_was_received(run: Run) -> None:
    async def story(store: Store) -> None:
        callback = await quarantined(store)
        stored = await store.outbox.stored(callback)
        assert stored.callback == intake(1).callback
        assert (stored.event_id, stored.verdict) == ("e1", Verdict.QUARANTINED)
        assert bytes(stored.callback.headers[0][1]) == b"\xff"
        for unknown in ("cb_99", "cb_", "5", "cb_x", "cb_" + "9" * 19, "cb_٣", "cb_-1", ""):
            with pytest.raises(NotFound):
                await store.outbox.stored(unknown)

    run(story)


@pytest.mark.parametrize("event_id", ["e1", "another"])
def test_a_quarantined_callback_is_read_again(run: Run, event_id: str) -> None:
    async def story(store: Store) -> None:
        callback = await quarantined(store)
        before = await everything(store)
        again = read_anew(callback, event_id=event_id, event_type="order.paid")
        dry = await store.outbox.rehearse(again, one_event, keep=False)
        assert await everything(store) == before
        wet = await store.outbox.rehearse(again, one_event, keep=True)
        assert dry == wet
        assert (wet.verdict, [made.type for made in wet.made]) == (Verdict.EVENT, ["order.created"])
        row = await shown(store, callback)
        assert (row.event_id, row.event_type, row.verdict) == (event_id, "order.paid", "event")
        assert len((await everything(store))["callbacks"]) == 1
        # Whoever sends it once more gets the receipt of this one.
        repeat = await store.outbox.accept(changed(intake(1), event_id=event_id), one_event)
        assert (repeat.id, repeat.duplicate) == (callback, True)
        assert repeat.events == [made.id for made in wet.made]

    run(story)


def test_a_twin_that_was_taken_meanwhile_counts(run: Run) -> None:
    async def story(store: Store) -> None:
        callback = await quarantined(store)
        twin = await store.outbox.accept(changed(intake(1), event_id="fixed"), one_event)
        again = read_anew(callback, event_id="fixed", read_at=1_234)
        rehearsal = await store.outbox.rehearse(again, one_event, keep=True)
        assert (rehearsal.verdict, rehearsal.made) == (Verdict.MERGED, [])
        callbacks = (await everything(store))["callbacks"]
        assert [1_234 in row for row in callbacks] == [True, False]  # when it was read
        assert twin.id in rehearsal.reason
        row = await shown(store, callback)
        assert (row.verdict, row.event_id) == ("merged", "e1")
        assert len((await everything(store))["events"]) == 1

    run(story)


def test_what_is_still_unreadable_stays_in_quarantine(run: Run) -> None:
    async def story(store: Store) -> None:
        callback = await quarantined(store)
        again = read_anew(callback, malformed="$.x: still", entries=())
        for _ in range(2):
            rehearsal = await store.outbox.rehearse(again, one_event, keep=True)
            assert (rehearsal.verdict, rehearsal.reason) == (Verdict.QUARANTINED, "$.x: still")
        wet = await store.outbox.rehearse(read_anew(callback), undecidable, keep=True)
        assert (wet.verdict, "bug" in wet.reason) == (Verdict.QUARANTINED, True)
        assert (await shown(store, callback)).reason == wet.reason

    run(story)


def test_only_what_lies_in_quarantine_is_read_again(run: Run) -> None:
    async def story(store: Store) -> None:
        taken = (await store.outbox.accept(intake(1), one_event)).id
        for keep in (False, True):
            with pytest.raises(Conflict, match="not in quarantine: its verdict is event"):
                await store.outbox.rehearse(read_anew(taken), one_event, keep=keep)
            for unknown in ("cb_99", "nonsense"):
                with pytest.raises(NotFound):
                    await store.outbox.rehearse(read_anew(unknown), one_event, keep=keep)
        callback = await quarantined(store, 2)
        await store.outbox.rehearse(read_anew(callback, event_id="e2"), one_event, keep=True)
        with pytest.raises(Conflict):
            await store.outbox.rehearse(read_anew(callback, event_id="e2"), one_event, keep=True)

    run(story)


def test_a_repeat_fills_in_what_quarantine_did_not_know(run: Run) -> None:
    """What could not be read has no type; the provider's own repeat is read, and has one."""

    async def story(store: Store) -> None:
        unread = changed(intake(1), malformed="$: why", event_type="", entries=())
        callback = (await store.outbox.accept(unread, one_event)).id
        assert (await shown(store, callback)).event_type == ""
        assert (await store.outbox.accept(intake(1), one_event)).id == callback
        assert (await shown(store, callback)).event_type == "order.created"

    run(story)
