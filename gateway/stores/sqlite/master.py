"""The master key of a database: where it is, whether it is the one, and how another takes its place.

It comes from the environment, or else from a file beside the database, which is made when there is
neither. `GATEWAY_MASTER_KEY` wins over the file. Nothing is written before the key is known to open
what is sealed.
"""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.errors import StartupError
from gateway.sealing import Sealer, SealError, key_text, new_key, parse_key
from gateway.stores.sqlite.opening import look_into
from gateway.stores.sqlite.sealed import (
    CHECK,
    KNOWN,
    SCHEMA,
    reseal,
    reseal_answers,
    retarget,
    seal_plain,
    seal_urls,
    sealed_values,
)

VARIABLE = "GATEWAY_MASTER_KEY"
SUFFIX = ".key"
NEXT = ".new"  # of a file whose key is not the one before it takes the place of the key file
LONGEST = 1_024  # bytes of a key file; more is another file

logger = logging.getLogger("gateway.store")


class Master:
    """`find` the key before anything is written, then `settle`, both under the database's lock.

    `given` is the key's text from the environment, `other` a file whose key may be the one as well.
    """

    def __init__(
        self, database: Path, given: bytes | None = None, *, other: Path | None = None
    ) -> None:
        # SQLite too follows links: two names of one file are one file.
        self._database, self._given, self._other = database.resolve(), given, other
        self.path = self._database.with_name(self._database.name + SUFFIX)
        self._next = _beside(self.path)
        self._key: bytes | None = None
        self._sealer: Sealer | None = None
        self._known = False  # whether the file says that this key is the one

    @property
    def sealer(self) -> Sealer:
        """What seals and opens, once the key is settled."""
        assert self._sealer is not None
        return self._sealer

    @property
    def is_given(self) -> bool:
        """Whether the environment holds the key."""
        return self._given is not None

    def find(self) -> None:
        """Read the key, and hold it against what is sealed; `StartupError`. Writes nothing."""
        keys = self._keys()
        with look_into(self._database) as connection:
            check, values = _sealed(connection)
        fitting = [key for key in keys if check is not None and _opens(key, CHECK, check)]
        self._known = bool(fitting)
        if fitting:
            self._key = fitting[0]
            self._try_all(values)
        elif values:
            raise StartupError(self._unfit(keys))
        else:
            present = self._given is not None or self.path.exists()
            self._key = keys[0] if present else None

    def settle(self, connection: sqlite3.Connection) -> None:
        """Make the key where there is none, and seal what lies in plain; `StartupError`."""
        if self._key is None:
            self._key = self._make()
        elif self._next.exists() and self._is_next(self._key):
            _put(self.path)  # a rotation was interrupted at its very end
        self._sealer = Sealer(self._key)
        if not self._known or _sealed_at(connection) < SCHEMA:
            _seal_first(connection, self._sealer)

    def renew(self, connection: sqlite3.Connection, to: Path | None) -> int:
        """Seal all with another key, in one transaction; how many values.

        The key is a new one in the key file, or with `to` the one in that file, which is made when
        it is not there. Whenever this ends, the key that all is sealed with lies in a file. Raises
        `Conflict`, `StartupError`.
        """
        old = self.sealer
        key = _key_in(to) if to is not None else None
        if key is not None and key == self._key:
            return len(sealed_values(connection))  # it was done before, but nobody was told
        if key is None:
            key = _write(to or self.path)
            if to is not None:
                _put(to)
        new = Sealer(key)
        with _wiping(connection):

            def change(name: str, value: bytes) -> bytes:
                return new.seal(name, old.open(name, value))

            count = reseal(connection, change)
            reseal_answers(connection, change)
            retarget(connection, new)
            _know(connection, new)
        if to is None:
            _put(self.path)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
        return count

    def reader(self) -> Sealer:
        """What opens the values for a command that only reads; `StartupError` without a key."""
        keys = self._keys()
        if not keys:
            raise StartupError(self._unfit(keys))
        return Sealer(*keys)

    def _keys(self) -> list[bytes]:
        """The keys that may be the one, the likeliest first."""
        keys = [] if self._other is None else [_key_in(self._other)]
        if self._given is not None:
            return [_given(self._given), *(key for key in keys if key)]
        found = _key_in(self.path)
        if found is not None and self.path.stat().st_mode & 0o077:
            logger.warning("%s is open to others than its owner: chmod 600 it", self.path)
        try:
            following = _key_in(self._next)
        except StartupError:
            following = None  # it was not written to its end, so nothing is sealed with it
        return [key for key in (found, following, *keys) if key]

    def _try_all(self, values: list[tuple[str, bytes]]) -> None:
        assert self._key is not None
        sealer = Sealer(self._key)
        for record, value in values:
            try:
                sealer.open(record, value)
            except SealError as error:
                raise StartupError(
                    f"{self._database} is damaged: {error}; restore it from a copy"
                ) from None

    def _unfit(self, keys: list[bytes]) -> str:
        if self._given is not None:
            return (
                f"{VARIABLE} is not the key that the secrets in {self._database} are sealed with:"
                " set it to that key, or unset it when the key lies beside the database"
            )
        if keys:
            return (
                f"the key in {self.path} is not the one that the secrets in {self._database} are"
                f" sealed with: put that one there, or into {VARIABLE}"
            )
        return (
            f"the key that the secrets in {self._database} are sealed with is not here: put it back"
            f" into {self.path}, or set {VARIABLE} to it"
        )

    def _make(self) -> bytes:
        key = _write(self.path)
        _put(self.path)
        logger.info("made the master key %s: keep a copy of it, apart from the database", self.path)
        return key

    def _is_next(self, key: bytes) -> bool:
        return self._given is None and _key_in(self.path) != key and _key_in(self._next) == key


