"""`gateway lanes`: orders whose deliveries are parked, and what to do with them."""

from typing import Annotated

import typer

from gateway.cli.aim import aimed
from gateway.cli.options import (
    Config,
    Json,
    JsonObject,
    Limit,
    Place,
    known_subscriptions,
    place_of,
)

# The modules that a command needs are imported inside it: `gateway --help` needs none of them.
# ruff: noqa: PLC0415

app = typer.Typer()

Subscription = Annotated[
    str,
    typer.Argument(
        metavar="SUBSCRIPTION",
        help="As `gateway lanes` shows it.",
        autocompletion=known_subscriptions,
    ),
]
Order = Annotated[
    str | None, typer.Argument(metavar="[ORDER]", help="The order id; else --all of them.")
]
Shop = Annotated[
    str | None, typer.Option(help="Whose order it is, where several shops have this id.")
]
All = Annotated[bool, typer.Option("--all", help="All parked lanes of the subscription.")]


@app.callback(invoke_without_command=True)
@aimed
def lanes_list(
    context: typer.Context, limit: Limit = 20, as_json: Json = False, config: Config = None
) -> None:
    """Show the orders that a subscription gets no more of, and why; let them go on."""
    if context.invoked_subcommand is not None:
        return
    from gateway.cli import parking

    parking.show(place_of(config), limit=limit, as_json=as_json)


@app.command()
@aimed
def release(
    subscription: Subscription,
    order: Order = None,
    *,
    shop: Shop = None,
    every: All = False,
    as_json: JsonObject = False,
    config: Config = None,
) -> None:
    """Try the delivery at which the lane stopped once more, then go on behind it."""
    place = place_of(config)
    _judge(place, "release", subscription, order, shop, every=every, as_json=as_json)


@app.command()
@aimed
def skip(
    subscription: Subscription,
    order: Order = None,
    *,
    shop: Shop = None,
    every: All = False,
    as_json: JsonObject = False,
    config: Config = None,
) -> None:
    """Give the delivery at which the lane stopped up, and go on behind it."""
    _judge(place_of(config), "skip", subscription, order, shop, every=every, as_json=as_json)


def _judge(
    place: Place,
    verb: str,
    subscription: str,
    order: str | None,
    shop: str | None,
    *,
    every: bool,
    as_json: bool,
) -> None:
    from gateway.cli import look, parking

    told = parking.judge(place, verb, subscription, order, shop, every=every, as_json=as_json)
    look.tell(told, as_json=as_json)
