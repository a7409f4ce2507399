"""Sources that no file declares, as they are kept; and what callbacks were read by."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.errors import Conflict, Unavailable
from gateway.models import Callback, Millis
from gateway.sealing import key_text, new_key
from gateway.stores.registry import Store
from gateway.stores.sourcing import SourceMapping
from gateway.stores.sqlite import sources
from tests.stores.older import as_of
from tests.stores.test_behaviour import NOW, intake, one_event
from tests.stores.test_sealed import change, frozen, opened, refused

Run = Callable[..., None]
KEYS = b'{"provider":"printstudio","secrets":["canary-secret"],"base_url":"https://canary.example"}'
MAPPING = SourceMapping(
    source="shop", provider="printstudio", version="gateway 1", options=b'{"a":1}', since=NOW
)


async def names(store: Store) -> list[str]:
    return [made.name for made in await store.sources.all()]


async def accept(store: Store, number: int, at: int, source: str = "shop") -> str:
    """A callback that came then."""
    taken = intake(number, order=f"o{number}")
    callback = Callback(source=source, headers=(), body=b"{}", received_at=Millis(at))
    receipt = await store.outbox.accept(replace(taken, callback=callback), one_event)
    return receipt.id


async def read_by(store: Store, callback: str) -> tuple[str, str, Any, int] | None:
    """What `explain` says of a callback."""
    async with store.records() as records:
        (story,) = await records.explain(callback)
    by = story.mappings.get(callback)
    return None if by is None else (by.provider, by.version, by.options, by.since)


def test_sources_are_kept_changed_and_forgotten_in_their_order(run: Run) -> None:
    async def story(store: Store) -> None:
        for name in ("b", "a", "c"):
            await store.sources.put(name, KEYS, NOW)
        await store.sources.put("b", b"{}", Millis(NOW + 5))
        assert [(made.name, made.keys) for made in await store.sources.all()] == [
            ("b", b"{}"),
            ("a", KEYS),
            ("c", KEYS),
        ]
        assert "canary" not in repr(await store.sources.all())
        assert {made.made_at for made in await store.sources.all()} == {NOW}
        await store.sources.remove("b")
        await store.sources.remove("nobody")
        await store.sources.put("b", KEYS, Millis(NOW + 9))
        assert await names(store) == ["a", "c", "b"]

    run(story)


def test_there_is_an_end_to_how_many(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST", 2)

    async def story(store: Store) -> None:
        await store.sources.put("a", KEYS, NOW)
        done = await asyncio.gather(
            *(store.sources.put(name, KEYS, NOW) for name in "bcd"), return_exceptions=True
        )
        refused = [one for one in done if one is not None]
        assert [type(one) for one in refused] == [Conflict, Conflict]
        assert "remove some first" in str(refused[0])
        assert await names(store) == ["a", "b"]
        await store.sources.put("a", b"{}", NOW)  # what is there may be changed
        await store.sources.remove("b")
        await store.sources.put("c", KEYS, NOW)

    run(story)


def test_a_source_is_sealed_whole(tmp_path: Path) -> None:
    async def story(store: Store) -> None:
        await store.sources.put("berlin", KEYS, NOW)
        await store.sources.put("berlin", KEYS.replace(b"secret", b"newer"), NOW)
        await store.sources.put("gone", KEYS, NOW)
        await store.sources.remove("gone")
        assert [name for name, body in frozen(tmp_path).items() if b"canary" in body] == []

    opened(tmp_path / "gateway.db", story)
    assert [name for name, body in frozen(tmp_path).items() if b"canary" in body] == []


def test_a_made_source_is_enough_to_know_the_wrong_key(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"

    async def story(store: Store) -> None:
        await store.sources.put("berlin", KEYS, NOW)

    opened(path, story)
    before = frozen(tmp_path)
    assert "is not the key" in refused(path, key=key_text(new_key()).encode())
    assert {name: body for name, body in frozen(tmp_path).items() if body} == before


def test_a_source_that_was_put_under_another_name_does_not_open(tmp_path: Path) -> None:
    """The record's name is sealed with it: no row can be taken for another."""
    path = tmp_path / "gateway.db"

    async def story(store: Store) -> None:
        await store.sources.put("berlin", KEYS, NOW)

    opened(path, story)
    change(path, "UPDATE made_sources SET name = 'hamburg'")
    assert "hamburg" in refused(path)


def test_a_database_of_before_has_no_sources_and_tells_nothing_of_its_callbacks(
    tmp_path: Path,
) -> None:
    path = tmp_path / "gateway.db"

    async def fill(store: Store) -> None:
        await accept(store, 1, NOW)

    async def check(store: Store) -> None:
        assert await store.sources.all() == []
        await store.sources.read_by([replace(MAPPING, since=Millis(NOW + 10))])
        later = await accept(store, 2, NOW + 10)
        assert await read_by(store, "cb_1") is None
        assert await read_by(store, later) == ("printstudio", "gateway 1", {"a": 1}, NOW + 10)
        await store.sources.put("berlin", KEYS, NOW)

    async def check_again(store: Store) -> None:
        assert await names(store) == ["berlin"]

    opened(path, fill)
    as_of(path, 9)
    opened(path, check)
    opened(path, check_again)


def test_what_reads_a_source_is_noted_where_it_is_news(run: Run) -> None:
    other = replace(MAPPING, options=b'{"a":2}')

    async def story(store: Store) -> None:
        for later, mapping in enumerate((MAPPING, MAPPING, other, other, MAPPING)):
            await store.sources.read_by([replace(mapping, since=Millis(NOW + later))])
        await store.sources.read_by([])
        await store.sources.read_by([replace(MAPPING, source="two"), replace(other, source="two")])
        callbacks = [await accept(store, number, NOW + number) for number in range(-1, 6)]
        told = [await read_by(store, callback) for callback in callbacks]
        assert told[0] is None
        since = [one[3] - NOW for one in told[1:] if one is not None]
        assert since == [0, 0, 2, 2, 4, 4]
        assert [one[2]["a"] for one in told[1:] if one is not None] == [1, 1, 2, 2, 1, 1]
        # Two at the same moment: the last one counts.
        there = await accept(store, 9, NOW, source="two")
        assert await read_by(store, there) == ("printstudio", "gateway 1", {"a": 2}, NOW)

    run(story)


def test_an_order_has_what_the_callbacks_of_each_source_were_read_by(run: Run) -> None:
    async def story(store: Store) -> None:
        await store.sources.read_by(
            [MAPPING, replace(MAPPING, source="other", options=b'{"b":[1]}')]
        )
        for number, source in enumerate(("shop", "other", "third")):
            callback = Callback(source=source, headers=(), body=b"{}", received_at=NOW)
            taken = replace(intake(number, order="o"), callback=callback)
            await store.outbox.accept(taken, one_event)
        async with store.records() as records:
            (whole,) = await records.explain("o")
        assert {name: by.options for name, by in whole.mappings.items()} == {
            "cb_1": {"a": 1},
            "cb_2": {"b": [1]},
        }

    run(story)


@pytest.mark.slow
def test_a_store_that_fails_keeps_what_it_had(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"

    async def story(store: Store) -> None:
        await store.sources.put("berlin", KEYS, NOW)
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable):
            await store.sources.put("hamburg", KEYS, NOW)
        blocker.execute("ROLLBACK")
        blocker.close()
        assert await names(store) == ["berlin"]

    opened(path, story)
