"""What is shown of deliveries: each attempt, what keeps them waiting, and the request they are."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.errors import NotFound, StartupError
from gateway.models import Delivery, Millis, Mode, OnExhausted, Ordering, Outcome, Subscription
from gateway.retries import Decision, Step
from gateway.signing import parse_secret
from gateway.stores.base import Consent, Handshake, Settlement, Wanted
from gateway.stores.registry import Store
from gateway.stores.views import DeliveryRow
from tests.stores.test_behaviour import NOW, intake
from tests.stores.test_lane_order import order_event

Run = Callable[..., None]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + "QUFB" * 8
DAY = 86_400_000


def wanted(**fields: Any) -> Subscription:
    return replace(Subscription(id=0, name="a", url="http://a.example/in"), **fields)


async def told(store: Store, count: int, *, order: str | None = None) -> None:
    """Take events of one order, or of one order each."""
    for number in range(count):
        await store.outbox.accept(intake(number, order=order or f"o{number}"), order_event)


async def claimed(store: Store, wish: Wanted) -> Delivery:
    """The one delivery of `a` that can be claimed."""
    (delivery,) = (await store.queue.claim({1: wish}, NOW)).deliveries
    return delivery


async def settle(store: Store, delivery: Delivery, step: Step, **outcome: Any) -> None:
    made = Outcome(started_at=Millis(NOW + 9), duration=5.0, **outcome)
    decision = Decision(step=step, due=Millis(NOW + 60_000), reason="" if step in GOOD else "no")
    await store.queue.settle([Settlement(delivery=delivery, outcome=made, decision=decision)])


GOOD = {Step.DELIVERED}


async def listed(store: Store, state: str) -> list[DeliveryRow]:
    """The deliveries of `a` in a state, oldest first."""
    async with store.records() as records:
        rows = await records.deliveries(subscription="a", state=state, limit=99)
    return list(reversed(rows))


def test_an_attempt_shows_its_times_as_far_as_it_came(run: Run) -> None:
    async def story(store: Store) -> None:
        await told(store, 1)
        times = {"connected": 1.5, "first_byte": 3.0, "head": b"\xffno" + b"x" * 9_000}
        await settle(store, await claimed(store, Wanted(1)), Step.RETRY, status=500, **times)
        async with store.records() as records:
            (whole,) = await records.explain("o0")
            one = await records.delivery("dl_1")
        (attempt,) = whole.attempts["dl_1"]
        assert (attempt.queued_at, attempt.started_at, attempt.duration) == (NOW, NOW + 9, 5.0)
        assert (attempt.connected, attempt.first_byte) == (1.5, 3.0)
        assert attempt.head == "\ufffdno" + "x" * 9_000
        assert one.attempts == [attempt]
        assert (one.delivery.id, one.delivery.last_status, one.batch) == ("dl_1", 500, [])
        assert one.event == whole.events[0]

    run(story)


def test_members_of_a_batch_show_the_attempts_of_the_batch(run: Run) -> None:
    async def story(store: Store) -> None:
        await store.catalog.sync([wanted(mode=Mode.BATCH)])
        await told(store, 3)
        sent = await claimed(store, Wanted(1, batch=3))
        await settle(store, sent, Step.RETRY, status=500)
        first, second = await listed(store, "batched")
        assert (first.leader, second.leader) == (f"dl_{sent.id}", f"dl_{sent.id}")
        assert (first.attempts, first.last_status, first.due) == (1, 500, NOW + 60_000)
        await settle(store, replace(sent, number=1), Step.DELIVERED, status=204)
        leader, *members = await listed(store, "delivered")
        assert [row.id for row in members] == [first.id, second.id]
        assert {row.last_status for row in (leader, *members)} == {204}
        async with store.records() as records:
            one = await records.delivery(second.id)
            (whole,) = await records.explain("o2")
        assert [attempt.status for attempt in one.attempts] == [500, 204]
        assert one.batch == [leader.id, first.id, second.id]
        assert whole.attempts[second.id] == one.attempts

    run(story)


def test_the_request_of_a_member_is_the_whole_batch(run: Run) -> None:
    async def story(store: Store) -> None:
        await store.catalog.sync([wanted(mode=Mode.BATCH)])
        await told(store, 3)
        async with store.records() as records:
            alone, _ = await records.delivery_request("dl_1", NOW)
        assert (alone.size, alone.body[:2], alone.event_id[:4]) == (1, b"[{", "bat_")
        sent = await claimed(store, Wanted(1, batch=3))
        await settle(store, sent, Step.DELIVERED, status=200)
        # The array went out so, whatever the subscription wants by now.
        await store.catalog.sync([wanted(mode=Mode.STRUCTURED)])
        async with store.records() as records:
            for number in range(3):
                found, subscription = await records.delivery_request(f"dl_{number + 1}", NOW)
                assert (found.event_id, found.body, found.size) == (sent.event_id, sent.body, 3)
                assert subscription.mode is Mode.BATCH

    run(story)


def test_what_waits_for_its_lane_names_the_head(run: Run) -> None:
    async def story(store: Store) -> None:
        ordered = wanted(ordering=Ordering.ORDER, on_exhausted=OnExhausted.PARK)
        await store.catalog.sync([ordered])
        await told(store, 3, order="A 1")
        behind = await listed(store, "behind")
        assert [(row.id, row.behind, row.order) for row in behind] == [
            ("dl_2", "dl_1", "A 1"),
            ("dl_3", "dl_1", "A 1"),
        ]
        await settle(store, await claimed(store, Wanted(1)), Step.PARK, status=400)
        (parked,) = await listed(store, "parked")
        assert (parked.id, parked.reason, parked.behind) == ("dl_1", "no", None)
        await store.replays.skip("a", "A 1", NOW)
        await settle(store, await claimed(store, Wanted(1)), Step.RETRY, status=500)
        (row,) = await listed(store, "behind")
        assert (row.id, row.behind) == ("dl_3", "dl_2")

    run(story)


def test_a_subscription_that_never_was_is_told_with_the_known_ones(run: Run) -> None:
    async def story(store: Store) -> None:
        async with store.records() as records:
            with pytest.raises(NotFound, match="no subscription nobody: known are a, b"):
                await records.deliveries(subscription="nobody", state=None, limit=9)
            with pytest.raises(NotFound, match="no subscription nobody: known are a, b"):
                await records.lanes("nobody", limit=9)

    run(story)


def test_one_delivery_shows_how_its_subscription_stands(run: Run) -> None:
    async def story(store: Store) -> None:
        await store.catalog.sync([wanted(origin="gateway.example")])
        await told(store, 1)
        await store.catalog.pause("a", "too much")
        async with store.records() as records:
            standing = (await records.delivery("dl_1")).subscription
            assert (standing.name, standing.state, standing.reason) == ("a", "paused", "too much")
            assert standing.consent is Consent.PENDING
            denied = Handshake(state=Consent.DENIED, reason="no", secret="hidden")
            await store.catalog.consent({"a": denied})
            standing = (await records.delivery("dl_1")).subscription
            assert (standing.consent, standing.consent_reason) == (Consent.DENIED, "no")
            await store.catalog.sync([wanted()])  # no handshake is asked for any more
            assert (await records.delivery("dl_1")).subscription.consent is None
            await store.catalog.sync([])
            assert (await records.delivery("dl_1")).subscription.state == "disabled"

    run(story)


def test_the_request_of_a_declared_subscription_has_no_secrets(run: Run) -> None:
    async def story(store: Store) -> None:
        secrets = (parse_secret(SECRET),)
        declared = wanted(headers=(("X-Key", b"hidden"),), secrets=secrets, origin="g.example")
        await store.catalog.sync([declared])
        await told(store, 1)
        sent = await claimed(store, Wanted(1))
        async with store.records() as records:
            found, known = await records.delivery_request("dl_1", NOW)
        assert replace(found, claim=sent.claim) == sent
        assert (known.name, known.url, known.origin) == ("a", declared.url, "g.example")
        assert (known.headers, known.secrets, known.declared) == ((("X-Key", b""),), (), True)

    run(story)


def test_the_request_of_a_made_subscription_has_the_secrets_of_now(run: Run) -> None:
    async def story(store: Store) -> None:
        await store.catalog.sync([])
        made = wanted(name="c", headers=(("X-Key", b"v"),), declared=False)
        await store.catalog.create(made, SECRET, NOW)
        await store.catalog.rotate("c", OTHER, NOW, overlap=Millis(DAY))
        await told(store, 1)
        async with store.records() as records:
            (row,) = await records.deliveries(subscription="c", state=None, limit=9)
            _, known = await records.delivery_request(row.id, NOW)
            assert known.secrets == (parse_secret(OTHER), parse_secret(SECRET))
            assert (known.url, known.headers) == (made.url, (("X-Key", b""),))
            _, known = await records.delivery_request(row.id, Millis(NOW + DAY))
            assert known.secrets == (parse_secret(OTHER),)
            await store.catalog.remove("c", NOW)
            _, known = await records.delivery_request(row.id, NOW)
            host = "http://a.example"
            assert (known.url, known.secrets, known.declared) == (host, (), False)

    run(story)


@pytest.mark.parametrize("name", ["dl_999", "dl_", "dl_1x", "1", "evt_1", "../x"])
def test_an_unknown_delivery_is_not_found(run: Run, name: str) -> None:
    async def story(store: Store) -> None:
        await told(store, 1)
        async with store.records() as records:
            with pytest.raises(NotFound, match="there is no delivery"):
                await records.delivery(name)
            with pytest.raises(NotFound, match="there is no delivery"):
                await records.delivery_request(name, NOW)

    run(story)


@pytest.mark.parametrize("gone", ["callbacks", "attempts", "revisions", "events"])
def test_what_retention_took_is_missed_by_nothing(run: Run, gone: str) -> None:
    """Events go with their deliveries; here they do not, which must do no harm either."""

    async def story(store: Store) -> None:
        await told(store, 1)
        await settle(store, await claimed(store, Wanted(1)), Step.DELIVERED, status=200)
        with closing(sqlite3.connect(store.path)) as connection, connection:
            connection.execute(f"DELETE FROM {gone}")
        connection.close()
        async with store.records() as records:
            events = await records.events(order=None, event_type=None, limit=9)
            rows = await records.deliveries(subscription="a", state=None, limit=9)
            assert (len(events), len(rows)) == ((0, 0) if gone == "events" else (1, 1))
            (whole,) = await records.explain("o0")
            assert len(whole.deliveries) == 2 * len(rows)
            for row in rows:
                assert (row.state, row.attempts) == ("delivered", 1)
                assert row.last_status == (None if gone == "attempts" else 200)
                await records.explain(row.id)
                await records.explain(events[0].id)
                assert len((await records.delivery(row.id)).attempts) == (gone != "attempts")
                await records.delivery_request(row.id, NOW)

    run(story)


def test_a_batch_without_its_leader_is_still_shown(run: Run) -> None:
    async def story(store: Store) -> None:
        await store.catalog.sync([wanted(mode=Mode.BATCH)])
        await told(store, 2)
        sent = await claimed(store, Wanted(1, batch=2))
        await settle(store, sent, Step.DELIVERED, status=200)
        with closing(sqlite3.connect(store.path)) as connection, connection:
            connection.execute("DELETE FROM deliveries WHERE id = leader")
            connection.execute("DELETE FROM attempts")
        connection.close()
        async with store.records() as records:
            one = await records.delivery("dl_2")
            assert (one.delivery.state, one.attempts, one.batch) == ("delivered", [], ["dl_2"])
            assert (await records.delivery_request("dl_2", NOW))[0].size == 1

    run(story)


def test_an_older_schema_is_not_read(run: Run) -> None:
    async def story(store: Store) -> None:
        with closing(sqlite3.connect(store.path)) as connection, connection:
            connection.execute("PRAGMA user_version = 2")
        connection.close()
        with pytest.raises(StartupError, match=r"has schema 2, .* `gateway serve` brings it up"):
            async with store.records():
                pass

    run(story)
