"""Asks endpoints for their consent before anything is sent to them (CloudEvents webhooks, section 4).

It asks each subscription that wants a handshake until there is a grant, and takes the grants that
come by callback. Whether deliveries flow is the desk's matter, which reads what is written here.
"""

import asyncio
import contextlib
import hmac
import logging
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec

from gateway.consent import Reply, Word, asked_for, asked_rate, granted_rate, judge, question
from gateway.egress.answer import AttemptFailed
from gateway.egress.headers import check_headers, line
from gateway.egress.rules import parse_target
from gateway.egress.transport import Transport
from gateway.errors import BadRequest, NotFound, Unavailable
from gateway.models import Millis, Subscription
from gateway.retries import retry_after
from gateway.sender import USER_AGENT
from gateway.stores.base import Catalog, Consent, Handshake, Status

logger = logging.getLogger("gateway.handshakes")

PATH = "/handshakes/"  # of the callback's URL, before the secret
SECRET = 32  # random bytes in it
AT_ONCE = 64  # endpoints that are asked at the same time
SOON = 30_000  # ms until an endpoint that gave no answer is asked again; doubled each time
LATE = 3_600_000  # ms until one that did not consent is asked again; the longest wait of the others
JITTER = 0.1  # of each wait, both ways
TOGETHER = 0.05  # seconds after a write in which the next one gathers
STORE_PAUSE = 1.0  # seconds between two tries of a store that failed
LONGEST_SLEEP = 60.0  # seconds; a clock that was set back is noticed after this long

STATES = {
    Word.GRANTED: Consent.GRANTED,
    Word.DENIED: Consent.DENIED,
    Word.UNSUPPORTED: Consent.UNSUPPORTED,
}
"""What an answer writes; without an answer the state stays."""

Change = Callable[[Status], Handshake | None]  # what follows from how it stands; None: nothing
Wish = tuple[int, Change, "asyncio.Future[None]"]  # of a subscription, by its id


def new_secret() -> str:
    """What makes a callback's URL impossible to guess."""
    return secrets.token_urlsafe(SECRET)


