"""One delivery once more."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from gateway.errors import Conflict, NotFound
from gateway.models import (
    Decision,
    Entry,
    Failure,
    Known,
    Millis,
    Mode,
    Ordering,
    Outcome,
    Subscription,
)
from gateway.retries import Step
from gateway.stores.base import Consent, Handshake, Wanted
from gateway.stores.registry import Store
from gateway.stores.sqlite.lanes import PARKED
from tests.stores.test_behaviour import NOW, intake, one_event, settlement

Run = Callable[..., None]
LATER = Millis(NOW + 60_000)
A = Subscription(id=0, name="a", url="http://a.example/")
B = Subscription(id=0, name="b", url="http://b.example/", enabled=False)


def ordered(entries: Sequence[Entry], known: Known) -> Decision:
    """`one_event`, but the event is its order's."""
    decision = one_event(entries, known)
    ((callback, event),) = decision.events
    order = entries[0].fact.order
    decision.events[:] = [(callback, msgspec.structs.replace(event, order=order))]
    return decision


async def rows(store: Store, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    """What a statement of the test's own finds, or changes."""
    found: list[tuple[Any, ...]] = await store._writer.submit(
        lambda batch: batch.connection.execute(sql, parameters).fetchall()
    )
    return found


async def told(store: Store, *orders: str) -> None:
    """Accept one event of each of these orders."""
    (have,) = (await rows(store, "SELECT count(*) FROM callbacks"))[0]
    for number, order in enumerate(orders, have):
        await store.outbox.accept(intake(number, order=order), ordered)


async def sent(store: Store, count: int = 99, *, batch: int = 0) -> list[int]:
    """Deliver what is due at `a`."""
    claimed = await store.queue.claim({1: Wanted(count, batch)}, NOW)
    await store.queue.settle([settlement(one, Step.DELIVERED) for one in claimed.deliveries])
    return [one.id for one in claimed.deliveries]


async def only(store: Store, **settings: Any) -> None:
    """Have `a` alone, with other settings."""
    await store.catalog.sync([msgspec.structs.replace(A, **settings), B])


# One delivery.


def test_what_waits_is_due_at_once_and_keeps_the_time_that_was_set(run: Run) -> None:
    async def story(store: Store) -> None:
        await only(store)
        await told(store, "1")
        (one,) = (await store.queue.claim({1: Wanted(1)}, NOW)).deliveries
        with pytest.raises(Conflict, match="dl_1 is in flight: wait for its end"):
            await store.replays.again(1, NOW)
        await store.queue.settle([settlement(one, Step.RETRY, due=LATER)])
        for _ in range(2):  # the second one finds it due already
            again = await store.replays.again(1, NOW)
            assert (again.made, again.behind, again.held) == (1, None, None)
        (one,) = (await store.queue.claim({1: Wanted(1)}, NOW)).deliveries
        assert (one.id, one.manual, one.due) == (1, LATER, NOW)

    run(story)


def test_bugs_are_counted_from_the_beginning_of_the_schedule(run: Run) -> None:
    """No other failures, and none from before a parked lane was released."""

    async def story(store: Store) -> None:
        await only(store, ordering=Ordering.ORDER)
        await told(store, "1")
        met = [Failure.INTERNAL, Failure.RESET, Failure.INTERNAL, None, Failure.INTERNAL]
        known = []
        for number, failure in enumerate(met):
            if failure is None:
                await rows(store, "UPDATE deliveries SET state = ? WHERE id = 1", PARKED)
                assert (await store.replays.again(1, NOW)).made == 1
                continue
            (one,) = (await store.queue.claim({1: Wanted(1)}, NOW)).deliveries
            known.append(one.bugs)
            outcome = Outcome(started_at=Millis(NOW + number), duration=1.0, failure=failure)
            settled = settlement(one, Step.RETRY, due=NOW)
            await store.queue.settle([msgspec.structs.replace(settled, outcome=outcome)])
        (one,) = (await store.queue.claim({1: Wanted(1)}, NOW)).deliveries
        assert [*known, one.bugs] == [0, 1, 1, 0, 1]

    run(story)


def test_of_what_has_ended_a_new_one_is_made(run: Run) -> None:
    async def story(store: Store) -> None:
        await only(store)
        await told(store, "1")
        await sent(store)
        assert (await store.replays.again(1, NOW)).made == 2
        (new,) = (await store.queue.claim({1: Wanted(1)}, NOW)).deliveries
        assert (new.id, new.attempts, new.manual) == (2, 0, None)
        found = await rows(store, "SELECT state, event, reason FROM deliveries ORDER BY id")
        assert found == [(2, 1, None), (1, 1, "replay of dl_1")]
        with pytest.raises(NotFound, match="no delivery dl_9"):
            await store.replays.again(9, NOW)

    run(story)


def test_a_subscription_that_takes_nothing_gets_nothing(run: Run) -> None:
    async def story(store: Store) -> None:
        await told(store, "1")
        await rows(store, "UPDATE deliveries SET state = 3")
        await rows(store, "UPDATE subscriptions SET state = 'gone' WHERE id = 1")
        with pytest.raises(Conflict, match="subscription a is gone: resume it first"):
            await store.replays.again(1, NOW)
        await store.catalog.sync([A, B])
        with pytest.raises(Conflict, match="subscription b is disabled: enable it first"):
            await store.replays.again(2, NOW)
        await rows(store, "UPDATE subscriptions SET made = x'' WHERE id = 2")
        with pytest.raises(Conflict, match="subscription b was removed"):
            await store.replays.again(2, NOW)
        assert await rows(store, "SELECT count(*) FROM deliveries") == [(2,)]

    run(story)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("state = 'paused'", "subscription a is paused until `gateway subscriptions resume a`"),
        (f"hold_until = {NOW + 1500}", "the endpoint of a wants to be left alone for another 2 s"),
        (
            f"broken_until = {NOW + 30_000}",
            "the endpoint of a fails and is left alone for another 30 s",
        ),
        (f"hold_until = {NOW}, broken_until = {NOW}", None),
    ],
)
def test_what_cannot_start_now_says_why(run: Run, change: str, words: str | None) -> None:
    async def story(store: Store) -> None:
        await told(store, "1")
        await rows(store, f"UPDATE subscriptions SET {change}")
        assert (await store.replays.again(1, NOW)).held == words

    run(story)


