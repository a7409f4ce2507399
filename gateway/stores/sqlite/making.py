"""Subscriptions that no configuration declares: made, changed, their secrets rotated, removed."""

from collections.abc import Callable, Collection

import msgspec

from gateway.errors import Conflict
from gateway.models import Millis, Mode, Subscription
from gateway.sealing import Sealer
from gateway.signing import parse_secret
from gateway.stores.base import BY_HAND
from gateway.stores.sqlite.sealed import (
    open_secret,
    seal_headers,
    seal_secret,
    seal_url,
    target_of,
    without_values,
)
from gateway.stores.sqlite.subscriptions import (
    Row,
    described,
    find,
    follow_consent,
    insert,
    note_revision,
    opened,
    pack,
    revive,
    secrets_of,
    step_aside,
    without_path,
)
from gateway.stores.sqlite.writer import Batch

REMOVED = "its subscription was removed"
MOST_OF_A_KEY = 1_000  # subscriptions that one API key has made: each is looked at for each event
MOST_SECRETS = 5  # that sign at the same time: each adds to the headers of every delivery

_made = msgspec.msgpack.Decoder(Subscription)


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a subscription that was put: its id and its newest secret."""

    number: int
    secret: str
    made: bool
    resumed: bool = False


def create(
    batch: Batch, sealer: Sealer, subscription: Subscription, secret: str, now: Millis
) -> int:
    """A new one; its id. `Conflict` when there is one of its name."""
    name = subscription.name
    step_aside(batch.connection, name)
    row = batch.connection.execute(
        "SELECT made IS NULL FROM subscriptions WHERE name = ?", (name,)
    ).fetchone()
    if row is not None:
        whose = "the configuration declares, or declared," if row[0] else "there is already"
        raise Conflict(f"{whose} a subscription {name}: remove it first, or take another name")
    bare = _bare(subscription)
    number = insert(batch.connection, bare, made=pack(without_values(bare)))
    _seal(batch, sealer, number, subscription)
    if not subscription.pull:  # nothing is sent, so nothing is signed
        _keep_secret(batch, sealer, number, secret, now)
    note_revision(batch.connection)
    return number


def put(batch: Batch, sealer: Sealer, wanted: Subscription, secret: str, now: Millis) -> Kept:
    """A new one, or in its place the one that the same key has made for the same URL.

    Of those without a URL it is the one of the same name. That one keeps its name, its secret, and what it was given of the past; it goes on, unless a
    person holds it. `Conflict`.
    """
    number = _of_name(batch, wanted) if wanted.pull else _with_url(batch, sealer, wanted)
    if number is None:
        _check_room(batch, wanted.owner)
        number = create(batch, sealer, wanted, secret, now)
        return Kept(number=number, secret=secret, made=True)
    before = _before(batch, sealer, find(batch, number))
    after = msgspec.structs.replace(wanted, name=before.name, start=before.start)
    _write(batch, sealer, before, after)
    state, reason = batch.connection.execute(
        "SELECT state, reason FROM subscriptions WHERE id = ?", (number,)
    ).fetchone()
    resumed = state == "gone" or (state == "paused" and not (reason or "").startswith(BY_HAND))
    if resumed:
        revive(batch, number)
    newest = "" if after.pull else _newest_secret(batch, sealer, number)
    return Kept(number=number, secret=newest, made=False, resumed=resumed)


def change(
    batch: Batch, sealer: Sealer, key: str | int, revise: Callable[[Subscription], Subscription]
) -> int:
    """What `revise` makes of it; its id. `NotFound`, `Conflict`, and what `revise` raises."""
    row = find(batch, key)
    if row.made is None:
        raise Conflict(
            f"subscription {row.name} is, or was, the configuration's: change it there, and restart"
            " the gateway"
        )
    before = _before(batch, sealer, row)
    after = revise(before)
    if after.start != before.start:
        raise Conflict(
            "from: is for a new subscription; a replay sends past events to one that is there"
        )
    moved = after.url != before.url
    if moved and after.owner and _with_url(batch, sealer, after) is not None:
        raise Conflict("url: this key has made another subscription for that URL")
    _write(batch, sealer, before, after)
    follow_consent(batch, row.number, before.url, before.origin, after)
    return row.number


def remove(batch: Batch, key: str | int, declared: Collection[str] | None) -> int:
    """Let nothing new be made for it; its id. `NotFound`, `Conflict`."""
    row = find(batch, key)
    name = row.name
    if row.made is None and declared is None:
        raise Conflict(
            f"subscription {name} is, or was, a configuration's: name that file with --config"
        )
    if row.made is None and declared is not None and name in declared:
        raise Conflict(
            f"subscription {name} is the configuration's: take it out there, and restart"
            " the gateway"
        )
    execute = batch.connection.execute
    execute("DELETE FROM secrets WHERE subscription = ?", (row.number,))
    (shown,) = execute("SELECT declared FROM subscriptions WHERE id = ?", (row.number,)).fetchone()
    execute(
        "UPDATE subscriptions SET state = 'gone', reason = ?, enabled = 0, made = x'',"
        " hold_until = NULL, history = NULL, handshake = NULL, headers = NULL, consent = NULL,"
        " owner = NULL, target = NULL, url = NULL, declared = ? WHERE id = ?",
        (REMOVED, without_path(shown), row.number),
    )
    note_revision(batch.connection)
    return row.number


def remove_expired(batch: Batch, number: int, now: Millis) -> bool:
    """Remove it when its time is over, which may have been set anew meanwhile; whether it was."""
    row = batch.connection.execute(
        "SELECT made FROM subscriptions WHERE id = ? AND length(made) > 0", (number,)
    ).fetchone()
    ends = None if row is None else _made.decode(row[0]).expires_at
    if ends is None or ends > now:
        return False
    remove(batch, number, ())
    return True


def rotate(
    batch: Batch, sealer: Sealer, key: str | int, secret: str, *, now: Millis, overlap: Millis
) -> int:
    """Sign with `secret`, and with the others until `overlap` is over; its id."""
    execute = batch.connection.execute
    row = find(batch, key)
    number, name = row.number, row.name
    if row.made is None:
        raise Conflict(
            f"the secrets of subscription {name} stand in the configuration: two entries there"
            " rotate them. Put the new one first, and take the old one out when your consumer"
            " knows the new one"
        )
    if _made.decode(row.made).pull:
        raise Conflict(f"nothing is sent to subscription {name}, so it has no secret to rotate")
    until = now + overlap
    execute(
        "UPDATE secrets SET expires_at = min(coalesce(expires_at, ?), ?) WHERE subscription = ?",
        (until, until, number),
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
    return number


def expire(batch: Batch, now: Millis) -> tuple[int, int | None]:
    """End the secrets whose overlap is over; how many, and when the next one's is."""
    execute = batch.connection.execute
    ended = execute("DELETE FROM secrets WHERE expires_at <= ?", (now,)).rowcount
    (following,) = execute("SELECT min(expires_at) FROM secrets").fetchone()
    return ended, following


