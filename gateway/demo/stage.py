"""The play: starts everything, sends the cast's callbacks, shows what comes of them, checks it."""

import asyncio
import contextlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx2
import msgspec
from rich.console import Console

from gateway.demo.cast import Order, Step, orders
from gateway.demo.ledger import Ledger, Sent, missing, until
from gateway.demo.payloads import headers
from gateway.demo.process import Gateway
from gateway.demo.receivers import PARTS, Arrival, Receiver
from gateway.demo.timeline import Timeline
from gateway.models import Receipt

PAUSE = 0.15  # seconds between two callbacks, so that the eye can follow
PATIENCE = 8.0  # seconds for deliveries: all retries, on a busy machine

_receipt = msgspec.json.Decoder(Receipt)


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

    async def play(
        self, order: Order, gateway: Gateway, client: httpx2.AsyncClient
    ) -> None:
        """Send an order's callbacks one by one and wait for all that must come of them."""
        self._timeline.begin(order)
        for step in order.steps:
            sent = await _send(order, step, gateway, client)
            self._ledger.sent.append(sent)
            events = list(sent.receipt.events) if sent.receipt else []
            await until(lambda: all(map(self._ledger.label, events)), patience=PATIENCE)  # noqa: B023
            self._timeline.callback(sent)
            self._shown.update(events)
            self._release()
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
