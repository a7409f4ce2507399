"""`gateway deliveries`: the newest ones, and one of them with its attempts."""

from typing import Annotated

import typer

from gateway.cli.options import Config, Json, Limit, store_of
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
    """Show the newest deliveries and how they stand."""
    if context.invoked_subcommand is not None:
        return
    from gateway.cli import look

    settings = store_of(config)
    look.deliveries(settings, subscription=subscription, state=state, limit=limit, as_json=as_json)
