"""A source that stands in no file: what JSON may say of it, and its keys there and back."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.load import load
from gateway.config.reader import Place
from gateway.config.settings import EgressSettings, Settings, SourceSettings
from gateway.config.source import HIDDEN, keys_of_source, read_source
from gateway.config.values import UNITS, show_duration
from gateway.errors import ConfigError
from gateway.providers.base import calls, is_polled
from gateway.providers.printeers import STATUSES
from gateway.providers.registry import provider_class, provider_names
from gateway.providers.threeyourmind import ROWS
from gateway.sources import Known

SETTINGS = Settings(egress=EgressSettings(allow=("127.0.0.0/8:*",)))
CANARY = "canary-4f1d"
STRIPE = {"provider": "stripe", "secrets": [CANARY]}
MARKETIGER = {"provider": "marketiger", "token": CANARY, "base_url": "https://api.example.com/v2"}
YEAR = 365 * UNITS["d"]


def read(**values: object) -> SourceSettings:
    return read_source("a", values, SETTINGS)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
"""Whatever JSON can say: half a surrogate pair is none of it."""


def durations(low: int, high: int) -> st.SearchStrategy[str]:
    return st.integers(low, high).map(show_duration)


SHOPS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)
COMMON = {
    "shop": SHOPS,
    "enabled": st.booleans(),
    "tolerance": durations(1, YEAR),
    "include": st.lists(st.sampled_from(["customer", "original"]), max_size=3),
    "rejection_status": st.integers(400, 499),
}
CALLED = {"silent_after": durations(60_000, YEAR)}
POLLED = {
    "interval": durations(1_000, UNITS["d"]),
    "requests_per_minute": st.integers(1, 10_000),
    "base_url": st.sampled_from(["https://api.example.com/v2", "http://127.0.0.1:5678/a/b/"]),
}
CURRENCIES = st.sampled_from(["EUR", "jpy", None])
OWN: Mapping[str, Mapping[str, st.SearchStrategy[Any]]] = {
    "stripe": {
        "order_id": st.lists(texts, max_size=3),
        "trust_client_reference": st.booleans(),
        "unnamed_session": st.sampled_from(["own", "wait"]),
        "unlinked": st.sampled_from(["wait", "own", "ignore"]),
        "link_wait": durations(0, YEAR),
        "livemode": st.sampled_from([True, False, None]),
        "cancel_from": st.lists(
            st.sampled_from(["checkout.session.expired", "payment_intent.canceled"]), max_size=2
        ),
    },
    "printstudio": {"currency": CURRENCIES},
    "marketiger": {
        "currency": st.sampled_from(["EUR", "jpy"]),
        "price_unit": st.sampled_from(["major", "minor", None]),
        "shipped_when": st.sampled_from(["status", "tracking"]),
        "line_status": st.dictionaries(
            st.sampled_from(["1", "20", "300"]), st.sampled_from(["printing", "ready"]), max_size=3
        ),
    },
    "threeyourmind": {
        "panel": st.just("user"),
        "order_path": st.sampled_from(["a/{id}/", "orders/{id}/", None]),
        "status_path": st.sampled_from(["/status", "/a/0/b~1c"]),
        "status_map": st.dictionaries(texts, st.sampled_from(sorted(ROWS)), max_size=3),
    },
    "printeers": {
        "order_path": st.sampled_from(["orders/{id}", "o/{id}/x"]),
        "status_path": st.sampled_from(["/status", ""]),
        "status_map": st.dictionaries(texts, st.sampled_from(sorted(STATUSES)), max_size=3),
    },
}


@st.composite
def sources(draw: st.DrawFn) -> dict[str, Any]:
    """The keys of a source of any provider, as JSON has them."""
    name = draw(st.sampled_from(sorted(OWN)))
    provider = provider_class(name)
    called, polled = calls(provider), is_polled(provider)
    asked = polled and (not called or draw(st.booleans()))
    optional = {**COMMON, **OWN[name], **(CALLED if called else {}), **(POLLED if asked else {})}
    keys = draw(st.fixed_dictionaries({}, optional=optional))
    keys["provider"] = name
    if keys.get("price_unit") == "minor":
        keys.setdefault("currency", "EUR")
    if called and (not asked or draw(st.booleans())):
        keys["secrets"] = draw(st.lists(texts.filter(is_secret), min_size=1, max_size=3))
    else:
        keys.pop("silent_after", None)
    if asked:
        keys.setdefault("base_url", "https://api.example.com")
        keys["token"] = draw(st.text("abc123-._~+/=", min_size=1))
    return keys


def is_secret(text: str) -> bool:
    return bool(text.strip()) and "${" not in text


def test_all_providers_of_ours_are_drawn() -> None:
    assert set(OWN) <= set(provider_names())
    for name, drawn in OWN.items():
        fields = {
            field.encode_name for field in msgspec.structs.fields(provider_class(name).Options)
        }
        assert fields - set(drawn) <= {"service_id"}


@settings(max_examples=60, deadline=None)
@given(sources())
def test_the_keys_of_a_source_make_the_same_one_again(keys: dict[str, Any]) -> None:
    source = read(**keys)
    shown = keys_of_source(source)
    assert not HIDDEN & set(shown)
    told = msgspec.json.decode(msgspec.json.encode(shown))  # as it is read at the API
    assert told == shown
    secrets = {key: keys[key] for key in HIDDEN & set(keys)}
    again = read(**told, **secrets)
    assert again == source
    assert keys_of_source(again) == shown


@settings(max_examples=40, deadline=None)
@given(sources(), st.data())
def test_each_key_may_be_given_as_text(keys: dict[str, Any], data: st.DataObject) -> None:
    """As `gateway sources add NAME KEY=VALUE` gives it."""
    chosen = data.draw(st.sampled_from(sorted(keys)))
    value = keys[chosen]
    if isinstance(value, bool | int):
        text = str(value).lower()
        assert read(**{**keys, chosen: text}) == read(**keys)


def test_a_service_panel_goes_there_and_back() -> None:
    keys = {
        "provider": "threeyourmind",
        "base_url": "https://a.example.com",
        "token": "t",
        "panel": "service",
        "order_path": "s/{service_id}/{id}/",
        "service_id": "7",
    }
    source = read(**keys)
    assert read(**keys_of_source(source), token="t") == source


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({}, "provider"),
        ({"provider": None}, "provider"),
        ({"provider": 7}, "provider"),
        ({"provider": "nobody"}, "provider"),
        ({"provider": "stripe"}, "secrets"),
        ({**STRIPE, "secrets": []}, "secrets"),
        ({**STRIPE, "secrets": {"a": CANARY}}, "secrets"),
        ({**STRIPE, "secrets": [CANARY, 7]}, "secrets[1]"),
        ({**STRIPE, "secrets": [CANARY, " "]}, "secrets[1]"),
        ({**STRIPE, "secrets": [CANARY, "${SECRET}"]}, "secrets[1]"),
        ({**STRIPE, "secrets": "${file:/etc/passwd}"}, "secrets[0]"),
        ({**STRIPE, "shop": "a/b"}, "shop"),
        ({**STRIPE, "enabled": "perhaps"}, "enabled"),
        ({**STRIPE, "tolerance": "0s"}, "tolerance"),
        ({**STRIPE, "tolerance": 10**30}, "tolerance"),
        ({**STRIPE, "include": ["all"]}, "include[0]"),
        ({**STRIPE, "rejection_status": 200}, "rejection_status"),
        ({**STRIPE, "rejection_status": 10**4000}, "rejection_status"),
        ({**STRIPE, "rejection_status": 401.0}, "rejection_status"),
        ({**STRIPE, "silent_after": "1s"}, "silent_after"),
        ({**STRIPE, "token": CANARY}, "token"),
        ({**STRIPE, "options": {}}, "options"),
        ({**STRIPE, "poll": None}, "poll"),
        ({**STRIPE, "name": "b"}, "name"),
        ({**STRIPE, "": None}, '""'),
        ({**STRIPE, "order_id": [["a"]]}, "order_id[0]"),
        ({**STRIPE, "link_wait": -1}, "link_wait"),
        ({**MARKETIGER, "secrets": [CANARY]}, "secrets"),
        ({**MARKETIGER, "silent_after": "6h"}, "silent_after"),
        ({**MARKETIGER, "token": None}, "token"),
        ({**MARKETIGER, "token": "${TOKEN}"}, "token"),
        ({**MARKETIGER, "token": f"{CANARY} {CANARY}"}, "token"),
        ({**MARKETIGER, "token": f"{CANARY}\r\nX: y"}, "token"),
        ({**MARKETIGER, "token": [CANARY]}, "token"),
        ({**MARKETIGER, "base_url": "http://169.254.169.254/latest"}, "base_url"),
        ({**MARKETIGER, "base_url": "http://10.0.0.1"}, "base_url"),
        ({**MARKETIGER, "base_url": f"https://user:{CANARY}@a.example.com"}, "base_url"),
        ({**MARKETIGER, "base_url": f"https://a.example.com/?key={CANARY}"}, "base_url"),
        ({**MARKETIGER, "base_url": "file:///etc/passwd"}, "base_url"),
        ({**MARKETIGER, "base_url": "https://a\0.example.com"}, "base_url"),
        ({**MARKETIGER, "interval": "10ms"}, "interval"),
        ({**MARKETIGER, "requests_per_minute": 0}, "requests_per_minute"),
        ({**MARKETIGER, "line_status": {"20": "flying"}}, "line_status"),
        ({**MARKETIGER, "line_status": {"20": {"a": 1}}}, "line_status.20"),
        ({**MARKETIGER, "price_unit": "minor"}, "price_unit"),
    ],
)
def test_what_is_wrong_is_said_with_its_key_and_without_secrets(
    keys: dict[str, object], path: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        read_source("a", keys, SETTINGS, place=Place(""))
    assert refused.value.path == path, str(refused.value)
    assert CANARY not in str(refused.value)
    with pytest.raises(ConfigError) as refused:
        read_source("a", keys, SETTINGS)
    assert refused.value.path == f"sources.a.{path}"


@pytest.mark.parametrize("name", ["", "A", "a b", "-a", "a" * 64, "gateway", "published", "a\n"])
def test_what_is_no_name_is_said(name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_source(name, STRIPE, SETTINGS, place=Place(""))
    assert refused.value.path == "name"


def test_null_is_a_default_of_a_key_that_there_is() -> None:
    assert read(**STRIPE, shop=None, livemode=None, silent_after=None) == read(**STRIPE)
    with pytest.raises(ConfigError, match=r'sources\.a\.shopp: unknown key \(did you mean "shop"'):
        read(**STRIPE, shopp=None)


def test_an_option_of_bytes_that_are_no_text_is_refused(tmp_path: Any) -> None:
    """A variable may have any; the options of a source are shown."""
    file = tmp_path / "gateway.toml"
    file.write_text('[sources.a]\nprovider = "stripe"\nsecrets = ["x"]\n')
    with pytest.raises(ConfigError, match=r"sources\.a\.order_id: expected text in UTF-8"):
        load(file, {"GATEWAY_SOURCES__A__ORDER_ID": "\udcff"})


def test_a_source_that_is_printed_shows_no_secret() -> None:
    made = Known(name="pay", settings=None, keys={"provider": "stripe", "secrets": ["canary-1"]})
    assert repr(made) == "Known(name='pay')"
    assert "canary-1" not in f"{made} {[made]}"
