"""A subscription that stands in no file: what a command line or JSON may say of it."""

import traceback
from collections.abc import Mapping
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.reader import kinds_of
from gateway.config.settings import (
    EgressSettings,
    ServerSettings,
    Settings,
    SubscriptionSettings,
)
from gateway.config.subscription import read_subscription, subscription_of
from gateway.errors import ConfigError
from gateway.models import Millis, Mode, Ordering, Subscription
from tests.unit.config_stub import CANARY, ENV

URL = "https://example.com/in"
SETTINGS = Settings(
    server=ServerSettings(public_url="https://hooks.example.com"),
    egress=EgressSettings(allow=("127.0.0.0/8:5678",)),
)
KEYS = kinds_of(SubscriptionSettings)


def made(values: Mapping[str, object], name: str = "n8n-orders") -> Subscription:
    found = read_subscription(name, values, SETTINGS)
    assert found.secrets == ()
    return subscription_of(name, found, SETTINGS, declared=False)


def test_a_url_is_enough() -> None:
    default = SubscriptionSettings(url=URL, secrets=()).schedule
    schedule = tuple(Millis(delay) for delay in default)
    expected = Subscription(id=0, name="a", url=URL, schedule=schedule, declared=False)
    assert made({"url": URL}, "a") == expected


def test_texts_are_read_as_variables_are() -> None:
    """What `gateway subscriptions add NAME key=value ...` gives."""
    found = made(
        {
            "url": "http://127.0.0.1:5678/webhook/x",
            "types": "order.*, order.paid",
            "shops": '["berlin", "paris"]',
            "slots": "9",
            "rate": "none",
            "schedule": "5s,5m",
            "headers": '{ Authorization = "Bearer t", X-Shop = "berlin" }',
            "handshake": "True",
            "ordering": "order",
            "final_status": "400,422",
            "from": "beginning",
            "enabled": "false",
        }
    )
    assert (found.profile, found.mode, found.timeout) == ("n8n", Mode.JSON, 30_000)
    assert found.types == ("order.*", "order.paid")
    assert found.shops == ("berlin", "paris")
    assert (found.slots, found.rate, found.schedule) == (9, None, (5_000, 300_000))
    assert found.headers == (("Authorization", b"Bearer t"), ("X-Shop", b"berlin"))
    assert found.origin == "hooks.example.com"
    assert found.ordering is Ordering.ORDER
    assert (found.final_status, found.start, found.enabled) == ((400, 422), 0, False)


def test_json_is_read_as_the_file_is() -> None:
    text = (
        '{"url": "https://example.com/in", "types": ["order.paid"], "slots": 9, "mode": "batch",'
        ' "headers": {"X-Shop": "berlin"}, "final_status": [422], "handshake": false,'
        ' "batch_wait": "2s", "from": "2025-03-01T00:00:00Z"}'
    )
    found = made(msgspec.json.decode(text))
    assert found.types == ("order.paid",)
    assert (found.slots, found.mode, found.batch_wait) == (9, Mode.BATCH, 2_000)
    assert found.headers == (("X-Shop", b"berlin"),)
    assert (found.final_status, found.origin) == ((422,), None)
    assert found.start == 1_740_787_200_000


# the values, the key that is wrong, part of the sentence
BAD: list[tuple[dict[str, object], str, str]] = [
    ({}, ".url", 'is required, for example url = "https://example.com/in"'),
    ({"url": None}, ".url", "expected text, got nothing"),
    ({"url": "example.com"}, ".url", "http:// or https://"),
    ({"url": "http://10.0.0.1/"}, ".url", 'egress.allow = ["10.0.0.1/32:80"]'),
    ({"secrets": "x"}, ".secrets", "the gateway makes one"),
    ({"secrets": []}, ".secrets", "the gateway makes one"),
    ({"type": "order.*"}, ".type", 'unknown key (did you mean "types"?), allowed are url'),
    ({"types": ""}, ".types", "at least one event type"),
    ({"types": "order.paid,Order.*"}, ".types[1]", 'got "Order.*"'),
    ({"slots": "many"}, ".slots", 'from 1 to 1000, got "many"'),
    ({"slots": 1.5}, ".slots", "got 1.5"),
    ({"ordering": "order", "mode": "batch"}, ".ordering", "does not go with"),
    ({"headers": "X-Shop=berlin"}, ".headers", "a table, each value text, got text"),
    ({"headers": {"X-Shop": None}}, ".headers.X-Shop", "expected text, got nothing"),
    ({"headers": {"X-Shop": "${S}"}}, ".headers.X-Shop", "in the configuration file only"),
    ({"headers": {"X-Shop": "${file:/etc/hostname}"}}, ".headers.X-Shop", "file only"),
    ({"headers": {"Host": "a"}}, ".headers.Host", "comes from the URL"),
    ({"from": "yesterday"}, ".from", '"now", "beginning"'),
]


@pytest.mark.parametrize(("values", "key", "part"), BAD)
def test_refuses(values: dict[str, object], key: str, part: str) -> None:
    """The path is the one that the key has in the file."""
    right = {} if key == ".url" else {"url": URL}
    with pytest.raises(ConfigError) as caught:
        read_subscription("sub", right | values, SETTINGS)
    assert caught.value.path == f"subscriptions.sub{key}"
    assert part in str(caught.value)
    assert "(from" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "A", "a b", "-a", "a.b", "a" * 64, "a\n"])
def test_refuses_a_bad_name(name: str) -> None:
    with pytest.raises(ConfigError, match="not a name, which is 1 to 63 of a-z"):
        read_subscription(name, {"url": URL}, SETTINGS)


def test_the_handshake_needs_a_public_url() -> None:
    with pytest.raises(ConfigError, match=r"^subscriptions\.sub\.handshake: needs server\.public"):
        read_subscription("sub", {"url": URL, "handshake": "true"}, Settings())


def test_the_environment_stays_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may add a subscription could else have any variable sent to a place of theirs."""
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GATEWAY_SUBSCRIPTIONS__SUB__SLOTS", "7")
    for written in ("${S}", "Bearer ${S}", "${file:S}"):
        with pytest.raises(ConfigError) as caught:
            read_subscription("sub", {"url": URL, "headers": {"X-Shop": written}}, SETTINGS)
        assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert read_subscription("sub", {"url": URL}, SETTINGS).slots == 32


TEXT = st.text(st.sampled_from('a0${}[]=,":/.*@ \n\\é\ud800'), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)


@given(st.sampled_from(sorted(KEYS)), VALUES)
def test_raises_config_errors_only(key: str, value: object) -> None:
    with suppress(ConfigError):
        read_subscription("sub", {"url": URL, key: value}, SETTINGS)
