"""The gateway with a fault put in from outside: `python -m tests.acceptance.launch --fault F serve`.

The faults prove that the crash test and the power-cut test can fail; nothing in `gateway/` knows
of them.
"""

import argparse
import asyncio
import functools
import runpy
import sqlite3
import sys
import time
from collections.abc import Callable
from typing import Any

from gateway.stores.sqlite import writer

COMMIT_DELAY = 0.03  # seconds from the early answer to the commit


def synchronous_normal() -> None:
    """Commits no longer wait for the disk: a power cut loses them, a SIGKILL does not."""
    writer.SYNCHRONOUS = "NORMAL"


def ack_before_commit() -> None:
    """The sender of a callback is answered before the COMMIT that keeps it."""
    sqlite3.connect = functools.partial(sqlite3.connect, factory=LateCommit)  # type: ignore[assignment]
    submit = writer.Writer.submit

    def hasty(self: writer.Writer, work: writer.Work, **options: bool) -> "asyncio.Future[Any]":
        # What the gateway does for itself is not isolated, and goes on as always.
        if not options.get("isolated", True):
            return submit(self, work, **options)
        loop = asyncio.get_running_loop()
        early: asyncio.Future[Any] = loop.create_future()

        def answering(batch: writer.Batch) -> object:
            result: object = work(batch)
            loop.call_soon_threadsafe(_answer, early, result)
            return result

        submit(self, answering, **options).add_done_callback(lambda late: _end(early, late))
        return early

    writer.Writer.submit = hasty  # type: ignore[method-assign]


class LateCommit(sqlite3.Connection):
    """A connection whose commits come late, so that a kill finds answers without one."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Wait before a COMMIT."""
        if sql == "COMMIT":
            time.sleep(COMMIT_DELAY)
        return super().execute(sql, parameters)


def _answer(early: "asyncio.Future[Any]", result: object) -> None:
    if not early.done():
        early.set_result(result)


def _end(early: "asyncio.Future[Any]", late: "asyncio.Future[Any]") -> None:
    """Pass on the failure of a job that had no result to answer with."""
    error = late.exception()
    if error is not None and not early.done():
        early.set_exception(error)


FAULTS: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "synchronous-normal": synchronous_normal,
    "ack-before-commit": ack_before_commit,
}


def main() -> None:
    """Put the fault in and hand the rest of the command line to the gateway."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--fault", choices=sorted(FAULTS), default="none")
    parser.add_argument("--wal-autocheckpoint", type=int, default=writer.WAL_AUTOCHECKPOINT)
    options, rest = parser.parse_known_args()
    FAULTS[options.fault]()
    writer.WAL_AUTOCHECKPOINT = options.wal_autocheckpoint
    sys.argv = ["gateway", *rest]
    runpy.run_module("gateway", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
