"""Subscriptions as they are shown: a row each for the list, and everything of one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from gateway.errors import NotFound, StartupError
from gateway.sealing import Sealer, SealError
from gateway.stores.base import Handshake
from gateway.stores.sqlite.reading import Reading, Row
from gateway.stores.sqlite.sealed import open_url
from gateway.stores.views import (
    Condition,
    HandshakeRow,
    History,
    SecretRow,
    SubscriptionDetail,
    SubscriptionRow,
)

_declared = msgspec.json.Decoder(dict[str, Any])
_handshake = msgspec.msgpack.Decoder(Handshake)

FETCHED = "(pull)"  # in place of a host
OF_URLS = {  # settings that count only where something is sent
    *("url", "profile", "mode", "secrets", "timeout", "slots", "rate", "schedule", "headers"),
    *("origin", "ordering", "on_exhausted", "final_status", "batch_size", "batch_wait"),
}

PRESENT = (
    "SELECT name, iif(enabled, state, 'disabled'), reason, declared, hold_until, last_success,"
    " (SELECT count(*) FROM deliveries d WHERE d.subscription = s.id AND d.state < 2),"
    " failing_since, broken_until, handshake, id, made IS NULL, trips, history, url"
    " FROM subscriptions s WHERE (made IS NULL OR length(made) > 0)"
)


async def subscription_rows(reading: Reading) -> Sequence[SubscriptionRow]:
    """All that were not removed, by name."""
    return [_row(row) for row in await reading.fetch(PRESENT + " ORDER BY name")]


async def conditions(reading: Reading) -> Mapping[int, Condition]:
    """How all that were not removed are, by their ids."""
    rows = await reading.fetch(
        "SELECT id, state, reason, hold_until, last_success, failing_since, broken_until, handshake"
        " FROM subscriptions WHERE made IS NULL OR length(made) > 0"
    )
    found = {}
    for number, *values, packed in rows:
        state, reason, hold_until, last_success, failing_since, broken_until = values
        handshake = _handshake_row(packed)
        found[number] = Condition(
            state=state,
            reason=reason,
            hold_until=hold_until,
            last_success=last_success,
            failing_since=failing_since,
            broken_until=broken_until,
            handshake=None if handshake is None else handshake.state,
        )
    return found


async def subscription_detail(
    reading: Reading, name: str, sealer: Callable[[], Sealer]
) -> SubscriptionDetail:
    """Everything of one; `NotFound`. Where `sealer` has no key, a sealed URL ends with its host."""
    rows = await reading.fetch(PRESENT + " AND name = ?", (name,))
    if not rows:
        raise NotFound(f"there is no subscription {name}")
    row = rows[0]
    settings = _declared.decode(row[3])
    if settings["url"]:
        whole = _opened(row[10], row[14], sealer) or settings["url"]
        settings["url"] = _without_query(whole)
    else:
        settings = {"pull": True} | {k: v for k, v in settings.items() if k not in OF_URLS}
    secrets = await reading.fetch(
        "SELECT made_at, expires_at FROM secrets WHERE subscription = ? ORDER BY id DESC",
        (row[10],),
    )
    return SubscriptionDetail(
        subscription=_row(row),
        declared=bool(row[11]),
        settings=settings,
        secrets=[SecretRow(made_at=made, expires_at=expires) for made, expires in secrets],
        trips=row[12],
        handshake=_wanted(settings, row[9]),
        history=None if row[13] is None else await _history(reading, row[13]),
    )


def _row(row: Row) -> SubscriptionRow:
    settings = _declared.decode(row[3])
    handshake = _wanted(settings, row[9])
    return SubscriptionRow(
        name=row[0],
        state=row[1],
        reason=row[2],
        host=urlsplit(settings["url"]).netloc or FETCHED,
        hold_until=row[4],
        last_success=row[5],
        unfinished=row[6],
        failing_since=row[7],
        broken_until=row[8],
        handshake=None if handshake is None else handshake.state,
    )


def _wanted(settings: Mapping[str, Any], packed: bytes | None) -> HandshakeRow | None:
    """How a handshake stands that the settings ask for: it may have been asked for before only."""
    return None if settings.get("origin") is None else _handshake_row(packed)


def _handshake_row(packed: bytes | None) -> HandshakeRow | None:
    """How it stands, without the secret by which the endpoint may consent."""
    if packed is None:
        return None
    stored = _handshake.decode(packed)
    return HandshakeRow(
        state=stored.state,
        rate=stored.rate,
        reason=stored.reason,
        asked_at=stored.asked_at,
        next_at=stored.next_at,
    )


async def _history(reading: Reading, looked: int) -> History:
    """How far it came; ids have no gaps but where retention took events."""
    rows = await reading.fetch("SELECT max(id) FROM events")
    return History(looked=looked, last=rows[0][0] or 0)


def _opened(number: int, sealed: bytes | None, sealer: Callable[[], Sealer]) -> str:
    """Nothing where the key is not here, for whoever only looks needs none."""
    try:
        return "" if sealed is None else open_url(sealer(), number, sealed)
    except (SealError, StartupError):
        return ""


def _without_query(url: str) -> str:
    """A URL whose query, which may hold a token, is masked."""
    head, mark, _ = url.partition("?")
    return f"{head}?***" if mark else url
