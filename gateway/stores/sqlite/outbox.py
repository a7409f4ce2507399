"""The accepting transaction: callback, order state, events, routing verdicts and deliveries together."""

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec

from gateway.errors import Conflict, GatewayError, NotFound
from gateway.models import (
    Decision,
    Entry,
    Event,
    Millis,
    Note,
    Receipt,
    Verdict,
    Waiting,
)
from gateway.stores.base import Decide, Intake, Made, Rehearsal, Stored, WaitOver
from gateway.stores.linking import DecideLink, Link, Linked
from gateway.stores.sqlite.kept import callback_number, stored
from gateway.stores.sqlite.keys import digest, key
from gateway.stores.sqlite.known import Look
from gateway.stores.sqlite.linking import is_known, linked_of, waiting_row
from gateway.stores.sqlite.polls import put_watch, revive_watch
from gateway.stores.sqlite.publish import Route, publish
from gateway.stores.sqlite.writer import Batch, Writer, of_the_file

logger = logging.getLogger("gateway.store")

_encoder = msgspec.json.Encoder()
_notes = msgspec.json.Decoder(list[Note])
_pack = msgspec.msgpack.Encoder()

LINKED = "linked by a later callback"
BY_HAND = "linked by hand"


class SqliteOutbox:
    """`Outbox` on the writer's thread; `route` is the present snapshot of the catalog."""

    def __init__(self, writer: Writer, *, route: Callable[[], Route]) -> None:
        self._writer, self._route = writer, route

    def accept(self, intake: Intake, decide: Decide) -> "asyncio.Future[Receipt]":
        """See `gateway.stores.base.Outbox`."""
        return self._writer.submit(
            lambda batch: _Acceptance(batch, self._route()).accept(intake, decide)
        )

    async def rehearse(self, intake: Intake, decide: Decide, *, keep: bool) -> Rehearsal:
        """See `gateway.stores.base.Outbox`."""
        try:
            rehearsal: Rehearsal = await self._writer.submit(
                lambda batch: _Acceptance(batch, self._route()).rehearse(intake, decide, keep=keep)
            )
        except Undone as undone:
            return undone.rehearsal
        return rehearsal

    async def stored(self, callback: str) -> Stored:
        """See `gateway.stores.base.Outbox`."""
        kept: Stored = await self._writer.submit(lambda batch: stored(batch, callback))
        return kept

    async def wait_over(self, decide: WaitOver, now: Millis) -> int:
        """See `gateway.stores.base.Outbox`."""
        try:
            count: int = await self._writer.submit(
                lambda batch: _Acceptance(batch, self._route()).wait_over(decide, now)
            )
        except Stuck as stuck:
            number = stuck.unlinked
            logger.exception("unlinked fact %d cannot become an order: it waits on", number)
            await self._writer.submit(
                lambda batch: batch.connection.execute(
                    "UPDATE unlinked SET deadline = NULL WHERE id = ?", (number,)
                ).close()
            )
            return 1
        return count

    async def link(self, wanted: Link, decide: DecideLink, now: Millis) -> Linked:
        """See `gateway.stores.linking.Links`."""
        linked: Linked = await self._writer.submit(
            lambda batch: _Acceptance(batch, self._route()).link(wanted, decide, now)
        )
        return linked


class Stuck(Exception):
    """A bug keeps the wait of one fact from ending; the others shall not wait for it."""

    def __init__(self, unlinked: int) -> None:
        super().__init__(f"unlinked fact {unlinked}")
        self.unlinked = unlinked