def _bare(subscription: Subscription) -> Subscription:
    return msgspec.structs.replace(subscription, id=0, secrets=(), declared=False)


def _seal(batch: Batch, sealer: Sealer, number: int, subscription: Subscription) -> None:
    """What of it is not in `made`."""
    batch.connection.execute(
        "UPDATE subscriptions SET headers = ?, url = ?, target = ? WHERE id = ?",
        (
            seal_headers(sealer, number, subscription.headers),
            seal_url(sealer, number, subscription.url),
            target_of(sealer, subscription.owner, subscription.url),
            number,
        ),
    )


def _with_url(batch: Batch, sealer: Sealer, wanted: Subscription) -> int | None:
    """The one that the same key has made for the same URL."""
    row = batch.connection.execute(
        "SELECT id FROM subscriptions WHERE owner = ? AND target = ? ORDER BY id LIMIT 1",
        (wanted.owner, target_of(sealer, wanted.owner, wanted.url)),
    ).fetchone()
    return None if row is None else int(row[0])


def _check_room(batch: Batch, owner: str | None) -> None:
    """`Conflict` for a key that has made as many as it may have."""
    (count,) = batch.connection.execute(
        "SELECT count(*) FROM subscriptions WHERE owner = ?", (owner,)
    ).fetchone()
    if count >= MOST_OF_A_KEY:
        raise Conflict(
            f"this key has {count} subscriptions, as many as one may have: remove those that are"
            " not needed, or take another key"
        )


def _of_name(batch: Batch, wanted: Subscription) -> int | None:
    """The one without a URL that the same key has made under the same name."""
    row = batch.connection.execute(
        "SELECT id, made FROM subscriptions WHERE name = ? AND length(made) > 0", (wanted.name,)
    ).fetchone()
    if row is None:
        return None
    found = _made.decode(row[1])
    return int(row[0]) if found.pull and found.owner == wanted.owner else None


def _before(batch: Batch, sealer: Sealer, row: Row) -> Subscription:
    """As the catalog has it."""
    assert row.made is not None
    secrets = secrets_of(batch, sealer, row.number)
    found = opened(row.made, sealer, row.number, headers=row.headers, url=row.url, secrets=secrets)
    return msgspec.structs.replace(found, id=row.number, enabled=row.enabled)


def _write(batch: Batch, sealer: Sealer, before: Subscription, after: Subscription) -> None:
    if before.ordering is not after.ordering:
        raise Conflict(
            "ordering: cannot be changed while deliveries are made; make another subscription"
        )
    if (before.mode is Mode.BATCH) != (after.mode is Mode.BATCH):
        raise Conflict(
            "mode: cannot become or cease to be batch while deliveries are made; make another"
            " subscription"
        )
    if before.pull is not after.pull:
        raise Conflict(
            "pull: cannot be changed while deliveries are made; make another subscription"
        )
    bare = _bare(after)
    batch.connection.execute(
        "UPDATE subscriptions SET declared = ?, made = ?, enabled = ?, owner = ? WHERE id = ?",
        (
            described(bare),
            pack(without_values(bare)),
            int(after.enabled),
            after.owner,
            before.id,
        ),
    )
    _seal(batch, sealer, before.id, after)


def _newest_secret(batch: Batch, sealer: Sealer, subscription: int) -> str:
    """The one that signs without an end: a rotation gives one to all others."""
    number, secret = batch.connection.execute(
        "SELECT id, secret FROM secrets WHERE subscription = ? AND expires_at IS NULL",
        (subscription,),
    ).fetchone()
    return open_secret(sealer, subscription, number, secret)


def _keep_secret(batch: Batch, sealer: Sealer, subscription: int, secret: str, now: Millis) -> None:
    parse_secret(secret)  # what stands here is read at every start
    execute = batch.connection.execute
    (number,) = execute("SELECT coalesce(max(id), 0) + 1 FROM secrets").fetchone()
    execute(
        "INSERT INTO secrets (id, subscription, secret, made_at) VALUES (?, ?, ?, ?)",
        (number, subscription, seal_secret(sealer, subscription, number, secret), now),
    )
