"""Hostile peers against the gateway's sender: `python -m tests.acceptance.hostile_run --seconds N`.

Two hundred peers, each bad in one manner of `hostile_peers.py`, are delivered to without a rest by
a process of its own. The report says what every manner came to, how much memory that process has
gained since its warm-up, and by how much the worst attempt went over its timeout.
"""

import argparse
import asyncio
import resource
import sys
from contextlib import AsyncExitStack
from itertools import cycle, islice

import msgspec

from gateway.models import Failure
from tests.acceptance.hostile_attempts import Plan, Result
from tests.acceptance.hostile_peers import MANNERS, hostile

PEERS = 200
GROWTH = 20.0  # MiB that resident memory may gain
OVERRUN = 1.0  # seconds that an attempt may last over its timeout
BUSY = 0.1  # share of the run: from there on a deadline may come before what ends by itself
EXCUSED = 0.25  # of the attempts of a manner, at most, are excused for that
SPARE = 60.0  # seconds after which a process that has not ended is told of


class HostileRunError(Exception):
    """The sending process ended without a result; the text is what it wrote."""


async def run(*, seconds: float, warm_up: float = 10.0, peers: int = PEERS) -> Result:
    """Run that long in all; raises `HostileRunError`."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    async with AsyncExitStack() as stack:
        met = [
            (name, await stack.enter_async_context(hostile(MANNERS[name])))
            for name in islice(cycle(MANNERS), peers)
        ]
        plan = Plan(peers=met, seconds=seconds, warm_up=warm_up)
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.acceptance.hostile_attempts",
            msgspec.json.encode(plan).decode(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(seconds + SPARE):
                out, errors = await child.communicate()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
    if child.returncode != 0:
        raise HostileRunError(errors.decode())
    return msgspec.json.decode(out, type=Result)


def problems(result: Result) -> list[str]:
    """What broke a promise, in sentences; none when all is well."""
    found = []
    if result.at_end - result.at_start > GROWTH:
        found.append(f"memory grew by more than {GROWTH:.0f} MiB")
    if result.overrun > OVERRUN:
        found.append(f"an attempt lasted more than {OVERRUN:.0f} s over its timeout")
    for name, manner in MANNERS.items():
        known = {end or "delivered" for end in manner.ends}
        if name not in result.ends:
            found.append(f"{name}: never met")
            continue
        ends = result.ends[name]
        unknown = ends.keys() - known
        if result.busy > BUSY and ends.get(Failure.TIMEOUT, 0) <= EXCUSED * sum(ends.values()):
            unknown -= {Failure.TIMEOUT}
        found.extend(f"{name}: {ends[end]} ended as {end}" for end in unknown)
    return found


def report(result: Result) -> str:
    """The result as lines of text."""
    lines = [
        f"{name:26}" + ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
        for name, ends in result.ends.items()
    ]
    return "\n".join(
        [
            *lines,
            "",
            f"{result.attempts} attempts; {result.busy:.0%} of the time without a processor",
            f"resident memory: {result.at_start:.1f} MiB warm, {result.at_end:.1f} MiB at the end",
            f"worst attempt {result.overrun:+.3f} s over its timeout ({result.overrun_of})",
            *(f"NOT WELL: {one}" for one in problems(result)),
        ]
    )


def main() -> None:
    """Run, report, and end with 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--warm-up", type=float, default=10.0)
    parser.add_argument("--peers", type=int, default=PEERS)
    options = parser.parse_args()
    result = asyncio.run(run(seconds=options.seconds, warm_up=options.warm_up, peers=options.peers))
    print(report(result))
    sys.exit(1 if problems(result) else 0)


if __name__ == "__main__":
    main()
