"""One subscription: from its keys, wherever they were written, to what the gateway works with."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from gateway import models
from gateway.config.network import rules_of, target_at
from gateway.config.reader import (
    Given,
    Place,
    check_name,
    kinds_of,
    place_of,
    read_keys,
    sentence_of,
)
from gateway.config.secrets import Vault
from gateway.config.settings import PROFILES, ProfileName, Settings, SubscriptionSettings
from gateway.config.values import Secret
from gateway.egress.headers import check_header, check_header_name, check_headers, header_value
from gateway.egress.rules import Target, parse_target
from gateway.models import Millis, Mode, Ordering
from gateway.telemetry.redaction import SECRET_WORDS

KINDS = kinds_of(SubscriptionSettings)
FIELDS = {field.encode_name: field.name for field in msgspec.structs.fields(SubscriptionSettings)}
FLAT_MODES = {Mode.STRUCTURED, Mode.JSON}
PULLED = frozenset(
    {"pull", "types", "sources", "shops", "filters", "flat", "mode", "from", "enabled"}
)
"""The keys that a subscription may have whose consumer fetches its events."""
A_HEADER = 'write the name and the value, as in headers = { Authorization = "Bearer ${NAME}" }'


def read_subscription(
    name: str,
    values: Mapping[str, object],
    settings: Settings,
    *,
    place: Place | None = None,
) -> SubscriptionSettings:
    """A subscription that stands in no file: its keys as a command line or JSON gives them.

    Text is read as a variable of the environment is: `true`, `32`, `a,b`, or a list or table in
    TOML. `${NAME}` is refused, because whoever may add a subscription may not read the
    environment or files with it; and so is `secrets`, which is empty in the result. Of
    `settings`, `server` and `egress` count. Raises `ConfigError` with the path
    `subscriptions.NAME.KEY`, or that of the key at `place`, for the first thing that is wrong.
    """
    place = place or Place("subscriptions").key(name)
    check_name(name, place)
    if "secrets" in values:
        raise place.key("secrets").error("is not chosen here: the gateway makes one and shows it")
    table = {
        key: Given(value) if isinstance(value, str) else value for key, value in values.items()
    }
    return SubscriptionReader(settings, Vault(None, None)).read(table, place)


def subscription_of(
    name: str, wanted: SubscriptionSettings, settings: Settings, *, declared: bool
) -> models.Subscription:
    """What the gateway works with; the catalog gives it its id. `declared`: it stands in the file."""
    public_url = settings.server.public_url
    return models.Subscription(
        id=0,
        name=name,
        url=wanted.url,
        types=wanted.types,
        sources=wanted.sources,
        shops=wanted.shops,
        filters=wanted.filters,
        profile=wanted.profile,
        mode=wanted.mode,
        flat=wanted.flat,
        secrets=wanted.secrets,
        timeout=Millis(wanted.timeout),
        slots=wanted.slots,
        rate=wanted.rate,
        schedule=tuple(Millis(delay) for delay in wanted.schedule),
        enabled=wanted.enabled,
        headers=tuple(wanted.headers.items()),
        origin=parse_target(public_url).host if wanted.handshake else None,
        ordering=wanted.ordering,
        on_exhausted=wanted.on_exhausted,
        final_status=wanted.final_status,
        batch_size=wanted.batch_size,
        batch_wait=Millis(wanted.batch_wait),
        start=None if wanted.start is None else Millis(wanted.start),
        declared=declared,
    )


class SubscriptionReader:
    """Reads tables of subscriptions, as far as they go without their secrets.

    Of `settings`, `server` and `egress` count; `vault` fills in the values of headers.
    """

    def __init__(self, settings: Settings, vault: Vault) -> None:
        self._public_url = settings.server.public_url
        self._rules = rules_of(settings.egress)
        self._vault = vault

    def read(self, table: Mapping[str, object], place: Place) -> SubscriptionSettings:
        """The settings; `secrets` are still as they were written, and may be missing."""
        values = read_keys(KINDS, table, place)
        if values.get("pull"):
            return self._pulled(values, table, place)
        if "url" not in values:
            raise place.key("url").error(
                'is required, for example url = "https://example.com/in"; or pull = true,'
                " for a consumer that fetches its events"
            )
        target = target_at(values["url"], place_of("url", table, place), self._rules)
        profile = values.setdefault("profile", guess_profile(target))
        if "headers" in values:
            at = place_of("headers", table, place)
            values["headers"] = self._headers(values["headers"], at)
        given: dict[str, Any] = {FIELDS[key]: value for key, value in values.items()}
        given = {"secrets": ()} | msgspec.structs.asdict(PROFILES[profile]) | given
        found = SubscriptionSettings(**given)
        self._check(found, table, place)
        return found

    def _pulled(
        self, values: Mapping[str, object], table: Mapping[str, object], place: Place
    ) -> SubscriptionSettings:
        for key in values:
            if key not in PULLED:
                raise place_of(key, table, place).error(
                    "does not go with pull = true: nothing is sent to a consumer that fetches its"
                    " events; leave one of the two out"
                )
        given: dict[str, Any] = {FIELDS[key]: value for key, value in values.items()}
        found = SubscriptionSettings(**{"url": "", "secrets": ()} | given)
        if found.mode not in FLAT_MODES:
            raise place_of("mode", table, place).error(
                f'"{found.mode}" does not go with pull = true: choose "json" or "structured"'
            )
        return found

    def _headers(self, written: Mapping[str, Secret], place: Place) -> dict[str, Secret]:
        """The values as they are sent; no sentence shows one."""
        for name in written:
            _check_name(name, place.key(name))
        found = {
            name: self._vault.fill_one(
                value,
                place.key(name),
                partial(_header, name),
                A_HEADER,
                hidden=any(word in name.lower() for word in SECRET_WORDS),
            )
            for name, value in written.items()
        }
        try:
            check_headers(list(found.items()))
        except ValueError as error:
            sentence = sentence_of(error)
        else:
            return found
        raise place.error(sentence)

    def _check(
        self, found: SubscriptionSettings, table: Mapping[str, object], place: Place
    ) -> None:
        """What two keys say against each other."""
        if found.handshake and not self._public_url:
            raise place_of("handshake", table, place).error(
                "needs server.public_url, whose host name the consumer is asked to allow"
            )
        if found.ordering is Ordering.ORDER and found.mode is Mode.BATCH:
            raise place_of("ordering", table, place).error(
                '"order" does not go with mode = "batch", whose events are of many orders: '
                "choose one of them"
            )
        if found.flat and found.mode not in FLAT_MODES:
            raise place_of("flat", table, place).error(
                f'true does not go with mode = "{found.mode}": choose "json" or "structured"'
            )


def guess_profile(target: Target) -> ProfileName:
    """The profile of a subscription that names none (design 7)."""
    path = target.path.partition(b"?")[0]
    if target.host == "hooks.zapier.com":
        return "zapier"
    if b"/webhook/" in path or b"/webhook-test/" in path:
        return "n8n"
    return "service"


def _check_name(name: str, place: Place) -> None:
    """Before the value is looked at: no value would help."""
    try:
        check_header_name(name)
    except ValueError as error:
        sentence = sentence_of(error)
    else:
        return
    raise place.error(f"{sentence}; leave it out")


def _header(name: str, text: str) -> bytes:
    """The bytes of one header's value; `ValueError` does not show it."""
    value = header_value(name, text)
    try:
        check_header(name, value)
    except ValueError as error:
        raise ValueError(sentence_of(error)) from None
    return value
