"""Subscriptions in the store: their history, made ones and their secrets, changes, health, names."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import msgspec
import pytest

from gateway.config.values import Secret
from gateway.errors import Conflict, NotFound
from gateway.models import Duration, Millis, Mode, Ordering, Outcome, Subscription
from gateway.retries import Decision, Step
from gateway.signing import generate_secret, parse_secret
from gateway.stores.base import Consent, Handshake, Health, Settlement, Wanted
from gateway.stores.registry import Store
from gateway.stores.sqlite.making import MOST_SECRETS, REMOVED
from tests.stores.test_behaviour import NOW, intake, one_event

Run = Callable[..., None]
A = Subscription(id=0, name="a", url="http://a.example/")
B = Subscription(id=0, name="b", url="http://b.example/")
CRM = Subscription(
    id=0,
    name="crm",
    url="https://crm.example/in?token=t",
    types=("order.paid", "order.created"),
    timeout=Millis(Duration(7_000)),
    headers=(("Authorization", Secret(b"Bearer abc")),),
    final_status=(422,),
    ordering=Ordering.ORDER,
    rate=2.5,
    schedule=(Millis(Duration(1_000)),),
    declared=False,
)


def query(store: Store, sql: str, *parameters: object) -> list[Any]:
    with closing(sqlite3.connect(store.path)) as connection, connection:
        return connection.execute(sql, parameters).fetchall()


async def subscription(store: Store, name: str) -> Subscription:
    statuses = await store.catalog.refresh()
    return next(one.subscription for one in statuses if one.subscription.name == name)


async def accept(store: Store, number: int) -> str:
    """Take in an event of the order in the first row; its id."""
    receipt = await store.outbox.accept(intake(number), one_event)
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("UPDATE events SET order_row = 1")
    return receipt.events[0]


def history(store: Store, name: str) -> int | None:
    ((found,),) = query(store, "SELECT history FROM subscriptions WHERE name = ?", name)
    return found  # type: ignore[no-any-return]


def backdate(store: Store, *recorded: int) -> None:
    """Replace the events by bare ones with these recording times; 0 leaves a gap in the ids."""
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("DELETE FROM deliveries")
        connection.execute("DELETE FROM events")
        connection.executemany(
            "INSERT INTO events (id, event_id, type, source, shop, time, recorded, routing, body)"
            " VALUES (?, ?, 't', 's', 'd', 0, ?, x'', x'')",
            [(number, f"e{number}", at) for number, at in enumerate(recorded, 1) if at],
        )


@pytest.mark.parametrize(
    ("start", "place"),
    [
        *((0, 0), (99, 0), (100, 0), (101, 1), (200, 1), (201, 3), (301, 4), (400, 4)),
        *((500, 7), (501, 8), (10**15, 8)),
    ],
)
def test_history_begins_behind_the_last_event_before_the_time(
    run: Run, start: int, place: int
) -> None:
    async def story(store: Store) -> None:
        backdate(store, 100, 0, 200, 300, 0, 0, 400, 500)
        new = msgspec.structs.replace(A, name="new", start=Millis(start))
        status = next(s for s in await store.catalog.sync([new]) if s.subscription.name == "new")
        assert history(store, "new") == place
        assert status.catching_up
        made = msgspec.structs.replace(CRM, start=Millis(start))
        assert (await store.catalog.create(made, generate_secret(), NOW)).catching_up
        assert history(store, "crm") == place

    run(story)


def test_history_of_an_empty_store_begins_at_the_beginning(run: Run) -> None:
    async def story(store: Store) -> None:
        await store.catalog.sync([msgspec.structs.replace(A, name="new", start=NOW)])
        assert history(store, "new") == 0

    run(story)


def test_history_is_asked_for_once(run: Run) -> None:
    async def story(store: Store) -> None:
        backdate(store, 100, 200)
        old = msgspec.structs.replace(A, start=Millis(0))
        await store.catalog.sync([old])
        assert history(store, "a") is None  # it was there before `from` was
        new = msgspec.structs.replace(A, name="new", start=Millis(0))
        await store.catalog.sync([new])
        with closing(sqlite3.connect(store.path)) as connection, connection:
            connection.execute("UPDATE subscriptions SET history = NULL")
        statuses = await store.catalog.sync([new])
        assert not any(status.catching_up for status in statuses)

    run(story)


def test_a_made_subscription_is_what_was_made(run: Run) -> None:
    async def story(store: Store) -> None:
        secret = generate_secret()
        status = await store.catalog.create(CRM, secret, NOW)
        expected = msgspec.structs.replace(
            CRM, id=status.subscription.id, secrets=(parse_secret(secret),)
        )
        assert status.subscription == expected
        assert status.state == "active"
        await store.catalog.sync([A, B])
        assert await subscription(store, "crm") == expected
        event = await accept(store, 1)
        rows = query(
            store,
            "SELECT e.event_id FROM deliveries d JOIN events e ON e.id = d.event"
            " WHERE d.subscription = ?",
            status.subscription.id,
        )
        assert rows == [(event,)]

    run(story)


def test_what_is_shown_holds_no_secret(run: Run) -> None:
    async def story(store: Store) -> None:
        secret = generate_secret()
        await store.catalog.create(CRM, secret, NOW)
        async with store.records() as records:
            found = await records.subscription("crm")
            with pytest.raises(NotFound):
                await records.subscription("nobody")
        text = msgspec.json.encode(found).decode()
        assert secret not in text
        assert "Bearer" not in text
        assert "token=t" not in text
        assert found.settings["headers"] == ["Authorization"]
        assert found.settings["timeout"] == 7_000
        assert [row.expires_at for row in found.secrets] == [None]
        assert (found.declared, found.subscription.state) == (False, "active")

    run(story)


def test_all_ask_in_another_name_at_once(run: Run) -> None:
    """One by one, each would have the whole catalog read: minutes, with a thousand of them."""

    async def story(store: Store) -> None:
        for number in range(5):
            asking = msgspec.structs.replace(CRM, name=f"s{number}", origin="old.example")
            await store.catalog.create(asking, generate_secret(), NOW)
        await store.catalog.create(CRM, generate_secret(), NOW)
        seen: list[int] = []
        store.catalog.on_change(lambda _: seen.append(1))
        statuses = await store.catalog.sync([A], origin="new.example")
        assert len(seen) == 2
        asking_as = [one.subscription.origin for one in statuses if one.subscription.origin]
        assert asking_as == ["new.example"] * 5
        for origin in (None, "new.example"):
            assert await store.catalog.sync([A], origin=origin) == statuses
        assert len(seen) == 4

    run(story)


def test_names_are_taken_once(run: Run) -> None:
    async def story(store: Store) -> None:
        await store.catalog.create(CRM, generate_secret(), NOW)
        with pytest.raises(Conflict, match="there is already a subscription crm"):
            await store.catalog.create(CRM, generate_secret(), NOW)
        with pytest.raises(Conflict, match="the configuration declares"):
            await store.catalog.create(
                msgspec.structs.replace(CRM, name="a"), generate_secret(), NOW
            )
        assert len(query(store, "SELECT 1 FROM secrets")) == 1

    run(story)


def test_a_declared_name_wins(run: Run) -> None:
    async def story(store: Store) -> None:
        made = await store.catalog.create(CRM, generate_secret(), NOW)
        declared = msgspec.structs.replace(CRM, declared=True, secrets=(b"file",), headers=())
        await store.catalog.sync([A, B, declared])
        now = await subscription(store, "crm")
        assert now == msgspec.structs.replace(declared, id=made.subscription.id)
        assert query(store, "SELECT * FROM secrets") == []
        with pytest.raises(Conflict, match="two entries"):
            await store.catalog.rotate("crm", generate_secret(), NOW, overlap=Millis(0))
        with pytest.raises(Conflict, match="take it out there"):
            await store.catalog.remove("crm", NOW)
        await store.catalog.sync([A, B])
        assert not (await subscription(store, "crm")).enabled
        await store.catalog.remove("crm", NOW)  # nobody declares it any more

    run(story)


def test_without_a_gateway_the_file_says_what_it_declares(run: Run) -> None:
    async def story(store: Store) -> None:
        store.catalog._declared = None  # as in a store that a command has opened
        with pytest.raises(Conflict, match="name that file with --config"):
            await store.catalog.remove("b", NOW)
        with pytest.raises(Conflict, match="take it out there"):
            await store.catalog.remove("b", NOW, declared=["a", "b"])
        await store.catalog.remove("b", NOW, declared=["a"])
        assert [status.subscription.name for status in store.catalog.statuses] == ["a"]

    run(story)


def test_rotated_secrets_sign_until_the_overlap_is_over(run: Run) -> None:
    async def story(store: Store) -> None:
        first, second, third = (generate_secret() for _ in range(3))
        keys = {text: parse_secret(text) for text in (first, second, third)}
        await store.catalog.create(CRM, first, NOW)
        status = await store.catalog.rotate("crm", second, NOW, overlap=Millis(1_000))
        assert status.subscription.secrets == (keys[second], keys[first])
        status = await store.catalog.rotate("crm", third, NOW, overlap=Millis(5_000))
        assert status.subscription.secrets == (keys[third], keys[second], keys[first])
        assert await store.catalog.expire(Millis(NOW + 999)) == NOW + 1_000
        assert len((await subscription(store, "crm")).secrets) == 3
        seen: list[int] = []
        store.catalog.on_change(lambda statuses: seen.append(len(statuses)))
        assert await store.catalog.expire(Millis(NOW + 1_000)) == NOW + 5_000
        assert seen  # who signs was told
        assert (await subscription(store, "crm")).secrets == (keys[third], keys[second])
        assert await store.catalog.expire(Millis(NOW + 5_000)) is None
        assert (await subscription(store, "crm")).secrets == (keys[third],)
        assert len(query(store, "SELECT secret FROM secrets")) == 1

    run(story)


def test_a_rotation_without_overlap_ends_the_others_at_once(run: Run) -> None:
    async def story(store: Store) -> None:
        await store.catalog.create(CRM, generate_secret(), NOW)
        for _ in range(MOST_SECRETS - 1):
            await store.catalog.rotate("crm", generate_secret(), NOW, overlap=Millis(9_000))
        with pytest.raises(Conflict, match="sign already"):
            await store.catalog.rotate("crm", generate_secret(), NOW, overlap=Millis(9_000))
        last = generate_secret()
        status = await store.catalog.rotate("crm", last, NOW, overlap=Millis(0))
        assert status.subscription.secrets == (parse_secret(last),)
        with pytest.raises(NotFound):
            await store.catalog.rotate("nobody", last, NOW, overlap=Millis(0))
        with pytest.raises(ValueError, match="begins with"):
            await store.catalog.rotate("crm", "no secret", NOW, overlap=Millis(0))
        assert (await subscription(store, "crm")).secrets == (parse_secret(last),)

    run(story)


def test_a_removed_one_is_explained_and_its_name_is_free(run: Run) -> None:
    async def story(store: Store) -> None:
        before = await store.catalog.create(CRM, generate_secret(), NOW)
        event = await accept(store, 1)
        await store.catalog.remove("crm", NOW)
        assert all(s.subscription.name != "crm" for s in store.catalog.statuses)
        assert query(store, "SELECT * FROM secrets") == []
        async with store.records() as records:
            (delivery,) = await records.deliveries(subscription="crm", state=None, limit=9)
            assert (delivery.state, delivery.reason) == ("dead", REMOVED)
            assert [row.name for row in await records.subscriptions()] == ["a", "b"]
            (story,) = await records.explain(event)
            assert [(r.subscription, r.matched) for r in story.events[0].routing][2] == (
                "crm",
                True,
            )
        for act in (
            store.catalog.remove("crm", NOW),
            store.catalog.resume("crm"),
            store.catalog.pause("crm", ""),
            store.catalog.rotate("crm", generate_secret(), NOW, overlap=Millis(0)),
        ):
            with pytest.raises(NotFound):
                await act
        assert list(await store.catalog.consent({"crm": Handshake()})) == ["crm"]
        await accept(store, 2)
        assert len(query(store, "SELECT 1 FROM deliveries WHERE state < 2")) == 4  # a and b alone
        after = await store.catalog.create(CRM, generate_secret(), NOW)
        assert after.subscription.id != before.subscription.id
        name = f"crm (removed {before.subscription.id})"
        async with store.records() as records:
            (row,) = await records.deliveries(subscription=name, state=None, limit=9)
            assert row.id == delivery.id
        await store.catalog.remove("crm", NOW)
        await store.catalog.sync([A, B, msgspec.structs.replace(CRM, declared=True)])
        assert (await subscription(store, "crm")).id not in {
            before.subscription.id,
            after.subscription.id,
        }

    run(story)


def test_what_is_in_flight_at_a_removal_ends_there(run: Run) -> None:
    async def story(store: Store) -> None:
        made = await store.catalog.create(CRM, generate_secret(), NOW)
        number = made.subscription.id
        await accept(store, 1)
        (delivery,) = (await store.queue.claim({number: Wanted(1)}, NOW)).deliveries
        await store.catalog.remove("crm", NOW)
        settlement = Settlement(
            delivery=delivery,
            outcome=Outcome(started_at=NOW, duration=1.0, status=410),
            decision=Decision(step=Step.GONE, reason="gone"),
        )
        await store.queue.settle([settlement])
        assert (await store.queue.claim({number: Wanted(9)}, NOW)).deliveries == []
        assert all(s.subscription.name != "crm" for s in await store.catalog.refresh())

    run(story)


def test_an_order_that_changes_is_kept_from_then_on(run: Run) -> None:
    async def story(store: Store) -> None:
        for number in range(3):
            await accept(store, number)
        lanes = "SELECT state FROM deliveries WHERE subscription = 1 ORDER BY id"
        assert query(store, lanes) == [(0,), (0,), (0,)]
        ordered = msgspec.structs.replace(A, ordering=Ordering.ORDER)
        await store.catalog.sync([ordered, B])
        assert query(store, lanes) == [(0,), (-1,), (-1,)]
        await store.catalog.sync([ordered, B])
        assert query(store, lanes) == [(0,), (-1,), (-1,)]
        await store.catalog.sync([A, B])
        assert query(store, lanes) == [(0,), (0,), (0,)]

    run(story)


def test_what_an_older_program_stored_had_no_order(run: Run) -> None:
    async def story(store: Store) -> None:
        await accept(store, 1)
        await accept(store, 2)
        with closing(sqlite3.connect(store.path)) as connection, connection:
            connection.execute("""UPDATE subscriptions SET declared = '{"mode":"structured"}'""")
        await store.catalog.sync([msgspec.structs.replace(A, ordering=Ordering.ORDER), B])
        rows = query(store, "SELECT state FROM deliveries WHERE subscription = 1 ORDER BY id")
        assert rows == [(0,), (-1,)]

    run(story)


def test_batches_come_apart_when_they_are_given_up(run: Run) -> None:
    async def story(store: Store) -> None:
        batches = msgspec.structs.replace(A, mode=Mode.BATCH, batch_size=2, batch_wait=Millis(0))
        await store.catalog.sync([batches, B])
        await accept(store, 1)
        await accept(store, 2)
        (claimed,) = (await store.queue.claim({1: Wanted(1, 2)}, NOW)).deliveries
        await store.queue.settle(
            [
                Settlement(
                    delivery=claimed,
                    outcome=Outcome(started_at=NOW, duration=1.0, status=500),
                    decision=Decision(step=Step.RETRY, due=NOW),
                )
            ]
        )
        rows = "SELECT state, leader FROM deliveries WHERE subscription = 1 ORDER BY id"
        assert query(store, rows) == [(0, claimed.id), (-3, claimed.id)]
        await store.catalog.sync([A, B])
        assert query(store, rows) == [(0, None), (0, None)]

    run(story)


def test_health_and_handshake_are_read_and_reset(run: Run) -> None:
    async def story(store: Store) -> None:
        health = Health(failing_since=NOW, broken_until=Millis(NOW + 9), trips=2)
        with closing(sqlite3.connect(store.path)) as connection, connection:
            connection.execute(
                "UPDATE subscriptions SET failing_since = ?, broken_until = ?, trips = ?,"
                " state = 'gone', reason = 'r' WHERE name = 'a'",
                (health.failing_since, health.broken_until, health.trips),
            )
        denied = Handshake(
            state=Consent.DENIED, reason="no", rate=3, next_at=Millis(NOW), secret="s"
        )
        assert list(await store.catalog.consent({"nobody": denied, "a": denied})) == ["nobody"]
        assert [status.handshake for status in store.catalog.statuses] == [denied, None]
        status = next(s for s in await store.catalog.sync([A, B]) if s.subscription.name == "a")
        assert (status.health, status.handshake, status.state) == (health, denied, "gone")
        async with store.records() as records:
            (row, _) = await records.subscriptions()
        assert (row.failing_since, row.broken_until) == (NOW, NOW + 9)
        assert row.handshake is None  # it was asked once, and does not want it any more
        await store.catalog.sync([msgspec.structs.replace(A, origin="gateway.example.com"), B])
        async with store.records() as records:
            (row, _) = await records.subscriptions()
        assert row.handshake == "denied"
        status = await store.catalog.resume("a")
        assert status.health == Health(failing_since=NOW)
        assert status.handshake == Handshake(secret="s")
        granted = Handshake(state=Consent.GRANTED, rate=60)
        await store.catalog.consent({"a": granted})
        assert (await store.catalog.resume("a")).handshake == granted

    run(story)
