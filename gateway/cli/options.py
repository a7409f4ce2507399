"""The options that many commands share, and how each kind of command reads the configuration."""

import os
from pathlib import Path
from typing import Annotated

import typer

from gateway.config.document import read_document
from gateway.config.load import load, load_fixed, load_store
from gateway.config.settings import Settings

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
Json = Annotated[
    bool,
    typer.Option("--json", help="One JSON list; times in milliseconds since 1970 UTC."),
]

JsonLines = Annotated[
    bool,
    typer.Option("--json", help="JSON, a line a step; times in milliseconds since 1970 UTC."),
]
Source = Annotated[str, typer.Argument(metavar="SOURCE", help="As the configuration names it.")]
Subscription = Annotated[
    str, typer.Argument(metavar="NAME", help="As `gateway subscriptions` shows it.")
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
