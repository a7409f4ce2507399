"""A disk that loses what was not synced: it plays a trace, and is cut off at any record.

What a file held at its last sync is kept. Of the later writes and truncations a random subset is
kept, some of them torn at sectors. Files that were created or deleted stay so: the directory's
entries are taken to survive, as on the journalling file systems that databases run on.
"""

from pathlib import Path
from random import Random

from tests.acceptance.trace import Acked, Record, Synced, Truncate, Unlink, Write

SECTOR = 512  # bytes; a disk writes one whole or not at all
TORN_SHARE = 0.1  # of the kept unsynced writes

Change = Write | Truncate


class Disk:
    """The files as far as the trace was played; `play` in order, `cut` as often as wanted."""

    def __init__(self) -> None:
        self.acked: set[str] = set()  # receipts that left so far
        self._durable: dict[str, bytearray] = {}
        self._pending: dict[str, list[tuple[int, Change]]] = {}

    def play(self, index: int, record: Record) -> None:
        """Take the next record; `index` is its place in the trace."""
        match record:
            case Acked(receipt):
                self.acked.add(receipt)
            case Unlink(file):
                self._durable.pop(file, None)
                self._pending.pop(file, None)
            case Synced(file, begun):
                self._sync(file, begun)
            case Write(file) | Truncate(file):
                self._durable.setdefault(file, bytearray())
                self._pending.setdefault(file, []).append((index, record))

    def cut(self, folder: Path, rng: Random) -> None:
        """Write the files to `folder` as one power cut at this point may leave them."""
        for file, durable in self._durable.items():
            content = bytearray(durable)
            for change in _survivors([one for _, one in self._pending.get(file, [])], rng):
                _apply(content, change)
            (folder / file).write_bytes(content)

    def _sync(self, file: str, begun: int) -> None:
        """Make durable what was there when the sync began."""
        later = []
        for index, change in self._pending.get(file, []):
            if index < begun:
                _apply(self._durable[file], change)
            else:
                later.append((index, change))
        self._pending[file] = later


def _survivors(pending: list[Change], rng: Random) -> list[Change]:
    """A random subset in the order of the trace: none, all, a beginning, or any of them."""
    manner = rng.randrange(8)
    if manner == 0:
        return []
    if manner == 1:
        return pending
    if manner == 2:
        return pending[: rng.randrange(len(pending) + 1)]
    share = rng.random()
    return [
        _torn(change, rng) if rng.random() < TORN_SHARE else change
        for change in pending
        if rng.random() < share
    ]


def _torn(change: Change, rng: Random) -> Change:
    """Only a beginning of a write, up to a border between sectors."""
    if isinstance(change, Truncate):
        return change
    borders = range(SECTOR - change.offset % SECTOR, len(change.data), SECTOR)
    if not borders:
        return change
    return Write(change.file, change.offset, change.data[: rng.choice(borders)])


def _apply(content: bytearray, change: Change) -> None:
    if isinstance(change, Truncate):
        size, end = change.size, change.size
        del content[size:]
    else:
        size, end = change.offset, change.offset + len(change.data)
    if len(content) < size:
        content.extend(bytes(size - len(content)))
    if isinstance(change, Write):
        content[size:end] = change.data
