"""The command line: one border where every error becomes one sentence and an exit code."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway import __version__
from gateway.config.describe import describe
from gateway.config.load import load
from gateway.config.settings import Settings
from gateway.errors import ConfigError, GatewayError, StartupError
from gateway.telemetry.logs import configure

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Receives what print providers and Stripe say about orders; delivers it as signed CloudEvents.",
)

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="GATEWAY_CONFIG", help="The configuration file (TOML)."),
]


def settings_of(config: Path | None) -> Settings:
    """The settings, with their warnings on standard error."""
    settings = load(config, os.environ)
    for warning in settings.warnings:
        typer.echo(f"gateway: warning: {warning}", err=True)
    return settings


@app.command()
def serve(
    config: Config = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    log_json: Annotated[bool, typer.Option("--log-json", help="Log lines as JSON.")] = False,
) -> None:
    """Run the gateway."""
    from gateway.cli.serve import serve as run  # noqa: PLC0415 - spares `gateway events` the server

    if log_level.lower() not in {"debug", "info", "warning", "error"}:
        raise StartupError(
            f"--log-level: expected debug, info, warning or error, got {log_level!r}"
        )
    configure(log_level, json=log_json)
    raise typer.Exit(run(settings_of(config), say=typer.echo))


@app.command()
def check(config: Config = None) -> None:
    """Validate a configuration and show what it comes to; secrets stay hidden."""
    for key, value in describe(settings_of(config)):
        typer.echo(f"{key} = {value}")
    typer.echo("The configuration is good.", err=True)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Run a command; errors end it with one sentence: 2 for a wrong start, 1 for the rest."""
    try:
        app()
    except (ConfigError, StartupError) as error:
        sys.stderr.write(f"gateway: {error}\n")
        sys.exit(2)
    except GatewayError as error:
        sys.stderr.write(f"gateway: {error}\n")
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
