"""`gateway deliveries`: the newest ones, and one of them with its attempts."""

import time
from typing import Annotated

import typer

from gateway.cli.aim import aimed, remote
from gateway.cli.options import (
    Config,
    Json,
    Limit,
    OfSubscription,
    place_of,
    settings_of,
    store_of,
)
from gateway.errors import StartupError
from gateway.models import Millis
from gateway.retries import DeliveryState

# The modules that a command needs are imported inside it: `gateway --help` needs none of them.
# ruff: noqa: PLC0415

app = typer.Typer()


@app.callback(invoke_without_command=True)
@aimed
def deliveries(
    context: typer.Context,
    *,
    subscription: OfSubscription = None,
    state: Annotated[DeliveryState | None, typer.Option(help="In this state only.")] = None,
    limit: Limit = 20,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Show the newest deliveries and how they stand, or one of them."""
    if context.invoked_subcommand is not None:
        return
    from gateway.cli import look

    place = place_of(config)
    look.deliveries(place, subscription=subscription, state=state, limit=limit, as_json=as_json)


@app.command()
@aimed
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

    now = time.time()
    if not curl:
        single.show(place_of(config), delivery, now=Millis(int(now * 1000)), as_json=as_json)
        return
    if as_json:
        raise StartupError(
            "--curl prints a command for sh, which is no JSON: leave one of the two out"
        )
    if remote() is not None:
        raise StartupError("--curl needs the secrets: use it where the gateway runs, without --url")
    single.curl(store_of(config), delivery, now=now, whole=lambda: settings_of(config))
