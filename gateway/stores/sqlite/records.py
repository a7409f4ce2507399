"""What the faces read, over aiosqlite connections that cannot write."""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import aiosqlite
import msgspec

from gateway.errors import NotFound, StartupError
from gateway.keys import KeyRecord
from gateway.models import Callback, Delivery, Entry, Millis, Subscription
from gateway.stores.base import Poll
from gateway.stores.migrate import IDENTITY, check_identity, migrations
from gateway.stores.replaying import Chosen, Preview
from gateway.stores.sqlite.choosing import preview
from gateway.stores.sqlite.keyring import ALL_KEYS, key_record
from gateway.stores.sqlite.keys import BY_EVENT_ID
from gateway.stores.sqlite.listing import Listing
from gateway.stores.sqlite.master import Master
from gateway.stores.sqlite.parked import read_lanes
from gateway.stores.sqlite.polls import POLL, poll_of
from gateway.stores.sqlite.reading import (
    CALLBACK,
    DELIVERY,
    EVENT,
    STATES,
    Reading,
    Row,
    callback_row,
    delivery_row,
    number_of,
)
from gateway.stores.sqlite.rejected import read_rejected
from gateway.stores.sqlite.single import request_of, story_of
from gateway.stores.sqlite.stories import Stories
from gateway.stores.sqlite.subscribed import conditions, subscription_detail, subscription_rows
from gateway.stores.views import (
    CallbackFilter,
    CallbackRow,
    Condition,
    DeliveryFilter,
    DeliveryRow,
    DeliveryStory,
    EventFilter,
    EventRow,
    LaneRow,
    Page,
    RejectedRow,
    Story,
    SubscriptionDetail,
    SubscriptionRow,
    UnlinkedRow,
)

NAMED = 20  # subscriptions in a sentence

_entry = msgspec.msgpack.Decoder(Entry)
_headers = msgspec.msgpack.Decoder(list[tuple[bytes, bytes]])


