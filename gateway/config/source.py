"""One source: from its keys, wherever they were written, to its settings."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from gateway.config.network import rules_of, target_at
from gateway.config.reader import (
    Given,
    Place,
    check_name,
    kinds_of,
    place_of,
    read,
    read_keys,
    refuse_unknown,
    sentence_of,
    suggestion,
)
from gateway.config.secrets import Vault, bytes_of
from gateway.config.settings import PollSettings, Settings, SourceSettings
from gateway.config.values import show_duration, show_size
from gateway.egress.rules import Rules
from gateway.errors import ConfigError, NotFound, StartupError
from gateway.models import Duration, Size
from gateway.providers.base import Options, Polled, Provider, calls, is_polled
from gateway.providers.registry import provider_class, provider_names

THEIRS = 'what its provider signs with, as in secrets = ["${NAME}"]'
THEIRS_TO_ASK = 'write the bare key of its API, as in token = "${NAME}"'
EXAMPLE_URL = "https://api.example.com/v2"
PARTS = (
    "options",
    "poll",
)  # of a source: tables of its own in `Settings`, its own keys in the file
RESERVED = {"gateway", "published"}  # sources of what it says itself, and of what is published
HIDDEN = frozenset({"secrets", "token"})
"""The keys that are not shown."""

Table = dict[str, object]


def read_source(
    name: str, values: Mapping[str, object], settings: Settings, *, place: Place | None = None
) -> SourceSettings:
    """A source that stands in no file: its keys as a command line or JSON gives them.

    Text is read as a variable of the environment is, None is a key's default, and `${NAME}` is
    refused, as `read_subscription` does. Of `settings`, `egress` counts. Raises `ConfigError` with
    the path `sources.NAME.KEY`, or that of the key at `place`, for the first thing that is wrong.
    """
    at = Place("sources").key(name)
    check_source_name(name, at if place is None else place.key("name"))
    table: Table = {
        key: Given(value) if isinstance(value, str) else value
        for key, value in values.items()
        if value is not None
    }
    reader = SourceReader(rules_of(settings.egress), Vault(None, None), provider_class)
    return reader.read(table, place or at, cleared=values.keys() - table.keys())


def check_source_name(name: str, place: Place) -> None:
    """Refuse what is no name of a source; `ConfigError`."""
    check_name(name, place)
    if name in RESERVED:
        raise place.error("is the gateway's own name: choose another")


def keys_of_source(source: SourceSettings) -> dict[str, Any]:
    """All its keys but those that are secret, as JSON has them: what makes the same one again."""
    found = {key: getattr(source, key) for key in source.__struct_fields__ if key not in PARTS}
    if source.poll is not None:
        found |= msgspec.structs.asdict(source.poll)
    plain = {key: _plain(value) for key, value in found.items() if key not in HIDDEN}
    return plain | options_of(source)


def options_of(source: SourceSettings) -> dict[str, Any]:
    """The keys that only its provider knows, as JSON has them."""
    options = msgspec.structs.asdict(source.options)
    return {key: _plain(value) for key, value in options.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Duration):
        return show_duration(value)
    if isinstance(value, Size):
        return show_size(value)
    return list(value) if isinstance(value, tuple) else value


def _as_it_is(table: Mapping[str, object], _: Iterable[str]) -> Table:
    return dict(table)


class SourceReader:
    """Reads tables of sources; `vault` fills in their secrets, `providers` knows their kinds."""

    def __init__(
        self, rules: Rules, vault: Vault, providers: Callable[[str], type[Provider]]
    ) -> None:
        self._rules, self._vault, self._providers = rules, vault, providers

    def read(
        self,
        table: Mapping[str, object],
        place: Place,
        *,
        adjust: Callable[[Mapping[str, object], Iterable[str]], Table] = _as_it_is,
        cleared: Iterable[str] = (),
    ) -> SourceSettings:
        """The settings; `ConfigError`. `adjust` is given the table and keys that it may set anew.

        `cleared` are keys that are given their defaults in words: they have to be known too.
        """
        common = {key: kind for key, kind in kinds_of(SourceSettings).items() if key not in PARTS}
        table = adjust(table, common)
        provider = self._provider(table, place)
        polled = kinds_of(PollSettings) if is_polled(provider) else {}
        own = {
            key: kind
            for key, kind in kinds_of(provider.Options).items()
            if key not in common and key not in polled
        }
        table = adjust(table, polled | own)
        refuse_unknown(common | polled | own, sorted(cleared), place)
        values = read_keys(common | polled | own, table, place)
        asking = {key: values.pop(key) for key in polled if key in values}
        chosen = {key: values.pop(key) for key in own if key in values}
        poll = self._poll(provider, asking, table, place) if is_polled(provider) else None
        if "secrets" in values or (calls(provider) and poll is None):
            if not calls(provider):
                raise place_of("secrets", table, place).error("this provider sends no callbacks")
            at = place_of("secrets", table, place)
            values["secrets"] = self._vault.fill(values.get("secrets", ()), at, bytes_of, THEIRS)
        elif "silent_after" in values:
            at = place_of("silent_after", table, place)
            raise at.error("waits for callbacks, and this source takes none: it is only asked")
        options = _options(provider.Options, chosen, table, place)
        return SourceSettings(**values, poll=poll, options=options)

    def _poll(
        self,
        provider: type[Polled],
        values: dict[str, Any],
        table: Mapping[str, object],
        place: Place,
    ) -> PollSettings | None:
        """How the source is asked; None for one that calls as well and has no `base_url`."""
        url = values.setdefault("base_url", provider.base_url)
        if not url and calls(provider) and set(values) == {"base_url"}:
            return None
        if not url:
            example = f'for example base_url = "{EXAMPLE_URL}"'
            raise place.key("base_url").error(f"is required to ask this provider, {example}")
        at = place_of("base_url", table, place)
        if "?" in url or "#" in url:
            raise at.error("expected a URL without ? and #: what follows is added to it")
        target_at(url, at, self._rules)
        if "token" not in values:
            raise place.key("token").error('is required, as in token = "${NAME}"')
        at = place_of("token", table, place)
        token = self._vault.fill_one(values["token"], at, _header_value, THEIRS_TO_ASK)
        return PollSettings(**(values | {"base_url": url.rstrip("/"), "token": token}))

    def _provider(self, table: Mapping[str, object], place: Place) -> type[Provider]:
        if "provider" not in table:
            for key in table:  # a typo in it is not told as a key that is missing
                if near := suggestion(key, ["provider"]):
                    raise place.key(key).error(f"unknown key{near}")
            raise place.key("provider").error('is required, for example provider = "stripe"')
        name = read(str, table["provider"], place.key("provider"))
        try:
            return self._providers(name)
        except NotFound as error:
            near = suggestion(name, provider_names())
            raise place_of("provider", table, place).error(sentence_of(error) + near) from None
        except StartupError as error:
            raise place_of("provider", table, place).error(sentence_of(error)) from None


def _header_value(text: str) -> bytes:
    """A token as it stands in a header: printable ASCII (RFC 9110 5.5), without a blank."""
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError("the token has a blank or a line break in it, or no ASCII")
    return text.encode()


def _options(
    struct: type[Options], values: dict[str, Any], table: Mapping[str, object], place: Place
) -> Options:
    """The provider's own keys; what it says about one of them becomes an error with the full path."""
    for key, value in values.items():
        try:
            msgspec.json.encode(value, enc_hook=int)
        except UnicodeEncodeError:  # a variable may have any bytes, and these are shown
            raise place_of(key, table, place).error("expected text in UTF-8") from None
    try:
        return struct(**values)
    except ConfigError as error:
        message = str(error).removeprefix(f"{error.path}: ")
        raise place_of(error.path, table, place).error(message) from None