def test_an_endpoint_that_has_not_consented_is_told_of(run: Run) -> None:
    async def story(store: Store) -> None:
        await only(store, origin="shop.example")
        await told(store, "1")
        words = "the endpoint of a has not consented to deliveries yet"
        assert (await store.replays.again(1, NOW)).held == words
        await store.catalog.consent({"a": Handshake(state=Consent.DENIED)})
        assert (await store.replays.again(1, NOW)).held == words
        await store.catalog.consent({"a": Handshake(state=Consent.GRANTED)})
        assert (await store.replays.again(1, NOW)).held is None

    run(story)


def test_in_a_lane_it_goes_to_the_end(run: Run) -> None:
    async def story(store: Store) -> None:
        await only(store, ordering=Ordering.ORDER)
        await told(store, "1", "1", "2")
        assert await sent(store, 1) == [1]  # dl_2 leads its lane now, dl_3 another one
        await told(store, "1")
        again = [await store.replays.again(number, NOW) for number in (1, 4, 2, 3)]
        assert [(one.made, one.behind) for one in again] == [(5, 2), (6, 2), (2, None), (3, None)]
        orders = []
        while (numbers := await sent(store, 1)) != []:
            orders.extend(numbers)
        assert orders == [2, 3, 4, 5, 6]
        assert (await store.replays.again(1, NOW)).behind is None

    run(story)


def test_what_is_parked_is_tried_anew(run: Run) -> None:
    async def story(store: Store) -> None:
        await only(store, ordering=Ordering.ORDER)
        await told(store, "1")
        (one,) = (await store.queue.claim({1: Wanted(1)}, NOW)).deliveries
        await store.queue.settle([settlement(one, Step.PARK, reason="used up")])
        assert (await store.replays.again(1, NOW)).made == 1
        (one,) = (await store.queue.claim({1: Wanted(1)}, NOW)).deliveries
        assert (one.attempts, one.first_at, one.number) == (0, None, 1)

    run(story)


def test_a_batch_is_sent_again_as_a_whole_until_it_has_ended(run: Run) -> None:
    async def story(store: Store) -> None:
        await only(store, mode=Mode.BATCH, batch_size=2, batch_wait=Millis(0))
        await told(store, "1", "2")
        (one,) = (await store.queue.claim({1: Wanted(1, 2)}, NOW)).deliveries
        for number in (1, 2):
            with pytest.raises(Conflict, match=f"dl_{number} is in flight"):
                await store.replays.again(number, NOW)
        await store.queue.settle([settlement(one, Step.RETRY, due=LATER)])
        again = await store.replays.again(2, NOW)
        assert (again.made, again.batch) == (1, True)
        (one,) = (await store.queue.claim({1: Wanted(1, 2)}, NOW)).deliveries
        assert (one.size, one.manual) == (2, LATER)
        await store.queue.settle([settlement(one, Step.DELIVERED)])
        assert (await store.replays.again(2, NOW)).made == 3
        (one,) = (await store.queue.claim({1: Wanted(1, 2)}, NOW)).deliveries
        assert (one.id, one.size) == (3, 1)

    run(story)
