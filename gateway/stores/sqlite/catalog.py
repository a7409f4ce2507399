"""What the store remembers of subscriptions: ids by name, settings, secrets, how they stand.

A subscription that was removed keeps its row, whose `made` is then empty: its deliveries are still
explained under its name. A new one of that name is another row, with another id.

The secrets and the headers of subscriptions that no configuration declares, and what makes the URL
of a handshake's callback secret, are sealed in the file (gateway/sealing.py). They are opened when
the catalog is read, and never for a delivery.
"""

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from gateway.errors import Conflict, NotFound
from gateway.models import Millis, Mode, Ordering, Subscription
from gateway.sealing import Sealer
from gateway.signing import parse_secret
from gateway.stores.base import Consent, Handshake, Health, Status
from gateway.stores.sqlite.batches import dissolve
from gateway.stores.sqlite.beginning import last_before
from gateway.stores.sqlite.lanes import reorder
from gateway.stores.sqlite.queue import bury
from gateway.stores.sqlite.routes import Routes
from gateway.stores.sqlite.sealed import (
    open_consent,
    open_headers,
    open_secret,
    seal_consent,
    seal_headers,
    seal_secret,
    without_values,
)
from gateway.stores.sqlite.writer import Batch, Writer

REMOVED = "its subscription was removed"
MOST_SECRETS = 5  # that sign at the same time: each adds to the headers of every delivery
UNSHOWN = {"id", "name", "enabled", "declared"}  # what other columns say


def _plain(value: object) -> object:
    """What the configuration's own kinds of number and bytes are to an encoder."""
    match value:
        case int():
            return int(value)
        case bytes():
            return bytes(value)
    raise TypeError(type(value))


_json = msgspec.json.Encoder(order="deterministic", enc_hook=_plain)
_stored = msgspec.json.Decoder(dict[str, Any])
_made = msgspec.msgpack.Decoder(Subscription)
_handshake = msgspec.msgpack.Decoder(Handshake)
_pack = msgspec.msgpack.Encoder(enc_hook=_plain).encode

STATUS = (
    "id, name, enabled, state, reason, hold_until, last_success, made, history IS NOT NULL,"
    " failing_since, broken_until, trips, handshake, headers, consent"
)
PRESENT = "(made IS NULL OR length(made) > 0)"
"""The condition of a row of `subscriptions` that was not removed."""


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

    async def sync(self, declared: Sequence[Subscription]) -> Sequence[Status]:
        """See `gateway.stores.base.Catalog`."""
        self._declared = {subscription.name: subscription for subscription in declared}
        await self._writer.submit(lambda batch: _sync(batch, declared), heavy=True)
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
        await self._writer.submit(lambda batch: _resume(batch, name))
        return await self._status(name)

    async def pause(self, name: str, reason: str) -> Status:
        """See `gateway.stores.base.Catalog`."""
        await self._writer.submit(lambda batch: _pause(batch, name, reason))
        return await self._status(name)

    async def create(self, subscription: Subscription, secret: str, now: Millis) -> Status:
        """See `gateway.stores.base.Catalog`."""
        seal = self._sealer()
        await self._writer.submit(lambda batch: _create(batch, seal, subscription, secret, now))
        return await self._status(subscription.name)

    async def remove(
        self, name: str, now: Millis, *, declared: Collection[str] | None = None
    ) -> None:
        """See `gateway.stores.base.Catalog`."""
        known = declared if self._declared is None else self._declared
        number: int = await self._writer.submit(lambda batch: _remove(batch, name, known))
        await self.refresh()
        # Only now: until the routes were replaced, new deliveries of it could be made.
        await self._writer.submit(lambda batch: bury(batch, number, REMOVED, now), heavy=True)

    async def rotate(self, name: str, secret: str, now: Millis, *, overlap: Millis) -> Status:
        """See `gateway.stores.base.Catalog`."""
        seal = self._sealer()
        await self._writer.submit(
            lambda batch: _rotate(batch, seal, name, secret, now=now, overlap=overlap)
        )
        return await self._status(name)

    async def expire(self, now: Millis) -> Millis | None:
        """See `gateway.stores.base.Catalog`."""
        ended, following = await self._writer.submit(lambda batch: _expire(batch, now))
        if ended:
            await self.refresh()
        return None if following is None else Millis(following)

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

    async def _status(self, name: str) -> Status:
        statuses = await self.refresh()
        found = next((one for one in statuses if one.subscription.name == name), None)
        if found is None:
            raise _unknown(name)  # it was removed meanwhile
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
        catching_up, failing_since, broken_until, trips, handshake, headers, consent = row[8:]
        subscription = self._subscription(number, name, made, secrets, headers)
        return Status(
            subscription=msgspec.structs.replace(subscription, id=number, enabled=bool(enabled)),
            state=state,
            reason=reason,
            hold_until=hold_until,
            last_success=last_success,
            health=Health(failing_since=failing_since, broken_until=broken_until, trips=trips),
            handshake=None if handshake is None else self._handshake(number, handshake, consent),
            catching_up=bool(catching_up),
        )

    def _subscription(
        self,
        number: int,
        name: str,
        made: bytes | None,
        secrets: Sequence[bytes],
        headers: bytes | None,
    ) -> Subscription:
        if made is None:
            dropped = Subscription(id=number, name=name, url="", declared=False)
            return (self._declared or {}).get(name, dropped)
        own = open_headers(self._sealer(), number, headers)
        return msgspec.structs.replace(_made.decode(made), secrets=tuple(secrets), headers=own)

    def _handshake(self, number: int, stored: bytes, consent: bytes | None) -> Handshake:
        secret = open_consent(self._sealer(), number, consent)
        return msgspec.structs.replace(_handshake.decode(stored), secret=secret)