def _sealed(
    connection: sqlite3.Connection | None,
) -> tuple[bytes | None, list[tuple[str, bytes]]]:
    """What `master` holds, and all other sealed values; nothing of a file of before schema 4."""
    if connection is None:
        return None, []
    named = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'master'"
    if connection.execute(named).fetchone() is None:
        return None, []
    row = connection.execute("SELECT sealed FROM master").fetchone()
    if row is None:
        return None, []  # it was killed between the migration and the sealing
    return row[0], sealed_values(connection)


def _opens(key: bytes, record: str, sealed: bytes) -> bool:
    try:
        return Sealer(key).open(record, sealed) == KNOWN
    except SealError:
        return False


def _seal_first(connection: sqlite3.Connection, sealer: Sealer) -> None:
    """Seal what is there, and write down with which key; in one transaction."""
    with _wiping(connection):
        schema = _sealed_at(connection)
        count = 0 if schema else seal_plain(connection, sealer)
        if schema < SCHEMA:
            count += seal_urls(connection, sealer)
        _know(connection, sealer)
    if schema < SCHEMA:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()  # plain pages lay there too
    if count:
        logger.info("sealed %d secrets which lay in plain; older copies of the file do", count)


@contextmanager
def _wiping(connection: sqlite3.Connection) -> Iterator[None]:
    """One transaction, in which what is replaced is overwritten with zeros."""
    (before,) = connection.execute("PRAGMA secure_delete").fetchone()
    connection.execute("PRAGMA secure_delete = ON").close()
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        connection.execute(f"PRAGMA secure_delete = {before}").close()


def _know(connection: sqlite3.Connection, sealer: Sealer) -> None:
    sealed = sealer.seal(CHECK, KNOWN)
    connection.execute(
        "INSERT OR REPLACE INTO master (id, sealed, schema) VALUES (1, ?, ?)", (sealed, SCHEMA)
    )


def _sealed_at(connection: sqlite3.Connection) -> int:
    """The schema as of which all is sealed; 0 where nothing is."""
    row = connection.execute("SELECT schema FROM master").fetchone()
    return 0 if row is None else int(row[0])


def _given(text: bytes) -> bytes:
    try:
        return parse_key(text.decode("utf-8", "replace").strip())
    except ValueError as error:
        raise StartupError(f"{VARIABLE}: {error}") from None


def _key_in(path: Path) -> bytes | None:
    """The key in a file, None when it is not there; `StartupError` for one that holds none."""
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StartupError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return parse_key(content.decode("utf-8", "replace").strip())
    except ValueError as error:
        raise StartupError(f"{path} holds no master key: {error}") from None


def _write(path: Path) -> bytes:
    """A new key in a new file beside `path`, durable before anything is sealed with it."""
    key, beside = new_key(), _beside(path)
    try:
        beside.unlink(missing_ok=True)  # of a run that was killed: nothing is sealed with it
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{key_text(key)}\n")
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(path)
    except OSError as error:
        raise _unwritten(path, error) from None
    return key


def _put(path: Path) -> None:
    """Give what `_write` has made its name: a key file is there whole, or not at all."""
    try:
        _beside(path).replace(path)
        _sync_folder(path)
    except OSError as error:
        raise _unwritten(path, error) from None


def _beside(path: Path) -> Path:
    return path.with_name(path.name + NEXT)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritten(path: Path, error: OSError) -> StartupError:
    return StartupError(
        f"the master key {path} cannot be written ({error.strerror}): make its folder writable,"
        f" or set {VARIABLE}"
    )
