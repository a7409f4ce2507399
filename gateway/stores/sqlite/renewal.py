"""Another master key for a database that no gateway runs on."""

from pathlib import Path

import msgspec

from gateway.stores.migrate import migrate
from gateway.stores.sqlite.lock import Owner
from gateway.stores.sqlite.master import Master
from gateway.stores.sqlite.opening import connect


class Renewed(msgspec.Struct, frozen=True, kw_only=True):
    """How many secrets are sealed with the key in `path` now.

    `left` is a key file beside the database whose key opens nothing in it any more.
    """

    secrets: int
    path: Path
    left: Path | None


def renew(database: Path, *, key: bytes | None, to: Path | None) -> Renewed:
    """Seal all with another key, in one transaction; see `Master.renew`. Raises `StartupError`.

    A run that was killed, at whatever moment, leaves a database that opens: with the key file
    beside it, or with `key` or the key in `to`. The same call once more brings it to its end.
    """
    owner = Owner(database)
    owner.acquire()
    try:
        master = Master(database, key, other=to)
        master.find()
        connection = connect(database)
        try:
            migrate(connection, str(database))
            master.settle(connection)
            count = master.renew(connection, to)
        finally:
            connection.close()
    finally:
        owner.release()
    left = master.path if to is not None and master.path.exists() else None
    return Renewed(secrets=count, path=to or master.path, left=left)
