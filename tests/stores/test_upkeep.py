"""Retention: what is too old goes in slices, and nothing that is still needed goes with it."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Unavailable
from gateway.events import Writer
from gateway.matching import pack
from gateway.models import Millis, Subscription
from gateway.operations import Operations
from gateway.signing import generate_secret
from gateway.stores.base import Wanted
from gateway.stores.registry import Store, make_store
from gateway.stores.sqlite.upkeep import AGAIN, BUDGET, LOOKED, SLICE, SqliteUpkeep
from gateway.stores.upkeep import Cutoffs, Removed, SourceState

NOW = 100 * AGAIN
OLD, YOUNG = 10 * AGAIN, 99 * AGAIN
BY_NOW = 50 * AGAIN  # older than this goes
DONE, PENDING = 2, 0


def cutoffs(*, callbacks: int = 0, hashes: int = 0, events: int = 0, attempts: int = 0) -> Cutoffs:
    return Cutoffs(
        callbacks=Millis(max(callbacks, hashes)),
        hashes=Millis(hashes),
        events=Millis(events),
        attempts=Millis(attempts),
    )


ALL = cutoffs(hashes=BY_NOW, events=BY_NOW, attempts=BY_NOW)


class Rows:
    """Writes rows past the store, with a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self("PRAGMA synchronous = OFF")
        self._numbers = count(1)

    def __call__(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, parameters).fetchall()

    def one(self, sql: str) -> Any:
        return self(sql)[0][0]

    def _insert(self, table: str, **values: object) -> int:
        marks = ", ".join("?" for _ in values)
        sql = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})"
        number = self._connection.execute(sql, tuple(values.values())).lastrowid
        assert number is not None
        return number

    def callback(self, at: int, verdict: str = "event", body: bytes = b"{}") -> int:
        name = f"evt-{next(self._numbers)}"
        return self._insert(
            "callbacks",
            source="shop",
            provider="printstudio",
            shop="default",
            event_id=name,
            event_type="x",
            dedupe=name.encode(),
            body_hash=b"",
            received_at=at,
            headers=b"\x90" * 9,
            body=body,
            verdict=verdict,
            reason="",
            notes=b"[]",
        )

    def event(self, at: int, callback: int | None = None) -> int:
        return self._insert(
            "events",
            event_id=f"evt_{next(self._numbers)}",
            type="order.paid",
            source="shop",
            shop="default",
            time=at,
            recorded=at,
            callback=callback,
            routing=b"",
            body=b'{"body": 1}',
        )

    def delivery(self, event: int, state: int = DONE, *attempts: int) -> int:
        number = self._insert(
            "deliveries", event=event, subscription=1, state=state, due=0, number=len(attempts)
        )
        for place, at in enumerate(attempts, 1):
            self._insert(
                "attempts",
                delivery=number,
                number=place,
                started_at=at,
                duration=1.0,
                detail="",
                head=b"",
            )
        return number

    def unlinked(self, callback: int) -> int:
        return self._insert(
            "unlinked", callback=callback, shop="default", since=OLD, entry=b"a fact"
        )

    def close(self) -> None:
        self._connection.close()

    def ids(self, table: str) -> list[int]:
        return [row[0] for row in self(f"SELECT id FROM {table} ORDER BY id")]


async def prune_all(upkeep: SqliteUpkeep, until: Cutoffs = ALL) -> list[Removed]:
    """Slices until there is nothing more."""
    slices = [Removed(more=True)]
    while slices[-1].more:
        slices.append(await upkeep.prune(until))
        assert len(slices) < 1_000, "it does not end"
    return slices[1:]


Story = Callable[[Store, Rows], Any]


@pytest.fixture
def told(run: Callable[..., None]) -> Callable[[Story], None]:
    """Run a story with a store and its rows."""

    def runner(story: Story) -> None:
        async def whole(store: Store) -> None:
            with closing(Rows(store.path)) as rows:
                await story(store, rows)

        run(whole)

    return runner


