"""What an order's known state makes of new facts: emit, merge, superseded, unlinked.

`Orders.decide` is pure. The store calls it inside its transaction, with everything that the facts
may touch already read, and writes what it returns.
"""

from collections.abc import Sequence
from decimal import Context, localcontext

import msgspec
from msgspec import Raw

from gateway.events import OrderCause, OrderData, OrderSummary, SupersededData, Writer
from gateway.models import (
    Decision,
    Entry,
    Fact,
    Known,
    Millis,
    Note,
    Track,
    Unknown,
    Verdict,
    Waiting,
    name_key,
)
from gateway.orders.render import order_data, summary
from gateway.orders.state import OrderState, load, save
from gateway.orders.tables import OrderType
from gateway.orders.tracks import Applied, Emission, apply, learn, told_key, updated

VERDICT_ORDER = (
    Verdict.EVENT,
    Verdict.BASELINE,
    Verdict.MERGED,
    Verdict.SUPERSEDED,
    Verdict.UNLINKED,
    Verdict.IGNORED,
)


def verdict_of(notes: Sequence[Note]) -> Verdict:
    """The verdict of a callback: the strongest of its facts'."""
    return min((note.verdict for note in notes), key=VERDICT_ORDER.index)


_TRACK_ORDER = {Track.CREATED: 0, Track.PAYMENT: 1}
_EXACT = Context(prec=200)  # sums of any two amounts that a normalizer lets through are exact
_OPENING = Emission(type=OrderType.CREATED, implied=True)


