"""From the file and the environment to `Settings`; the only reader of either."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway.config.advice import warnings_of
from gateway.config.document import read_document
from gateway.config.environ import Overrides
from gateway.config.network import rules_of, target_at
from gateway.config.reader import (
    Place,
    check_name,
    kinds_of,
    place_of,
    read,
    read_keys,
    read_table,
    refuse_unknown,
    sentence_of,
    suggestion,
)
from gateway.config.secrets import Vault, bytes_of
from gateway.config.settings import (
    NO_SECTION,
    AdminSettings,
    EgressSettings,
    PollSettings,
    RetentionSettings,
    ServerSettings,
    Settings,
    SourceSettings,
    StoreSettings,
    SubscriptionSettings,
)
from gateway.config.subscription import KINDS, SubscriptionReader
from gateway.config.values import Secret
from gateway.egress.rules import Rules
from gateway.errors import ConfigError, NotFound, StartupError
from gateway.providers.base import Options, Polled, Provider, calls, is_polled
from gateway.providers.registry import provider_class, provider_names
from gateway.signing import parse_secret

SECTIONS = tuple(name for name in Settings.__struct_fields__ if name not in NO_SECTION)
FIXED = SECTIONS[: SECTIONS.index("sources")]
SQLITE = "sqlite:///"
THEIRS = 'what its provider signs with, as in secrets = ["${NAME}"]'
THEIRS_TO_ASK = 'write the bare key of its API, as in token = "${NAME}"'
EXAMPLE_URL = "https://api.example.com/v2"
PARTS = (
    "options",
    "poll",
)  # of a source: tables of its own in `Settings`, its own keys in the file
RESERVED = {"gateway", "published"}  # sources of what it says itself, and of what is published
OURS = "`gateway secret` makes one"
MASTER_KEY = "GATEWAY_MASTER_KEY"


def load(
    path: Path | None,
    environ: Mapping[str, str],
    *,
    providers: Callable[[str], type[Provider]] = provider_class,
) -> Settings:
    """The settings of the file at `path`, or the defaults, with the overrides of `environ`.

    Raises `ConfigError`, and nothing else, for the first thing that is wrong.
    """
    document = {} if path is None else read_document(path)
    return Loader(environ, file=path, providers=providers).settings(document)


def load_fixed(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """All settings but the sources and subscriptions, for commands that need no secrets.

    Raises `ConfigError` for the first thing that is wrong there.
    """
    document = {} if path is None else read_document(path)
    return Loader(environ, file=None, providers=provider_class).fixed(document)


def load_store(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings of the store alone, for commands that need no more, and no secrets.

    Everything else has its default. Raises `ConfigError` for the first thing that is wrong there.
    """
    document = {} if path is None else read_document(path)
    loader = Loader(environ, file=None, providers=provider_class)
    return Settings(store=loader.store(document), master_key=_master_key(environ))


