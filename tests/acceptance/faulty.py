"""Disks that run full or break on purpose: a real one of a few MiB, and faults put before libc."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

SIZE = "8m"  # of the real small disk
SOURCE = Path(__file__).with_name("faults.c")
MOUNT = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'


class FullDisk(Protocol):
    """A disk under `database` that can be filled. What is started on it needs `prefix` and `environment`."""

    database: Path
    prefix: tuple[str, ...]
    environment: Mapping[str, str]

    def fill(self, pid: int) -> None:
        """Leave no space to the process that runs on it."""

    def free(self, pid: int) -> None:
        """Give the space back."""

    def beside(self, pid: int) -> tuple[str, ...]:
        """What a second command on the same disk begins with."""

    def seen(self, pid: int) -> Path:
        """The folder in which this process finds the database."""


class SmallDisk:
    """A tmpfs in a mount namespace of the gateway's own: it ends with the process."""

    def __init__(self, folder: Path) -> None:
        mount = folder / "disk"
        mount.mkdir()
        self.database = mount / "gateway.db"
        self.prefix: tuple[str, ...] = ("unshare", "-rm", "sh", "-c", MOUNT, "sh", SIZE, str(mount))
        self.environment: Mapping[str, str] = {}

    def fill(self, pid: int) -> None:
        """See `FullDisk`."""
        with self._filler(pid).open("wb", buffering=0) as file:
            for piece in (1 << 20, 1 << 12, 1):
                try:
                    while file.write(bytes(piece)) == piece:
                        pass
                except OSError:
                    continue  # no room for one so large

    def free(self, pid: int) -> None:
        """See `FullDisk`."""
        self._filler(pid).unlink()

    def beside(self, pid: int) -> tuple[str, ...]:
        """See `FullDisk`."""
        return ("nsenter", "-t", str(pid), "-U", "-m", "--preserve-credentials")

    def seen(self, pid: int) -> Path:
        """See `FullDisk`."""
        return Path(f"/proc/{pid}/root{self.database.parent}")

    def _filler(self, pid: int) -> Path:
        return self.seen(pid) / "filler"


class FaultyDisk:
    """An ordinary folder; what the gateway's process writes in it fails as the flags say."""

    def __init__(self, folder: Path) -> None:
        library = folder / "faults.so"
        self._flags = folder / "flags"
        self._flags.mkdir()
        self.database = folder / "gateway.db"
        self.prefix: tuple[str, ...] = ()
        self.environment: Mapping[str, str] = {
            "LD_PRELOAD": str(library),
            "GATEWAY_FAULT_FILES": str(self.database.resolve()),
            "GATEWAY_FAULT_FLAGS": str(self._flags),
        }
        command = ("cc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl")
        subprocess.run(command, check=True, capture_output=True)

    def fill(self, pid: int) -> None:
        """See `FullDisk`."""
        self.arm("full")

    def free(self, pid: int) -> None:
        """See `FullDisk`."""
        self.disarm("full")

    def beside(self, pid: int) -> tuple[str, ...]:
        """See `FullDisk`."""
        return ()

    def seen(self, pid: int) -> Path:
        """See `FullDisk`."""
        return self.database.parent

    def arm(self, flag: str) -> None:
        """Let a fault happen that `faults.c` knows."""
        (self._flags / flag).touch()

    def disarm(self, flag: str) -> None:
        """End a fault that lasts."""
        (self._flags / flag).unlink()

    def armed(self, flag: str) -> bool:
        """Whether it has yet to happen."""
        return (self._flags / flag).exists()


def no_small_disk() -> str | None:
    """Why no file system can be mounted here, in words; None when it works."""
    if sys.platform != "linux" or not (shutil.which("unshare") and shutil.which("nsenter")):
        return "unshare and nsenter of Linux are needed"
    probe = ("unshare", "-rm", "sh", "-c", MOUNT, "sh", SIZE, "/mnt", "true")
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"no tmpfs can be mounted: {done.stderr.strip()}"


def no_faulty_disk() -> str | None:
    """Why faults cannot be put before libc here, in words; None when it works."""
    if sys.platform != "linux" or not shutil.which("cc"):
        return "a C compiler (cc) and Linux are needed"
    probe = ("cc", "-shared", "-fPIC", "-o", os.devnull, SOURCE, "-ldl")
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"cc does not work: {done.stderr.strip()[:200]}"
