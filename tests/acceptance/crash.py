"""The crash test: SIGKILL at random moments under load, restart at once, and count what is missing.

`python -m tests.acceptance.crash --seconds 60 --seed 7 [--ordered]`. The seed fixes what is sent and when
the kills come; how the processes interleave stays the machine's choice.
"""

import argparse
import asyncio
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path
from random import Random

import msgspec

from tests.acceptance import checks
from tests.acceptance.harness import Gateway, Wanted, secret
from tests.acceptance.load import Load
from tests.acceptance.peers import Manner, Receiver, prompt, refusing, slow

SENDERS = 12
PAUSE = 0.06  # seconds, the longest rest of a sender between two callbacks
TIMEOUT = 2.0  # seconds, of one attempt
LINGER = 0.05  # seconds until a receiver answers behind which the events of an order line up
QUIET = 1.5  # seconds without an arrival after which a complete run is over
STUCK = 6.0  # seconds without an arrival after which an incomplete run is over
DRAIN_LIMIT = 60.0  # seconds
SECONDS_A_KILL = 2.5  # of the long run


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A run: seconds under load, and kills at random moments within.

    In an `ordered` one all receivers but one want the events of an order one after the other.
    """

    seconds: float
    kills: int
    seed: int
    fault: str = "none"
    ordered: bool = False

    @property
    def command(self) -> tuple[str, ...]:
        """What starts the gateway: the real thing, or one with a fault put in."""
        if self.fault == "none":
            return ("-m", "gateway")
        return ("-m", "tests.acceptance.launch", "--fault", self.fault)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a run saw; it is good when `problems` is empty."""

    seed: int
    kills: int
    callbacks: int
    lost_answers: int
    repeats: int
    events: int
    arrivals: int
    extras: int
    slowest_start: float  # seconds
    problems: Sequence[str]

    def __str__(self) -> str:
        head = (
            f"seed {self.seed}: {self.kills} kills; {self.callbacks} callbacks acknowledged"
            f" ({self.lost_answers} answers lost, {self.repeats} repeats) made {self.events} events;"
            f" {self.arrivals} arrivals, {self.extras} extra;"
            f" slowest start {self.slowest_start:.2f} s; {len(self.problems)} problems"
        )
        kinds = Counter(problem.partition(":")[0] for problem in self.problems)
        counts = [f"{count} times {kind}" for kind, count in kinds.items()]
        return "\n".join([head, *counts, *self.problems[:20]])


async def run(plan: Plan, folder: Path) -> Report:
    """Play the plan in an empty folder."""
    rng = Random(plan.seed)
    async with AsyncExitStack() as stack:
        wanted = [
            await _subscribe(stack, name, manner, rng, ordered=ordered)
            for name, manner, ordered in _cast(plan, rng)
        ]
        gateway = Gateway(folder, wanted, command=plan.command)
        stack.callback(gateway.kill)
        starts = [await gateway.start()]
        load = Load(port=gateway.port, rng=rng, senders=SENDERS, pause=PAUSE)
        sending = asyncio.create_task(load.run())
        kills, found = await _torment(plan, gateway, starts=starts, rng=rng)
        load.stop()
        try:
            await asyncio.wait_for(sending, DRAIN_LIMIT)
        except TimeoutError:
            found.append(
                f"load: callbacks were not answered within {DRAIN_LIMIT:g} s of the last start"
            )
        await _drain(load, wanted)
        await gateway.stop()
    found += _integrity(gateway.database)
    found += _unfinished(gateway.database)
    found += _tracebacks(gateway.log)
    return _report(plan, load, _evidence(load, wanted, kills, starts), found)


def _cast(plan: Plan, rng: Random) -> list[tuple[str, Manner, bool]]:
    """The receivers: name, manner, and whether it wants order."""
    late = TIMEOUT * 1.3
    return [
        ("good", prompt, False),
        ("failing", refusing(delay=LINGER if plan.ordered else 0.0), plan.ordered),
        ("slow", slow(rng, late=late), plan.ordered),
    ]


async def _subscribe(
    stack: AsyncExitStack, name: str, manner: Manner, rng: Random, *, ordered: bool
) -> Wanted:
    """A listening receiver; the slow one wants one event in five, or the run would wait for it."""
    receiver = Receiver(name, manner, secret(rng))
    await receiver.start()
    stack.push_async_callback(receiver.stop)
    types = ("order.shipped",) if name == "slow" else ("order.*",)
    return Wanted(receiver=receiver, types=types, timeout=TIMEOUT, ordered=ordered)


