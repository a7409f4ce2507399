"""What the faces read, over aiosqlite connections that cannot write."""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import aiosqlite
import msgspec

from gateway.errors import NotFound, StartupError
from gateway.matching import REASONS, Match, unpack
from gateway.models import Callback, Entry, Note
from gateway.retries import CODES
from gateway.stores.base import Poll
from gateway.stores.migrate import IDENTITY, check_identity
from gateway.stores.sqlite.keys import key
from gateway.stores.sqlite.polls import POLL, poll_of
from gateway.stores.sqlite.rejected import read_rejected
from gateway.stores.views import (
    AttemptRow,
    CallbackRow,
    DeliveryRow,
    EventRow,
    RejectedRow,
    Routing,
    Story,
    SubscriptionRow,
    UnlinkedRow,
)

_notes = msgspec.json.Decoder(list[Note])
_entry = msgspec.msgpack.Decoder(Entry)
_headers = msgspec.msgpack.Decoder(list[tuple[bytes, bytes]])
_names = msgspec.json.Decoder(list[tuple[int, str]])
_declared = msgspec.json.Decoder(dict[str, Any])
_states = {code: str(state) for state, code in CODES.items()}

CALLBACK = (
    "SELECT id, source, provider, event_id, event_type, received_at, verdict, reason, notes,"
    " length(body) FROM callbacks"
)
EVENT = (
    "SELECT id, event_id, type, source, shop, order_id, seq, time, recorded, callback, routing"
    " FROM events"
)
DELIVERY = (
    "SELECT d.id, e.event_id, e.type, e.order_id, s.name, d.state, d.due, d.number, d.finished_at,"
    " d.reason, a.status, a.failure FROM deliveries d JOIN events e ON e.id = d.event"
    " JOIN subscriptions s ON s.id = d.subscription"
    " LEFT JOIN attempts a ON a.delivery = d.id AND a.number = d.number"
)
SUBSCRIPTION = (
    "SELECT name, iif(enabled, state, 'disabled'), reason, declared, hold_until,"
    " last_success, (SELECT count(*) FROM deliveries d WHERE d.subscription = s.id AND d.state < 2)"
    " FROM subscriptions s ORDER BY name"
)

Row = Sequence[Any]


