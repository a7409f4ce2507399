"""Replay jobs: what a filter chooses, what is left out, what a restart finds of them."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import NotFound
from gateway.matching import wants_type
from gateway.models import Millis, Ordering
from gateway.retries import Step
from gateway.stores.base import Wanted
from gateway.stores.registry import Store, make_store
from gateway.stores.replaying import Chosen, Replay
from gateway.stores.sqlite import choosing, replays
from gateway.stores.sqlite.keys import key
from tests.stores.test_behaviour import NOW, settlement
from tests.stores.test_replays import A, B, Run, only, rows, sent, told


async def finished(store: Store, replay: Replay) -> Replay:
    """Do a job to its end."""
    while replay.finished_at is None:
        replay = await store.replays.step(replay.id, NOW)
    return replay


async def chosen_by(store: Store, chosen: Chosen) -> list[int]:
    """The deliveries that a job sends again, checked against what its preview says."""
    preview = await store.replays.preview(chosen)
    (last,) = (await rows(store, "SELECT max(id) FROM deliveries"))[0]
    replay = await finished(store, await store.replays.start(chosen, NOW))
    made = await rows(store, "SELECT reason FROM deliveries WHERE id > ? ORDER BY id", last)
    found = [int(row[0].removeprefix("replay of dl_")) for row in made]
    assert (preview.total, sum(preview.subscriptions.values())) == (len(found), len(found))
    assert list(preview.first) == [f"dl_{number}" for number in found[: choosing.FIRST]]
    assert (replay.sent, replay.looked, replay.skipped) == (len(found), replay.total, 0)
    await rows(store, "DELETE FROM deliveries WHERE id > ?", last)
    return found


@pytest.mark.parametrize(
    ("chosen", "deliveries"),
    [
        (Chosen(delivery=3), [3]),
        (Chosen(delivery=3, state="dead"), []),
        (Chosen(order="1"), [1, 2, 5, 6]),
        (Chosen(order="1", subscription="b"), [2, 6]),
        (Chosen(subscription="a"), [1, 3, 5]),
        (Chosen(state="dead"), [2]),
        (Chosen(type="order.created"), [1, 2, 3, 4, 5, 6]),
        (Chosen(type="order.*", subscription="b"), [2, 4, 6]),
        (Chosen(type="*", state="delivered"), [1, 3, 4, 5, 6]),
        (Chosen(type="order.paid"), []),
        (Chosen(since=Millis(NOW + 1)), [3, 4, 5, 6]),
        (Chosen(since=Millis(NOW + 1), until=Millis(NOW + 2)), [3, 4]),
        (Chosen(until=NOW), []),
        (Chosen(delivery=1, order="2"), []),
    ],
)
@pytest.mark.parametrize("limit", [1, 2, 200])
def test_filters(
    run: Run, monkeypatch: pytest.MonkeyPatch, chosen: Chosen, deliveries: list[int], limit: int
) -> None:
    monkeypatch.setattr(replays, "SENT", limit)
    monkeypatch.setattr(choosing, "SCANNED", 4 if limit == 2 else 20_000)

    async def story(store: Store) -> None:
        await told(store, "1", "2", "1")
        await rows(store, "UPDATE events SET recorded = ? + id - 1", NOW)
        await rows(store, "UPDATE deliveries SET state = iif(id = 2, 3, 2)")
        assert await chosen_by(store, chosen) == deliveries

    run(story)


def test_by_event(run: Run) -> None:
    async def story(store: Store) -> None:
        await told(store, "1", "2")
        await rows(store, "UPDATE deliveries SET state = 2")
        ((event,),) = await rows(store, "SELECT event_id FROM events WHERE id = 2")
        assert await chosen_by(store, Chosen(event=event)) == [3, 4]
        assert await chosen_by(store, Chosen(event=event, subscription="b")) == [4]
        assert await chosen_by(store, Chosen(event=event, order="1")) == []

    run(story)


def test_by_the_shop_where_two_have_an_order_of_one_number(run: Run) -> None:
    async def story(store: Store) -> None:
        await told(store, "1", "1")
        await rows(store, "UPDATE deliveries SET state = 2")
        await rows(store, "INSERT INTO shops VALUES ('two')")
        await rows(
            store,
            "INSERT INTO orders (key, shop, order_id, seq, updated_at, state)"
            " VALUES (?, 'two', '1', 1, ?, x'')",
            *(key("two", "1"), NOW),
        )
        await rows(
            store,
            "UPDATE events SET shop = 'two',"
            " order_row = (SELECT id FROM orders WHERE shop = 'two') WHERE id = 2",
        )
        assert await chosen_by(store, Chosen(order="1")) == [1, 2, 3, 4]
        assert await chosen_by(store, Chosen(order="1", shop="default")) == [1, 2]
        assert await chosen_by(store, Chosen(order="1", shop="two", subscription="a")) == [3]
        assert await chosen_by(store, Chosen(shop="two")) == [3, 4]
        with pytest.raises(NotFound, match="there is no order 1 of shop three"):
            await store.replays.preview(Chosen(order="1", shop="three"))

    run(story)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (Chosen(delivery=9), "delivery dl_9"),
        (Chosen(event="evt_9"), "event evt_9"),
        (Chosen(order="9"), "order 9"),
        (Chosen(subscription="nobody"), "subscription nobody"),
    ],
)
def test_unknown_names(run: Run, chosen: Chosen, words: str) -> None:
    async def story(store: Store) -> None:
        await told(store, "1")
        for act in (store.replays.preview(chosen), store.replays.start(chosen, NOW)):
            with pytest.raises(NotFound, match=f"there is no {words}"):
                await act
        with pytest.raises(NotFound, match="no replay job 1"):
            await store.replays.find(1)

    run(story)


def test_only_the_last_of_several_deliveries_counts(run: Run) -> None:
    async def story(store: Store) -> None:
        await only(store)
        await told(store, "1")
        await sent(store)
        await store.replays.again(1, NOW)
        await sent(store)
        assert await chosen_by(store, Chosen(subscription="a")) == [2]
        assert await chosen_by(store, Chosen(delivery=1)) == [1]  # it was named

    run(story)


def test_what_is_left_out(run: Run) -> None:
    async def story(store: Store) -> None:
        await store.catalog.sync([msgspec.structs.replace(A, ordering=Ordering.ORDER)])
        await told(store, "1", "1", "2", "3")
        (one, _) = (await store.queue.claim({1: Wanted(2)}, NOW)).deliveries
        (last,) = (await store.queue.claim({1: Wanted(1)}, NOW)).deliveries
        await store.queue.settle([settlement(last, Step.PARK)])
        assert one.id == 1
        # dl_1 and dl_3 are in flight, dl_2 waits behind dl_1, dl_4 is parked.
        preview = await store.replays.preview(Chosen(subscription="a"))
        assert (preview.total, list(preview.first)) == (1, ["dl_4"])
        replay = await store.replays.start(Chosen(subscription="a"), NOW)
        replay = await finished(store, replay)
        assert (replay.looked, replay.sent, replay.waiting, replay.skipped) == (4, 1, 0, 3)
        assert await rows(store, "SELECT id, state FROM deliveries") == [
            *((1, 1), (2, -1), (3, 1), (4, 0)),
        ]
        await store.catalog.sync([])
        replay = await store.replays.start(Chosen(delivery=4), NOW)
        assert (await finished(store, replay)).skipped == 1
        assert (await store.replays.preview(Chosen(delivery=4))).total == 0

    run(story)


def test_a_job_goes_to_the_ends_of_lanes(run: Run) -> None:
    async def story(store: Store) -> None:
        await only(store, ordering=Ordering.ORDER)
        await told(store, "1", "1", "2")
        assert await sent(store) == [1, 3]
        replay = await finished(store, await store.replays.start(Chosen(state="delivered"), NOW))
        assert (replay.sent, replay.waiting) == (2, 1)
        found = await rows(store, "SELECT reason, state, lane FROM deliveries WHERE id > 3")
        assert found == [("replay of dl_1", -1, 1), ("replay of dl_3", 0, 2)]

    run(story)


def test_what_went_on_meanwhile_is_not_sent_for_the_state_that_it_had(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(store: Store) -> None:
        await only(store)
        await told(store, "1")
        replay = await store.replays.start(Chosen(state="pending"), NOW)
        find = choosing.next_slice

        async def slowly(*arguments: Any) -> choosing.Slice:
            found = await find(*arguments)
            await sent(store)
            return found

        monkeypatch.setattr(replays, "next_slice", slowly)
        replay = await store.replays.step(replay.id, NOW)
        assert (replay.sent, replay.finished_at) == (0, NOW)

    run(story)


def test_two_that_do_the_same_slice_do_it_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "SENT", 2)

    async def story(store: Store) -> None:
        await only(store)
        await told(store, *"123")
        await sent(store)
        replay = await store.replays.start(Chosen(subscription="a"), NOW)
        await asyncio.gather(*(store.replays.step(replay.id, NOW) for _ in range(4)))
        await finished(store, replay)
        assert await rows(store, "SELECT count(*) FROM deliveries") == [(6,)]

    run(story)


def test_nothing_to_look_at(run: Run) -> None:
    async def story(store: Store) -> None:
        replay = await store.replays.start(Chosen(subscription="a"), NOW)
        assert [one.id for one in await store.replays.unfinished()] == [replay.id]
        assert (await store.replays.step(replay.id, NOW)).finished_at == NOW
        assert await store.replays.unfinished() == []
        assert (await store.replays.preview(Chosen(subscription="a"))).total == 0

    run(story)


async def opened(path: Path) -> Store:
    store = make_store(f"sqlite:///{path}", on_fatal=print)
    store.open()
    await store.start()
    await store.catalog.sync([A, B])
    return store


def copied(path: Path, number: int) -> Path:
    """The file as a `kill -9` at this moment would leave it."""
    copy = path.with_name(f"{number}.db")
    copy.touch(0o600)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    source.close()
    target.close()
    return copy


def test_a_restart_between_slices_makes_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, "SENT", 3)

    async def story() -> None:
        path = tmp_path / "0.db"
        store = await opened(path)
        await told(store, *map(str, range(10)))
        await rows(store, "UPDATE deliveries SET state = 2")
        replay = await store.replays.start(Chosen(subscription="a"), NOW)
        for number in range(1, 9):
            replay = await store.replays.step(replay.id, NOW)
            if replay.finished_at is not None:
                break
            path = copied(path, number)
            await store.close()
            store = await opened(path)
            assert [one.id for one in await store.replays.unfinished()] == [replay.id]
        made = await rows(store, "SELECT event FROM deliveries WHERE state = 0 ORDER BY id")
        assert [row[0] for row in made] == list(range(1, 11))
        assert (replay.sent, replay.looked, replay.total) == (10, 10, 10)
        await store.close()

    asyncio.run(story())


def test_names_that_are_gone_when_a_job_goes_on_end_it(tmp_path: Path) -> None:
    async def story() -> None:
        store = await opened(tmp_path / "0.db")
        await told(store, "1")
        replay = await store.replays.start(Chosen(order="1"), NOW)
        await rows(store, "DELETE FROM deliveries")
        await rows(store, "DELETE FROM orders")
        path = copied(tmp_path / "0.db", 1)
        await store.close()
        store = await opened(path)
        replay = await store.replays.step(replay.id, NOW)
        assert (replay.sent, replay.finished_at) == (0, NOW)
        await store.close()

    asyncio.run(story())


WORD = st.sampled_from(["order", "paid", "gateway", "printstudio", "Order", "a-b", "order2"])
NAMES = st.lists(WORD, min_size=1, max_size=3).map(".".join)


@given(pattern=st.one_of(st.just("*"), NAMES, NAMES.map("{}.*".format)), types=st.lists(NAMES))
def test_a_pattern_means_the_same_in_sql(pattern: str, types: Sequence[str]) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE e (type TEXT)")
    connection.executemany("INSERT INTO e VALUES (?)", [(one,) for one in types])
    condition, parameters = choosing.of_type(pattern)
    found = connection.execute(f"SELECT type FROM e WHERE {condition} ORDER BY rowid", parameters)
    assert [row[0] for row in found] == [one for one in types if wants_type([pattern], one)]
    connection.close()
