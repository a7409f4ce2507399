"""Notices what nobody calls about: sources from which nothing comes, and those that are refused.

The receiver and the poller only note what happens; `look`, which the janitor calls, makes the
events. Both events are told once, and again only after the source was heard in between.
"""

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from gateway.events import rfc3339
from gateway.models import Event, Millis
from gateway.operations import Operations
from gateway.stores.upkeep import SourceState, Upkeep

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
UNITS = (("d", 24 * HOUR), ("h", HOUR), ("m", MINUTE), ("s", SECOND), ("ms", 1))

KEEP_EVERY = 10 * SECOND  # how often at most it is written when a source was last heard
ABSENT = MINUTE  # a longer time between two looks was a sleep, in which nothing could be heard
REFUSALS = 3  # in a row, within `WINDOW`, that are told
WINDOW = 10 * MINUTE
LONGEST = 300  # characters of a reason
QUIET = HOUR  # after it was told: refusals are free to make for strangers, events are not


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a source: when it was last heard, and what was refused since, in this process.

    `reason` is why the last of these was refused; `silent_since` when its silence was told.
    """

    last_at: Millis | None
    silent_since: Millis | None
    refused: int
    reason: str | None


class Refusals:
    """The requests of a source that were refused since it was last heard."""

    def __init__(self) -> None:
        self.count = 0
        self.reason = ""
        self.told = False
        self._times: deque[Millis] = deque(maxlen=REFUSALS)

    def add(self, at: Millis, reason: str) -> None:
        """Note one more."""
        self.count += 1
        self.reason = reason[:LONGEST]
        self._times.append(at)

    def many(self) -> bool:
        """Whether enough of them came close together."""
        return self.count >= REFUSALS and self._times[-1] - self._times[0] <= WINDOW

    def words(self) -> str:
        """What is told of them; nothing of the requests themselves."""
        return f"{self.count} requests in a row were refused, the last one because {self.reason}"


class Lookout:
    """`update` says of which sources the silence is told."""

    def __init__(
        self,
        upkeep: Upkeep,
        operations: Operations,
        *,
        clock: Callable[[], Millis],
    ) -> None:
        self._upkeep, self._operations, self._clock = upkeep, operations, clock
        self._silent_after: Mapping[str, Millis] = {}
        self._heard: dict[str, Millis] = {}  # since the last look
        self._refused: dict[str, Refusals] = {}
        self._told: dict[str, Millis] = {}  # when refusals of a source were last told
        self._states: dict[str, SourceState] | None = None
        self._unwritten: set[str] = set()
        self._since: dict[str, Millis] = {}  # those that were added while it listened
        self._anew: set[str] = set()  # those of them whose silence of before is over
        self._written = self._looked = self._listening = clock()

    def update(self, silent_after: Mapping[str, Millis], *, begun: Collection[str] = ()) -> None:
        """Tell the silence of these from now on; of `begun` those that were not listened to begin now."""
        now = self._clock()
        fresh = {name for name in begun if name in silent_after and name not in self._silent_after}
        self._since = {
            name: now if name in fresh else self._since.get(name, Millis(0))
            for name in silent_after
        }
        self._anew |= fresh
        self._silent_after = silent_after

    def forget(self, source: str) -> None:
        """Know nothing any more of what was refused in the name of a source that is no more."""
        self._refused.pop(source, None)
        self._told.pop(source, None)

    def heard(self, source: str) -> None:
        """Note that something authentic came from a source."""
        self._heard[source] = self._clock()
        if self._refused:
            self._refused.pop(source, None)

    def refused(self, source: str, reason: str) -> None:
        """Note that a request in the name of a source was refused; `reason` is for the operator."""
        self._refused.setdefault(source, Refusals()).add(self._clock(), reason)

    async def of(self, source: str) -> Heard:
        """What is known of a source; `Unavailable`."""
        state = (await self._known()).get(source, SourceState())
        refusals, heard = self._refused.get(source), self._heard.get(source)
        return Heard(
            last_at=state.last_at if heard is None else heard,
            silent_since=state.silent_since if heard is None else None,
            refused=refusals.count if refusals is not None else 0,
            reason=refusals.reason if refusals is not None else None,
        )

    async def look(self) -> None:
        """Tell what is to be told, and write what is remembered; `Unavailable`."""
        now = self._clock()
        if now - self._looked > ABSENT:
            self._listening = now
        self._looked = now
        states = await self._known()
        back = self._take(states)
        silent, rejecting = self._silent(states, now), self._rejecting(now)
        events = [self._operations.source("silent", *told) for told in silent.items()]
        events += [
            self._operations.source("rejecting", name, refusals.words())
            for name, refusals in rejecting.items()
        ]
        if events or back or now - self._written >= KEEP_EVERY:
            await self._keep(states, dict.fromkeys(silent, now), events)
            self._written = now
        for name, refusals in rejecting.items():
            refusals.told, self._told[name] = True, now

    async def close(self) -> None:
        """Write what is remembered; `Unavailable`."""
        states = await self._known()
        self._take(states)
        await self._keep(states, {}, [])

    async def _known(self) -> dict[str, SourceState]:
        if self._states is None:
            self._states = dict(await self._upkeep.sources())
        for name in self._anew:
            state = self._states.get(name, SourceState())
            if state.silent_since is not None:
                self._states[name] = msgspec.structs.replace(state, silent_since=None)
                self._unwritten.add(name)
        self._anew.clear()
        return self._states

    def _take(self, states: dict[str, SourceState]) -> bool:
        """Take over what was heard; whether a source that was silent is back."""
        heard, self._heard = self._heard, {}
        back = any(states.get(name, SourceState()).silent_since is not None for name in heard)
        states.update((name, SourceState(last_at=at)) for name, at in heard.items())
        self._unwritten.update(heard)
        return back

    def _silent(self, states: Mapping[str, SourceState], now: Millis) -> dict[str, str]:
        """The sources that have become silent, and that in words.

        A gateway that was not there to hear them does not complain of it.
        """
        found = {}
        for name, patience in self._silent_after.items():
            state = states.get(name, SourceState())
            since = max(state.last_at or 0, self._listening, self._since.get(name, 0))
            if state.silent_since is None and now - since >= patience:
                found[name] = _silence(state, patience)
        return found

    def _rejecting(self, now: Millis) -> dict[str, Refusals]:
        return {
            name: refusals
            for name, refusals in self._refused.items()
            if refusals.many() and not refusals.told and not self._quiet(name, now)
        }

    def _quiet(self, name: str, now: Millis) -> bool:
        return name in self._told and 0 <= now - self._told[name] < QUIET

    async def _keep(
        self, states: dict[str, SourceState], silent: Mapping[str, Millis], events: Sequence[Event]
    ) -> None:
        """Write all in one transaction; what it does not take is told at another look."""
        changed = {
            name: msgspec.structs.replace(states.get(name, SourceState()), silent_since=since)
            for name, since in silent.items()
        }
        written = {name: states[name] for name in self._unwritten} | changed
        if written or events:
            await self._upkeep.remember(written, events)
        states.update(changed)
        self._unwritten.clear()


def _silence(state: SourceState, patience: Millis) -> str:
    last = "nothing has come so far"
    if state.last_at is not None:
        last = f"the last time was {rfc3339(state.last_at)}"
    return f"nothing came for {_span(patience)}: {last}"


def _span(duration: Millis) -> str:
    """As in the configuration: `2h`."""
    unit, size = next((unit, size) for unit, size in UNITS if duration % size == 0)
    return f"{duration // size}{unit}"
