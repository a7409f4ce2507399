"""What the store remembers of subscriptions: ids by name, states, and which revision they had."""

import sqlite3
from collections.abc import Callable, Sequence

import msgspec

from gateway.errors import Conflict, NotFound
from gateway.models import Millis, Subscription
from gateway.stores.base import Status
from gateway.stores.sqlite.routes import Routes
from gateway.stores.sqlite.writer import Batch, Writer

_encoder = msgspec.json.Encoder(order="deterministic")


class SqliteCatalog:
    """`Catalog` on the writer's thread; keeps the present snapshot of the routes."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._declared: dict[str, Subscription] = {}
        self._changed: list[Callable[[Sequence[Status]], None]] = []
        self.statuses: Sequence[Status] = ()
        self.routes = Routes(0, ())

    async def sync(self, declared: Sequence[Subscription]) -> Sequence[Status]:
        """See `gateway.stores.base.Catalog`."""
        self._declared = {subscription.name: subscription for subscription in declared}
        await self._writer.submit(lambda batch: _sync(batch.connection, declared))
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

    async def resume(self, name: str) -> Status:
        """See `gateway.stores.base.Catalog`."""
        await self._writer.submit(lambda batch: _set_state(batch, name, "active", None))
        return await self._status(name)

    async def pause(self, name: str, reason: str) -> Status:
        """See `gateway.stores.base.Catalog`."""
        await self._writer.submit(lambda batch: _set_state(batch, name, "paused", reason))
        return await self._status(name)

    async def replay(self, delivery: int, now: Millis) -> int:
        """See `gateway.stores.base.Catalog`."""
        made: int = await self._writer.submit(lambda batch: _replay(batch, delivery, now))
        return made

    async def heartbeat(self, now: Millis) -> None:
        """See `gateway.stores.base.Catalog`."""
        await self._writer.submit(
            lambda batch: batch.connection.execute(
                "INSERT OR REPLACE INTO heartbeat VALUES (1, ?)", (now,)
            ).close()
        )

    async def _status(self, name: str) -> Status:
        statuses = await self.refresh()
        return next(status for status in statuses if status.subscription.name == name)

    def _read(self, batch: Batch) -> tuple[int, list[Status]]:
        rows = batch.connection.execute(
            "SELECT id, name, enabled, state, reason, hold_until, last_success FROM subscriptions"
            " ORDER BY id"
        ).fetchall()
        revision = batch.connection.execute("SELECT max(revision) FROM revisions").fetchone()[0]
        statuses = []
        for number, name, enabled, state, reason, hold_until, last_success in rows:
            known = self._declared.get(name) or Subscription(id=number, name=name, url="")
            known = msgspec.structs.replace(known, id=number, enabled=bool(enabled))
            statuses.append(
                Status(
                    subscription=known,
                    state=state,
                    reason=reason,
                    hold_until=hold_until,
                    last_success=last_success,
                )
            )
        return revision, statuses


def _sync(connection: sqlite3.Connection, declared: Sequence[Subscription]) -> None:
    connection.execute("UPDATE subscriptions SET enabled = 0")
    for subscription in declared:
        shown = _encoder.encode(
            {
                "url": subscription.url,
                "types": subscription.types,
                "sources": subscription.sources,
                "shops": subscription.shops,
                "profile": subscription.profile,
                "mode": subscription.mode,
            }
        )
        connection.execute(
            "INSERT INTO subscriptions (name, declared, enabled) VALUES (?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET declared = excluded.declared, enabled = excluded.enabled",
            (subscription.name, shown, int(subscription.enabled)),
        )
    rows = connection.execute("SELECT id, name FROM subscriptions ORDER BY id").fetchall()
    names = _encoder.encode(rows)
    last = connection.execute(
        "SELECT subscriptions FROM revisions ORDER BY revision DESC LIMIT 1"
    ).fetchone()
    if last is None or last[0] != names:
        connection.execute("INSERT INTO revisions (subscriptions) VALUES (?)", (names,))


def _set_state(batch: Batch, name: str, state: str, reason: str | None) -> None:
    execute = batch.connection.execute
    found = execute("SELECT state FROM subscriptions WHERE name = ?", (name,)).fetchone()
    if found is None:
        raise NotFound(f"there is no subscription {name}")
    if state == "paused" and found[0] == "gone":
        raise Conflict(f"subscription {name} is gone: nothing is sent to it until it is resumed")
    execute(
        "UPDATE subscriptions SET state = ?, reason = ?, hold_until = NULL WHERE name = ?",
        (state, reason, name),
    )


def _replay(batch: Batch, delivery: int, now: Millis) -> int:
    """A waiting delivery becomes due; of an ended one a new delivery is made: ends are final."""
    execute = batch.connection.execute
    found = execute(
        "SELECT d.state, d.event, s.id, s.name, s.enabled, s.state"
        " FROM deliveries d JOIN subscriptions s ON s.id = d.subscription WHERE d.id = ?",
        (delivery,),
    ).fetchone()
    if found is None:
        raise NotFound(f"there is no delivery dl_{delivery}")
    state, event, subscription, name, enabled, condition = found
    if state == 1:
        raise Conflict(f"delivery dl_{delivery} is in flight: wait for its end")
    if not enabled:
        raise Conflict(f"subscription {name} is disabled: enable it first")
    if condition == "gone":
        raise Conflict(f"subscription {name} is gone: resume it first")
    batch.waiting[subscription] = min(now, batch.waiting.get(subscription, now))
    if state == 0:
        execute("UPDATE deliveries SET due = ? WHERE id = ?", (now, delivery))
        return delivery
    made = execute(
        "INSERT INTO deliveries (event, subscription, state, due, reason) VALUES (?, ?, 0, ?, ?)",
        (event, subscription, now, f"replay of dl_{delivery}"),
    ).lastrowid
    assert made is not None
    return made
