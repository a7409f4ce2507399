"""Hostile peers against a whole gateway: `python -m tests.acceptance.hostile_gateway --seconds N`.

A real `gateway serve` on a fresh file has a subscription for each of two hundred peers, each bad in
one manner of `hostile_peers.py`, and for two healthy consumers; a few signed callbacks a second
make events that all of them want. What the peers do is read from the table of attempts once the
gateway has stopped: an attempt that never ended stands there too, as one that was cut off.

The peers are kept in play by `resume` over the control socket, every few seconds, for whoever is
paused or whose breaker is open. A schedule can keep off the pause, but not the breaker: that opens
after ten failures whatever the schedule is, and would leave eight attempts a minute.

The memory that is looked at is of the serving process alone: peers and consumers are other ones.
The page cache of the store fills with any traffic, up to its own bound, and a minute of this run
fills it; what it may still take when a shorter warm-up ends is not counted as growth.
"""

import argparse
import asyncio
import re
import sqlite3
import sys
import tempfile
import time
from bisect import bisect
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from itertools import cycle, islice
from pathlib import Path
from random import Random

import msgspec
from msgspec.structs import replace

from gateway.cli.serve import socket_path
from gateway.config.load import load
from gateway.stores.sqlite import opening
from gateway.web.server import unix_address
from tests.acceptance import hostile_run
from tests.acceptance.consumers import Consumer, callback
from tests.acceptance.harness import Gateway, secret
from tests.acceptance.hostile_attempts import Result
from tests.acceptance.hostile_peers import MANNERS, hostile
from tests.acceptance.isolation import UNFINISHED, more_files, rows, subscription, until
from tests.acceptance.load import Connection, Receipt
from tests.acceptance.machine import withheld

