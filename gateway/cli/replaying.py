"""`gateway replay`: send again what was sent, or what could not be."""

from typing import Annotated

import typer

from gateway.cli.aim import aimed
from gateway.cli.options import (
    Config,
    JsonObject,
    known_subscriptions,
    known_types,
    place_of,
)
from gateway.errors import StartupError
from gateway.retries import DeliveryState

# The modules that a command needs are imported inside it: `gateway --help` needs none of them.
# ruff: noqa: PLC0415


NOTHING = (
    "say what to send again: --delivery, --event, --order, --shop, --subscription, --type,"
    " --since, --until, --state"
)
OfShop = Annotated[
    str | None, typer.Option(help="Of this shop; several may have an order of that id.")
]


@aimed
def replay(
    *,
    delivery: Annotated[
        str | None, typer.Option(metavar="ID", help="This delivery, as in dl_1.")
    ] = None,
    event: Annotated[str | None, typer.Option(metavar="ID", help="Of this event.")] = None,
    order: Annotated[str | None, typer.Option(help="Of all events of this order id.")] = None,
    shop: OfShop = None,
    subscription: Annotated[
        str | None, typer.Option(help="Of this subscription.", autocompletion=known_subscriptions)
    ] = None,
    event_type: Annotated[
        str | None,
        typer.Option("--type", help="As in order.paid, or order.*", autocompletion=known_types),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Of events recorded since then: 2h, 2026-08-01T12:00:00Z.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Of events recorded before then.")] = None,
    state: Annotated[
        DeliveryState | None, typer.Option(help="In this state, as in dead or parked.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many.")] = False,
    job: Annotated[
        int | None, typer.Option(min=1, help="Show a replay that was started before.")
    ] = None,
    as_json: JsonObject = False,
    config: Config = None,
) -> None:
    """Send deliveries again: one at once, many as a job; at least one filter, and all must hold."""
    from gateway.cli import jobs, look
    from gateway.stores.replaying import Chosen

    filters = (event, order, shop, subscription, event_type, since, until, state)
    some = any(one is not None for one in filters)
    if job is not None:
        if some or delivery is not None or dry_run:
            raise StartupError("--job shows a replay that was started before: it stands alone")
        raise typer.Exit(jobs.attend(place_of(config), job, as_json=as_json))
    if delivery is not None and not some and not dry_run:
        look.tell(jobs.replay(place_of(config), delivery), as_json=as_json)
        return
    if delivery is None and not some:
        raise StartupError(NOTHING)
    chosen = Chosen(
        delivery=None if delivery is None else jobs.number_of(delivery),
        event=event,
        order=order,
        shop=shop,
        subscription=subscription,
        type=event_type,
        since=jobs.moment("--since", since),
        until=jobs.moment("--until", until),
        state=state,
    )
    if not dry_run:
        raise typer.Exit(jobs.run(place_of(config), chosen, as_json=as_json))
    jobs.preview(place_of(config), chosen, as_json=as_json)
