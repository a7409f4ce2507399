"""Where the pollers are, and which orders they ask for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.models import Event, Millis
from gateway.stores.base import Poll, Watch
from gateway.stores.sqlite.keys import key, marks
from gateway.stores.sqlite.publish import Route, publish
from gateway.stores.sqlite.writer import Batch, Writer

POLL = Poll.__struct_fields__
WATCH = {"order": "order_id"}  # fields whose column has another name
FIELDS = Watch.__struct_fields__
COLUMNS = tuple(WATCH.get(field, field) for field in FIELDS)


class SqlitePolls:
    """`Polls` on the writer's connection; `route` is the present snapshot of the catalog."""

    def __init__(self, writer: Writer, *, route: Callable[[], Route]) -> None:
        self._writer, self._route = writer, route

    async def state(self, source: str) -> Poll | None:
        """See `gateway.stores.base.Polls`."""
        rows = await self._read(f"SELECT {', '.join(POLL)} FROM polls WHERE source = ?", source)  # noqa: S608
        return poll_of(rows[0]) if rows else None

    async def save(self, poll: Poll, events: Sequence[Event] = ()) -> None:
        """See `gateway.stores.base.Polls`."""

        def work(batch: Batch) -> None:
            batch.connection.execute(
                f"INSERT OR REPLACE INTO polls ({', '.join(POLL)}) VALUES ({marks(POLL)})",  # noqa: S608
                msgspec.structs.astuple(poll),
            )
            for event in events:
                publish(batch, self._route(), event, now=event.recorded)

        await self._writer.submit(work)

    async def watch(self, watches: Sequence[Watch]) -> Sequence[str]:
        """See `gateway.stores.base.Polls`."""
        new: Sequence[str] = await self._writer.submit(
            lambda batch: [watch.number for watch in watches if insert_watch(batch, watch)]
        )
        return new

    async def want(self, watch: Watch) -> bool:
        """See `gateway.stores.base.Polls`."""

        def work(batch: Batch) -> bool:
            if insert_watch(batch, watch):
                return True
            batch.connection.execute(
                "UPDATE watched SET wanted = 1, baseline = 0, next_at = ?, seen = NULL, entry = NULL, failures = 0,"
                " problem = NULL, order_id = coalesce(?, order_id) WHERE key = ?",
                (watch.next_at, watch.order, key(watch.source, watch.number)),
            )
            return False

        new: bool = await self._writer.submit(work)
        return new

    async def find(self, source: str, numbers: Sequence[str]) -> Mapping[str, Watch]:
        """See `gateway.stores.base.Polls`."""
        keys = [key(source, number) for number in numbers]
        found = await self._watches(f"key IN ({marks(keys)})", *keys)
        return {watch.number: watch for watch in found}

    async def due(self, source: str, now: Millis, limit: int) -> Sequence[Watch]:
        """See `gateway.stores.base.Polls`."""
        return await self._watches(
            "source = ? AND next_at IS NOT NULL AND next_at <= ? ORDER BY baseline, next_at LIMIT ?",
            *(source, now, limit),
        )

    async def all(self, source: str, *, after: str | None, limit: int) -> Sequence[Watch]:
        """See `gateway.stores.base.Polls`."""
        first = b"" if after is None else key(source, after)
        return await self._watches(
            "source = ? AND key > ? ORDER BY key LIMIT ?", source, first, limit
        )

    async def put(self, watch: Watch) -> None:
        """See `gateway.stores.base.Polls`."""
        await self._writer.submit(lambda batch: put_watch(batch, watch))

    async def refresh(self, source: str, now: Millis) -> None:
        """See `gateway.stores.base.Polls`."""
        await self._writer.submit(
            lambda batch: batch.connection.execute(
                "UPDATE watched SET seen = NULL, entry = NULL, failures = 0, problem = NULL, next_at = ?"
                " WHERE source = ? AND (next_at IS NOT NULL OR problem IS NOT NULL)",
                (now, source),
            ).close()
        )

    async def adopt(
        self, source: str, *, after: int, limit: int, numbers_of: Callable[[bytes], Sequence[str]]
    ) -> tuple[int, Sequence[str]]:
        """See `gateway.stores.base.Polls`."""
        rows = await self._read(
            "SELECT c.id, o.state FROM callbacks c LEFT JOIN orders o ON o.id = c.order_row"
            " AND c.source = ? AND c.event_id NOT LIKE 'poll:%' WHERE c.id > ? ORDER BY c.id LIMIT ?",
            *(source, after, limit),
        )
        numbers = {number for _, state in rows if state is not None for number in numbers_of(state)}
        return (rows[-1][0] if rows else after), sorted(numbers)

    async def _watches(self, where: str, *parameters: object) -> list[Watch]:
        rows = await self._read(
            f"SELECT {', '.join(COLUMNS)} FROM watched WHERE {where}",  # noqa: S608
            *parameters,
        )
        return [
            msgspec.convert(dict(zip(FIELDS, row, strict=True)), Watch, strict=False)
            for row in rows
        ]

    async def _read(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = await self._writer.submit(
            lambda batch: batch.connection.execute(sql, parameters).fetchall()
        )
        return rows


def poll_of(row: Sequence[Any]) -> Poll:
    """A row with the columns `POLL`."""
    return msgspec.convert(dict(zip(POLL, row, strict=True)), Poll, strict=False)


def insert_watch(batch: Batch, watch: Watch) -> bool:
    """Watch an order unless it is; whether it was not."""
    row = batch.connection.execute(
        f"INSERT OR IGNORE INTO watched (key, {', '.join(COLUMNS)})"  # noqa: S608
        f" VALUES (?, {marks(COLUMNS)})",
        (key(watch.source, watch.number), *msgspec.structs.astuple(watch)),
    )
    return row.rowcount > 0


def put_watch(batch: Batch, watch: Watch) -> None:
    """Write how asking for an order went; what a person said of it meanwhile stays."""
    batch.connection.execute(
        "UPDATE watched SET baseline = ?, seen = ?, entry = ?, said_at = ?, changed_at = ?, next_at = ?,"
        " failures = ?, problem = ? WHERE key = ?",
        (
            watch.baseline,
            watch.seen,
            watch.entry,
            watch.said_at,
            watch.changed_at,
            watch.next_at,
            watch.failures,
            watch.problem,
            key(watch.source, watch.number),
        ),
    )


def revive_watch(batch: Batch, watch: Watch) -> None:
    """Watch an order that a callback tells of; one that was asked no more is asked again."""
    if not insert_watch(batch, watch):
        batch.connection.execute(
            "UPDATE watched SET next_at = coalesce(next_at, ?) WHERE key = ?",
            (watch.next_at, key(watch.source, watch.number)),
        )
