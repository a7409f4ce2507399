"""URLs at rest: what no file declares is sealed, found again by a keyed hash, and sealed at the first start."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.cli.main import app
from gateway.errors import Conflict
from gateway.models import Subscription
from gateway.sealing import key_text, new_key
from gateway.signing import generate_secret
from gateway.stores import migrate
from gateway.stores.registry import Store, make_records
from gateway.stores.sqlite.keys import key as key_of
from gateway.stores.sqlite.renewal import renew
from tests.stores.older import as_of
from tests.stores.test_behaviour import intake, one_event
from tests.stores.test_sealed import CRM, NOW, SHAKEN, check, fill, frozen, leaks, opened

OWNED = replace(CRM, name="owned", owner="aaaaaaaa")
FILED = replace(CRM, name="file", url="https://file.example/x", declared=True, headers=())
OTHER = replace(OWNED, name="other", url="https://crm.example:8443/canary-of-another")


async def put(store: Store, wanted: Subscription) -> tuple[int, bool]:
    kept = await store.catalog.put(wanted, generate_secret(), NOW)
    assert kept.status.subscription.url == wanted.url
    return kept.status.subscription.id, kept.made


def targets(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT target FROM subscriptions")]


def test_the_file_has_hosts_alone(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"

    async def story(store: Store) -> None:
        await store.catalog.sync([FILED])
        assert (await put(store, OWNED)) == (2, True)
        await store.catalog.change(2, lambda one: replace(one, url=OTHER.url))
        assert leaks(tmp_path) == []
        assert (await put(store, OTHER)) == (2, False)
        third = replace(OWNED, name="third")
        assert (await put(store, third)) == (3, True)
        await store.catalog.remove(3, NOW)
        assert (await put(store, third)) == (4, True)

    opened(path, story)
    assert leaks(tmp_path) == []
    everything = b"".join(frozen(tmp_path).values())
    assert b"https://crm.example:8443" in everything
    assert b"https://file.example/x" in everything  # it stands in the configuration


def test_one_that_the_file_takes_over_is_its_own(tmp_path: Path) -> None:
    async def story(store: Store) -> None:
        await fill(store)
        plain = replace(CRM, declared=True, url="https://crm.example/declared")
        await store.catalog.sync([plain])
        (status,) = await store.catalog.refresh()
        assert status.subscription.url == plain.url
        async with store.records() as records:
            assert (await records.subscription("crm")).settings["url"] == plain.url
        with closing(sqlite3.connect(tmp_path / "gateway.db")) as connection:
            assert connection.execute("SELECT url FROM subscriptions").fetchall() == [(None,)]

    opened(tmp_path / "gateway.db", story)


@pytest.mark.parametrize("version", [8, 6])
def test_what_lay_in_plain_is_sealed_at_the_first_start(tmp_path: Path, version: int) -> None:
    path = tmp_path / "gateway.db"

    async def first(store: Store) -> None:
        await fill(store)
        await put(store, OWNED)
        await put(store, OTHER)

    async def second(store: Store) -> None:
        assert leaks(tmp_path) == []
        (crm, *_) = await store.catalog.refresh()
        assert (crm.subscription.url, crm.handshake) == (CRM.url, SHAKEN)
        assert await put(store, OTHER) == (3, False)
        assert await put(store, OWNED) == (2, False)

    opened(path, first)
    before = targets(path)
    as_of(path, version)
    assert {name for name, _ in leaks(tmp_path)} & {"gateway.db", "gateway.db-wal"}
    opened(path, second)
    assert leaks(tmp_path) == []
    assert targets(path) == before
    everything = b"".join(frozen(tmp_path).values())
    assert key_of("aaaaaaaa", OTHER.url) not in everything


def test_of_one_that_the_file_had_nothing_is_left_either(tmp_path: Path) -> None:
    async def story(store: Store) -> None:
        await store.catalog.sync([replace(FILED, url=CRM.url)])
        await store.catalog.sync([])
        await store.catalog.remove("file", NOW)
        with closing(sqlite3.connect(tmp_path / "gateway.db")) as connection:
            ((shown,),) = connection.execute("SELECT declared FROM subscriptions").fetchall()
        assert b'"url":"https://crm.example:8443"' in shown

    opened(tmp_path / "gateway.db", story)


def test_a_removed_one_of_before_is_cut_short_too(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"

    async def story(store: Store) -> None:
        await fill(store)
        await store.catalog.remove("crm", NOW)

    opened(path, story)
    as_of(path, 8)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "UPDATE subscriptions SET declared = json_set(CAST(declared AS TEXT), '$.url', ?)",
            (CRM.url,),
        )
        connection.commit()
        connection.execute("PRAGMA secure_delete = OFF")
        rest = "INSERT INTO subscriptions (name, declared, enabled, made) VALUES ('rest', ?, 1, '')"
        connection.execute(rest, (f'{{"url": "{OTHER.url}"}}',))
        connection.execute("DELETE FROM subscriptions WHERE name = 'rest'")
        connection.commit()
    assert leaks(tmp_path) != []
    opened(path)
    assert leaks(tmp_path) == []


def test_a_kill_between_the_migration_and_the_sealing(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    opened(path, fill)
    as_of(path, 8)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate.migrate(connection, str(path))
    assert leaks(tmp_path) != []
    opened(path, check)
    assert leaks(tmp_path) == []


def test_another_master_key_finds_them_again(tmp_path: Path) -> None:
    path, old = tmp_path / "gateway.db", key_text(new_key()).encode()

    async def first(store: Store) -> None:
        await put(store, OWNED)
        await put(store, OTHER)

    async def second(store: Store) -> None:
        assert await put(store, OTHER) == (2, False)
        assert await put(store, OWNED) == (1, False)

    opened(path, first, key=old)
    before = targets(path)
    to = tmp_path / "next.key"
    assert renew(path, key=old, to=to).secrets == 6
    assert not set(before) & set(targets(path))
    everything = b"".join(frozen(tmp_path).values())
    assert [one for one in before if one in everything] == []
    opened(path, second, key=to.read_bytes())


def test_the_hash_is_another_keys_in_another_database(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()

        async def story(store: Store) -> None:
            await put(store, OWNED)

        opened(folder / "gateway.db", story)
        found += targets(folder / "gateway.db")
    assert len(set(found)) == 2


def test_whoever_looks_without_the_key_sees_the_host(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    opened(path, fill)

    async def shown() -> tuple[str, str]:
        async with make_records(f"sqlite:///{path}") as records:
            (row,) = await records.subscriptions()
            return row.host, (await records.subscription("crm")).settings["url"]

    host = "crm.example:8443"
    assert asyncio.run(shown()) == (host, f"https://{host}/canary-of-a-path?***")
    (tmp_path / "gateway.db.key").unlink()
    assert asyncio.run(shown()) == (host, f"https://{host}")
    (tmp_path / "gateway.db.key").write_text("no key")
    assert asyncio.run(shown()) == (host, f"https://{host}")


def test_nothing_is_sent_by_hand_to_a_removed_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, show = tmp_path / "gateway.db", ["deliveries", "show", "dl_1", "--curl"]
    monkeypatch.setenv("GATEWAY_STORE__URL", f"sqlite:///{path}")

    async def first(store: Store) -> None:
        await fill(store)
        await store.outbox.accept(intake(1), one_event)

    async def second(store: Store) -> None:
        await store.catalog.remove("crm", NOW)

    opened(path, first)
    app(show, standalone_mode=False)
    assert CRM.url in capsys.readouterr().out
    opened(path, second)
    with pytest.raises(Conflict, match="subscription crm was removed, and its URL with it"):
        app(show, standalone_mode=False)
    assert capsys.readouterr().out == ""
