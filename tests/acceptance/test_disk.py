"""A full disk stops nothing for good, and a disk that fails stops everything at once."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from gateway.stores.sqlite.opening import connect
from tests.acceptance.faulty import (
    FaultyDisk,
    FullDisk,
    SmallDisk,
    no_faulty_disk,
    no_small_disk,
)
from tests.acceptance.harness import Answer, Gateway, Wanted, ask, secret
from tests.acceptance.load import Receipt, Sent, callbacks
from tests.acceptance.peers import Answer as Reply
from tests.acceptance.peers import Receiver

FULL = "the disk is full: make space, and the gateway goes on by itself"
BROKEN = "the gateway stops, restart it to recover"
CHECKPOINTS = ("--wal-autocheckpoint", "40")  # pages: many of them in a run
SETTLED = "SELECT count(*) FROM deliveries WHERE state = 2"
PATIENCE = 60.0  # seconds
IN_FLIGHT = 3.0  # seconds that an attempt is held: time to fill the disk on a busy machine
STILL = 2.0  # seconds on a full disk: the gateway tries again several times


@pytest.fixture(params=[pytest.param("tmpfs", marks=pytest.mark.slow), "faults"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> FullDisk:
    if request.param == "tmpfs":
        if (reason := no_small_disk()) is not None:
            pytest.skip(f"{reason}; the same is tested with faults")
        return SmallDisk(tmp_path)
    return _faulty(tmp_path)


def _faulty(folder: Path) -> FaultyDisk:
    reason = no_faulty_disk()
    if reason is None:
        return FaultyDisk(folder)
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; it is needed under CI")
    pytest.skip(reason)


class World:
    """A gateway on a disk, and its one receiver, which answers after `delay` seconds."""

    gateway: Gateway

    def __init__(self, disk: FullDisk) -> None:
        self.disk = disk
        self.receiver = Receiver("good", self.reply, secret(Random(7)))
        self.delay = 0.0
        self.recovering = False
        self.settled: list[int] = []  # how many deliveries were when the first came after that
        self.acked: dict[str, Receipt] = {}
        self._rng = Random(7)
        self._orders = 0

    def reply(self, _seen: int) -> Reply:
        if self.recovering:
            self.recovering = False
            self.settled.append(self.rows(SETTLED)[0][0])
        return Reply(delay=self.delay)

    def sent(self, count: int) -> list[Sent]:
        """New callbacks, each of an order of its own."""
        made = []
        for _ in range(count):
            self._orders += 1
            made.append(callbacks(self._rng, f"ord-{self._orders}")[0])
        return made

    async def post(self, one: Sent, *, signature: str | None = None) -> Answer | None:
        """The answer to a callback, None when there was none; a receipt is kept."""
        headers = {"X-PrintStudio-Signature": signature or one.signature}
        try:
            answer = await ask(
                self.gateway.port, "POST /hooks/shop", headers=headers, body=one.body
            )
        except (OSError, asyncio.IncompleteReadError):
            return None
        if answer.status < 300:
            receipt = msgspec.json.decode(answer.body, type=Receipt)
            first = self.acked.setdefault(one.id, receipt)
            assert (receipt.id, receipt.events) == (first.id, first.events)
        return answer

    async def accepted(self, count: int) -> list[Sent]:
        sent = self.sent(count)
        for answer in await asyncio.gather(*map(self.post, sent)):
            assert answer is not None
            assert answer.status == 200, answer.body
        return sent

    def arrived(self) -> Counter[str]:
        return Counter(one.event_id for one in self.receiver.arrivals)

    def promised(self) -> set[str]:
        return {event for receipt in self.acked.values() for event in receipt.events}

    async def delivered(self) -> None:
        """Wait until all that was answered has come, and see that nothing else has, nor twice."""
        await until(lambda: self.promised() <= self.arrived().keys() and not self.receiver.busy)
        await asyncio.sleep(0.5)
        assert self.arrived() == Counter(dict.fromkeys(self.promised(), 1))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What a copy of the files says: SQLite does not find the way to another's file system."""
        with tempfile.TemporaryDirectory() as folder:
            for file in self.disk.seen(self.gateway.pid).glob("gateway.db*"):
                if file.name in {"gateway.db", "gateway.db-wal"}:
                    shutil.copyfile(file, Path(folder) / file.name)
            with closing(sqlite3.connect(Path(folder) / "gateway.db")) as connection:
                return connection.execute(sql).fetchall()

    def log(self) -> str:
        return self.gateway.log.read_text(encoding="utf-8")


