"""The gateway with a fault put in from outside: `python -m tests.acceptance.launch --fault F serve`.

The faults prove that the crash test and the power-cut test can fail; nothing in `gateway/` knows
of them.
"""

import argparse
import runpy
import sys
import time
from asyncio import Future
from collections.abc import Callable
from typing import Any

from gateway.stores.sqlite import writer

COMMIT_DELAY = 0.03  # seconds from the early answer to the commit


def synchronous_normal() -> None:
    """Commits no longer wait for the disk: a power cut loses them, a SIGKILL does not."""
    writer.SYNCHRONOUS = "NORMAL"


def ack_before_commit() -> None:
    """The sender of a callback is answered before the COMMIT that keeps it."""
    writer.Writer._transact = _transact_late  # type: ignore[method-assign]


def _transact_late(self: writer.Writer, batch: writer.Batch, jobs: list[writer.Job]) -> list[Any]:
    batch.connection.execute("BEGIN IMMEDIATE")
    results = [self._run_job(batch, job) for job in jobs]
    # Callbacks are the isolated jobs; whatever the gateway does for itself goes on as always.
    early = [(job, result) for job, result in zip(jobs, results, strict=True) if job.isolated]
    for job, result in early:
        job.future.get_loop().call_soon_threadsafe(_resolve, job.future, result)
    time.sleep(COMMIT_DELAY)
    batch.connection.execute("COMMIT")
    return results


def _resolve(future: "Future[Any]", result: object) -> None:
    if not future.done() and not isinstance(result, Exception):
        future.set_result(result)


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
