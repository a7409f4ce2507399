"""How a step is played: a callback is sent, an order is watched, a provider waits to be asked."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import httpx2
import msgspec

from gateway.demo.cast import Order, Step, Way
from gateway.demo.ledger import Ledger, Sent, until
from gateway.demo.marketiger import MarketigerApi
from gateway.demo.payloads import headers
from gateway.demo.process import Clients, Gateway
from gateway.errors import NotFound
from gateway.models import Receipt, Verdict
from gateway.stores.registry import make_records
from gateway.stores.views import CallbackRow, Records

PATIENCE = 8.0  # seconds for whatever must come, on a busy machine
GLANCE = 0.005  # seconds between two looks into the database

Player = Callable[[Order, Step], Awaitable[Sent]]

_receipt = msgspec.json.Decoder(Receipt)


class Players:
    """Play each step against a running gateway, and say what it answered."""

    def __init__(
        self, gateway: Gateway, clients: Clients, api: MarketigerApi, ledger: Ledger
    ) -> None:
        self._gateway, self._clients, self._api, self._ledger = gateway, clients, api, ledger
        self._ways: Mapping[Way, Player] = {
            Way.CALLBACK: self._send,
            Way.WATCH: self._watch,
            Way.POLL: self._wait_to_be_asked,
        }

    async def play(self, order: Order, step: Step) -> Sent:
        """Play one step; what went wrong stands in what it returns."""
        return await self._ways[step.way](order, step)

    async def _send(self, order: Order, step: Step) -> Sent:
        """Sign and send one callback; a forged one is signed with a secret that is nobody's."""
        secret = "a stranger's guess" if step.forged else self._gateway.secrets[step.source]
        signed = headers(step.source, step.body, secret, int(time.time()))
        posted = self._clients.public.post(
            f"/hooks/{step.source}", content=step.body, headers=signed
        )
        return await self._answered(order, step, posted)

    async def _watch(self, order: Order, step: Step) -> Sent:
        """Tell the gateway of an order as `gateway watch` does; it was placed just before."""
        self._api.tell(next(one.body for one in order.steps if one.way is Way.POLL))
        path = f"/v1/sources/{step.source}/watch"
        return await self._answered(
            order, step, self._clients.control.post(path, content=step.body)
        )

    async def _answered(self, order: Order, step: Step, posted: Awaitable[httpx2.Response]) -> Sent:
        at = time.perf_counter()
        try:
            answer = await posted
        except httpx2.TransportError as error:
            detail = f"{error!r}; the gateway's last words: {self._gateway.last_words()}"
            return Sent(order=order.id, step=step, at=at, detail=detail)
        took = time.perf_counter() - at
        accepted = answer.status_code == 200
        problem = {} if accepted else answer.json()
        receipt = accepted and step.way is Way.CALLBACK
        return Sent(
            order=order.id,
            step=step,
            at=at,
            took=took,
            status=answer.status_code,
            receipt=_receipt.decode(answer.content) if receipt else None,
            title=problem.get("title", ""),
            detail=problem.get("detail", ""),
        )

    async def _wait_to_be_asked(self, order: Order, step: Step) -> Sent:
        """Answer with something new, wait for the question, and look up what came of the answer."""
        self._api.tell(step.body)
        told, ledger = time.perf_counter(), self._ledger
        await until(lambda: ledger.question(step.body) is not None, patience=PATIENCE)
        question = ledger.question(step.body)
        if question is None:
            detail = f"the gateway's last words: {self._gateway.last_words()}"
            return Sent(order=order.id, step=step, at=told, detail=detail)
        known = sum(one.order == order.id and one.step.way is Way.POLL for one in ledger.sent)
        rows = await self._taken_in(order.id, step.source, more_than=known)
        codes = [row.event_type for row in rows[known:]]
        right = codes == [step.code]
        return Sent(
            order=order.id,
            step=step,
            at=question.at,
            status=200,
            receipt=_receipt_of(rows[known]) if right else None,
            detail="" if right else f"the gateway took in {', '.join(codes) or 'nothing'}",
        )

    async def _taken_in(self, order: str, source: str, *, more_than: int) -> Sequence[CallbackRow]:
        """What the gateway has kept of this source's answers about an order, as it explains it."""
        rows: Sequence[CallbackRow] = ()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE), make_records(self._gateway.store_url) as records:
                while len(rows) <= more_than:
                    await asyncio.sleep(GLANCE)
                    rows = await _rows(records, order, source)
        return rows


async def _rows(records: Records, order: str, source: str) -> Sequence[CallbackRow]:
    try:
        stories = await records.explain(order)
    except NotFound:
        return ()
    return [row for story in stories for row in story.callbacks if row.source == source]


def _receipt_of(row: CallbackRow) -> Receipt:
    """What the gateway would have answered, had the provider called."""
    events = [event for note in row.notes for event in note.events]
    return Receipt(id=row.id, events=events, duplicate=False, verdict=Verdict(row.verdict))
