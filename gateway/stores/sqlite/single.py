"""One delivery: everything about it, and the request that it is."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gateway.errors import NotFound, StartupError
from gateway.models import Delivery, Millis, Mode, Subscription
from gateway.sealing import Sealer, SealError
from gateway.signing import parse_secret
from gateway.stores.base import Consent, Handshake
from gateway.stores.sqlite.batches import batch_id
from gateway.stores.sqlite.keys import BY_EVENT_ID
from gateway.stores.sqlite.lanes import COLUMNS, leased
from gateway.stores.sqlite.reading import (
    DELIVERY,
    EVENT,
    Reading,
    Row,
    delivery_row,
    number_of,
)
from gateway.stores.sqlite.sealed import open_secret, open_url
from gateway.stores.views import DeliveryStory, Standing

STANDING = (
    "SELECT s.name, iif(s.enabled, s.state, 'disabled'), s.reason, s.hold_until, s.broken_until,"
    " s.failing_since, s.history IS NOT NULL, s.declared, s.handshake"
    " FROM deliveries d JOIN subscriptions s ON s.id = d.subscription WHERE d.id = ?"
)

_declared = msgspec.json.Decoder(dict[str, Any])
_handshake = msgspec.msgpack.Decoder(Handshake)
_made = msgspec.msgpack.Decoder(Subscription)


async def story_of(reading: Reading, name: str) -> DeliveryStory:
    """Everything about a delivery, `dl_7`; `NotFound`."""
    number, row = await _found(reading, name)
    events = await reading.fetch(f"{EVENT} WHERE {BY_EVENT_ID}", (row[1], row[1]))
    standing = await reading.fetch(STANDING, (number,))
    batch = await reading.fetch(
        "SELECT id FROM deliveries"
        " WHERE leader = (SELECT nullif(leader, 0) FROM deliveries WHERE id = ?) ORDER BY id",
        (number,),
    )
    return DeliveryStory(
        delivery=delivery_row(row),
        event=await reading.event(events[0]),
        subscription=_standing(standing[0]),
        attempts=(await reading.attempts([number]))[f"dl_{number}"],
        batch=[f"dl_{member}" for (member,) in batch],
    )


async def request_of(
    reading: Reading, name: str, now: Millis, sealer: Callable[[], Sealer]
) -> tuple[Delivery, Subscription]:
    """A delivery as it is sent, and its subscription as the store knows it; `NotFound`.

    A member of a batch is sent as that batch. The secrets are those that the store has at `now`:
    where there are any, `sealer` opens them, and the URL, or `StartupError`. Of own headers only the
    names are told, and of the URL of one that was removed only the host.
    """
    number, _ = await _found(reading, name)
    rows = await reading.fetch(
        "SELECT s.id, s.name, s.declared, s.made, s.url, d.leader"
        " FROM deliveries d JOIN subscriptions s ON s.id = d.subscription WHERE d.id = ?",
        (number,),
    )
    sealed = await reading.fetch(
        "SELECT subscription, id, secret FROM secrets WHERE subscription = ?"
        " AND (expires_at IS NULL OR expires_at > ?) ORDER BY id DESC",
        (rows[0][0], now),
    )
    subscription = _subscription(rows[0])
    if sealed:
        url, secrets = _opened(rows[0], sealed, sealer)
        subscription = msgspec.structs.replace(subscription, url=url, secrets=secrets)
    leader = rows[0][5]
    if leader:  # it was batched, whatever the mode is by now
        subscription = msgspec.structs.replace(subscription, mode=Mode.BATCH)
    delivery = await _delivery(reading, number, subscription, leader)
    return delivery, subscription


def _opened(
    row: Row, secrets: Sequence[Row], sealer: Callable[[], Sealer]
) -> tuple[str, tuple[bytes, ...]]:
    """The URL and the secrets: whatever has a URL that is sealed has secrets too."""
    key = sealer()
    try:
        signing = tuple(parse_secret(open_secret(key, *secret)) for secret in secrets)
        return open_url(key, row[0], row[4]), signing
    except SealError as error:
        raise StartupError(
            f"the secrets of this subscription cannot be opened: {error}; take the master key that"
            " the gateway runs with"
        ) from None


async def _found(reading: Reading, name: str) -> tuple[int, Row]:
    number = number_of(name, "dl_")
    rows = await reading.fetch(DELIVERY + " WHERE d.id = ?", (number,))
    if number is None:
        raise NotFound(f"there is no delivery {name}: an id looks like dl_7")
    if not rows:
        raise NotFound(f"there is no delivery {name}")
    return number, rows[0]


async def _delivery(
    reading: Reading, number: int, subscription: Subscription, leader: int | None
) -> Delivery:
    sent = f"SELECT {COLUMNS} FROM deliveries d JOIN events e ON e.id = d.event"  # noqa: S608
    if not leader:
        rows = await reading.fetch(f"{sent} WHERE d.id = ?", (number,))
    else:
        rows = await reading.fetch(f"{sent} WHERE d.leader = ? ORDER BY d.id", (leader,))
    first = leased(rows[0], subscription.id, 0)
    if subscription.mode is not Mode.BATCH:
        return first
    return msgspec.structs.replace(
        first,
        event_id=batch_id(leader or number, [row[1] for row in rows]),
        body=b"[" + b",".join(row[3] for row in rows) + b"]",
        size=len(rows),
    )


def _subscription(row: Row) -> Subscription:
    number, name, declared, made = row[:4]
    if made:
        return msgspec.structs.replace(_made.decode(made), id=number)
    shown = _declared.decode(declared)
    return Subscription(
        id=number,
        name=name,
        url=shown["url"],
        mode=Mode(shown["mode"]),
        flat=shown.get("flat", False),
        headers=tuple((header, b"") for header in shown.get("headers", ())),
        origin=shown.get("origin"),
        declared=made is None,
    )


def _standing(row: Row) -> Standing:
    name, state, reason, hold_until, broken_until, failing_since, catching_up, declared = row[:8]
    consent, told = None, ""
    if _declared.decode(declared).get("origin") is not None:
        handshake = Handshake() if row[8] is None else _handshake.decode(row[8])
        consent, told = Consent(handshake.state), handshake.reason
    return Standing(
        name=name,
        state=state,
        reason=reason,
        hold_until=hold_until,
        broken_until=broken_until,
        failing_since=failing_since,
        consent=consent,
        consent_reason=told,
        catching_up=bool(catching_up),
        pull=_declared.decode(declared).get("url") == "",
    )
