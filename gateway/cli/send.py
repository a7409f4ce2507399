"""`gateway send`: a signed test callback of a provider, to the gateway that runs."""

import os
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.options import Config, fixed_of
from gateway.config.load import load
from gateway.errors import StartupError

# The modules that a command needs are imported inside it: `gateway --help` needs none of them.
# ruff: noqa: PLC0415


def send(
    *,
    name: Annotated[
        str,
        typer.Argument(metavar="PROVIDER_OR_SOURCE", help="As in stripe, or a source's own name."),
    ],
    event_type: Annotated[
        str | None,
        typer.Argument(
            metavar="[TYPE]", help="The provider's name of it; without it all are listed."
        ),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Which source, where several are of the provider.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Where the gateway is; else the configuration tells.")
    ] = None,
    body: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Sign and send this; - is standard input.")
    ] = None,
    order: Annotated[
        str | None, typer.Option(metavar="ID", help="The order that it is about; else a new one.")
    ] = None,
    repeat: Annotated[
        bool, typer.Option("--repeat", help="Send it twice, as providers do at times.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list.")] = False,
    config: Config = None,
) -> None:
    """Send a signed test callback to the gateway that runs; it is taken and delivered like any other."""
    from gateway.cli import sending

    if body is None and event_type is None:
        for option, given in (("--source", source), ("--order", order), ("--url", url)):
            if given is not None:
                raise StartupError(f"{option} needs a TYPE: `gateway send {name}` lists them")
        sending.types(name, config, store=lambda: fixed_of(config), as_json=as_json)
        return
    if body is not None and (event_type is not None or order is not None):
        extra = "TYPE" if event_type is not None else "--order"
        raise StartupError(f"--body is sent as it is: leave {extra} out")
    settings = load(config, os.environ)  # its warnings are for `check` and `serve`
    chosen = sending.choose(settings, name, source)
    if body is not None:
        message = sending.from_file(body)
    else:
        message = sending.from_sample(chosen, event_type or "", order)
    where = sending.address(settings.server, chosen.name, url)
    raise typer.Exit(
        sending.send(settings, chosen, message, where, times=2 if repeat else 1, as_json=as_json)
    )
