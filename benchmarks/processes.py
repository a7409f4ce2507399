"""The processes of a run: started here, asked here, ended here by their own id, always."""

import contextlib
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

ROOT = Path(__file__).resolve().parent.parent
_TICK = os.sysconf("SC_CLK_TCK")
_PORTS = 10_000, 2**16  # where to look for a free one


class BenchmarkError(Exception):
    """The run cannot go on; its text is one sentence, and the end of the log where there is one."""


class Process:
    """A Python module in a process of its own; leaving the block ends it."""

    def __init__(self, arguments: Sequence[str], *, log: Path, folder: Path) -> None:
        self._log = log
        with log.open("ab") as errors:
            # A session of its own: Ctrl-C reaches only this program, which then ends them all.
            self._popen = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if arguments[0].startswith("benchmarks.") else errors,
                stderr=errors,
                cwd=folder,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                start_new_session=True,
            )
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._popen.poll() is None

    def stop(self) -> None:
        """Ask it to end, and kill it when it does not within 25 s (`stop_grace` is 20 s)."""
        if self.running:
            self._popen.terminate()
            try:
                self._popen.wait(25)
            except subprocess.TimeoutExpired:
                self._popen.kill()
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def say(self, line: str) -> None:
        """Write one line to its stdin."""
        assert self._popen.stdin
        self._popen.stdin.write(line.encode() + b"\n")
        self._popen.stdin.flush()

    def answer(self, *, within: float) -> dict[str, Any]:
        """Its next line of JSON. Raises `BenchmarkError` when none comes within these seconds."""
        assert self._popen.stdout
        descriptor = self._popen.stdout.fileno()
        deadline = time.monotonic() + within
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise self.error(f"no answer within {within:.0f} s")
            data = os.read(descriptor, 65536)
            if not data:
                raise self.error("ended too early")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = msgspec.json.decode(line)
        return answer

    def ask(self, line: str, *, within: float) -> dict[str, Any]:
        """Say one line and return the answer to it."""
        self.say(line)
        return self.answer(within=within)

    def error(self, what: str) -> BenchmarkError:
        """The error to raise about this process, with the last lines that it wrote."""
        tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
        return BenchmarkError(f"{self._log.stem}: {what}\n{tail}")


def child(name: str, params: msgspec.Struct, *, folder: Path) -> Process:
    """Start `benchmarks.children.<name>` with its parameters."""
    arguments = [f"benchmarks.children.{name}", msgspec.json.encode(params).decode()]
    return Process(arguments, log=folder / f"{name}.log", folder=folder)


def cpu_seconds(pid: int) -> float:
    """User and system seconds of a process, all its threads, ended ones too (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def memory(pid: int) -> tuple[float, float]:
    """Resident memory now and its highest so far, in MiB (proc(5), status: VmRSS, VmHWM)."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return int(status["VmRSS"].split()[0]) / 1024, int(status["VmHWM"].split()[0]) / 1024


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now, and that no connection will be given.

    The kernel takes the ports of outgoing connections, of which a run makes thousands, from its
    ephemeral range (ip(7), ip_local_port_range); so this one is from below it.
    """
    first, end = _PORTS
    ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    if ephemeral > first + 1000:  # else there is too little room below it
        end = ephemeral
    for port in random.sample(range(first, end), 100):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise BenchmarkError(f"none of 100 ports from {first} to {end - 1} is free on 127.0.0.1")


def wait_for_port(process: Process, port: int, *, within: float = 20.0) -> None:
    """Return when something listens on the port. Raises `BenchmarkError` otherwise."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline and process.running:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise process.error(f"nothing listens on port {port}")


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A temporary folder on the file system of TMPDIR; SIGTERM leaves the block like Ctrl-C does."""
    previous = signal.signal(signal.SIGTERM, _interrupt)
    folder = Path(tempfile.mkdtemp(prefix="gateway-benchmark-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGTERM, previous)


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
