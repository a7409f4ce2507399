"""API keys in a store."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from gateway.errors import Conflict, NotFound
from gateway.keys import KeyRecord, Role
from gateway.models import Millis
from gateway.stores.base import KeptKey
from gateway.stores.registry import Store

DIGEST = bytes(range(32))


def key(key_id: str, made_at: int = 1, *, role: Role = Role.READER) -> KeyRecord:
    return KeyRecord(id=key_id, made_at=Millis(made_at), role=role)


def test_keys_come_back_as_they_were(run: Callable[..., None]) -> None:
    full = replace(key("aaaaaaaa", 2), name="é'\"", expires_at=Millis(9))
    plain = [key(f"bbbbbbb{number}", 1, role=role) for number, role in enumerate(Role)]

    async def story(store: Store) -> None:
        assert (await store.keys.all(), await store.keys.present()) == ([], [])
        for record in (*plain, full):
            await store.keys.create(record, DIGEST)
        assert await store.keys.all() == [full, *plain]
        assert KeptKey(record=full, digest=DIGEST) in await store.keys.present()
        async with store.records() as records:
            assert await records.keys() == [full, *plain]

    run(story)


def test_an_id_is_never_given_twice(run: Callable[..., None]) -> None:
    async def story(store: Store) -> None:
        await store.keys.create(key("aaaaaaaa"), DIGEST)
        await store.keys.revoke("aaaaaaaa", Millis(5))
        with pytest.raises(Conflict):
            await store.keys.create(key("aaaaaaaa", role=Role.ADMIN), bytes(32))
        assert await store.keys.present() == []
        assert [one.role for one in await store.keys.all()] == [Role.READER]

    run(story)


def test_revoked_keys_are_shown_and_not_present(run: Callable[..., None]) -> None:
    async def story(store: Store) -> None:
        await store.keys.create(key("aaaaaaaa"), DIGEST)
        await store.keys.create(key("bbbbbbbb"), DIGEST)
        await store.keys.revoke("aaaaaaaa", Millis(5))
        await store.keys.revoke("aaaaaaaa", Millis(9))
        assert [(one.id, one.revoked_at) for one in await store.keys.all()] == [
            ("aaaaaaaa", 5),
            ("bbbbbbbb", None),
        ]
        assert [kept.record.id for kept in await store.keys.present()] == ["bbbbbbbb"]
        with pytest.raises(NotFound, match="cccccccc"):
            await store.keys.revoke("cccccccc", Millis(5))

    run(story)


def test_last_uses_are_written(run: Callable[..., None]) -> None:
    async def story(store: Store) -> None:
        for name in ("aaaaaaaa", "bbbbbbbb", "cccccccc"):
            await store.keys.create(key(name), DIGEST)
        await store.keys.used({"aaaaaaaa": Millis(7), "cccccccc": Millis(8), "zzzzzzzz": Millis(9)})
        assert [one.last_used_at for one in await store.keys.all()] == [7, None, 8]

    run(story)
