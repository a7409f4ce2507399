"""Sends test events: the catalogue's example, as a real delivery is sent, and tells how it went.

Nothing of it is stored, and nothing of it counts: no event, no delivery, no attempt, no breaker. It
is marked `gatewaytest`, so that a consumer can tell it from what has happened.
"""

from collections.abc import Callable

import msgspec

from gateway.catalogue import MEANINGS, PUBLIC_URL, example, marked
from gateway.curl import Command, command_of
from gateway.desk import consented
from gateway.egress.transport import Transport
from gateway.errors import BadRequest, Conflict, Unavailable
from gateway.matching import wants_type
from gateway.models import Delivery, Event, Failure, Millis, Mode, Outcome, Subscription
from gateway.remedies import advice_of
from gateway.sender import Sender, request_of
from gateway.stores.base import Status

AT_ONCE = 8  # tests of all subscriptions that are under way at the same time
LONGEST = Millis(60_000)  # a test waits no longer, whatever the subscription's timeout is
NONCE = 8  # random bytes, by which the id of each test event is a new one
ASK_OPERATOR = "Ask the gateway's operator, who can allow it."


class Tested(msgspec.Struct, frozen=True, kw_only=True):
    """A test event that was sent, and what came of it."""

    status: Status
    event: Event
    delivery: Delivery
    outcome: Outcome


class EndpointAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How an endpoint took a test event; `status` is None where it gave no answer.

    `failure` and `detail` say why it was not taken, `advice` what to try, `note` what else to know of
    the subscription. `head` is the beginning of the answer's body. `curl` is the same request as a
    command; it takes the environment's `variables` for what is secret, and is None where no request
    can be made. Times but `started_at` are milliseconds since then.
    """

    subscription: str
    type: str
    webhook_id: str
    started_at: Millis
    status: int | None
    failure: str | None
    detail: str
    connected_ms: float | None
    first_byte_ms: float | None
    duration_ms: float
    address: str | None
    head: str
    curl: str | None
    variables: list[str]
    advice: str | None
    note: str | None


class Tester:
    """`random` gives so many bytes; `public_url` is `server.public_url`, `""` without one."""

    def __init__(
        self,
        transport: Transport,
        *,
        public_url: str,
        clock: Callable[[], Millis],
        random: Callable[[int], bytes],
    ) -> None:
        self._transport, self._clock, self._random = transport, clock, random
        self._public_url = public_url or PUBLIC_URL
        self._busy: set[int] = set()

    async def test(self, status: Status, event_type: str | None = None) -> Tested:
        """Send one event of this type, or of the first that is wanted, and wait for the answer.

        Raises `BadRequest` for a type without an example, `Conflict` for a subscription that nothing
        may be sent to, and for one whose last test has not ended, `Unavailable` when there are too
        many of others.
        """
        subscription = status.subscription
        _refuse(status)
        kind = _type_of(subscription, event_type)
        timeout = min(subscription.timeout, LONGEST)
        subscription = msgspec.structs.replace(subscription, timeout=timeout)
        if subscription.id in self._busy:
            raise Conflict(f"a test of subscription {subscription.name} is under way: wait for it")
        if len(self._busy) >= AT_ONCE:
            raise Unavailable("too many tests are under way: try again in a moment")
        self._busy.add(subscription.id)
        try:
            return await self._send(
                msgspec.structs.replace(status, subscription=subscription), kind
            )
        finally:
            self._busy.discard(subscription.id)

    async def _send(self, status: Status, event_type: str) -> Tested:
        now = self._clock()
        plain = example(event_type, public_url=self._public_url)
        event = marked(plain, now=now, nonce=self._random(NONCE).hex())
        delivery = _delivery(status.subscription, event)
        # With this clock the curl command can be made of the very same request afterwards.
        sender = Sender(self._transport, wall=lambda: now / 1000)
        outcome = await sender.send(status.subscription, delivery)
        return Tested(status=status, event=event, delivery=delivery, outcome=outcome)


def answer_of(tested: Tested, *, consumer: bool = False, whole: bool = True) -> EndpointAnswer:
    """What is told of it. A `consumer` learns no addresses; not `whole` hides the URL's query."""
    subscription, outcome = tested.status.subscription, tested.outcome
    command = _command(tested, whole=whole)
    forbidden = consumer and outcome.failure is Failure.FORBIDDEN
    return EndpointAnswer(
        subscription=subscription.name,
        type=tested.event.type,
        webhook_id=tested.delivery.event_id,
        started_at=outcome.started_at,
        status=outcome.status,
        failure=outcome.failure,
        detail=_unaddressed(outcome) if consumer else outcome.detail,
        connected_ms=outcome.connected,
        first_byte_ms=outcome.first_byte,
        duration_ms=outcome.duration,
        address=None if consumer else outcome.address,
        head=outcome.head.decode("utf-8", "replace"),
        curl=None if command is None else command.text,
        variables=[] if command is None else list(command.variables),
        advice=ASK_OPERATOR if forbidden else advice_of(subscription, outcome),
        note=_note(tested.status, tested.event.type),
    )


