"""Some consumers hang beside healthy ones, and come up again: `python -m tests.acceptance.isolation`.

What is counted here is no speed: who got what, how much each consumer had in flight at once, whose
breaker opened, and whether anything is missing at the end. Speed is measured by `benchmarks/`.
"""

import argparse
import asyncio
import resource
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from gateway.cli import control
from gateway.config.load import load
from gateway.config.settings import Settings
from gateway.dispatcher import IN_FLIGHT
from tests.acceptance.consumers import Consumer, Tally, callback, post_all
from tests.acceptance.harness import Gateway, secret

PATIENCE = 60.0  # seconds for what should take a few: a bound for what never comes
QUIET = 0.5  # seconds in which whatever was sent twice would still come


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Of `subscriptions` the last `hanging` ones never answer; `timeout` of an attempt in seconds."""

    subscriptions: int = 20
    hanging: int = 10
    callbacks: int = 60
    slots: int = 4
    timeout: float = 1.0
    seed: int = 5


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a run saw; it is good when `problems` is empty. `held` is the most that one had in flight."""

    healthy: int
    arrived: int
    held: tuple[int, int]  # the least and the most of the hanging ones
    in_all: int
    problems: Sequence[str]

    def __str__(self) -> str:
        head = (
            f"{self.arrived} deliveries came to {self.healthy} healthy consumers; those that hung"
            f" held {self.held[0]} to {self.held[1]} each; at most {self.in_all} were in flight in all"
        )
        return "\n".join([head, *self.problems[:20]])


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """A running gateway and its consumers."""

    gateway: Gateway
    settings: Settings
    consumers: Sequence[Consumer]
    tally: Tally

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Look into the file of the gateway."""
        return rows(self.gateway.database, sql)


async def stage(
    stack: AsyncExitStack, folder: Path, consumers: Sequence[Consumer], keys: Sequence[str]
) -> Stage:
    """Start a gateway with one subscription a consumer, whose other `keys` are lines of TOML."""
    gateway = Gateway(folder, [])
    config = folder / "gateway.toml"
    with config.open("a", encoding="utf-8") as file:
        for consumer, more in zip(consumers, keys, strict=True):
            file.write(subscription(consumer, more))
    for consumer in consumers:
        stack.callback(consumer.close)
    stack.callback(gateway.kill)
    await gateway.start()
    return Stage(
        gateway=gateway,
        settings=load(config, {}),
        consumers=consumers,
        tally=consumers[0].tally,
    )


def subscription(consumer: Consumer, more: str) -> str:
    """The table of a consumer's subscription."""
    return (
        f'[subscriptions.{consumer.name}]\nurl = "{consumer.url}"\n'
        f'secrets = ["{secret(Random(consumer.name))}"]\n{more}\n'
    )


def rows(database: Path, sql: str) -> list[tuple[Any, ...]]:
    """Look into the file of a gateway."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(sql).fetchall()


async def until(condition: Callable[[], object], *, seconds: float = PATIENCE) -> bool:
    """Wait for a condition; whether it came true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.02)
    return True


UNFINISHED = "SELECT count(*) FROM deliveries WHERE state < 2"
BROKEN = "SELECT count(*) FROM subscriptions WHERE broken_until IS NOT NULL"


async def run(plan: Plan, folder: Path) -> Report:
    """Play the plan in an empty folder."""
    tally = Tally()
    consumers = [Consumer(f"s{number}", tally) for number in range(plan.subscriptions)]
    healthy, hanging = consumers[: -plan.hanging], consumers[-plan.hanging :]
    found: list[str] = []
    async with AsyncExitStack() as stack:
        for consumer in consumers:
            await consumer.up()
        for consumer in hanging:
            consumer.hanging = True
        # A healthy one that a busy machine keeps waiting must not be sent anything twice for it.
        keys = [_keys(plan, PATIENCE)] * len(healthy) + [_keys(plan, plan.timeout)] * len(hanging)
        world = await stage(stack, folder, consumers, keys)
        orders = [callback(f"o-{number}") for number in range(plan.callbacks)]
        await post_all(world.gateway.port, orders)
        if not await until(lambda: all(len(one.ids) == plan.callbacks for one in healthy)):
            found.append("healthy: not all that was sent to them has come")
        found += await _while_they_hang(world, plan, hanging)
        held = [one.most for one in hanging]
        in_all = tally.most
        found += await _come_up(world, plan, hanging)
        found += _once(healthy)
        found += _ended(world)
        await world.gateway.stop()
    return Report(
        healthy=len(healthy),
        arrived=sum(len(one.arrivals) for one in healthy),
        held=(min(held), max(held)),
        in_all=in_all,
        problems=[*found, *_bounds(plan, hanging, in_all)],
    )


