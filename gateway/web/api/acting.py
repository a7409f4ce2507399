"""The calls of an operator's hand: send again, read again, pause and resume, parked lanes."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from gateway.config.values import TYPE
from gateway.errors import BadRequest, NotFound
from gateway.retries import DeliveryState
from gateway.stores.replaying import Chosen, Lane, Preview, Replay
from gateway.web.api.lists import Time, time_of
from gateway.web.api.operation import OPERATORS, READERS, Call, Nothing, Operation

LARGEST = (1 << 63) - 1  # what the store can count
SENT = ("too_large", "unsupported_media_type")  # what every call with a body may answer


class Redelivery(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that is sent again, by the attempts of `delivery`: itself, or a new one.

    `behind` is the delivery at the head of its lane, for which it waits; `held` says in words why
    its subscription starts nothing now.
    """

    delivery: str
    replays: str
    batch: bool
    behind: str | None
    held: str | None


class MadeEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that came of a callback, and the names of the subscriptions that it is for."""

    id: str
    type: str
    order: str | None
    subscriptions: list[str]


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What came, or with `dry_run` would come, of a quarantined callback that was read again."""

    callback: str
    dry_run: bool
    verdict: str
    reason: str
    events: list[MadeEvent]


class DryRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """With `dry_run` nothing is kept."""

    dry_run: bool = False


class ReplayRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which deliveries to send again, as in `Chosen`; with `dry_run` they are only counted."""

    delivery: str | None = None
    event: str | None = None
    order: str | None = None
    shop: str | None = None
    subscription: str | None = None
    type: str | None = None
    since: Time | None = None
    until: Time | None = None
    state: DeliveryState | None = None
    dry_run: bool = False


class LaneRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A parked lane; `shop` where several have an order of that id."""

    subscription: str
    order: str
    shop: str | None = None


async def redeliver(call: Call[Nothing, None]) -> Redelivery:
    """Send a delivery again, whatever became of it: one more numbered attempt."""
    return msgspec.convert(await call.gateway.replay(call.path["id"]), Redelivery)


async def reread(call: Call[DryRun, None]) -> Reading:
    """Read a quarantined callback once more, as the gateway is now."""
    callback, dry_run = call.path["id"], call.query.dry_run
    return msgspec.convert(await call.gateway.retry_callback(callback, dry_run=dry_run), Reading)


async def start_replay(call: Call[Nothing, ReplayRequest]) -> Replay | Preview:
    """Send past events again, as a job that survives a restart."""
    wanted = call.body
    chosen = checked(
        Chosen(
            delivery=_number(wanted.delivery),
            event=wanted.event,
            order=wanted.order,
            shop=wanted.shop,
            subscription=wanted.subscription,
            type=wanted.type,
            since=time_of("since", wanted.since),
            until=time_of("until", wanted.until),
            state=wanted.state,
        )
    )
    if wanted.dry_run:
        return await call.gateway.store.replays.preview(chosen)
    return await call.gateway.replayer.start(chosen)


async def get_replay(call: Call[Nothing, None]) -> Replay:
    """How a replay job stands."""
    job = call.path["id"]
    if not (job.isascii() and job.isdigit() and len(job) < 19):
        raise NotFound(f"there is no replay job {job}")
    return await call.gateway.store.replays.find(int(job))


async def release_lane(call: Call[Nothing, LaneRequest]) -> Lane:
    """Let a parked lane go on with the delivery that it waits for."""
    lane = call.body
    return await call.gateway.store.replays.release(
        lane.subscription, lane.order, call.gateway.clock(), shop=lane.shop
    )


async def skip_lane(call: Call[Nothing, LaneRequest]) -> Lane:
    """Let a parked lane go on without the delivery that it waits for."""
    lane = call.body
    return await call.gateway.store.replays.skip(
        lane.subscription, lane.order, call.gateway.clock(), shop=lane.shop
    )


def checked(chosen: Chosen) -> Chosen:
    """The same, when it is one that can be looked for; `BadRequest`."""
    told = msgspec.structs.asdict(chosen).values()
    if all(value is None for value in told):
        raise BadRequest("nothing is chosen: say which deliveries to send again")
    if any(isinstance(value, int) and not 0 <= value <= LARGEST for value in told):
        raise BadRequest("a number or a time is out of range")
    if any(isinstance(value, str) and not _encodable(value) for value in told):
        raise BadRequest("a text is not Unicode")
    if chosen.until is not None and chosen.until <= (chosen.since or 0):
        raise BadRequest("until: nothing lies before it and after since, give a later time")
    if chosen.type is not None and TYPE.fullmatch(chosen.type) is None:
        raise BadRequest('type: expected an event type such as "order.paid", "order.*" or "*"')
    if chosen.state is not None and chosen.state not in set(DeliveryState):
        raise BadRequest(f"state: expected one of {', '.join(DeliveryState)}")
    return chosen


def _number(delivery: str | None) -> int | None:
    if delivery is None:
        return None
    digits = delivery.removeprefix("dl_")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
        raise NotFound(f"there is no delivery {delivery}")
    return int(digits)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _acts(
    path: str,
    name: str,
    act: Callable[[Call[Any, Any]], Awaitable[object]],
    answer: Any,
    *,
    query: type[msgspec.Struct] = Nothing,
    body: type[msgspec.Struct] | None = None,
    own: tuple[str, ...] = ("not_found", "conflict"),
) -> Operation:
    return Operation(
        method="POST",
        path=path,
        name=name,
        roles=OPERATORS,
        act=act,
        query=query,
        body=body,
        answer=answer,
        codes=(*own, *(SENT if body is not None else ())),
    )


ACTING: Sequence[Operation] = (
    _acts("/v1/deliveries/{id}/replay", "replayDelivery", redeliver, Redelivery),
    _acts("/v1/callbacks/{id}/retry", "retryCallback", reread, Reading, query=DryRun),
    _acts(
        "/v1/replays",
        "startReplay",
        start_replay,
        Replay | Preview,
        body=ReplayRequest,
        own=("not_found",),
    ),
    Operation(
        method="GET",
        path="/v1/replays/{id}",
        name="getReplay",
        roles=READERS,
        act=get_replay,
        answer=Replay,
        codes=("not_found",),
    ),
    _acts("/v1/lanes/release", "releaseLane", release_lane, Lane, body=LaneRequest),
    _acts("/v1/lanes/skip", "skipLane", skip_lane, Lane, body=LaneRequest),
)
