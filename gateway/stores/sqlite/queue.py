"""Deliveries: claim, settle, bury. A claim id fences the settlement of whoever lost its lease."""

from collections.abc import Callable, Mapping, Sequence

from gateway.models import Delivery, Millis
from gateway.retries import Step
from gateway.stores.base import Claimed, Settlement
from gateway.stores.sqlite.publish import Route, publish
from gateway.stores.sqlite.writer import Batch, Writer


class SqliteQueue:
    """`Queue` on the writer's thread."""

    def __init__(self, writer: Writer, *, route: Callable[[], Route]) -> None:
        self._writer, self._route = writer, route

    async def void_leases(self) -> None:
        """Make all leases due again: on SQLite there is one process, and it has just started."""
        await self._writer.submit(_void_leases, bounded=False, heavy=True)

    async def claim(self, wanted: Mapping[int, int], now: Millis) -> Claimed:
        """See `gateway.stores.base.Queue`."""
        claimed: Claimed = await self._writer.submit(
            lambda batch: _claim(batch, wanted, now), bounded=False
        )
        return claimed

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """See `gateway.stores.base.Queue`."""
        # One that is gone takes all that waits for it with it, which may be much.
        gone = any(settlement.decision.step is Step.GONE for settlement in settlements)
        await self._writer.submit(
            lambda batch: _settle(batch, settlements, self._route()), bounded=False, heavy=gone
        )

    async def bury(self, subscription: int, reason: str, now: Millis) -> int:
        """See `gateway.stores.base.Queue`."""
        count: int = await self._writer.submit(
            lambda batch: _bury(batch, subscription, reason, now), heavy=True
        )
        return count


def _void_leases(batch: Batch) -> None:
    batch.connection.execute(
        "UPDATE deliveries SET state = 0, claim = NULL WHERE state < 2 AND state = 1"
    )
    # What was in flight when its subscription became gone has nowhere to go.
    batch.connection.execute(
        "UPDATE deliveries SET state = 3, finished_at = due, reason = 'gone'"
        " WHERE state < 2 AND subscription IN (SELECT id FROM subscriptions WHERE state = 'gone')"
    )


def _claim(batch: Batch, wanted: Mapping[int, int], now: Millis) -> Claimed:
    found: list[Delivery] = []
    next_due: dict[int, Millis | None] = {}
    for subscription, count in wanted.items():
        rows = batch.connection.execute(
            "SELECT d.id, e.event_id, e.type, e.body, d.attempts, d.number, d.first_at"
            " FROM deliveries d JOIN events e ON e.id = d.event"
            " WHERE d.subscription = ? AND d.state = 0 AND d.state < 2 AND d.due <= ?"
            " ORDER BY d.due, d.id LIMIT ?",
            (subscription, now, count),
        ).fetchall()
        found.extend(_delivery(row, subscription, batch.claim) for row in rows)
        batch.connection.executemany(
            "UPDATE deliveries SET state = 1, claim = ? WHERE id = ?",
            [(batch.claim, row[0]) for row in rows],
        )
        next_due[subscription] = batch.connection.execute(
            "SELECT min(due) FROM deliveries WHERE subscription = ? AND state = 0 AND state < 2",
            (subscription,),
        ).fetchone()[0]
    return Claimed(deliveries=found, next_due=next_due)


def _delivery(
    row: tuple[int, str, str, bytes, int, int, Millis | None], subscription: int, claim: int
) -> Delivery:
    number, event_id, event_type, body, attempts, made, first_at = row
    return Delivery(
        id=number,
        subscription=subscription,
        event_id=event_id,
        event_type=event_type,
        body=body,
        attempts=attempts,
        number=made,
        first_at=first_at,
        claim=claim,
    )


def _settle(batch: Batch, settlements: Sequence[Settlement], route: Route) -> None:
    batch.connection.executemany(
        "INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_attempt, settlements)
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


def _ended(settlement: Settlement) -> Millis:
    outcome = settlement.outcome
    return Millis(outcome.started_at + int(outcome.duration))


def _attempt(settlement: Settlement) -> tuple[object, ...]:
    outcome, delivery = settlement.outcome, settlement.delivery
    return (
        delivery.id,
        delivery.number + 1,
        outcome.started_at,
        outcome.duration,
        outcome.status,
        outcome.failure,
        outcome.detail,
        outcome.address,
        outcome.head,
    )


def _fail(batch: Batch, settlement: Settlement) -> None:
    """A failed attempt: the delivery waits or is dead, and perhaps its subscription waits too."""
    delivery, decision = settlement.delivery, settlement.decision
    final = decision.step in {Step.DEAD, Step.GONE}
    ended = _ended(settlement)
    batch.connection.execute(
        "UPDATE deliveries SET state = ?, claim = NULL, due = ?, attempts = attempts + ?,"
        " number = ?, first_at = coalesce(first_at, ?), finished_at = ?, reason = ?"
        " WHERE id = ? AND claim = ? AND state = 1",
        (
            3 if final else 0,
            decision.due if decision.due is not None else ended,
            int(decision.counted),
            delivery.number + 1,
            settlement.outcome.started_at,
            ended if final else None,
            decision.reason or settlement.outcome.detail,
            delivery.id,
            delivery.claim,
        ),
    )
    execute, subscription = batch.connection.execute, delivery.subscription
    if not final and decision.due is not None:
        batch.waiting[subscription] = min(
            decision.due, batch.waiting.get(subscription, decision.due)
        )
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
        _bury(batch, subscription, "gone", ended)
    elif decision.step is Step.PAUSE:
        execute(
            "UPDATE subscriptions SET state = 'paused', reason = ? WHERE id = ? AND state = 'active'",
            (decision.reason, subscription),
        )


def _bury(batch: Batch, subscription: int, reason: str, now: Millis) -> int:
    return batch.connection.execute(
        "UPDATE deliveries SET state = 3, claim = NULL, finished_at = ?, reason = ?"
        " WHERE subscription = ? AND state = 0 AND state < 2",
        (now, reason, subscription),
    ).rowcount
