"""Deliveries: claim, settle, bury. A claim id fences the settlement of whoever lost its lease."""

from collections.abc import Callable, Mapping, Sequence

from gateway.models import Delivery, Failure, Millis
from gateway.retries import CODES, Decision, DeliveryState, Step
from gateway.stores.base import Claimed, Health, Settlement, Wanted
from gateway.stores.callers import Calling
from gateway.stores.sqlite.batches import claim_batches, end_members
from gateway.stores.sqlite.lanes import COLUMNS, PARKED, PENDING, advance, leased
from gateway.stores.sqlite.publish import Route, publish
from gateway.stores.sqlite.writer import Batch, Writer

MOST_BYTES = 1 << 20  # of bodies that one subscription claims together, but for the last one
MOST_TOGETHER = 4 << 20  # of those of all subscriptions, likewise

DELIVERED = CODES[DeliveryState.DELIVERED]
DEAD = CODES[DeliveryState.DEAD]
AFTER = {
    Step.DELIVERED: DELIVERED,
    Step.DEAD: DEAD,
    Step.GONE: DEAD,
    Step.PARK: PARKED,
}
"""The state of a delivery after an attempt; after all other steps it is pending."""
MADE_AS = (
    "CASE WHEN reason GLOB 'replay of dl_*'"
    " THEN substr(reason, 1, instr(reason || ';', ';') - 1) || '; ' ELSE '' END"
)
"""What a reason keeps over failures: of which other delivery this one is a replay."""


class SqliteQueue:
    """`Queue` on the writer's thread."""

    def __init__(self, writer: Writer, *, route: Callable[[], Route]) -> None:
        self._writer, self._route = writer, route

    async def void_leases(self) -> None:
        """Make all leases due again: on SQLite there is one process, and it has just started."""
        await self._writer.submit(_void_leases, bounded=False, heavy=True)

    async def claim(self, wanted: Mapping[int, Wanted], now: Millis) -> Claimed:
        """See `gateway.stores.base.Queue`."""
        claimed: Claimed = await self._writer.submit(
            lambda batch: _claim(batch, wanted, now, self._writer.callers.calling),
            bounded=False,
        )
        return claimed

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """See `gateway.stores.base.Queue`."""
        # One that is gone takes all that waits for it with it, which may be much.
        gone = any(settlement.decision.step is Step.GONE for settlement in settlements)
        await self._writer.submit(
            lambda batch: _settle(batch, settlements, self._route()), bounded=False, heavy=gone
        )

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        """See `gateway.stores.base.Queue`."""
        await self._writer.submit(lambda batch: _release(batch, deliveries), bounded=False)

    async def bury(self, subscription: int, reason: str, now: Millis) -> int:
        """See `gateway.stores.base.Queue`."""
        count: int = await self._writer.submit(
            lambda batch: bury(batch, subscription, reason, now), heavy=True
        )
        return count


def _void_leases(batch: Batch) -> None:
    batch.connection.execute(
        "UPDATE deliveries SET state = 0, claim = NULL WHERE likely(state < 2) AND state = 1"
    )
    # What was in flight when its subscription became gone has nowhere to go.
    batch.connection.execute(
        "UPDATE deliveries SET state = 3, finished_at = due, reason = 'gone'"
        " WHERE state < 2 AND subscription IN (SELECT id FROM subscriptions WHERE state = 'gone')"
    )


def _release(batch: Batch, deliveries: Sequence[Delivery]) -> None:
    batch.connection.executemany(
        "UPDATE deliveries SET state = 0, claim = NULL WHERE id = ? AND claim = ? AND state = 1",
        [(delivery.id, delivery.claim) for delivery in deliveries],
    )
    for delivery in deliveries:
        batch.waits(delivery.subscription, delivery.due)
    batch.connection.executemany(
        "UPDATE deliveries SET state = 3, finished_at = due, reason = 'gone' WHERE id = ?"
        " AND state = 0 AND subscription IN (SELECT id FROM subscriptions WHERE state = 'gone')",
        [(delivery.id,) for delivery in deliveries],
    )
    for delivery in deliveries:
        if delivery.size > 1:
            end_members(batch, delivery.id, state=DEAD, now=delivery.due, reason="gone")


