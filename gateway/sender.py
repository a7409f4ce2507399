"""One signed attempt of a delivery, as an `Outcome`: a value for 200, 500, timeout and refused alike."""

import time
from collections.abc import Callable

import msgspec

from gateway import __version__
from gateway.egress.answer import Answer, AttemptFailed
from gateway.egress.headers import check_headers, check_value, line
from gateway.egress.rules import Target, parse_target
from gateway.egress.transport import BODY_CAP, Transport
from gateway.events import binary
from gateway.flat import flatten
from gateway.models import Delivery, Failure, Millis, Mode, Outcome, Subscription
from gateway.retries import retry_after
from gateway.signing import sign

USER_AGENT = f"webhook-gateway/{__version__}".encode()
CONTENT_TYPES = {
    Mode.STRUCTURED: b"application/cloudevents+json; charset=utf-8",
    Mode.JSON: b"application/json",
    Mode.BATCH: b"application/cloudevents-batch+json; charset=utf-8",
}
"""Spelled exactly so: npm `cloudevents` refuses other spellings, n8n parses only the second."""
ORIGIN = "WebHook-Request-Origin"  # CloudEvents webhook 1.0.2, 3.1: on every delivery after consent

SHORTEST_SECRET = 6  # bytes; a shorter value is a word, which may well stand in an answer


class Endpoint(msgspec.Struct, frozen=True):
    """A subscription's address and the headers that all its deliveries share."""

    subscription: Subscription
    target: Target
    head: bytes


class Request(msgspec.Struct, frozen=True):
    """A signed request; `head` holds complete header lines, without those of the transport."""

    target: Target
    head: bytes
    body: bytes


def request_of(subscription: Subscription, delivery: Delivery, now: float) -> Request:
    """What an attempt at `now`, Unix time in seconds, sends; ValueError when it cannot be sent."""
    return _signed(_endpoint(subscription), delivery, now)


class Sender:
    """Sends deliveries; `wall` gives Unix time, `clock` measures, both in seconds."""

    def __init__(
        self,
        transport: Transport,
        *,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._transport, self._wall, self._clock = transport, wall, clock
        self._endpoints: dict[int, Endpoint] = {}

    async def send(self, subscription: Subscription, delivery: Delivery) -> Outcome:
        """Make one attempt within the subscription's timeout."""
        now, started = self._wall(), self._clock()
        try:
            request = _signed(self._endpoint(subscription), delivery, now)
        except ValueError as error:
            # No bug, but what an older program or another hand stored: the deliveries are kept.
            failed = AttemptFailed(Failure.PROTOCOL, f"The request cannot be made: {error}")
            return _failed(failed, now, self._clock() - started)
        try:
            answer = await self._transport.post(
                request.target, request.head, request.body, timeout=subscription.timeout / 1000
            )
        except AttemptFailed as error:
            # Its frames hold it in turn: connection and request would wait for the collector.
            error.__traceback__ = None
            return _failed(error, now, self._clock() - started)
        return _answered(answer, now, subscription)

    def _endpoint(self, subscription: Subscription) -> Endpoint:
        """The prepared one, unless the catalog has read the subscription anew since."""
        known = self._endpoints.get(subscription.id)
        if known is not None and known.subscription is subscription:
            return known
        made = self._endpoints[subscription.id] = _endpoint(subscription)
        return made


def _endpoint(subscription: Subscription) -> Endpoint:
    check_headers(subscription.headers)
    own = {name.lower() for name, _ in subscription.headers}
    lines = [] if "user-agent" in own else [line("User-Agent", USER_AGENT)]
    if subscription.mode is not Mode.BINARY:
        lines.append(line("Content-Type", CONTENT_TYPES[subscription.mode]))
    if subscription.origin is not None:
        origin = subscription.origin.encode()
        check_value(ORIGIN, origin)
        lines.append(line(ORIGIN, origin))
    lines.extend(line(name, value) for name, value in subscription.headers)
    return Endpoint(subscription, parse_target(subscription.url), b"".join(lines))


def _signed(endpoint: Endpoint, delivery: Delivery, now: float) -> Request:
    subscription, event_id, stamp = endpoint.subscription, delivery.event_id, int(now)
    extra, body = b"", delivery.body
    if subscription.mode is Mode.BINARY:
        headers, body = binary(body)
        extra = b"".join(_event_header(name, value) for name, value in headers)
    elif subscription.flat:
        body = flatten(body)
    head = b"%b%bwebhook-id: %b\r\nwebhook-timestamp: %d\r\nwebhook-signature: %b\r\n" % (
        endpoint.head,
        extra,
        event_id.encode("ascii"),
        stamp,
        sign(subscription.secrets, event_id, stamp, body),
    )
    return Request(endpoint.target, head, body)


def _event_header(name: str, value: str) -> bytes:
    """A header of binary mode; `datacontenttype` is the one attribute that is not escaped."""
    encoded = value.encode()
    check_value(name, encoded)
    return line(name, encoded)


def _failed(error: AttemptFailed, now: float, seconds: float) -> Outcome:
    return Outcome(
        started_at=Millis(int(now * 1000)),
        duration=seconds * 1000,
        connected=error.connected,
        first_byte=error.first_byte,
        failure=error.failure,
        detail=error.detail,
        address=error.address,
    )


def _answered(answer: Answer, now: float, subscription: Subscription) -> Outcome:
    status, failure, detail = answer.status, None, ""
    if 300 <= status < 400:
        failure = Failure.REDIRECT
        told = _without_secrets(answer.headers.get(b"location", b""), subscription)
        location = told.decode("latin-1")[:500]
        detail = f"answered {status} to {location or 'nowhere'}: redirects are never followed"
    elif not 200 <= status < 300:
        failure, detail = Failure.STATUS, f"answered {status}"
    return Outcome(
        started_at=Millis(int(now * 1000)),
        duration=answer.done,
        connected=answer.connected,
        first_byte=answer.first_byte,
        status=status,
        failure=failure,
        detail=detail,
        retry_after=retry_after(answer.headers.get(b"retry-after"), now),
        address=answer.address,
        head=_without_secrets(answer.body, subscription),
    )


def _without_secrets(said: bytes, subscription: Subscription) -> bytes:
    """What an endpoint said, which is kept and shown, without the own headers that it repeats."""
    cut = len(said) >= BODY_CAP  # perhaps within one of them
    for _, value in subscription.headers:
        for secret in (value, value.partition(b" ")[2]):  # whole, and what follows `Bearer`
            if len(secret) >= SHORTEST_SECRET:
                said = said.replace(secret, b"***")
                said = _without_beginning(said, secret) if cut else said
    return said


def _without_beginning(said: bytes, secret: bytes) -> bytes:
    """Without the part of a secret with which it ends, however short."""
    for length in range(len(secret) - 1, 0, -1):
        if said.endswith(secret[:length]):
            return said[:-length] + b"***"
    return said
