"""The power-cut test: record the writes and syncs of a run, cut at random points, reopen, compare.

`python -m tests.acceptance.power_cut --events 2000 --cuts 150`. A SIGKILL leaves the kernel's
cache alone, so the crash test says nothing about syncs; this one does.
"""

import argparse
import asyncio
import sqlite3
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path
from random import Random

import msgspec

from gateway.stores.sqlite.keys import EVENT_ROW
from tests.acceptance import trace
from tests.acceptance.disk import Disk
from tests.acceptance.harness import Gateway, Wanted, secret
from tests.acceptance.load import Acked, Load
from tests.acceptance.peers import Receiver, prompt

SENDERS = 8
PAUSE = 0.01  # seconds, the longest rest of a sender between two callbacks
CHECKPOINT = 40  # pages after which the WAL is copied back: many times in a run
START_SHARE = 0.1  # of the cuts: before the first receipt
RUN_LIMIT = 600.0  # seconds


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A run: how many callbacks are answered before its end, and how often the power is cut."""

    events: int
    cuts: int
    seed: int
    fault: str = "none"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What the cuts left; it is good when `problems` is empty."""

    seed: int
    fault: str
    cuts: int
    answered: int
    writes: int
    syncs: int
    lossy_cuts: int
    worst: int  # callbacks that one cut lost
    problems: Sequence[str]

    def __str__(self) -> str:
        head = (
            f"seed {self.seed}, fault {self.fault}: {self.answered} callbacks answered in"
            f" {self.writes} writes and {self.syncs} syncs; {self.cuts} cuts, {self.lossy_cuts} of"
            f" them lost answered callbacks (at worst {self.worst}); {len(self.problems)} problems"
        )
        return "\n".join([head, *self.problems[:20]])


async def run(plan: Plan, folder: Path) -> Report:
    """Play the plan in an empty folder."""
    rng = Random(plan.seed)
    acked, path, database = await _record(plan, folder, rng)
    records = await asyncio.to_thread(trace.read, path, database)
    path.unlink()
    return await asyncio.to_thread(_judge, plan, records, acked, folder)


async def _record(plan: Plan, folder: Path, rng: Random) -> tuple[dict[str, Acked], Path, Path]:
    """Run the gateway under the tracer; return the answered callbacks by receipt, and the trace."""
    path = folder / "trace"
    async with AsyncExitStack() as stack:
        receiver = Receiver("good", prompt, secret(rng))
        await receiver.start()
        stack.push_async_callback(receiver.stop)
        options = ("--fault", plan.fault, "--wal-autocheckpoint", str(CHECKPOINT))
        gateway = Gateway(
            folder,
            [Wanted(receiver=receiver, types=("order.*",), timeout=10.0)],
            command=("-m", "tests.acceptance.launch", *options),
        )
        gateway.prefix = trace.tracer(path)
        stack.callback(gateway.kill)
        await gateway.start()
        load = Load(port=gateway.port, rng=rng, senders=SENDERS, pause=PAUSE, enough=plan.events)
        await asyncio.wait_for(load.run(), RUN_LIMIT)
        tracer = trace.tracer_of(gateway.pid)
        await gateway.stop()
        await asyncio.to_thread(trace.wait_for_end, tracer)
    return {one.receipt.id: one for one in load.acked.values()}, path, gateway.database


def _judge(
    plan: Plan, records: Sequence[trace.Record], acked: Mapping[str, Acked], folder: Path
) -> Report:
    rng = Random(plan.seed)
    first = next(i for i, record in enumerate(records) if isinstance(record, trace.Acked))
    early = sorted(rng.randrange(first) for _ in range(round(plan.cuts * START_SHARE)))
    late = sorted(rng.randrange(first, len(records)) for _ in range(plan.cuts - len(early)))
    disk = Disk()
    played = 0
    losses = []
    found = [f"receipt {one} is not in the trace" for one in _unseen(records, acked)]
    for point in (*early, *late):
        for index in range(played, point + 1):
            disk.play(index, records[index])
        played = max(played, point + 1)
        with tempfile.TemporaryDirectory(dir=folder) as rest:
            disk.cut(Path(rest), rng)
            answered = [acked[one] for one in disk.acked if one in acked]
            lost, wrong = _audit(Path(rest) / "gateway.db", answered)
        losses.append(len(lost))
        found += [f"cut at record {point}: {text}" for text in (*lost, *wrong)]
    return Report(
        seed=plan.seed,
        fault=plan.fault,
        cuts=len(losses),
        answered=len(acked),
        writes=sum(isinstance(record, trace.Write) for record in records),
        syncs=sum(isinstance(record, trace.Synced) for record in records),
        lossy_cuts=sum(1 for lost in losses if lost),
        worst=max(losses),
        problems=found,
    )


def _unseen(records: Sequence[trace.Record], acked: Mapping[str, Acked]) -> list[str]:
    """The receipts that a sender read but the trace does not have: their loss could not be seen."""
    seen = {record.receipt for record in records if isinstance(record, trace.Acked)}
    return sorted(acked.keys() - seen)


def _audit(database: Path, acked: Sequence[Acked]) -> tuple[list[str], list[str]]:
    """The answered callbacks that the file does not hold whole, and what else is wrong with it."""
    with closing(sqlite3.connect(database)) as connection:
        try:
            rows = connection.execute("PRAGMA integrity_check").fetchall()
        except sqlite3.DatabaseError as error:
            return [], [f"the file does not open: {error}"]
        wrong = [] if rows == [("ok",)] else [f"integrity_check: {rows[:3]}"]
        if not acked:
            return [], wrong
        try:
            lost = [text for one in acked if (text := _lost(connection, one))]
        except sqlite3.DatabaseError as error:
            return [f"{len(acked)} callbacks: {error}"], wrong
    return lost, wrong


def _lost(connection: sqlite3.Connection, acked: Acked) -> str | None:
    receipt = acked.receipt
    key = int(receipt.id.removeprefix("cb_"))
    row = connection.execute("SELECT body FROM callbacks WHERE id = ?", (key,)).fetchone()
    if row is None:
        return f"callback {receipt.id} is lost"
    if row[0] != acked.sent.body:
        return f"callback {receipt.id} has other bytes"
    for event in receipt.events:
        found = connection.execute(
            "SELECT count(*) FROM events JOIN deliveries ON deliveries.event = events.id"
            f" WHERE events.id IN ({EVENT_ROW})",
            (event, event),
        ).fetchone()
        if found != (1,):
            return f"event {event} of callback {receipt.id} has {found[0]} deliveries"
    return None


def main() -> int:
    """Run once as the command line says, print the report; 1 when anything is wrong."""
    parser = argparse.ArgumentParser(description="Cut the power at random points and compare.")
    parser.add_argument("--events", type=int, default=2000, help="callbacks to be answered")
    parser.add_argument("--cuts", type=int, default=150)
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, printed")
    parser.add_argument("--fault", default="none", help="as tests.acceptance.launch knows them")
    options = parser.parse_args()
    reason = trace.missing_tool()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 2
    seed = options.seed if options.seed is not None else time.time_ns() % 1_000_000
    plan = Plan(events=options.events, cuts=options.cuts, seed=seed, fault=options.fault)
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="gateway-power-") as folder:
        report = asyncio.run(run(plan, Path(folder)))
    print(report)
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