def _claim(batch: Batch, wanted: Mapping[int, Wanted], now: Millis, calling: Calling) -> Claimed:
    found: list[Delivery] = []
    next_due: dict[int, Millis | None] = {}
    size = 0
    for subscription, want in wanted.items():
        if size > MOST_TOGETHER:
            next_due[subscription] = now  # all else waits for as long as this takes
            continue
        claim = claim_batches if want.batch else _claim_singly
        deliveries, next_due[subscription] = claim(batch, subscription, want, now)
        found.extend(deliveries)
        size += sum(len(delivery.body) for delivery in deliveries)
    return Claimed(deliveries=found, next_due=next_due, calling=calling)


def _claim_singly(
    batch: Batch, subscription: int, wanted: Wanted, now: Millis
) -> tuple[list[Delivery], Millis | None]:
    found = batch.connection.execute(
        f"SELECT {COLUMNS} FROM deliveries d JOIN events e ON e.id = d.event"  # noqa: S608
        " WHERE d.subscription = ? AND d.state = 0 AND likely(d.state < 2) AND d.due <= ?"
        " ORDER BY d.due, d.id LIMIT ?",
        (subscription, now, wanted.count),
    )
    claimed: list[Delivery] = []
    size = 0
    for row in found:
        claimed.append(leased(row, subscription, batch.claim))
        size += len(claimed[-1].body)
        if size > MOST_BYTES:
            break
    found.close()
    batch.connection.executemany(
        "UPDATE deliveries SET state = 1, claim = ? WHERE id = ?",
        [(batch.claim, delivery.id) for delivery in claimed],
    )
    (due,) = batch.connection.execute(
        "SELECT min(due) FROM deliveries WHERE subscription = ? AND state = 0 AND likely(state < 2)",
        (subscription,),
    ).fetchone()
    return claimed, due


def _settle(batch: Batch, settlements: Sequence[Settlement], route: Route) -> None:
    batch.connection.executemany(
        "INSERT INTO attempts (delivery, number, started_at, duration, status, failure, detail,"
        " address, head, queued_at, connected, first_byte)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        map(_attempt, settlements),
    )
    successes: dict[int, Millis] = {}
    delivered: list[tuple[int, Millis, Millis, int]] = []
    for settlement in settlements:
        if settlement.decision.step is Step.DELIVERED:
            delivery, ended = settlement.delivery, _ended(settlement)
            successes[delivery.subscription] = ended
            started = settlement.outcome.started_at
            delivered.append((delivery.number + 1, started, ended, delivery.id))
        else:
            _fail(batch, settlement)
        for event in settlement.events:
            publish(batch, route, event, now=event.recorded)
    # Whatever became of the claim: the consumer has it.
    batch.connection.executemany(
        "UPDATE deliveries SET state = 2, claim = NULL, attempts = attempts + 1,"
        " number = max(number, ?), first_at = coalesce(first_at, ?), finished_at = ?,"
        " reason = NULL WHERE id = ? AND state < 2",
        delivered,
    )
    batch.connection.executemany(
        "UPDATE subscriptions SET last_success = max(coalesce(last_success, 0), ?) WHERE id = ?",
        [(ended, subscription) for subscription, ended in successes.items()],
    )
    for settlement in settlements:
        if settlement.health is not None:
            _note_health(batch, settlement.delivery.subscription, settlement.health)
        if settlement.delivery.size > 1 or settlement.delivery.lane is not None:
            _end_together(batch, settlement)


def _ended(settlement: Settlement) -> Millis:
    outcome = settlement.outcome
    return Millis(outcome.started_at + int(outcome.duration))


