"""Which values of the file are sealed, and what they were before schema 4."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gateway.models import Subscription
from gateway.sealing import Sealer, SealError

Header = tuple[str, bytes]

CHECK = "master"  # the record of a value by which a key is known to be the one
KNOWN = b"this is the key"

VALUES = (
    ("secrets", "secret", "'subscription:' || subscription || ':secret:' || id"),
    ("subscriptions", "headers", "'subscription:' || id || ':headers'"),
    ("subscriptions", "consent", "'subscription:' || id || ':consent'"),
)
"""The sealed values but `master` and `answers`: the table, the column, and the record as an expression.

Answers are many, and gone after a day: no start waits until all of them were opened.
"""
ANSWER = "'answer:' || principal || ':' || lower(hex(key))"

REWRITTEN = ("secrets", "subscriptions")  # where secrets lay in plain

_pack = msgspec.msgpack.Encoder().encode
_headers = msgspec.msgpack.Decoder(tuple[Header, ...])
_fields = msgspec.msgpack.Decoder(dict[str, Any])  # of whatever release the value is


def without_values(subscription: Subscription) -> Subscription:
    """A subscription of whose own headers only the names are left."""
    names = tuple((name, b"") for name, _ in subscription.headers)
    return msgspec.structs.replace(subscription, headers=names)


def seal_headers(sealer: Sealer, subscription: int, headers: Sequence[Header]) -> bytes | None:
    """The headers of a subscription as they are stored; None when there are none."""
    if not headers:
        return None
    plain = _pack([(name, bytes(value)) for name, value in headers])
    return sealer.seal(f"subscription:{subscription}:headers", plain)


def open_headers(sealer: Sealer, subscription: int, stored: bytes | None) -> tuple[Header, ...]:
    """What `seal_headers` has made; `SealError`."""
    if stored is None:
        return ()
    return _headers.decode(sealer.open(f"subscription:{subscription}:headers", stored))


def seal_consent(sealer: Sealer, subscription: int, secret: str) -> bytes | None:
    """What stands in the callback's URL of a handshake, as it is stored; None when it is empty."""
    return sealer.seal(f"subscription:{subscription}:consent", secret.encode()) if secret else None


def open_consent(sealer: Sealer, subscription: int, stored: bytes | None) -> str:
    """What `seal_consent` has made; `SealError`."""
    if stored is None:
        return ""
    return sealer.open(f"subscription:{subscription}:consent", stored).decode()


def seal_secret(sealer: Sealer, subscription: int, number: int, secret: str) -> bytes:
    """The signing secret with the id `number`, as it is stored."""
    return sealer.seal(f"subscription:{subscription}:secret:{number}", secret.encode())


def open_secret(sealer: Sealer, subscription: int, number: int, stored: bytes) -> str:
    """What `seal_secret` has made; `SealError`."""
    return sealer.open(f"subscription:{subscription}:secret:{number}", stored).decode()


def seal_answer(sealer: Sealer, principal: str, key: bytes, answer: bytes) -> bytes:
    """An answer that is given again, as it is stored."""
    return sealer.seal(f"answer:{principal}:{key.hex()}", answer)


def open_answer(sealer: Sealer, principal: str, key: bytes, stored: bytes) -> bytes:
    """What `seal_answer` has made; `SealError`."""
    return sealer.open(f"answer:{principal}:{key.hex()}", stored)


def sealed_values(connection: sqlite3.Connection) -> list[tuple[str, bytes]]:
    """All that is sealed but `master` and `answers`: each record and its value."""
    return [
        row
        for table, column, record in VALUES
        for row in connection.execute(
            f"SELECT {record}, {column} FROM {table} WHERE {column} IS NOT NULL"  # noqa: S608
        )
    ]


def reseal(connection: sqlite3.Connection, change: Callable[[str, bytes], bytes]) -> int:
    """Put what `change` makes of each record and its value in its place; how many there are."""
    count = 0
    for table, column, record in VALUES:
        rows = connection.execute(
            f"SELECT id, {record}, {column} FROM {table} WHERE {column} IS NOT NULL"  # noqa: S608
        ).fetchall()
        connection.executemany(
            f"UPDATE {table} SET {column} = ? WHERE id = ?",  # noqa: S608
            [(change(name, value), number) for number, name, value in rows],
        )
        count += len(rows)
    return count


def reseal_answers(connection: sqlite3.Connection, change: Callable[[str, bytes], bytes]) -> None:
    """The same for the answers that are given again, one by one; what does not open goes."""
    numbers = connection.execute("SELECT id FROM answers").fetchall()
    for number in numbers:
        name, value = connection.execute(
            f"SELECT {ANSWER}, sealed FROM answers WHERE id = ?",  # noqa: S608
            number,
        ).fetchone()
        try:
            changed = change(name, value)
        except SealError:
            connection.execute("DELETE FROM answers WHERE id = ?", number)
        else:
            connection.execute("UPDATE answers SET sealed = ? WHERE id = ?", (changed, *number))


def seal_plain(connection: sqlite3.Connection, sealer: Sealer) -> int:
    """Seal what lies in plain from before schema 4, within a transaction; how many values.

    The tables are written anew, so that their pages keep nothing of it: `secure_delete` has to be
    on.
    """
    secrets = connection.execute("SELECT subscription, id, secret FROM secrets").fetchall()
    for subscription, number, secret in secrets:
        connection.execute(
            "UPDATE secrets SET secret = ? WHERE id = ?",
            (seal_secret(sealer, subscription, number, secret.decode()), number),
        )
    rows = connection.execute("SELECT id, made, handshake FROM subscriptions").fetchall()
    for number, made, handshake in rows:
        if made:
            _seal_made(connection, sealer, number, _fields.decode(made))
        if handshake is not None:
            _seal_handshake(connection, sealer, number, _fields.decode(handshake))
    for table in REWRITTEN:
        _rewrite(connection, table)
    return len(sealed_values(connection))


def _seal_made(
    connection: sqlite3.Connection, sealer: Sealer, number: int, made: dict[str, Any]
) -> None:
    headers = made["headers"]
    made["headers"] = [(name, b"") for name, _ in headers]
    connection.execute(
        "UPDATE subscriptions SET made = ?, headers = ? WHERE id = ?",
        (_pack(made), seal_headers(sealer, number, headers), number),
    )


def _seal_handshake(
    connection: sqlite3.Connection, sealer: Sealer, number: int, handshake: dict[str, Any]
) -> None:
    sealed = seal_consent(sealer, number, handshake["secret"])
    connection.execute(
        "UPDATE subscriptions SET handshake = ?, consent = ? WHERE id = ?",
        (_pack(handshake | {"secret": ""}), sealed, number),
    )


def _rewrite(connection: sqlite3.Connection, table: str) -> None:
    """Write all rows of a table anew: deleting all of them at once clears every page of it."""
    for statement in (
        f"CREATE TEMP TABLE kept AS SELECT * FROM main.{table}",  # noqa: S608
        f"DELETE FROM main.{table}",  # noqa: S608
        f"INSERT INTO main.{table} SELECT * FROM temp.kept",  # noqa: S608
        "DROP TABLE temp.kept",
    ):
        connection.execute(statement)