class Loader:
    """Reads one configuration: the tables of a file under the overrides of an environment."""

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        file: Path | None,
        providers: Callable[[str], type[Provider]],
    ) -> None:
        self._overrides = Overrides(environ)
        self._master_key = _master_key(environ)
        self._vault = Vault(environ, file)
        self._providers = providers

    def settings(self, document: Mapping[str, object]) -> Settings:
        """The settings; `ConfigError` for the first thing that is wrong."""
        refuse_unknown(SECTIONS, document, Place(""))
        tables = {name: read_table(document.get(name, {}), Place(name)) for name in SECTIONS}
        fixed = self.fixed(document)
        rules = rules_of(fixed.egress)
        sources = {
            name: self._source(name, raw, rules)
            for name, raw in _named("sources", tables["sources"])
        }
        reader = SubscriptionReader(fixed, self._vault)
        subscriptions = {
            name: self._subscription(name, raw, reader)
            for name, raw in _named("subscriptions", tables["subscriptions"])
        }
        self._overrides.refuse_unknown()
        return msgspec.structs.replace(
            fixed,
            sources=sources,
            subscriptions=subscriptions,
            warnings=(
                *self._vault.warnings,
                *warnings_of(sources, subscriptions, rules, self._providers),
            ),
        )

    def fixed(self, document: Mapping[str, object]) -> Settings:
        """The settings without sources and subscriptions, which alone hold secrets; `ConfigError`."""
        tables = {name: read_table(document.get(name, {}), Place(name)) for name in FIXED}
        server = ServerSettings(**self._fixed("server", ServerSettings, tables))
        admin = AdminSettings(**self._fixed("admin", AdminSettings, tables))
        _check_ports(server, admin)
        store = self.store(document)
        egress = EgressSettings(**self._fixed("egress", EgressSettings, tables))
        rules_of(egress)
        retention = RetentionSettings(**self._fixed("retention", RetentionSettings, tables))
        return Settings(
            server=server,
            admin=admin,
            store=store,
            egress=egress,
            retention=retention,
            master_key=self._master_key,
        )

    def store(self, document: Mapping[str, object]) -> StoreSettings:
        """The settings of the store; `ConfigError`."""
        table = {"store": read_table(document.get("store", {}), Place("store"))}
        store = StoreSettings(**self._fixed("store", StoreSettings, table))
        _check_store(store, Place("store.url"))
        return store

    def _fixed(
        self, name: str, struct: type[msgspec.Struct], tables: Mapping[str, dict[str, object]]
    ) -> dict[str, Any]:
        kinds = kinds_of(struct)
        return read_keys(kinds, self._overrides.apply(tables[name], kinds, (name,)), Place(name))

    def _source(self, name: str, raw: object, rules: Rules) -> SourceSettings:
        path, place = ("sources", name), Place("sources").key(name)
        common = {key: kind for key, kind in kinds_of(SourceSettings).items() if key not in PARTS}
        table = self._overrides.apply(read_table(raw, place), common, path)
        provider = self._provider(table, place)
        polled = kinds_of(PollSettings) if is_polled(provider) else {}
        own = {
            key: kind
            for key, kind in kinds_of(provider.Options).items()
            if key not in common and key not in polled
        }
        table = self._overrides.apply(table, polled | own, path)
        values = read_keys(common | polled | own, table, place)
        asking = {key: values.pop(key) for key in polled if key in values}
        chosen = {key: values.pop(key) for key in own if key in values}
        poll = self._poll(provider, asking, table, place, rules) if is_polled(provider) else None
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
        rules: Rules,
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
        target_at(url, at, rules)
        if "token" not in values:
            raise place.key("token").error('is required, as in token = "${NAME}"')
        at = place_of("token", table, place)
        token = self._vault.fill_one(values["token"], at, _header_value, THEIRS_TO_ASK)
        return PollSettings(**(values | {"base_url": url.rstrip("/"), "token": token}))

    def _provider(self, table: Mapping[str, object], place: Place) -> type[Provider]:
        if "provider" not in table:
            raise place.key("provider").error('is required, for example provider = "stripe"')
        name = read(str, table["provider"], place.key("provider"))
        try:
            return self._providers(name)
        except NotFound as error:
            near = suggestion(name, provider_names())
            raise place_of("provider", table, place).error(sentence_of(error) + near) from None
        except StartupError as error:
            raise place_of("provider", table, place).error(sentence_of(error)) from None

    def _subscription(
        self, name: str, raw: object, reader: SubscriptionReader
    ) -> SubscriptionSettings:
        place, path = Place("subscriptions").key(name), ("subscriptions", name)
        table = self._overrides.apply(read_table(raw, place), KINDS, path)
        found = reader.read(table, place)
        if found.pull:
            return found
        at = place_of("secrets", table, place)
        secrets = self._vault.fill(found.secrets, at, parse_secret, OURS)
        return msgspec.structs.replace(found, secrets=secrets)


def _master_key(environ: Mapping[str, str]) -> Secret | None:
    """What seals the secrets of the database, where it is to be no file beside it."""
    text = environ.get(MASTER_KEY)
    if text is None:
        return None
    if not text.strip():
        raise ConfigError(MASTER_KEY, "is empty: unset it, and a key file is made and used")
    return Secret(bytes_of(text))


def _header_value(text: str) -> bytes:
    """A token as it stands in a header: printable ASCII (RFC 9110 5.5), without a blank."""
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError("the token has a blank or a line break in it, or no ASCII")
    return text.encode()


def _named(section: str, table: Mapping[str, object]) -> Iterable[tuple[str, object]]:
    """The named tables of a section; refuses bad names and those that differ only by case."""
    seen: dict[str, str] = {}
    for name in table:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise Place(section).key(name).error(f'differs from "{other}" only by case')
    for name in table:
        check_name(name, Place(section).key(name))
        if section == "sources" and name in RESERVED:
            raise Place(section).key(name).error("is the gateway's own name: choose another")
    return table.items()


def _options(
    struct: type[Options], values: dict[str, Any], table: Mapping[str, object], place: Place
) -> Options:
    """The provider's own keys; what it says about one of them becomes an error with the full path."""
    try:
        return struct(**values)
    except ConfigError as error:
        message = str(error).removeprefix(f"{error.path}: ")
        raise place_of(error.path, table, place).error(message) from None


def _check_ports(server: ServerSettings, admin: AdminSettings) -> None:
    if admin.port and (admin.host, admin.port) == (server.host, server.port):
        raise Place("admin.port").error("expected another port than server.port on this host")


def _check_store(store: StoreSettings, place: Place) -> None:
    """Refuse what is no SQLite file, without showing the URL, which may hold a password."""
    if store.url.startswith(("postgresql:", "postgres:", "postgresql+")):
        raise place.error("PostgreSQL comes with a later version; use sqlite:///PATH")
    path = store.url.removeprefix(SQLITE)
    if path == store.url or not path.strip() or set(path) & set("?#\0"):
        raise place.error(f"expected {SQLITE}PATH, the path of a file, without ? and #")
