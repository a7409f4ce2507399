"""API keys: their records, and the digests of their secrets."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.errors import Conflict, NotFound
from gateway.keys import KeyRecord
from gateway.models import Millis
from gateway.stores.base import KeptKey
from gateway.stores.sqlite.keys import marks
from gateway.stores.sqlite.writer import Batch, Writer

FIELDS = KeyRecord.__struct_fields__
COLUMNS = ", ".join(FIELDS)
ALL_KEYS = f"SELECT {COLUMNS} FROM keys ORDER BY made_at DESC, id"  # noqa: S608


class SqliteKeys:
    """`Keys` on the writer's connection."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def create(self, record: KeyRecord, digest: bytes) -> None:
        """See `gateway.stores.base.Keys`."""
        await self._writer.submit(lambda batch: _create(batch, record, digest))

    async def revoke(self, key: str, now: Millis) -> None:
        """See `gateway.stores.base.Keys`."""
        await self._writer.submit(lambda batch: _revoke(batch, key, now))

    async def all(self) -> Sequence[KeyRecord]:
        """See `gateway.stores.base.Keys`."""
        rows = await self._writer.submit(
            lambda batch: batch.connection.execute(ALL_KEYS).fetchall()
        )
        return [key_record(row) for row in rows]

    async def present(self) -> Sequence[KeptKey]:
        """See `gateway.stores.base.Keys`."""
        rows = await self._writer.submit(
            lambda batch: batch.connection.execute(
                f"SELECT {COLUMNS}, digest FROM keys WHERE revoked_at IS NULL"  # noqa: S608
            ).fetchall()
        )
        return [KeptKey(record=key_record(row[:-1]), digest=row[-1]) for row in rows]

    async def used(self, times: Mapping[str, Millis]) -> None:
        """See `gateway.stores.base.Keys`."""
        rows = [(at, key) for key, at in times.items()]
        await self._writer.submit(
            lambda batch: batch.connection.executemany(
                "UPDATE keys SET last_used_at = ? WHERE id = ?", rows
            ).close()
        )


def key_record(row: Sequence[Any]) -> KeyRecord:
    """A row of `ALL_KEYS`."""
    return msgspec.convert(dict(zip(FIELDS, row, strict=True)), KeyRecord)


def _create(batch: Batch, record: KeyRecord, digest: bytes) -> None:
    added = batch.connection.execute(
        f"INSERT OR IGNORE INTO keys ({COLUMNS}, digest) VALUES ({marks(FIELDS)}, ?)",  # noqa: S608
        (*msgspec.structs.astuple(record), digest),
    )
    if not added.rowcount:
        raise Conflict(f"there is a key {record.id} already: try again")


def _revoke(batch: Batch, key: str, now: Millis) -> None:
    found = batch.connection.execute(
        "UPDATE keys SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?", (now, key)
    )
    if not found.rowcount:
        raise NotFound(f"there is no key {key}")
