"""Events as they come, a line each, and forwarded where that is wanted, with what came of it.

Events go to standard output, what is said about them to standard error.
"""

import asyncio
import json
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec
from rich.console import Console
from rich.text import Text

from gateway.catalogue import MEANINGS
from gateway.cli.following import Following, name_of
from gateway.cli.forwarding import Forwarder, Key, development_key
from gateway.cli.options import Place
from gateway.cli.sse import Message
from gateway.cli.tables import clean, counted
from gateway.config.advice import GROUPS
from gateway.config.reader import suggestion
from gateway.egress.rules import parse_target
from gateway.errors import GatewayError
from gateway.events import event_id
from gateway.matching import wants_type
from gateway.models import Outcome, Subscription
from gateway.publisher import SHOP, SOURCE

OWN_ID = re.compile(r"evt_[0-9a-f]{40}")
BEYOND_ASCII = re.compile("[\x7f-\U0010ffff]")


class _Named(msgspec.Struct, frozen=True):
    """What of an event's data names its order."""

    order: str | None = None


class _Event(msgspec.Struct, frozen=True):
    """What of a CloudEvent is shown."""

    id: str
    source: str
    type: str
    time: str | None = None
    subject: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def order(self) -> str | None:
        """The order that it is about, else its subject."""
        try:
            named = msgspec.json.decode(self.data, type=_Named).order
        except msgspec.MsgspecError:
            named = None
        return named or self.subject

    @property
    def webhook_id(self) -> str:
        """The `webhook-id` of its deliveries.

        One that was published keeps the id that its sender chose, and is delivered under one of the
        gateway's. Its shop does not stand in it: it is taken for the default one.
        """
        if OWN_ID.fullmatch(self.id):
            return self.id
        occurrence = msgspec.json.encode([self.source, self.id]).decode()
        return event_id(SHOP, "", self.type, (SOURCE, occurrence))


def listen(
    place: Place,
    query: Mapping[str, str],
    *,
    to: Subscription | None,
    as_json: bool,
) -> None:
    """Show events, and forward them `to` an endpoint, until Ctrl-C; then say how many.

    `query` is that of the stream. Raises `GatewayError` for what would fail again.
    """
    listening = _Listening(place, as_json=as_json)
    try:
        asyncio.run(listening.run(query, to))
    except KeyboardInterrupt:
        _tell(listening.summary())


def unknown_types(patterns: Iterable[str]) -> Iterable[str]:
    """What looks like a mistake in types."""
    for pattern in patterns:
        if pattern != "*" and not any(wants_type([pattern], known) for known in MEANINGS):
            near = suggestion(pattern, [*MEANINGS, *GROUPS])
            yield (
                f'--types: the catalogue has no event of the type "{pattern}"{near};'
                " only what services publish could have it"
            )


class _Listening:
    """What is shown, and counted."""

    def __init__(self, place: Place, *, as_json: bool) -> None:
        self._place, self._as_json = place, as_json
        self._forwarder: Forwarder | None = None
        self._entered = False
        self._events = self._forwarded = self._failed = 0
        self._console = Console(
            file=sys.stdout, force_terminal=sys.stdout.isatty(), highlight=False, soft_wrap=True
        )

    async def run(self, query: Mapping[str, str], to: Subscription | None) -> None:
        following = Following(self._place, query, entered=self._enter, lost=self._lose)
        if to is None:
            await following.run(self._take)
            return
        key = development_key()
        _greet(to, key, as_json=self._as_json)
        self._forwarder = Forwarder(to, key)
        try:
            await following.run(self._take)
        finally:
            await self._forwarder.close()

    def summary(self) -> str:
        events = counted(self._events, "event")
        if self._forwarder is None:
            return f"{events}."
        return f"{events}, {self._forwarded} forwarded, {self._failed} failed."

    def _enter(self) -> None:
        again = "The stream goes on." if self._entered else ""
        self._entered = True
        _tell(again or f"Listening to {clean(name_of(self._place))}; Ctrl-C ends it.")

    def _lose(self, why: str) -> None:
        _tell(f"Cut off: {clean(why)}. It is tried again until it goes on behind the last event.")

    async def _take(self, message: Message) -> None:
        try:
            event = msgspec.json.decode(message.data, type=_Event)
        except msgspec.MsgspecError:
            raise GatewayError(
                "the stream has something that is no event: compare the gateway's version with that"
                " of `gateway version`"
            ) from None
        self._events += 1
        if not self._as_json:
            self._show(event)
        outcome = None
        if self._forwarder is not None:
            outcome = await self._forwarder.send(event.webhook_id, event.type, message.data)
            if outcome.failure is None:
                self._forwarded += 1
            else:
                self._failed += 1
        if self._as_json:
            self._write(event, message.data, outcome)
        elif outcome is not None:
            self._console.print(_came_of(outcome))

    def _show(self, event: _Event) -> None:
        order, when = clean(event.order or ""), clean(_local(event.time))
        kind = f"{clean(event.type):<18}"
        line = Text(f"{when}  ").append(kind, "cyan").append(f"  {order:<12}  {clean(event.id)}")
        self._console.print(line)

    def _write(self, event: _Event, body: bytes, outcome: Outcome | None) -> None:
        told: dict[str, object] = {
            "time": event.time,
            "type": event.type,
            "order": event.order,
            "id": event.id,
            "event": msgspec.Raw(body),
        }
        if outcome is not None:
            told["forward"] = {
                "status": outcome.status,
                "duration_ms": round(outcome.duration, 1),
                "failure": outcome.failure,
                "detail": outcome.detail,
            }
        text = msgspec.json.encode(told).decode()
        # What is beyond ASCII stands within strings, and may be printed to a terminal only so.
        plain = BEYOND_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)
        sys.stdout.write(f"{plain}\n")
        sys.stdout.flush()


def _greet(subscription: Subscription, key: Key, *, as_json: bool) -> None:
    """Say how it is forwarded; the secret is shown on a terminal only."""
    if sys.stdout.isatty() and not as_json:
        sys.stdout.write(f"Your development secret is {key.secret} (it stays the same).\n")
        sys.stdout.flush()
    else:
        _tell(f"Your development secret is in {clean(str(key.file))} (it stays the same).")
    flat = ", flat" if subscription.flat else ""
    _tell(
        f"Forwarding to {parse_target(subscription.url).origin} in the mode {subscription.mode}"
        f"{flat}: each event once, a failure is not tried again."
    )


def _came_of(outcome: Outcome) -> Text:
    took = f"in {outcome.duration:.0f} ms"
    if outcome.failure is None:
        return Text("  ").append(f"{outcome.status} {took}", "green")
    why = clean(outcome.detail).rstrip(".")
    return Text("  ").append(f"failed {took}: {why}", "red")


def _local(time: str | None) -> str:
    """A time of an event in the zone of this machine."""
    try:
        return datetime.fromisoformat((time or "").upper()).astimezone().isoformat(" ", "seconds")
    except (ValueError, OverflowError):
        return time or ""


def _tell(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()
