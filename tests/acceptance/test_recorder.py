"""The trace is read in the order of causes, and the disk keeps what it must and only that."""

from pathlib import Path
from random import Random

import pytest

from tests.acceptance import trace
from tests.acceptance.disk import Disk
from tests.acceptance.trace import Acked, Synced, Truncate, Unlink, Write

DATABASE = Path("/srv/gateway.db")
LINES = r"""
7  pwrite64(4</srv/gateway.db-wal>, "\x00\xff", 2, 0) = 2
8  pwrite64(5</srv/gateway.db-shm>, "x", 1, 3) = 1
7  fdatasync(4</srv/gateway.db-wal> <unfinished ...>
8  write(2</srv/log>, "{\"id\":\"cb_7\"}", 13) = 13
8  sendto(9<socket:[1]>, "HTTP/1.1 200 OK\r\n\r\n{\"id\":\"cb_1\"}", 30, 0, NULL, 0) = 30
7  <... fdatasync resumed>) = 0
8  writev(9<socket:[1]>, [{iov_base="HTTP\r\n", iov_len=6}, {iov_base="{\"id\":\"cb_2\"}", iov_len=13}], 2) = 19
7  pwrite64(3</srv/gateway.db>, "a\"\n\0b", 5, 4096 <unfinished ...>
7  <... pwrite64 resumed>) = 5
7  fdatasync(3</srv/gateway.db>) = -1 EIO (Input/output error)
7  fdatasync(5</srv>) = 0
7  ftruncate(3</srv/gateway.db>, 512) = 0
7  unlink("/srv/gateway.db-wal") = 0
7  +++ exited with 0 +++
"""


def read(tmp_path: Path, lines: str) -> list[trace.Record]:
    path = tmp_path / "trace"
    path.write_text(lines.lstrip(), encoding="ascii")
    return trace.read(path, DATABASE)


def test_lines_become_records(tmp_path: Path) -> None:
    assert read(tmp_path, LINES) == [
        Write("gateway.db-wal", 0, b"\x00\xff"),
        Acked("cb_1"),
        Synced("gateway.db-wal", 1),
        Acked("cb_2"),
        Write("gateway.db", 4096, b'a"\n\0b'),
        Truncate("gateway.db", 512),
        Unlink("gateway.db-wal"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        '7  pwritev(3</srv/gateway.db>, [{iov_base="a", iov_len=1}], 1, 0) = 1',
        '7  pwrite64(3</srv/gateway.db>, "a"..., 5, 0) = 5',
        '7  rename("/srv/new", "/srv/gateway.db") = 0',
        "7  fallocate(3</srv/gateway.db>, 0, 0, 4096) = 0",
    ],
)
def test_what_is_not_modelled_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(trace.UnknownCall):
        read(tmp_path, line + "\n")


def cuts(tmp_path: Path, *records: trace.Record) -> list[dict[str, bytes]]:
    """What hundred cuts after these records leave."""
    disk = Disk()
    for index, record in enumerate(records):
        disk.play(index, record)
    left = []
    for seed in range(100):
        folder = tmp_path / str(seed)
        folder.mkdir()
        disk.cut(folder, Random(seed))
        left.append({path.name: path.read_bytes() for path in folder.iterdir()})
    return left


def test_what_was_synced_is_kept(tmp_path: Path) -> None:
    left = cuts(tmp_path, Write("a", 0, b"old"), Write("a", 0, b"new"), Synced("a", 2))
    assert left == [{"a": b"new"}] * 100


def test_what_was_written_after_the_sync_began_may_be_lost(tmp_path: Path) -> None:
    left = cuts(tmp_path, Write("a", 0, b"1"), Write("a", 1, b"2"), Synced("a", 1))
    assert {one["a"] for one in left} == {b"1", b"12"}


def test_any_subset_of_unsynced_writes_may_be_lost(tmp_path: Path) -> None:
    left = cuts(tmp_path, Write("a", 0, b"1"), Write("a", 1, b"2"), Truncate("a", 1))
    assert {one["a"] for one in left} == {b"", b"1", b"12", b"\x00", b"\x002"}


def test_a_sync_of_one_file_says_nothing_of_another(tmp_path: Path) -> None:
    left = cuts(tmp_path, Write("a", 0, b"1"), Write("b", 0, b"2"), Synced("b", 2))
    assert {one["a"] for one in left} == {b"", b"1"}
    assert {one["b"] for one in left} == {b"2"}


def test_writes_are_torn_at_sectors_only(tmp_path: Path) -> None:
    left = cuts(tmp_path, Write("a", 24, bytes([1]) * 2000))
    assert {len(one["a"]) for one in left} <= {0, 2024, 512, 1024, 1536}
    assert len({len(one["a"]) for one in left}) > 2


def test_a_deleted_file_stays_deleted(tmp_path: Path) -> None:
    assert cuts(tmp_path, Write("a", 0, b"1"), Unlink("a")) == [{}] * 100
