"""One owner of a database file: an exclusive lock on a file beside it, held while the process lives."""

import fcntl
import os
from pathlib import Path

from gateway.errors import StartupError


class Owner:
    """Holds the lock; the kernel lets go of it when the process ends, however it ends."""

    def __init__(self, database: Path) -> None:
        self._database = database
        # SQLite too follows links: two names of one file are one file.
        real = database.resolve()
        self._path = real.with_name(real.name + ".lock")
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock; `StartupError` when another process holds it or the folder is not writable."""
        if not self._path.parent.is_dir():
            raise StartupError(
                f"{self._database}: there is no folder {self._path.parent}: make it, "
                "or name another place in store.url"
            )
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartupError(
                f"{self._path}: {error.strerror}: name a writable place in store.url"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise StartupError(
                f"{self._database} is in use by another gateway (process {holder or '?'}): "
                "stop it, or name another file in store.url"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go of the lock; the file stays, since removing it would race with the next owner."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
