"""`config.example.toml` is what a person reads about the defaults; it must not lie."""

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.config.load import SECTIONS, load
from gateway.config.reader import kinds_of
from gateway.config.settings import (
    PROFILES,
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
from gateway.config.values import show_duration, show_rate
from gateway.errors import ConfigError
from gateway.providers.registry import provider_class, provider_names
from gateway.signing import generate_secret

EXAMPLE = Path(__file__).parent.parent / "config.example.toml"
STRUCTS: dict[str, type[msgspec.Struct]] = {
    "server": ServerSettings,
    "admin": AdminSettings,
    "store": StoreSettings,
    "egress": EgressSettings,
    "retention": RetentionSettings,
}
# Keys that have no default, and those whose default is that nothing is set.
WITHOUT_DEFAULT = {"provider", "secrets", "url", "base_url", "token"}
UNSET = {
    *("livemode", "currency", "price_unit", "line_status", "status_map"),
    *("silent_after", "headers"),
}
SERVICE = frozenset(
    {"panel", "order_path", "service_id"}
)  # what the other panel of 3YOURMIND needs


def text() -> str:
    return EXAMPLE.read_text(encoding="utf-8")


def uncommented() -> str:
    """The file with its examples in use, as its head tells a person to do."""
    return re.sub(r"^#(?=[^ #\n])", "", text(), flags=re.MULTILINE)


def secrets_in(part: str) -> dict[str, str]:
    return {name: generate_secret() for name in re.findall(r"\$\{([A-Z_]+)\}", part)}


@pytest.fixture
def used(tmp_path: Path) -> Settings:
    """The settings of the example in use."""
    path = tmp_path / "gateway.toml"
    path.write_text(uncommented(), encoding="utf-8")
    return load(path, secrets_in(uncommented()))


def test_as_it_is_it_says_the_defaults() -> None:
    assert load(EXAMPLE, {}) == Settings()


@pytest.mark.parametrize("section", STRUCTS)
def test_names_every_key_of_a_section(section: str) -> None:
    """In use, not commented out, so that the test above compares them."""
    assert list(tomllib.loads(text())[section]) == list(kinds_of(STRUCTS[section]))


def test_names_every_section() -> None:
    assert set(tomllib.loads(uncommented())) == set(SECTIONS)


def test_names_every_key_of_sources_and_subscriptions() -> None:
    document = tomllib.loads(uncommented())
    by_provider: dict[str, dict[str, Any]] = {}
    for table in document["sources"].values():
        by_provider.setdefault(table["provider"], {}).update(table)
    ours = {name for name in provider_names() if is_ours(name)}
    assert set(by_provider) == ours
    for provider, table in by_provider.items():
        assert set(kinds_of(provider_class(provider).Options)) <= set(table), provider
    common = set(kinds_of(SourceSettings)) - {"options", "poll"}
    assert common <= set(by_provider["stripe"])
    assert set(kinds_of(PollSettings)) <= set(by_provider["printstudio"])
    (subscription,) = document["subscriptions"].values()
    assert set(subscription) == set(kinds_of(SubscriptionSettings))


def is_ours(provider: str) -> bool:
    """Not a plugin that happens to be installed."""
    return provider_class(provider).__module__.startswith("gateway.")


def test_says_which_providers_there_are() -> None:
    """The sentence beside `provider`, which a person copies from."""
    (told,) = re.findall(r"^# Which kind of sender: (.*)\.$", text(), re.MULTILINE)
    assert set(re.findall(r'"(\w+)"', told)) == {name for name in provider_names() if is_ours(name)}


def test_examples_load_without_warning(used: Settings) -> None:
    assert list(used.sources) == [
        *("stripe-live", "shop", "tiger", "prints", "prints-service", "cases"),
    ]
    assert list(used.subscriptions) == ["fulfilment"]
    assert used.warnings == ()


def test_examples_say_the_defaults(used: Settings) -> None:
    """Every key but those that have none, and those that are unset by default."""
    for table in (*used.sources.values(), *used.subscriptions.values()):
        compare(table)
    for name, source in used.sources.items():
        assert source.options != provider_class(source.provider).Options()
        compare(source.options, free=SERVICE if name == "prints-service" else frozenset())
        if source.poll is not None:
            compare(source.poll)


def compare(table: msgspec.Struct, *, free: frozenset[str] = frozenset()) -> None:
    for field in msgspec.structs.fields(type(table)):
        if field.name not in WITHOUT_DEFAULT | UNSET | {"options", "poll"} | free:
            assert getattr(table, field.name) == field.default, field.name


@pytest.mark.parametrize("provider", ["threeyourmind", "printeers"])
def test_names_the_words_of_status_maps(provider: str) -> None:
    (after,) = re.findall(rf'Keys of provider "{provider}":(.*)', text(), re.DOTALL)
    words = re.search(r"What your statuses mean: ([^.]*)\.", after)
    assert words is not None
    named = set(re.findall(r"\w+", words[1])) - {"or"}
    with pytest.raises(ConfigError) as refused:
        provider_class(provider).Options(status_map={"x": "nothing"})
    (known,) = re.findall(r"not to one of (.*)", str(refused.value))
    assert named == set(known.split(", "))


def test_says_the_default_of_what_its_example_sets(used: Settings) -> None:
    """`silent_after` and `headers` show how they are written; without them nothing is set."""
    assert SourceSettings(provider="x").silent_after is None
    assert used.sources["stripe-live"].silent_after is not None
    assert SubscriptionSettings(url="x", secrets=()).headers == {}
    headers = used.subscriptions["fulfilment"].headers
    assert list(headers) == ["Authorization", "X-Shop"]
    assert headers["X-Shop"] == b"berlin"


@pytest.mark.parametrize("name", PROFILES)
def test_says_what_a_profile_sets(name: Any) -> None:
    profile = PROFILES[name]
    row = (
        rf'#   {name} +mode "{profile.mode}" +timeout "{show_duration(profile.timeout)}"'
        rf' +slots {profile.slots} +rate "{show_rate(profile.rate)}"\n'
    )
    assert re.search(row, text())


def test_every_key_is_explained() -> None:
    """A comment stands before the first of each group of keys."""
    for block in re.split(r"\n\n+", text()):
        lines = block.splitlines()
        assert lines[0].startswith("#"), block


def test_is_plain() -> None:
    """ASCII, no tabs, no trailing blanks: it is copied by hand and by tools."""
    assert text().isascii()
    assert not re.search(r"\t|[ ]$", text(), flags=re.MULTILINE)
    assert max(map(len, text().splitlines())) <= 120
