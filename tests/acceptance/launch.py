"""The gateway with a fault put in from outside: `python -m tests.acceptance.launch --fault F serve`.

The faults prove that the crash test and the power-cut test can fail; nothing in `gateway/` knows
of them.
"""

import argparse
import runpy
import sys

from gateway.stores.sqlite import writer


def synchronous_normal() -> None:
    """Commits no longer wait for the disk: a power cut loses them, a SIGKILL does not."""
    writer.SYNCHRONOUS = "NORMAL"


def ack_before_commit() -> None:
    writer.ACK_EARLY = True


FAULTS = {
    "none": lambda: None,
    "synchronous-normal": synchronous_normal,
    "ack-before-commit": ack_before_commit,
}


def main() -> None:
    """Put the fault in and hand the rest of the command line to the gateway."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", choices=sorted(FAULTS), default="none")
    parser.add_argument("--wal-autocheckpoint", type=int, help="pages; SQLite's own default is 1000")
    options, rest = parser.parse_known_args()
    FAULTS[options.fault]()
    if options.wal_autocheckpoint is not None:
        writer.WAL_AUTOCHECKPOINT = options.wal_autocheckpoint
    sys.argv = ["gateway", *rest]
    runpy.run_module("gateway", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
