"""Asks one source, round by round: what is listed, what is due, and when again."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gateway.errors import AskFailed, Denied, Malformed, Missing, Throttled, TokenRefused
from gateway.events import LATEST
from gateway.models import Event, Listed, Millis, Reply
from gateway.orders.state import load
from gateway.poller.asker import Resting
from gateway.poller.inquiry import Found, Inquiry, RoundEnded, as_failure
from gateway.poller.limits import until
from gateway.poller.schedule import DAY, HOUR, JITTER, LONGEST_BACKOFF, MINUTE, backoff, jittered
from gateway.providers.base import calls
from gateway.stores.base import Poll, Watch

FAILING = 4  # failed rounds in a row after which it is said
HOPELESS = 3  # unreadable orders in a row that end a round: then it is the API, not an order
PART = 500  # entries of a page that are looked up at a time: it may have as many as it likes
ADOPTED = 500  # callbacks that are looked through at a time

logger = logging.getLogger("gateway.poller")


class SourcePoller:
    """The one task that asks a source; `lock` keeps its rounds from overlapping."""

    def __init__(self, inquiry: Inquiry) -> None:
        self.inquiry = inquiry
        self.source, self.asker, self.parts = inquiry.source, inquiry.asker, inquiry.parts
        self.lock = asyncio.Lock()
        self.wake = asyncio.Event()
        self._poll = Poll(
            source=self.source.name,
            fingerprint=self.source.fingerprint,
            account=self.source.account,
            since=Millis(0),
        )
        self._adopted = False
        self._hurried = False  # someone asks for a round while one is under way
        self._passed: set[str] = set()  # what the list has shown since its first page
        self._good = 0  # answers of this round

    # One round.

    async def round(
        self, tell: Callable[[Found], None] = lambda _: None, *, all_of_them: bool = False
    ) -> Poll:
        """Ask for all that is due, and write where it ended; `tell` hears of every order.

        With `all_of_them` also for what is not due yet, as far as a round's budget reaches.
        """
        async with self.lock:
            self._poll, started = await self.state(), self.parts.clock()
            if not all_of_them and (self._poll.refused or self._poll.next_at > started):
                return self._poll  # a round by hand has just changed that
            self._good = self.asker.sent = 0
            problems: list[str] = []
            listing: AskFailed | None = None
            try:
                if calls(self.source.provider) and not self._adopted:
                    await self._adopt()
                listing = await self._try_list(tell)
                await self._ask_due(Millis(LATEST) if all_of_them else None, tell, problems)
            except RoundEnded as ended:
                if not isinstance(ended.cause, Resting):
                    listing, self._good = ended.cause, 0
            for problem in problems:
                logger.warning("source %s: %s", self.source.name, problem)
            if listing is not None and not self._good:
                await self._failed(listing)
            else:
                await self._ended(started, listing)
            return self._poll

    async def _try_list(self, tell: Callable[[Found], None]) -> AskFailed | None:
        """Go on with the list; what is wrong with it must not keep us from the orders themselves."""
        try:
            await self._list(tell)
        except RoundEnded as ended:
            if isinstance(ended.cause, TokenRefused | Throttled):
                raise
            return ended.cause
        return None

    async def _ended(self, started: Millis, listing: AskFailed | None) -> None:
        """Write that the round went through; only an answer shows that the API is well.

        A list that fails while the orders answer counts as a failure, but slows nothing down.
        """
        now, known = self.parts.clock(), self._poll
        pace = 0 if self._hurried else jittered(self.source.interval, self.parts.uniform)
        self._hurried = False
        changes: dict[str, Any] = {"next_at": max(self.asker.paused_until, Millis(started + pace))}
        events: list[Event] = []
        if self.asker.sent:
            changes["asked_at"] = now
        if self._good:
            changes |= {"refused": None, "failures": 0, "problem": None, "answered_at": now}
        if self._good and listing is not None:
            problem = f"the list of orders: {listing}"
            changes |= {"failures": known.failures + 1, "problem": problem}
            if problem != known.problem:
                logger.warning("source %s: %s", self.source.name, problem)
            if known.failures + 1 == FAILING:
                events.append(self.parts.operations.source("failing", self.source.name, problem))
        await self._save(events, **changes)
        long = self.asker.paused_until - now
        if long > max(HOUR, 2 * self.source.interval):
            rest = until(self.asker.paused_until)
            logger.warning("source %s: its API wants no more requests until %s", known.source, rest)

    async def state(self) -> Poll:
        """Where the poller was; another configuration lifts a refusal and reads all orders anew."""
        source, now = self.source, self.parts.clock()
        fresh = Poll(
            source=source.name, fingerprint=source.fingerprint, account=source.account, since=now
        )
        poll = await self.parts.polls.state(source.name)
        if poll is None:
            await self.parts.polls.save(poll := fresh)
        set_back = poll.asked_at is not None and poll.asked_at > now + HOUR
        if poll.fingerprint != source.fingerprint or set_back:
            # After a clock that was set back, all that was planned would wait until it is there again.
            self.asker.paused_until = Millis(0)
            await self.parts.polls.refresh(source.name, now)
            # Another account's orders are other orders: its history is no news.
            same = poll.account == source.account
            poll = msgspec.structs.replace(
                fresh,
                since=min(poll.since, now) if same else now,
                listed=poll.listed and same,
                adopted=poll.adopted,
                refused=poll.refused if poll.fingerprint == source.fingerprint else None,
            )
            await self.parts.polls.save(poll)
        self.inquiry.since = poll.since
        self.asker.paused_until = max(self.asker.paused_until, poll.paused_until)
        return poll

    async def hurry(self) -> str | None:
        """Begin the next round now, unless the API is to be left alone, or right after this one.

        Why the source asks no more at all, when it does not.
        """
        poll = await self.state()
        self._hurried = self.lock.locked()
        if self._hurried or poll.failures or poll.refused:
            return poll.refused
        now = Millis(max(self.parts.clock(), self.asker.paused_until))
        await self.parts.polls.save(msgspec.structs.replace(poll, next_at=now))
        self.wake.set()
        return None

    async def _save(self, events: Sequence[Event] = (), **changes: Any) -> None:
        changes["paused_until"] = self.asker.paused_until
        self._poll = msgspec.structs.replace(self._poll, **changes)
        await self.parts.polls.save(self._poll, events)

    async def _failed(self, cause: AskFailed) -> None:
        """Back off, and say so: a refused token at once, all else when it lasts."""
        now, name, known = self.parts.clock(), self.source.name, self._poll
        failures, reason = known.failures + 1, str(cause)
        refused = reason if isinstance(cause, TokenRefused) else known.refused
        wait = backoff(
            failures,
            interval=self.source.interval,
            longest=LONGEST_BACKOFF,
            uniform=self.parts.uniform,
        )
        again = Millis(max(now + wait, self.asker.paused_until))
        news = known.refused is None and (refused is not None or failures == FAILING)
        await self._save(
            [self.parts.operations.source("failing", name, reason)] if news else (),
            refused=refused,
            failures=failures,
            problem=reason,
            next_at=again,
            asked_at=now,
        )
        if refused is not None:
            then = "it is asked no more until its configuration changes"
            logger.error("source %s: %s; %s", name, reason, then)
        else:
            logger.warning("source %s: %s; it is asked again at %s", name, reason, until(again))

    # Which orders.

    async def _adopt(self) -> None:
        """Watch the orders that this source's callbacks told of before it was polled.

        Once a start is enough: the receiver adds what callbacks tell of from then on.
        """
        provider = self.source.provider.name

        def numbers_of(state: bytes) -> Sequence[str]:
            return load(state).ids.get(provider, [])

        while True:
            last, numbers = await self.parts.polls.adopt(
                self.source.name, after=self._poll.adopted, limit=ADOPTED, numbers_of=numbers_of
            )
            if last == self._poll.adopted:
                self._adopted = True
                return
            await self.parts.polls.watch([self.inquiry.new(number) for number in numbers])
            await self._save(adopted=last)

    async def _list(self, tell: Callable[[Found], None]) -> None:
        """Go on with the list, page by page: the first time as far as a round's budget reaches.

        Later a quarter of it must do, so that long lists leave room for the orders themselves.
        """
        pages = self._round_size() // 4 if self._poll.listed else self._round_size()
        for _ in range(max(1, pages)):
            cursor = self._poll.cursor
            if cursor is None:
                self._passed = set()
            query = self.source.provider.page(cursor)
            if query is None:
                return
            try:
                page, reply = await self.inquiry.page(query, cursor)
            except RoundEnded as ended:
                # A cursor may have expired: when it fails twice, the next round begins anew.
                if self._poll.problem and not isinstance(ended.cause, Throttled):
                    await self._save(cursor=None)
                raise
            self._good += 1
            for start in range(0, len(page.orders), PART):
                await self._take_part(page.orders[start : start + PART], reply, tell)
            numbers = {entry.number for entry in page.orders}
            # A list that repeats itself has no next page, whatever it says.
            repeats = page.cursor == cursor or (bool(numbers) and numbers <= self._passed)
            last = page.cursor is None or repeats
            self._passed |= numbers
            following = None if last else page.cursor
            await self._save(cursor=following, listed=self._poll.listed or last)
            if last:
                return

    async def _take_part(
        self, listed: Sequence[Listed], reply: Reply, tell: Callable[[Found], None]
    ) -> None:
        """Watch what is new; an entry that says all is read at once."""
        numbers = [entry.number for entry in listed]
        known = dict(await self.parts.polls.find(self.source.name, numbers))
        new = [
            self.inquiry.new(number, baseline=not self._poll.listed)
            for number in dict.fromkeys(numbers)
            if number not in known
        ]
        await self.parts.polls.watch(new)
        known |= {watch.number: watch for watch in new}
        for entry in listed:
            watch = known[entry.number]
            if watch.next_at is None and watch.problem is not None:
                await self._revive(watch)
            if entry.body is None:
                continue
            try:
                said = msgspec.structs.replace(reply, status=200, body=entry.body)
                await self._take_entry(watch, said, tell)
            except (AskFailed, Malformed) as error:
                tell(Found(number=entry.number, problem=str(error)))  # it is asked for by itself

    async def _revive(self, watch: Watch) -> None:
        """An order that was given up, and that the list has all the same, is asked for once a day."""
        now = self.parts.clock()
        if now - watch.changed_at >= DAY:
            again = msgspec.structs.replace(watch, next_at=now, failures=0, changed_at=now)
            await self.parts.polls.put(again)

    async def _take_entry(self, watch: Watch, said: Reply, tell: Callable[[Found], None]) -> None:
        """An entry that says all shows that an order has changed; the order itself may say more.

        What is history is taken from the list at once: nothing of it is told.
        """
        seen = self.inquiry.read(watch, [said]).seen
        if seen == watch.entry:
            return
        first = watch.entry is None and watch.seen is None
        listed = msgspec.structs.replace(watch, entry=seen)
        if first and watch.baseline and not self.inquiry.more(said):
            await self.parts.polls.put(listed)
            tell(await self.inquiry.take(listed, [said]))
        else:
            now = self.parts.clock()
            await self.parts.polls.put(msgspec.structs.replace(listed, next_at=now))

    async def _ask_due(
        self, end: Millis | None, tell: Callable[[Found], None], problems: list[str]
    ) -> None:
        """Ask for what is due before `end`: by default half an interval ahead.

        So nothing that a jitter put right behind a round has to wait for the one after it.
        """
        if end is None:
            end = Millis(self.parts.clock() + self.source.interval // 2)
        room = max(1, self._round_size() - self.asker.sent)
        failed: list[tuple[Watch, AskFailed | Malformed]] = []
        stopped: RoundEnded | None = None
        in_a_row = 0
        for watch in await self.parts.polls.due(self.source.name, end, room):
            try:
                tell(await self.inquiry.take(watch, await self.inquiry.replies(watch)))
            except (TokenRefused, Throttled) as error:
                stopped = RoundEnded(error)
                break
            except (AskFailed, Malformed) as error:
                tell(Found(number=watch.number, problem=str(error)))
                failed.append((watch, error))
                # That an order is missing, or another's, is an answer like any other.
                if isinstance(error, Missing | Denied):
                    in_a_row = 0
                    continue
                in_a_row += 1
                if in_a_row == HOPELESS:
                    break
                continue
            self._good, in_a_row = self._good + 1, 0
        try:
            await self._judge(failed, problems, hopeless=in_a_row == HOPELESS)
        except RoundEnded:
            if stopped is None:
                raise
        if stopped is not None:
            raise stopped

    async def _judge(
        self,
        failed: Sequence[tuple[Watch, AskFailed | Malformed]],
        problems: list[str],
        *,
        hopeless: bool,
    ) -> None:
        """Say whose fault it was: the orders', which are asked less, or the API's (`RoundEnded`).

        When it was the API's, no order is neglected for it: a day without the API would cost
        each of them another day. They only go behind those that are asked once an interval.
        """
        down = self._is_down([error for watch, error in failed if not watch.failures], hopeless)
        behind = Millis(self.parts.clock() + int(self.source.interval * (1 + JITTER)))
        for watch, error in failed:
            if down is not None:
                await self.parts.polls.put(msgspec.structs.replace(watch, next_at=behind))
            else:
                problems += await self.inquiry.neglect(watch, error)
        if any(isinstance(error, Missing | Denied) for _, error in failed):
            self._good += 1
        if down is not None or hopeless:
            raise RoundEnded(down or as_failure(failed[-1][1]))

    def _is_down(
        self,
        errors: Sequence[AskFailed | Malformed],
        hopeless: bool,  # noqa: FBT001
    ) -> AskFailed | None:
        """What is wrong with the API rather than with orders that failed for the first time."""
        if self._good or not errors:
            return None
        missing = [error for error in errors if isinstance(error, Missing)]
        if len(missing) == len(errors) and self._poll.answered_at is None:
            return AskFailed(f"it knows no order that it was asked for ({missing[0]})")
        down = [error for error in errors if not isinstance(error, Missing | Denied)]
        if down and (hopeless or any(isinstance(error, AskFailed) for error in down)):
            return as_failure(down[-1])
        return None

    def _round_size(self) -> int:
        """How many requests the budget allows between two rounds."""
        return max(1, self.source.requests_per_minute * self.source.interval // MINUTE)
