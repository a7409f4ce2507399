"""Secrets at rest: sealed in the file, opened with the one key, and what was there before that."""

import asyncio
import base64
import logging
import shutil
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.errors import StartupError
from gateway.models import Millis, Subscription
from gateway.sealing import Sealer, key_text, new_key, parse_key
from gateway.signing import generate_secret, parse_secret
from gateway.stores import migrate
from gateway.stores.base import Consent, Handshake, Wanted
from gateway.stores.registry import Store, make_records, make_store
from gateway.stores.sqlite.keys import key as key_of
from tests.stores.test_behaviour import intake, one_event

NOW = Millis(1_768_487_400_000)
HEADER = b"Bearer canary-of-a-header"
CONSENT = "canary-of-a-handshake"
SIGNING = "whsec_" + base64.b64encode(b"sIgNiNgSeCrEtOfTheSubscription01").decode()
FIRST = "whsec_" + base64.b64encode(b"FirstSecretThatWasRotatedAway002").decode()
CRM = Subscription(
    id=0,
    name="crm",
    url="https://crm.example:8443/canary-of-a-path?token=canary-of-a-query",
    headers=(("Authorization", HEADER), ("X-Shop", b"berlin-canary")),
    declared=False,
    origin="gateway.example.com",
)
SHAKEN = Handshake(state=Consent.DENIED, reason="no", secret=CONSENT, asked_for=f"o {CRM.url}")

Story = Callable[[Store], Coroutine[Any, Any, None]]


def opened(path: Path, story: Story | None = None, *, key: bytes | None = None) -> None:
    """Open the store, play the story, close it."""

    async def whole() -> None:
        store = make_store(f"sqlite:///{path}", on_fatal=lambda _: None, key=key)
        store.open()
        try:
            await store.start()
            if story is not None:
                await story(store)
        finally:
            await store.close()

    asyncio.run(whole())


async def fill(store: Store) -> None:
    await store.catalog.create(CRM, FIRST, NOW)
    await store.catalog.rotate("crm", SIGNING, NOW, overlap=Millis(1_000))
    await store.catalog.consent({"crm": SHAKEN})


async def check(store: Store) -> None:
    """All secrets are what they were."""
    (status,) = await store.catalog.refresh()
    assert status.subscription.headers == CRM.headers
    assert status.subscription.url == CRM.url
    assert status.subscription.secrets == (parse_secret(SIGNING), parse_secret(FIRST))
    assert status.handshake == SHAKEN


SOURCE_KEYS = b'{"provider":"printstudio","secrets":["canary-of-a-shop"]}'


async def fill_whole(store: Store) -> None:
    """With what older releases do not know."""
    await fill(store)
    await store.sources.put("berlin", SOURCE_KEYS, NOW)


async def check_whole(store: Store) -> None:
    await check(store)
    (made,) = await store.sources.all()
    assert (made.name, made.keys, made.made_at) == ("berlin", SOURCE_KEYS, NOW)


def plain(text: str) -> list[bytes]:
    """How a signing secret may lie in a file."""
    return [text.encode(), text.removeprefix("whsec_").encode(), parse_secret(text)]


CANARIES = [b"canary", *plain(SIGNING), *plain(FIRST)]


def leaks(folder: Path) -> list[tuple[str, bytes]]:
    """Which file of the folder holds which secret."""
    return [
        (path.name, canary)
        for path in sorted(folder.iterdir())
        if path.is_file()
        for canary in CANARIES
        if canary in path.read_bytes()
    ]


