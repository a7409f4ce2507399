"""The play: starts everything, plays the cast's steps, shows what comes of them, checks it."""

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from gateway.demo.cast import Order, orders
from gateway.demo.farewell import farewell, summary
from gateway.demo.ledger import Ledger, missing, until, wrong_answer
from gateway.demo.marketiger import MarketigerApi
from gateway.demo.players import PATIENCE, Players
from gateway.demo.process import Gateway
from gateway.demo.receivers import PARTS, Arrival, Receiver
from gateway.demo.timeline import Timeline
from gateway.errors import StartupError

PAUSE = 0.12  # seconds between two steps, so that the eye can follow


class Stage:
    """Plays orders against a running gateway."""

    def __init__(self, ledger: Ledger, timeline: Timeline) -> None:
        self._ledger, self._timeline = ledger, timeline
        self._shown: set[str] = set()  # events whose callback has its line
        self._held: list[Arrival] = []

    def heard(self, arrival: Arrival) -> None:
        """A delivery arrived; its line waits for that of its callback, which it may overtake."""
        self._ledger.arrived(arrival)
        self._held.append(arrival)
        self._release()

    async def play(self, order: Order, players: Players) -> None:
        """Play an order's steps one by one and wait for all that must come of them.

        A wrong answer ends it: what comes later would wait in vain.
        """
        self._timeline.begin(order)
        for step in order.steps:
            sent = await players.play(order, step)
            self._ledger.sent.append(sent)
            events = list(sent.receipt.events) if sent.receipt else []
            await until(partial(self._ledger.knows, events), patience=PATIENCE)
            self._timeline.callback(sent)
            self._shown.update(events)
            self._release()
            if any(wrong_answer(sent, self._ledger)):
                return
            await asyncio.sleep(PAUSE)
        await until(self._ledger.complete, patience=PATIENCE)

    def _release(self) -> None:
        waiting = []
        for arrival in self._held:
            if arrival.event_id in self._shown or arrival.fault:
                self._timeline.delivery(arrival, self._ledger.maker(arrival.event_id))
            else:
                waiting.append(arrival)
        self._held = waiting


async def perform(
    console: Console, *, keep: bool, environ: Mapping[str, str], command: str
) -> Sequence[str]:
    """The whole demo; returns what is missing, nothing when all came as expected.

    `command` is how the person calls the gateway. Everything that it starts has ended, and the
    folder is gone unless `keep`, when this returns or raises. Raises `StartupError`.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="gateway-demo-"))
    except OSError as error:
        raise StartupError(f"the demo cannot make its temporary folder: {error}") from error
    try:
        ledger = Ledger(PARTS)
        cast = orders(int(time.time()))
        await _play_all(cast, ledger, Timeline(console, ledger), folder=folder, environ=environ)
        found = list(missing(ledger, cast))
        summary(console, ledger, found)
        farewell(console, folder if keep else None, order=cast[0].id, command=command)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    return found


async def _play_all(
    cast: Sequence[Order],
    ledger: Ledger,
    timeline: Timeline,
    *,
    folder: Path,
    environ: Mapping[str, str],
) -> None:
    stage = Stage(ledger, timeline)
    timeline.open()
    async with contextlib.AsyncExitStack() as stack:
        receivers = [
            await stack.enter_async_context(
                Receiver(part, stage.heard, clock=time.perf_counter, wall=time.time)
            )
            for part in ledger.parts
        ]
        api = MarketigerApi(ledger.asked.append, clock=time.perf_counter)
        await stack.enter_async_context(api)
        gateway = Gateway(folder, receivers, api, environ=environ)
        await stack.enter_async_context(gateway)
        timeline.ready(gateway.url)
        clients = await stack.enter_async_context(gateway.clients(PATIENCE))
        players = Players(gateway, clients, api, ledger)
        for number, order in enumerate(cast, start=1):
            await stage.play(order, players)
            if any(missing(ledger, cast[:number])):
                return