class SqliteRecords:
    """`Records` of a database file; open it with `async with`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: aiosqlite.Connection | None = None
        self._revisions: dict[int, list[tuple[int, str]]] = {}

    async def __aenter__(self) -> Self:
        """Open the file `query_only`; `StartupError` when it is not there or not ours."""
        if not self._path.exists():
            raise StartupError(
                f"{self._path.absolute()} is not there yet: `gateway serve` makes it, "
                "or name another file in store.url"
            )
        if not self._path.is_file():
            raise StartupError(
                f"{self._path} cannot be read as a gateway's database: it is no file"
            )
        self._connection = await aiosqlite.connect(self._path, isolation_level=None)
        try:
            await self._fetch("PRAGMA query_only = 1")
            await self._fetch("PRAGMA busy_timeout = 2000")
            identity = (await self._fetch(IDENTITY))[0]
            check_identity((identity[0], identity[1], identity[2]), str(self._path))
        except sqlite3.Error as error:
            await self._connection.close()
            raise StartupError(
                f"{self._path} cannot be read as a gateway's database: {error}"
            ) from None
        except StartupError:
            await self._connection.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()

    async def _fetch(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        assert self._connection is not None
        return list(await self._connection.execute_fetchall(sql, parameters))

    async def events(
        self, *, order: str | None, event_type: str | None, limit: int
    ) -> Sequence[EventRow]:
        """See `gateway.stores.base.Records`."""
        rows = await self._fetch(
            EVENT + " WHERE (?1 IS NULL OR order_id = ?1) AND (?2 IS NULL OR type = ?2)"
            " ORDER BY id DESC LIMIT ?3",
            (order, event_type, limit),
        )
        return [await self._event(row) for row in rows]

    async def deliveries(
        self, *, subscription: str | None, state: str | None, limit: int
    ) -> Sequence[DeliveryRow]:
        """See `gateway.stores.base.Records`."""
        code = next((code for code, name in _states.items() if name == state), None)
        rows = await self._fetch(
            DELIVERY + " WHERE (?1 IS NULL OR s.name = ?1) AND (?2 IS NULL OR d.state = ?2)"
            " ORDER BY d.id DESC LIMIT ?3",
            (subscription, code, limit),
        )
        return [_delivery(row) for row in rows]

    async def unlinked(self, *, limit: int) -> Sequence[UnlinkedRow]:
        """See `gateway.stores.base.Records`."""
        rows = await self._fetch(
            "SELECT u.callback, c.source, c.event_type, u.entry, u.since, u.deadline"
            " FROM unlinked u JOIN callbacks c ON c.id = u.callback ORDER BY u.id LIMIT ?",
            (limit,),
        )
        return [_unlinked(row) for row in rows]

    async def quarantined(self, *, limit: int) -> Sequence[CallbackRow]:
        """See `gateway.stores.base.Records`."""
        rows = await self._fetch(
            CALLBACK + " WHERE verdict = 'quarantined' ORDER BY id DESC LIMIT ?", (limit,)
        )
        return [_callback(row) for row in rows]

    async def subscriptions(self) -> Sequence[SubscriptionRow]:
        """See `gateway.stores.base.Records`."""
        return [
            SubscriptionRow(
                name=row[0],
                state=row[1],
                reason=row[2],
                host=urlsplit(_declared.decode(row[3])["url"]).netloc,
                hold_until=row[4],
                last_success=row[5],
                unfinished=row[6],
            )
            for row in await self._fetch(SUBSCRIPTION)
        ]

    async def sources(self) -> Mapping[str, tuple[Poll | None, int]]:
        """See `gateway.stores.base.Records`."""
        polls = [poll_of(row) for row in await self._fetch(f"SELECT {', '.join(POLL)} FROM polls")]  # noqa: S608
        known = {poll.source: poll for poll in polls}
        rows = await self._fetch("SELECT source, count(next_at) FROM watched GROUP BY source")
        watched = {row[0]: row[1] for row in rows}
        return {
            name: (known.get(name), watched.get(name, 0)) for name in sorted({*known, *watched})
        }

    async def rejected(self, source: str, *, limit: int) -> Sequence[RejectedRow]:
        """See `gateway.stores.base.Records`."""
        return await read_rejected(self._path, source, limit)

    async def callback(self, callback: str) -> tuple[CallbackRow, Callback]:
        """See `gateway.stores.base.Records`."""
        number = _number(callback, "cb_")
        rows = await self._fetch(CALLBACK + " WHERE id = ?", (number,))
        sent = await self._fetch("SELECT headers, body FROM callbacks WHERE id = ?", (number,))
        if not (rows and sent):
            raise NotFound(f"there is no callback {callback}")
        row, ((headers, body),) = _callback(rows[0]), sent
        return row, Callback(
            source=row.source,
            headers=_headers.decode(headers),
            body=body,
            received_at=row.received_at,
        )

    async def explain(self, name: str) -> Sequence[Story]:
        """See `gateway.stores.base.Records`."""
        stories = [
            *await self._by_delivery(name),
            *await self._by_event(name),
            *await self._by_callback(name),
            *await self._by_order(name),
        ]
        if not stories:
            stories = await self._by_provider_id(name)
        if not stories:
            raise NotFound(
                f"nothing is known under {name!r}: no order, event, delivery or callback"
            )
        return stories

    async def _by_delivery(self, name: str) -> list[Story]:
        if (number := _number(name, "dl_")) is None:
            return []
        rows = await self._fetch("SELECT event FROM deliveries WHERE id = ?", (number,))
        return [await self._event_story(f"delivery {name}", row[0], number) for row in rows]

    async def _by_event(self, name: str) -> list[Story]:
        rows = await self._fetch("SELECT id FROM events WHERE event_id = ?", (name,))
        return [await self._event_story(f"event {name}", row[0], None) for row in rows]

    async def _event_story(self, found_as: str, event: int, delivery: int | None) -> Story:
        events = await self._fetch(EVENT + " WHERE id = ?", (event,))
        callbacks = await self._fetch(CALLBACK + " WHERE id = ?", (events[0][9],))
        deliveries = await self._fetch(
            DELIVERY + " WHERE d.event = ?1 AND (?2 IS NULL OR d.id = ?2) ORDER BY d.id",
            (event, delivery),
        )
        return await self._story(found_as, events[0][5], callbacks, events, deliveries)

    async def _by_callback(self, name: str) -> list[Story]:
        """A callback by its own id, or by the id that the provider gave to its event."""
        if (number := _number(name, "cb_")) is not None:
            rows = await self._fetch(CALLBACK + " WHERE id = ?", (number,))
            return [await self._callback_story(f"callback {name}", row) for row in rows]
        sources = await self._fetch("SELECT DISTINCT source FROM callbacks")
        hashes = [key(source[0], name) for source in sources]
        marks = ", ".join("?" for _ in hashes)
        rows = await self._fetch(CALLBACK + f" WHERE dedupe IN ({marks})", hashes)
        return [await self._callback_story(f"the provider's event {name}", row) for row in rows]

    async def _callback_story(self, found_as: str, callback: Row) -> Story:
        events = await self._fetch(EVENT + " WHERE callback = ? ORDER BY id", (callback[0],))
        deliveries = await self._fetch(
            DELIVERY + " WHERE e.callback = ? ORDER BY d.id", (callback[0],)
        )
        order = next((note.order for note in _notes.decode(callback[8]) if note.order), None)
        return await self._story(found_as, order, [callback], events, deliveries)

    async def _by_order(self, name: str) -> list[Story]:
        """An order by its id, or by what leads to it: an alias, a payment intent, a session."""
        shops = await self._fetch("SELECT DISTINCT shop FROM callbacks")
        stories: list[Story] = []
        for (shop,) in shops:
            for order, found_as in (await self._names(shop, name)).items():
                stories.append(await self._order_story(found_as, shop, order))
        return stories

    async def _names(self, shop: str, name: str) -> dict[str, str]:
        """The orders of a shop that `name` leads to, and how."""
        found: dict[str, str] = {}
        if await self._fetch("SELECT 1 FROM orders WHERE key = ?", (key(shop, name),)):
            found[name] = f"order {name}"
        for link in (f"name:{name}", f"stripe:{name}"):
            rows = await self._fetch("SELECT order_id FROM links WHERE key = ?", (key(shop, link),))
            for (order,) in rows:
                found.setdefault(order, f"{name}, which belongs to order {order}")
        return found

    async def _order_story(self, found_as: str, shop: str, order: str) -> Story:
        rows = await self._fetch("SELECT id FROM orders WHERE key = ?", (key(shop, order),))
        row = rows[0] if rows else (None,)
        callbacks = await self._fetch(CALLBACK + " WHERE order_row = ? ORDER BY id", row)
        events = await self._fetch(EVENT + " WHERE order_row = ? ORDER BY id", row)
        deliveries = await self._fetch(DELIVERY + " WHERE e.order_row = ? ORDER BY d.id", row)
        return await self._story(found_as, order, callbacks, events, deliveries, shop=shop)

    async def _by_provider_id(self, name: str) -> list[Story]:
        """A provider's object (a refund, a dispute) that no index knows: look into the orders."""
        rows = await self._fetch(
            "SELECT shop, order_id FROM orders WHERE instr(state, ?) LIMIT 20", (name.encode(),)
        )
        return [
            await self._order_story(f"{name}, which belongs to order {order}", shop, order)
            for shop, order in rows
        ]

    async def _story(
        self,
        found_as: str,
        order: str | None,
        callbacks: Sequence[Row],
        events: Sequence[Row],
        deliveries: Sequence[Row],
        *,
        shop: str | None = None,
    ) -> Story:
        return Story(
            found_as=found_as,
            shop=shop or (events[0][4] if events else None),
            order=order,
            callbacks=[_callback(row) for row in callbacks],
            events=[await self._event(row) for row in events],
            deliveries=[_delivery(row) for row in deliveries],
            attempts=await self._attempts([row[0] for row in deliveries]),
        )

    async def _attempts(self, deliveries: Sequence[int]) -> Mapping[str, Sequence[AttemptRow]]:
        found: dict[str, Sequence[AttemptRow]] = {}
        for number in deliveries:
            rows = await self._fetch(
                "SELECT number, started_at, duration, status, failure, detail, address, head"
                " FROM attempts WHERE delivery = ? ORDER BY number",
                (number,),
            )
            found[f"dl_{number}"] = [
                AttemptRow(
                    number=row[0],
                    started_at=row[1],
                    duration=row[2],
                    status=row[3],
                    failure=row[4],
                    detail=row[5],
                    address=row[6],
                    head=bytes(row[7]).decode("utf-8", "replace"),
                )
                for row in rows
            ]
        return found

    async def _event(self, row: Row) -> EventRow:
        revision, verdicts = unpack(row[10])
        names = await self._revision(revision)
        words = {"type": row[2], "source": row[3], "shop": row[4]}
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
                    reason=REASONS[verdict].format(**words),
                )
                for (_, name), verdict in zip(names, verdicts, strict=False)
            ],
        )

    async def _revision(self, revision: int) -> list[tuple[int, str]]:
        if revision not in self._revisions:
            rows = await self._fetch(
                "SELECT subscriptions FROM revisions WHERE revision = ?", (revision,)
            )
            self._revisions[revision] = _names.decode(rows[0][0]) if rows else []
        return self._revisions[revision]