def test_old_attempts_go_but_not_those_of_unfinished_deliveries(told: Any) -> None:
    async def story(store: Store, rows: Rows) -> None:
        event = rows.event(YOUNG)
        for state in (DONE, 3, PENDING, -2, -1, -3, 1, DONE):
            rows.delivery(event, state, OLD, OLD, YOUNG)
        slices = await prune_all(store.upkeep, cutoffs(attempts=BY_NOW))
        assert sum(one.attempts for one in slices) == 6
        left = rows("SELECT delivery, count(*) FROM attempts GROUP BY delivery")
        assert left == [(1, 1), (2, 1), (3, 3), (4, 3), (5, 3), (6, 3), (7, 3), (8, 1)]

    told(story)


def test_old_events_go_with_their_deliveries_and_attempts(told: Any) -> None:
    async def story(store: Store, rows: Rows) -> None:
        for at in (OLD, OLD, YOUNG, YOUNG):
            event = rows.event(at)
            rows.delivery(event, DONE, YOUNG)
            rows.delivery(event, 3, YOUNG, YOUNG)
        slices = await prune_all(store.upkeep, cutoffs(events=BY_NOW))
        assert sum(one.events for one in slices) == 2
        assert rows.ids("events") == [3, 4]
        assert rows.ids("deliveries") == [5, 6, 7, 8]
        assert rows.one("SELECT count(*) FROM attempts") == 6
        assert rows.one("SELECT min(delivery) FROM attempts") == 5

    told(story)


def test_an_unfinished_delivery_keeps_its_event_and_nothing_else(told: Any) -> None:
    async def story(store: Store, rows: Rows) -> None:
        for state in (-3, -2, -1, 0, 1, DONE, 3):
            event = rows.event(OLD, rows.callback(OLD))
            rows.delivery(event, DONE, OLD)
            rows.delivery(event, state, OLD)
        rows.event(YOUNG, rows.callback(YOUNG))
        rows.delivery(8)
        await prune_all(store.upkeep)
        assert rows.ids("events") == [1, 2, 3, 4, 5, 8]
        assert rows.ids("deliveries") == [*range(1, 11), 15]

    told(story)


