"""Filters in a store: history, what is sent again, and what is said when they have changed."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.models import Millis, Subscription
from gateway.stores.base import Wanted
from gateway.stores.registry import Store
from gateway.stores.replaying import Chosen
from gateway.stores.sqlite import catching_up
from gateway.stores.sqlite.records import SqliteRecords
from tests.stores.test_behaviour import NOW
from tests.stores.test_catching_up import caught_up, made, subscribed
from tests.stores.test_replays import A, Run, rows, told

ONLY_2 = ({"exact": {"subject": "2"}},)
NEW = Subscription(id=0, name="new", url="http://new.example/", types=("*",))


async def declared(store: Store, **settings: Any) -> int:
    """Declare `new` beside `a`, without history; its id."""
    statuses = await store.catalog.sync([A, msgspec.structs.replace(NEW, **settings)])
    return next(one.subscription.id for one in statuses if one.subscription.name == "new")


def test_history_is_what_they_let_through(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catching_up, "SLICE", 2)

    async def story(store: Store) -> None:
        await told(store, "1", "2", "3", "2")
        number = await subscribed(store, filters=ONLY_2)
        await told(store, "2", "1")
        await caught_up(store, number)
        assert await made(store, number) == [2, 4, 5]
        await told(store, "1", "2")
        assert await made(store, number) == [2, 4, 5, 8]

    run(story)


def test_those_of_a_created_one_are_kept(run: Run) -> None:
    async def story(store: Store) -> None:
        wanted = msgspec.structs.replace(NEW, name="crm", filters=ONLY_2)
        secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
        status = await store.catalog.create(wanted, secret, NOW)
        assert status.subscription.filters == ONLY_2
        await told(store, "1", "2")
        assert await made(store, status.subscription.id) == [2]

    run(story)


def test_a_replay_is_of_deliveries_that_were_made(run: Run) -> None:
    """As with types: what was for a subscription once is sent again, nothing else ever is."""

    async def story(store: Store) -> None:
        number = await declared(store, filters=ONLY_2)
        await told(store, "1", "2", "3")
        claimed = await store.queue.claim({number: Wanted(9)}, NOW)
        assert len(claimed.deliveries) == 1
        await store.queue.release(claimed.deliveries)
        preview = await store.replays.preview(Chosen(subscription="new"))
        assert preview.total == 1
        job = await store.replays.start(Chosen(subscription="new"), NOW)
        done = await store.replays.step(job.id, Millis(NOW + 1))
        assert (done.sent, done.finished_at) == (1, NOW + 1)
        assert set(await made(store, number)) == {2}

    run(story)


def test_which_term_failed_is_said_as_far_as_it_is_known(run: Run) -> None:
    async def reasons(store: Store) -> list[str]:
        files = await rows(store, "PRAGMA database_list")
        (path,) = [Path(file) for _, name, file in files if name == "main"]
        async with SqliteRecords(path) as records:
            events = await records.events(order=None, event_type=None, limit=9)
        found = [one for event in events for one in event.routing if one.subscription == "new"]
        assert [one.matched for one in found] == [False, False, True]
        return [one.reason for one in found[:2]]

    async def story(store: Store) -> None:
        await declared(store, filters=ONLY_2)
        await told(store, "2", "1", "3")
        now = "its filters did not let it through; as they are now, filters[0].exact.subject is "
        changed = "its filters did not let it through; they have changed since, and would let it through now"
        assert await reasons(store) == [f'{now}"3", not "2"', f'{now}"1", not "2"']
        await declared(store, filters=({"exact": {"subject": "1"}},))
        assert await reasons(store) == [
            f'{now}"3", not "1"',
            changed,
        ]
        await declared(store)
        assert await reasons(store) == [changed] * 2
        await rows(store, 'UPDATE subscriptions SET declared = \'{"filters":[{"x":1}]}\'')
        assert await reasons(store) == ["its filters did not let it through"] * 2

    run(story)