def _number(name: str, prefix: str) -> int | None:
    digits = name.removeprefix(prefix)
    if name.startswith(prefix) and digits.isascii() and digits.isdigit() and len(digits) < 19:
        return int(digits)
    return None


def _callback(row: Row) -> CallbackRow:
    return CallbackRow(
        id=f"cb_{row[0]}",
        source=row[1],
        provider=row[2],
        event_id=row[3],
        event_type=row[4],
        received_at=row[5],
        verdict=row[6],
        reason=row[7],
        notes=_notes.decode(row[8]),
        size=row[9],
    )


def _delivery(row: Row) -> DeliveryRow:
    return DeliveryRow(
        id=f"dl_{row[0]}",
        event_id=row[1],
        type=row[2],
        order=row[3],
        subscription=row[4],
        state=_states[row[5]],
        due=row[6],
        attempts=row[7],
        finished_at=row[8],
        reason=row[9],
        last_status=row[10],
        last_failure=row[11],
    )


def _unlinked(row: Row) -> UnlinkedRow:
    fact = _entry.decode(row[3]).fact
    return UnlinkedRow(
        callback=f"cb_{row[0]}",
        source=row[1],
        event_type=row[2],
        track=fact.track,
        state=fact.state,
        links=fact.links,
        since=row[4],
        deadline=row[5],
    )