def test_what_had_to_stay_is_looked_at_again_a_day_later_and_not_sooner(told: Any) -> None:
    async def story(store: Store, rows: Rows) -> None:
        rows("BEGIN")
        for _ in range(3 * LOOKED):
            rows.delivery(rows.event(OLD), PENDING, OLD)
        rows("COMMIT")
        rows.event(YOUNG)
        first = await prune_all(store.upkeep)
        assert len(first) >= 3 + 1
        rows("UPDATE deliveries SET state = 2")
        rows.delivery(3 * LOOKED + 1)
        hour, day = cutoffs(events=BY_NOW + AGAIN // 24), cutoffs(events=BY_NOW + AGAIN)
        assert await store.upkeep.prune(hour) == Removed()
        removed = await prune_all(store.upkeep, day)
        assert sum(one.events for one in removed) == 3 * LOOKED

    told(story)


def test_history_that_is_still_to_be_told_stays(told: Any) -> None:
    async def story(store: Store, rows: Rows) -> None:
        for _ in range(10):
            rows.delivery(rows.event(OLD))
        rows.delivery(rows.event(YOUNG))
        rows("UPDATE subscriptions SET history = 4 WHERE name = 'b'")
        await prune_all(store.upkeep)
        assert rows.ids("events") == [5, 6, 7, 8, 9, 10, 11]
        rows("UPDATE subscriptions SET history = NULL")
        await prune_all(store.upkeep)
        assert rows.ids("events") == [11]

    told(story)


@pytest.mark.parametrize("change", ["enabled = 0", "state = 'gone'"])
def test_history_that_nobody_is_told_keeps_nothing(told: Any, change: str) -> None:
    async def story(store: Store, rows: Rows) -> None:
        for _ in range(10):
            rows.event(OLD)
        rows.event(YOUNG)
        rows(f"UPDATE subscriptions SET history = 4, {change} WHERE name = 'b'")
        await prune_all(store.upkeep)
        assert rows.ids("events") == [11]
        # Told after all, it goes on with what is left.
        rows("UPDATE subscriptions SET enabled = 1, state = 'active'")
        (b,) = (s for s in await store.catalog.refresh() if s.subscription.name == "b")
        await store.replays.catch_up(b.subscription.id, Millis(NOW))
        assert rows("SELECT event FROM deliveries") == [(11,)]
        assert rows.one("SELECT max(history) FROM subscriptions") is None

    told(story)


def test_revisions_go_with_the_last_event_that_refers_to_them(told: Any) -> None:
    async def story(store: Store, rows: Rows) -> None:
        def revisions() -> list[int]:
            return [row[0] for row in rows("SELECT revision FROM revisions ORDER BY revision")]

        async def added(count: int) -> None:
            for _ in range(count):
                name = f"s{revisions()[-1]}"
                made = Subscription(id=0, name=name, url="http://s.example/")
                await store.catalog.create(made, generate_secret(), Millis(NOW))

        await added(SLICE + 20)
        assert len(await prune_all(store.upkeep)) == 1  # without events nobody knows
        newest = revisions()[-1]
        assert revisions() == list(range(1, newest + 1))
        for at, revision in ((OLD, 3), (OLD, 50), (YOUNG, newest - 1), (YOUNG, newest)):
            event = rows.event(at)
            rows("UPDATE events SET routing = ? WHERE id = ?", pack(revision, []), event)
        removed = await prune_all(store.upkeep)
        assert rows.ids("events") == [3, 4]
        assert revisions() == [newest - 1, newest]
        assert sum(piece.revisions for piece in removed) == newest - 2
        # It is never the newest that goes, whatever stands in an event.
        rows("UPDATE events SET routing = ?", pack(newest + 9, []))
        await prune_all(store.upkeep)
        assert revisions() == [newest]
        await added(1)
        assert revisions() == [newest, newest + 1]

    told(story)


def test_what_a_replay_job_has_yet_to_look_at_stays(told: Any) -> None:
    async def story(store: Store, rows: Rows) -> None:
        for _ in range(10):
            rows.delivery(rows.event(OLD))
        rows.delivery(rows.event(YOUNG))
        rows(
            "INSERT INTO replays (chosen, made_at, upto, cursor, looked, total, sent, waiting,"
            " skipped) VALUES (x'', 0, 8, 5, 0, 0, 0, 0, 0)"
        )
        await prune_all(store.upkeep)
        assert rows.ids("deliveries") == [6, 7, 8, 11]

    told(story)


def test_a_callback_is_emptied_and_known_as_a_repeat_until_its_hash_goes(told: Any) -> None:
    async def story(store: Store, rows: Rows) -> None:
        numbers = [rows.callback(OLD, "ignored", b"x" * 10_000) for _ in range(3)]
        rows.callback(YOUNG)
        slices = await prune_all(store.upkeep, cutoffs(callbacks=BY_NOW))
        assert sum(one.emptied for one in slices) == 3
        found = rows("SELECT headers, body, dedupe, verdict FROM callbacks WHERE id < 4")
        assert found[0] == (b"\x90", b"", b"evt-1", "ignored")
        stored = await store.outbox.stored(f"cb_{numbers[0]}")
        assert (stored.callback.body, list(stored.callback.headers)) == (b"", [])
        assert rows.one("SELECT length(body) FROM callbacks WHERE id = 4") == 2
        slices = await prune_all(store.upkeep, cutoffs(hashes=BY_NOW))
        assert sum(one.callbacks for one in slices) == 3
        assert rows.ids("callbacks") == [4]

    told(story)


def test_what_waits_for_its_order_or_for_a_fix_is_never_touched(told: Any) -> None:
    async def story(store: Store, rows: Rows) -> None:
        rows.callback(OLD, "quarantined", b"broken")
        rows.unlinked(rows.callback(OLD, "unlinked", b"waits"))
        rows.unlinked(rows.callback(OLD, "event", b"one of its facts waits"))
        rows.callback(YOUNG)
        before = rows("SELECT * FROM callbacks")
        await prune_all(store.upkeep)
        assert rows("SELECT * FROM callbacks") == before
        rows("UPDATE callbacks SET verdict = 'ignored'")
        rows("DELETE FROM unlinked")
        await prune_all(store.upkeep, cutoffs(hashes=BY_NOW + AGAIN))
        assert rows.ids("callbacks") == [4]

    told(story)


def test_a_callback_stays_as_long_as_its_events(told: Any) -> None:
    """Read anew, it could make an event under the same id, which the outbox cannot take."""

    async def story(store: Store, rows: Rows) -> None:
        number = rows.callback(OLD)
        rows.event(OLD, number)
        rows.event(OLD, number)
        rows.callback(YOUNG)
        rows.event(YOUNG)
        await prune_all(store.upkeep, cutoffs(hashes=BY_NOW))
        assert rows.ids("callbacks") == [1, 2]
        await prune_all(store.upkeep, ALL)
        assert (rows.ids("callbacks"), rows.ids("events")) == ([2], [3])

    told(story)


def test_the_newest_rows_stay_so_that_no_id_comes_again(told: Any) -> None:
    async def story(store: Store, rows: Rows) -> None:
        for _ in range(5):
            rows.delivery(rows.event(OLD, rows.callback(OLD)), DONE, OLD)
        rows.delivery(2)  # sent again: the newest delivery is not that of the newest event
        rows.callback(OLD, "ignored")
        await prune_all(store.upkeep)
        tables = ("callbacks", "events", "deliveries")
        assert [max(rows.ids(table)) for table in tables] == [6, 5, 6]
        assert rows.ids("events") == [2, 5]

    told(story)


def test_a_clock_that_was_set_does_not_end_the_walk(told: Any) -> None:
    async def story(store: Store, rows: Rows) -> None:
        for at in (OLD, NOW * 2, OLD, OLD, YOUNG):
            rows.event(at)
        await prune_all(store.upkeep)
        assert rows.ids("events") == [2, 5]

    told(story)


def test_slices_are_small(told: Any) -> None:
    async def story(store: Store, rows: Rows) -> None:
        rows("BEGIN")
        for _ in range(3 * SLICE):
            rows.delivery(rows.event(OLD, rows.callback(OLD)), DONE, OLD)
        rows("COMMIT")
        for one in await prune_all(store.upkeep):
            assert one.attempts + one.events + one.callbacks + one.emptied <= SLICE
        assert len(rows.ids("events")) == 1

    told(story)


def test_a_slice_ends_when_its_time_is_over(told: Any) -> None:
    async def story(store: Store, rows: Rows) -> None:
        for _ in range(5):
            rows.event(OLD)
        slow = count()
        upkeep = SqliteUpkeep(
            store._writer, route=lambda: store.catalog.routes, seconds=lambda: next(slow)
        )
        assert [one.events for one in await prune_all(upkeep)] == [1, 1, 1, 1, 0]

    told(story)


def test_a_slice_that_was_lost_or_run_twice_leaves_nothing_out(told: Any) -> None:
    async def story(store: Store, rows: Rows) -> None:
        for _ in range(6):
            rows.event(OLD)

        def fails(_: object) -> None:
            raise ValueError("made by a test")

        pruning = asyncio.create_task(store.upkeep.prune(ALL))
        await asyncio.sleep(0)  # it is queued, and the other one goes with it
        with pytest.raises(ValueError, match="made by a test"):
            await store._writer.submit(fails)
        assert await pruning == Removed(events=5, more=True)
        assert rows.ids("events") == [6]
        for _ in range(3):
            rows.event(OLD)
        connection = store._writer._connection
        assert connection is not None
        connection.set_authorizer(_no_deletes)
        with pytest.raises(Unavailable):
            await store.upkeep.prune(ALL)
        connection.set_authorizer(None)
        await prune_all(store.upkeep)
        assert rows.ids("events") == [9]

    told(story)


def _no_deletes(action: int, *_: object) -> int:
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_DELETE else sqlite3.SQLITE_OK


def test_free_pages_go_back_to_the_disk_in_slices(told: Any) -> None:
    async def story(store: Store, rows: Rows) -> None:
        assert await store.upkeep.shrink() is False
        rows("BEGIN")
        for _ in range(300):
            rows.callback(OLD, "ignored", b"x" * 20_000)
        rows("COMMIT")
        rows.callback(YOUNG)
        await prune_all(store.upkeep)
        before, steps = rows.one("PRAGMA page_count"), count()
        upkeep = SqliteUpkeep(
            store._writer,
            route=lambda: store.catalog.routes,
            seconds=lambda: next(steps) * BUDGET / 100,
        )
        assert await upkeep.shrink() is True
        assert before - 110 <= rows.one("PRAGMA page_count") < before - 90
        while await upkeep.shrink():
            pass
        assert rows.one("PRAGMA page_count") < before / 5

    told(story)


def test_what_is_known_of_sources_is_written_with_its_events(told: Any) -> None:
    async def story(store: Store, rows: Rows) -> None:
        assert await store.upkeep.sources() == {}
        states = {"shop": SourceState(last_at=Millis(5), silent_since=Millis(9))}
        event = Operations(Writer(""), clock=lambda: Millis(9)).source("silent", "shop", "why")
        await store.upkeep.remember(states, [event])
        assert await store.upkeep.sources() == states
        assert rows.one("SELECT type FROM events") == "gateway.source.silent"
        with pytest.raises(sqlite3.IntegrityError):  # the same event twice
            await store.upkeep.remember({"shop": SourceState()}, [event])
        assert await store.upkeep.sources() == states

    told(story)


WORLD = st.lists(
    st.tuples(
        st.sampled_from(["event", "ignored", "quarantined", "unlinked"]),
        st.integers(0, 99),  # days
        st.lists(st.tuples(st.sampled_from([-2, 0, 0, 2, 2, 3]), st.integers(0, 3)), max_size=3),
    ),
    max_size=30,
)


@settings(max_examples=40, deadline=None)
@given(world=WORLD, days=st.tuples(*(st.integers(0, 99) for _ in range(4))))
def test_whatever_goes_everything_unfinished_can_go_on(
    tmp_path_factory: pytest.TempPathFactory, world: Any, days: tuple[int, ...]
) -> None:
    path = tmp_path_factory.mktemp("world") / "store.db"

    async def story() -> None:
        store = make_store(f"sqlite:///{path}", on_fatal=lambda _: None)
        store.open()
        await store.start()
        await store.catalog.sync([Subscription(id=0, name="a", url="http://a.example/")])
        rows = Rows(path)
        try:
            await unfinished_goes_on(store, rows)
        finally:
            rows.close()
            await store.close()

    async def unfinished_goes_on(store: Store, rows: Rows) -> None:
        _fill(rows, world)
        waiting = "SELECT d.id, e.body FROM deliveries d JOIN events e ON e.id = d.event"
        kept = (
            f"{waiting} WHERE state < 2",
            "SELECT * FROM attempts WHERE delivery IN (SELECT id FROM deliveries WHERE state < 2)",
            "SELECT * FROM callbacks WHERE verdict = 'quarantined'",
            "SELECT * FROM unlinked u JOIN callbacks c ON c.id = u.callback",
        )
        before = [rows(sql) for sql in kept]
        ages = [Millis(day * AGAIN) for day in sorted(days)]
        until = Cutoffs(hashes=ages[0], callbacks=ages[1], events=ages[2], attempts=ages[3])
        await prune_all(store.upkeep, until)
        assert [rows(sql) for sql in kept] == before
        pending = rows.one("SELECT count(*) FROM deliveries WHERE state = 0")
        claimed = await store.queue.claim({1: Wanted(1_000)}, Millis(NOW))
        assert len(claimed.deliveries) == pending
        _assert_whole(rows, until)
        await store.close()

    asyncio.run(story())


def _fill(rows: Rows, world: Any) -> None:
    rows("BEGIN")
    for verdict, day, deliveries in world:
        callback = rows.callback(day * AGAIN, verdict)
        if verdict == "unlinked":
            rows.unlinked(callback)
        if verdict == "event":
            event = rows.event(day * AGAIN, callback)
            for state, attempts in deliveries:
                rows.delivery(event, state, *[day * AGAIN] * attempts)
    rows("COMMIT")


def _assert_whole(rows: Rows, until: Cutoffs) -> None:
    """Nothing hangs in the air, and what is done and too old is gone, but for the newest rows."""
    missing = "SELECT count(*) FROM {0} WHERE {1} NOT IN (SELECT id FROM {2})"
    assert rows.one(missing.format("deliveries", "event", "events")) == 0
    assert rows.one(missing.format("attempts", "delivery", "deliveries")) == 0
    old = rows(
        "SELECT id FROM events e WHERE recorded < ? AND id < (SELECT max(id) FROM events)"
        " AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event = e.id"
        " AND (state < 2 OR id = (SELECT max(id) FROM deliveries)))",
        until.events,
    )
    assert old == []
