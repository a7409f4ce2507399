"""What the dispatcher keeps in mind of each subscription: slots, rate, health, waits, what is due."""

from collections import deque
from collections.abc import Callable

from gateway.breaker import Breaker, is_down
from gateway.consent import asked_for
from gateway.models import Delivery, Millis, Mode, Outcome, Subscription
from gateway.stores.base import Consent, Health, Status

LINE = 3  # deliveries that may wait in line for each slot
LINE_BYTES = 1 << 20  # of their bodies, from which on the line is full
FAILING = 4  # failed attempts in a row after which a subscription is said to be failing


class Desk:
    """One subscription's counters; times are wall milliseconds, `random()` lies in 0..1.

    `next_due` is when something of it that nobody has claimed is due, None when nothing is.
    `line` are deliveries that are leased already and wait for a slot: so a burst goes from hand to
    hand, and not once more through the store.
    """

    def __init__(
        self, status: Status, clock: Callable[[], Millis], random: Callable[[], float]
    ) -> None:
        self._clock, self._random = clock, random
        self.busy = 0
        self.reserved = 0
        self.claiming = False
        self.line: deque[Delivery] = deque()
        self._bytes = 0  # of the bodies in line
        self.next_due: Millis | None = Millis(0)
        self.last_success = status.last_success
        self.hold_until = Millis(0)
        self._tokens = 1.0
        self._refilled = clock()
        self.revive(status)
        self.update(status)

    def update(self, status: Status) -> None:
        """Take over what the catalog says now."""
        self.subscription: Subscription = status.subscription
        self.state = status.state
        # What an answer asked for a moment ago may not be written yet.
        self.hold_until = max(self.hold_until, status.hold_until or Millis(0))
        self._consented = consented(status)
        self._rate = _rate(status)
        self._burst = max(1.0, (self._rate or 0.0) / 10)  # a tenth of a second's worth

    def revive(self, status: Status) -> None:
        """Begin anew with what the catalog says of its health."""
        health = status.health
        self.hold_until = status.hold_until or Millis(0)
        self.failing_since = health.failing_since
        self._breaker = Breaker(until=health.broken_until, trips=health.trips, random=self._random)
        self.streak = health.streak  # failed attempts since the last success

    @property
    def health(self) -> Health:
        """What is to be kept of how the endpoint does."""
        return Health(
            failing_since=self.failing_since,
            streak=min(self.streak, FAILING),
            broken_until=self._breaker.until,
            trips=self._breaker.trips,
        )

    @property
    def batch(self) -> int:
        """How many events go together, 0 without batches."""
        return self.subscription.batch_size if self.subscription.mode is Mode.BATCH else 0

    def close(self) -> None:
        """Start nothing more: the catalog does not know it any longer."""
        self.state = "gone"

    def succeeded(self, now: Millis, outcome: Outcome) -> bool:
        """Note a delivery; whether the subscription was failing until now."""
        failing = self.failing_since is not None
        self.last_success, self.failing_since, self.streak = now, None, 0
        self._breaker.record(now, down=is_down(outcome), slots=self.subscription.slots)
        return failing

    def failed(self, now: Millis, outcome: Outcome, *, tell: bool = True) -> bool:
        """Note a failed attempt; whether the subscription is failing from now on, which is told.

        Without `tell` that is left to the next failure.
        """
        self.streak += 1
        self._breaker.record(now, down=is_down(outcome), slots=self.subscription.slots)
        if self.streak < FAILING or self.failing_since is not None or not tell:
            return False
        self.failing_since = now
        return True

    def open(self, now: Millis) -> bool:
        """Whether it may start anything at all now."""
        return (
            self.state == "active"
            and self.subscription.enabled
            and not self.subscription.pull
            and self._consented
            and now >= self.hold_until
        )

    def _slots(self, now: Millis, share: int) -> int:
        """How many may be in flight: its share of the slots, or probes."""
        if not self.open(now):
            return 0
        slots = min(self.subscription.slots, share)
        probes = self._breaker.room(now)
        return slots if probes is None else min(slots, probes)

    def room(self, now: Millis, share: int) -> int:
        """How many more deliveries may be leased: free slots that also have a rate token, and a line.

        There is no line of probes, of batches, nor with a rate: they wait in the store.
        """
        most = self._slots(now, share)
        plain = self._rate is None and self._breaker.until is None and not self.batch
        if plain and self._bytes < LINE_BYTES:
            most *= 1 + LINE
        free = max(0, most - self.busy - self.reserved - len(self.line))
        return free if self._rate is None else min(free, self._tokens_now(now, self._rate))

    @property
    def short(self) -> bool:
        """Whether its line is so short that more should be claimed: some at a time, not each alone."""
        return len(self.line) < self.subscription.slots

    def take(self, now: Millis, share: int) -> Delivery | None:
        """The next of its line, in a slot from now on; None without a free slot."""
        if not self.line or self.busy >= self._slots(now, share):
            return None
        self.busy += 1
        delivery = self.line.popleft()
        self._bytes -= len(delivery.body)
        return delivery

    def leave(self, now: Millis) -> list[Delivery]:
        """Those of its line that cannot be sent soon any more: it is paused, waits, or is down."""
        if self.open(now) and self._breaker.until is None:
            return []
        left, self.line, self._bytes = list(self.line), deque(), 0
        return left

    def ready(self, now: Millis) -> bool:
        """Whether something of it is due that could start."""
        return self.behind(now) and self.open(now)

    @property
    def idle(self) -> bool:
        """Whether nothing of it is under way."""
        return not (self.busy or self.reserved or self.claiming or self.line)

    def behind(self, now: Millis) -> bool:
        """Whether something is due that nobody has claimed: new deliveries line up behind it."""
        return self.next_due is not None and self.next_due <= now

    def expect(self, due: Millis | None) -> bool:
        """Note that something will be due; whether that is sooner than what was known."""
        if due is None or (self.next_due is not None and self.next_due <= due):
            return False
        self.next_due = due
        return True

    def reserve(self, count: int) -> None:
        """Set room aside for deliveries that are being claimed or born."""
        self.reserved += count
        if self._rate is not None:
            self._tokens -= count

    def give_back(self, count: int) -> None:
        """Return room that was not used."""
        self.reserved -= count
        if self._rate is not None:
            self._tokens += count

    def line_up(self, delivery: Delivery) -> None:
        """Turn reserved room into a place in the line."""
        self.reserved -= 1
        self.line.append(delivery)
        self._bytes += len(delivery.body)

    def wake_at(self, now: Millis) -> Millis | None:
        """When to look again; None when only an outside change can open it."""
        sends = self.subscription.enabled and not self.subscription.pull
        waits_for_others = not sends or self.state != "active"
        if waits_for_others or not self._consented or self.next_due is None:
            return None
        due = max(self.next_due, self.hold_until, self._breaker.until or Millis(0))
        if due <= now and self._rate is not None and self._tokens_now(now, self._rate) < 1:
            return Millis(now + int((1 - self._tokens) * 1000 / self._rate) + 1)
        return due

    def _tokens_now(self, now: Millis, rate: float) -> int:
        """How many attempts the rate allows."""
        passed = max(0, now - self._refilled)  # a clock that was set back takes nothing away
        self._tokens = min(self._burst, self._tokens + passed * rate / 1000)
        self._refilled = now
        return int(self._tokens)


def consented(status: Status) -> bool:
    """Whether the endpoint was asked where it wants to be, and agreed (CloudEvents WH-8)."""
    wanted, known = asked_for(status.subscription), status.handshake
    if wanted is None:
        return True
    return known is not None and known.asked_for == wanted and known.state is Consent.GRANTED


def _rate(status: Status) -> float | None:
    """Deliveries a second: what was configured, and no more than the endpoint granted."""
    granted = None
    if status.subscription.origin is not None and status.handshake is not None:
        granted = status.handshake.rate
    rates = [status.subscription.rate, granted / 60 if granted is not None else None]
    return min((rate for rate in rates if rate is not None), default=None)
