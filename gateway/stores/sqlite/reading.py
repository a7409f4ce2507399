"""Rows of the store as they are shown; what the lists and the stories read alike."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import aiosqlite
import msgspec

from gateway.errors import Unavailable
from gateway.filters.opened import Opened
from gateway.filters.reading import FilterError, read_filters
from gateway.filters.terms import explain
from gateway.matching import REASONS, Match, unpack
from gateway.models import Note
from gateway.retries import CODES
from gateway.stores.sqlite.keys import marks
from gateway.stores.views import AttemptRow, CallbackRow, DeliveryRow, EventRow, Routing

notes = msgspec.json.Decoder(list[Note])


class Filtered(msgspec.Struct, frozen=True):
    """Of the settings that the catalog keeps of a subscription, those that count here."""

    filters: tuple[Mapping[str, Any], ...] = ()


_filtered = msgspec.json.Decoder(Filtered)
_names = msgspec.json.Decoder(list[tuple[int, str]])
STATES = {code: str(state) for state, code in CODES.items()}

CALLBACK = (
    "SELECT id, source, provider, event_id, event_type, received_at, verdict, reason, notes,"
    " length(body), read_at FROM callbacks"
)
EVENT = (
    "SELECT id, event_id, type, source, shop, order_id, seq, time, recorded, callback, routing"
    " FROM events"
)
DELIVERY = (
    "SELECT d.id, e.event_id, e.type, e.order_id, s.name, d.state, coalesce(l.due, d.due),"
    " coalesce(l.number, d.number), d.finished_at, d.reason, a.status, a.failure, d.leader,"
    " iif(d.state = -1, (SELECT min(h.id) FROM deliveries h INDEXED BY deliveries_lane"
    " WHERE h.subscription = d.subscription AND h.lane = d.lane AND h.state < 2), NULL)"
    " FROM deliveries d JOIN events e ON e.id = d.event"
    " JOIN subscriptions s ON s.id = d.subscription"
    " LEFT JOIN deliveries l ON l.id = d.leader"
    " LEFT JOIN attempts a ON a.delivery = coalesce(l.id, d.id)"
    " AND a.number = coalesce(l.number, d.number)"
)
"""A member of a batch has the due time and the attempts of the batch's leader.

Left to itself, SQLite may look for the head of a lane among all that is unfinished.
"""
ATTEMPTS = (
    "SELECT number, queued_at, started_at, connected, first_byte, duration, status, failure,"
    " detail, address, head FROM attempts"
    " WHERE delivery = (SELECT coalesce(nullif(leader, 0), id) FROM deliveries WHERE id = ?)"
    " ORDER BY number"
)

CHANGED = "; they have changed since, and would let it through now"

Row = Sequence[Any]


class Reading:
    """A connection that reads, and what it remembers of the revisions."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self.connection = connection
        self._revisions: dict[int, list[tuple[int, str]]] = {}

    async def fetch(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """All rows that a statement finds; `Unavailable` when the file cannot be read."""
        try:
            return list(await self.connection.execute_fetchall(sql, parameters))
        except sqlite3.Error as error:
            raise Unavailable(f"the store failed: {error}") from error

    async def close(self) -> None:
        """Close the connection."""
        await self.connection.close()

    async def attempts(self, deliveries: Sequence[int]) -> Mapping[str, Sequence[AttemptRow]]:
        """The attempts of these deliveries, by their ids as shown, oldest first.

        A member of a batch has those of the batch.
        """
        found: dict[str, Sequence[AttemptRow]] = {}
        for number in deliveries:
            rows = await self.fetch(ATTEMPTS, (number,))
            found[f"dl_{number}"] = [_attempt_row(row) for row in rows]
        return found

    async def event(self, row: Row) -> EventRow:
        """An event from its `EVENT` row."""
        revision, verdicts = unpack(row[10])
        names = await self._revision(revision)
        words = {"type": row[2], "source": row[3], "shop": row[4]}
        routed = [(*one, verdict) for one, verdict in zip(names, verdicts, strict=False)]
        failed = await self._failed(
            row[0], [number for number, _, verdict in routed if verdict is Match.FILTER]
        )
        return EventRow(
            id=row[1],
            type=row[2],
            source=row[3],
            shop=row[4],
            order=row[5],
            seq=row[6],
            time=row[7],
            recorded=row[8],
            callback=f"cb_{row[9]}" if row[9] is not None else None,
            routing=[
                Routing(
                    subscription=name,
                    matched=verdict is Match.MATCHED,
                    reason=REASONS[verdict].format(**words) + failed.get(number, ""),
                )
                for number, name, verdict in routed
            ],
        )

    async def _failed(self, event: int, subscriptions: Sequence[int]) -> Mapping[int, str]:
        """What the present filters of these say of an event that those of then did not let through.

        Which those were is not kept: where they let it pass now, they have changed. Nothing is said
        of filters that another version wrote.
        """
        found: dict[int, str] = {}
        if not subscriptions:
            return found
        ((body,),) = await self.fetch("SELECT body FROM events WHERE id = ?", (event,))
        opened = Opened.of(body)
        rows = await self.fetch(
            f"SELECT id, declared FROM subscriptions WHERE id IN ({marks(subscriptions)})",  # noqa: S608
            subscriptions,
        )
        for number, declared in rows:
            try:
                filters = read_filters(_filtered.decode(declared).filters)
            except FilterError:
                continue
            failed = explain(filters, opened)
            found[number] = CHANGED if failed is None else f"; as they are now, {failed.reason}"
        return found

    async def _revision(self, revision: int) -> list[tuple[int, str]]:
        if revision not in self._revisions:
            rows = await self.fetch(
                "SELECT subscriptions FROM revisions WHERE revision = ?", (revision,)
            )
            self._revisions[revision] = _names.decode(rows[0][0]) if rows else []
        return self._revisions[revision]


def number_of(name: str, prefix: str) -> int | None:
    """The number of an id as shown, `dl_7`; None for what is no such id."""
    digits = name.removeprefix(prefix)
    if name.startswith(prefix) and digits.isascii() and digits.isdigit() and len(digits) < 19:
        return int(digits)
    return None


def callback_row(row: Row) -> CallbackRow:
    """A callback from its `CALLBACK` row."""
    return CallbackRow(
        id=f"cb_{row[0]}",
        source=row[1],
        provider=row[2],
        event_id=row[3],
        event_type=row[4],
        received_at=row[5],
        verdict=row[6],
        reason=row[7],
        notes=notes.decode(row[8]),
        size=row[9],
    )


def delivery_row(row: Row) -> DeliveryRow:
    """A delivery from its `DELIVERY` row."""
    return DeliveryRow(
        id=f"dl_{row[0]}",
        event_id=row[1],
        type=row[2],
        order=row[3],
        subscription=row[4],
        state=STATES[row[5]],
        due=row[6],
        attempts=row[7],
        finished_at=row[8],
        reason=row[9],
        last_status=row[10],
        last_failure=row[11],
        leader=f"dl_{row[12]}" if row[12] else None,
        behind=f"dl_{row[13]}" if row[13] is not None else None,
    )


def _attempt_row(row: Row) -> AttemptRow:
    return AttemptRow(
        number=row[0],
        queued_at=row[1],
        started_at=row[2],
        connected=row[3],
        first_byte=row[4],
        duration=row[5],
        status=row[6],
        failure=row[7],
        detail=row[8],
        address=row[9],
        head=bytes(row[10]).decode("utf-8", "replace"),
    )
