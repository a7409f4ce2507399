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
from contextvars import ContextVar
from typing import Any

from gateway.models import Callback, Receipt
from gateway.receiver import Receiver
from gateway.stores.sqlite import checkpoints, opening, writer

COMMIT_DELAY = 0.03  # seconds from the early answer to the commit

_receiving = ContextVar("_receiving", default=False)


def synchronous_normal() -> None:
    """Commits no longer wait for the disk: a power cut loses them, a SIGKILL does not."""
    opening.SYNCHRONOUS = "NORMAL"


def ack_before_commit() -> None:
    """The sender of a callback is answered before the COMMIT that keeps it."""
    sqlite3.connect = functools.partial(sqlite3.connect, factory=LateCommit)  # type: ignore[assignment]
    receive, begin, submit = Receiver.receive, Receiver.begin, writer.Writer.submit

    async def receiving(self: Receiver, callback: Callback) -> Receipt:
        _receiving.set(True)
        return await receive(self, callback)

    def beginning(self: Receiver, callback: Callback) -> "asyncio.Future[Receipt]":
        _receiving.set(True)
        try:
            return begin(self, callback)
        finally:
            _receiving.set(False)

    def submitting(
        self: writer.Writer, work: Callable[[Any], Any], **options: Any
    ) -> "asyncio.Future[Any]":
        # Whatever the gateway does for itself goes on as always.
        if not _receiving.get():
            return submit(self, work, **options)
        early: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        _receiving.set(False)  # or all that is started from here would count as receiving
        late = submit(self, _answering(work, early), **options)
        late.add_done_callback(lambda _: _end(early, late))
        return early

    Receiver.receive = receiving  # type: ignore[method-assign]
    Receiver.begin = beginning  # type: ignore[method-assign]
    writer.Writer.submit = submitting  # type: ignore[method-assign]


def _answering(work: Callable[[Any], Any], early: "asyncio.Future[Any]") -> Callable[[Any], Any]:
    """The same work; its result is given away as soon as its statements have run."""

    def answering(batch: Any) -> Any:
        result = work(batch)
        early.get_loop().call_soon_threadsafe(_answer, early, result)
        return result

    return answering


def _answer(early: "asyncio.Future[Any]", result: Any) -> None:
    if not early.done():
        early.set_result(result)


def _end(early: "asyncio.Future[Any]", late: "asyncio.Future[Any]") -> None:
    """Pass on the failure of work that had no result to answer with."""
    error = late.exception()
    if error is not None and not early.done():
        early.set_exception(error)


class LateCommit(sqlite3.Connection):
    """A connection whose commits come late, so that a kill finds answers without one."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Wait before a COMMIT."""
        if sql == "COMMIT":
            time.sleep(COMMIT_DELAY)
        return super().execute(sql, parameters)


FAULTS: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "synchronous-normal": synchronous_normal,
    "ack-before-commit": ack_before_commit,
}


def main() -> None:
    """Put the fault in and hand the rest of the command line to the gateway."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--fault", choices=sorted(FAULTS), default="none")
    parser.add_argument("--wal-autocheckpoint", type=int)
    options, rest = parser.parse_known_args()
    FAULTS[options.fault]()
    if options.wal_autocheckpoint is not None:
        every = options.wal_autocheckpoint
        checkpoints.LONG = checkpoints.IDLE = checkpoints.PATIENT = every
    sys.argv = ["gateway", *rest]
    runpy.run_module("gateway", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
