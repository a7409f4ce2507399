"""The keyring: who is let in, that expiry and revocation hold at once, and notes of last uses."""

import asyncio
import hmac
import logging
import random
from collections.abc import Mapping, Sequence

import pytest

from gateway import keyring as module
from gateway import keys
from gateway.errors import BadRequest, Conflict, NotFound, Unavailable
from gateway.events import LATEST
from gateway.keyring import Keyring, Principal
from gateway.keys import KeyRecord, Role, make_key
from gateway.models import Millis
from gateway.stores.base import KeptKey

NOW = Millis(1_800_000_000_000)
MINUTE = 60_000


def at(later: int) -> Millis:
    return Millis(NOW + later)


class Stored:
    """A `Keys` in memory that fails when it is told to."""

    def __init__(self) -> None:
        self.rows: dict[str, KeptKey] = {}
        self.used_calls: list[Mapping[str, Millis]] = []
        self.failing = False

    def _check(self) -> None:
        if self.failing:
            raise Unavailable("the disk is full")

    async def create(self, record: KeyRecord, digest: bytes) -> None:
        self._check()
        if record.id in self.rows:
            raise Conflict(record.id)
        self.rows[record.id] = KeptKey(record=record, digest=digest)

    async def revoke(self, key: str, now: Millis) -> None:
        self._check()
        if key not in self.rows:
            raise NotFound(key)

    async def all(self) -> Sequence[KeyRecord]:
        return [kept.record for kept in self.rows.values()]

    async def present(self) -> Sequence[KeptKey]:
        return list(self.rows.values())

    async def used(self, times: Mapping[str, Millis]) -> None:
        self.used_calls.append(dict(times))
        self._check()


def made(stored: Stored | None = None) -> tuple[Keyring, Stored]:
    stored = stored or Stored()
    return Keyring(stored, random=random.Random(7).randbytes), stored


def test_a_key_lets_its_role_in() -> None:
    async def story() -> None:
        ring, _ = made()
        record, text = await ring.create(Role.PUBLISHER, NOW, name="ci")
        assert (record.role, record.name, record.made_at) == (Role.PUBLISHER, "ci", NOW)
        assert ring.authenticate(text, NOW) == Principal(key=record.id, role=Role.PUBLISHER)
        assert text not in repr(ring.authenticate(text, NOW))

    asyncio.run(story())


def test_nothing_else_does() -> None:
    async def story() -> None:
        ring, _ = made()
        record, text = await ring.create(Role.ADMIN, NOW)
        other = make_key(random.Random(8).randbytes)
        forged = make_key(bytes)
        same_id = text[:13] + other[13:56]
        same_id += "_" + keys._checksum(same_id)
        assert keys.parse_key(same_id) is not None
        for wrong in ("", text[:-1], text + "x", text.lower(), record.id, other, forged, same_id):
            assert ring.authenticate(wrong, NOW) is None, wrong

    asyncio.run(story())


