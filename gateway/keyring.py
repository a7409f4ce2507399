"""Who may ask for what: API keys are made, checked and revoked here.

The digests are kept in memory, so that no request waits for the store.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec

from gateway.errors import BadRequest, GatewayError, NotFound, Unavailable
from gateway.events import LATEST
from gateway.keys import (
    LONGEST_NAME,
    KeyRecord,
    KeyState,
    Role,
    digest_of,
    is_secret_of,
    make_key,
    named_key,
    parse_key,
)
from gateway.models import Millis
from gateway.stores.base import KeptKey, Keys

logger = logging.getLogger("gateway.keyring")

USE_INTERVAL = 60_000  # milliseconds between two notes that a key was used
STORE_PAUSE = 10.0  # seconds between two tries of a store that failed; nobody waits for it


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: the id of the key, None at the control socket, and what its role is."""

    key: str | None
    role: Role


OWNER = Principal(key=None, role=Role.ADMIN)
"""Whoever reaches the control socket owns the database, and so may do everything."""


class Keyring:
    """`random` gives so many bytes that nobody can guess; `refresh` comes before `authenticate`."""

    def __init__(self, keys: Keys, *, random: Callable[[int], bytes]) -> None:
        self._keys, self._random = keys, random
        self._present: dict[str, KeptKey] = {}  # all that are not revoked, by id
        self._noted: dict[str, Millis] = {}  # the last use of each that was noted
        self._unwritten: dict[str, Millis] = {}
        self._wake = asyncio.Event()
        self._stopped = asyncio.Event()

    async def refresh(self) -> None:
        """Read all keys; before that none opens anything."""
        self._present = {kept.record.id: kept for kept in await self._keys.present()}

    def authenticate(self, text: str, now: Millis) -> Principal | None:
        """Whose key this is; None for one that is mistyped, unknown, revoked or expired.

        What is well-formed takes the same path whether its id is known or not, so that no clock
        tells which ids there are.
        """
        parsed = parse_key(text)
        if parsed is None:
            return None
        kept = self._present.get(parsed.id)
        good = is_secret_of(parsed.secret, None if kept is None else kept.digest)
        if kept is None or not good or kept.record.state(now) is not KeyState.ACTIVE:
            return None
        self._note_use(kept.record, now)
        return Principal(key=parsed.id, role=kept.record.role)

    def stands(self, key: str, now: Millis) -> bool:
        """Whether a key, by its id, still opens what it opened before."""
        kept = self._present.get(key)
        return kept is not None and kept.record.state(now) is KeyState.ACTIVE

    async def create(
        self,
        role: Role,
        now: Millis,
        *,
        name: str | None = None,
        expires_at: Millis | None = None,
        keep: Callable[[str], None] | None = None,
    ) -> tuple[KeyRecord, str]:
        """Make a key; its record, and its text, which nobody can tell again.

        `keep` is given the text before the key is good for anything, so that there is none that
        nobody knows. Raises `BadRequest` for a name or a time that cannot be, `Unavailable`, and
        what `keep` raises.
        """
        if name is not None and not _is_name(name):
            raise BadRequest(f"name: expected 1 to {LONGEST_NAME} printable characters")
        if expires_at is not None and not now < expires_at <= LATEST:
            raise BadRequest("expires_at: expected a time to come")
        text = make_key(self._random)
        parsed = parse_key(text)
        assert parsed is not None
        record = KeyRecord(id=parsed.id, role=role, name=name, made_at=now, expires_at=expires_at)
        kept = KeptKey(record=record, digest=digest_of(parsed.secret))
        if keep is not None:
            keep(text)
        await self._keys.create(record, kept.digest)
        self._present[record.id] = kept
        return record, text

    async def revoke(self, key: str, now: Millis) -> None:
        """End a key; one that has been ended already stays so. `NotFound`, `Unavailable`.

        `key` is its id; of a whole key the id is taken.
        """
        name = named_key(key)
        if name is None:
            # Not shown: it may be half of a key.
            raise NotFound("there is no such key: an id is the 8 characters after gwk_")
        # It opens nothing from here on, even before that is written.
        kept = self._present.pop(name, None)
        try:
            await self._keys.revoke(name, now)
        except GatewayError:
            if kept is not None:
                self._present[name] = kept  # whoever asked is told that it was not done
            raise

    async def all(self) -> Sequence[KeyRecord]:
        """All keys, newest first, those that opened something once too; `Unavailable`."""
        return await self._keys.all()

    async def run(self) -> None:
        """Write when keys were last used, until `stop`."""
        while not self._stopped.is_set():
            await self._wake.wait()
            self._wake.clear()
            await self._write_uses()
        await self._write_uses()  # what was noted in the meantime

    def stop(self) -> None:
        """Let `run` return, after what is noted was written."""
        self._stopped.set()
        self._wake.set()

    def _note_use(self, record: KeyRecord, now: Millis) -> None:
        last = self._noted.get(record.id, record.last_used_at)
        if last is None or not 0 <= now - last < USE_INTERVAL:
            self._noted[record.id] = self._unwritten[record.id] = now
            self._wake.set()

    async def _write_uses(self) -> None:
        if not self._unwritten:
            return
        times: Mapping[str, Millis] = self._unwritten
        self._unwritten = {}
        try:
            await self._keys.used(times)
        except Unavailable as error:
            logger.warning("cannot write when keys were used: %s", error)
            self._unwritten = {**times, **self._unwritten}
            self._wake.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), STORE_PAUSE)


def _is_name(name: str) -> bool:
    return 0 < len(name) <= LONGEST_NAME and name.isprintable() and name.strip() == name
