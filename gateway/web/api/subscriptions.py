"""Subscriptions as the API takes and shows them: their keys flat, as the configuration has them."""

import hashlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, UnsetType

from gateway.config.made import keys_of
from gateway.config.settings import ProfileName
from gateway.errors import Forbidden
from gateway.keyring import Principal
from gateway.keys import Role
from gateway.models import Millis, Mode, OnExhausted, Ordering, Subscription
from gateway.stores.base import Status
from gateway.stores.views import Condition

PREFIX = "sub_"
INSIDE = "gateway."
"""How the types of operational events begin: they name other subscriptions and their hosts."""
URL_KEYS = ("url", "hookUrl", "target_url")
"""Under which the URL may come: REST hooks of Zapier have grown up with all three."""

Texts = list[str] | str
Whole = int | str
Truth = bool | str


class SubscriptionKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a subscription as in the configuration, each also as text; the URL is needed.

    It comes as `url`, `hookUrl` or `target_url`. Without `name` one is made of the host. With `pull`
    there is a `name` and no URL.
    """

    url: str | UnsetType = UNSET
    hook_url: str | UnsetType = msgspec.field(name="hookUrl", default=UNSET)
    target_url: str | UnsetType = UNSET
    pull: Truth | UnsetType = UNSET
    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    types: Texts | UnsetType = UNSET
    sources: Texts | UnsetType = UNSET
    shops: Texts | UnsetType = UNSET
    filters: list[dict[str, Any]] | str | UnsetType = UNSET
    profile: ProfileName | UnsetType = UNSET
    mode: Mode | UnsetType = UNSET
    flat: Truth | UnsetType = UNSET
    timeout: str | UnsetType = UNSET
    slots: Whole | UnsetType = UNSET
    rate: str | UnsetType = UNSET
    schedule: Texts | UnsetType = UNSET
    headers: dict[str, str] | str | UnsetType = UNSET
    handshake: Truth | UnsetType = UNSET
    ordering: Ordering | UnsetType = UNSET
    on_exhausted: OnExhausted | UnsetType = UNSET
    final_status: list[int] | str | UnsetType = UNSET
    batch_size: Whole | UnsetType = UNSET
    batch_wait: str | UnsetType = UNSET
    start: str | UnsetType = msgspec.field(name="from", default=UNSET)
    enabled: Truth | UnsetType = UNSET


class ShownSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription and how it stands; of own `headers` only the names are told.

    `url` is whole for the key that made it, without its query for operators, and ends after the host
    for readers. `owner` is the id of the key that made it; at `expires_at` it is removed.
    """

    id: str
    name: str
    description: str
    owner: str | None
    declared: bool
    url: str
    pull: bool
    types: list[str]
    sources: list[str]
    shops: list[str]
    filters: list[dict[str, Any]]
    profile: str
    mode: Mode
    flat: bool
    timeout: str
    slots: int
    rate: str
    schedule: list[str]
    headers: list[str]
    handshake: bool
    ordering: Ordering
    on_exhausted: OnExhausted
    final_status: list[int]
    batch_size: int
    batch_wait: str
    start: str = msgspec.field(name="from")
    enabled: bool
    state: str
    reason: str | None
    expires_at: Millis | None
    last_success: Millis | None
    failing_since: Millis | None
    hold_until: Millis | None
    broken_until: Millis | None
    consent: str | None
    catching_up: bool


class MadeSubscription(ShownSubscription, frozen=True, kw_only=True):
    """The same with its newest secret, by which the consumer knows its deliveries.

    With `pull` there is none: nothing is sent.
    """

    secret: str | None


class RotatedSubscription(MadeSubscription, frozen=True, kw_only=True):
    """The same with its new secret; those of before sign until `until` as well."""

    until: Millis


class SubscriptionList(msgspec.Struct, frozen=True, kw_only=True):
    """All subscriptions that this key may see, newest first."""

    data: list[ShownSubscription]
    cursor: str | None = None
    done: bool = True


class SubscriptionState(msgspec.Struct, frozen=True, kw_only=True):
    """How a subscription stands now: `active`, `paused` or `gone`, and why."""

    subscription: str
    state: str
    reason: str | None
    enabled: bool = True


def fields_of(status: Status, principal: Principal, now: Condition | None = None) -> dict[str, Any]:
    """The fields of `ShownSubscription`, as this principal may see them."""
    subscription, health, handshake = status.subscription, status.health, status.handshake
    keys = keys_of(subscription)
    keys["start"] = keys.pop("from")  # as the field is called
    condition = now or Condition(
        state=status.state,
        reason=status.reason,
        hold_until=status.hold_until,
        last_success=status.last_success,
        failing_since=health.failing_since,
        broken_until=health.broken_until,
        handshake=None if handshake is None else handshake.state,
    )
    told = msgspec.structs.asdict(condition)
    consent = told.pop("handshake")
    if subscription.origin is None:
        consent = None  # it may have been asked for before
    return keys | {
        "id": f"{PREFIX}{subscription.id}",
        "name": subscription.name,
        "description": subscription.description,
        "owner": subscription.owner,
        "declared": subscription.declared,
        "url": seen_url(subscription, principal),
        "headers": [name for name, _ in subscription.headers],
        "expires_at": subscription.expires_at,
        "consent": consent,
        "catching_up": status.catching_up,
        **told,
    }


def seen_url(subscription: Subscription, principal: Principal) -> str:
    """As much of the URL as this principal may see: its path and query may be what opens it."""
    url = subscription.url
    if principal.key is not None and principal.key == subscription.owner:
        return url
    if principal.role in {Role.ADMIN, Role.OPERATOR}:
        head, mark, _ = url.partition("?")
        return f"{head}?***" if mark else url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if url else ""


def etag_of(subscription: Subscription) -> str:
    """A strong entity tag of its settings. Its secrets salt it: it tells nothing of own headers."""
    packed = msgspec.msgpack.encode(subscription, enc_hook=_plain)
    return f'"{hashlib.blake2b(packed, digest_size=16).hexdigest()}"'


def _plain(value: object) -> object:
    """What the configuration's own kinds of number and bytes are to an encoder."""
    return int(value) if isinstance(value, int) else bytes(value)  # type: ignore[call-overload]


def check_types(principal: Principal, types: Sequence[str]) -> None:
    """Refuse a `subscriber` key what it may not know; `Forbidden`."""
    if principal.role is Role.SUBSCRIBER and any(one.startswith(INSIDE) for one in types):
        raise Forbidden(
            f"types: events of the gateway itself ({INSIDE}*) tell of other subscriptions: an"
            " operator's key may have them"
        )
