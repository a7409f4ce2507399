"""Subscriptions that stand in no file: made by their keys, changed by them, told by them."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.config.reader import Place
from gateway.config.settings import Profile, Settings
from gateway.config.subscription import PULLED, read_subscription, subscription_of
from gateway.config.values import show_duration, show_rate, show_start
from gateway.egress.rules import parse_target
from gateway.errors import ConfigError
from gateway.models import Millis, Subscription

TEST_PATH = b"/webhook-test/"
"""What the path of a URL has that n8n makes for one test run in its editor."""
TEST_LIFE = 600_000  # milliseconds after which a subscription to such a URL is removed

PLAIN = ("url", "types", "sources", "shops", "filters", "profile", "mode", "flat", "slots")
PLAIN_TOO = ("ordering", "on_exhausted", "final_status", "batch_size", "enabled")


def make_subscription(
    name: str,
    keys: Mapping[str, object],
    settings: Settings,
    now: Millis,
    *,
    owner: str | None = None,
    description: str = "",
    place: Place | None = None,
) -> Subscription:
    """A new one, from what `read_subscription` takes; `ConfigError`."""
    wanted = read_subscription(name, keys, settings, place=place)
    made = subscription_of(name, wanted, settings, declared=False)
    return msgspec.structs.replace(
        made, owner=owner, description=description, expires_at=_expiry(made.url, now)
    )


def change_subscription(
    before: Subscription,
    keys: Mapping[str, object],
    settings: Settings,
    now: Millis,
    *,
    description: str | None = None,
) -> Subscription:
    """The same with other values of these keys; `ConfigError`.

    Another profile brings its own values of what is not among the keys.
    """
    base = keys_of(before)
    if before.pull:
        base = {key: value for key, value in base.items() if key in PULLED}
    if "profile" in keys:
        base = {key: value for key, value in base.items() if key not in Profile.__struct_fields__}
    wanted = read_subscription(before.name, {**base, **keys}, settings, place=Place(""))
    after = subscription_of(before.name, wanted, settings, declared=False)
    moved = after.url != before.url
    if moved and before.headers and "headers" not in keys:
        _check_host(before.url, after.url)
    return msgspec.structs.replace(
        after,
        id=before.id,
        headers=after.headers if "headers" in keys else before.headers,
        owner=before.owner,
        description=before.description if description is None else description,
        expires_at=_expiry(after.url, now) if moved else before.expires_at,
    )


def _check_host(before: str, after: str) -> None:
    """Refuse to send own headers to whom they were not given for; `ConfigError`.

    Whoever may change a subscription may not read them, and could have them sent to a host of their own.
    """
    if parse_target(before).origin != parse_target(after).origin:
        raise ConfigError("headers", "give them again with a URL of another host, or {} for none")


def keys_of(subscription: Subscription) -> dict[str, Any]:
    """All its keys but `secrets` and `headers`, as JSON has them: what makes the same one again."""
    plain = {key: getattr(subscription, key) for key in (*PLAIN, *PLAIN_TOO)}
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()
    } | {
        "timeout": show_duration(subscription.timeout),
        "rate": show_rate(subscription.rate),
        "schedule": [show_duration(delay) for delay in subscription.schedule],
        "pull": subscription.pull,
        "handshake": subscription.origin is not None,
        "batch_wait": show_duration(subscription.batch_wait),
        "from": show_start(subscription.start),
    }


def _expiry(url: str, now: Millis) -> Millis | None:
    if not url:
        return None
    path = parse_target(url).path.partition(b"?")[0]
    return Millis(now + TEST_LIFE) if TEST_PATH in path else None