class SqliteRecords:
    """`Records` of a database file; open it with `async with`. `key` is as in `SqliteStore`."""

    def __init__(self, path: Path, *, key: bytes | None = None) -> None:
        self._path, self._master = path, Master(path, key)
        self._opened: Reading | None = None

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
        reading = Reading(await aiosqlite.connect(self._path, isolation_level=None))
        try:
            await reading.fetch("PRAGMA query_only = 1")
            await reading.fetch("PRAGMA busy_timeout = 2000")
            identity = (await reading.fetch(IDENTITY))[0]
            version = check_identity((identity[0], identity[1], identity[2]), str(self._path))
            _check_version(version, self._path)
        except sqlite3.Error as error:
            await reading.close()
            raise StartupError(
                f"{self._path} cannot be read as a gateway's database: {error}"
            ) from None
        except StartupError:
            await reading.close()
            raise
        self._opened = reading
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection."""
        if self._opened is not None:
            await self._opened.close()

    @property
    def _reading(self) -> Reading:
        assert self._opened is not None
        return self._opened

    async def events(
        self, *, order: str | None, event_type: str | None, limit: int
    ) -> Sequence[EventRow]:
        """See `gateway.stores.base.Records`."""
        rows = await self._reading.fetch(
            EVENT + " WHERE (?1 IS NULL OR order_id = ?1) AND (?2 IS NULL OR type = ?2)"
            " ORDER BY id DESC LIMIT ?3",
            (order, event_type, limit),
        )
        return [await self._reading.event(row) for row in rows]

    async def event_page(
        self, wanted: EventFilter, *, before: int | None, limit: int
    ) -> Page[EventRow]:
        """See `gateway.stores.views.Records`."""
        return await Listing(self._reading).events(wanted, before=before, limit=limit)

    async def delivery_page(
        self, wanted: DeliveryFilter, *, before: int | None, limit: int
    ) -> Page[DeliveryRow]:
        """See `gateway.stores.views.Records`."""
        await self._require(wanted.subscription)
        return await Listing(self._reading).deliveries(wanted, before=before, limit=limit)

    async def callback_page(
        self, wanted: CallbackFilter, *, before: int | None, limit: int
    ) -> Page[CallbackRow]:
        """See `gateway.stores.views.Records`."""
        return await Listing(self._reading).callbacks(wanted, before=before, limit=limit)

    async def event_body(self, event: str) -> tuple[EventRow, bytes]:
        """See `gateway.stores.views.Records`."""
        rows = await self._reading.fetch(f"{EVENT} WHERE {BY_EVENT_ID}", (event,))
        if not rows:
            raise NotFound(f"there is no event {event}")
        ((body,),) = await self._reading.fetch(
            "SELECT body FROM events WHERE id = ?", (rows[0][0],)
        )
        return await self._reading.event(rows[0]), body

    async def deliveries(
        self, *, subscription: str | None, state: str | None, limit: int
    ) -> Sequence[DeliveryRow]:
        """See `gateway.stores.base.Records`."""
        await self._require(subscription)
        code = next((code for code, name in STATES.items() if name == state), None)
        rows = await self._reading.fetch(
            DELIVERY + " WHERE (?1 IS NULL OR s.name = ?1) AND (?2 IS NULL OR d.state = ?2)"
            " ORDER BY d.id DESC LIMIT ?3",
            (subscription, code, limit),
        )
        return [delivery_row(row) for row in rows]

    async def _require(self, subscription: str | None) -> None:
        """Say at once that there is none: to find nothing, all deliveries would be looked at."""
        if subscription is None:
            return
        rows = await self._reading.fetch(
            "SELECT name, made IS NULL OR length(made) > 0 FROM subscriptions ORDER BY name"
        )
        if subscription in {name for name, _ in rows}:
            return
        present = [name for name, is_present in rows if is_present]
        known = ", ".join([*present[:NAMED], *["..."] * (len(present) > NAMED)]) or "none"
        raise NotFound(f"there is no subscription {subscription}: known are {known}")

    async def delivery(self, delivery: str) -> DeliveryStory:
        """See `gateway.stores.base.Records`."""
        return await story_of(self._reading, delivery)

    async def delivery_request(self, delivery: str, now: Millis) -> tuple[Delivery, Subscription]:
        """See `gateway.stores.base.Records`."""
        return await request_of(self._reading, delivery, now, self._master.reader)

    async def unlinked(self, *, limit: int) -> Sequence[UnlinkedRow]:
        """See `gateway.stores.base.Records`."""
        rows = await self._reading.fetch(
            "SELECT u.callback, c.source, c.event_type, u.entry, u.since, u.deadline"
            " FROM unlinked u JOIN callbacks c ON c.id = u.callback ORDER BY u.id LIMIT ?",
            (limit,),
        )
        return [_unlinked(row) for row in rows]

    async def quarantined(self, *, limit: int) -> Sequence[CallbackRow]:
        """See `gateway.stores.base.Records`."""
        rows = await self._reading.fetch(
            CALLBACK + " WHERE verdict = 'quarantined' ORDER BY id DESC LIMIT ?", (limit,)
        )
        return [callback_row(row) for row in rows]

    async def subscriptions(self) -> Sequence[SubscriptionRow]:
        """See `gateway.stores.base.Records`."""
        return await subscription_rows(self._reading)

    async def conditions(self) -> Mapping[int, Condition]:
        """See `gateway.stores.views.Records`."""
        return await conditions(self._reading)

    async def subscription(self, name: str) -> SubscriptionDetail:
        """See `gateway.stores.base.Records`."""
        return await subscription_detail(self._reading, name)

    async def sources(self) -> Mapping[str, tuple[Poll | None, int]]:
        """See `gateway.stores.base.Records`."""
        rows = await self._reading.fetch(f"SELECT {', '.join(POLL)} FROM polls")  # noqa: S608
        polls = [poll_of(row) for row in rows]
        known = {poll.source: poll for poll in polls}
        rows = await self._reading.fetch(
            "SELECT source, count(next_at) FROM watched GROUP BY source"
        )
        watched = {row[0]: row[1] for row in rows}
        return {
            name: (known.get(name), watched.get(name, 0)) for name in sorted({*known, *watched})
        }

    async def lanes(self, subscription: str | None, *, limit: int) -> Sequence[LaneRow]:
        """See `gateway.stores.base.Records`."""
        await self._require(subscription)
        return await read_lanes(self._reading.fetch, subscription, limit)

    async def preview(self, chosen: Chosen) -> Preview:
        """See `gateway.stores.base.Records`."""
        return await preview(self._reading.fetch, chosen)

    async def keys(self) -> Sequence[KeyRecord]:
        """See `gateway.stores.views.Records`."""
        return [key_record(row) for row in await self._reading.fetch(ALL_KEYS)]

    async def rejected(self, source: str, *, limit: int) -> Sequence[RejectedRow]:
        """See `gateway.stores.base.Records`."""
        return await read_rejected(self._path, source, limit)

    async def callback(self, callback: str) -> tuple[CallbackRow, Callback]:
        """See `gateway.stores.base.Records`."""
        number = number_of(callback, "cb_")
        rows = await self._reading.fetch(CALLBACK + " WHERE id = ?", (number,))
        sent = await self._reading.fetch(
            "SELECT headers, body FROM callbacks WHERE id = ?", (number,)
        )
        if not (rows and sent):
            raise NotFound(f"there is no callback {callback}")
        row, ((headers, body),) = callback_row(rows[0]), sent
        return row, Callback(
            source=row.source,
            headers=_headers.decode(headers),
            body=body,
            received_at=row.received_at,
        )

    async def explain(self, name: str) -> Sequence[Story]:
        """See `gateway.stores.base.Records`."""
        return await Stories(self._reading).explain(name)


def _check_version(version: int, path: Path) -> None:
    """What only reads cannot bring a database up to date."""
    newest = migrations("sqlite")[-1].version
    if version < newest:
        raise StartupError(
            f"{path} has schema {version}, and this gateway reads schema {newest}: "
            "`gateway serve` brings it up to date"
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
