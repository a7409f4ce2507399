"""One signed attempt of a delivery, as an `Outcome`: a value for 200, 500, timeout and refused alike."""

import time
from collections.abc import Callable

import msgspec

from gateway import __version__
from gateway.egress.answer import Answer, AttemptFailed
from gateway.egress.rules import Target, parse_target
from gateway.egress.transport import Transport
from gateway.events import binary
from gateway.models import Delivery, Failure, Millis, Mode, Outcome, Subscription
from gateway.retries import retry_after
from gateway.signing import sign

USER_AGENT = f"webhook-gateway/{__version__}".encode()
CONTENT_TYPES = {
    Mode.STRUCTURED: b"application/cloudevents+json; charset=utf-8",
    Mode.JSON: b"application/json",
}
"""Spelled exactly so: npm `cloudevents` refuses other spellings, n8n parses only the second."""


class Endpoint(msgspec.Struct, frozen=True):
    """A subscription's address and the headers that all its deliveries share."""

    target: Target
    head: bytes


class Sender:
    """Sends deliveries; `wall` gives Unix time in seconds, `clock` milliseconds for measuring."""

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
        endpoint = self._endpoints.get(subscription.id) or self._prepare(subscription)
        now, started = self._wall(), self._clock()
        if subscription.mode is Mode.BINARY:
            headers, body = binary(delivery.body)
            extra = b"".join(b"%b: %b\r\n" % (k.encode(), v.encode()) for k, v in headers)
        else:
            extra, body = b"", delivery.body
        head = b"%b%bwebhook-id: %b\r\nwebhook-timestamp: %d\r\nwebhook-signature: %b\r\n" % (
            endpoint.head,
            extra,
            delivery.event_id.encode(),
            int(now),
            sign(subscription.secrets, delivery.event_id, int(now), body),
        )
        try:
            answer = await self._transport.post(
                endpoint.target, head, body, timeout=subscription.timeout / 1000
            )
        except AttemptFailed as error:
            return Outcome(
                started_at=Millis(int(now * 1000)),
                duration=(self._clock() - started) * 1000,
                failure=error.failure,
                detail=error.detail,
                address=error.address,
            )
        return self._outcome(answer, now)

    def _prepare(self, subscription: Subscription) -> Endpoint:
        head = b"User-Agent: %b\r\n" % USER_AGENT
        if subscription.mode is not Mode.BINARY:
            head += b"Content-Type: %b\r\n" % CONTENT_TYPES[subscription.mode]
        endpoint = Endpoint(parse_target(subscription.url), head)
        self._endpoints[subscription.id] = endpoint
        return endpoint

    @staticmethod
    def _outcome(answer: Answer, now: float) -> Outcome:
        status, failure, detail = answer.status, None, ""
        if 300 <= status < 400:
            failure = Failure.REDIRECT
            location = answer.headers.get(b"location", b"").decode("latin-1")[:500]
            detail = f"answered {status} to {location or 'nowhere'}: redirects are never followed"
        elif not 200 <= status < 300:
            failure, detail = Failure.STATUS, f"answered {status}"
        return Outcome(
            started_at=Millis(int(now * 1000)),
            duration=answer.done,
            status=status,
            failure=failure,
            detail=detail,
            retry_after=retry_after(answer.headers.get(b"retry-after"), now),
            address=answer.address,
            head=answer.body,
        )
