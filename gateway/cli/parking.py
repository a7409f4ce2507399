"""What `gateway lanes` shows and does.

The running gateway does it; when none runs, it is done here, on the store itself.
"""

from collections.abc import Iterator, Sequence

import msgspec

from gateway.cli.control import LATER, act_on
from gateway.cli.look import draw, read, say
from gateway.cli.tables import Column, View, clean, counted, local, to_json
from gateway.config.settings import Settings
from gateway.errors import Conflict, NotFound, StartupError
from gateway.runtime import Gateway
from gateway.stores.replaying import Lane
from gateway.stores.views import LaneRow

ALL = 1_000_000  # lanes in one go


def show(settings: Settings, *, limit: int, as_json: bool) -> None:
    """Print the parked lanes, those first that have been for longest."""
    rows = read(settings, lambda records: records.lanes(None, limit=limit + 1))
    shown = rows[:limit]
    if as_json:
        say(to_json(shown))
        return
    if not shown:
        say("No lane is parked.")
        return
    draw(_view(shown))
    if len(rows) > limit:
        say(f"There are more than these {limit}: --limit shows them.")
    say("`gateway lanes release SUBSCRIPTION ORDER` tries the delivery again,")
    say("`gateway lanes skip SUBSCRIPTION ORDER` gives it up and goes on behind it.")


def _view(rows: Sequence[LaneRow]) -> View:
    return View(
        columns=[
            *(Column("subscription"), Column("shop", spare=1), Column("order")),
            *(Column("stopped at"), Column("type", spare=3), Column("since", spare=2)),
            *(Column("behind it"), Column("reason", whole=False)),
        ],
        rows=[
            (
                *(row.subscription, row.shop, row.order, row.delivery, row.type),
                *(local(row.since), str(row.behind), row.reason or ""),
            )
            for row in rows
        ],
    )


def judge(
    settings: Settings,
    verb: str,
    subscription: str,
    order: str | None,
    shop: str | None,
    *,
    every: bool,
) -> Iterator[str]:
    """Release or skip one parked lane, or all; what was done, as sentences. `NotFound`, `Conflict`."""
    if (order is None) != every:
        raise StartupError("name an order, or take --all of them")
    if order is not None:
        yield _told(verb, *_act(settings, verb, subscription, order, shop))
        return
    rows = read(settings, lambda records: records.lanes(subscription, limit=ALL))
    done = 0
    for row in rows:
        if shop in {None, row.shop}:
            try:
                _act(settings, verb, subscription, row.order, row.shop)
            except (Conflict, NotFound):
                continue  # it went on by itself meanwhile, or somebody let it
            done += 1
    verbed = "released" if verb == "release" else "skipped"
    yield clean(f"{counted(done, 'lane')} of subscription {subscription} {verbed}.")


def _act(
    settings: Settings, verb: str, subscription: str, order: str, shop: str | None
) -> tuple[Lane, bool]:
    async def directly(gateway: Gateway) -> dict[str, object]:
        replays = gateway.store.replays
        act = replays.release if verb == "release" else replays.skip
        lane = await act(subscription, order, gateway.clock(), shop=shop)
        return msgspec.structs.asdict(lane)

    body = {"subscription": subscription, "order": order, "shop": shop}
    done = act_on(settings, f"/v1/lanes/{verb}", directly, body=body)
    return msgspec.convert(done.answer, Lane), done.live


def _told(verb: str, lane: Lane, live: bool) -> str:
    of = f"order {lane.order} at subscription {lane.subscription}"
    if verb == "release":
        told = f"dl_{lane.delivery}, {of}, is due now, at the beginning of its schedule"
    elif lane.next is None:
        told = f"dl_{lane.delivery}, {of}, is given up; nothing waited behind it"
    else:
        told = f"dl_{lane.delivery}, {of}, is given up; dl_{lane.next} is due now"
    if not live:
        return clean(f"{told}{LATER}.")
    return clean(f"{told}." if lane.held is None else f"{told}. But {lane.held}.")