async def _torment(
    plan: Plan, gateway: Gateway, *, starts: list[float], rng: Random
) -> tuple[list[float], list[str]]:
    """Kill and restart as planned; return the moments of the kills and the problems met."""
    kills = []
    found = []
    average = plan.seconds / (plan.kills + 1)
    for number in range(plan.kills):
        await asyncio.sleep(rng.uniform(0.3, 1.7) * average)
        kills.append(time.monotonic())
        gateway.kill()
        copy = _copy(gateway.database, number)
        starts.append(await gateway.start())
        found += await asyncio.to_thread(_integrity, copy)
    await asyncio.sleep(average)
    return kills, found


async def _drain(load: Load, wanted: Sequence[Wanted]) -> None:
    """Wait until everything arrived and nothing more comes, or nothing came for long."""
    receivers = [one.receiver for one in wanted]
    begun = quiet_since = time.monotonic()
    before = -1
    while time.monotonic() - begun < DRAIN_LIMIT:
        arrived = sum(len(receiver.arrivals) for receiver in receivers)
        if arrived != before or any(receiver.busy for receiver in receivers):
            before, quiet_since = arrived, time.monotonic()
        quiet = time.monotonic() - quiet_since
        if quiet > STUCK or (quiet > QUIET and not checks.missing(_evidence(load, wanted))):
            return
        await asyncio.sleep(0.1)


def _copy(database: Path, number: int) -> Path:
    """The database as the kill left it; to open the file itself would recover it before the gateway."""
    copy = database.with_name(f"killed-{number}.db")
    for suffix in ("", "-wal"):
        source = database.with_name(database.name + suffix)
        if source.exists():
            shutil.copyfile(source, copy.with_name(copy.name + suffix))
    return copy


def _integrity(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("PRAGMA integrity_check").fetchall()
    return [] if rows == [("ok",)] else [f"I9: {database.name}: {rows}"]


def _unfinished(database: Path) -> list[str]:
    """I4: what has not ended although all has arrived; a stuck lane, above all."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "SELECT s.name, count(*), count(DISTINCT lane) FROM deliveries d"
            " JOIN subscriptions s ON s.id = d.subscription WHERE d.state < 2 GROUP BY s.name"
        ).fetchall()
    return [
        f"I4: {count} deliveries in {lanes} lanes to {name} never end"
        for name, count, lanes in rows
    ]


def _tracebacks(log: Path) -> list[str]:
    count = log.read_text(encoding="utf-8", errors="replace").count("Traceback (most recent call")
    return [f"log: there are {count} tracebacks"] if count else []


def _evidence(
    load: Load, wanted: Sequence[Wanted], kills: Sequence[float] = (), starts: Sequence[float] = ()
) -> checks.Evidence:
    heard = [
        checks.Heard(
            name=one.receiver.name,
            types=one.types,
            timeout=one.timeout,
            ordered=one.ordered,
            arrivals=one.receiver.arrivals,
        )
        for one in wanted
    ]
    return checks.Evidence(
        sent=load.sent, acked=load.acked, heard=heard, kills=kills, starts=starts
    )


def _report(plan: Plan, load: Load, evidence: checks.Evidence, found: Sequence[str]) -> Report:
    return Report(
        seed=plan.seed,
        kills=len(evidence.kills),
        callbacks=len(load.acked),
        lost_answers=load.lost_answers,
        repeats=load.repeats,
        events=len({event for acked in load.acked.values() for event in acked.receipt.events}),
        arrivals=sum(len(one.arrivals) for one in evidence.heard),
        extras=sum(checks.extras(one, evidence.kills)[0] for one in evidence.heard),
        slowest_start=max(evidence.starts),
        problems=[*found, *load.problems, *checks.problems(evidence)],
    )


def main() -> int:
    """Run once as the command line says, print the report; 1 when anything is wrong."""
    parser = argparse.ArgumentParser(description="SIGKILL the gateway under load and count.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the load lasts")
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, printed")
    parser.add_argument("--ordered", action="store_true", help="order by order")
    parser.add_argument("--fault", default="none", help="as tests.acceptance.launch knows them")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else time.time_ns() % 1_000_000
    kills = max(1, round(options.seconds / SECONDS_A_KILL))
    plan = Plan(
        seconds=options.seconds,
        kills=kills,
        seed=seed,
        fault=options.fault,
        ordered=options.ordered,
    )
    print(f"seed {seed}: {plan.seconds:g} s of load, {plan.kills} kills", flush=True)
    with tempfile.TemporaryDirectory(prefix="gateway-crash-") as folder:
        report = asyncio.run(run(plan, Path(folder)))
    print(report)
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
