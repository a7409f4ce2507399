"""`gateway lanes`: orders whose deliveries are parked, and what to do with them."""

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import Config, Json, Limit, store_of

if TYPE_CHECKING:
    from gateway.config.settings import Settings

# The modules that a command needs are imported inside it: `gateway --help` needs none of them.
# ruff: noqa: PLC0415

app = typer.Typer()

Subscription = Annotated[
    str, typer.Argument(metavar="SUBSCRIPTION", help="As `gateway lanes` shows it.")
]
Order = Annotated[
    str | None, typer.Argument(metavar="[ORDER]", help="The order id; else --all of them.")
]
Shop = Annotated[
    str | None, typer.Option(help="Whose order it is, where several shops have this id.")
]
All = Annotated[bool, typer.Option("--all", help="All parked lanes of the subscription.")]


@app.callback(invoke_without_command=True)
def lanes_list(
    context: typer.Context, limit: Limit = 20, as_json: Json = False, config: Config = None
) -> None:
    """Show the orders that a subscription gets no more of, and why; let them go on."""
    if context.invoked_subcommand is not None:
        return
    from gateway.cli import parking

    parking.show(store_of(config), limit=limit, as_json=as_json)


@app.command()
def release(
    subscription: Subscription,
    order: Order = None,
    *,
    shop: Shop = None,
    every: All = False,
    config: Config = None,
) -> None:
    """Try the delivery at which the lane stopped once more, then go on behind it."""
    _judge(store_of(config), "release", subscription, order, shop, every=every)


@app.command()
def skip(
    subscription: Subscription,
    order: Order = None,
    *,
    shop: Shop = None,
    every: All = False,
    config: Config = None,
) -> None:
    """Give the delivery at which the lane stopped up, and go on behind it."""
    _judge(store_of(config), "skip", subscription, order, shop, every=every)


def _judge(
    settings: "Settings",
    verb: str,
    subscription: str,
    order: str | None,
    shop: str | None,
    *,
    every: bool,
) -> None:
    from gateway.cli import parking

    for sentence in parking.judge(settings, verb, subscription, order, shop, every=every):
        typer.echo(sentence)