def _refuse(status: Status) -> None:
    """Raise `Conflict` for one that nothing may be sent to."""
    subscription = status.subscription
    if not subscription.url:
        raise Conflict(
            f"subscription {subscription.name} has no URL that a test event could be sent to:"
            " its events are pulled, or the configuration has it no more"
        )
    if status.state == "gone":
        raise Conflict(
            f"subscription {subscription.name} is gone: nothing is sent to it until it is resumed"
        )
    if not consented(status):
        raise Conflict(
            f"the endpoint of subscription {subscription.name} has not consented to deliveries yet,"
            " and a test event is one: its handshake comes first"
        )


def _type_of(subscription: Subscription, wanted: str | None) -> str:
    if wanted is not None:
        if wanted not in MEANINGS:
            raise BadRequest(
                f"type: there is no example of {wanted}: `gateway types` and `GET /v1/event-types`"
                " list what there is"
            )
        return wanted
    found = next((kind for kind in MEANINGS if wants_type(subscription.types, kind)), None)
    if found is None:
        raise BadRequest(
            "type: there is no example of any type that the subscription wants: name one"
        )
    return found


def _delivery(subscription: Subscription, event: Event) -> Delivery:
    """The only one of its event; a batch has an id of its own, and is an array of one."""
    batch = subscription.mode is Mode.BATCH
    return Delivery(
        id=0,
        subscription=subscription.id,
        event_id=f"bat_{event.id.removeprefix('evt_')}" if batch else event.id,
        event_type=event.type,
        body=b"[%b]" % event.body if batch else event.body,
        attempts=0,
        number=0,
        first_at=None,
        claim=0,
    )


def _command(tested: Tested, *, whole: bool) -> Command | None:
    subscription = tested.status.subscription
    try:
        request = request_of(subscription, tested.delivery, tested.event.recorded / 1000)
    except ValueError:
        return None  # what `send` has met as well, and told
    return command_of(request, own=[name for name, _ in subscription.headers], whole=whole)


def _unaddressed(outcome: Outcome) -> str:
    """The detail without addresses, of which some are the operator's own matter."""
    if outcome.failure is Failure.FORBIDDEN:
        return "The gateway does not connect to this address."
    if outcome.failure in {Failure.DNS, Failure.CONNECT}:
        return f"No connection was made: {outcome.detail.rpartition(': ')[2]}"
    return outcome.detail


def _note(status: Status, event_type: str) -> str | None:
    subscription = status.subscription
    notes = []
    if not subscription.enabled:
        notes.append("the subscription is disabled, so it gets no real events")
    if status.state == "paused":
        notes.append("the subscription is paused, so real events wait until it is resumed")
    if not wants_type(subscription.types, event_type):
        notes.append(f"its types do not include {event_type}, so no real event of that type comes")
    return "; ".join(notes) or None
