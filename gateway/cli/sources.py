"""`gateway sources`: what the configuration declares, and how the asking of each goes."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from gateway.cli.aim import Remote
from gateway.cli.look import draw, read_afar, read_here, say
from gateway.cli.options import Place as Aimed
from gateway.cli.tables import Column, View, filled, local, to_json
from gateway.config.document import read_document
from gateway.config.environ import Overrides
from gateway.config.reader import Place, kinds_of, read_table
from gateway.config.reader import read as read_key
from gateway.config.settings import PollSettings, Settings, SourceSettings
from gateway.egress.rules import parse_target
from gateway.models import Millis
from gateway.providers.base import calls, is_polled
from gateway.providers.registry import provider_class
from gateway.stores.base import Poll
from gateway.stores.registry import database_path
from gateway.web.api.sources import Asking, Kind, SourceDetail

KEYS = {
    key: kind
    for key, kind in (kinds_of(SourceSettings) | kinds_of(PollSettings)).items()
    if key in {"provider", "secrets", "shop", "enabled", "base_url"}
}


class SourceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A source as it is shown; `state` is `disabled`, `callbacks`, or how the asking goes.

    Of its API only the `host` is shown, with the port. `watched` counts the orders that it is asked
    for. Times are those of the last good answer and of the next round.
    """

    name: str
    provider: str
    shop: str
    callbacks: bool
    host: str | None
    state: str
    watched: int
    last_answer: Millis | None
    next_round: Millis | None
    reason: str | None


def sources(place: Aimed, config: Path | None, *, as_json: bool) -> None:
    """Print the sources of the file `config`, or those of a gateway elsewhere."""
    rows = _here(place, config) if isinstance(place, Settings) else _afar(place)
    if as_json:
        say(to_json(rows))
    elif not rows:
        say("There are no sources: the configuration declares them.")
    else:
        draw(filled(_view(rows)))


def _here(settings: Settings, config: Path | None) -> Sequence[SourceRow]:
    """`settings` are those of the store."""
    known: Mapping[str, tuple[Poll | None, int]] = {}
    if database_path(settings.store.url).exists():
        known = read_here(settings, lambda records: records.sources())
    return [_row(name, keys, known) for name, keys in _declared(config).items()]


def _afar(remote: Remote) -> Sequence[SourceRow]:
    found = read_afar(remote, lambda records: records.shown_sources())
    return [_row_afar(detail) for detail in found]


def _declared(config: Path | None) -> dict[str, dict[str, object]]:
    """The keys of each source that need no secrets, as the file and the environment have them."""
    document = {} if config is None else read_document(config)
    overrides = Overrides(os.environ)
    found = {}
    for name, raw in read_table(document.get("sources", {}), Place("sources")).items():
        place = Place("sources").key(name)
        table = overrides.apply(read_table(raw, place), KEYS, ("sources", name))
        found[name] = {
            key: read_key(kind, table[key], place.key(key))
            for key, kind in KEYS.items()
            if key in table
        }
        if "provider" not in table:
            raise place.key("provider").error("is required")
    return found


def _row(
    name: str, keys: Mapping[str, object], known: Mapping[str, tuple[Poll | None, int]]
) -> SourceRow:
    provider = provider_class(str(keys["provider"]))
    url = str(keys.get("base_url", provider.base_url)) if is_polled(provider) else ""
    poll, watched = known.get(name, (None, 0)) if url else (None, 0)
    state = _state(poll) if url else "callbacks"
    state = state if keys.get("enabled", True) else "disabled"
    asking = poll is not None and poll.refused is None and state != "disabled"
    return SourceRow(
        name=name,
        provider=provider.name,
        shop=str(keys.get("shop", "default")),
        callbacks=calls(provider) and "secrets" in keys,
        host=_host(url, name) if url else None,
        state=state,
        watched=watched,
        last_answer=poll.answered_at if poll is not None else None,
        next_round=(poll.next_at or None) if poll is not None and asking else None,
        reason=(poll.refused or poll.problem) if poll is not None else None,
    )


def _row_afar(source: SourceDetail) -> SourceRow:
    """The same of what the API shows."""
    asking = source.asking
    state = "callbacks" if asking is None else _state(asking)
    return SourceRow(
        name=source.name,
        provider=source.provider,
        shop=source.shop,
        callbacks=source.kind in {Kind.CALLED, Kind.BOTH},
        host=asking.host if asking is not None else None,
        state=state if source.enabled else "disabled",
        watched=asking.watched if asking is not None else 0,
        last_answer=asking.answered_at if asking is not None else None,
        next_round=asking.next_at if asking is not None else None,
        reason=(asking.refused or asking.problem) if asking is not None else None,
    )


def _state(poll: Poll | Asking | None) -> str:
    if poll is None:
        return "not asked yet"
    if poll.refused is not None:
        return "refused"
    if poll.problem is not None:
        return "failing"
    return "not asked yet" if poll.asked_at is None else "asked"


def _host(url: str, name: str) -> str:
    try:
        return parse_target(url).host_header.decode()
    except ValueError as error:
        raise Place("sources").key(name).key("base_url").error(str(error).rstrip(".")) from None


def _view(rows: Sequence[SourceRow]) -> View:
    return View(
        columns=[
            *(Column("source"), Column("provider", spare=4), Column("shop", spare=1)),
            *(Column("callbacks", spare=2), Column("asked", spare=5), Column("state")),
            *(Column("orders", spare=3), Column("last answer"), Column("next round")),
            Column("reason", whole=False),
        ],
        rows=[
            (
                *(row.name, row.provider, row.shop),
                f"/hooks/{row.name}" if row.callbacks else "",
                *(row.host or "", row.state, str(row.watched) if row.host else ""),
                local(row.last_answer) if row.last_answer else "never" if row.host else "",
                local(row.next_round) if row.next_round else "",
                row.reason or "",
            )
            for row in rows
        ],
    )
