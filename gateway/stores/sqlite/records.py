"""What the faces read, over aiosqlite connections that cannot write."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import msgspec

from gateway.errors import Conflict, NotFound, some_of
from gateway.keys import KeyRecord
from gateway.models import Callback, Delivery, Millis, Subscription
from gateway.sealing import SealError
from gateway.stores.base import Poll
from gateway.stores.counting import Counted
from gateway.stores.replaying import Chosen, Preview, Replay
from gateway.stores.sourcing import MadeSource
from gateway.stores.sqlite.choosing import preview
from gateway.stores.sqlite.counting import counted
from gateway.stores.sqlite.keyring import ALL_KEYS, key_record
from gateway.stores.sqlite.keys import BY_EVENT_ID
from gateway.stores.sqlite.linking import unlinked_page
from gateway.stores.sqlite.listing import Listing
from gateway.stores.sqlite.master import Master
from gateway.stores.sqlite.parked import lane_page
from gateway.stores.sqlite.polls import POLL, poll_of
from gateway.stores.sqlite.readers import Readers, open_reader
from gateway.stores.sqlite.reading import (
    CALLBACK,
    DELIVERY,
    EVENT,
    STATES,
    Reading,
    callback_row,
    delivery_row,
    number_of,
)
from gateway.stores.sqlite.rejected import read_rejected
from gateway.stores.sqlite.replays import JOB, job_of
from gateway.stores.sqlite.single import request_of, story_of
from gateway.stores.sqlite.sources import ALL as MADE_SOURCES
from gateway.stores.sqlite.sources import PAUSED as PAUSED_SOURCES
from gateway.stores.sqlite.sources import made_source
from gateway.stores.sqlite.stories import Stories
from gateway.stores.sqlite.subscribed import conditions, subscription_detail, subscription_rows
from gateway.stores.sqlite.timelines import order_page, orders_named, timeline
from gateway.stores.timelines import KnownOrder, Timeline
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

_headers = msgspec.msgpack.Decoder(list[tuple[bytes, bytes]])


class SqliteRecords:
    """`Records` of a database file; open it with `async with`. `key` is as in `SqliteStore`.

    With `readers` the connection is one of theirs.
    """

    def __init__(
        self, path: Path, *, key: bytes | None = None, readers: Readers | None = None
    ) -> None:
        self._path, self._master = path, Master(path, key)
        self._readers = readers
        self._opened: Reading | None = None

    async def __aenter__(self) -> Self:
        """Open the file `query_only`; `StartupError` when it is not there or not ours."""
        taken = open_reader(self._path) if self._readers is None else self._readers.take()
        self._opened = Reading(await taken)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the connection, or give it back where several share some."""
        if self._opened is None:
            return
        if self._readers is None:
            await self._opened.close()
        else:
            whole = kind is None or issubclass(kind, NotFound | Conflict)
            await self._readers.give(self._opened.connection, whole=whole)

    @property
    def _reading(self) -> Reading:
        assert self._opened is not None
        return self._opened

    async def events(
        self, *, order: str | None, event_type: str | None, limit: int
    ) -> Sequence[EventRow]:
        """See `gateway.stores.base.Records`."""
        rows = await self._reading.fetch(
            EVENT + " WHERE (? IS NULL OR order_id = ?) AND (? IS NULL OR type = ?)"
            " ORDER BY id DESC LIMIT ?",
            (order, order, event_type, event_type, limit),
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
        rows = await self._reading.fetch(f"{EVENT} WHERE {BY_EVENT_ID}", (event, event))
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
            DELIVERY + " WHERE (? IS NULL OR s.name = ?) AND (? IS NULL OR d.state = ?)"
            " ORDER BY d.id DESC LIMIT ?",
            (subscription, subscription, code, code, limit),
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
        raise NotFound(f"there is no subscription {subscription}: known are {some_of(present)}")

    async def delivery(self, delivery: str) -> DeliveryStory:
        """See `gateway.stores.base.Records`."""
        return await story_of(self._reading, delivery)

    async def delivery_request(self, delivery: str, now: Millis) -> tuple[Delivery, Subscription]:
        """See `gateway.stores.base.Records`."""
        return await request_of(self._reading, delivery, now, self._master.reader)

    async def unlinked(self, *, limit: int) -> Sequence[UnlinkedRow]:
        """See `gateway.stores.views.Records`."""
        page = await unlinked_page(self._reading, source=None, after=None, limit=limit)
        return page.rows

    async def unlinked_page(
        self, *, source: str | None, after: int | None, limit: int
    ) -> Page[UnlinkedRow]:
        """See `gateway.stores.views.Records`."""
        return await unlinked_page(self._reading, source=source, after=after, limit=limit)

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
        return await subscription_detail(self._reading, name, self._master.reader)

    async def sources(self) -> Mapping[str, tuple[Poll | None, int]]:
        """See `gateway.stores.base.Records`."""
        rows = await self._reading.fetch(f"SELECT {', '.join(POLL)} FROM polls")  # noqa: S608
        polls = [poll_of(row) for row in rows]
        known = {poll.source: poll for poll in polls}
        rows = await self._reading.fetch(
            "SELECT source, count(*) FROM watched INDEXED BY watched_due"
            " WHERE next_at IS NOT NULL GROUP BY source"
        )
        watched = {row[0]: row[1] for row in rows}
        return {
            name: (known.get(name), watched.get(name, 0)) for name in sorted({*known, *watched})
        }

    async def made_sources(self) -> Sequence[MadeSource]:
        """See `gateway.stores.views.Records`."""
        rows = await self._reading.fetch(MADE_SOURCES)
        if not rows:
            return []
        sealer = self._master.reader()
        try:
            return [made_source(sealer, row) for row in rows]
        except SealError:
            self._master.find()  # it knows which key is the wrong one, or that the file is damaged
            raise

    async def made_names(self) -> tuple[Sequence[str], Sequence[str]]:
        """See `gateway.stores.views.Records`."""
        sources = await self._reading.fetch("SELECT name FROM made_sources")
        subscriptions = await self._reading.fetch(
            "SELECT name FROM subscriptions WHERE length(made) > 0"
        )
        return [row[0] for row in sources], [row[0] for row in subscriptions]

    async def paused_sources(self) -> Mapping[str, Millis]:
        """See `gateway.stores.views.Records`."""
        return {row[0]: Millis(row[1]) for row in await self._reading.fetch(PAUSED_SOURCES)}

    async def lanes(self, subscription: str | None, *, limit: int) -> Sequence[LaneRow]:
        """See `gateway.stores.base.Records`."""
        await self._require(subscription)
        page = await lane_page(self._reading.fetch, subscription, None, limit)
        return page.rows

    async def lane_page(
        self, subscription: str | None, *, after: int | None, limit: int
    ) -> Page[LaneRow]:
        """See `gateway.stores.views.Records`."""
        await self._require(subscription)
        return await lane_page(self._reading.fetch, subscription, after, limit)

    async def counted(self, subscription: int, *, since: Millis) -> Counted:
        """See `gateway.stores.counting.Counting`."""
        return await counted(self._reading, subscription, since=since)

    async def preview(self, chosen: Chosen) -> Preview:
        """See `gateway.stores.base.Records`."""
        return await preview(self._reading.fetch, chosen)

    async def replay_page(self, *, before: int | None, limit: int) -> Page[Replay]:
        """See `gateway.stores.views.Records`."""
        rows = await self._reading.fetch(
            JOB + " WHERE ? IS NULL OR id < ? ORDER BY id DESC LIMIT ?", (before, before, limit)
        )
        following = rows[-1][0] if len(rows) == limit else None
        return Page(rows=[job_of(row).replay for row in rows], following=following)

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

    async def order_page(
        self, *, shop: str | None, before: int | None, limit: int
    ) -> Page[KnownOrder]:
        """See `gateway.stores.timelines.OrderRecords`."""
        return await order_page(self._reading, shop=shop, before=before, limit=limit)

    async def orders_named(self, name: str, *, shop: str | None) -> Sequence[KnownOrder]:
        """See `gateway.stores.timelines.OrderRecords`."""
        return await orders_named(self._reading, name, shop=shop)

    async def timeline(self, order: KnownOrder) -> Timeline:
        """See `gateway.stores.timelines.OrderRecords`."""
        return await timeline(self._reading, order)
