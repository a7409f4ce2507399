"""`gateway watch`, `poll` and `reconcile`: what a person asks of a source that never calls.

The running gateway does it, or with `--url` another one, and tells line by line how it goes. When
none runs, it is done here, on the store itself.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Container
from urllib.parse import urlencode

import msgspec

from gateway.cli.bars import bar
from gateway.cli.control import act_on, follow, owning
from gateway.cli.known import with_made
from gateway.cli.look import Told, require_store, say
from gateway.cli.options import Place
from gateway.cli.remote import Line, source_path
from gateway.cli.reports import Comparison, Round
from gateway.cli.tables import clean
from gateway.config.settings import Settings
from gateway.config.values import A_DURATION, parse_duration
from gateway.errors import GatewayError, NotFound, StartupError, some_of
from gateway.poller.inquiry import Found
from gateway.poller.poller import Ended
from gateway.poller.reconcile import Compared
from gateway.runtime import Gateway
from gateway.shown import shown, taken
from gateway.stores.registry import database_path, make_records
from gateway.telemetry.logs import configure
from gateway.web.api.lists import ago

Whole = Callable[[], Settings]
Ask = Callable[[Gateway], AsyncIterator[Line]]


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    """One of these; what `Poller.once` and `Poller.reconcile` tell."""

    listed: bool | msgspec.UnsetType = msgspec.UNSET
    found: Found | msgspec.UnsetType = msgspec.UNSET
    compared: Compared | msgspec.UnsetType = msgspec.UNSET
    end: Ended | msgspec.UnsetType = msgspec.UNSET
    error: str | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        if sum(getattr(self, name) is not msgspec.UNSET for name in self.__struct_fields__) != 1:
            raise ValueError("a line tells one thing")


def watch(place: Place, name: str, number: str, order: str | None, *, whole: Whole) -> Told:
    """Ask for an order from now on; what was done. `NotFound`."""
    done = act_on(
        place,
        source_path(name, "watch"),
        lambda gateway: gateway.poller.watch(name, number, order),
        body={"id": number, "order": order},
        whole=lambda: _asking(whole(), name),
    )
    named = f", as order {order}" if order is not None else ""
    known = "is" if done.answer["new"] else "was"
    if not done.live:
        already = "" if done.answer["new"] else " already"
        then = f"watched{already}{named}; asking begins with `gateway serve`"
    elif done.answer["new"]:
        then = f"asked for from now on{named}"
    else:
        then = f"watched already: it is asked for at once{named}"
    refused, but = done.answer["refused"], ""
    if done.answer["paused"]:
        but = f" But the source is paused: it is not asked before `gateway sources resume {name}`."
    elif refused:
        but = f" But the source asks no more until its configuration changes: {refused}."
    return done.told(clean(f"Order {number} of source {name} {known} {then}.{but}"))


def poll(place: Place, name: str, *, whole: Whole, as_json: bool) -> int:
    """Ask for all that is due, once, and print what came; 1 when the round could not be finished."""
    report = Round(name)
    with bar(f"asking {name}", as_json=as_json) as advance:

        def tell(line: Line) -> None:
            report.take(line)
            advance(len(report.found), None)
            if as_json:
                say(json.dumps(_line(line)))

        def ask(gateway: Gateway) -> AsyncIterator[Line]:
            return gateway.poller.once(name)

        path = source_path(name, "poll")
        live = _told(place, path, ask, tell, whole=lambda: _asking(whole(), name), fresh=True)
    if not as_json:
        report.show(live=live)
    return 0 if report.finished else 1


def reconcile(
    place: Place, name: str, since: str | None, *, whole: Whole, emit: bool, as_json: bool
) -> int:
    """Compare all orders of a source with what is known, and print it; 1 when something is left open."""
    _check_since(since)
    report = Comparison(emit=emit)
    with bar(f"comparing {name}", as_json=as_json) as advance:

        def tell(line: Line) -> None:
            report.take(line)
            if "compared" in line:
                advance(line["compared"]["done"], line["compared"]["total"])
            if as_json:
                say(json.dumps(_line(line)))

        def ask(gateway: Gateway) -> AsyncIterator[Line]:
            start = ago(since, gateway.clock())
            return gateway.poller.reconcile(name, since=start, emit=emit)

        wanted = {"emit": "true" if emit else "false"} | ({"since": since} if since else {})
        path = f"{source_path(name, 'reconcile')}?{urlencode(wanted)}"
        live = _told(place, path, ask, tell, whole=lambda: _asking(whole(), name))
    if not as_json:
        report.show(live=live)
    return 0 if report.good else 1


def _line(line: Line) -> Line:
    """A line as it is printed: with times as people read them."""
    return {"end": shown(msgspec.convert(line["end"], Ended))} if "end" in line else line


def _plain(line: Line) -> Line:
    """A line of the API as `Poller` told it: with times as milliseconds."""
    try:
        told = taken(line, _Line)
    except (msgspec.ValidationError, TypeError, ValueError):
        raise GatewayError(
            "the gateway answered what this version does not understand: compare its version with"
            " that of `gateway version`"
        ) from None
    return dict(msgspec.to_builtins(told))


def _check_since(since: str | None) -> None:
    try:
        parse_duration(since or "1d")
    except ValueError:
        raise StartupError(f"--since: expected {A_DURATION}, got {since!r}") from None


def _asking(settings: Settings, name: str) -> Settings:
    """The settings, when they or the database ask this source: before anything is locked for it."""
    if name in (asked := _polled(settings)):
        return settings
    asked += _polled(with_made(settings), but=settings.sources)
    if name not in asked:
        raise NotFound(f"there is no polled source {name!r}; polled sources are {some_of(asked)}")
    return settings


def _polled(settings: Settings, *, but: Container[str] = ()) -> list[str]:
    return [
        name
        for name, source in settings.sources.items()
        if source.enabled and source.poll is not None and name not in but
    ]


def _told(
    place: Place,
    path: str,
    ask: Ask,
    tell: Callable[[Line], None],
    *,
    whole: Whole,
    fresh: bool = False,
) -> bool:
    """Have each line told by the running gateway; without one, by what `ask` gives here: False.

    `fresh` permits that there is no database yet.
    """
    require_store(place)
    if follow(place, path, lambda line: tell(_plain(line))) or not isinstance(place, Settings):
        return True
    fresh = fresh and not database_path(place.store.url).exists()
    configure("critical", json=False)  # what the gateway would log of it is told anyway
    asyncio.run(_directly(whole(), ask, tell, fresh=fresh))
    return False


async def _directly(
    settings: Settings, ask: Ask, tell: Callable[[Line], None], *, fresh: bool
) -> None:
    if not fresh:
        async with make_records(settings.store.url):
            pass  # a missing or foreign file is refused before a lock is made beside it
    async with owning(settings, sources=True) as gateway:
        async for line in ask(gateway):
            tell(msgspec.to_builtins(line))
