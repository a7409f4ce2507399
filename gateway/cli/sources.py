"""`gateway sources`: those of the configuration and those that were made, and how they do."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from gateway.cli import known
from gateway.cli.aim import Remote
from gateway.cli.control import ask
from gateway.cli.look import draw, read_afar, say
from gateway.cli.options import Place
from gateway.cli.remote import source_path
from gateway.cli.tables import Column, View, filled, local, to_json
from gateway.models import Millis
from gateway.shown import taken
from gateway.web.api.sources import Asking, Kind, SourceDetail

NONE = "There are no sources: the configuration declares them, or `gateway sources add` makes one."


class SourceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A source as it is shown; `state` is `disabled`, `paused`, `callbacks`, `rests`, or how the asking goes.

    Of its API only the `host` is shown, with the port. `watched` counts the orders that it is asked
    for. Times are those of the last good answer and of the next round. A source that is not
    `declared` in the file was made at run time.
    """

    name: str
    provider: str
    shop: str
    declared: bool
    callbacks: bool
    host: str | None
    state: str
    watched: int
    last_answer: Millis | None
    next_round: Millis | None
    reason: str | None


def sources(place: Place, config: Path | None, *, as_json: bool) -> None:
    """Print the sources of the file `config` and of the store, or those of a gateway elsewhere."""
    rows = [_row(one) for one in _details(place, config)]
    if as_json:
        say(to_json(rows))
    elif not rows:
        say(NONE)
    else:
        draw(filled(_view(rows)))


def show(place: Place, config: Path | None, name: str, *, as_json: bool) -> None:
    """Print everything of one source but its secrets, as the running gateway tells it; `NotFound`."""
    found = _detail(place, config, name)
    if as_json:
        say(to_json(found))
        return
    lines = [line for line in _lines(found) if line[1]]
    draw(View(columns=[Column("source"), Column(name, whole=False)], rows=lines))


def where(callbacks: str | None) -> str:
    """Where a source calls, also where `server.public_url` is not set; nothing when it does not."""
    path = callbacks or ""
    return f"{path} of the public listener" if path.startswith("/") else path


def _details(place: Place, config: Path | None) -> Sequence[SourceDetail]:
    if isinstance(place, Remote):
        return read_afar(place, lambda records: records.shown_sources())
    return known.details(place, config)


def _detail(place: Place, config: Path | None, name: str) -> SourceDetail:
    if isinstance(place, Remote):
        return read_afar(place, lambda records: records.shown_source(name))
    answer = ask(place, source_path(name), method="GET")
    return known.one_detail(place, config, name) if answer is None else taken(answer, SourceDetail)


def _row(source: SourceDetail) -> SourceRow:
    asking = source.asking
    return SourceRow(
        name=source.name,
        provider=source.provider,
        shop=source.shop,
        declared=source.declared,
        callbacks=source.kind in {Kind.CALLED, Kind.BOTH},
        host=asking.host if asking is not None else None,
        state=_state(source),
        watched=asking.watched if asking is not None else 0,
        last_answer=asking.answered_at if asking is not None else None,
        next_round=asking.next_at if asking is not None else None,
        reason=_reason(source),
    )


def _state(source: SourceDetail) -> str:
    if source.problem is not None:
        return "rests"
    if not source.enabled:
        return "disabled"
    if source.paused_at is not None:
        return "paused"
    return "callbacks" if source.asking is None else _asked(source.asking)


def _asked(asking: Asking) -> str:
    if asking.refused is not None:
        return "refused"
    if asking.problem is not None:
        return "failing"
    return "not asked yet" if asking.asked_at is None else "asked"


def _reason(source: SourceDetail) -> str | None:
    asking = source.asking
    if source.problem is not None or asking is None:
        return source.problem
    return asking.refused or asking.problem


def _view(rows: Sequence[SourceRow]) -> View:
    return View(
        columns=[
            *(Column("source"), Column("provider", spare=4), Column("shop", spare=1)),
            *(Column("made", spare=6), Column("callbacks", spare=2), Column("asked", spare=5)),
            *(Column("state"), Column("orders", spare=3), Column("last answer")),
            *(Column("next round"), Column("reason", whole=False)),
        ],
        rows=[
            (
                *(row.name, row.provider, row.shop, "" if row.declared else "at run time"),
                f"/hooks/{row.name}" if row.callbacks else "",
                *(row.host or "", row.state, str(row.watched) if row.host else ""),
                local(row.last_answer) if row.last_answer else "never" if row.host else "",
                local(row.next_round) if row.next_round else "",
                row.reason or "",
            )
            for row in rows
        ],
    )


def _lines(found: SourceDetail) -> Iterator[tuple[str, str]]:
    yield "state", _state(found)
    yield "reason", _reason(found) or ""
    yield "comes from", "the configuration" if found.declared else "a command or the API"
    keys = found.keys
    if not keys:  # it rests, or the key of whoever asks is a reader's
        keys = {"provider": found.provider, "shop": found.shop}
    for key, value in keys.items():
        yield key, _shown(value)
    yield "callbacks go to", where(found.callbacks)
    if found.kind is not Kind.NONE:
        yield "last heard of", "never" if found.heard_at is None else local(found.heard_at)
    yield "paused since", _time(found.paused_at)
    yield "silent since", _time(found.silent_since)
    reason = f", the last one because {found.rejected_reason}" if found.rejected_reason else ""
    yield "rejected since then", f"{found.rejected}{reason}" if found.rejected else ""
    if found.asking is not None:
        yield from _asking(found.asking)


def _asking(asking: Asking) -> Iterator[tuple[str, str]]:
    yield "orders", str(asking.watched)
    yield "last asked", _time(asking.asked_at) or "never"
    yield "last answer", _time(asking.answered_at) or "never"
    yield "failed in a row", str(asking.failures or "")
    yield "next round", _time(asking.next_at)


def _time(at: Millis | None) -> str:
    return "" if at is None else local(at)


def _shown(value: object) -> str:
    """A key as the configuration would have it."""
    match value:
        case None:
            return ""
        case dict() if not value:
            return ""
        case bool():
            return str(value).lower()
        case list() if all(isinstance(one, str | int) for one in value):
            return ", ".join(map(str, value))
        case str() | int():
            return str(value)
        case _:
            return json.dumps(value)
