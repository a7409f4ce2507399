"""Every write and sync of a process, in order, recorded by strace and read back.

strace is one thread that stops each traced one at a call and at its return, so the order of its
lines is the order of causes: a receipt that was sent after a sync stands after it.
"""

import ast
import os
import re
import select
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec

TRACED = (
    "write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,sendmmsg,fdatasync,fsync,sync_file_range,"
    "ftruncate,truncate,fallocate,unlink,unlinkat,rename,renameat,renameat2,link,linkat"
)
LONGEST = 1 << 20  # bytes of one write that are kept; a longer one is an error
FLUSH_LIMIT = 30.0  # seconds that strace may need after its process has ended

SYNCS = (b"fdatasync", b"fsync")

_LINE = re.compile(rb"^(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)$")
_FILE = re.compile(rb"^\d+<([^>]*)>(?:, )?(.*)$")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"(\.\.\.)?')
_PWRITE_END = re.compile(rb", (\d+), (\d+)(?:\)| <unfinished)")
_TRUNCATE = re.compile(rb"^(\d+)(?:\)| <unfinished)")
_RECEIPT = re.compile(rb'"id": ?"(cb_\d+)"')


class UnknownCall(Exception):
    """The trace has a call on the database that this reader does not model."""


class Write(msgspec.Struct, frozen=True):
    """Bytes that were handed to the kernel at `offset`."""

    file: str
    offset: int
    data: bytes


class Truncate(msgspec.Struct, frozen=True):
    """A file that was given this size."""

    file: str
    size: int


class Synced(msgspec.Struct, frozen=True):
    """A sync that has returned without an error; `begun` is the index of the record it began at."""

    file: str
    begun: int


class Unlink(msgspec.Struct, frozen=True):
    """A file that was deleted."""

    file: str


class Acked(msgspec.Struct, frozen=True):
    """A receipt that was handed to a socket."""

    receipt: str


Record = Write | Truncate | Synced | Unlink | Acked


def missing_tool() -> str | None:
    """Why no process can be traced here, in words; None when it works."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    probe = ("strace", "-D", "-f", "--seccomp-bpf", "-e", "trace=fsync", "-o", "/dev/null", "true")
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"strace does not work here: {done.stderr.strip()}"


def tracer(path: Path) -> tuple[str, ...]:
    """The command that goes before the traced one; the process that is started is the traced one."""
    options = ("-D", "-f", "-y", "-x", "--seccomp-bpf", "-s", str(LONGEST))
    return ("strace", *options, "-e", f"trace={TRACED}", "-e", "signal=none", "-o", str(path))


def tracer_of(pid: int) -> int:
    """A descriptor of the strace that follows a process, to wait for its end."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"^TracerPid:\s*(\d+)$", status, re.MULTILINE)
    assert found is not None
    return os.pidfd_open(int(found[1]))


def wait_for_end(tracer: int) -> None:
    """Wait until strace has written everything and ended. Raises `TimeoutError`."""
    try:
        ended, _, _ = select.select([tracer], [], [], FLUSH_LIMIT)
    finally:
        os.close(tracer)
    if not ended:
        raise TimeoutError(f"strace did not end within {FLUSH_LIMIT:g} s of its process")


def read(path: Path, database: Path) -> list[Record]:
    """The records of the database's files and of the sockets. Raises `UnknownCall`."""
    reader = _Reader(database)
    with path.open("rb") as lines:
        for line in lines:
            match = _LINE.match(line)
            if match is not None:
                thread, resumed, call, rest = match.groups()
                if resumed is not None:
                    reader.resumed(thread, resumed, rest.rstrip())
                else:
                    reader.called(thread, call, rest.rstrip())
    return reader.records


class _Reader:
    """Takes the lines of a trace one by one. A change counts from its beginning, a sync from its end."""

    def __init__(self, database: Path) -> None:
        self.records: list[Record] = []
        self._database = database
        self._syncs: dict[bytes, Synced] = {}  # under way, by thread

    def called(self, thread: bytes, call: bytes, rest: bytes) -> None:
        """A call and its result, or only its beginning."""
        name, arguments = _named(rest)
        if call in SYNCS:
            file = self._file(name)
            if file is not None:
                self._syncs[thread] = Synced(file, len(self.records))
                self.resumed(thread, call, rest)
        elif name.startswith(b"socket:"):
            self.records += [Acked(receipt.decode()) for receipt in _receipts(arguments)]
        elif call in (b"unlink", b"unlinkat"):
            self._unlinked(rest)
        elif (file := self._file(name)) is not None:
            self.records.append(_change(call, file, arguments))
        elif call.startswith((b"rename", b"link", b"truncate")) and self._mentioned(rest):
            raise UnknownCall(f"{call.decode()}: {rest!r}")

    def resumed(self, thread: bytes, call: bytes, rest: bytes) -> None:
        """The end of a call; a sync that failed has made nothing durable."""
        if call not in SYNCS or rest.endswith(b"<unfinished ...>"):
            return
        sync = self._syncs.pop(thread, None)
        if sync is not None and rest.endswith(b"= 0"):
            self.records.append(sync)

    def _unlinked(self, rest: bytes) -> None:
        named = _STRING.search(rest)
        file = self._file(_text(named)) if named is not None else None
        if file is not None:
            self.records.append(Unlink(file))

    def _file(self, name: bytes) -> str | None:
        """A file that holds the database's content; shared memory is made anew at opening."""
        path = Path(name.decode(errors="replace"))
        if path.parent != self._database.parent:
            return None
        suffix = path.name.removeprefix(self._database.name)
        return path.name if suffix in ("", "-wal", "-journal") else None

    def _mentioned(self, rest: bytes) -> bool:
        texts = [_text(string).rpartition(b"/")[2] for string in _STRING.finditer(rest)]
        return self._database.name.encode() in texts


def _change(call: bytes, file: str, arguments: bytes) -> Record:
    if call == b"pwrite64" and (data := _STRING.match(arguments)):
        end = _PWRITE_END.match(arguments, data.end())
        if end is not None:
            return Write(file, int(end[2]), _text(data))
    if call == b"ftruncate" and (size := _TRUNCATE.match(arguments)):
        return Truncate(file, int(size[1]))
    raise UnknownCall(f"{call.decode()} of {file}: {arguments[:200]!r}")


def _receipts(arguments: bytes) -> Iterator[bytes]:
    """The receipts in what a socket was given; one call may carry several strings."""
    for string in _STRING.finditer(arguments):
        if b"cb_" in string[0] or string[0].startswith(rb'"\x'):
            yield from _RECEIPT.findall(_text(string))


def _named(rest: bytes) -> tuple[bytes, bytes]:
    """The name of the file behind the first argument, a descriptor, and the arguments after it."""
    match = _FILE.match(rest)
    return (match[1], match[2]) if match else (b"", rest)


def _text(string: re.Match[bytes]) -> bytes:
    if string[1] is not None:
        raise UnknownCall("a string in the trace is cut off")
    decoded = ast.literal_eval("b" + string[0].decode("ascii"))
    assert isinstance(decoded, bytes)
    return decoded
