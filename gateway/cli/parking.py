"""What `gateway lanes` shows and does.

The running gateway does it, or with `--url` another one; when none runs, it is done here, on the
store itself.
"""

from collections.abc import Sequence
from contextlib import suppress

import msgspec

from gateway.cli.bars import bar
from gateway.cli.control import LATER, act_on
from gateway.cli.look import Told, draw, read, say
from gateway.cli.options import Place
from gateway.cli.tables import Column, View, clean, counted, local, to_json
from gateway.errors import Conflict, NotFound, StartupError
from gateway.runtime import Gateway
from gateway.stores.replaying import Lane
from gateway.stores.views import LaneRow

ALL = 1_000_000  # lanes in one go
DONE = {"release": "released", "skip": "skipped"}


def show(place: Place, *, limit: int, as_json: bool) -> None:
    """Print the parked lanes, those first that have been for longest."""
    rows = read(place, lambda records: records.lanes(None, limit=limit + 1))
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
    place: Place,
    verb: str,
    subscription: str,
    order: str | None,
    shop: str | None,
    *,
    every: bool,
    as_json: bool,
) -> Told:
    """Release or skip one parked lane, or all; what was done. `NotFound`, `Conflict`."""
    if (order is None) != every:
        raise StartupError("name an order, or take --all of them")
    if order is not None:
        lane, live = _act(place, verb, subscription, order, shop)
        return Told(_told(verb, lane, live), {DONE[verb]: [lane], "live": live})
    rows = read(place, lambda records: records.lanes(subscription, limit=ALL))
    done: list[tuple[Lane, bool]] = []
    with bar("lanes", as_json=as_json) as advance:
        for looked, row in enumerate(rows):
            advance(looked, len(rows))
            if shop in {None, row.shop}:
                # One that went on by itself meanwhile, or that somebody let, is left out.
                with suppress(Conflict, NotFound):
                    done.append(_act(place, verb, subscription, row.order, row.shop))
    text = f"{counted(len(done), 'lane')} of subscription {subscription} {DONE[verb]}."
    live = bool(done) and all(live for _, live in done)
    return Told(clean(text), {DONE[verb]: [lane for lane, _ in done], "live": live})


def _act(
    place: Place, verb: str, subscription: str, order: str, shop: str | None
) -> tuple[Lane, bool]:
    async def directly(gateway: Gateway) -> dict[str, object]:
        replays = gateway.store.replays
        act = replays.release if verb == "release" else replays.skip
        lane = await act(subscription, order, gateway.clock(), shop=shop)
        return msgspec.structs.asdict(lane)

    body = {"subscription": subscription, "order": order, "shop": shop}
    done = act_on(place, f"/v1/lanes/{verb}", directly, body=body)
    return msgspec.convert(done.answer, Lane), done.live


def _told(verb: str, lane: Lane, live: bool) -> str:
    of = f"order {lane.order} at subscription {lane.subscription}"
    if verb == "release":
        told = f"{lane.delivery}, {of}, is due now, at the beginning of its schedule"
    elif lane.next is None:
        told = f"{lane.delivery}, {of}, is given up; nothing waited behind it"
    else:
        told = f"{lane.delivery}, {of}, is given up; {lane.next} is due now"
    if not live:
        return clean(f"{told}{LATER}.")
    return clean(f"{told}." if lane.held is None else f"{told}. But {lane.held}.")
