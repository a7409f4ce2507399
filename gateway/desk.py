"""What the dispatcher keeps in mind of each subscription: free slots, rate, waits, what is due."""

from collections.abc import Callable

from gateway.models import Millis, Mode, Subscription
from gateway.stores.base import Status


class Desk:
    """One subscription's counters; times are wall milliseconds.

    `next_due` is when something of it that nobody has claimed is due, None when nothing is.
    """

    def __init__(self, status: Status, clock: Callable[[], Millis]) -> None:
        self._clock = clock
        self.busy = 0
        self.reserved = 0
        self.claiming = False
        self.next_due: Millis | None = Millis(0)
        self.last_success = status.last_success
        self._tokens = 1.0
        self._refilled = clock()
        self.update(status)

    def update(self, status: Status) -> None:
        """Take over what the catalog says now."""
        self.subscription: Subscription = status.subscription
        self.state = status.state
        self.hold_until = status.hold_until or Millis(0)
        self._burst = max(1.0, (self.subscription.rate or 0.0) / 10)  # a tenth of a second's worth

    @property
    def batch(self) -> int:
        """How many events go together, 0 without batches."""
        return self.subscription.batch_size if self.subscription.mode is Mode.BATCH else 0

    def open(self, now: Millis) -> bool:
        """Whether it may start anything at all now."""
        return self.subscription.enabled and self.state == "active" and now >= self.hold_until

    def room(self, now: Millis) -> int:
        """How many deliveries may start now: free slots that also have a rate token."""
        if not self.open(now):
            return 0
        free = self.subscription.slots - self.busy - self.reserved
        return max(0, min(free, self._rate_room(now)))

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
        if self.subscription.rate is not None:
            self._tokens -= count

    def give_back(self, count: int) -> None:
        """Return room that was not used."""
        self.reserved -= count
        if self.subscription.rate is not None:
            self._tokens += count

    def start(self) -> None:
        """Turn reserved room into a slot in use."""
        self.reserved -= 1
        self.busy += 1

    def wake_at(self, now: Millis) -> Millis | None:
        """When to look again; None when only an outside change can open it."""
        if not self.subscription.enabled or self.state != "active" or self.next_due is None:
            return None
        due = max(self.next_due, self.hold_until)
        if due <= now and self.subscription.rate is not None and self._rate_room(now) < 1:
            return Millis(now + int((1 - self._tokens) * 1000 / self.subscription.rate) + 1)
        return due

    def _rate_room(self, now: Millis) -> int:
        rate = self.subscription.rate
        if rate is None:
            return self.subscription.slots
        passed = max(0, now - self._refilled)  # a clock that was set back takes nothing away
        self._tokens = min(self._burst, self._tokens + passed * rate / 1000)
        self._refilled = now
        return int(self._tokens)
