"""A database of this release, made into what an older one has left."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from gateway.sealing import Sealer, parse_key
from gateway.stores.sqlite.keys import key as key_of
from gateway.stores.sqlite.sealed import open_consent, open_url

BACK = {  # what undoes the migration of this number
    12: ("DROP TABLE paused_sources", "ALTER TABLE subscriptions DROP COLUMN streak"),
    11: (
        "DROP INDEX deliveries_gathered",
        "DROP INDEX deliveries_led",
        "UPDATE deliveries SET leader = NULL WHERE leader = 0",
        (
            "CREATE INDEX deliveries_led ON deliveries (subscription, due)"
            " WHERE leader IS NOT NULL AND state = 0"
        ),
        (
            "CREATE INDEX deliveries_unled ON deliveries (subscription, due)"
            " WHERE leader IS NULL AND state = 0"
        ),
    ),
    10: (
        "DROP TABLE made_sources",
        "DROP INDEX mappings_source",
        "DROP TABLE mappings",
        "ALTER TABLE callbacks DROP COLUMN read_at",
    ),
    9: (
        "ALTER TABLE subscriptions DROP COLUMN url",
        "ALTER TABLE master DROP COLUMN schema",
    ),
    8: ("ALTER TABLE answers DROP COLUMN begins",),
    7: (
        "DROP INDEX subscriptions_owner",
        "ALTER TABLE subscriptions DROP COLUMN owner",
        "ALTER TABLE subscriptions DROP COLUMN target",
    ),
}


def as_of(path: Path, version: int) -> None:
    """Give the file the schema `version`, 6 to 10, before 9 with URLs in plain; its key lies beside it."""
    sealer = Sealer(parse_key(path.with_name(f"{path.name}.key").read_text("ascii").strip()))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("PRAGMA journal_mode = WAL")
        if version < 9:
            _in_plain(connection, sealer)
        for number in range(max(BACK), version, -1):
            for statement in BACK[number]:
                connection.execute(statement)
        connection.execute("DELETE FROM migrations WHERE version > ?", (version,))
        connection.execute(f"PRAGMA user_version = {version}")


def _in_plain(connection: sqlite3.Connection, sealer: Sealer) -> None:
    rows = connection.execute(
        "SELECT id, owner, url, made, declared, handshake, consent FROM subscriptions"
    ).fetchall()
    for number, owner, sealed, made, declared, handshake, consent in rows:
        url = open_url(sealer, number, sealed)
        secret, asked_for = open_consent(sealer, number, consent)
        target = key_of(owner, url) if owner and url else None
        record = f"subscription:{number}:consent"
        values = (
            _with(msgspec.msgpack, made, {"url": url}) if made else made,
            _with(msgspec.json, declared, {"url": url}) if made else declared,
            _with(msgspec.msgpack, handshake, {"asked_for": asked_for}) if handshake else None,
            sealer.seal(record, secret.encode()) if secret else None,
        )
        connection.execute(
            "UPDATE subscriptions SET made = ?, declared = ?, handshake = ?, consent = ?, target = ?"
            " WHERE id = ?",
            (*values, target, number),
        )


def _with(format_: Any, stored: bytes, more: dict[str, str]) -> bytes:
    """What is stored, with other values of these fields."""
    encoded: bytes = format_.encode(format_.decode(stored) | more)
    return encoded
