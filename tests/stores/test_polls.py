"""What every store does for the pollers: watch, ask, go on after a restart, rehearse, read anew."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
import pytest

from gateway.models import Decision, Entry, Event, Known, Millis, Verdict
from gateway.stores.base import Intake, Poll, Watch
from gateway.stores.registry import Store
from tests.stores.test_behaviour import NOW, WRITER, entry, intake, one_event

Run = Callable[..., None]
LATER = Millis(NOW + 60_000)


def watch(
    number: str = "n1", *, source: str = "mt", next_at: int | None = NOW, **more: Any
) -> Watch:
    due = None if next_at is None else Millis(next_at)
    return Watch(source=source, number=number, **({"changed_at": NOW, "next_at": due} | more))


T = TypeVar("T", bound=msgspec.Struct)


def changed(value: T, **fields: Any) -> T:
    return msgspec.structs.replace(value, **fields)


FULL: dict[str, Any] = {
    "baseline": True,
    "seen": b"\x00\xff",
    "said_at": NOW,
    "changed_at": LATER,
    "next_at": LATER,
    "failures": 7,
    "problem": "it answered 502",
}
"""All that `put` writes."""


async def found(store: Store, *numbers: str, source: str = "mt") -> list[Watch]:
    watches = await store.polls.find(source, numbers)
    return [watches[number] for number in numbers if number in watches]


async def everything(store: Store) -> dict[str, list[Any]]:
    """All rows of all tables."""

    def work(batch: Any) -> dict[str, list[Any]]:
        execute = batch.connection.execute
        tables = [
            name for (name,) in execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
        return {name: execute(f"SELECT * FROM {name}").fetchall() for name in tables}

    rows: dict[str, list[Any]] = await store._writer.submit(work)
    assert {"callbacks", "events", "deliveries", "orders", "watched", "polls"} <= set(rows)
    return rows


# Which orders.


def test_an_order_is_watched_once(run: Run) -> None:
    async def story(store: Store) -> None:
        first = watch("n1", order="1001", baseline=True)
        assert await store.polls.watch([first, watch("n2"), watch("n1")]) == ["n1", "n2"]
        assert await store.polls.watch([watch("n1", next_at=LATER), watch("n3")]) == ["n3"]
        assert await store.polls.watch([]) == []
        assert await found(store, "n1", "n2") == [first, watch("n2")]
        # Another source may have an order of the same number.
        assert await store.polls.watch([watch("n1", source="other")]) == ["n1"]
        assert (await found(store, "n1", source="other"))[0].order is None

    run(story)


def test_whatever_a_watch_says_is_found_again(run: Run) -> None:
    async def story(store: Store) -> None:
        odd = watch("Ünïcode / '\"% \U0001f9ff" + "x" * 200, order="ä", wanted=True, **FULL)
        await store.polls.watch([odd])
        assert await found(store, odd.number) == [odd]
        assert await found(store) == []
        assert await found(store, "nobody") == []

    run(story)


def test_what_a_person_wants_is_asked_for_anew(run: Run) -> None:
    async def story(store: Store) -> None:
        assert await store.polls.want(watch("n1", order="1001", wanted=True)) is True
        assert await found(store, "n1") == [watch("n1", order="1001", wanted=True)]
        retired = watch("n2", **(FULL | {"next_at": None}))
        await store.polls.watch([retired])
        assert await store.polls.want(watch("n2", wanted=True, next_at=LATER)) is False
        (again,) = await found(store, "n2")
        assert again == changed(
            retired,
            wanted=True,
            baseline=False,
            seen=None,
            failures=0,
            problem=None,
            next_at=LATER,
        )
        # A name is kept until there is another one.
        await store.polls.want(watch("n1", wanted=True))
        assert (await found(store, "n1"))[0].order == "1001"
        await store.polls.want(watch("n1", order="1002", wanted=True))
        assert (await found(store, "n1"))[0].order == "1002"

    run(story)


def test_what_is_due_comes_most_overdue_first(run: Run) -> None:
    async def story(store: Store) -> None:
        times = {"n1": NOW, "n2": NOW - 5, "n3": NOW + 1, "n4": None, "n5": NOW - 9}
        await store.polls.watch([watch(name, next_at=at) for name, at in times.items()])
        await store.polls.watch([watch("n9", source="other", next_at=0)])

        async def due(now: int, limit: int = 10) -> list[str]:
            watches = await store.polls.due("mt", Millis(now), limit)
            return [watch.number for watch in watches]

        assert await due(NOW) == ["n5", "n2", "n1"]
        assert await due(NOW, 2) == ["n5", "n2"]
        assert await due(NOW + 1) == ["n5", "n2", "n1", "n3"]
        assert await due(NOW - 10) == []
        assert await store.polls.due("nobody", NOW, 10) == []

    run(story)


@pytest.mark.parametrize("limit", [1, 3, 10, 11])
def test_all_goes_through_every_order_once(run: Run, limit: int) -> None:
    async def story(store: Store) -> None:
        numbers = [f"n{number}" for number in range(10)]
        await store.polls.watch([watch(name) for name in numbers[:9]])
        await store.polls.watch([watch("n9", next_at=None), watch("n1", source="other")])
        seen: list[str] = []
        after = None
        while chunk := await store.polls.all("mt", after=after, limit=limit):
            assert len(chunk) <= limit
            seen += [watch.number for watch in chunk]
            after = seen[-1]
            # Its place stays while it is worked on, and so does that of a new one.
            await store.polls.put(changed(chunk[-1], next_at=LATER, failures=1))
        assert sorted(seen) == numbers

    run(story)


def test_put_writes_how_it_went_and_nothing_that_a_person_said(run: Run) -> None:
    async def story(store: Store) -> None:
        await store.polls.watch([watch("n1"), watch("n2")])
        asked = watch("n1", **FULL)
        await store.polls.want(watch("n1", order="1001", wanted=True))  # while it was asked for
        await store.polls.put(asked)
        assert await found(store, "n1") == [changed(asked, order="1001", wanted=True)]
        assert await found(store, "n2") == [watch("n2")]
        await store.polls.put(watch("nobody"))
        assert await found(store, "nobody") == []

    run(story)


def test_refresh_reads_anew_what_is_still_asked_for(run: Run) -> None:
    async def story(store: Store) -> None:
        busy, lost = watch("n1", **FULL), watch("n2", **(FULL | {"next_at": None}))
        final = watch("n3", **(FULL | {"next_at": None, "problem": None}))
        other = watch("n1", source="other", **FULL)
        await store.polls.watch([busy, lost, final, other])
        await store.polls.refresh("mt", NOW)
        anew = {"seen": None, "entry": None, "failures": 0, "problem": None, "next_at": NOW}
        expected = [changed(busy, **anew), changed(lost, **anew), final]
        assert await found(store, "n1", "n2", "n3") == expected
        assert await found(store, "n1", source="other") == [other]

    run(story)


# Where the poller is.


def test_the_state_is_found_again(run: Run) -> None:
    async def story(store: Store) -> None:
        assert await store.polls.state("mt") is None
        first = Poll(source="mt", fingerprint=b"\x00\xff", account=b"\x01", since=Millis(5))
        await store.polls.save(first)
        assert await store.polls.state("mt") == first
        full = Poll(
            source="mt",
            fingerprint=b"",
            account=b"",
            since=Millis(0),
            cursor="https://x.example/?page=2",
            listed=True,
            adopted=9,
            refused="it answered 401",
            failures=3,
            problem="it answered 502",
            next_at=LATER,
            asked_at=NOW,
            answered_at=Millis(NOW - 1),
        )
        await store.polls.save(full)
        assert await store.polls.state("mt") == full
        await store.polls.save(changed(first, source="other"))
        assert await store.polls.state("mt") == full

    run(story)


def event() -> Event:
    return WRITER.other_event(
        msgspec.Raw(b'{"source":"mt","reason":"it answered 401"}'),
        event_type="gateway.source.failing",
        occurrence=("mt", str(NOW)),
        subject="mt",
        shop="default",
        source="gateway",
        at=NOW,
        recorded=NOW,
    )


def test_an_event_is_published_with_the_state_or_not_at_all(run: Run) -> None:
    async def story(store: Store) -> None:
        poll = Poll(source="mt", fingerprint=b"f", account=b"a", since=Millis(0))
        with pytest.raises(OverflowError):
            await store.polls.save(changed(poll, failures=1 << 70), [event()])
        broken = changed(event(), seq=1 << 70)
        with pytest.raises(OverflowError):
            await store.polls.save(poll, [event(), broken])
        assert await store.polls.state("mt") is None
        async with store.records() as records:
            assert await records.events(order=None, event_type=None, limit=9) == []
        await store.polls.save(poll, [event()])
        async with store.records() as records:
            (row,) = await records.events(order=None, event_type=None, limit=9)
        assert (row.type, row.source) == ("gateway.source.failing", "gateway")

    run(story)


def test_adoption_goes_through_the_callbacks_in_steps(run: Run) -> None:
    def numbers_of(state: bytes) -> Sequence[str]:
        return [f"p{state.decode()}"]

    def counted(number: int) -> Callable[[Sequence[Entry], Known], Decision]:
        def decide(entries: Sequence[Entry], known: Known) -> Decision:
            decision = one_event(entries, known)
            order = entries[0].fact.order or ""
            decision.orders[order] = (1, str(number).encode())
            return decision

        return decide

    async def story(store: Store) -> None:
        async def adopt(after: int, limit: int = 2, source: str = "shop") -> Any:
            return await store.polls.adopt(source, after=after, limit=limit, numbers_of=numbers_of)

        assert await adopt(0) == (0, [])
        for number in (1, 2, 3):
            await store.outbox.accept(intake(number, order=f"o{number}"), counted(number))
        strange = intake(4, order="o4")
        strange = changed(strange, callback=changed(strange.callback, source="stripe"))
        await store.outbox.accept(strange, counted(4))
        await store.outbox.accept(changed(intake(5), entries=(), ignored="why"), one_event)
        assert await adopt(0) == (2, ["p1", "p2"])
        assert await adopt(2) == (4, ["p3"])
        assert await adopt(4) == (5, [])
        assert await adopt(5) == (5, [])
        assert await adopt(0, 9, "stripe") == (5, ["p4"])
        # Several callbacks of one order are one order.
        await store.outbox.accept(intake(6, order="o1"), counted(1))
        assert await adopt(0, 99) == (6, ["p1", "p2", "p3"])

    run(story)


# A poll is accepted: what it said, and when it is asked for again, are one transaction.


def polled(number: int = 1, *, asked: Watch | None = None, **more: Any) -> Intake:
    given = changed(intake(number, order=f"o{number}"), event_id=f"poll:{number}", watch=asked)
    return changed(given, **more)


def unwritable(entries: Sequence[Entry], known: Known) -> Decision:
    """No database can hold that number; it is met after the event and its deliveries."""
    decision = one_event(entries, known)
    decision.wait = [entry(None, links=("l",), patience=Millis(1 << 70))]
    return decision


def undecidable(entries: Sequence[Entry], known: Known) -> Decision:
    raise KeyError("bug")


@pytest.mark.parametrize("door", ["accept", "rehearse"])
def test_a_poll_and_its_order_are_one_transaction(run: Run, door: str) -> None:
    async def story(store: Store) -> None:
        def take(taken: Intake, decide: Any) -> Any:
            if door == "accept":
                return store.outbox.accept(taken, decide)
            return store.outbox.rehearse(taken, decide, keep=True)

        await store.polls.watch([watch("n1")])
        asked = watch("n1", **FULL)
        before = await everything(store)
        with pytest.raises(OverflowError):
            await take(polled(asked=asked), unwritable)
        assert await everything(store) == before
        # Nor is anything written when it is the order's row that cannot be.
        with pytest.raises(OverflowError):
            await take(polled(asked=changed(asked, said_at=1 << 70)), one_event)
        assert await everything(store) == before
        await take(polled(asked=asked), one_event)
        assert await found(store, "n1") == [asked]
        assert len((await everything(store))["events"]) == 1

    run(story)


@pytest.mark.parametrize(
    ("more", "decide", "verdict"),
    [
        ({}, undecidable, Verdict.QUARANTINED),
        ({"malformed": "why", "entries": ()}, one_event, Verdict.QUARANTINED),
        ({"ignored": "why", "entries": ()}, one_event, Verdict.IGNORED),
    ],
)
def test_the_order_is_written_whatever_the_verdict(
    run: Run, more: dict[str, Any], decide: Any, verdict: Verdict
) -> None:
    async def story(store: Store) -> None:
        await store.polls.watch([watch("n1")])
        asked = watch("n1", **FULL)
        assert (await store.outbox.accept(polled(asked=asked, **more), decide)).verdict is verdict
        assert await found(store, "n1") == [asked]

    run(story)


def test_a_callback_watches_its_order_and_revives_it(run: Run) -> None:
    async def story(store: Store) -> None:
        busy = watch("n2", **(FULL | {"next_at": Millis(NOW + 5)}))
        retired = watch("n3", **(FULL | {"next_at": None}))
        await store.polls.watch([busy, retired])
        told = [watch(name, next_at=LATER) for name in ("n1", "n2", "n3")]
        await store.outbox.accept(changed(intake(1), watches=told), one_event)
        assert await found(store, "n1", "n2", "n3") == [
            told[0],
            busy,
            changed(retired, next_at=LATER),
        ]

    run(story)
