"""What an attempt's outcome means: for the delivery, for its subscription, and who is told."""

import logging
from collections.abc import Callable

import msgspec

from gateway.desk import Desk
from gateway.models import Delivery, Event, Failure, Millis, Outcome
from gateway.operations import Operations
from gateway.retries import Decision, Step, decide
from gateway.stores.base import Settlement

logger = logging.getLogger("gateway.dispatcher")

SAID_OF_FAILURES = {"gateway.subscription.failing", "gateway.subscription.recovered"}
LOUD = {Step.DEAD, Step.PARK, Step.GONE, Step.PAUSE}


class Judge:
    """Changes the desk at once; the settlement has what the store is to keep of it."""

    def __init__(
        self,
        operations: Operations,
        *,
        clock: Callable[[], Millis],
        random: Callable[[], float],
    ) -> None:
        self._operations, self._clock, self._random = operations, clock, random

    def settlement(self, desk: Desk, delivery: Delivery, outcome: Outcome) -> Settlement:
        """Judge one attempt."""
        now = self._clock()
        decision = decide(
            desk.subscription,
            delivery,
            outcome,
            now=now,
            last_success=desk.last_success,
            random=self._random,
        )
        before = desk.health
        if decision.step is Step.DELIVERED:
            events = self._delivered(desk, now, outcome)
        else:
            decision = _when_gone(desk, decision)
            events = self._failed(desk, delivery, outcome, decision, now)
            _log(desk, delivery, outcome, decision, now)
        health = desk.health
        return Settlement(
            delivery=delivery,
            outcome=outcome,
            decision=decision,
            events=events,
            health=health if health != before else None,
        )

    def _delivered(self, desk: Desk, now: Millis, outcome: Outcome) -> tuple[Event, ...]:
        if not desk.succeeded(now, outcome):
            return ()
        logger.info("subscription %s has recovered", desk.subscription.name)
        reason = "a delivery succeeded"
        return (self._operations.subscription("recovered", desk.subscription, reason),)

    def _failed(
        self, desk: Desk, delivery: Delivery, outcome: Outcome, decision: Decision, now: Millis
    ) -> tuple[Event, ...]:
        """What a failure does to its subscription, at once, and what the gateway says of it."""
        say, subscription, events = self._operations.subscription, desk.subscription, []
        if decision.hold is not None:
            desk.hold_until = max(desk.hold_until, decision.hold)
        if decision.step in {Step.DEAD, Step.PARK} and desk.state != "gone":
            if not _is_operational(delivery):
                events.append(self._operations.exhausted(subscription, delivery, decision.reason))
        elif decision.step is Step.GONE and desk.state != "gone":
            desk.state = "gone"
            events.append(say("gone", subscription, decision.reason))
        elif decision.step is Step.PAUSE and desk.state == "active":
            desk.state = "paused"
            events.append(say("paused", subscription, decision.reason))
        counts = desk.state == "active" and outcome.failure is not Failure.INTERRUPTED
        # What is said of failures must not make more of them: two receivers of it, each failing
        # now and then, would have the other one told for ever.
        tell = delivery.event_type not in SAID_OF_FAILURES
        if counts and desk.failed(now, outcome, tell=tell):
            reason = f"{desk.streak} attempts failed in a row; the last one: {_briefly(outcome)}"
            events.append(say("failing", subscription, reason))
        return tuple(events)


class _Typed(msgspec.Struct):
    type: str


_members = msgspec.json.Decoder(list[_Typed])


def _is_operational(delivery: Delivery) -> bool:
    """Whether it carries nothing but operational events, of which nothing is said.

    Else it could go round for ever: between two that get them in batches, too.
    """
    if delivery.size == 1:
        return delivery.event_type.startswith("gateway.")
    try:
        members = _members.decode(delivery.body)
    except RecursionError:  # data that nest too deep to be looked at are none of ours
        return False
    return all(member.type.startswith("gateway.") for member in members)


def _when_gone(desk: Desk, decision: Decision) -> Decision:
    """Nothing of a subscription that is gone is tried again."""
    if desk.state == "gone" and decision.step in {Step.RETRY, Step.PAUSE, Step.PARK}:
        return Decision(step=Step.DEAD, reason="gone")
    return decision


FAILURES = {
    Failure.TIMEOUT: "it did not answer in time",
    Failure.DNS: "its name was not found",
    Failure.CONNECT: "no connection was made",
    Failure.TLS: "TLS failed",
    Failure.PROTOCOL: "it sent no valid answer",
    Failure.RESET: "the connection was closed",
    Failure.FORBIDDEN: "its address is not allowed",
    Failure.INTERNAL: "a bug of the gateway",
}


def _briefly(outcome: Outcome) -> str:
    """Without what only the operator may know: addresses, and where a redirect leads.

    An endpoint may send its own URL back, with the token in it; all of it is in the attempt log.
    """
    if outcome.status is not None:
        return f"answered {outcome.status}"
    return FAILURES.get(outcome.failure or Failure.INTERNAL, "no answer")


def _log(desk: Desk, delivery: Delivery, outcome: Outcome, decision: Decision, now: Millis) -> None:
    """One line an attempt that failed; successes are in the store."""
    then = f"{decision.step}: {decision.reason}"
    if decision.step is Step.RETRY and decision.due is not None:
        wait = max(0, decision.due - now) / 1000
        digits = ".0f" if wait >= 100 else ".3g"  # 3890 s, not 3.89e+03
        then = f"the next one is due in {wait:{digits}} s"
    logger.log(
        logging.WARNING if decision.step in LOUD else logging.INFO,
        "dl_%d %s to %s, attempt %d: %s; %s",
        delivery.id,
        delivery.event_type,
        desk.subscription.name,
        delivery.number + 1,
        _briefly(outcome) if outcome.failure is Failure.REDIRECT else outcome.detail.rstrip("."),
        then,
    )
