"""`gateway quarantine`: look at a callback that could not be read, and read what lies there again."""

import asyncio
import re
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from gateway.cli.control import LATER, ask, owning
from gateway.cli.look import body, draw, read, read_afar, read_here, say
from gateway.cli.options import Place
from gateway.cli.remote import Answer
from gateway.cli.tables import callback_view, clean, counted, to_json
from gateway.config.settings import Settings
from gateway.errors import Conflict, GatewayError, NotFound, Unavailable
from gateway.models import Verdict
from gateway.shown import shown
from gateway.stores.views import CallbackRow
from gateway.telemetry.logs import configure

ALL = 1_000_000  # callbacks in one go: more than a quarantine ever holds

_CALLBACK = re.compile(r"(?:cb_)?([0-9]{1,18})")

Told = Callable[[str, Answer | GatewayError], None]


def show(place: Place, callback: str, *, as_json: bool) -> None:
    """Print what is known of a callback, and its body last; `NotFound`."""
    row, sent, headers = _sent(place, _named(callback))
    if as_json:
        say(to_json({**shown(row), "headers": headers, **_body(sent)}))
        return
    draw(callback_view(row, headers))
    say("")
    if headers == 0 and not sent:
        say("Its headers and its body were removed by retention.")
    body(sent)


def _sent(place: Place, callback: str) -> tuple[CallbackRow, bytes, int | None]:
    """A callback, its body, and how many headers it had, as far as the gateway tells."""
    if isinstance(place, Settings):
        row, sent = read_here(place, lambda records: records.callback(callback))
        return row, sent.body, len(sent.headers)
    return *read_afar(place, lambda records: records.callback_body(callback)), None


def _body(sent: bytes) -> dict[str, str]:
    """As CloudEvents has data: text where it is text."""
    try:
        return {"body": sent.decode()}
    except UnicodeDecodeError:
        return {"body_base64": b64encode(sent).decode()}


def retry(
    place: Place,
    callback: str | None,
    *,
    whole: Callable[[], Settings],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Read one callback again, or all, oldest first; print what that makes, or would make.

    The running gateway does it. When none runs, `whole` gives the settings with the sources and
    subscriptions, and it is done here. Raises `NotFound` and `Conflict` for a `callback` that is
    not in quarantine; among all of them, such a one is only told.
    """
    names = _waiting(place) if callback is None else [_present(place, callback)]
    if not names:
        nothing = to_json({"dry_run": dry_run, "callbacks": [], "live": False})
        say(nothing if as_json else "The quarantine is empty.")
        return
    report = Report(dry_run=dry_run)
    with _lines(len(names), quiet=as_json) as line:

        def tell(name: str, answer: Answer | GatewayError) -> None:
            if callback is not None and isinstance(answer, GatewayError):
                raise answer
            line([f"{name} {told}" for told in report.of(name, answer)])

        live = _live(place, names, tell, dry_run=dry_run)
        if not live:
            configure("error", json=False)  # what the gateway would log of each is told anyway
            asyncio.run(_directly(whole(), names, tell, dry_run=dry_run))
    if as_json:
        told = {"dry_run": dry_run, "callbacks": report.answers, "live": live}
        say(to_json(told))
    else:
        say(report.sums(len(names), live=live))


class Report:
    """From answers to lines: `+` what it makes, `=` nothing, `!` still in quarantine."""

    def __init__(self, *, dry_run: bool) -> None:
        self._dry_run = dry_run
        self.answers: list[Answer] = []
        self._events = self._made = self._nothing = 0

    def of(self, name: str, answer: Answer | GatewayError) -> list[str]:
        """The lines of one callback, whose answer is kept for a script."""
        if isinstance(answer, GatewayError):
            self.answers.append({"callback": name, "error": str(answer)})
            return [f"! not read: {answer}"]
        told = ("callback", "verdict", "reason", "events")
        self.answers.append({key: answer[key] for key in told})
        events: Sequence[Mapping[str, Any]] = answer["events"]
        reason = answer["reason"]
        if answer["verdict"] == Verdict.QUARANTINED:
            return [f"! still quarantined: {reason}"]
        if events:
            self._made += 1
            self._events += len(events)
            return [_event(event) for event in events]
        self._nothing += 1
        return [f"= nothing: {answer['verdict']}{f', {reason}' if reason else ''}"]

    def sums(self, total: int, *, live: bool) -> str:
        """The last line."""
        left = total - self._made - self._nothing
        of = f"Of {counted(total, 'callback')}"
        events = counted(self._events, "event")
        if self._dry_run:
            alone = " Each was tried alone, on what is known now." if total > 1 else ""
            return (
                f"{of} {self._made} would make {events}, {self._nothing} nothing,"
                f" {left} would stay in quarantine.{alone}"
            )
        later = LATER if self._events and not live else ""
        return (
            f"{of} {self._made} made {events}, {self._nothing} nothing,"
            f" {left} stayed in quarantine{later}."
        )


def _event(event: Mapping[str, Any]) -> str:
    order = f" of order {event['order']}" if event["order"] is not None else ""
    wanted = ", ".join(event["subscriptions"]) or "nobody"
    return f"+ {event['type']}{order} ({event['id']}) -> {wanted}"


def _named(callback: str) -> str:
    found = _CALLBACK.fullmatch(callback)
    if found is None:
        raise NotFound(
            f"there is no callback {callback}: an id looks like cb_5,"
            " `gateway quarantine` lists them"
        )
    return f"cb_{found[1]}"


def _present(place: Place, callback: str) -> str:
    """Its name, after a look that it is there: before anything is locked for it."""
    name = _named(callback)
    if isinstance(place, Settings):
        read_here(place, lambda records: records.callback(name))
    return name


def _waiting(place: Place) -> list[str]:
    rows = read(place, lambda records: records.quarantined(limit=ALL))
    return [row.id for row in reversed(rows)]


def _live(place: Place, names: Sequence[str], tell: Told, *, dry_run: bool) -> bool:
    """Ask the running gateway; False when none runs."""
    for done, name in enumerate(names):
        flag = "true" if dry_run else "false"
        try:
            answer = ask(place, f"/v1/callbacks/{name}/retry?dry_run={flag}")
        except (NotFound, Conflict) as error:
            tell(name, error)
            continue
        if answer is None and done:
            raise Unavailable(f"the gateway stopped after {counted(done, 'callback')}: try again")
        if answer is None:
            return False
        tell(name, answer)
    return True


async def _directly(settings: Settings, names: Sequence[str], tell: Told, *, dry_run: bool) -> None:
    async with owning(settings, sources=True) as gateway:
        for name in names:
            try:
                answer: Answer | GatewayError = await gateway.retry_callback(name, dry_run=dry_run)
            except (NotFound, Conflict) as error:
                answer = error
            tell(name, answer)


@contextmanager
def _lines(total: int, *, quiet: bool) -> Iterator[Callable[[list[str]], None]]:
    """Prints the lines of one callback after the other; on a terminal above a bar of progress."""
    if quiet:
        yield lambda _: None
        return
    if total == 1 or not sys.stdout.isatty():
        yield lambda lines: say("\n".join(map(clean, lines)))
        return
    columns = TextColumn("reading again"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=Console(), transient=True) as progress:
        task = progress.add_task("", total=total)

        def print_above(lines: list[str]) -> None:
            for line in lines:
                progress.console.print(Text(clean(line)), soft_wrap=True)
            progress.advance(task)

        yield print_above
