"""How a subscription is delivered to, how long things stay, and what else came with the engine."""

import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.describe import describe
from gateway.config.load import load, load_fixed
from gateway.config.settings import RetentionSettings, Settings
from gateway.config.subscription import subscription_of
from gateway.config.values import parse_start, show_start
from gateway.errors import ConfigError
from gateway.events import LATEST
from gateway.models import Duration, Millis, Mode, OnExhausted, Ordering, Subscription
from tests.unit.config_stub import CANARY, SOURCE, read, source, subscription

DAY = 86_400_000
PUBLIC = '[server]\npublic_url = "https://Hooks.example.com:8443"\n'
SUB = "subscriptions.sub"

# text of the file, path of the key, part of the sentence
BAD = [
    # where deliveries go out
    ('[egress]\nproxy = "proxy:3128"', "egress.proxy", 'expected "http://HOST:PORT", or ""'),
    ('[egress]\nproxy = "https://proxy:3128"', "egress.proxy", "http://HOST:PORT"),
    ('[egress]\nproxy = "http://proxy"', "egress.proxy", "http://HOST:PORT"),
    ('[egress]\nproxy = "http://proxy:3128/x"', "egress.proxy", "http://HOST:PORT"),
    ('[egress]\nproxy = "http://proxy:0"', "egress.proxy", "http://HOST:PORT"),
    ('[egress]\nproxy = "http://u:p@proxy:1"', "egress.proxy", 'got "http://***@proxy:1"'),
    # how long things stay
    ('[retention]\ncallbacks = "23h"', "retention.callbacks", 'from "1d" to "365d"'),
    ('[retention]\nevents = "366d"', "retention.events", 'from "1d" to "365d"'),
    ('[retention]\nattempts = "59m"', "retention.attempts", 'from "1h" to "365d"'),
    ("[retention]\nattempts = 30", "retention.attempts", "got 30"),
    ('[retention]\norders = "365d"', "retention.orders", 'expected "forever", got "365d"'),
    # sources
    (source('silent_after = "59s"'), "sources.shop.silent_after", 'from "1m" to "365d"'),
    (source("silent_after = false"), "sources.shop.silent_after", "got false"),
    # headers
    (subscription('headers = "X-Shop: a"'), f"{SUB}.headers", "a table, each value text, got text"),
    (subscription("headers = { X-Shop = 1 }"), f"{SUB}.headers.X-Shop", "expected text, got a n"),
    (subscription('headers = { X-Shop = "" }'), f"{SUB}.headers.X-Shop", "is empty"),
    (subscription('headers = { X-Shop = "${NO}" }'), f"{SUB}.headers.X-Shop", "NO is not set"),
    (subscription('headers = { X-Shop = "${file:no}" }'), f"{SUB}.headers.X-Shop", "No such file"),
    (
        subscription('headers = { Host = "a" }'),
        f"{SUB}.headers.Host",
        "comes from the URL; leave it out",
    ),
    (subscription('headers = { Host = "${NO}" }'), f"{SUB}.headers.Host", "the URL; leave it out"),
    (subscription('headers = { Connection = "a" }'), f"{SUB}.headers.Connection", "9110 7.6.1"),
    (subscription('headers = { webhook-id = "a" }'), f"{SUB}.headers.webhook-id", "own"),
    (subscription('headers = { "X Shop" = "a" }'), f'{SUB}.headers."X Shop"', "header name"),
    (subscription('headers = { X-Shop = "a\\nb" }'), f"{SUB}.headers.X-Shop", "one line"),
    (subscription('headers = { X-Shop = "é" }'), f"{SUB}.headers.X-Shop", "printable ASCII"),
    (subscription('headers = { X-Shop = "a", x-shop = "b" }'), f"{SUB}.headers", "twice"),
    # the handshake
    (subscription("handshake = true"), f"{SUB}.handshake", "needs server.public_url"),
    (PUBLIC + subscription('handshake = "yes"'), f"{SUB}.handshake", "true or false"),
    # order
    (subscription('ordering = "lane"'), f"{SUB}.ordering", 'expected "none" or "order", got'),
    (subscription('on_exhausted = "drop"'), f"{SUB}.on_exhausted", '"park" or "skip"'),
    (
        subscription('ordering = "order"\nmode = "batch"'),
        f"{SUB}.ordering",
        'does not go with mode = "batch"',
    ),
    # answers and batches
    (subscription("final_status = [399]"), f"{SUB}.final_status[0]", "from 400 to 499"),
    (subscription("final_status = [422, 500]"), f"{SUB}.final_status[1]", "from 400 to 499"),
    (subscription("final_status = [410]"), f"{SUB}.final_status[0]", "rules of their own, got 410"),
    (subscription("final_status = [415]"), f"{SUB}.final_status[0]", "rules of their own"),
    (subscription("final_status = [429]"), f"{SUB}.final_status[0]", "rules of their own"),
    (subscription("final_status = 422"), f"{SUB}.final_status", "expected a list"),
    (subscription("batch_size = 0"), f"{SUB}.batch_size", "from 1 to 1000"),
    (subscription("batch_size = 1001"), f"{SUB}.batch_size", "from 1 to 1000"),
    (subscription('batch_wait = "9ms"'), f"{SUB}.batch_wait", 'from "10ms" to "1m"'),
    (subscription('batch_wait = "61s"'), f"{SUB}.batch_wait", 'from "10ms" to "1m"'),
    # where it begins
    (subscription('from = "then"'), f"{SUB}.from", 'expected "now", "beginning", or a time with'),
    (subscription('from = "2025-03-01"'), f"{SUB}.from", "a time with its offset"),
    (subscription('from = "2025-03-01T00:00:00"'), f"{SUB}.from", "a time with its offset"),
    (subscription('from = "2025-13-01T00:00:00Z"'), f"{SUB}.from", "a time with its offset"),
    (subscription('from = "1969-12-31T23:59:59Z"'), f"{SUB}.from", "a time with its offset"),
    (subscription('from = "9999-12-31T23:59:59-01:00"'), f"{SUB}.from", "a time with its offset"),
    (subscription("from = 2025-03-01"), f"{SUB}.from", "got a date or time"),
    (subscription("from = 2025-03-01T00:00:00"), f"{SUB}.from", "got a date or time"),
    (subscription("from = 0"), f"{SUB}.from", "a time with its offset"),
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


def only(settings: Settings) -> Subscription:
    """The one subscription as the gateway works with it."""
    (found,) = settings.subscriptions.items()
    return subscription_of(*found, settings, declared=True)


def test_defaults(tmp_path: Path) -> None:
    """Those of the model, so that a subscription of the file and one of a test mean the same."""
    settings = read(subscription(""), tmp_path)
    found = settings.subscriptions["sub"]
    schedule = tuple(Millis(delay) for delay in found.schedule)
    assert only(settings) == Subscription(
        id=0, name="sub", url=found.url, secrets=found.secrets, schedule=schedule
    )
    assert settings.retention == RetentionSettings(
        callbacks=Duration(30 * DAY), events=Duration(90 * DAY), attempts=Duration(30 * DAY)
    )
    assert settings.egress.proxy == ""


def test_every_key_arrives(tmp_path: Path) -> None:
    text = PUBLIC + subscription(
        'headers = { Authorization = "Bearer ${S}", "X-Shop" = "berlin" }\nhandshake = true\n'
        'ordering = "order"\non_exhausted = "skip"\nfinal_status = [400, 422]\n'
        'from = "2025-03-01T01:00:00+01:00"'
    )
    settings = read(text, tmp_path)
    found = only(settings)
    assert found.headers == (
        ("Authorization", b"Bearer " + CANARY.encode()),
        ("X-Shop", b"berlin"),
    )
    assert found.origin == "hooks.example.com"
    assert (found.ordering, found.on_exhausted) == (Ordering.ORDER, OnExhausted.SKIP)
    assert found.final_status == (400, 422)
    assert found.start == 1_740_787_200_000
    assert found.declared
    assert settings.warnings == ()


def test_batches(tmp_path: Path) -> None:
    settings = read(subscription('mode = "batch"\nbatch_size = 7\nbatch_wait = "250ms"'), tmp_path)
    found = only(settings)
    assert (found.mode, found.batch_size, found.batch_wait) == (Mode.BATCH, 7, 250)
    assert settings.warnings == ()


@pytest.mark.parametrize(
    ("line", "start"),
    [
        ('from = "now"', None),
        ('from = "beginning"', 0),
        ('from = "2025-03-01T00:00:00Z"', 1_740_787_200_000),
        ('from = "2025-03-01t00:00:00.5z"', 1_740_787_200_500),
        ("from = 2025-03-01T00:00:00Z", 1_740_787_200_000),
        ("from = 2025-03-01 01:00:00+01:00", 1_740_787_200_000),
    ],
)
def test_where_it_begins(line: str, start: int | None, tmp_path: Path) -> None:
    """A time is taken as text and as TOML's own."""
    assert only(read(subscription(line), tmp_path)).start == start


@given(st.none() | st.integers(0, LATEST))
def test_times_read_back(value: int | None) -> None:
    assert parse_start(show_start(value)) == value


def test_basic_credentials_are_encoded(tmp_path: Path) -> None:
    text = subscription('headers = { Authorization = "Basic shop:${S}" }')
    ((_, value),) = only(read(text, tmp_path)).headers
    assert value == b"Basic c2hvcDpjYW5hcnkwY2FuYXJ5MGNhbmFyeTBjYW5hcnkw"


def test_environment_overrides(tmp_path: Path) -> None:
    """Each as its type wants it; an error names the variable."""
    given = {
        "HEADERS": '{ X-Token = "${S}" }',
        "FINAL_STATUS": "400,422",
        "FROM": "beginning",
        "BATCH_WAIT": "2s",
        "MODE": "batch",
    }
    environ = {f"GATEWAY_SUBSCRIPTIONS__SUB__{key}": text for key, text in given.items()}
    environ["GATEWAY_RETENTION__EVENTS"] = "7d"
    environ["GATEWAY_EGRESS__PROXY"] = "http://proxy:3128/"
    settings = read(subscription(""), tmp_path, environ)
    found = only(settings)
    assert found.headers == (("X-Token", CANARY.encode()),)
    assert (found.final_status, found.start, found.batch_wait) == ((400, 422), 0, 2_000)
    assert settings.retention.events == 7 * DAY
    assert settings.egress.proxy == "http://proxy:3128"
    wrong = {"GATEWAY_SUBSCRIPTIONS__SUB__HANDSHAKE": "true"}
    with pytest.raises(ConfigError, match=r"allow \(from GATEWAY_SUBSCRIPTIONS__SUB__HANDSHAKE\)"):
        read(subscription(""), tmp_path, wrong)


def test_silence_is_of_sources_that_are_called(tmp_path: Path) -> None:
    settings = read(source('silent_after = "2d"'), tmp_path)
    assert settings.sources["shop"].silent_after == 2 * DAY
    asked = (
        '[sources.tiger]\nprovider = "marketiger"\nbase_url = "https://a.example"\ntoken = "x"\n'
    )
    path = tmp_path / "gateway.toml"
    path.write_text(asked + 'silent_after = "2d"')
    with pytest.raises(ConfigError, match=r"^sources\.tiger\.silent_after: waits for callbacks"):
        load(path, {})


@pytest.mark.parametrize(
    ("line", "warned"),
    [
        ('on_exhausted = "skip"', 'on_exhausted: does nothing without ordering = "order"'),
        ("batch_size = 7", 'batch_size: does nothing without mode = "batch"'),
        ('batch_wait = "2s"', 'batch_wait: does nothing without mode = "batch"'),
        ('on_exhausted = "park"\nbatch_size = 100\nbatch_wait = "1s"', None),
        ('ordering = "order"\non_exhausted = "skip"', None),
    ],
)
def test_what_does_nothing_is_warned_about(line: str, warned: str | None, tmp_path: Path) -> None:
    found = read(subscription(line), tmp_path).warnings
    assert found == (() if warned is None else (f"{SUB}.{warned}",))


@pytest.mark.parametrize(
    ("header", "warned"),
    [('X-Shop = "berlin"', False), ('X-Api-Key = "k"', True), ('Authorization = "${S}"', False)],
)
def test_a_file_that_everybody_reads_may_hold_plain_headers(
    header: str, warned: bool, tmp_path: Path
) -> None:
    """Only a name that sounds of a secret makes the value one that others must not read."""
    path = tmp_path / "gateway.toml"
    path.touch(mode=0o644)
    found = read(subscription(f"headers = {{ {header} }}"), tmp_path).warnings
    assert [str(path) in one for one in found] == [True] * warned


@pytest.mark.parametrize(
    "line",
    [
        f'headers = "{CANARY}"',
        f'headers = ["{CANARY}"]',
        f'headers = {{ X-Shop = ["{CANARY}"] }}',
        f'headers = {{ X-Shop = "{CANARY}\\n" }}',
        f'headers = {{ X-Shop = "{CANARY}é" }}',
        f'headers = {{ X-Shop = "{CANARY}${{" }}',
        f'headers = {{ Host = "{CANARY}" }}',
        f'headers = {{ X-Shop = "a", x-shop = "{CANARY}" }}',
        'headers = { X-Shop = "${S}\\n" }',
        f'headers = {{ Authorization = "Basic a:{CANARY}", Host = "a" }}',
        f'headers = {{ X-Shop = "{CANARY}", X-Shop = "{CANARY}" }}',
    ],
)
def test_errors_show_no_header(line: str, tmp_path: Path) -> None:
    """Neither the sentence nor a traceback with its causes."""
    with pytest.raises(ConfigError) as caught:
        read(subscription(line), tmp_path)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_describe(tmp_path: Path) -> None:
    """Names of headers are shown, values are not; `from` has the name that the file has."""
    text = SOURCE + subscription(
        'headers = { Authorization = "Bearer ${S}", "X.Shop" = "berlin" }\nfinal_status = [422]\n'
        "from = 2025-03-01T00:00:00Z"
    )
    settings = read(text, tmp_path)
    lines = dict(describe(settings))
    assert lines[f"{SUB}.headers"] == '{ Authorization = "***", "X.Shop" = "***" }'
    assert CANARY not in f"{settings!r} {settings.subscriptions['sub'].headers} {lines}"
    assert lines[f"{SUB}.from"] == '"2025-03-01T00:00:00Z"'
    assert f"{SUB}.start" not in lines
    assert lines[f"{SUB}.ordering"] == '"none"'
    assert lines[f"{SUB}.final_status"] == "[422]"
    assert lines[f"{SUB}.batch_wait"] == '"1s"'
    assert lines["sources.shop.silent_after"] == "not set"
    assert lines["retention.events"] == '"90d"'
    assert lines["retention.orders"] == '"forever"'
    assert lines["egress.proxy"] == '""'
    bare = dict(describe(read(subscription(""), tmp_path)))
    assert (bare[f"{SUB}.headers"], bare[f"{SUB}.from"]) == ("{}", '"now"')


def test_all_but_sources_and_subscriptions_needs_no_secrets(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(PUBLIC + '[sources.a]\nprovider = "x"\nsecrets = ["${UNSET}"]\n')
    found = load_fixed(path, {"GATEWAY_EGRESS__ALLOW": "10.0.0.0/8:443"})
    assert found.server.public_url == "https://Hooks.example.com:8443"
    assert found.egress.allow == ("10.0.0.0/8:443",)
    assert found.sources == {}
    path.write_text('[egress]\nallow = ["x"]\n')
    with pytest.raises(ConfigError, match=r"^egress\.allow\[0\]: "):
        load_fixed(path, {})
