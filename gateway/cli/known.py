"""The sources of a configuration and its database, as they are read without a gateway.

Those of the file are read without their secrets, which whoever only looks does not need.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from gateway.cli.look import read_here
from gateway.config.document import read_document
from gateway.config.environ import Overrides
from gateway.config.load import load_fixed
from gateway.config.network import rules_of
from gateway.config.reader import Place, read_table
from gateway.config.secrets import Vault
from gateway.config.settings import Settings, SourceSettings
from gateway.config.source import SourceReader, check_source_name
from gateway.config.values import Secret
from gateway.errors import NotFound, StartupError, some_of
from gateway.models import Millis
from gateway.providers.registry import provider_class
from gateway.sources import Known, opened
from gateway.stores.base import Poll
from gateway.stores.registry import database_path
from gateway.stores.views import CallbackFilter, Records
from gateway.web.api.sources import NEVER_HEARD, SourceDetail, Standing, detail_of


class _Blind(Vault):
    """Knows that there is a secret, and does not look at it."""

    def __init__(self) -> None:
        super().__init__(None, None)

    def fill_one(self, *_: Any, **__: Any) -> Secret:
        """Nothing of it."""
        return Secret(b"***")


def declared_sources(config: Path | None, fixed: Settings) -> dict[str, SourceSettings]:
    """Those of the file, with `***` for secrets; `ConfigError`. Of `fixed`, `egress` counts."""
    document = {} if config is None else read_document(config)
    overrides = Overrides(os.environ)
    reader = SourceReader(rules_of(fixed.egress), _Blind(), provider_class)
    found = {}
    for name, raw in read_table(document.get("sources", {}), Place("sources")).items():
        place, path = Place("sources").key(name), ("sources", name)
        check_source_name(name, place)
        found[name] = reader.read(
            read_table(raw, place),
            place,
            adjust=lambda table, kinds, path=path: overrides.apply(table, kinds, path),  # type: ignore[misc]
        )
    return found


def standing(config: Path | None) -> Settings:
    """Settings with which sources are made where no gateway runs: those of the file rest.

    Raises `ConfigError`; needs no secrets.
    """
    fixed = load_fixed(config, os.environ)
    declared = declared_sources(config, fixed)
    return replace(
        fixed, sources={name: replace(one, enabled=False) for name, one in declared.items()}
    )


def made_sources(settings: Settings) -> dict[str, Known]:
    """Those that were made at run time, oldest first, but for names that `settings` declares.

    Raises `StartupError` where their keys cannot be opened, or there is no database of ours; one
    that is not there yet has none.
    """
    if not database_path(settings.store.url).exists():
        return {}
    rows = read_here(settings, lambda records: records.made_sources())
    return {row.name: opened(row, settings) for row in rows if row.name not in settings.sources}


def paused_sources(settings: Settings) -> Mapping[str, Millis]:
    """The names of paused sources, and since when; `StartupError` for what is no database of ours."""
    if not database_path(settings.store.url).exists():
        return {}
    return read_here(settings, lambda records: records.paused_sources())


def with_made(settings: Settings) -> Settings:
    """The settings with the sources that were made too, as far as they can be read."""
    made = {
        name: one.settings
        for name, one in made_sources(settings).items()
        if one.settings is not None
    }
    return replace(settings, sources={**settings.sources, **made})


def details(settings: Settings, config: Path | None) -> list[SourceDetail]:
    """All sources: those of the file first. Where the master key is missing, these alone are told.

    `settings` are those of the store. Raises `ConfigError`, `StartupError`.
    """
    fixed, known = _all(config)
    polls: Mapping[str, tuple[Poll | None, int]] = {}
    if database_path(settings.store.url).exists():
        polls = read_here(settings, lambda records: records.sources())
    standings = {name: Standing(poll=poll, watched=count) for name, (poll, count) in polls.items()}
    return [detail(one, fixed, standings.get(name)) for name, one in known.items()]


def one_detail(settings: Settings, config: Path | None, name: str) -> SourceDetail:
    """One source, and how it does as far as the database knows; `NotFound`, and as `details`."""
    fixed, known = _all(config)
    if name not in known:
        raise NotFound(f"there is no source {name}: known are {some_of(known)}")
    if not database_path(settings.store.url).exists():
        return detail(known[name], fixed)

    async def look(records: Records) -> SourceDetail:
        poll, watched = (await records.sources()).get(name, (None, 0))
        page = await records.callback_page(CallbackFilter(source=name), before=None, limit=1)
        called = [row.received_at for row in page.rows]
        asked = [] if poll is None or poll.answered_at is None else [poll.answered_at]
        heard = replace(NEVER_HEARD, last_at=max(called + asked, default=None))
        standing = Standing(heard=heard, poll=poll, watched=watched)
        return detail(known[name], fixed, standing)

    return read_here(settings, look)


def _all(config: Path | None) -> tuple[Settings, dict[str, Known]]:
    """The settings without sources and subscriptions, and all sources, those of the file first."""
    fixed = load_fixed(config, os.environ)
    declared = declared_sources(config, fixed)
    found = {name: Known(name=name, settings=source) for name, source in declared.items()}
    try:
        found |= made_sources(replace(fixed, sources=declared))
    except StartupError as error:
        sys.stderr.write(
            f"gateway: warning: sources that were made at run time are not shown: {error}\n"
        )
    paused = paused_sources(fixed)
    return fixed, {name: replace(one, paused_at=paused.get(name)) for name, one in found.items()}


def detail(known: Known, fixed: Settings, standing: Standing | None = None) -> SourceDetail:
    """A source as the API shows it; what only a running gateway knows is left empty."""
    url = fixed.server.public_url
    return detail_of(known, standing or Standing(), public_url=url, operator=True)