class Undone(Exception):
    """Takes back what was done for a rehearsal."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        super().__init__("a rehearsal")
        self.rehearsal = rehearsal


class _Acceptance:
    """One callback on its way into the store, within a savepoint."""

    def __init__(self, batch: Batch, route: Route) -> None:
        self._batch, self._route = batch, route
        self._connection = batch.connection
        self._made: list[tuple[Event, tuple[int, ...]]] = []

    def accept(self, intake: Intake, decide: Decide) -> Receipt:
        if intake.again is not None:
            return self._again(intake, decide, intake.again)
        callback = intake.callback
        dedupe = key(callback.source, intake.event_id)
        body_hash = digest(callback.body)
        look = Look(self._batch, intake.shop)
        known = look.begin(intake.entries, dedupe)
        if known is not None:
            number, verdict, first_hash, notes = known
            if first_hash != body_hash:
                logger.warning(
                    "source %s sent event %r again with another body; the first one (cb_%d) counts",
                    callback.source,
                    intake.event_id,
                    number,
                )
            if verdict != Verdict.QUARANTINED or intake.malformed or first_hash != body_hash:
                return _receipt(number, Verdict(verdict), _events(notes), duplicate=True)
        else:
            number = None
        return self._write(intake, decide, look, dedupe=dedupe, body_hash=body_hash, number=number)

    def _write(
        self,
        intake: Intake,
        decide: Decide,
        look: Look,
        *,
        dedupe: bytes,
        body_hash: bytes,
        number: int | None,
    ) -> Receipt:
        decision, verdict, reason = self._decide(intake, decide, look)
        now = intake.entries[0].origin.recorded if intake.entries else intake.callback.received_at
        orders = self._save_orders(decision, look, now)
        notes = decision.notes.get(0, [])
        row = (verdict, reason, _encoder.encode(notes), _order_row(notes, orders))
        if number is None:
            number = self._insert(intake, dedupe, body_hash, row)
        else:
            self._update(row, number)
            self._name(intake, dedupe, number)
        self._apply(decision, orders, look, number, now)
        if intake.watch is not None:
            put_watch(self._batch, intake.watch)
        for watch in intake.watches:
            revive_watch(self._batch, watch)
        if verdict is Verdict.QUARANTINED:
            source = intake.callback.source
            logger.warning("quarantined cb_%d of source %s: %r", number, source, reason)
        events = [event for note in notes for event in note.events]
        return _receipt(number, verdict, events, duplicate=False)

    def _again(self, intake: Intake, decide: Decide, callback: str) -> Receipt:
        """A callback in quarantine, read once more: by now it may have another event id."""
        execute = self._connection.execute
        number = callback_number(callback)
        known = execute("SELECT verdict, dedupe FROM callbacks WHERE id = ?", (number,)).fetchone()
        if known is None:
            raise NotFound(f"there is no callback {callback}")
        if known[0] != Verdict.QUARANTINED:
            raise Conflict(f"callback {callback} is not in quarantine: its verdict is {known[0]}")
        dedupe = key(intake.callback.source, intake.event_id)
        twin = execute("SELECT id FROM callbacks WHERE dedupe = ?", (dedupe,)).fetchone()
        if twin is not None and twin[0] != number:
            reason = f"its provider sent it again, as cb_{twin[0]}"
            self._update((Verdict.MERGED, reason, _encoder.encode([]), None), number)
            execute("UPDATE callbacks SET read_at = ? WHERE id = ?", (_read_at(intake), number))
            return _receipt(number, Verdict.MERGED, [], duplicate=False)
        look = Look(self._batch, intake.shop)
        look.begin(intake.entries)
        return self._write(intake, decide, look, dedupe=dedupe, body_hash=b"", number=number)

    def rehearse(self, intake: Intake, decide: Decide, *, keep: bool) -> Rehearsal:
        """Accept, and tell in detail what came of it; `Undone` takes it back."""
        receipt = self.accept(intake, decide)
        reason, notes = self._connection.execute(
            "SELECT reason, notes FROM callbacks WHERE id = ?", (callback_number(receipt.id),)
        ).fetchone()
        rehearsal = Rehearsal(
            verdict=receipt.verdict, reason=reason, notes=_notes.decode(notes), made=self._told()
        )
        if not keep:
            raise Undone(rehearsal)
        return rehearsal

    def _told(self) -> list[Made]:
        """The events that were made, as they are told."""
        names = dict(self._connection.execute("SELECT id, name FROM subscriptions").fetchall())
        return [
            Made(
                id=event.id,
                type=event.type,
                order=event.order,
                subscriptions=[names[subscription] for subscription in matched],
            )
            for event, matched in self._made
        ]

    def _decide(self, intake: Intake, decide: Decide, look: Look) -> tuple[Decision, Verdict, str]:
        """The decision, or quarantine: what is authentic is never lost, whatever is wrong with it."""
        if intake.malformed:
            return Decision(), Verdict.QUARANTINED, intake.malformed
        if intake.ignored:
            return Decision(), Verdict.IGNORED, intake.ignored
        known = look.known()
        try:
            decision = decide(intake.entries, known)
        except GatewayError as error:
            return Decision(), Verdict.QUARANTINED, str(error)
        except Exception as error:
            logger.exception("a bug kept callback %r from being decided", intake.event_id)
            return Decision(), Verdict.QUARANTINED, f"a bug of the gateway: {error!r}"
        verdict = decision.verdicts[0]
        reasons = (note.reason for note in decision.notes[0] if note.verdict is verdict)
        return decision, verdict, next(reasons, "")

    def _insert(
        self,
        intake: Intake,
        dedupe: bytes,
        body_hash: bytes,
        row: tuple[str, str, bytes, int | None],
    ) -> int:
        callback = intake.callback
        if callback.source not in self._batch.sources:
            self._batch.sources.add(callback.source)
            self._connection.execute(
                "INSERT OR IGNORE INTO source_states (source) VALUES (?)", (callback.source,)
            )
        number = self._connection.execute(
            "INSERT INTO callbacks (source, provider, shop, event_id, event_type, dedupe, body_hash,"
            " received_at, headers, body, verdict, reason, notes, order_row)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                callback.source,
                intake.provider,
                intake.shop,
                intake.event_id,
                intake.event_type,
                dedupe,
                body_hash,
                callback.received_at,
                _pack.encode(callback.headers),
                callback.body,
                *row,
            ),
        ).lastrowid
        assert number is not None
        return number

    def _update(self, row: tuple[str, str, bytes, int | None], number: int) -> None:
        self._connection.execute(
            "UPDATE callbacks SET verdict = ?, reason = ?, notes = ?, order_row = ? WHERE id = ?",
            (*row, number),
        )

    def _name(self, intake: Intake, dedupe: bytes, number: int) -> None:
        """What a callback in quarantine turned out to be, now that it can be read."""
        self._connection.execute(
            "UPDATE callbacks SET event_id = ?, event_type = ?, dedupe = ?, read_at = ? WHERE id = ?",
            (intake.event_id, intake.event_type, dedupe, _read_at(intake), number),
        )

    def _save_orders(self, decision: Decision, look: Look, now: Millis) -> dict[str, int]:
        """Write the states of orders; their rows by order id."""
        shop = look.shop
        if decision.orders and shop not in self._batch.shops:
            self._batch.shops.add(shop)
            self._connection.execute("INSERT OR IGNORE INTO shops VALUES (?)", (shop,))
        rows: dict[str, int] = {}
        for order, (seq, state) in decision.orders.items():
            row = look.rows.get(order)
            if row is None:
                row = self._connection.execute(
                    "INSERT INTO orders (key, shop, order_id, seq, updated_at, state)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (look.key(order), shop, order, seq, now, state),
                ).lastrowid
                assert row is not None
            else:
                self._connection.execute(
                    "UPDATE orders SET seq = ?, updated_at = ?, state = ? WHERE id = ?",
                    (seq, now, state, row),
                )
            rows[order] = row
        return rows

    def _apply(
        self,
        decision: Decision,
        orders: dict[str, int],
        look: Look,
        number: int,
        now: Millis,
        *,
        by: str = LINKED,
    ) -> None:
        """Write the rest of what was decided; callback 0 is the row `number`."""
        if decision.links:
            self._connection.executemany(
                "INSERT OR REPLACE INTO links VALUES (?, ?)",
                [(look.key(name), order) for name, order in decision.links.items()],
            )
        for callback, event in decision.events:
            matched = publish(
                self._batch,
                self._route,
                event,
                now=now,
                callback=callback or number,
                order_row=orders.get(event.order) if event.order is not None else None,
            )
            self._made.append((event, matched))
        for entry in decision.wait:
            self._wait(entry, look, number, now)
        if decision.linked:
            self._linked(decision, orders, by)

    def _wait(self, entry: Entry, look: Look, number: int, now: Millis) -> None:
        self._batch.unlinked = True
        patience = entry.fact.patience
        origin = msgspec.structs.replace(entry.origin, callback=number, original=None)
        stored = _pack.encode(Entry(fact=entry.fact, origin=origin))
        row = self._connection.execute(
            "INSERT INTO unlinked (callback, shop, since, deadline, entry) VALUES (?, ?, ?, ?, ?)",
            (number, look.shop, now, now + patience if patience is not None else None, stored),
        ).lastrowid
        self._connection.executemany(
            "INSERT OR IGNORE INTO unlinked_keys VALUES (?, ?)",
            [(look.key(name), row) for name in entry.fact.links],
        )

    def _linked(self, decision: Decision, orders: dict[str, int], by: str) -> None:
        """Strike what waits no longer, and write its new verdicts into its callbacks."""
        rows = [(number,) for number in decision.linked]
        self._connection.executemany("DELETE FROM unlinked_keys WHERE unlinked = ?", rows)
        self._connection.executemany("DELETE FROM unlinked WHERE id = ?", rows)
        for callback, notes in decision.notes.items():
            if callback:
                verdict = decision.verdicts[callback]
                row = (verdict, by, _encoder.encode(notes), _order_row(notes, orders))
                self._update(row, callback)

    def wait_over(self, decide: WaitOver, now: Millis) -> int:
        """Take one fact whose deadline is over, and all that shares its links, as one order."""
        first = self._connection.execute(
            "SELECT id, entry, shop FROM unlinked WHERE deadline <= ? ORDER BY deadline LIMIT 1",
            (now,),
        ).fetchone()
        if first is None:
            return 0
        number, stored, shop = first
        look = Look(self._batch, shop)
        try:
            waiting = Waiting(id=number, entry=look.entry(stored))
            return self._end_wait(waiting, look, decide, now)
        except Exception as error:
            if of_the_file(error):
                raise
            raise Stuck(number) from error

    def _end_wait(self, first: Waiting, look: Look, decide: WaitOver, now: Millis) -> int:
        look.begin([first.entry])
        known = look.known()
        # A fact without links is found by nothing, not even by itself.
        waiting = known.waiting if first.entry.fact.links else [first]
        decision = decide(waiting, msgspec.structs.replace(known, waiting=()))
        orders = self._save_orders(decision, look, now)
        self._apply(decision, orders, look, 0, now)
        return len(decision.linked)

    def link(self, wanted: Link, decide: DecideLink, now: Millis) -> Linked:
        """Take one waiting fact, and all that shares its links, as the order's that is named."""
        first, look = self._named(wanted, now)
        known = look.known()
        if not wanted.new and not is_known(wanted.order, known):
            raise Conflict(
                f"shop {look.shop} has no order {wanted.order}: look at the number,"
                " or say `new` to begin this order"
            )
        others = [one for one in known.waiting if one.id != first.id]
        try:
            decision = decide(first, wanted.order, msgspec.structs.replace(known, waiting=others))
        except GatewayError as error:
            raise Conflict(
                f"{wanted.unlinked} does not fit order {wanted.order}: {error}"
            ) from None
        orders = self._save_orders(decision, look, now)
        self._apply(decision, orders, look, 0, now, by=BY_HAND)
        return linked_of(decision, look.shop, wanted.order, self._told())

    def _named(self, wanted: Link, now: Millis) -> tuple[Waiting, Look]:
        """The waiting fact, told now, and a look at what it and the named order touch."""
        number, shop, stored = waiting_row(self._connection, wanted)
        look = Look(self._batch, shop)
        entry = look.entry(stored)
        origin = msgspec.structs.replace(entry.origin, recorded=now)
        fact = msgspec.structs.replace(entry.fact, order=wanted.order)
        look.begin([Entry(fact=fact, origin=origin)])
        return Waiting(id=number, entry=Entry(fact=entry.fact, origin=origin)), look


def _order_row(notes: Sequence[Note], orders: dict[str, int]) -> int | None:
    """The row of the order that a callback is about."""
    return next((orders[note.order] for note in notes if note.order is not None), None)


def _events(notes: bytes) -> list[str]:
    return [event for note in _notes.decode(notes) for event in note.events]


def _read_at(intake: Intake) -> Millis:
    """When a callback that was in quarantine was read the last time."""
    return intake.read_at or intake.callback.received_at


def _receipt(number: int, verdict: Verdict, events: list[str], *, duplicate: bool) -> Receipt:
    return Receipt(id=f"cb_{number}", events=events, duplicate=duplicate, verdict=verdict)
