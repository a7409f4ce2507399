"""Which values of the file are sealed, and what they were before schemas 4 and 9."""

import sqlite3
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

import msgspec

from gateway.models import Subscription
from gateway.sealing import Sealer, SealError

Header = tuple[str, bytes]

CHECK = "master"  # the record of a value by which a key is known to be the one
KNOWN = b"this is the key"
SCHEMA = 9  # from which on nothing of it lies in plain
TARGETS = "targets"  # what the key of their hashes is derived for

VALUES = (
    ("secrets", "secret", "'subscription:' || subscription || ':secret:' || id"),
    ("subscriptions", "headers", "'subscription:' || id || ':headers'"),
    ("subscriptions", "consent", "'subscription:' || id || ':consent'"),
    ("subscriptions", "url", "'subscription:' || id || ':url'"),
    ("made_sources", "sealed", "'source:' || name"),
)
"""The sealed values but `master` and `answers`: the table, the column, and the record as an expression.

Answers are many, and gone after a day: no start waits until all of them were opened.
"""
ANSWER = "'answer:' || principal || ':' || lower(hex(key))"

REWRITTEN = ("secrets", "subscriptions")  # where secrets lay in plain

_pack = msgspec.msgpack.Encoder().encode
_headers = msgspec.msgpack.Decoder(tuple[Header, ...])
_consent = msgspec.msgpack.Decoder(tuple[str, str])
_fields = msgspec.msgpack.Decoder(dict[str, Any])  # of whatever release the value is
_declared = msgspec.json.Decoder(dict[str, Any])
_json = msgspec.json.Encoder(order="deterministic")


def without_values(subscription: Subscription) -> Subscription:
    """A subscription without what is sealed: of its headers the names are left, of its URL the host."""
    names = tuple((name, b"") for name, _ in subscription.headers)
    return msgspec.structs.replace(subscription, headers=names, url=host_of(subscription.url))


def host_of(url: str) -> str:
    """The URL up to its host and port: what lies in plain of it; `""` without one."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if url else ""


def seal_url(sealer: Sealer, subscription: int, url: str) -> bytes | None:
    """The URL of a subscription as it is stored; None when there is none."""
    return sealer.seal(f"subscription:{subscription}:url", url.encode()) if url else None


def open_url(sealer: Sealer, subscription: int, stored: bytes | None) -> str:
    """What `seal_url` has made; `SealError`."""
    if stored is None:
        return ""
    return sealer.open(f"subscription:{subscription}:url", stored).decode()


def target_of(sealer: Sealer, owner: str | None, url: str) -> bytes | None:
    """By which the key that made it finds it again; None where no key did, and without a URL."""
    if owner is None or not url:
        return None
    return blake2b(_pack((owner, url)), key=sealer.derived(TARGETS), digest_size=32).digest()


def retarget(connection: sqlite3.Connection, sealer: Sealer) -> None:
    """Write all targets anew, with the key that the URLs are sealed with."""
    rows = connection.execute(
        "SELECT id, owner, url FROM subscriptions WHERE owner IS NOT NULL AND url IS NOT NULL"
    ).fetchall()
    connection.executemany(
        "UPDATE subscriptions SET target = ? WHERE id = ?",
        [
            (target_of(sealer, owner, open_url(sealer, number, url)), number)
            for number, owner, url in rows
        ],
    )


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


def seal_consent(sealer: Sealer, subscription: int, *, secret: str, asked_for: str) -> bytes | None:
    """What a handshake has of URLs, its own callback's and the endpoint's, as it is stored.

    None when both are empty.
    """
    if not secret and not asked_for:
        return None
    return sealer.seal(_consent_record(subscription), _pack((secret, asked_for)))


def open_consent(sealer: Sealer, subscription: int, stored: bytes | None) -> tuple[str, str]:
    """What `seal_consent` has made, the secret and what was asked for; `SealError`."""
    if stored is None:
        return "", ""
    return _consent.decode(sealer.open(_consent_record(subscription), stored))


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
    """All that is sealed but `master` and `answers`: each record and its value.

    A file of an older schema has not all of the columns.
    """
    return [
        row
        for table, column, record in VALUES
        if column in _columns(connection, table)
        for row in connection.execute(
            f"SELECT {record}, {column} FROM {table} WHERE {column} IS NOT NULL"  # noqa: S608
        )
    ]


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))}


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
    on. `seal_urls` comes next.
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
    secret = handshake["secret"]
    sealed = sealer.seal(_consent_record(number), secret.encode()) if secret else None
    connection.execute(
        "UPDATE subscriptions SET handshake = ?, consent = ? WHERE id = ?",
        (_pack(handshake | {"secret": ""}), sealed, number),
    )


def seal_urls(connection: sqlite3.Connection, sealer: Sealer) -> int:
    """Seal the URLs that lie in plain from before schema 9, in the manner of `seal_plain`."""
    rows = connection.execute(
        "SELECT id, declared, made, handshake, consent FROM subscriptions"
    ).fetchall()
    for number, declared, made, handshake, consent in rows:
        if made is not None:
            _seal_url(connection, sealer, number, _declared.decode(declared), made)
        if handshake is not None:
            _seal_asked(connection, sealer, number, _fields.decode(handshake), consent)
    retarget(connection, sealer)
    _rewrite(connection, "subscriptions")
    (count,) = connection.execute("SELECT count(url) FROM subscriptions").fetchone()
    return int(count)


def _seal_url(
    connection: sqlite3.Connection,
    sealer: Sealer,
    number: int,
    declared: dict[str, Any],
    made: bytes,
) -> None:
    """That of one that was made; of one that was removed, whose `made` is empty, nothing is kept."""
    url = ""
    if made:
        fields = _fields.decode(made)
        url, fields["url"] = fields["url"], host_of(fields["url"])
        made = _pack(fields)
    declared["url"] = host_of(declared.get("url", ""))
    connection.execute(
        "UPDATE subscriptions SET declared = ?, made = ?, url = ? WHERE id = ?",
        (_json.encode(declared), made, seal_url(sealer, number, url), number),
    )


def _seal_asked(
    connection: sqlite3.Connection,
    sealer: Sealer,
    number: int,
    handshake: dict[str, Any],
    consent: bytes | None,
) -> None:
    """What was sealed before schema 9 is the secret alone."""
    secret = "" if consent is None else sealer.open(_consent_record(number), consent).decode()
    sealed = seal_consent(sealer, number, secret=secret, asked_for=handshake["asked_for"])
    connection.execute(
        "UPDATE subscriptions SET handshake = ?, consent = ? WHERE id = ?",
        (_pack(handshake | {"asked_for": ""}), sealed, number),
    )


def _consent_record(subscription: int) -> str:
    return f"subscription:{subscription}:consent"


def _rewrite(connection: sqlite3.Connection, table: str) -> None:
    """Write all rows of a table anew: deleting all of them at once clears every page of it."""
    for statement in (
        f"CREATE TEMP TABLE kept AS SELECT * FROM main.{table}",  # noqa: S608
        f"DELETE FROM main.{table}",  # noqa: S608
        f"INSERT INTO main.{table} SELECT * FROM temp.kept",  # noqa: S608
        "DROP TABLE temp.kept",
    ):
        connection.execute(statement)
