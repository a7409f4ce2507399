"""Every way to write a configuration wrong has one sentence that begins with the key's path."""

from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.load import Loader, load
from gateway.config.reader import kinds_of
from gateway.config.settings import SourceSettings, SubscriptionSettings
from gateway.errors import ConfigError
from gateway.providers import base
from tests.unit.config_stub import (
    ENV,
    SOURCE,
    SUBSCRIPTION,
    Stub,
    StubOptions,
    find,
    read,
    source,
    subscription,
)

# text of the file, path of the key, part of the sentence
BAD = [
    # unknown keys
    ("prot = 1", "prot", "unknown key, allowed are server, admin, store, egress, retention, "),
    ("[sourcs.a]", "sourcs", 'unknown key (did you mean "sources"?), allowed are'),
    ("warnings = []", "warnings", "unknown key"),
    ("[server]\nprot = 1", "server.prot", '(did you mean "port"?), allowed are host, port'),
    ("[admin]\nbody_limit = 1", "admin.body_limit", "allowed are host, port"),
    ("[retention]\nevent = '90d'", "retention.event", "allowed are callbacks, events, attempts"),
    (source("ordr = 1"), "sources.shop.ordr", "allowed are provider, secrets, shop"),
    (source("options = {}"), "sources.shop.options", "unknown key"),
    (source("[sources.shop.more]"), "sources.shop.more", "unknown key"),
    (subscription('start = "now"'), "subscriptions.sub.start", "unknown key"),
    ('[server]\n"a b\\n" = 1', 'server."a b\\n"', "unknown key"),
    # wrong types
    ('[server]\nport = "http"', "server.port", 'whole number from 0 to 65535, got "http"'),
    ("[server]\nport = 65536", "server.port", "from 0 to 65535, got 65536"),
    ("[server]\nport = -1", "server.port", "got -1"),
    ("[server]\nport = true", "server.port", "got true"),
    ("[server]\nport = 1.0", "server.port", "got 1.0"),
    ("[server]\nport = 0x" + "f" * 5000, "server.port", "got a number"),
    ("[server]\nhost = 1", "server.host", "an address or a host name"),
    ('[server]\nhost = ""', "server.host", "an address or a host name"),
    ('[server]\nhost = "127.0.0.1:80"', "server.host", "an address or a host name"),
    ('[server]\nhost = "127.1"', "server.host", "an address or a host name"),
    ('[server]\nallowed_hosts = "a"', "server.allowed_hosts", "expected a list"),
    ('[server]\nallowed_hosts = ["a:80"]', "server.allowed_hosts[0]", "without port"),
    ("server = 1", "server", "expected a table, [server], got a number"),
    ("[[sources]]", "sources", "expected a table, [sources], got a list of 1"),
    ("[sources]\nshop = 1979-05-27", "sources.shop", "got a date or time"),
    (source("enabled = 1"), "sources.shop.enabled", "expected true or false, got 1"),
    ('[sources.shop]\nprovder = "stripe"', "sources.shop.provder", '(did you mean "provider"?)'),
    (source("provider2 = 1"), "sources.shop.provider2", '(did you mean "provider"?)'),
    (source('include = ["all"]'), "sources.shop.include[0]", '"customer" or "original", got'),
    (source('shop = "a b"'), "sources.shop.shop", 'got "a b"'),
    (source('flag = "yes"'), "sources.shop.flag", "true or false"),
    (source("number = 1.5"), "sources.shop.number", "a whole number, got 1.5"),
    (source('ratio = "1"'), "sources.shop.ratio", "a number"),
    (source("ratio = nan"), "sources.shop.ratio", "a number, got NaN"),
    (source("ratio = 0x1" + "0" * 300), "sources.shop.ratio", "a number, got a number"),
    (source("wait = 60"), "sources.shop.wait", "a time such as"),
    (source("size = 60"), "sources.shop.size", "a size such as"),
    (source('choice = "ow"'), "sources.shop.choice", 'expected "own" or "wait", got "ow"'),
    (source("choice = []"), "sources.shop.choice", "got a list of 0"),
    (source("names = [1]"), "sources.shop.names[0]", "expected text, got 1"),
    (source('choices = ["x", "z"]'), "sources.shop.choices[1]", 'expected "x" or "y"'),
    (source("table = { a = 1 }"), "sources.shop.table.a", "expected text"),
    (source("table = 1"), "sources.shop.table", "a table, each value text"),
    (source('maybe = "x"'), "sources.shop.maybe", "true or false"),
    (source('currency = "bad"'), "sources.shop.currency", "must be three letters"),
    # times and sizes
    ('[server]\nstop_grace = "20"', "server.stop_grace", '"500ms", "30s", "5m", "2h" or "30d"'),
    ('[server]\nstop_grace = "-1s"', "server.stop_grace", "a time such as"),
    ('[server]\nstop_grace = "1.5s"', "server.stop_grace", "a time such as"),
    ('[server]\nstop_grace = "1 s"', "server.stop_grace", "a time such as"),
    ('[server]\nstop_grace = "366d"', "server.stop_grace", 'at most "365d"'),
    ('[server]\nstop_grace = "' + "9" * 99 + 's"', "server.stop_grace", "..."),
    ('[server]\nbody_limit = "1MB"', "server.body_limit", '"64KiB" or "1MiB"'),
    ('[server]\nbody_limit = "0B"', "server.body_limit", "not zero"),
    ('[server]\nbody_limit = "2GiB"', "server.body_limit", 'at most "1GiB"'),
    (source('tolerance = "0s"'), "sources.shop.tolerance", "not zero"),
    (subscription('timeout = "0s"'), "subscriptions.sub.timeout", "not zero"),
    (subscription('schedule = ["5s", "x"]'), "subscriptions.sub.schedule[1]", "a time"),
    (subscription('schedule = ["5s"' + ', "5s"' * 30 + "]"), "subscriptions.sub.schedule", "30"),
    # what else a subscription says
    (subscription('rate = "20"'), "subscriptions.sub.rate", '"20/s" or "100/m", or "none"'),
    (subscription('rate = "0/s"'), "subscriptions.sub.rate", "a rate"),
    (subscription("rate = 20"), "subscriptions.sub.rate", "a rate"),
    (subscription("slots = 0"), "subscriptions.sub.slots", "from 1 to 1000"),
    (subscription("slots = 1001"), "subscriptions.sub.slots", "from 1 to 1000"),
    (
        subscription('profile = "n9n"'),
        "subscriptions.sub.profile",
        '"service" or "n8n" or "zapier"',
    ),
    (
        subscription('mode = "bulk"'),
        "subscriptions.sub.mode",
        '"structured" or "binary" or "json" or "batch"',
    ),
    (subscription("types = []"), "subscriptions.sub.types", "at least one event type"),
    (subscription('types = ["Order.*"]'), "subscriptions.sub.types[0]", "in lower case"),
    (subscription('types = ["order.*.x"]'), "subscriptions.sub.types[0]", "an event type"),
    (subscription('types = ["*.paid"]'), "subscriptions.sub.types[0]", "an event type"),
    (subscription('types = ["order*"]'), "subscriptions.sub.types[0]", "an event type"),
    (subscription('types = ["order."]'), "subscriptions.sub.types[0]", "an event type"),
    (subscription('sources = ["A"]'), "subscriptions.sub.sources[0]", "a-z"),
    # URLs
    ("[subscriptions.sub]", "subscriptions.sub.url", "is required"),
    (subscription('url = "ftp://a/"'), "subscriptions.sub.url", "http:// or https://"),
    (subscription('url = "https://u:p@a/"'), "subscriptions.sub.url", "user name or password"),
    (subscription('url = "https://a/#x"'), "subscriptions.sub.url", "fragment"),
    (
        subscription('url = "http://10.0.0.1/"'),
        "subscriptions.sub.url",
        'egress.allow = ["10.0.0.1',
    ),
    (subscription('url = "http://[::1]:1/"'), "subscriptions.sub.url", "[::1/128]:1"),
    ('[egress]\nallow = ["a", "b"]', "egress.allow[0]", "NETWORK:PORT"),
    ('[egress]\nallow = ["10.0.0.0/8:1", "b"]', "egress.allow[1]", "NETWORK:PORT"),
    ('[server]\npublic_url = "hooks"', "server.public_url", '"http://HOST" or "https://HOST"'),
    ('[server]\npublic_url = "ftp://a"', "server.public_url", "no path"),
    ('[server]\npublic_url = "https://a/b"', "server.public_url", "no path"),
    ('[server]\npublic_url = "https://a?"', "server.public_url", "no path"),
    ('[server]\npublic_url = "https://a/?x"', "server.public_url", "no path"),
    ('[server]\npublic_url = "https://a\\n"', "server.public_url", "no path"),
    ('[store]\nurl = "postgresql://u:p@h/d"', "store.url", "PostgreSQL comes with a later version"),
    ('[store]\nurl = "sqlite://a.db"', "store.url", "expected sqlite:///PATH"),
    ('[store]\nurl = "sqlite:///"', "store.url", "expected sqlite:///PATH"),
    ('[store]\nurl = "sqlite:///a.db?mode=ro"', "store.url", "without ? and #"),
    ("[admin]\nport = 8080", "admin.port", "another port than server.port"),
    # providers and names
    ('[sources.shop]\nsecrets = ["x"]', "sources.shop.provider", "is required"),
    ('[sources.shop]\nprovider = "strip"', "sources.shop.provider", "known providers are stub"),
    ("[sources.shop]\nprovider = 1", "sources.shop.provider", "expected text, got 1"),
    ("[sources.shop]\n[sources.Shop]", "sources.Shop", 'differs from "shop" only by case'),
    ("[sources.sh_op]", "sources.sh_op", "1 to 63 of a-z, 0-9 and -"),
    ("[sources.-a]", "sources.-a", "1 to 63"),
    (f"[sources.{'a' * 64}]", f"sources.{'a' * 64}", "1 to 63"),
    ('[subscriptions."a.b"]', 'subscriptions."a.b"', "1 to 63"),
    (SOURCE + SOURCE, "sources.shop", "the table stands twice, again in line 4"),
    ("[server]\nport = 1\nport = 2", "server.port", "the key stands twice, again in line 3"),
    ("a = 1\na = 2", "a", "the key stands twice, again in line 2"),
    # secrets
    ('[sources.shop]\nprovider = "stub"', "sources.shop.secrets", "at least one secret is needed"),
    (subscription("secrets = []"), "subscriptions.sub.secrets", "at least one secret is needed"),
    (subscription('secrets = [""]'), "subscriptions.sub.secrets[0]", "the secret is empty"),
    (subscription('secrets = ["${W}", " "]'), "subscriptions.sub.secrets[1]", "is empty"),
    (subscription('secrets = ["${NO}"]'), "subscriptions.sub.secrets[0]", "variable NO is not set"),
    (subscription('secrets = ["${EMPTY}"]'), "subscriptions.sub.secrets[0]", "EMPTY is empty"),
    (subscription('secrets = ["a${BLANK}"]'), "subscriptions.sub.secrets[0]", "BLANK is empty"),
    (subscription('secrets = ["${}"]'), "subscriptions.sub.secrets[0]", "${NAME} or ${file:PATH}"),
    (subscription('secrets = ["${W"]'), "subscriptions.sub.secrets[0]", "${NAME} or ${file:PATH}"),
    (subscription('secrets = ["${file:no}"]'), "subscriptions.sub.secrets[0]", "No such file"),
    (subscription('secrets = ["${file:.}"]'), "subscriptions.sub.secrets[0]", "Is a directory"),
    (subscription('secrets = ["abc"]'), "subscriptions.sub.secrets[0]", "whsec_"),
    (subscription('secrets = ["whsec_YQ=="]'), "subscriptions.sub.secrets[0]", "24 to 64 bytes"),
    (
        subscription('secrets = "x"'),
        "subscriptions.sub.secrets",
        "expected a list in [ ], each item text",
    ),
]


