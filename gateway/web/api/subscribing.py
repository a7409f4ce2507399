"""The calls about subscriptions: made or taken up again, shown, changed, held, removed.

What n8n's trigger nodes and Zapier's REST hooks do with them is told in docs/api.md. A key of the
role `subscriber` meets only what it made: all else is to it as if it were not there.
"""

import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.responses import Response

from gateway.config.made import change_subscription, make_subscription
from gateway.config.reader import Place, check_name
from gateway.config.values import A_DURATION, parse_duration
from gateway.egress.rules import parse_target
from gateway.errors import BadRequest, Conflict, NotFound, PreconditionFailed
from gateway.keys import Role
from gateway.models import Millis, Subscription
from gateway.shown import shown
from gateway.signing import generate_secret
from gateway.stores.base import Status
from gateway.web.api.lists import fits
from gateway.web.api.operation import (
    READERS,
    SUBSCRIBERS,
    Call,
    Nothing,
    Operation,
)
from gateway.web.api.subscriptions import (
    PREFIX,
    URL_KEYS,
    MadeSubscription,
    RotatedSubscription,
    ShownSubscription,
    SubscriptionKeys,
    SubscriptionList,
    SubscriptionState,
    check_types,
    etag_of,
    fields_of,
)

LONGEST_DESCRIPTION = 500  # characters
LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
LONGEST_HOST = 50  # characters of a host in a name that is made of it

Keys = dict[str, Any]


class SubscriptionQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which subscriptions are listed."""

    url: Annotated[str, Meta(description="Exactly this URL.")] | None = None


class Rotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For how long the secrets of now sign as well, such as `24h`; `0s` ends them at once."""

    overlap: str = "24h"


async def create(call: Call[Nothing, Keys]) -> Response:
    """Subscribe a URL; a URL that this key subscribed before keeps its id and secret."""
    keys = dict(call.body)
    name, description = keys.pop("name", None), _description(keys) or ""
    owner, gateway = call.principal.key, call.gateway
    if owner is None and name is None:
        raise BadRequest("name: is required, 1 to 63 of a-z, 0-9 and -")
    _put_url(keys)
    wanted = make_subscription(
        _made_name(keys) if name is None else _name(name),
        keys,
        gateway.settings,
        gateway.clock(),
        owner=owner,
        description=description,
        place=None if owner is None else Place(""),
    )
    check_types(call.principal, wanted.types)
    if wanted.pull and name is None:
        raise BadRequest("name: is required with pull: by its name this key finds it again")
    status, secret, made = await _keep(call, wanted)
    told = None if wanted.pull else secret
    answer = MadeSubscription(**fields_of(status, call.principal), secret=told)
    return _said(answer, status, code=201 if made else 200)


async def _keep(call: Call[Any, Any], wanted: Subscription) -> tuple[Status, str, bool]:
    """How it stands, its newest secret, and whether it is new."""
    catalog, now, secret = call.gateway.store.catalog, call.gateway.clock(), generate_secret()
    if wanted.owner is None:
        return await catalog.create(wanted, secret, now), secret, True
    try:
        put = await catalog.put(wanted, secret, now)
    except Conflict:
        if call.principal.role is Role.SUBSCRIBER and _is_foreign(call, wanted.name):
            raise Conflict(f"name: {wanted.name} is taken, choose another one") from None
        raise
    if put.resumed:
        call.gateway.dispatcher.revive(put.status)
    return put.status, put.secret, put.made


async def list_subscriptions(call: Call[SubscriptionQuery, None]) -> SubscriptionList:
    """All subscriptions that this key may see, newest first."""
    url = call.query.url
    found = [one for one in _visible(call) if url is None or one.subscription.url == url]
    async with call.gateway.store.records() as records:
        now = await records.conditions()
    return SubscriptionList(
        data=[
            ShownSubscription(**fields_of(one, call.principal, now.get(one.subscription.id)))
            for one in reversed(found)
        ]
    )


async def get_subscription(call: Call[Nothing, None]) -> Response:
    """A subscription, by its id or its name, without its secret."""
    status = find(call)
    async with call.gateway.store.records() as records:
        now = await records.conditions()
    fields = fields_of(status, call.principal, now.get(status.subscription.id))
    return _said(ShownSubscription(**fields), status)


async def change(call: Call[Nothing, Keys]) -> Response:
    """Change some keys of a subscription; with `If-Match` only if nobody else has meanwhile."""
    number, keys = find(call).subscription.id, dict(call.body)
    if "name" in keys:
        raise BadRequest("name: cannot be changed")
    description = _description(keys)
    _put_url(keys)
    settings, now = call.gateway.settings, call.gateway.clock()
    expected = call.request.headers.get("if-match")

    def revise(before: Subscription) -> Subscription:
        if expected is not None and not fits(expected, etag_of(before)):
            raise PreconditionFailed("it was changed since you read it: read it again")
        after = change_subscription(before, keys, settings, now, description=description)
        check_types(call.principal, after.types)
        return after

    status = await call.gateway.store.catalog.change(number, revise)
    return _said(ShownSubscription(**fields_of(status, call.principal)), status)


async def remove(call: Call[Nothing, None]) -> Response:
    """Remove a subscription and end what waits for it; also when it is gone already."""
    try:
        number = find(call).subscription.id
        await call.gateway.store.catalog.remove(number, call.gateway.clock())
    except NotFound:
        pass  # what was to be is so
    return Response(status_code=204)


