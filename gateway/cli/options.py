"""The options that many commands share, and how each kind of command reads the configuration."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.aim import Remote, remote
from gateway.config.document import read_document
from gateway.config.load import load, load_fixed, load_store
from gateway.config.settings import Settings
from gateway.errors import GatewayError

DEFAULT_CONFIG = Path("gateway.toml")


def _default_config(config: Path | None) -> Path | None:
    """The file that was named, else the one that lies here."""
    return config or (DEFAULT_CONFIG if DEFAULT_CONFIG.is_file() else None)


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="GATEWAY_CONFIG",
        help="The configuration file (TOML); gateway.toml where it lies in this folder.",
        callback=_default_config,
        readable=False,  # not checked by typer: what is wrong with it is for us to say
    ),
]
Limit = Annotated[int, typer.Option(min=1, max=1_000_000, help="How many at most.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON list; times are RFC 3339, in UTC.")]
JsonObject = Annotated[
    bool, typer.Option("--json", help="One JSON object; times are RFC 3339, in UTC.")
]
JsonLines = Annotated[
    bool, typer.Option("--json", help="JSON, a line a step; times are RFC 3339, in UTC.")
]


Place = Settings | Remote
"""The gateway that a command is about: the one of this store, or another one's API."""


def known_sources(context: typer.Context, incomplete: str) -> Sequence[str]:
    """The sources of the file and those made at run time, for a shell to choose from."""
    return _completed(context, "sources", incomplete)


def known_subscriptions(context: typer.Context, incomplete: str) -> Sequence[str]:
    """The subscriptions of the file and those made at run time, for a shell to choose from."""
    return _completed(context, "subscriptions", incomplete)


def known_types(incomplete: str) -> Sequence[str]:
    """The event types of the catalogue, for a shell to choose from."""
    from gateway.catalogue import MEANINGS  # noqa: PLC0415 - not for `gateway --help`

    return [name for name in MEANINGS if name.startswith(incomplete)]


def _completed(context: typer.Context, table: str, incomplete: str) -> Sequence[str]:
    """Names in the file that the line so far tells of, and in its database, as far as these are read."""
    config = _default_config(context.params.get("config"))
    names: list[str] = []
    with suppress(GatewayError):
        names += [] if config is None else _names(config, table)
    with suppress(GatewayError):
        names += _made_names(config)[table]
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def _made_names(config: Path | None) -> dict[str, Sequence[str]]:
    from gateway.cli.look import read_here  # noqa: PLC0415 - not for `gateway --help`

    sources, subscriptions = read_here(store_of(config), lambda records: records.made_names())
    return {"sources": sources, "subscriptions": subscriptions}


Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE", help="As `gateway sources` shows it.", autocompletion=known_sources
    ),
]
Subscription = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="As `gateway subscriptions` shows it.",
        autocompletion=known_subscriptions,
    ),
]
OfSubscription = Annotated[
    str | None,
    typer.Option(help="Of this subscription only.", autocompletion=known_subscriptions),
]
OfType = Annotated[
    str | None, typer.Option("--type", help="As in order.paid.", autocompletion=known_types)
]


def settings_of(config: Path | None) -> Settings:
    """The settings, with their warnings on standard error."""
    settings = load(config, os.environ)
    for warning in settings.warnings:
        typer.echo(f"gateway: warning: {warning}", err=True)
    return settings


def store_of(config: Path | None) -> Settings:
    """The settings of the store alone: to look, and to change its rows, needs no secrets."""
    return load_store(config, os.environ)


def place_of(config: Path | None) -> Place:
    """The gateway of `--url`, else the settings of the store, as `store_of` reads them."""
    return remote() or store_of(config)


def fixed_of(config: Path | None) -> Settings:
    """The settings without sources and subscriptions: to add one needs the secrets of no other."""
    return load_fixed(config, os.environ)


def sources_of(config: Path | None) -> list[str]:
    """The names of the sources in the file."""
    return [] if config is None else _names(config, "sources")


def subscriptions_of(config: Path | None) -> list[str] | None:
    """The names of the subscriptions in the file; None without a file."""
    return None if config is None else _names(config, "subscriptions")


def _names(config: Path, table: str) -> list[str]:
    found = read_document(config).get(table)
    return list(found) if isinstance(found, dict) else []