def _keys(plan: Plan, timeout: float) -> str:
    schedule = ", ".join(['"200ms"', *['"1s"'] * 29])
    return f'slots = {plan.slots}\ntimeout = "{round(timeout * 1000)}ms"\nschedule = [{schedule}]'


async def _while_they_hang(world: Stage, plan: Plan, hanging: Sequence[Consumer]) -> list[str]:
    """The healthy are settled although the others hold what they can, and breakers open for these."""
    found = []
    names = ", ".join(f"'{one.name}'" for one in hanging)
    healthy = f"{UNFINISHED} AND subscription IN (SELECT id FROM subscriptions WHERE name NOT IN ({names}))"
    if not await until(lambda: world.rows(healthy) == [(0,)]):
        found.append("healthy: not all of it is recorded")
    if not await until(lambda: world.rows(BROKEN) == [(plan.hanging,)]):
        found.append(f"breaker: {world.rows(BROKEN)[0][0]} of {plan.hanging} are open")
    trips = world.rows("SELECT name FROM subscriptions WHERE trips > 0")
    if {name for (name,) in trips} - {one.name for one in hanging}:
        found.append("breaker: it opened for a healthy one")
    return found


async def _come_up(world: Stage, plan: Plan, hanging: Sequence[Consumer]) -> list[str]:
    """They answer again, the operator says so, and everything comes."""
    for consumer in hanging:
        consumer.recover()
    await until(lambda: world.rows("SELECT 1 FROM deliveries WHERE state = 1") == [])
    for consumer in hanging:
        await asyncio.to_thread(control.resume, world.settings, consumer.name)
    if not await until(lambda: world.rows(UNFINISHED) == [(0,)]):
        return [f"lost: {world.rows(UNFINISHED)[0][0]} deliveries never end"]
    await asyncio.sleep(QUIET)
    return [
        f"lost: {one.name} got {len(one.taken)} of {plan.callbacks}"
        for one in hanging
        if len(one.taken) != plan.callbacks
    ]


def _once(healthy: Sequence[Consumer]) -> list[str]:
    return [
        f"healthy: {one.name} got {event} {count} times"
        for one in healthy
        for event, count in Counter(one.ids_in_order).items()
        if count > 1
    ]


def _ended(world: Stage) -> list[str]:
    """Every delivery ended well, and every subscription is as it was."""
    bad = world.rows("SELECT state, count(*) FROM deliveries WHERE state != 2 GROUP BY state")
    states = world.rows("SELECT name, state, reason FROM subscriptions WHERE state != 'active'")
    return [f"end: deliveries in states {bad}"] * bool(bad) + [f"end: {one}" for one in states]


def _bounds(plan: Plan, hanging: Sequence[Consumer], in_all: int) -> list[str]:
    found = [
        f"slots: {one.name} held {one.most} at once, of {plan.slots}"
        for one in hanging
        if one.most > plan.slots
    ]
    idle = [one.name for one in hanging if one.most < 2]
    if idle:
        found.append(f"slots: {idle} held nothing: the run shows nothing")
    most = IN_FLIGHT + plan.subscriptions - plan.hanging  # who comes later gets at least one more
    if in_all > most:
        found.append(f"share: {in_all} were in flight in all, of {most}")
    return found


def more_files() -> None:
    """Let this process have as many sockets as it may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> int:
    """Run once as the command line says, print the report; 1 when anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Plan()
    parser.add_argument("--subscriptions", type=int, default=default.subscriptions)
    parser.add_argument("--hanging", type=int, default=default.hanging)
    parser.add_argument("--callbacks", type=int, default=default.callbacks)
    parser.add_argument("--slots", type=int, default=default.slots)
    parser.add_argument("--timeout", type=float, default=default.timeout, help="seconds")
    plan = Plan(**vars(parser.parse_args()))
    more_files()
    with tempfile.TemporaryDirectory(prefix="gateway-isolation-") as folder:
        report = asyncio.run(run(plan, Path(folder)))
    print(report)
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