@pytest.mark.parametrize(("text", "path", "part"), BAD)
def test_refuses(text: str, path: str, part: str, tmp_path: Path) -> None:
    """One sentence, the key's path first."""
    with pytest.raises(ConfigError) as caught:
        read(text, tmp_path)
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}: ")
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


# variable, its text, path of the error, part of the sentence
BAD_VARIABLES = [
    ("GATEWAY_SERVER__PROT", "1", "GATEWAY_SERVER__PROT", '(did you mean "GATEWAY_SERVER__PORT"?)'),
    ("GATEWAY_SOURCES__NEW__SHOP", "a", "GATEWAY_SOURCES__NEW__SHOP", "named in the file"),
    ("GATEWAY_server__port", "1", "GATEWAY_server__port", "no key has this name"),
    ("GATEWAY__PORT", "1", "GATEWAY__PORT", "no key has this name"),
    ("GATEWAY_SERVER__PORT", "http", "server.port", 'got "http" (from GATEWAY_SERVER__PORT)'),
    ("GATEWAY_SERVER__PORT", "", "server.port", 'got ""'),
    ("GATEWAY_SOURCES__SHOP__ENABLED", "1", "sources.shop.enabled", "true or false"),
    ("GATEWAY_SOURCES__SHOP__PROVIDER", "x", "sources.shop.provider", "known providers are stub"),
    ("GATEWAY_SOURCES__SHOP__NUMBER", "1.5", "sources.shop.number", "a whole number"),
    ("GATEWAY_SOURCES__SHOP__RATIO", "inf", "sources.shop.ratio", "a number"),
    ("GATEWAY_SOURCES__SHOP__CHOICES", "x,z", "sources.shop.choices[1]", 'got "z" (from'),
    ("GATEWAY_SOURCES__SHOP__CHOICES", "['x'", "sources.shop.choices", "expected a list"),
    ("GATEWAY_SOURCES__SHOP__CHOICES", "[" * 9999, "sources.shop.choices", "expected a list"),
    ("GATEWAY_SOURCES__SHOP__SECRETS", "", "sources.shop.secrets", "at least one secret is needed"),
    ("GATEWAY_SOURCES__SHOP__SECRETS", "a,", "sources.shop.secrets[1]", "is empty (from GATEWAY_"),
    ("GATEWAY_SOURCES__SHOP__CURRENCY", "bad", "sources.shop.currency", "letters (from GATEWAY_"),
    ("GATEWAY_SUBSCRIPTIONS__SUB__URL", "x", "subscriptions.sub.url", "(from GATEWAY_"),
]


