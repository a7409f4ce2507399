"""What the store remembers of subscriptions: ids by name, settings, secrets, how they stand.

A subscription that was removed keeps its row, whose `made` is then empty: its deliveries are still
explained under its name. A new one of that name is another row, with another id.

The secrets, the headers and the URLs of subscriptions that no configuration declares, and what a
handshake has of URLs, are sealed in the file (gateway/sealing.py). They are opened when the catalog
is read, and never for a delivery.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from gateway.errors import Conflict, NotFound
from gateway.models import Millis, Mode, Ordering, Subscription
from gateway.sealing import Sealer
from gateway.signing import parse_secret
from gateway.stores.base import Handshake, Health, Put, Status
from gateway.stores.sqlite import making
from gateway.stores.sqlite.batches import dissolve, gather
from gateway.stores.sqlite.lanes import PULLED, reorder
from gateway.stores.sqlite.making import REMOVED
from gateway.stores.sqlite.queue import bury
from gateway.stores.sqlite.routes import Routes
from gateway.stores.sqlite.sealed import open_consent, open_secret, seal_consent
from gateway.stores.sqlite.subscriptions import (
    PRESENT,
    described,
    find,
    follow_consent,
    insert,
    note_revision,
    opened,
    pack,
    revive,
    step_aside,
    unknown,
)
from gateway.stores.sqlite.writer import Batch, Writer

_stored = msgspec.json.Decoder(dict[str, Any])
_handshake = msgspec.msgpack.Decoder(Handshake)

STATUS = (
    "id, name, enabled, state, reason, hold_until, last_success, made, history IS NOT NULL,"
    " failing_since, streak, broken_until, trips, handshake, headers, consent, url"
)


class SqliteCatalog:
    """`Catalog` on the writer's thread; keeps the present snapshot of the routes.

    `sealer` is asked for after the store was opened.
    """

    def __init__(self, writer: Writer, *, sealer: Callable[[], Sealer]) -> None:
        self._writer, self._sealer = writer, sealer
        self._declared: dict[str, Subscription] | None = None  # None until `sync`
        self._changed: list[Callable[[Sequence[Status]], None]] = []
        self.statuses: Sequence[Status] = ()
        self.routes = Routes(0, ())

    async def sync(
        self, declared: Sequence[Subscription], *, origin: str | None = None
    ) -> Sequence[Status]:
        """See `gateway.stores.base.Catalog`."""
        self._declared = {subscription.name: subscription for subscription in declared}
        await self._writer.submit(lambda batch: _sync(batch, declared), heavy=True)
        known = [status.subscription for status in await self.refresh()]
        others = [one.id for one in known if not one.declared and one.origin not in {None, origin}]
        if origin is None or not others:
            return self.statuses
        seal, revise = self._sealer(), partial(msgspec.structs.replace, origin=origin)
        # Together: each change is a transaction else, and has the whole catalog read again.
        await self._writer.submit(
            lambda batch: [making.change(batch, seal, one, revise) for one in others], heavy=True
        )
        return await self.refresh()

    def on_change(self, listener: Callable[[Sequence[Status]], None]) -> None:
        """Call `listener` with all statuses after every change."""
        self._changed.append(listener)

    async def refresh(self) -> Sequence[Status]:
        """Read states again and replace the routes; called after anything changed them."""
        revision, statuses = await self._writer.submit(self._read)
        self.statuses, self.routes = statuses, Routes(revision, statuses)
        for listener in self._changed:
            listener(statuses)
        return self.statuses

    async def resume(self, key: str | int) -> Status:
        """See `gateway.stores.base.Catalog`."""
        return await self._status(await self._writer.submit(lambda batch: _resume(batch, key)))

    async def pause(self, key: str | int, reason: str) -> Status:
        """See `gateway.stores.base.Catalog`."""
        return await self._status(
            await self._writer.submit(lambda batch: _pause(batch, key, reason))
        )

    async def create(self, subscription: Subscription, secret: str, now: Millis) -> Status:
        """See `gateway.stores.base.Catalog`."""
        seal = self._sealer()
        number = await self._writer.submit(
            lambda batch: making.create(batch, seal, subscription, secret, now)
        )
        return await self._status(number)

    async def put(self, subscription: Subscription, secret: str, now: Millis) -> Put:
        """See `gateway.stores.base.Catalog`."""
        seal = self._sealer()
        kept: making.Kept = await self._writer.submit(
            lambda batch: making.put(batch, seal, subscription, secret, now)
        )
        status = await self._status(kept.number)
        return Put(status=status, secret=kept.secret, made=kept.made, resumed=kept.resumed)

    async def change(
        self, key: str | int, revise: Callable[[Subscription], Subscription]
    ) -> Status:
        """See `gateway.stores.base.Catalog`."""
        seal = self._sealer()
        return await self._status(
            await self._writer.submit(lambda batch: making.change(batch, seal, key, revise))
        )

    async def remove(
        self, key: str | int, now: Millis, *, declared: Collection[str] | None = None
    ) -> None:
        """See `gateway.stores.base.Catalog`."""
        known = declared if self._declared is None else self._declared
        number = await self._writer.submit(lambda batch: making.remove(batch, key, known))
        await self._end(number, now)

    async def rotate(self, key: str | int, secret: str, now: Millis, *, overlap: Millis) -> Status:
        """See `gateway.stores.base.Catalog`."""
        seal = self._sealer()
        number = await self._writer.submit(
            lambda batch: making.rotate(batch, seal, key, secret, now=now, overlap=overlap)
        )
        return await self._status(number)

    async def expire(self, now: Millis) -> Millis | None:
        """See `gateway.stores.base.Catalog`."""
        ended, following = await self._writer.submit(lambda batch: making.expire(batch, now))
        if ended:
            await self.refresh()
        ends = [] if following is None else [Millis(following)]
        for status in self.statuses:
            at = status.subscription.expires_at
            if at is not None and at > now:
                ends.append(at)
            elif at is not None:
                await self._remove_expired(status.subscription.id, now)
        return min(ends, default=None)

    async def _remove_expired(self, number: int, now: Millis) -> None:
        if await self._writer.submit(lambda batch: making.remove_expired(batch, number, now)):
            await self._end(number, now)

    async def _end(self, number: int, now: Millis) -> None:
        """End the deliveries of one that was removed."""
        await self.refresh()
        # Only now: until the routes were replaced, new deliveries of it could be made.
        await self._writer.submit(lambda batch: bury(batch, number, REMOVED, now), heavy=True)

    async def consent(self, handshakes: Mapping[str, Handshake]) -> Collection[str]:
        """See `gateway.stores.base.Catalog`."""
        seal = self._sealer()
        unknown: list[str] = await self._writer.submit(
            lambda batch: _consent(batch, seal, handshakes)
        )
        await self.refresh()
        return unknown

    async def heartbeat(self, now: Millis) -> None:
        """See `gateway.stores.base.Catalog`."""
        await self._writer.submit(
            lambda batch: batch.connection.execute(
                "INSERT OR REPLACE INTO heartbeat VALUES (1, ?)", (now,)
            ).close()
        )

    async def _status(self, number: int) -> Status:
        statuses = await self.refresh()
        found = next((one for one in statuses if one.subscription.id == number), None)
        if found is None:
            raise unknown(number)  # it was removed meanwhile
        return found

    def _read(self, batch: Batch) -> tuple[int, list[Status]]:
        execute = batch.connection.execute
        rows = execute(
            f"SELECT {STATUS} FROM subscriptions WHERE {PRESENT} ORDER BY id"  # noqa: S608
        ).fetchall()
        secrets: dict[int, list[bytes]] = {}
        for row in execute("SELECT subscription, id, secret FROM secrets ORDER BY id DESC"):
            secret = open_secret(self._sealer(), *row)
            secrets.setdefault(row[0], []).append(parse_secret(secret))
        revision = execute("SELECT max(revision) FROM revisions").fetchone()[0]
        return revision, [self._status_of(row, secrets.get(row[0], ())) for row in rows]

    def _status_of(self, row: Sequence[Any], secrets: Sequence[bytes]) -> Status:
        number, name, enabled, state, reason, hold_until, last_success, made = row[:8]
        catching_up, failing_since, streak, broken_until, trips = row[8:13]
        handshake, headers, consent, url = row[13:]
        subscription = self._subscription(number, name, made, secrets, headers=headers, url=url)
        return Status(
            subscription=msgspec.structs.replace(subscription, id=number, enabled=bool(enabled)),
            state=state,
            reason=reason,
            hold_until=hold_until,
            last_success=last_success,
            health=Health(
                failing_since=failing_since,
                streak=streak,
                broken_until=broken_until,
                trips=trips,
            ),
            handshake=None if handshake is None else self._handshake(number, handshake, consent),
            catching_up=bool(catching_up),
        )

    def _subscription(
        self,
        number: int,
        name: str,
        made: bytes | None,
        secrets: Sequence[bytes],
        *,
        headers: bytes | None,
        url: bytes | None,
    ) -> Subscription:
        if made is None:
            dropped = Subscription(id=number, name=name, url="", declared=False)
            return (self._declared or {}).get(name, dropped)
        return opened(made, self._sealer(), number, headers=headers, url=url, secrets=secrets)

    def _handshake(self, number: int, stored: bytes, consent: bytes | None) -> Handshake:
        secret, asked_for = open_consent(self._sealer(), number, consent)
        return msgspec.structs.replace(
            _handshake.decode(stored), secret=secret, asked_for=asked_for
        )


def _sync(batch: Batch, declared: Sequence[Subscription]) -> None:
    execute = batch.connection.execute
    execute("UPDATE subscriptions SET enabled = 0 WHERE made IS NULL")
    for subscription in declared:
        step_aside(batch.connection, subscription.name)
        row = execute(
            "SELECT id, declared, made IS NULL FROM subscriptions WHERE name = ?",
            (subscription.name,),
        ).fetchone()
        if row is None:
            insert(batch.connection, subscription, made=None)
            continue
        before = _stored.decode(row[1])
        _follow(batch, row[0], before, subscription)
        if row[2]:  # of another one the URL is not known here
            follow_consent(batch, row[0], before.get("url"), before.get("origin"), subscription)
        execute("DELETE FROM secrets WHERE subscription = ?", (row[0],))
        execute(
            "UPDATE subscriptions SET declared = ?, enabled = ?, made = NULL, headers = NULL,"
            " owner = NULL, target = NULL, url = NULL WHERE id = ?",
            (described(subscription), int(subscription.enabled), row[0]),
        )
    note_revision(batch.connection)


def _follow(batch: Batch, number: int, before: dict[str, Any], now: Subscription) -> None:
    """Bring what is unfinished in line with settings that have changed."""
    pulled = before.get("url") == ""
    if pulled and not now.pull:
        _into_lane(batch, number, None)
    if before["mode"] == Mode.BATCH and now.mode is not Mode.BATCH:
        dissolve(batch, number)
    if before.get("ordering", Ordering.NONE) != now.ordering:
        reorder(batch.connection, number, now.ordering)
    if now.pull and not pulled:
        _into_lane(batch, number, PULLED)
    if now.mode is Mode.BATCH and before["mode"] != Mode.BATCH:
        gather(batch, number)


def _into_lane(batch: Batch, number: int, lane: int | None) -> None:
    batch.connection.execute(
        "UPDATE deliveries SET lane = ? WHERE subscription = ? AND state < 2", (lane, number)
    )


def _consent(batch: Batch, sealer: Sealer, handshakes: Mapping[str, Handshake]) -> list[str]:
    """Write how they stand; the names of which there is no subscription."""
    unknown = []
    for name, handshake in handshakes.items():
        try:
            number = find(batch, name).number
        except NotFound:
            unknown.append(name)
            continue
        bare = msgspec.structs.replace(handshake, secret="", asked_for="")
        secret, asked_for = handshake.secret, handshake.asked_for
        sealed = seal_consent(sealer, number, secret=secret, asked_for=asked_for)
        batch.connection.execute(
            "UPDATE subscriptions SET handshake = ?, consent = ? WHERE id = ?",
            (pack(bare), sealed, number),
        )
    return unknown


def _pause(batch: Batch, key: str | int, reason: str) -> int:
    execute = batch.connection.execute
    row = find(batch, key)
    (state,) = execute("SELECT state FROM subscriptions WHERE id = ?", (row.number,)).fetchone()
    if state == "gone":
        raise Conflict(
            f"subscription {row.name} is gone: nothing is sent to it until it is resumed"
        )
    execute(
        "UPDATE subscriptions SET state = 'paused', reason = ?, hold_until = NULL WHERE id = ?",
        (reason, row.number),
    )
    return row.number


def _resume(batch: Batch, key: str | int) -> int:
    number = find(batch, key).number
    revive(batch, number)
    return number