async def until(true: Callable[[], bool]) -> None:
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < PATIENCE
        await asyncio.sleep(0.02)


def play(
    disk: FullDisk, folder: Path, story: Callable[[World], Awaitable[None]], *options: str
) -> None:
    """Start a gateway on the disk, and tell the story."""

    async def whole() -> None:
        async with AsyncExitStack() as stack:
            world = World(disk)
            receiver = world.receiver
            await receiver.start()
            stack.push_async_callback(receiver.stop)
            command = ("-m", "tests.acceptance.launch", *options)
            wanted = [Wanted(receiver=receiver, types=("order.*",), timeout=15.0)]
            gateway = Gateway(folder, wanted, command=command, database=disk.database)
            gateway.prefix, gateway.environment = disk.prefix, dict(disk.environment)
            world.gateway = gateway
            stack.callback(gateway.kill)
            await gateway.start()
            await story(world)

    asyncio.run(whole())


async def refused(world: World, sent: Sequence[Sent]) -> None:
    """Each of these is told to come again, in one sentence."""
    for one in sent:
        answer = await world.post(one)
        assert answer is not None
        assert answer.status == 503, answer.body
        assert int(answer.headers["retry-after"]) > 0
        assert FULL in answer.body.decode()


async def exhausted(world: World) -> None:
    """Send until the last of the space is used; what was answered before counts."""
    for one in world.sent(1000):
        answer = await world.post(one)
        assert answer is not None
        assert answer.status in (200, 503), answer.body
        # What is refused may still leave room for something smaller.
        if answer.status == 503 and await ready(world) == 503:
            return
    pytest.fail("the disk does not become full")


async def looked_at(world: World) -> None:
    """What only reads goes on; who sends rubbish is refused as ever."""
    gateway, pid = world.gateway, world.gateway.pid
    assert (await ask(gateway.admin_port, "GET /healthz")).status == 200
    answer = await ask(gateway.admin_port, "GET /readyz")
    assert answer.status == 503
    assert FULL in answer.body.decode()
    told = await gateway.run("events", "--json", prefix=world.disk.beside(pid))
    events = {event["id"] for event in msgspec.json.decode(told)}
    assert events
    assert events <= world.promised()
    for one in world.sent(3):
        refusal = await world.post(one, signature="sha256=00")
        assert refusal is not None
        assert refusal.status == 401


async def ready(world: World) -> int:
    return (await ask(world.gateway.admin_port, "GET /readyz")).status


async def ready_again(world: World) -> None:
    begun = time.monotonic()
    while await ready(world) != 200:
        assert time.monotonic() - begun < PATIENCE
        await asyncio.sleep(0.05)


def test_a_full_disk_refuses_and_recovers(disk: FullDisk, tmp_path: Path) -> None:
    async def story(world: World) -> None:
        pid = world.gateway.pid
        await world.accepted(20)
        await world.delivered()
        world.delay = IN_FLIGHT
        await world.accepted(5)
        await until(lambda: world.receiver.busy == len(world.promised() - world.arrived().keys()))
        disk.fill(pid)
        await exhausted(world)
        await until(lambda: world.receiver.busy == 0)
        world.delay = 0.0
        before = world.arrived()
        waiting = world.sent(20)
        await refused(world, waiting)
        await looked_at(world)
        await asyncio.sleep(STILL)
        await refused(world, waiting[:3])
        assert world.arrived() == before, "an attempt was started on a full disk"
        world.recovering = True
        disk.free(pid)
        await ready_again(world)
        for one in [*waiting, *waiting]:
            answer = await world.post(one)
            assert answer is not None
            assert answer.status == 200
        await world.delivered()
        assert world.settled[0] >= len(before), (
            "an attempt was started before the outcomes were kept"
        )
        # One attempt a delivery, and nothing waits.
        await until(lambda: world.rows(SETTLED) == [(len(world.promised()),)])
        attempts = world.rows("SELECT max(number), count(*) FROM attempts")
        assert attempts == [(1, len(world.promised()))]
        assert world.gateway.pid == pid
        assert await world.gateway.stop() == 0
        assert "Traceback" not in world.log()
        told = world.log().count(f"cannot record attempts: {FULL}")
        assert 1 <= told <= 2, "said again at every try"

    play(disk, tmp_path, story, *CHECKPOINTS)


