"""`gateway unlinked`: facts that wait for their order, and to say which one it is."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import msgspec
import typer

from gateway.cli.aim import aimed
from gateway.cli.options import Config, Json, JsonObject, Limit, Place, place_of, settings_of
from gateway.config.settings import Settings

if TYPE_CHECKING:
    from gateway.cli import look

# The modules that a command needs are imported inside it: `gateway --help` needs none of them.
# ruff: noqa: PLC0415

app = typer.Typer()


@app.callback(invoke_without_command=True)
@aimed
def unlinked_list(
    context: typer.Context, limit: Limit = 100, as_json: Json = False, config: Config = None
) -> None:
    """Show what is known of orders that are not known yet; say which order it is about."""
    if context.invoked_subcommand is not None:
        return
    from gateway.cli import look

    look.unlinked(place_of(config), limit=limit, as_json=as_json)


@app.command()
@aimed
def link(
    fact: Annotated[str, typer.Argument(metavar="ID", help="As `gateway unlinked` shows it.")],
    order: Annotated[str, typer.Argument(metavar="ORDER", help="The order that it is about.")],
    *,
    shop: Annotated[
        str | None, typer.Option(help="The shop, to be sure: it must be the fact's.")
    ] = None,
    new: Annotated[
        bool, typer.Option("--new", help="The order is not known yet, and begins with this.")
    ] = False,
    as_json: JsonObject = False,
    config: Config = None,
) -> None:
    """Say which order a waiting fact is about; all that shares its links goes with it."""
    from gateway.cli import look

    body: dict[str, object] = {"order": order, "shop": shop, "new": new}
    told = _link(place_of(config), fact, body, whole=lambda: settings_of(config))
    look.tell(told, as_json=as_json)


def _link(
    place: Place, fact: str, body: dict[str, object], *, whole: Callable[[], Settings]
) -> "look.Told":
    """Do it at the gateway that runs, else here; what was made. `NotFound`, `Conflict`."""
    from gateway.cli.control import LATER, act_on
    from gateway.cli.tables import clean, counted
    from gateway.runtime import Gateway
    from gateway.stores.linking import Link, Linked

    async def directly(gateway: Gateway) -> dict[str, object]:
        wanted = msgspec.convert({"unlinked": fact, **body}, Link)
        return dict(msgspec.to_builtins(await gateway.linker.link(wanted)))

    path = f"/v1/unlinked/{quote(fact, safe='')}/link"
    done = act_on(place, path, directly, body=body, whole=whole)
    linked = msgspec.convert(done.answer, Linked)
    sums = (
        f"{counted(linked.facts, 'fact')} linked to order {linked.order} of shop {linked.shop}:"
        f" {counted(len(linked.events), 'event')}{LATER if linked.events and not done.live else '.'}"
    )
    made = [
        f"+ {event.type} ({event.id}) -> {', '.join(event.subscriptions) or 'nobody'}"
        for event in linked.events
    ]
    return done.told("\n".join(clean(line) for line in (sums, *made)))
