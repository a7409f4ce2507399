"""The rows of subscriptions: found, written, described, and the revision that numbers them."""

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.errors import NotFound
from gateway.models import Millis, Subscription
from gateway.sealing import Sealer
from gateway.signing import parse_secret
from gateway.stores.base import Consent, Handshake
from gateway.stores.sqlite.beginning import last_before
from gateway.stores.sqlite.sealed import host_of, open_headers, open_secret, open_url
from gateway.stores.sqlite.writer import Batch

UNSHOWN = {"id", "name", "enabled", "declared"}  # what other columns say
PRESENT = "(made IS NULL OR length(made) > 0)"
"""The condition of a row of `subscriptions` that was not removed."""


def plain(value: object) -> object:
    """What the configuration's own kinds of number and bytes are to an encoder."""
    match value:
        case int():
            return int(value)
        case bytes():
            return bytes(value)
    raise TypeError(type(value))


pack = msgspec.msgpack.Encoder(enc_hook=plain).encode
_json = msgspec.json.Encoder(order="deterministic", enc_hook=plain)
_made = msgspec.msgpack.Decoder(Subscription)
_settings = msgspec.json.Decoder(dict[str, Any])
_handshake = msgspec.msgpack.Decoder(Handshake)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription that was not removed; `made` is None for one of the configuration."""

    number: int
    name: str
    made: bytes | None
    enabled: bool
    headers: bytes | None
    url: bytes | None


def described(subscription: Subscription) -> bytes:
    """The settings as JSON, to be shown: without secrets, which are counted, and header values.

    The URL is whole where a configuration declares it, and ends with its host where none does.
    """
    names = (field for field in subscription.__struct_fields__ if field not in UNSHOWN)
    shown = {name: getattr(subscription, name) for name in names}
    return _json.encode(
        shown
        | {
            "url": subscription.url if subscription.declared else host_of(subscription.url),
            "secrets": len(subscription.secrets),
            "headers": [name for name, _ in subscription.headers],
        }
    )


def without_path(shown: bytes) -> bytes:
    """What `described` has made, with no more of the URL than its host."""
    settings = _settings.decode(shown)
    return _json.encode(settings | {"url": host_of(settings["url"])})


def find(batch: Batch, key: str | int) -> Row:
    """The one of this name, or of this id; `NotFound`."""
    column = "name" if isinstance(key, str) else "id"
    row = batch.connection.execute(
        "SELECT id, name, made, enabled, headers, url FROM subscriptions"  # noqa: S608
        f" WHERE {column} = ? AND {PRESENT}",
        (key,),
    ).fetchone()
    if row is None:
        raise unknown(key)
    number, name, made, enabled, headers, url = row
    return Row(number=number, name=name, made=made, enabled=bool(enabled), headers=headers, url=url)


def unknown(key: str | int) -> NotFound:
    """What is said of a name or an id that there is not."""
    return NotFound(f"there is no subscription {key if isinstance(key, str) else f'sub_{key}'}")


def opened(
    made: bytes,
    sealer: Sealer,
    number: int,
    *,
    headers: bytes | None,
    url: bytes | None,
    secrets: Sequence[bytes],
) -> Subscription:
    """One that no configuration declares, as it was made; `SealError`."""
    return msgspec.structs.replace(
        _made.decode(made),
        secrets=tuple(secrets),
        headers=open_headers(sealer, number, headers),
        url=open_url(sealer, number, url),
    )


def secrets_of(batch: Batch, sealer: Sealer, number: int) -> tuple[bytes, ...]:
    """The keys that it signs with, the newest first."""
    rows = batch.connection.execute(
        "SELECT id, secret FROM secrets WHERE subscription = ? ORDER BY id DESC", (number,)
    ).fetchall()
    return tuple(parse_secret(open_secret(sealer, number, *row)) for row in rows)


def insert(connection: sqlite3.Connection, subscription: Subscription, made: bytes | None) -> int:
    """A new row, with its place in the past events when it asks for them; its id."""
    start = subscription.start
    number = connection.execute(
        "INSERT INTO subscriptions (name, declared, enabled, made, history, owner)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            subscription.name,
            described(subscription),
            int(subscription.enabled),
            made,
            None if start is None else last_before(connection, start),
            subscription.owner,
        ),
    ).lastrowid
    assert number is not None
    return number


def step_aside(connection: sqlite3.Connection, name: str) -> None:
    """Give the name of a removed subscription free; its own shows from then on what it was."""
    connection.execute(
        "UPDATE subscriptions SET name = name || ' (removed ' || id || ')'"
        " WHERE name = ? AND made = x''",
        (name,),
    )


def note_revision(connection: sqlite3.Connection) -> None:
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


def follow_consent(
    batch: Batch, number: int, url: str | None, origin: str | None, now: Subscription
) -> None:
    """Forget the consent to what was asked for by `url` and `origin`, when that is not this any more.

    While nothing is asked for, what was agreed to before is kept.
    """
    if url != now.url or len({origin, now.origin} - {None}) > 1:
        batch.connection.execute(
            "UPDATE subscriptions SET handshake = NULL, consent = NULL WHERE id = ?", (number,)
        )


def revive(batch: Batch, number: int) -> None:
    """As if nothing had failed, but that it is still failing: only a delivery shows the contrary."""
    execute = batch.connection.execute
    (handshake,) = execute("SELECT handshake FROM subscriptions WHERE id = ?", (number,)).fetchone()
    execute(
        "UPDATE subscriptions SET state = 'active', reason = NULL, hold_until = NULL,"
        " broken_until = NULL, trips = 0, streak = 0, handshake = ? WHERE id = ?",
        (None if handshake is None else pack(_asked_anew(_handshake.decode(handshake))), number),
    )


def _asked_anew(handshake: Handshake) -> Handshake:
    """Consent stays; anything else is asked for again, at once."""
    if handshake.state is Consent.GRANTED:
        return handshake
    return msgspec.structs.replace(
        handshake, state=Consent.PENDING, rate=None, reason="", next_at=Millis(0)
    )
