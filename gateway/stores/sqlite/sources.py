"""Sources that no configuration declares, sealed; and what the callbacks of all are read by."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.errors import Conflict
from gateway.models import Millis
from gateway.sealing import Sealer
from gateway.stores.sourcing import MadeSource, SourceMapping
from gateway.stores.sqlite.writer import Batch, Writer

ALL = "SELECT name, sealed, made_at FROM made_sources ORDER BY id"
PAUSED = "SELECT source, since FROM paused_sources"
MOST = 500  # sources that were made: each that is polled is a task


class SqliteSources:
    """`Sources` on the writer's connection."""

    def __init__(self, writer: Writer, *, sealer: Callable[[], Sealer]) -> None:
        self._writer, self._sealer = writer, sealer

    async def all(self) -> Sequence[MadeSource]:
        """See `gateway.stores.sourcing.Sources`."""
        rows = await self._writer.submit(lambda batch: batch.connection.execute(ALL).fetchall())
        return [made_source(self._sealer(), row) for row in rows]

    async def put(self, name: str, keys: bytes, now: Millis) -> None:
        """See `gateway.stores.sourcing.Sources`."""
        sealed = self._sealer().seal(_record(name), keys)
        await self._writer.submit(lambda batch: _put(batch, name, sealed, now))

    async def remove(self, name: str) -> None:
        """See `gateway.stores.sourcing.Sources`."""
        await self._writer.submit(lambda batch: _remove(batch, name))

    async def paused(self) -> Mapping[str, Millis]:
        """See `gateway.stores.sourcing.Sources`."""
        return dict(
            await self._writer.submit(lambda batch: batch.connection.execute(PAUSED).fetchall())
        )

    async def pause(self, name: str, now: Millis) -> Millis:
        """See `gateway.stores.sourcing.Sources`."""
        since: Millis = await self._writer.submit(lambda batch: _pause(batch, name, now))
        return since

    async def resume(self, name: str) -> None:
        """See `gateway.stores.sourcing.Sources`."""
        await self._writer.submit(lambda batch: _resume(batch, name))

    async def read_by(self, mappings: Sequence[SourceMapping]) -> None:
        """See `gateway.stores.sourcing.Sources`."""
        if mappings:
            await self._writer.submit(lambda batch: _note(batch, mappings))


def made_source(sealer: Sealer, row: Sequence[Any]) -> MadeSource:
    """A row of `ALL`; `SealError`."""
    name, sealed, made_at = row
    return MadeSource(name=name, keys=sealer.open(_record(name), sealed), made_at=made_at)


def _record(name: str) -> str:
    return f"source:{name}"


def _put(batch: Batch, name: str, sealed: bytes, now: Millis) -> None:
    execute = batch.connection.execute
    if execute("UPDATE made_sources SET sealed = ? WHERE name = ?", (sealed, name)).rowcount:
        return
    (count,) = execute("SELECT count(*) FROM made_sources").fetchone()
    if count >= MOST:
        raise Conflict(f"there are {count} sources, as many as may be made: remove some first")
    execute(
        "INSERT INTO made_sources (name, sealed, made_at) VALUES (?, ?, ?)", (name, sealed, now)
    )
    _resume(batch, name)  # one of that name may have been paused before the file lost it


def _remove(batch: Batch, name: str) -> None:
    batch.connection.execute("DELETE FROM made_sources WHERE name = ?", (name,))
    _resume(batch, name)


def _pause(batch: Batch, name: str, now: Millis) -> Millis:
    execute = batch.connection.execute
    execute("INSERT OR IGNORE INTO paused_sources (source, since) VALUES (?, ?)", (name, now))
    (since,) = execute("SELECT since FROM paused_sources WHERE source = ?", (name,)).fetchone()
    return Millis(since)


def _resume(batch: Batch, name: str) -> None:
    batch.connection.execute("DELETE FROM paused_sources WHERE source = ?", (name,))


def _note(batch: Batch, mappings: Sequence[SourceMapping]) -> None:
    execute = batch.connection.execute
    for mapping in mappings:
        read_by = (mapping.provider, mapping.version, mapping.options)
        last = execute(
            "SELECT provider, version, options FROM mappings WHERE source = ?"
            " ORDER BY id DESC LIMIT 1",
            (mapping.source,),
        ).fetchone()
        if last != read_by:
            execute(
                "INSERT INTO mappings (source, since, provider, version, options)"
                " VALUES (?, ?, ?, ?, ?)",
                (mapping.source, mapping.since, *read_by),
            )