def _attempt(settlement: Settlement) -> tuple[object, ...]:
    outcome, delivery = settlement.outcome, settlement.delivery
    detail = outcome.detail
    if delivery.manual is not None:
        detail = f"{detail} (manual attempt)".lstrip()
    return (
        delivery.id,
        delivery.number + 1,
        outcome.started_at,
        outcome.duration,
        outcome.status,
        outcome.failure,
        detail,
        outcome.address,
        outcome.head,
        delivery.due,
        outcome.connected,
        outcome.first_byte,
    )


def _fail(batch: Batch, settlement: Settlement) -> None:
    """A failed attempt: the delivery waits or is dead, and perhaps its subscription waits too."""
    delivery, decision = settlement.delivery, settlement.decision
    ended = _ended(settlement)
    state = AFTER.get(decision.step, PENDING)
    # What a stop cut off is still to be made, as what it was.
    manual = delivery.manual if settlement.outcome.failure is Failure.INTERRUPTED else None
    batch.connection.execute(
        "UPDATE deliveries SET state = ?, claim = NULL, due = ?, attempts = attempts + ?,"  # noqa: S608
        " number = ?, first_at = coalesce(first_at, ?), finished_at = ?, manual = ?,"
        f" reason = {MADE_AS} || ? WHERE id = ? AND claim = ? AND state = 1",
        (
            state,
            decision.due if decision.due is not None else ended,
            int(decision.counted),
            delivery.number + 1,
            settlement.outcome.started_at,
            None if state < DELIVERED else ended,
            manual,
            decision.reason or settlement.outcome.detail,
            delivery.id,
            delivery.claim,
        ),
    )
    if state == PENDING and decision.due is not None:
        batch.waits(delivery.subscription, decision.due)
    _note_state(batch, delivery.subscription, decision, ended)


def _note_state(batch: Batch, subscription: int, decision: Decision, now: Millis) -> None:
    execute = batch.connection.execute
    if decision.hold is not None:
        execute(
            "UPDATE subscriptions SET hold_until = max(coalesce(hold_until, 0), ?) WHERE id = ?",
            (decision.hold, subscription),
        )
    if decision.step is Step.GONE:
        execute(
            "UPDATE subscriptions SET state = 'gone', reason = ? WHERE id = ?",
            (decision.reason, subscription),
        )
        bury(batch, subscription, "gone", now)
    elif decision.step is Step.PAUSE:
        execute(
            "UPDATE subscriptions SET state = 'paused', reason = ? WHERE id = ? AND state = 'active'",
            (decision.reason, subscription),
        )


def _note_health(batch: Batch, subscription: int, health: Health) -> None:
    batch.connection.execute(
        "UPDATE subscriptions SET failing_since = ?, streak = ?, broken_until = ?, trips = ?"
        " WHERE id = ?",
        (health.failing_since, health.streak, health.broken_until, health.trips, subscription),
    )


def _end_together(batch: Batch, settlement: Settlement) -> None:
    """What ended takes its batch with it, and lets the next of its lane go."""
    delivery, decision, ended = settlement.delivery, settlement.decision, _ended(settlement)
    state = AFTER.get(decision.step, PENDING)
    if state < DELIVERED:
        return
    if delivery.size > 1:
        reason = decision.reason or None
        end_members(batch, delivery.id, state=state, now=ended, reason=reason)
    if delivery.lane is not None:
        advance(batch, delivery.subscription, delivery.lane, ended)


def bury(batch: Batch, subscription: int, reason: str, now: Millis) -> int:
    """End what is unfinished, but for what is in flight, and what shares a batch with that."""
    return batch.connection.execute(
        "UPDATE deliveries SET state = 3, claim = NULL, finished_at = ?, reason = ?"
        " WHERE subscription = ? AND state < 1 AND state < 2 AND (leader IS NULL OR leader NOT IN"
        " (SELECT id FROM deliveries WHERE subscription = ? AND state = 1 AND likely(state < 2)))",
        (now, reason, subscription, subscription),
    ).rowcount
