"""`gateway replay`: send again what was sent, or what could not be."""

from typing import Annotated

import typer

from gateway.cli.options import Config, store_of

# The modules that a command needs are imported inside it: `gateway --help` needs none of them.
# ruff: noqa: PLC0415


def replay(
    delivery: Annotated[str, typer.Option(metavar="ID", help="The delivery, as in dl_1.")],
    config: Config = None,
) -> None:
    """Send a delivery again: at once when it waits, as a new one when it has ended."""
    from gateway.cli import control

    typer.echo(control.replay(store_of(config), delivery))
