"""`gateway deliveries`: the newest ones, and one of them with its attempts."""

import time
from typing import Annotated

import typer

from gateway.cli.options import Config, Json, Limit, settings_of, store_of
from gateway.models import Millis
from gateway.retries import DeliveryState

# The modules that a command needs are imported inside it: `gateway --help` needs none of them.
# ruff: noqa: PLC0415

app = typer.Typer()


@app.callback(invoke_without_command=True)
def deliveries(
    context: typer.Context,
    *,
    subscription: Annotated[str | None, typer.Option(help="Of this subscription only.")] = None,
    state: Annotated[DeliveryState | None, typer.Option(help="In this state only.")] = None,
    limit: Limit = 20,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Show the newest deliveries and how they stand, or one of them."""
    if context.invoked_subcommand is not None:
        return
    from gateway.cli import look

    settings = store_of(config)
    look.deliveries(settings, subscription=subscription, state=state, limit=limit, as_json=as_json)


@app.command()
def show(
    delivery: Annotated[str, typer.Argument(metavar="ID", help="The delivery, as in dl_7.")],
    *,
    curl: Annotated[
        bool, typer.Option("--curl", help="Print what it sends, as a command to paste into sh.")
    ] = False,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Show one delivery: where it stands and why, and all of its attempts."""
    from gateway.cli import single

    settings, now = store_of(config), time.time()
    if curl:
        single.curl(settings, delivery, now=now, whole=lambda: settings_of(config))
    else:
        single.show(settings, delivery, now=Millis(int(now * 1000)), as_json=as_json)