class Handshakes:
    """`update` is to be called with all statuses after each change; `jitter()` lies in 0..1.

    `public_url` is where callbacks reach this gateway, `""` without one. `secret` makes what
    stands in their URLs.
    """

    def __init__(
        self,
        catalog: Catalog,
        transport: Transport,
        *,
        public_url: str,
        clock: Callable[[], Millis],
        secret: Callable[[], str] = new_secret,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._catalog, self._transport, self._clock = catalog, transport, clock
        self._public_url, self._secret, self._jitter = public_url, secret, jitter
        self._statuses: dict[int, Status] = {}
        self._asking: dict[int, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(AT_ONCE)
        self._changes: list[Wish] = []
        self._writing: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._stopping = False

    def update(self, statuses: Sequence[Status]) -> None:
        """Take over the catalog."""
        self._statuses = {status.subscription.id: status for status in statuses}
        self._wake.set()

    async def run(self) -> None:
        """Ask whoever is due until `stop`."""
        while not self._stopping:
            self._wake.clear()
            sleep = self._start_due()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(sleep):  # `wait_for` can lose a cancel before 3.12
                    await self._wake.wait()

    async def stop(self) -> None:
        """Let `run` return, and give up what is being asked: it is asked again after the start."""
        self._stopping = True
        self._wake.set()
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._writing is not None:
            await self._writing

    async def grant(self, secret: str, rate: bytes | None) -> str:
        """Take the consent of whoever calls back; the name of the subscription.

        `rate` is the value of `WebHook-Allowed-Rate`. It counts in every state: an endpoint that
        means to call back withholds its headers, and so looks like one that knows no handshake. A
        repeat changes nothing. Raises `NotFound`, `BadRequest` for a rate that is none, `Unavailable`.
        """
        subscription = self._find(secret).subscription

        def change(status: Status) -> Handshake | None:
            known = self._find(secret).handshake
            assert known is not None
            if known.state is Consent.GRANTED:
                return None
            try:
                allowed = granted_rate(rate, asked_rate(status.subscription))
            except ValueError as error:
                raise BadRequest(f"nothing is granted: {error}") from None
            return self._next(
                known, Reply(word=Word.GRANTED, rate=allowed, reason="by callback"), wait=0
            )

        await self._write(subscription.id, change)
        return subscription.name

    def _find(self, secret: str) -> Status:
        """Whose secret this is; each is compared, so that the time taken tells nothing."""
        given, found = secret.encode("utf-8", "surrogateescape"), None
        for status in self._statuses.values():
            known = _current(status)
            secret_of = known.secret.encode() if known is not None else b""
            if secret_of and hmac.compare_digest(secret_of, given):
                found = status
        if found is None:
            raise NotFound("there is no such handshake, or it is of an endpoint that has moved")
        return found

    def _start_due(self) -> float:
        """Ask those who are due; seconds until the next one is."""
        now, sleep = self._clock(), LONGEST_SLEEP
        for number, status in self._statuses.items():
            known = _current(status)
            if number in self._asking or not _is_open(status, known):
                continue
            due = Millis(0) if known is None else known.next_at
            if due > now:
                sleep = min(sleep, (due - now) / 1000)
                continue
            task = asyncio.create_task(self._ask(status), name=f"handshake {number}")
            self._asking[number] = task
            task.add_done_callback(partial(self._asked, number))
        return sleep

    def _asked(self, number: int, _: "asyncio.Task[None]") -> None:
        del self._asking[number]
        self._wake.set()

    async def _ask(self, status: Status) -> None:
        """One endpoint: have the store know its secret, ask, and write what was answered."""
        subscription, handshake = status.subscription, _current(status)
        try:
            async with self._room:
                if handshake is None:
                    handshake = await self._begin(subscription)
                reply, wait = await self._put(subscription, handshake)
            await self._settle(subscription, reply, wait)
        except NotFound:
            logger.info("subscription %s was removed while it was asked", subscription.name)
        except Exception:
            # Whatever one endpoint brought about, the others are asked all the same.
            logger.exception("the handshake of subscription %s met a bug", subscription.name)
            await asyncio.sleep(LONGEST_SLEEP)

    async def _begin(self, subscription: Subscription) -> Handshake:
        """A new handshake, stored before it is sent: the callback may be faster than the answer."""
        begun = Handshake(
            asked_for=asked_for(subscription) or "",
            secret=self._secret(),
            reason="its endpoint has not answered yet",
        )
        await self._insist(subscription, lambda _: begun)
        return begun

    async def _put(self, subscription: Subscription, handshake: Handshake) -> tuple[Reply, int]:
        """Send the question; what came of it, and how long the endpoint wants to be left alone."""
        base = self._public_url
        callback = f"{base}{PATH}{handshake.secret}" if base else None
        try:
            answer = await self._transport.request(
                b"OPTIONS",
                parse_target(subscription.url),
                _own_headers(subscription) + question(subscription, callback),
                b"",
                timeout=subscription.timeout / 1000,
            )
        except (AttemptFailed, ValueError) as error:
            return Reply(word=Word.LATER, reason=f"it could not be asked: {error}"), 0
        assert subscription.origin is not None
        reply = judge(
            answer.status,
            answer.headers,
            origin=subscription.origin,
            asked=asked_rate(subscription),
        )
        wait = retry_after(answer.headers.get(b"retry-after"), self._clock() / 1000)
        return reply, wait or 0

    async def _settle(self, subscription: Subscription, reply: Reply, wait: int) -> None:
        """Write an answer, unless what it is about has changed, or a callback was faster."""

        def change(status: Status) -> Handshake | None:
            known = _current(status)
            if known is None or known.asked_for != asked_for(subscription):
                return None
            if known.state is Consent.GRANTED:
                return None
            return self._next(known, reply, wait=wait)

        await self._insist(subscription, change)

    def _next(self, known: Handshake, reply: Reply, *, wait: int) -> Handshake:
        """What a handshake becomes by a reply now; it is asked again after `wait` or later."""
        now = self._clock()
        pause = max(_pause_after(known, reply.word) * (1 + JITTER * (2 * self._jitter() - 1)), wait)
        silent = reply.word is Word.LATER and known.state is not Consent.PENDING
        return msgspec.structs.replace(
            known,
            state=STATES.get(reply.word, known.state),
            rate=reply.rate,
            reason=known.reason if silent else reply.reason,
            asked_at=now,
            next_at=Millis(now + int(pause)),
        )

    async def _insist(self, subscription: Subscription, change: Change) -> None:
        """Write, however often it takes; `NotFound`."""
        while True:
            try:
                await self._write(subscription.id, change)
            except Unavailable as error:
                name = subscription.name
                logger.warning("cannot write the handshake of subscription %s: %s", name, error)
                await asyncio.sleep(STORE_PAUSE)
            else:
                return

    async def _write(self, number: int, change: Change) -> None:
        """Write what `change` makes of a status, together with what else is to be written.

        Raises what `change` raises, `NotFound`, `Unavailable`.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changes.append((number, change, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all(), name="handshakes: write")
        await done

    async def _write_all(self) -> None:
        """Write while there is something: everyone reads the whole catalog after each time."""
        while self._changes:
            changes, self._changes = self._changes, []
            await self._write_together(changes)
            await asyncio.sleep(TOGETHER)
        self._writing = None

    async def _write_together(self, changes: Sequence[Wish]) -> None:
        """From reading the states to having written the next; nobody else writes meanwhile."""
        written: dict[int, Handshake] = {}
        known = self._statuses
        waiting = []
        for number, change, done in changes:
            try:
                made = change(_status(known, written, number))
            except Exception as error:  # noqa: BLE001 - a bug too is for who waits, and for nobody else
                _end(done, error)
                continue
            waiting.append((number, done))
            if made is not None:
                written[number] = made
        names = {number: known[number].subscription.name for number, _ in waiting}
        try:
            stored = {names[number]: made for number, made in written.items()}
            unknown = await self._catalog.consent(stored) if stored else ()
        except Exception as error:  # noqa: BLE001 - as above
            for _, done in waiting:
                _end(done, error)
            return
        for number, done in waiting:
            _end(done, _removed(names[number]) if names[number] in unknown else None)
        for number, made in written.items():
            if names[number] not in unknown:
                _log(known[number], made)


def _status(known: Mapping[int, Status], written: Mapping[int, Handshake], number: int) -> Status:
    """How it stands after what is written with this; `NotFound`."""
    if number not in known:
        raise _removed(f"number {number}")
    status = known[number]
    handshake = written.get(number, status.handshake)
    return msgspec.structs.replace(status, handshake=handshake)


def _removed(name: str) -> NotFound:
    return NotFound(f"there is no subscription {name} any more")


def _end(done: "asyncio.Future[None]", error: Exception | None) -> None:
    if done.done():  # who waited was cancelled
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


def _log(before: Status, after: Handshake) -> None:
    known = _current(before)
    if known is None or (after.state, after.reason) == (known.state, known.reason):
        return
    level = logging.INFO if after.state is Consent.GRANTED else logging.WARNING
    because = f": {after.reason}" if after.reason else ""
    name = before.subscription.name
    logger.log(level, "subscription %s: handshake %s%s", name, after.state, because)


def _current(status: Status) -> Handshake | None:
    """What its endpoint, where it is now, was asked; None when it was not."""
    known = status.handshake
    wanted = asked_for(status.subscription)
    return known if known is not None and known.asked_for == wanted else None


def _is_open(status: Status, known: Handshake | None) -> bool:
    """Whether its endpoint is to be asked, now or later."""
    subscription = status.subscription
    if subscription.origin is None or not subscription.enabled or status.state != "active":
        return False
    return known is None or known.state is not Consent.GRANTED


def _pause_after(known: Handshake, word: Word) -> int:
    """How long to wait after such an answer, in milliseconds: doubling while there is none."""
    if word is not Word.LATER or known.state is not Consent.PENDING:
        return LATE
    if known.asked_at is None:
        return SOON
    return min(max(2 * (known.next_at - known.asked_at), SOON), LATE)


def _own_headers(subscription: Subscription) -> bytes:
    check_headers(subscription.headers)
    own = b"".join(line(name, value) for name, value in subscription.headers)
    if any(name.lower() == "user-agent" for name, _ in subscription.headers):
        return own
    return b"User-Agent: %b\r\n%b" % (USER_AGENT, own)
