"""The control socket's routes of what sends past events again, and of parked lanes."""

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from gateway.config.values import TYPE
from gateway.errors import BadRequest, NotFound, TooLarge
from gateway.retries import DeliveryState
from gateway.runtime import Gateway
from gateway.stores.replaying import Chosen
from gateway.web.problems import answered

BODY_LIMIT = 16 << 10  # bytes of a request's body
LARGEST = (1 << 63) - 1  # what the store can count


class ReplayRequest(Chosen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a request to send past events again; with `dry_run` it is only counted."""

    dry_run: bool = False


class LaneRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a request about a parked lane; `shop` where several have an order of that id."""

    subscription: str
    order: str
    shop: str | None = None


_replay = msgspec.json.Decoder(ReplayRequest)
_lane = msgspec.json.Decoder(LaneRequest)


def replay_routes(gateway: Gateway) -> list[Route]:
    """What the control socket can send again, and do with lanes."""
    doors = Replaying(gateway)
    return [
        Route("/v1/replays", answered(doors.start), methods=["POST"]),
        Route("/v1/replays/{id}", answered(doors.show), methods=["GET"]),
        Route("/v1/lanes/release", answered(doors.release), methods=["POST"]),
        Route("/v1/lanes/skip", answered(doors.skip), methods=["POST"]),
    ]


def checked(chosen: Chosen) -> Chosen:
    """The same, when it is one that can be looked for; `BadRequest`."""
    told = msgspec.structs.asdict(chosen).values()
    if all(value is None for value in told):
        raise BadRequest("nothing is chosen: say which deliveries to send again")
    if any(isinstance(value, int) and not 0 <= value <= LARGEST for value in told):
        raise BadRequest("a number or a time is out of range")
    if any(isinstance(value, str) and not _encodable(value) for value in told):
        raise BadRequest("a text is not Unicode")
    if chosen.type is not None and TYPE.fullmatch(chosen.type) is None:
        raise BadRequest('type: expected an event type such as "order.paid", "order.*" or "*"')
    if chosen.state is not None and chosen.state not in set(DeliveryState):
        raise BadRequest(f"state: expected one of {', '.join(DeliveryState)}")
    return chosen


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Replaying:
    """Each method answers one request, or raises one of our errors."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def start(self, request: Request) -> object:
        """A `Chosen` and `dry_run`; answers the job, a `Replay`, or else a `Preview`."""
        try:
            wanted = _replay.decode(await _body(request))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BadRequest(f"the body must say what to send again: {error}") from error
        fields = Chosen.__struct_fields__
        chosen = checked(Chosen(**{name: getattr(wanted, name) for name in fields}))
        if wanted.dry_run:
            return await self._gateway.store.replays.preview(chosen)
        return await self._gateway.replayer.start(chosen)

    async def show(self, request: Request) -> object:
        """How a job stands: a `Replay`."""
        job = request.path_params["id"]
        if not (job.isascii() and job.isdigit() and len(job) < 19):
            raise NotFound(f"there is no replay job {job}")
        return await self._gateway.store.replays.find(int(job))

    async def release(self, request: Request) -> object:
        """A `LaneRequest`; answers a `Lane`."""
        lane = await _lane_of(request)
        return await self._gateway.store.replays.release(
            lane.subscription, lane.order, self._gateway.clock(), shop=lane.shop
        )

    async def skip(self, request: Request) -> object:
        """A `LaneRequest`; answers a `Lane`."""
        lane = await _lane_of(request)
        return await self._gateway.store.replays.skip(
            lane.subscription, lane.order, self._gateway.clock(), shop=lane.shop
        )


async def _lane_of(request: Request) -> LaneRequest:
    try:
        return _lane.decode(await _body(request))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadRequest(
            f'the body must be {{"subscription", "order", "shop"}}: {error}'
        ) from error


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise TooLarge(f"the body is over {BODY_LIMIT} bytes")
    return body
