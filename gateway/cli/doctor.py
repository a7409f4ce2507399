"""`gateway doctor`: looks whether all that a gateway needs is as it should be."""

from typing import Annotated

import typer

from gateway.cli.options import Config

# The modules that a command needs are imported inside it: `gateway --help` needs none of them.
# ruff: noqa: PLC0415


def doctor(
    *,
    offline: Annotated[
        bool, typer.Option("--offline", help="Connect to no subscription and no provider.")
    ] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read the whole database, also a large one.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list.")] = False,
    config: Config = None,
) -> None:
    """Check database, disk, clock, ports, certificates and subscriptions, and say what to do."""
    from gateway.cli.checkup import run

    raise typer.Exit(run(config, offline=offline, deep=deep, as_json=as_json))
