"""Rotates the master key in processes that are killed: `python -m tests.stores.killed_rotation`.

It stays a process of its own, without threads, so that it can fork. What goes wrong ends it.
"""

import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from gateway.sealing import key_text, new_key
from gateway.stores.sqlite import opening
from gateway.stores.sqlite.renewal import renew
from tests.stores.test_sealed import check_whole as check
from tests.stores.test_sealed import fill_whole as fill
from tests.stores.test_sealed import opened

SLEEPS = 0.05  # seconds, the longest until a kill at random; a rotation takes a few milliseconds


class Fuse:
    """Kills this process instead of the step `last`; steps are what others can see of a rotation."""

    def __init__(self, last: int) -> None:
        self._left = last

    def burn(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def on(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def burning(*arguments: Any, **options: Any) -> Any:
            self.burn()
            return function(*arguments, **options)

        return burning

    def lay(self) -> None:
        """Count system calls of the key file and statements of the database."""
        for name in ("open", "fsync", "replace", "unlink"):
            setattr(os, name, self.on(getattr(os, name)))
        fuse = self

        class Connection(sqlite3.Connection):
            def execute(self, *arguments: Any) -> sqlite3.Cursor:
                fuse.burn()
                return super().execute(*arguments)

        connect = sqlite3.connect

        def connecting(*arguments: Any, **options: Any) -> sqlite3.Connection:
            return connect(*arguments, **options, factory=Connection)

        opening.sqlite3.connect = connecting  # type: ignore[attr-defined]


def forked(work: Callable[[], object]) -> int:
    """The process that does this, and ends."""
    child = os.fork()
    if child == 0:
        _do(work)
    return child


def _do(work: Callable[[], object]) -> NoReturn:
    try:
        work()
    except BaseException as error:  # the parent tells by the exit code
        sys.stderr.write(f"{error!r}\n")
        os._exit(1)
    os._exit(0)


def ended(child: int) -> bool:
    """Whether it came to its end; False when it was killed."""
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0, "a rotation failed"
    return True


def at_every_step(folder: Path) -> int:
    """Kill a rotation of the key file at each of its steps; how many."""
    steps = 0
    while True:
        steps += 1
        copy = _copied(folder, steps)
        path, old = copy / "gateway.db", (copy / "gateway.db.key").read_bytes()

        def work(path: Path = path, steps: int = steps) -> None:
            Fuse(steps).lay()
            renew(path, key=None, to=None)

        done = ended(forked(work))
        opened(path, check)
        renew(path, key=None, to=None)
        opened(path, check)
        assert (copy / "gateway.db.key").read_bytes() != old
        assert not (copy / "gateway.db.key.new").exists()
        if done:
            return steps


def at_every_step_to_a_file(folder: Path) -> int:
    """The same with the key in the environment, and another in a file to come."""
    steps, key = 0, key_text(new_key()).encode()
    (folder / "to").mkdir()
    opened(folder / "to" / "gateway.db", fill, key=key)
    while True:
        steps += 1
        copy = _copied(folder / "to", steps)
        path, to = copy / "gateway.db", copy / "next.key"

        def work(path: Path = path, to: Path = to, steps: int = steps) -> None:
            Fuse(steps).lay()
            renew(path, key=key, to=to)

        done = ended(forked(work))
        renew(path, key=key, to=to)
        opened(path, check, key=to.read_bytes())
        if done:
            return steps


def at_random(folder: Path, times: int, seed: int) -> int:
    """Kill processes that rotate again and again; how many rotations they came to."""
    rng, path, seen = random.Random(seed), folder / "gateway.db", set()

    def work() -> None:
        while True:
            renew(path, key=None, to=None)

    for _ in range(times):
        child = forked(work)
        time.sleep(rng.uniform(0, SLEEPS))
        os.kill(child, signal.SIGKILL)
        assert not ended(child)
        opened(path, check)
        seen.add((folder / "gateway.db.key").read_bytes())
    return len(seen)


def _copied(folder: Path, number: int) -> Path:
    copy = folder.parent / f"{folder.name}-{number}"
    copy.mkdir()
    for path in folder.iterdir():
        if path.is_file():
            shutil.copy2(path, copy)
    return copy


def main(folder: Path, times: int, seed: int) -> None:
    """Everything in a new folder; prints what was done."""
    start = folder / "start"
    start.mkdir()
    opened(start / "gateway.db", fill)
    print(at_every_step(start), at_every_step_to_a_file(start), at_random(start, times, seed))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