def described(subscription: Subscription) -> bytes:
    """The settings as JSON, to be shown: without secrets, which are counted, and header values."""
    names = (field for field in subscription.__struct_fields__ if field not in UNSHOWN)
    shown = {name: getattr(subscription, name) for name in names}
    return _json.encode(
        shown
        | {
            "secrets": len(subscription.secrets),
            "headers": [name for name, _ in subscription.headers],
        }
    )


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no subscription {name}")


def _find(batch: Batch, name: str) -> tuple[int, bytes | None]:
    """The id and the settings of a subscription that was not removed; `NotFound`."""
    row = batch.connection.execute(
        f"SELECT id, made FROM subscriptions WHERE name = ? AND {PRESENT}",  # noqa: S608
        (name,),
    ).fetchone()
    if row is None:
        raise _unknown(name)
    return row[0], row[1]


def _sync(batch: Batch, declared: Sequence[Subscription]) -> None:
    execute = batch.connection.execute
    execute("UPDATE subscriptions SET enabled = 0 WHERE made IS NULL")
    for subscription in declared:
        _step_aside(batch.connection, subscription.name)
        row = execute(
            "SELECT id, declared FROM subscriptions WHERE name = ?", (subscription.name,)
        ).fetchone()
        if row is None:
            _insert(batch.connection, subscription, made=None)
            continue
        _follow(batch, row[0], _stored.decode(row[1]), subscription)
        execute("DELETE FROM secrets WHERE subscription = ?", (row[0],))
        execute(
            "UPDATE subscriptions SET declared = ?, enabled = ?, made = NULL, headers = NULL"
            " WHERE id = ?",
            (described(subscription), int(subscription.enabled), row[0]),
        )
    _note_revision(batch.connection)


def _follow(batch: Batch, number: int, before: dict[str, Any], now: Subscription) -> None:
    """Bring what is unfinished in line with settings that have changed."""
    if before["mode"] == Mode.BATCH and now.mode is not Mode.BATCH:
        dissolve(batch, number)
    if before.get("ordering", Ordering.NONE) != now.ordering:
        reorder(batch.connection, number, now.ordering)


def _insert(connection: sqlite3.Connection, subscription: Subscription, made: bytes | None) -> int:
    """A new row, with its place in the past events when it asks for them; its id."""
    start = subscription.start
    number = connection.execute(
        "INSERT INTO subscriptions (name, declared, enabled, made, history) VALUES (?, ?, ?, ?, ?)",
        (
            subscription.name,
            described(subscription),
            int(subscription.enabled),
            made,
            None if start is None else last_before(connection, start),
        ),
    ).lastrowid
    assert number is not None
    return number


def _step_aside(connection: sqlite3.Connection, name: str) -> None:
    """Give the name of a removed subscription free; its own shows from then on what it was."""
    connection.execute(
        "UPDATE subscriptions SET name = name || ' (removed ' || id || ')'"
        " WHERE name = ? AND made = x''",
        (name,),
    )


def _note_revision(connection: sqlite3.Connection) -> None:
    """Write which subscriptions there are now, unless that is known."""
    names = _json.encode(
        connection.execute(
            f"SELECT id, name FROM subscriptions WHERE {PRESENT} ORDER BY id"  # noqa: S608
        ).fetchall()
    )
    last = connection.execute(
        "SELECT subscriptions FROM revisions ORDER BY revision DESC LIMIT 1"
    ).fetchone()
    if last is None or last[0] != names:
        connection.execute("INSERT INTO revisions (subscriptions) VALUES (?)", (names,))


def _create(
    batch: Batch, sealer: Sealer, subscription: Subscription, secret: str, now: Millis
) -> None:
    name = subscription.name
    _step_aside(batch.connection, name)
    row = batch.connection.execute(
        "SELECT made IS NULL FROM subscriptions WHERE name = ?", (name,)
    ).fetchone()
    if row is not None:
        whose = "the configuration declares, or declared," if row[0] else "there is already"
        raise Conflict(f"{whose} a subscription {name}: remove it first, or take another name")
    bare = msgspec.structs.replace(subscription, id=0, secrets=(), declared=False)
    number = _insert(batch.connection, bare, made=_pack(without_values(bare)))
    batch.connection.execute(
        "UPDATE subscriptions SET headers = ? WHERE id = ?",
        (seal_headers(sealer, number, subscription.headers), number),
    )
    _keep_secret(batch, sealer, number, secret, now)
    _note_revision(batch.connection)


