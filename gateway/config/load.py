"""From the file and the environment to `Settings`; the only reader of either."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway.config.advice import warnings_of
from gateway.config.document import read_document
from gateway.config.environ import Overrides
from gateway.config.network import rules_of
from gateway.config.reader import (
    Place,
    check_name,
    kinds_of,
    place_of,
    read_keys,
    read_table,
    refuse_unknown,
)
from gateway.config.secrets import Vault, bytes_of
from gateway.config.settings import (
    NO_SECTION,
    AdminSettings,
    EgressSettings,
    RetentionSettings,
    ServerSettings,
    Settings,
    SourceSettings,
    StoreSettings,
    SubscriptionSettings,
)
from gateway.config.source import SourceReader, check_source_name
from gateway.config.subscription import KINDS, SubscriptionReader
from gateway.config.values import Secret
from gateway.errors import ConfigError
from gateway.providers.base import Provider
from gateway.providers.registry import provider_class
from gateway.signing import parse_secret

SECTIONS = tuple(name for name in Settings.__struct_fields__ if name not in NO_SECTION)
FIXED = SECTIONS[: SECTIONS.index("sources")]
SQLITE = "sqlite:///"
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
        source_reader = SourceReader(rules, self._vault, self._providers)
        sources = {
            name: self._source(name, raw, source_reader)
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

    def _source(self, name: str, raw: object, reader: SourceReader) -> SourceSettings:
        path, place = ("sources", name), Place("sources").key(name)
        return reader.read(
            read_table(raw, place),
            place,
            adjust=lambda table, kinds: self._overrides.apply(table, kinds, path),
        )

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


def _named(section: str, table: Mapping[str, object]) -> Iterable[tuple[str, object]]:
    """The named tables of a section; refuses bad names and those that differ only by case."""
    seen: dict[str, str] = {}
    for name in table:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise Place(section).key(name).error(f'differs from "{other}" only by case')
    for name in table:
        check = check_source_name if section == "sources" else check_name
        check(name, Place(section).key(name))
    return table.items()


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