def test_known_and_unknown_ids_take_the_same_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same hash and the same comparison: no clock tells which ids there are."""

    async def story() -> None:
        ring, _ = made()
        _, good = await ring.create(Role.ADMIN, NOW)
        expired = (await ring.create(Role.ADMIN, NOW, expires_at=at(1)))[1]
        gone_record, gone = await ring.create(Role.ADMIN, NOW)
        await ring.revoke(gone_record.id, NOW)
        wrong = good[:13] + gone[13:56]
        wrong += "_" + keys._checksum(wrong)
        unknown = make_key(random.Random(9).randbytes)
        work: list[str] = []
        digest = keys.digest_of

        def comparing(left: bytes, right: bytes) -> bool:
            work.append("compared")
            return hmac.compare_digest(left, right)

        def hashing(secret: str) -> bytes:
            work.append("hashed")
            return digest(secret)

        monkeypatch.setattr(keys, "compare_digest", comparing)
        monkeypatch.setattr(keys, "digest_of", hashing)
        paths = []
        for text in (good, wrong, unknown, expired, gone):
            work.clear()
            let_in = ring.authenticate(text, at(5)) is not None
            assert let_in == (text == good)
            paths.append(tuple(work))
        assert paths == [("hashed", "compared")] * 5

    asyncio.run(story())


def test_a_key_expires_to_the_millisecond() -> None:
    async def story() -> None:
        ring, _ = made()
        _, text = await ring.create(Role.READER, NOW, expires_at=at(1000))
        assert ring.authenticate(text, at(999)) is not None
        assert ring.authenticate(text, at(1000)) is None
        assert ring.authenticate(text, Millis(LATEST)) is None

    asyncio.run(story())


def test_revocation_holds_even_before_it_is_written() -> None:
    async def story() -> None:
        ring, stored = made()
        record, text = await ring.create(Role.READER, NOW)
        written = asyncio.Event()
        write = stored.revoke

        async def slow(key: str, now: Millis) -> None:
            await written.wait()
            await write(key, now)

        stored.revoke = slow  # type: ignore[method-assign]
        task = asyncio.create_task(ring.revoke(record.id, NOW))
        await asyncio.sleep(0)
        assert ring.authenticate(text, NOW) is None
        written.set()
        await task
        assert ring.authenticate(text, NOW) is None
        await ring.revoke(text, NOW)  # a whole key is taken for its id, and twice is no error

    asyncio.run(story())


def test_a_revocation_that_was_not_written_is_none() -> None:
    async def story() -> None:
        ring, stored = made()
        record, text = await ring.create(Role.READER, NOW)
        stored.failing = True
        with pytest.raises(Unavailable):
            await ring.revoke(record.id, NOW)
        assert ring.authenticate(text, NOW) is not None

    asyncio.run(story())


def test_who_revokes_what_is_not_there_is_told_so_without_an_echo() -> None:
    async def story() -> None:
        ring, _ = made()
        with pytest.raises(NotFound, match="8 characters"):
            await ring.revoke("half-a-secret", NOW)
        with pytest.raises(NotFound):
            await ring.revoke("aaaaaaaa", NOW)

    asyncio.run(story())


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\nb", "a\x1b[31m", "\u202ereversed", " a"])
def test_names_that_cannot_be(name: str) -> None:
    async def story() -> None:
        ring, stored = made()
        with pytest.raises(BadRequest, match="name:"):
            await ring.create(Role.READER, NOW, name=name)
        assert stored.rows == {}

    asyncio.run(story())


@pytest.mark.parametrize("expires_at", [NOW, at(-1), Millis(0), Millis(LATEST + 1)])
def test_ends_that_cannot_be(expires_at: Millis) -> None:
    async def story() -> None:
        ring, _ = made()
        with pytest.raises(BadRequest, match="expires_at:"):
            await ring.create(Role.READER, NOW, expires_at=expires_at)

    asyncio.run(story())


def test_a_key_that_was_not_written_opens_nothing() -> None:
    async def story() -> None:
        ring, stored = made()
        kept: list[str] = []
        stored.failing = True
        with pytest.raises(Unavailable):
            await ring.create(Role.ADMIN, NOW, keep=kept.append)
        assert ring.authenticate(kept[0], NOW) is None

        def fails(text: str) -> None:
            kept.append(text)
            raise OSError

        stored.failing = False
        with pytest.raises(OSError):
            await ring.create(Role.ADMIN, NOW, keep=fails)
        assert ring.authenticate(kept[1], NOW) is None
        assert stored.rows == {}

    asyncio.run(story())


def test_keys_are_known_again_after_a_restart() -> None:
    async def story() -> None:
        ring, stored = made()
        record, text = await ring.create(Role.OPERATOR, NOW)
        again, _ = made(stored)
        assert again.authenticate(text, NOW) is None
        await again.refresh()
        assert again.authenticate(text, NOW) == Principal(key=record.id, role=Role.OPERATOR)

    asyncio.run(story())


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_last_use_is_written_once_a_minute_in_the_background() -> None:
    async def story() -> None:
        ring, stored = made()
        record, text = await ring.create(Role.READER, NOW)
        other, other_text = await ring.create(Role.READER, NOW)
        running = asyncio.create_task(ring.run())
        for later in (0, 1, MINUTE - 1):
            ring.authenticate(text, at(later))
            await turns()
        assert stored.used_calls == [{record.id: NOW}]
        ring.authenticate(text, at(MINUTE))
        ring.authenticate(other_text, at(MINUTE))
        ring.authenticate(text[:-1], at(9 * MINUTE))  # one that is refused is no use of it
        await turns()
        assert stored.used_calls[1:] == [{record.id: at(MINUTE), other.id: at(MINUTE)}]
        ring.authenticate(text, at(-5 * MINUTE))  # the clock was set back
        await turns()
        assert stored.used_calls[2:] == [{record.id: at(-5 * MINUTE)}]
        ring.authenticate(other_text, at(3 * MINUTE))
        ring.stop()
        await running
        assert stored.used_calls[3:] == [{other.id: at(3 * MINUTE)}]

    asyncio.run(story())


def test_the_last_use_of_before_the_restart_counts() -> None:
    async def story() -> None:
        record = KeyRecord(id="aaaaaaaa", role=Role.READER, made_at=NOW, last_used_at=NOW)
        text = make_key(bytes)
        parsed = keys.parse_key(text)
        assert parsed is not None
        stored = Stored()
        stored.rows[record.id] = KeptKey(record=record, digest=keys.digest_of(parsed.secret))
        ring, _ = made(stored)
        await ring.refresh()
        assert ring.authenticate(text, at(MINUTE - 1)) is not None
        ring.stop()
        await ring.run()
        assert stored.used_calls == []

    asyncio.run(story())


def test_a_store_that_fails_fails_no_request(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "STORE_PAUSE", 0.001)

    async def story() -> None:
        ring, stored = made()
        record, text = await ring.create(Role.READER, NOW)
        stored.failing = True
        running = asyncio.create_task(ring.run())
        assert ring.authenticate(text, NOW) is not None
        while len(stored.used_calls) < 2:
            assert ring.authenticate(text, at(1)) is not None
            await asyncio.sleep(0.001)
        stored.failing = False
        tries = len(stored.used_calls)
        ring.stop()
        await running
        assert stored.used_calls[tries:] == [{record.id: NOW}]
        assert text not in caplog.text
        assert "cannot write when keys were used: the disk is full" in caplog.text

    with caplog.at_level(logging.DEBUG):
        asyncio.run(story())