def _keep_secret(batch: Batch, sealer: Sealer, subscription: int, secret: str, now: Millis) -> None:
    parse_secret(secret)  # what stands here is read at every start
    execute = batch.connection.execute
    (number,) = execute("SELECT coalesce(max(id), 0) + 1 FROM secrets").fetchone()
    execute(
        "INSERT INTO secrets (id, subscription, secret, made_at) VALUES (?, ?, ?, ?)",
        (number, subscription, seal_secret(sealer, subscription, number, secret), now),
    )


def _remove(batch: Batch, name: str, declared: Collection[str] | None) -> int:
    """Let nothing new be made for it; its id."""
    number, made = _find(batch, name)
    if made is None and declared is None:
        raise Conflict(
            f"subscription {name} is, or was, a configuration's: name that file with --config"
        )
    if made is None and declared is not None and name in declared:
        raise Conflict(
            f"subscription {name} is the configuration's: take it out there, and restart"
            " the gateway"
        )
    batch.connection.execute("DELETE FROM secrets WHERE subscription = ?", (number,))
    batch.connection.execute(
        "UPDATE subscriptions SET state = 'gone', reason = ?, enabled = 0, made = x'',"
        " hold_until = NULL, history = NULL, handshake = NULL, headers = NULL, consent = NULL"
        " WHERE id = ?",
        (REMOVED, number),
    )
    _note_revision(batch.connection)
    return number


def _rotate(
    batch: Batch, sealer: Sealer, name: str, secret: str, *, now: Millis, overlap: Millis
) -> None:
    execute = batch.connection.execute
    number, made = _find(batch, name)
    if made is None:
        raise Conflict(
            f"the secrets of subscription {name} stand in the configuration: two entries there"
            " rotate them. Put the new one first, and take the old one out when your consumer"
            " knows the new one"
        )
    until = now + overlap
    execute(
        "UPDATE secrets SET expires_at = min(coalesce(expires_at, ?1), ?1) WHERE subscription = ?2",
        (until, number),
    )
    execute("DELETE FROM secrets WHERE subscription = ? AND expires_at <= ?", (number, now))
    (signing,) = execute(
        "SELECT count(*) FROM secrets WHERE subscription = ?", (number,)
    ).fetchone()
    if signing >= MOST_SECRETS:
        raise Conflict(
            f"{signing} secrets of subscription {name} sign already: wait until one has ended,"
            " or end them at once with an overlap of 0s"
        )
    _keep_secret(batch, sealer, number, secret, now)


def _expire(batch: Batch, now: Millis) -> tuple[int, int | None]:
    execute = batch.connection.execute
    ended = execute("DELETE FROM secrets WHERE expires_at <= ?", (now,)).rowcount
    (following,) = execute("SELECT min(expires_at) FROM secrets").fetchone()
    return ended, following


def _consent(batch: Batch, sealer: Sealer, handshakes: Mapping[str, Handshake]) -> list[str]:
    """Write how they stand; the names of which there is no subscription."""
    unknown = []
    for name, handshake in handshakes.items():
        try:
            number, _ = _find(batch, name)
        except NotFound:
            unknown.append(name)
            continue
        bare = msgspec.structs.replace(handshake, secret="")
        batch.connection.execute(
            "UPDATE subscriptions SET handshake = ?, consent = ? WHERE id = ?",
            (_pack(bare), seal_consent(sealer, number, handshake.secret), number),
        )
    return unknown


def _pause(batch: Batch, name: str, reason: str) -> None:
    execute = batch.connection.execute
    number, _ = _find(batch, name)
    (state,) = execute("SELECT state FROM subscriptions WHERE id = ?", (number,)).fetchone()
    if state == "gone":
        raise Conflict(f"subscription {name} is gone: nothing is sent to it until it is resumed")
    execute(
        "UPDATE subscriptions SET state = 'paused', reason = ?, hold_until = NULL WHERE id = ?",
        (reason, number),
    )


def _resume(batch: Batch, name: str) -> None:
    """As if nothing had failed, but that it is still failing: only a delivery shows the contrary."""
    execute = batch.connection.execute
    number, _ = _find(batch, name)
    (handshake,) = execute("SELECT handshake FROM subscriptions WHERE id = ?", (number,)).fetchone()
    execute(
        "UPDATE subscriptions SET state = 'active', reason = NULL, hold_until = NULL,"
        " broken_until = NULL, trips = 0, handshake = ? WHERE id = ?",
        (None if handshake is None else _pack(_asked_anew(_handshake.decode(handshake))), number),
    )


def _asked_anew(handshake: Handshake) -> Handshake:
    """Consent stays; anything else is asked for again, at once."""
    if handshake.state is Consent.GRANTED:
        return handshake
    return msgspec.structs.replace(
        handshake, state=Consent.PENDING, rate=None, reason="", next_at=Millis(0)
    )