class Orders:
    """The decider; `settled` in `wait_over` means that a waiting fact waits no longer."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def decide(self, entries: Sequence[Entry], known: Known) -> Decision:
        """Decide upon the entries of one callback, and upon what waited for them."""
        return _Session(self._writer, known).run(entries)

    def wait_over(self, waiting: Sequence[Waiting], known: Known) -> Decision:
        """Make waiting facts whose patience is used up an order of their own (design 6.3)."""
        owner = min((w.entry.fact for w in waiting), key=_unfit_to_name).own
        session = _Session(self._writer, known)
        entries = [
            Entry(
                fact=msgspec.structs.replace(w.entry.fact, own=owner, unknown=Unknown.OWN),
                origin=w.entry.origin,
            )
            for w in waiting
        ]
        session.decision.linked.extend(w.id for w in waiting)
        return session.run(_in_order(entries))

    def link(self, first: Waiting, order: str, known: Known) -> Decision:
        """Decide upon a waiting fact of which a person says the order, and upon what waited for it."""
        session = _Session(self._writer, known)
        session.decision.linked.append(first.id)
        fact = msgspec.structs.replace(first.entry.fact, order=order)
        return session.run([msgspec.structs.replace(first.entry, fact=fact)])


def _unfit_to_name(fact: Fact) -> tuple[bool, int, int, Millis, str]:
    """The least is the best to name an order by: a session, a payment, what knows most ids."""
    rank = _TRACK_ORDER.get(fact.track, 2)
    return fact.own is None, rank, -len(fact.links), fact.at, fact.own or ""


def _in_order(entries: Sequence[Entry]) -> list[Entry]:
    """Created comes first, payments next, the rest by time (design 6.3)."""
    return sorted(entries, key=lambda e: (_TRACK_ORDER.get(e.fact.track, 2), e.fact.at))


class _Session:
    """One decision in the making."""

    def __init__(self, writer: Writer, known: Known) -> None:
        self.writer, self.known = writer, known
        self.decision = Decision()
        self.links = dict(known.links)
        self.states: dict[str, OrderState] = {}
        self.silent: set[str] = set()  # orders that this decision records as a baseline
        self.recorded = Millis(0)

    def run(self, entries: Sequence[Entry]) -> Decision:
        linked = self._link(entries)
        if linked:
            entries = _in_order([*entries, *linked])
        self.recorded = max(entry.origin.recorded for entry in entries)
        with localcontext(_EXACT):
            for entry in entries:
                self._decide(entry)
        decision = self.decision
        decision.orders = {key: (state.seq, save(state)) for key, state in self.states.items()}
        decision.verdicts = {key: verdict_of(notes) for key, notes in decision.notes.items()}
        return decision

    def _link(self, entries: Sequence[Entry]) -> list[Entry]:
        """Record what the entries link, and free what waited for these links, and so on."""
        freed: list[Entry] = []
        todo = list(entries)
        waiting = list(self.known.waiting)
        while todo:
            for entry in todo:
                order = self._resolve(entry.fact)
                if order is not None:
                    self._learn(entry.fact, order)
            ready = [w for w in waiting if any(key in self.links for key in w.entry.fact.links)]
            waiting = [w for w in waiting if w not in ready]
            self.decision.linked.extend(w.id for w in ready)
            todo = [w.entry for w in ready]
            freed.extend(todo)
        return freed

    def _resolve(self, fact: Fact) -> str | None:
        """The order that a fact is about, by design 6.3: index, then name, then its own."""
        if fact.track is Track.EVENT:
            return None
        for key in fact.links:
            if key in self.links:
                return self.links[key]
        if fact.order is not None:
            return self.links.get(name_key(fact.order), fact.order)
        if fact.own is not None:
            alias = self.links.get(name_key(fact.own))
            if alias is not None or fact.unknown is Unknown.OWN or fact.own in self.known.orders:
                return alias or fact.own
        return None

    def _learn(self, fact: Fact, order: str) -> None:
        for key in fact.links:
            if key not in self.links:
                self.links[key] = self.decision.links[key] = order

    def _decide(self, entry: Entry) -> None:
        fact, origin = entry.fact, entry.origin
        if fact.track is Track.EVENT:
            self._pass_on(entry)
            return
        order = self._resolve(fact)
        if order is None:
            self._set_aside(entry)
            return
        state = self._state(origin.shop, order)
        before = summary(state)
        if origin.baseline and not state.begun():
            state.baseline = True
            self.silent.add(order)
        learn(state, fact)
        if order in self.silent and origin.baseline:
            self._record(state, entry, order)
            return
        events = self._alias(state, entry, before)
        opening = None
        if not state.begun() and fact.track is not Track.CREATED:
            # Made now, because an implied order.created says what the order was before this fact.
            opening = order_data(state, _OPENING, fact, origin, before)
        applied = apply(state, fact)
        for emission in applied.emissions:
            if opening is not None and not state.begun() and emission.type is not OrderType.CREATED:
                events += self._emit(state, _OPENING, opening, entry)
            data = order_data(state, emission, fact, origin, before)
            events += self._emit(state, emission, data, entry)
        if applied.emissions and not events:
            applied = Applied(verdict=Verdict.MERGED, reason="this was told before")
        verdict = Verdict.EVENT if events else applied.verdict
        if verdict is Verdict.SUPERSEDED:
            self._tell_superseded(entry, order, applied.reason)
        self._note(entry, verdict, applied.reason, tuple(events), order)

    def _record(self, state: OrderState, entry: Entry, order: str) -> None:
        """Take a fact in as if it had been told: what was before the gateway is no news."""
        for emission in apply(state, entry.fact).emissions:
            state.told.add(told_key(emission.type, emission.occurrence))
        self._note(entry, Verdict.BASELINE, "recorded silently: the first listing", (), order)

    def _tell_superseded(self, entry: Entry, order: str, reason: str) -> None:
        """An operational event for who asks; it is no event of the order (design 6.2)."""
        fact, origin = entry.fact, entry.origin
        cause = OrderCause(origin.provider, origin.event_id, origin.event_type)
        data = SupersededData(origin.shop, order, fact.track, fact.state, fact.key, reason, cause)
        event = self.writer.other_event(
            Raw(msgspec.json.encode(data)),
            event_type="gateway.fact.superseded",
            occurrence=(origin.event_id, fact.track, fact.state, fact.key or ""),
            subject=order,
            shop=origin.shop,
            source=origin.source,
            at=fact.at,
            recorded=self.recorded,
            traceparent=origin.traceparent,
        )
        self.decision.events.append((origin.callback, event))

    def _state(self, shop: str, order: str) -> OrderState:
        state = self.states.get(order)
        if state is None:
            known = self.known.orders.get(order)
            state = load(known) if known is not None else OrderState(shop, order)
            self.states[order] = state
        return state

    def _alias(self, state: OrderState, entry: Entry, before: OrderSummary) -> list[str]:
        """Record another name of the order that was found through a link (design 6.3)."""
        name = entry.fact.order
        if name is None or name == state.order or name in state.aliases:
            return []
        if name_key(name) in self.links or name in self.known.orders or name in self.states:
            return []  # that name is another order's: it stays so
        state.aliases.append(name)
        self.links[name_key(name)] = self.decision.links[name_key(name)] = state.order
        if not state.begun():
            return []  # nothing was told that this would change
        change = updated("alias", name, entry.fact.at)
        data = order_data(state, change, entry.fact, entry.origin, before)
        return self._emit(state, change, data, entry)

    def _emit(
        self, state: OrderState, emission: Emission, data: OrderData, entry: Entry
    ) -> list[str]:
        """Make the event, unless it was made before."""
        told = told_key(emission.type, emission.occurrence)
        if told in state.told:
            return []
        state.told.add(told)
        state.seq += 1
        event = self.writer.order_event(
            data,
            event_type=emission.type,
            occurrence=emission.occurrence,
            seq=state.seq,
            source=entry.origin.source,
            at=entry.fact.at,
            recorded=self.recorded,
            traceparent=entry.origin.traceparent,
        )
        self.decision.events.append((entry.origin.callback, event))
        return [event.id]

    def _pass_on(self, entry: Entry) -> None:
        fact, origin = entry.fact, entry.origin
        event = self.writer.other_event(
            fact.data or Raw(b"null"),
            event_type=fact.type or "",
            occurrence=(origin.event_id,),
            subject=fact.subject,
            shop=origin.shop,
            source=origin.source,
            at=fact.at,
            recorded=self.recorded,
            traceparent=origin.traceparent,
            envelope=fact.envelope,
        )
        self.decision.events.append((origin.callback, event))
        self._note(entry, Verdict.EVENT, "", (event.id,), None)

    def _set_aside(self, entry: Entry) -> None:
        if entry.fact.unknown is Unknown.IGNORE:
            reason = "its order is not known, and the source ignores such"
            self._note(entry, Verdict.IGNORED, reason, (), None)
            return
        self.decision.wait.append(entry)
        links = ", ".join(entry.fact.links)
        reason = f"no order is known for {links}" if links else "it names no order"
        self._note(entry, Verdict.UNLINKED, reason, (), None)

    def _note(
        self,
        entry: Entry,
        verdict: Verdict,
        reason: str,
        events: tuple[str, ...],
        order: str | None,
    ) -> None:
        note = Note(
            track=entry.fact.track,
            state=entry.fact.state,
            verdict=verdict,
            reason=reason,
            events=events,
            order=order,
        )
        self.decision.notes.setdefault(entry.origin.callback, []).append(note)
