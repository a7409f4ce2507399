"""What is allowed and still looks like a mistake: sentences for the operator, not errors."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.catalogue import MEANINGS
from gateway.config.environ import variable
from gateway.config.filtering import about_filters
from gateway.config.reader import Place, read_table, suggestion
from gateway.config.settings import SourceSettings, SubscriptionSettings
from gateway.egress.rules import Rules, parse_target
from gateway.errors import ForbiddenAddress
from gateway.matching import wants_type
from gateway.models import Mode, Ordering
from gateway.providers.base import Options, Provider
from gateway.providers.registry import provider_names

OURS = ("order", "gateway")
GROUPS = tuple(f"{name}.*" for name in OURS)


def warnings_of(
    sources: Mapping[str, SourceSettings],
    subscriptions: Mapping[str, SubscriptionSettings],
    rules: Rules,
    providers: Callable[[str], type[Provider]],
) -> Iterable[str]:
    """Each begins with the key's path, as an error does."""
    for name, source in sources.items():
        place = Place("sources").key(name)
        if source.poll is not None:
            yield from _local(source.poll.base_url, place.key("base_url"), rules)
        if source.enabled:
            said = _said(providers(source.provider), source.options)
            yield from (f"{place.path}: {sentence}" for sentence in said)
    shops = {name: source.shop for name, source in sources.items()}
    for name, subscription in subscriptions.items():
        yield from about_subscription(name, subscription, shops, rules)
    yield from _shared(subscriptions)


def about_subscription(
    name: str,
    subscription: SubscriptionSettings,
    shops: Mapping[str, str] | None,
    rules: Rules,
) -> Iterable[str]:
    """What looks like a mistake in one subscription.

    `shops` are those of the declared sources, by the source's name; None when nobody knows them.
    """
    place = Place("subscriptions").key(name)
    if not subscription.pull:
        yield from _local(subscription.url, place.key("url"), rules)
    yield from _unknown_types(subscription.types, place.key("types"))
    if shops is not None:
        yield from _unmet(subscription, place, shops)
    for path, sentence in about_filters(subscription.filters, subscription.types):
        yield f"{place.path}.{path}: {sentence}"
    yield from _idle(subscription, place)


def shops_of(document: Mapping[str, object], environ: Mapping[str, str]) -> dict[str, str]:
    """The shop of each source of a file, by the source's name, as far as it can be read.

    It needs none of the secrets that the whole settings need.
    """
    found = {}
    default = SourceSettings(provider="").shop
    for name, table in read_table(document.get("sources", {}), Place("sources")).items():
        shop = environ.get(variable("sources", name, "shop"))
        if shop is None and isinstance(table, Mapping):
            shop = table.get("shop")
        found[name] = shop if isinstance(shop, str) else default
    return found


def _said(provider: type[Provider], options: Options) -> Sequence[str]:
    """What a provider itself says of its options, in an optional method `warnings`."""
    if not hasattr(provider, "warnings"):
        return ()
    made: Any = provider(options)
    said: Sequence[str] = made.warnings()
    return said


def _local(url: str, place: Place, rules: Rules) -> Iterable[str]:
    """`localhost` is a name, and names are judged when they are resolved: too late for `check`."""
    target = parse_target(url)
    if target.host != "localhost":
        return
    try:
        rules.check("127.0.0.1", target.port)
        rules.check("::1", target.port)
    except ForbiddenAddress as error:
        yield f"{place.path}: localhost can mean 127.0.0.1 and ::1: {str(error).removesuffix('.')}"


def _unknown_types(patterns: Iterable[str], place: Place) -> Iterable[str]:
    """Types that no event has. What a provider or a service of one's own calls its events is free."""
    providers = provider_names()
    for index, pattern in enumerate(patterns):
        if pattern == "*" or pattern.partition(".")[0] in providers:
            continue
        if not any(wants_type([pattern], known) for known in MEANINGS):
            near = suggestion(pattern, [*MEANINGS, *GROUPS])
            if near or pattern.partition(".")[0] in OURS:
                yield f'{place.item(index).path}: no event has the type "{pattern}"{near}'


def _idle(subscription: SubscriptionSettings, place: Place) -> Iterable[str]:
    """Keys that say something, and do nothing for want of another one."""
    if subscription.ordering is not Ordering.ORDER:
        yield from _set(subscription, ("on_exhausted",), place, 'ordering = "order"')
    if subscription.mode is not Mode.BATCH:
        yield from _set(subscription, ("batch_size", "batch_wait"), place, 'mode = "batch"')


def _set(
    subscription: SubscriptionSettings, keys: Collection[str], place: Place, needed: str
) -> Iterable[str]:
    for field in msgspec.structs.fields(subscription):
        if field.name in keys and getattr(subscription, field.name) != field.default:
            yield f"{place.key(field.name).path}: does nothing without {needed}"


def _shared(subscriptions: Mapping[str, SubscriptionSettings]) -> Iterable[str]:
    """Secrets of several hosts (Standard Webhooks: a key is unique for each endpoint)."""
    first: dict[bytes, tuple[str, str]] = {}  # the subscription that has it, and its host
    told: set[tuple[str, str]] = set()
    for name, subscription in subscriptions.items():
        if subscription.pull:
            continue
        host = parse_target(subscription.url).host
        for index, secret in enumerate(subscription.secrets):
            other, its_host = first.setdefault(secret, (name, host))
            if its_host != host and (name, other) not in told:
                told.add((name, other))
                path = Place("subscriptions").key(name).key("secrets").item(index).path
                yield (
                    f"{path}: subscription {other} has the same secret at another host, so either"
                    " consumer can sign what the other one believes: give each a secret of its own"
                    " (`gateway secret` makes one)"
                )


def _unmet(
    subscription: SubscriptionSettings, place: Place, sources: Mapping[str, str]
) -> Iterable[str]:
    """Filters that no declared source meets; `sources` are names with their shops."""
    shops = set(sources.values())
    filters = (("sources", subscription.sources, sources), ("shops", subscription.shops, shops))
    for key, wanted, known in filters:
        for index, one in enumerate(wanted):
            if one not in known:
                path = place.key(key).item(index).path
                yield f'{path}: no source of this file has "{one}"{suggestion(one, known)}'