def frozen(folder: Path) -> dict[str, bytes]:
    """The bytes of all files but those that only coordinate processes."""
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if not path.name.endswith((".lock", "-shm"))
    }


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def old_database(path: Path) -> None:
    """A file of schema 3, with its secrets in plain, and what was rotated away in its pages."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.create_function("place_key", 2, key_of, deterministic=True)
        for one in migrate.migrations("sqlite")[:3]:
            migrate._apply(connection, one)
        made = msgspec.msgpack.encode(msgspec.structs.replace(CRM, secrets=()))
        for number in range(1, 40):
            connection.execute(
                "INSERT INTO subscriptions (id, name, declared, enabled, made) VALUES (?, ?, ?, 1, ?)",
                (number, f"other-{number}", msgspec.json.encode({"url": CRM.url}), made),
            )
            for text in (FIRST, SIGNING):
                connection.execute(
                    "INSERT INTO secrets (subscription, secret, made_at) VALUES (?, ?, 1)",
                    (number, text.encode()),
                )
        connection.execute("DELETE FROM secrets WHERE subscription > 1")
        connection.execute("UPDATE subscriptions SET made = x'' WHERE id > 1")
        connection.execute(
            "UPDATE subscriptions SET name = 'crm', handshake = ? WHERE id = 1",
            (msgspec.msgpack.encode(SHAKEN),),
        )
        connection.execute(
            "INSERT INTO subscriptions (id, name, declared, enabled) VALUES (99, 'file', '{}', 1)"
        )
        connection.execute("INSERT INTO revisions (subscriptions) VALUES ('[]')")


def test_nothing_lies_in_plain_and_all_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"

    async def story(store: Store) -> None:
        await fill(store)
        await check(store)
        assert leaks(tmp_path) == []  # neither in the log of a database that is open

    opened(path, story)
    assert leaks(tmp_path) == []
    opened(path, check)
    key = tmp_path / "gateway.db.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(parse_key(key.read_text("ascii").strip())) == 32
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        *("gateway.db", "gateway.db.key", "gateway.db.lock")
    ]


def test_the_key_of_the_environment_needs_no_file(tmp_path: Path) -> None:
    path, key = tmp_path / "gateway.db", key_text(new_key()).encode()
    opened(path, fill, key=key)
    opened(path, check, key=key + b"\n")
    assert not (tmp_path / "gateway.db.key").exists()


def test_two_names_of_one_file_have_one_key(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "real" / "gateway.db")
    opened(tmp_path / "link.db", fill)
    opened(tmp_path / "real" / "gateway.db", check)


def refused(path: Path, *, key: bytes | None = None) -> str:
    """The sentence; not a byte is written before it."""
    before = frozen(path.parent)
    with pytest.raises(StartupError) as caught:
        opened(path, key=key)
    after = frozen(path.parent)
    assert {name: len(content) for name, content in after.items() if name not in before} in (
        {},
        {f"{path.name}-wal": 0},  # of whoever opens it to read
    )
    assert {name: after[name] for name in before} == before
    return str(caught.value)


def test_without_its_key_it_does_not_start(tmp_path: Path) -> None:
    path, key = tmp_path / "gateway.db", tmp_path / "gateway.db.key"
    opened(path, fill)
    kept = key.read_bytes()
    key.unlink()
    assert refused(path) == (
        f"the key that the secrets in {path} are sealed with is not here: put it back into {key},"
        " or set GATEWAY_MASTER_KEY to it"
    )
    assert not key.exists()
    key.write_text(key_text(new_key()))
    assert refused(path).startswith(f"the key in {key} is not the one")
    opened(path, check, key=kept)  # it is the one, wherever it comes from
    assert refused(path, key=key.read_bytes()).startswith("GATEWAY_MASTER_KEY is not the key that")
    key.write_bytes(kept)
    opened(path, check)


def test_a_wrong_key_stops_it_before_a_migration(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    opened(path, fill)
    newest = migrate.migrations("sqlite")[-1].version
    assert newest > 4, "another migration follows the one of the key"
    change(path, f"PRAGMA user_version = {newest - 1}")  # as if the last one were not applied
    refused(path, key=key_text(new_key()).encode())


def test_a_wrong_key_leaves_the_log_of_a_crash_alone(tmp_path: Path) -> None:
    """SQLite copies the log into the file when the last connection that writes is closed."""
    path, copy = tmp_path / "gateway.db", tmp_path / "copy"
    copy.mkdir()

    async def story(store: Store) -> None:
        await fill(store)
        for suffix in ("", "-wal"):  # as after SIGKILL
            shutil.copy2(f"{path}{suffix}", copy)

    opened(path, story)
    assert (copy / "gateway.db-wal").stat().st_size > 0
    refused(copy / "gateway.db", key=key_text(new_key()).encode())
    (copy / "gateway.db.key").write_bytes((tmp_path / "gateway.db.key").read_bytes())
    opened(copy / "gateway.db", check)


@pytest.mark.parametrize("text", ["", "gwm_", "hunter2-hunter2", key_text(bytes(32))[:-1]])
def test_what_is_no_key_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gateway.db"
    with pytest.raises(StartupError, match="GATEWAY_MASTER_KEY: a master key") as caught:
        opened(path, key=text.encode())
    assert not text or text not in str(caught.value).removeprefix("GATEWAY_MASTER_KEY: ").replace(
        "begins with gwm_", ""
    )
    (tmp_path / "gateway.db.key").write_text(text)
    with pytest.raises(StartupError, match=r"gateway\.db\.key holds no master key"):
        opened(path)
    assert not path.exists()


def test_with_nothing_sealed_another_key_takes_over(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    opened(path)
    key = key_text(new_key()).encode()
    opened(path, fill, key=key)
    opened(path, check, key=key)
    refused(path)


@pytest.mark.parametrize(
    "swap",
    [
        "UPDATE secrets SET subscription = 2 WHERE id = 1",
        "UPDATE secrets SET secret = (SELECT secret FROM secrets WHERE id = 2) WHERE id = 1",
        "UPDATE subscriptions SET headers = (SELECT min(headers) FROM subscriptions)",
        "UPDATE subscriptions SET consent = headers",
        "UPDATE subscriptions SET url = (SELECT min(url) FROM subscriptions)",
        "UPDATE subscriptions SET url = substr(url, 1, 40)",
        "UPDATE secrets SET secret = substr(secret, 1, 30)",
        f"UPDATE secrets SET secret = CAST('{SIGNING}' AS BLOB)",
    ],
)
def test_a_value_opens_at_its_own_place_alone(tmp_path: Path, swap: str) -> None:
    path = tmp_path / "gateway.db"

    async def story(store: Store) -> None:
        await fill(store)
        other = msgspec.structs.replace(CRM, name="other", headers=(("X", b"other-value"),))
        await store.catalog.create(other, generate_secret(), NOW)

    opened(path, story)
    change(path, swap)
    sentence = refused(path)
    assert "is damaged: " in sentence
    assert sentence.endswith("; restore it from a copy")


def test_what_lay_in_plain_is_sealed_when_the_file_is_opened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "gateway.db"
    old_database(path)
    assert {canary for _, canary in leaks(tmp_path)} >= {b"canary", SIGNING.encode()}

    async def story(store: Store) -> None:
        assert leaks(tmp_path) == []  # neither in old pages nor in the log
        statuses = {one.subscription.name: one for one in await store.catalog.refresh()}
        assert set(statuses) == {"crm", "file"}
        crm = statuses["crm"]
        assert (crm.subscription.headers, crm.subscription.url) == (CRM.headers, CRM.url)
        assert crm.subscription.secrets == (parse_secret(SIGNING), parse_secret(FIRST))
        assert crm.handshake == SHAKEN

    opened(path, story)
    assert "sealed 5 secrets which lay in plain" in caplog.text
    caplog.clear()
    opened(path, story)
    assert "sealed" not in caplog.text


def test_a_kill_between_the_migration_and_the_sealing(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    old_database(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate.migrate(connection, str(path))
    (tmp_path / "gateway.db.key.new").write_text("gwm_torn")  # and within the making of the key

    async def story(store: Store) -> None:
        status = next(one for one in await store.catalog.refresh() if one.handshake)
        assert status.handshake == SHAKEN

    opened(path, story)
    assert leaks(tmp_path) == []
    assert not (tmp_path / "gateway.db.key.new").exists()


def test_what_is_removed_or_declared_leaves_nothing_sealed(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"

    async def story(store: Store) -> None:
        await fill(store)
        await store.catalog.sync([])
        await store.catalog.remove("crm", NOW)

    opened(path, story)
    with closing(sqlite3.connect(path)) as connection:
        left = connection.execute("SELECT headers, consent, url FROM subscriptions").fetchall()
        assert left == [(None, None, None)]
        assert connection.execute("SELECT * FROM secrets").fetchall() == []


def test_nothing_is_opened_for_a_delivery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(store: Store) -> None:
        await fill(store)
        with monkeypatch.context() as patch:
            patch.setattr(Sealer, "open", None)
            await store.outbox.accept(intake(1), one_event)
            claimed = await store.queue.claim({1: Wanted(5)}, NOW)
            assert len(claimed.deliveries) == 1
            await store.queue.release(claimed.deliveries)
            with pytest.raises(TypeError):
                await store.catalog.refresh()

    opened(tmp_path / "gateway.db", story)


def test_reading_needs_no_key_but_for_a_signature(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    opened(path, fill)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "INSERT INTO events (id, event_id, type, source, shop, time, recorded, routing, body)"
            " VALUES (1, 'e1', 't', 's', 'd', 0, 0, x'', x'7b7d')"
        )
        connection.execute(
            "INSERT INTO deliveries (id, event, subscription, state, due) VALUES (1, 1, 1, 0, 0)"
        )
        connection.commit()
    key = (tmp_path / "gateway.db.key").read_bytes()
    (tmp_path / "gateway.db.key").unlink()

    shown: list[str] = []

    async def read(key: bytes | None) -> Subscription:
        async with make_records(f"sqlite:///{path}", key=key) as records:
            detail = await records.subscription("crm")
            assert len(detail.secrets) == 2
            assert detail.handshake is not None
            assert repr(detail).count("canary") == repr(detail.settings).count("canary")
            shown.append(detail.settings["url"])
            return (await records.delivery_request("dl_1", NOW))[1]

    known = asyncio.run(read(key))
    assert known.secrets == (parse_secret(SIGNING), parse_secret(FIRST))
    assert known.headers == (("Authorization", b""), ("X-Shop", b""))
    assert known.url == CRM.url
    with pytest.raises(StartupError, match="is not here: put it back"):
        asyncio.run(read(None))
    with pytest.raises(StartupError, match="take the master key that the gateway runs with"):
        asyncio.run(read(key_text(new_key()).encode()))
    host = "https://crm.example:8443"
    assert shown == [f"{host}/canary-of-a-path?***", host, host]


def test_a_key_file_that_others_may_read_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "gateway.db"
    opened(path)
    (tmp_path / "gateway.db.key").chmod(0o640)
    opened(path)
    assert f"{path}.key is open to others than its owner: chmod 600 it" in caplog.text