@pytest.mark.parametrize(("name", "value", "path", "part"), BAD_VARIABLES)
def test_refuses_variable(name: str, value: str, path: str, part: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(SOURCE + SUBSCRIPTION, tmp_path, {name: value})
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}: ")
    assert part in str(caught.value)


class SecondOptions(base.Options, frozen=True, kw_only=True):
    """One key."""

    c: str = ""


class Second(Stub):
    """Another provider."""

    Options: ClassVar[type[base.Options]] = SecondOptions


def test_refuses_an_ambiguous_variable(tmp_path: Path) -> None:
    """A plugin's key may look like part of a name; then nobody can say which key is meant."""
    path = tmp_path / "gateway.toml"
    path.write_text(SOURCE + SOURCE.replace("shop", "shop--b").replace("stub", "second"))
    both = {"stub": Stub, "second": Second}
    load(path, ENV, providers=both.__getitem__)
    name = "GATEWAY_SOURCES__SHOP__B__C"
    with pytest.raises(ConfigError, match=r"sources\.shop\.b__c or sources\.shop--b\.c") as caught:
        load(path, ENV | {name: "x"}, providers=both.__getitem__)
    assert caught.value.path == name


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "No such file"),
        (b"port 1", "not TOML: expected '=' after a key in a key/value pair (at line 1"),
        (b"\n[server\n", "at line 2"),
        (b"a = '", "not TOML"),
        (b"\na = '\xff'", "line 2 is not UTF-8"),
        (b"a = " + b"[" * 9999, "nested too deep"),
        (b"a = " + b"1" * 5000, "not TOML"),
        (b"a = [1,\n2]\na = [1,\n2]", "the key stands twice, again in line 4"),
        (b"a = { b = 1, b = 2 }", "the key stands twice"),
    ],
)
def test_refuses_file(content: bytes | None, part: str, tmp_path: Path) -> None:
    """What is wrong with the whole file is said with the file's name."""
    path = tmp_path / "gateway.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path, {}, providers=find)
    assert part in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_refuses_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory"):
        load(tmp_path, {}, providers=find)


TEXT = st.text(st.sampled_from("a0${}:/.*@ \n\\é"), max_size=8)
VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
KEYS = [*kinds_of(StubOptions), *kinds_of(SourceSettings), *kinds_of(SubscriptionSettings)]


@given(st.sampled_from(["sources", "subscriptions"]), st.sampled_from(KEYS), VALUES)
def test_raises_config_errors_only(section: str, key: str, value: object) -> None:
    """Whatever stands under a key of a source or a subscription."""
    right = {"provider": "stub"} if section == "sources" else {"url": "https://a.example/"}
    document = {section: {"a": {**right, "secrets": ["${W}"], key: value}}}
    with suppress(ConfigError):
        Loader(ENV, file=None, providers=find).settings(document)