@pytest.mark.parametrize("fault", ["sync-wal", pytest.param("write-wal", marks=pytest.mark.slow)])
def test_a_disk_that_fails_ends_the_gateway(tmp_path: Path, fault: str) -> None:
    disk = _faulty(tmp_path)

    async def story(world: World) -> None:
        gateway = world.gateway
        await world.accepted(20)
        world.delay = IN_FLIGHT  # what is cut off by the end is no bug, and not told as one
        await world.accepted(2)
        disk.arm(fault)
        doubtful = world.sent(20)
        answers = [*await asyncio.gather(*map(world.post, doubtful))]
        assert not disk.armed(fault)
        assert await gateway.ended() == 1
        assert all(answer is None or answer.status == 503 for answer in answers), answers
        last = world.log().splitlines()[-1]
        assert last.startswith(f"gateway: {disk.database}: ")
        assert last.endswith(BROKEN)
        assert "Traceback" not in world.log()
        assert "a bug" not in world.log()
        world.delay = 0.0
        await gateway.start()
        # Each of them may have been stored or not: its repeat makes it one event.
        for one in [*doubtful, *doubtful]:
            answer = await world.post(one)
            assert answer is not None
            assert answer.status == 200
        await until(lambda: world.promised() <= world.arrived().keys())
        assert world.arrived().keys() == world.promised()
        assert await gateway.stop() == 0

    play(disk, tmp_path, story)


@pytest.mark.slow
def test_a_journal_whose_index_cannot_grow_is_a_full_disk(tmp_path: Path) -> None:
    """SQLite tells this as an error of the disk; nothing is lost, and nobody has to restart anything."""
    disk = _faulty(tmp_path)

    async def story(world: World) -> None:
        disk.arm("full-shm")
        await exhausted(world)
        await refused(world, world.sent(3))
        disk.disarm("full-shm")
        await ready_again(world)
        await world.accepted(3)
        await world.delivered()
        assert await world.gateway.stop() == 0

    play(disk, tmp_path, story, "--wal-autocheckpoint", "1000000")


@pytest.mark.parametrize("before", [False, True])
def test_a_start_on_a_full_disk_says_what_to_do(tmp_path: Path, *, before: bool) -> None:
    """With a database of before, and with none."""
    disk = _faulty(tmp_path)
    if before:
        with closing(connect(disk.database)) as connection:
            connection.execute("CREATE TABLE made (it)")
    disk.arm("full")
    opening = "import sys; from pathlib import Path; from gateway.stores.sqlite import opening;"
    ended = subprocess.run(
        [sys.executable, "-c", f"{opening} opening.connect(Path(sys.argv[1]))", disk.database],
        env={**os.environ, **disk.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    last = ended.stderr.splitlines()[-1]
    assert last.endswith(
        f"StartupError: {disk.database} cannot be opened, because the disk is full: make space, and try again"
    )


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["sync", "write"])
def test_a_checkpoint_that_fails_ends_the_gateway(tmp_path: Path, fault: str) -> None:
    """SQLite itself would tell nobody; the journal has all of it, and a restart copies it again."""
    disk = _faulty(tmp_path)

    async def story(world: World) -> None:
        await world.accepted(5)
        disk.arm(fault)
        for _ in range(100):
            answers = await asyncio.gather(*map(world.post, world.sent(2)))
            if not disk.armed(fault):
                break
            assert all(answer is not None and answer.status == 200 for answer in answers)
        assert not disk.armed(fault), "no checkpoint was made"
        assert await world.gateway.ended() == 1
        last = world.log().splitlines()[-1]
        assert last.startswith(f"gateway: {disk.database}: ")
        assert last.endswith(BROKEN)
        assert "Traceback" not in world.log()
        await world.gateway.start()
        await until(lambda: world.promised() <= world.arrived().keys())
        assert world.rows("PRAGMA integrity_check") == [("ok",)]
        assert await world.gateway.stop() == 0

    play(disk, tmp_path, story, *CHECKPOINTS)
