"""Answers that are given again, sealed; and which requests are being answered in this process."""

import logging
from collections.abc import Callable

import msgspec

from gateway.models import Millis
from gateway.sealing import Sealer, SealError
from gateway.stores.answers import BUDGET, KEPT, MOST, Answer, Asked, Running
from gateway.stores.sqlite.sealed import open_answer, seal_answer
from gateway.stores.sqlite.writer import Batch, Writer

FIND = "SELECT sealed FROM answers WHERE principal = ? AND key = ? AND kept_at > ?"
NEWEST = (
    "SELECT number, begins + length(sealed) FROM answers WHERE principal = ?"
    " ORDER BY number DESC LIMIT 1"
)
KEEP = (
    "INSERT OR REPLACE INTO answers (principal, key, number, kept_at, begins, sealed)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)
REMOVE = "DELETE FROM answers WHERE principal = ? AND number <= ?"
REMOVE_LARGE = (
    "DELETE FROM answers WHERE principal = ? AND number < (SELECT number FROM answers"
    " WHERE principal = ? AND begins >= ? ORDER BY number LIMIT 1)"
)

logger = logging.getLogger("gateway.store")

_pack = msgspec.msgpack.Encoder().encode
_answer = msgspec.msgpack.Decoder(Answer)


class SqliteAnswers:
    """`Answers` on the writer's connection. One process owns the file, so it knows what is running."""

    def __init__(
        self,
        writer: Writer,
        *,
        sealer: Callable[[], Sealer],
        most: int = MOST,
        budget: int = BUDGET,
    ) -> None:
        self._writer, self._sealer, self._most, self._budget = writer, sealer, most, budget
        self._running: dict[tuple[str, bytes], bytes] = {}

    async def begin(self, asked: Asked, now: Millis) -> Answer | Running | None:
        """See `gateway.stores.answers.Answers`."""
        place = asked.principal, asked.key
        running = self._running.get(place)
        if running is not None:
            return Running(running)
        self._running[place] = asked.request  # before it is looked for: two must not find nothing
        found = None
        try:
            found = self._opened(asked, await self._writer.submit(lambda b: _find(b, asked, now)))
        except BaseException:
            self.end(asked)
            raise
        if found is not None:
            self.end(asked)
        return found

    async def keep(self, asked: Asked, answer: Answer, now: Millis) -> None:
        """See `gateway.stores.answers.Answers`."""
        sealed = seal_answer(self._sealer(), asked.principal, asked.key, _pack(answer))
        # What it tells of is done, so it has to be kept even when many others wait.
        await self._writer.submit(lambda batch: self._put(batch, asked, sealed, now), bounded=False)

    def end(self, asked: Asked) -> None:
        """See `gateway.stores.answers.Answers`."""
        self._running.pop((asked.principal, asked.key), None)

    def _put(self, batch: Batch, asked: Asked, sealed: bytes, now: Millis) -> None:
        execute = batch.connection.execute
        number, begins = execute(NEWEST, (asked.principal,)).fetchone() or (0, 0)
        execute(KEEP, (asked.principal, asked.key, number + 1, now, begins, sealed))
        execute(REMOVE, (asked.principal, number + 1 - self._most))
        oldest = begins + len(sealed) - self._budget
        execute(REMOVE_LARGE, (asked.principal, asked.principal, oldest))

    def _opened(self, asked: Asked, sealed: bytes | None) -> Answer | None:
        if sealed is None:
            return None
        try:
            return _answer.decode(open_answer(self._sealer(), asked.principal, asked.key, sealed))
        except SealError as error:
            # A start does not look at these: with no other secret, it takes any master key.
            logger.warning("an answer cannot be given again: %s", error)
            return None


def _find(batch: Batch, asked: Asked, now: Millis) -> bytes | None:
    row = batch.connection.execute(FIND, (asked.principal, asked.key, now - KEPT)).fetchone()
    return None if row is None else bytes(row[0])
