"""Part `compute`: the gateway's own pure functions on unique callbacks, without I/O.

Verify, normalize, decide (which encodes the event and the order's state), match, and sign one
delivery.
"""

import base64
import sys
import time

import msgspec

from benchmarks import traffic
from benchmarks.children.deliver import cpu
from benchmarks.pace import Paced
from gateway import matching, signing
from gateway.events import Writer
from gateway.models import (
    Callback,
    Decision,
    Duration,
    Entry,
    Event,
    Known,
    Millis,
    Origin,
    Reading,
    Subscription,
)
from gateway.orders.decide import Orders
from gateway.providers.stripe import Stripe, StripeOptions

SHOP = "default"
_TOLERANCE = Duration(300_000)
_SECRETS = (traffic.SECRET.encode(),)
_SIGNING_KEY = base64.b64decode(traffic.KEY)


class Params(msgspec.Struct, frozen=True):
    events: int
    rounds: int


class Computer:
    """Everything that is built once, as `runtime` builds it once."""

    def __init__(self) -> None:
        self._provider = Stripe(StripeOptions())
        self._orders = Orders(Writer(""))
        self._subscription = Subscription(
            id=1, name="s0", url="http://127.0.0.1/", types=("order.*",)
        )

    def event(self, callback: Callback) -> Event:
        """The one event of a callback, with all that it costs to compute, its delivery included."""
        _, decision = self.decide(callback)
        ((_, event),) = decision.events
        matching.match(self._subscription, event, gone=False, filters=())
        signing.sign([_SIGNING_KEY], event.id, callback.received_at // 1000, event.body)
        return event

    def decide(self, callback: Callback) -> tuple[Reading, Decision]:
        """What the callback says, and what a store without that order has to write."""
        now = callback.received_at
        self._provider.verify(callback, secrets=_SECRETS, tolerance=_TOLERANCE, now=now)
        reading = self._provider.normalize(callback)
        origin = Origin(
            source=traffic.SOURCE,
            provider="stripe",
            shop=SHOP,
            event_id=reading.event_id,
            event_type=reading.event_type,
            recorded=now,
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        entries = [Entry(fact=fact, origin=origin) for fact in reading.facts]
        return reading, self._orders.decide(entries, Known(links={}, orders={}))


def callbacks(count: int, *, first: int = 0, age: int = 0) -> list[Callback]:
    """Unique signed callbacks as `web.hooks` would hand them over, `age` seconds ago.

    They are numbered from `first`.
    """
    at = int(time.time()) - age
    found = []
    for number in range(first, first + count):
        head, _, body = traffic.request("c0", number, at=at, port=8080).partition(b"\r\n\r\n")
        found.append(
            Callback(
                source=traffic.SOURCE,
                headers=traffic.headers(head),
                body=body,
                received_at=Millis(at * 1000),
            )
        )
    return found


def sample() -> bytes:
    """The bytes of one event of the load."""
    return Computer().event(callbacks(1)[0]).body


def main() -> None:
    """A warm-up round, then the rounds that count."""
    params = msgspec.json.decode(sys.argv[1], type=Params)
    computer, prepared = Computer(), callbacks(params.events)
    rounds = []
    for _ in range(params.rounds + 1):
        paced, before = Paced(), cpu()
        for callback in prepared:
            computer.event(callback)
        rounds.append(paced.cpu(cpu() - before))
    print(msgspec.json.encode({"cpu": rounds[1:]}).decode(), flush=True)


if __name__ == "__main__":
    main()