SCHEDULE = ", ".join(['"5s"'] * 30)
LOOK = 1.0  # seconds between two looks at the process
RESUME = 5.0  # seconds between two rounds of `resume`
TOGETHER = 20  # that are resumed at once: on a busy machine each answer takes a while
LONGER = 120.0  # seconds, the most that the run lasts longer on a busy machine
OUT = "SELECT name FROM subscriptions WHERE state != 'active' OR broken_until IS NOT NULL"
ATTEMPTS = (
    "FROM attempts a JOIN deliveries d ON d.id = a.delivery"
    " JOIN subscriptions s ON s.id = d.subscription WHERE s.name LIKE 'peer-%'"
)
ENDS = f"SELECT s.name, coalesce(a.failure, 'delivered'), a.duration, a.started_at {ATTEMPTS}"
MET = f"SELECT count(DISTINCT s.name) {ATTEMPTS} AND a.started_at >= "
WRONG = re.compile(r"Traceback \(most recent call last\)|^\S+ \S+ (ERROR|CRITICAL) ")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`seconds` has the warm-up in it; `rate` is callbacks a second, `timeout` of an attempt in s."""

    seconds: float = 600.0
    warm_up: float = 60.0
    peers: int = hostile_run.PEERS
    rate: float = 2.0
    slots: int = 2
    timeout: float = 2.0


class Seen(msgspec.Struct, kw_only=True):
    """What the run notes while it lasts; memory in MiB, `withheld` as `machine.withheld`."""

    memory: list[float] = []
    files: list[int] = []
    cold: list[float] = []  # MiB that the page cache may still take
    sent: dict[str, float] = {}  # accepted events, and when their callback was begun
    withheld: list[tuple[int, float]] = []  # Unix time in ms, and seconds until then
    half: float = 0.0  # Unix time of the middle of the run
    over: bool = False
    resumed: int = 0
    waiting: int = 0  # deliveries that were unfinished at the end
    found: list[str] = []


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`worst` is by manner, in seconds over the timeout; `warm` is the first look that counts."""

    attempts: Result
    worst: Mapping[str, float]
    seen: Seen
    warm: int
    late: float  # seconds from a callback to its event with the healthy, of 99 in 100

    @property
    def problems(self) -> list[str]:
        """What broke a promise, in sentences; none when all is well."""
        full = self.attempts.at_start + self.seen.cold[self.warm]
        return [*hostile_run.problems(replace(self.attempts, at_start=full)), *self.seen.found]

    def __str__(self) -> str:
        one, seen = self.attempts, self.seen
        tenths = seen.memory[:: max(1, len(seen.memory) // 10)]
        lines = [
            f"{name:26}{sum(ends.values()):7} attempts, worst {self.worst[name]:+.3f} s: "
            + ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
            for name, ends in one.ends.items()
        ]
        lines += [
            f"\n{one.attempts} attempts; resumed {seen.resumed} times; {seen.waiting} wait",
            f"{one.busy:.0%} of the time without a processor",
            f"worst attempt {one.overrun:+.3f} s over its timeout ({one.overrun_of})",
            f"resident memory: {one.at_start:.1f} MiB warm, {one.at_end:.1f} MiB at the end",
            f"page cache: {seen.cold[self.warm]:.1f} MiB of it were still free when warm",
            "MiB by tenths, from before: " + " ".join(f"{mib:.0f}" for mib in tenths),
            f"open files: {seen.files[self.warm]} warm, {seen.files[-1]} at the end",
            f"healthy: {len(seen.sent)} events each, p99 {self.late * 1000:.1f} ms",
        ]
        return "\n".join([*lines, *(f"NOT WELL: {problem}" for problem in self.problems)])


async def host(peers: int) -> None:
    """Be the peers: print their manners and URLs as one line of JSON, stay until input ends."""
    async with AsyncExitStack() as stack:
        met = [
            (name, await stack.enter_async_context(hostile(MANNERS[name])))
            for name in islice(cycle(MANNERS), peers)
        ]
        print(msgspec.json.encode(met).decode(), flush=True)
        await asyncio.to_thread(sys.stdin.read)


@asynccontextmanager
async def _hosted(peers: int) -> AsyncIterator[list[tuple[str, str]]]:
    """The peers in a process of their own: their floods must not delay the healthy consumers."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.acceptance.hostile_gateway", "--host", str(peers)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    try:
        yield msgspec.json.decode(await child.stdout.readline(), type=list[tuple[str, str]])
    finally:
        child.kill()
        await child.wait()


async def run(plan: Plan, folder: Path) -> Report:
    """Play the plan in an empty folder."""
    seen, healthy = Seen(), [Consumer(f"healthy-{number}") for number in (1, 2)]
    async with AsyncExitStack() as stack:
        peers = await stack.enter_async_context(_hosted(plan.peers))
        for consumer in healthy:
            await consumer.up()
            stack.callback(consumer.close)
        gateway = Gateway(folder, [])
        config = folder / "gateway.toml"
        with config.open("a", encoding="utf-8") as file:
            file.writelines(_tables(plan, peers))
            file.writelines(subscription(one, "") for one in healthy)
        stack.callback(gateway.kill)
        await gateway.start()
        address = stack.enter_context(unix_address(socket_path(load(config, {}))))
        seen.half = time.time() + plan.seconds / 2
        async with asyncio.TaskGroup() as group:
            group.create_task(_last(gateway, seen, plan))
            group.create_task(_post(gateway, seen, plan))
            group.create_task(_keep_in_play(gateway, address, seen))
            group.create_task(_watch(gateway, seen))
        ((seen.waiting,),) = rows(gateway.database, UNFINISHED)
        await until(lambda: all(one.ids >= seen.sent.keys() for one in healthy))
        code = await gateway.stop()
    seen.found += [f"the gateway ended with {code}: {gateway.log_end()}"] * bool(code)
    seen.found += _wrong(gateway.log)
    manners = {f"peer-{number}": manner for number, (manner, _) in enumerate(peers)}
    attempts, worst = _attempts(gateway.database, plan, manners, seen)
    warm = min(int(plan.warm_up / LOOK), len(seen.memory) - 1)
    attempts.at_start, attempts.at_end = seen.memory[warm], seen.memory[-1]
    attempts.busy = seen.withheld[-1][1] / (len(seen.withheld) * LOOK)
    late = _late(seen, healthy)
    return Report(attempts=attempts, worst=worst, seen=seen, warm=warm, late=late)


def _tables(plan: Plan, peers: Sequence[tuple[str, str]]) -> list[str]:
    """The subscriptions of the peers, as TOML."""
    return [
        f'[subscriptions.peer-{number}]\nurl = "{url}"\nsecrets = ["{secret(Random(number))}"]\n'
        f'slots = {plan.slots}\ntimeout = "{round(plan.timeout * 1000)}ms"\n'
        f"schedule = [{SCHEDULE}]\n"
        for number, (_, url) in enumerate(peers)
    ]


async def _last(gateway: Gateway, seen: Seen, plan: Plan) -> None:
    """Let it last as planned, and on a busy machine until each peer was met in the second half."""
    await asyncio.sleep(plan.seconds)
    met, end = f"{MET}{seen.half * 1000:.0f}", time.monotonic() + LONGER
    while rows(gateway.database, met) != [(plan.peers,)] and time.monotonic() < end:  # noqa: ASYNC110
        await asyncio.sleep(LOOK)
    seen.over = True


async def _post(gateway: Gateway, seen: Seen, plan: Plan) -> None:
    """Callbacks at the plan's rate, each of an order of its own."""
    connection, number = Connection(gateway.port), 0
    while not seen.over:
        begun = time.monotonic()
        number += 1
        status, body = await connection.post(callback(f"o-{number}"))
        if status != 200:
            seen.found.append(f"callback {number} was answered {status}: {body[:200]!r}")
        else:
            receipt = msgspec.json.decode(body, type=Receipt)
            seen.sent.update(dict.fromkeys(receipt.events, begun))
        await asyncio.sleep(max(0.0, begun + 1 / plan.rate - time.monotonic()))
    await connection.close()


async def _keep_in_play(gateway: Gateway, address: str, seen: Seen) -> None:
    """Resume whoever was taken out of play."""
    while not seen.over:
        await asyncio.sleep(RESUME)
        names = [name for (name,) in rows(gateway.database, OUT)]
        for first in range(0, len(names), TOGETHER):
            if seen.over:
                return
            some = names[first : first + TOGETHER]
            statuses = await asyncio.gather(*(_resume(address, name) for name in some))
            seen.resumed += len(some)
            seen.found += [
                f"resume of {name} was answered {status}"
                for name, status in zip(some, statuses, strict=True)
                if status != 200
            ]


async def _resume(address: str, name: str) -> int:
    """Ask over the control socket; the status of the answer."""
    reader, writer = await asyncio.open_unix_connection(address)
    try:
        writer.write(
            f"POST /v1/subscriptions/{name}/resume HTTP/1.1\r\nHost: gateway\r\n"
            "Connection: close\r\nContent-Length: 0\r\n\r\n".encode()
        )
        return int((await reader.readline()).split(b" ")[1])
    finally:
        writer.close()


async def _watch(gateway: Gateway, seen: Seen) -> None:
    """Look at the process, from the first moment to the last."""
    while not seen.over:
        _look(gateway, seen)
        await asyncio.sleep(LOOK)
    _look(gateway, seen)


def _look(gateway: Gateway, seen: Seen) -> None:
    """Note memory (proc(5), status: VmRSS), open files, and what the machine withheld."""
    process = Path(f"/proc/{gateway.pid}")
    status = (process / "status").read_text(encoding="ascii")
    seen.memory.append(int(status.split("VmRSS:")[1].split()[0]) / 1024)
    seen.files.append(sum(1 for _ in (process / "fd").iterdir()))
    seen.cold.append(max(0.0, opening.CACHE / 1024 - gateway.database.stat().st_size / 2**20))
    seen.withheld.append((int(time.time() * 1000), withheld(gateway.pid)))


def _withheld(seen: Seen, started: int, duration: int) -> float:
    """Seconds that the machine withheld from the process during an attempt, and a look around it."""
    after = bisect([at for at, _ in seen.withheld], started + duration)
    before = bisect([at for at, _ in seen.withheld], started)
    most = seen.withheld[min(after, len(seen.withheld) - 1)][1]
    return most - (seen.withheld[before - 1][1] if before else 0.0)


def _attempts(
    database: Path, plan: Plan, manners: Mapping[str, str], seen: Seen
) -> tuple[Result, dict[str, float]]:
    """What the attempts came to, and the worst overrun by manner; notes who was left alone."""
    result, worst, last = Result(), dict[str, float](), dict.fromkeys(manners, 0)
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        for name, end, duration, at in connection.execute(ENDS):
            manner, overrun = manners[name], duration / 1000 - plan.timeout
            if overrun > 0:
                overrun = max(overrun - _withheld(seen, at, duration), 0.0)
            ends = result.ends.setdefault(manner, {})
            ends[end] = ends.get(end, 0) + 1
            result.attempts += 1
            worst[manner] = max(worst.get(manner, overrun), overrun)
            last[name] = max(last[name], at)
    result.overrun, result.overrun_of = max((most, manner) for manner, most in worst.items())
    alone = [name for name, at in last.items() if at < seen.half * 1000]
    seen.found += [f"in the second half no attempt went to {', '.join(alone)}"] * bool(alone)
    return result, worst


def _late(seen: Seen, healthy: Sequence[Consumer]) -> float:
    """The 99th percentile, from a callback's begin to the arrival of its event; notes what is lost."""
    latencies = []
    for consumer in healthy:
        arrived = {one.event_id: one.at for one in reversed(consumer.arrivals)}
        missing = seen.sent.keys() - arrived.keys()
        seen.found += [f"{consumer.name} did not get {len(missing)} events"] * bool(missing)
        latencies += [at - seen.sent[event] for event, at in arrived.items() if event in seen.sent]
    return sorted(latencies)[len(latencies) * 99 // 100] if latencies else float("inf")


def _wrong(log: Path) -> list[str]:
    """The first lines of the log that tell of a bug, as problems."""
    with log.open(encoding="utf-8", errors="replace") as lines:
        wrong = [line.strip() for line in lines if WRONG.search(line)]
    return [f"log, {len(wrong)} such lines: {line}" for line in wrong[:3]]


def main() -> int:
    """Run once as the command line says, print the report; 1 when anything is wrong."""
    default, parser = Plan(), argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=default.seconds)
    parser.add_argument("--warm-up", type=float, default=default.warm_up)
    parser.add_argument("--host", type=int, help="only be so many peers, for another process")
    options = vars(parser.parse_args())
    more_files()
    if (peers := options.pop("host")) is not None:
        asyncio.run(host(peers))
        return 0
    with tempfile.TemporaryDirectory(prefix="gateway-hostile-") as folder:
        report = asyncio.run(run(Plan(**options), Path(folder)))
    print(report)
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