async def rotate(call: Call[Nothing, Rotation]) -> RotatedSubscription:
    """Sign with a new secret, and for a while with those of before too."""
    number, text = find(call).subscription.id, call.body.overlap
    try:
        overlap = Millis(parse_duration(text))
    except ValueError:
        raise BadRequest(f"overlap: expected {A_DURATION}") from None
    secret, now = generate_secret(), call.gateway.clock()
    status = await call.gateway.store.catalog.rotate(number, secret, now, overlap=overlap)
    fields = fields_of(status, call.principal)
    return RotatedSubscription(**fields, secret=secret, until=Millis(now + overlap))


async def pause(call: Call[Nothing, None]) -> SubscriptionState:
    """Hold a subscription's deliveries; nothing of them is lost."""
    number = find(call).subscription.id
    mine = call.principal.role is Role.SUBSCRIBER
    who = "the key that made it" if mine else "the operator"
    return msgspec.convert(await call.gateway.pause(number, who=who), SubscriptionState)


async def resume(call: Call[Nothing, None]) -> SubscriptionState:
    """Make a paused or gone subscription active again: what waits for it is due."""
    return msgspec.convert(await call.gateway.resume(find(call).subscription.id), SubscriptionState)


def _visible(call: Call[Any, Any]) -> list[Status]:
    """Those that this key may see, oldest first."""
    principal, statuses = call.principal, call.gateway.store.catalog.statuses
    if principal.role is not Role.SUBSCRIBER:
        return list(statuses)
    return [one for one in statuses if one.subscription.owner == principal.key]


def find(call: Call[Any, Any]) -> Status:
    """The one that the path names, by id or by name; `NotFound` for what this key may not see too."""
    given = call.path["id"]
    for one in _visible(call):
        if given in {one.subscription.name, f"{PREFIX}{one.subscription.id}"}:
            return one
    raise NotFound(f"there is no subscription {given}")


def _is_foreign(call: Call[Any, Any], name: str) -> bool:
    """Whether it is the name of one that this key may not see."""
    seen = {one.subscription.name for one in _visible(call)}
    known = {one.subscription.name for one in call.gateway.store.catalog.statuses}
    return name in known - seen


def _put_url(keys: Keys) -> None:
    """Leave the URL under `url`, whatever it came under."""
    given = [key for key in URL_KEYS if key in keys]
    if len(given) > 1:
        raise BadRequest(f"url: is given twice, as {' and '.join(given)}")
    if given:
        keys["url"] = keys.pop(given[0])


def _description(keys: Keys) -> str | None:
    text = keys.pop("description", None)
    if text is None:
        return None
    if not isinstance(text, str) or len(text) > LONGEST_DESCRIPTION or not _is_unicode(text):
        raise BadRequest(
            f"description: expected a text of at most {LONGEST_DESCRIPTION} characters"
        )
    return text


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise BadRequest("name: expected a text")
    check_name(name, Place("name"))
    return name


def _made_name(keys: Keys) -> str:
    """The host, and letters that nobody else has; what is wrong with the URL is said later."""
    try:
        host = parse_target(str(keys.get("url"))).host
    except ValueError:
        host = ""
    stem = re.sub("[^a-z0-9]+", "-", host.lower()).strip("-")[:LONGEST_HOST] or "hook"
    return f"{stem}-{''.join(secrets.choice(LETTERS) for _ in range(8))}"


def _said(answer: msgspec.Struct, status: Status, *, code: int = 200) -> Response:
    return Response(
        msgspec.json.encode(shown(answer)),
        status_code=code,
        media_type="application/json",
        headers={"etag": etag_of(status.subscription)},
    )


def _op(
    method: str,
    path: str,
    name: str,
    act: Callable[[Call[Any, Any]], Awaitable[object]],
    answer: Any,
    **more: Any,
) -> Operation:
    roles = SUBSCRIBERS | READERS if method == "GET" else SUBSCRIBERS
    return Operation(
        method=method,
        path=f"/v1/subscriptions{path}",
        name=name,
        roles=roles,
        act=act,
        answer=answer,
        **more,
    )


SENT = ("too_large", "unsupported_media_type")  # what every call with a body may answer
FOUND = ("not_found", "conflict")

SUBSCRIBING: Sequence[Operation] = (
    _op(
        "POST",
        "",
        "createSubscription",
        create,
        MadeSubscription,
        body=SubscriptionKeys,
        loose=True,
        status=201,
        also=(200,),
        tells=("ETag",),
        codes=("conflict", *SENT),
    ),
    _op(
        "GET",
        "",
        "listSubscriptions",
        list_subscriptions,
        SubscriptionList,
        query=SubscriptionQuery,
    ),
    _op(
        "GET",
        "/{id}",
        "getSubscription",
        get_subscription,
        ShownSubscription,
        tells=("ETag",),
        codes=("not_found",),
    ),
    _op(
        "PATCH",
        "/{id}",
        "changeSubscription",
        change,
        ShownSubscription,
        body=SubscriptionKeys,
        loose=True,
        headers=("If-Match",),
        tells=("ETag",),
        codes=(*FOUND, "precondition_failed", *SENT),
    ),
    _op("DELETE", "/{id}", "removeSubscription", remove, None, status=204, codes=("conflict",)),
    _op(
        "POST",
        "/{id}/rotate",
        "rotateSubscription",
        rotate,
        RotatedSubscription,
        body=Rotation,
        codes=(*FOUND, *SENT),
    ),
    _op("POST", "/{id}/pause", "pauseSubscription", pause, SubscriptionState, codes=FOUND),
    _op(
        "POST",
        "/{id}/resume",
        "resumeSubscription",
        resume,
        SubscriptionState,
        codes=("not_found",),
    ),
)
