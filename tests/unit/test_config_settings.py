"""What a right configuration means, and that its secrets are never shown."""

import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.describe import describe
from gateway.config.load import load, load_store
from gateway.config.settings import Settings
from gateway.config.values import (
    parse_duration,
    parse_rate,
    parse_size,
    show_duration,
    show_rate,
    show_size,
)
from gateway.errors import ConfigError
from gateway.models import Duration, Size
from gateway.signing import generate_secret
from tests.unit.config_stub import (
    CANARY,
    ENV,
    SOURCE,
    SUBSCRIPTION,
    WHSEC,
    StubOptions,
    find,
    read,
    subscription,
)

# profile, mode, slots, rate a second, timeout in ms (design 7)
SERVICE = ("service", "structured", 32, None, 15_000)
N8N = ("n8n", "json", 5, None, 30_000)
ZAPIER = ("zapier", "json", 5, 20.0, 30_000)


def test_no_file_is_all_defaults() -> None:
    assert load(None, {"GATEWAY_CONFIG": "x", "GATEWAY_KEY": "y", "HOME": "/"}) == Settings()


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    assert read("\ufeff[server]\nport = 1", tmp_path).server.port == 1


def test_options_come_from_the_provider(tmp_path: Path) -> None:
    """Keys that the file leaves out have the provider's defaults; the others their own types."""
    assert read(SOURCE, tmp_path).sources["shop"].options == StubOptions()
    lines = (
        'flag = true\nnumber = 2\nratio = 1\nwait = "2h"\nsize = "64KiB"\nchoice = "wait"\n'
        'names = ["b", "c"]\nchoices = ["y"]\nmaybe = false\ntable = { k = "v" }\n'
    )
    assert read(SOURCE + lines, tmp_path).sources["shop"].options == StubOptions(
        flag=True,
        number=2,
        ratio=1.0,
        wait=Duration(7_200_000),
        size=Size(65_536),
        choice="wait",
        names=("b", "c"),
        choices=("y",),
        maybe=False,
        table={"k": "v"},
    )


def test_environment_overrides(tmp_path: Path) -> None:
    text = SOURCE.replace("shop", "stripe-live") + SUBSCRIPTION
    settings = read(
        text,
        tmp_path,
        {
            "GATEWAY_SERVER__PORT": "9000",
            "GATEWAY_SERVER__ALLOWED_HOSTS": "a.example, *.example.com",
            "GATEWAY_SOURCES__STRIPE_LIVE__ENABLED": "False",
            "GATEWAY_SOURCES__STRIPE_LIVE__RATIO": "0.25",
            "GATEWAY_SOURCES__STRIPE_LIVE__NAMES": '["x,y", "z"]',
            "GATEWAY_SOURCES__STRIPE_LIVE__TABLE": '{ k = "v" }',
            "GATEWAY_SOURCES__STRIPE_LIVE__SECRETS": "one,${S}",
            "GATEWAY_SUBSCRIPTIONS__SUB__TYPES": "order.paid,order.shipped",
            "GATEWAY_SUBSCRIPTIONS__SUB__SCHEDULE": "",
            "GATEWAY_SUBSCRIPTIONS__SUB__RATE": "120/m",
        },
    )
    source = settings.sources["stripe-live"]
    assert settings.server.port == 9000
    assert settings.server.allowed_hosts == ("a.example", "*.example.com")
    assert not source.enabled
    assert source.options == StubOptions(ratio=0.25, names=("x,y", "z"), table={"k": "v"})
    assert source.secrets == (b"one", CANARY.encode())
    subscription = settings.subscriptions["sub"]
    assert subscription.types == ("order.paid", "order.shipped")
    assert subscription.schedule == ()
    assert subscription.rate == 2.0


def test_environment_may_choose_the_provider(tmp_path: Path) -> None:
    text = '[sources.shop]\nsecrets = ["x"]'
    environ = {"GATEWAY_SOURCES__SHOP__PROVIDER": "stub", "GATEWAY_SOURCES__SHOP__NUMBER": "7"}
    assert read(text, tmp_path, environ).sources["shop"].options == StubOptions(number=7)


@pytest.mark.parametrize(
    ("url", "lines", "expected"),
    [
        ("https://a.example/hooks", "", SERVICE),
        ("https://a.example/webhook/1", "", N8N),
        ("https://a.example/webhook-test/1", "", N8N),
        ("https://a.example/?x=/webhook/1", "", SERVICE),
        ("https://HOOKS.zapier.com/hooks/1", "", ZAPIER),
        ("https://hooks.zapier.com.a.example/", "", SERVICE),
        ("https://a.example/", 'profile = "n8n"', N8N),
        ("https://a.example/webhook/", 'profile = "service"', SERVICE),
        ("https://a.example/webhook/", "slots = 9", ("n8n", "json", 9, None, 30_000)),
        ("https://a.example/webhook/", 'mode = "binary"', ("n8n", "binary", 5, None, 30_000)),
        ("https://hooks.zapier.com/", 'rate = "none"', ("zapier", "json", 5, None, 30_000)),
        ("https://hooks.zapier.com/", 'timeout = "5s"', ("zapier", "json", 5, 20.0, 5_000)),
    ],
)
def test_profiles(url: str, lines: str, expected: tuple[object, ...], tmp_path: Path) -> None:
    """The URL chooses the defaults, `profile` wins over the URL, an explicit key over both."""
    found = read(subscription(f'url = "{url}"\n{lines}'), tmp_path).subscriptions["sub"]
    assert (found.profile, found.mode, found.slots, found.rate, found.timeout) == expected


@pytest.mark.parametrize(
    "kind", ["order.*", "order.paid", "*", "gateway.*", "printstudio.job.failed"]
)
def test_types(kind: str, tmp_path: Path) -> None:
    text = subscription(f'types = ["{kind}"]')
    assert read(text, tmp_path).subscriptions["sub"].types == (kind,)


def test_allowed_networks_open_literal_targets(tmp_path: Path) -> None:
    text = subscription('url = "http://127.0.0.1:5678/webhook/orders"')
    allow = '\n[egress]\nallow = ["127.0.0.0/8:5678"]'
    assert read(text + allow, tmp_path).egress.allow == ("127.0.0.0/8:5678",)
    with pytest.raises(ConfigError, match=r"subscriptions\.sub\.url: 127\.0\.0\.1"):
        read(text.replace("5678", "5679") + allow, tmp_path)


@pytest.mark.parametrize("url", ["https://a.example", "http://a:8080", "http://127.0.0.1:80/", ""])
def test_public_url(url: str, tmp_path: Path) -> None:
    """A slash at its end is taken off, so that paths can follow."""
    text = f'[server]\npublic_url = "{url}"'
    assert read(text, tmp_path).server.public_url == url.removesuffix("/")


def test_secrets_are_filled_in_once(tmp_path: Path) -> None:
    """Whole or inside, from both origins; what was filled in is not looked at again."""
    (tmp_path / "one").write_bytes(b"from-file\xff\r\n")
    (tmp_path / "one").chmod(0o600)
    lines = 'secrets = ["literal", "${S}", "a-${file:one}-${S}", "${TRICK}", "a$b{c}"]'
    text = f'[sources.shop]\nprovider = "stub"\n{lines}'
    settings = read(text, tmp_path, {"TRICK": "${S}"})
    canary = CANARY.encode()
    assert settings.sources["shop"].secrets == (
        b"literal",
        canary,
        b"a-from-file\xff-" + canary,
        b"${S}",
        b"a$b{c}",
    )


def test_subscription_secrets_are_key_bytes(tmp_path: Path) -> None:
    assert read(SUBSCRIPTION, tmp_path).subscriptions["sub"].secrets == (CANARY.encode(),)


def test_secret_files(tmp_path: Path) -> None:
    """Absolute paths work too; a file that everybody can read is a warning, an empty one an error."""
    file = tmp_path / "secret"
    file.write_text(WHSEC + "\n")
    file.chmod(0o644)
    text = subscription(f'secrets = ["${{file:{file}}}"]')
    settings = read(text, tmp_path)
    assert settings.subscriptions["sub"].secrets == (CANARY.encode(),)
    assert settings.warnings == (
        f"subscriptions.sub.secrets[0]: everybody on this machine can read {file}; chmod 600",
    )
    for content, part in ((b" \n", "is empty"), (b"x" * 70_000, "longer than 64 KiB")):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=part):
            read(text, tmp_path)


@pytest.mark.parametrize(
    ("mode", "secret", "variable", "warned"),
    [
        (0o644, "literal", {}, True),
        (0o640, "literal", {}, False),
        (0o644, "${S}", {}, False),
        (0o644, "literal", {"SHOP": "other", "B": "other"}, False),
    ],
)
def test_a_secret_that_everybody_can_read_in_the_configuration_is_warned_about(
    tmp_path: Path, mode: int, secret: str, variable: dict[str, str], warned: bool
) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(
        "".join(SOURCE.replace("shop", n).replace("${S}", secret) for n in ("shop", "b"))
    )
    path.chmod(mode)
    given = {f"GATEWAY_SOURCES__{name}__SECRETS": text for name, text in variable.items()}
    warnings = load(path, ENV | given, providers=find).warnings
    said = f"{path}: everybody on this machine can read the secrets in it"
    assert [one.partition(";")[0] for one in warnings] == [said] * warned


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("order.payd", ' (did you mean "order.paid"?)'),
        ("orders.*", ' (did you mean "order.*"?)'),
        ("gateway.delivery.exhausted", None),
        ("gateway.subscription.*", None),
        ("printstudio.job.failed", None),
        ("order.quarantined.again.and.again", ""),
        ("com.example.*", None),  # what a service of one's own publishes
        ("invoice.sent", None),
        ("*", None),
    ],
)
def test_types_that_no_event_has_are_warned_about(
    tmp_path: Path, pattern: str, near: str | None
) -> None:
    said = f'subscriptions.sub.types[1]: no event has the type "{pattern}"{near}'
    found = read(subscription(f'types = ["order.paid", "{pattern}"]'), tmp_path).warnings
    assert found == (() if near is None else (said,))


@pytest.mark.parametrize(
    ("allow", "missing"),
    [
        ("[]", "127.0.0.1/32:5678"),
        ('["127.0.0.0/8:5678"]', "[::1/128]:5678"),
        ('["127.0.0.0/8:5678", "[::1/128]:*"]', None),
    ],
)
def test_localhost_that_would_be_refused_is_warned_about(
    tmp_path: Path, allow: str, missing: str | None
) -> None:
    text = subscription('url = "http://localhost:5678/in"') + f"\n[egress]\nallow = {allow}"
    found = read(text, tmp_path).warnings
    assert len(found) == (missing is not None)
    assert all(one.startswith("subscriptions.sub.url: localhost can mean") for one in found)
    assert all(f'egress.allow = ["{missing}"]' in one for one in found)


def test_filters_that_nothing_meets_are_warned_about(tmp_path: Path) -> None:
    lines = 'sources = ["shop", "shpo"]\nshops = ["default", "other"]'
    assert read(SOURCE + subscription(lines), tmp_path).warnings == (
        'subscriptions.sub.sources[1]: no source of this file has "shpo" (did you mean "shop"?)',
        'subscriptions.sub.shops[1]: no source of this file has "other"',
    )


HOSTS = {"a": "https://a.example/in", "b": "https://b.example/in", "c": "https://a.example/other"}


@pytest.mark.parametrize(
    ("secrets", "warned"),
    [
        ({"a": '"${W}"', "b": '"${W}"'}, [("b", 0, "a")]),
        ({"a": '"${W}"', "b": '"${V}", "${W}"'}, [("b", 1, "a")]),
        ({"a": '"${V}", "${W}"', "b": '"${V}", "${W}"'}, [("b", 0, "a")]),
        ({"a": '"${W}"', "b": '"${V}"'}, []),
        ({"a": '"${W}"', "c": '"${W}"'}, []),
        ({"a": '"${W}"', "c": '"${W}"', "b": '"${W}"'}, [("b", 0, "a")]),
    ],
)
def test_sw_8_a_secret_that_two_hosts_share_is_warned_about(
    tmp_path: Path, secrets: dict[str, str], warned: list[tuple[str, int, str]]
) -> None:
    """Standard Webhooks: a key is unique for each endpoint."""
    text = "".join(
        f'[subscriptions.{name}]\nurl = "{HOSTS[name]}"\nsecrets = [{written}]\n'
        for name, written in secrets.items()
    )
    found = read(text, tmp_path, {"V": generate_secret()}).warnings
    assert list(found) == [
        f"subscriptions.{name}.secrets[{index}]: subscription {other} has the same secret at"
        " another host, so either consumer can sign what the other one believes: give each a"
        " secret of its own (`gateway secret` makes one)"
        for name, index, other in warned
    ]
    assert CANARY not in str(found)
    assert WHSEC not in str(found)


# Where a secret, or what should have been one, may stand in a wrong configuration.
LEAKS = [
    f'[sources.shop]\nprovider = "stub"\nsecrets = "{CANARY}"',
    f'[sources.shop]\nprovider = "stub"\nsecrets = [["{CANARY}"]]',
    f'[sources.shop]\nprovider = "stub"\nsecrets = {{ a = "{CANARY}" }}',
    f'[sources.shop]\nprovider = "stub"\nsecrets = ["{CANARY}${{"]',
    f'[sources.shop]\nprovider = "stub"\nsecrets = ["{CANARY}${{NO}}"]',
    f'[sources.shop]\nprovider = "stub"\nsecret = "{CANARY}"',
    f'[sources.shop]\nprovider = "stub"\nsecrets = ["{CANARY}", ""]',
    f'[sources.shop]\nprovider = "stub"\nsecrets = ["{CANARY}"]\nsecrets = ["{CANARY}"]',
    f'[sources.shop]\nprovider = "stub"\nsecrets = ["{CANARY}]',
    f'[sources.shop]\nsecrets = ["{CANARY}"]\na = """\n{CANARY} = 1"""\na = """\n{CANARY} = 1"""',
    f'[sources]\nshop = "{CANARY}"',
    f'sources = "{CANARY}"',
    subscription(f'secrets = ["{CANARY}"]'),
    subscription(f'secrets = ["whsec_{CANARY}!"]'),
    subscription('secrets = ["${W}x"]'),
    subscription('secrets = ["${S}"]'),
    subscription(f'secrets = "{WHSEC}"'),
    subscription(f'url = "https://user:{CANARY}@example.com/"'),
    subscription(f'url = "https://{CANARY}@example.com:99999/"'),
    subscription(f'url = "https://example.com/?token={CANARY}#x"'),
    f'[store]\nurl = "postgresql://user:{CANARY}@host/db"',
    f'[store]\nurl = "mysql://user:{CANARY}@host/db"',
    f'[server]\npublic_url = "https://user:{CANARY}@host"',
]


@pytest.mark.parametrize("text", LEAKS)
def test_errors_show_no_secret(text: str, tmp_path: Path) -> None:
    """Neither the sentence nor a traceback with its causes."""
    with pytest.raises(ConfigError) as caught:
        read(text, tmp_path)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert CANARY not in shown
    assert WHSEC.removeprefix("whsec_") not in shown


@pytest.mark.parametrize(
    "value", [CANARY + "${", f"['{CANARY}", f"[['{CANARY}']]", f"{{a='{CANARY}'}}"]
)
def test_errors_of_variables_show_no_secret(value: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(SUBSCRIPTION, tmp_path, {"GATEWAY_SUBSCRIPTIONS__SUB__SECRETS": value})
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_settings_show_no_secret(tmp_path: Path) -> None:
    url = f'url = "https://a.example/in?token={CANARY}"'
    settings = read(SOURCE + subscription(url), tmp_path)
    lines = dict(describe(settings))
    hidden = (settings.sources["shop"], settings.subscriptions["sub"].secrets)
    shown = f"{hidden} {hidden!r} {settings.sources['shop'].secrets[0]} {lines}"
    assert CANARY not in shown
    assert CANARY not in f"{settings.sources!r} {settings.sources['shop'].secrets[0]!s}"
    assert lines["sources.shop.secrets"] == '["***"]'
    assert lines["subscriptions.sub.url"] == '"https://a.example/in?***"'


def test_describe(tmp_path: Path) -> None:
    """Paths and values are those of the file, the provider's keys among the source's."""
    text = SOURCE + subscription('rate = "7/m"\nschedule = ["90s"]')
    lines = dict(describe(read(text, tmp_path)))
    assert lines["server.port"] == "8080"
    assert lines["server.body_limit"] == '"1MiB"'
    assert lines["sources.shop.wait"] == '"1m"'
    assert lines["sources.shop.maybe"] == "not set"
    assert lines["sources.shop.names"] == '["a"]'
    assert lines["sources.shop.flag"] == "false"
    assert lines["subscriptions.sub.mode"] == '"structured"'
    assert lines["subscriptions.sub.rate"] == '"7/m"'
    assert lines["subscriptions.sub.schedule"] == '["90s"]'


@given(st.integers(0, 365 * 86_400_000))
def test_durations_read_back(value: int) -> None:
    assert parse_duration(show_duration(value)) == value


@given(st.integers(0, 1 << 30))
def test_sizes_read_back(value: int) -> None:
    assert parse_size(show_size(value)) == value


@given(st.integers(1, 1_000_000), st.sampled_from("sm"))
def test_rates_read_back(amount: int, unit: str) -> None:
    rate = parse_rate(f"{amount}/{unit}")
    assert parse_rate(show_rate(rate)) == rate
    assert parse_rate(show_rate(None)) is None


def test_the_store_alone_needs_no_secrets(tmp_path: Path) -> None:
    """Commands that only look run where the secrets are not."""
    text = (
        '[store]\nurl = "sqlite:///here.db"\n[sources.a]\nprovider = "x"\nsecrets = ["${UNSET}"]\n'
    )
    (tmp_path / "gateway.toml").write_text(text)
    assert load_store(tmp_path / "gateway.toml", {}).store.url == "sqlite:///here.db"
    environ = {"GATEWAY_STORE__URL": "sqlite:///there.db", "GATEWAY_SOURCES__A__SHOP": "b"}
    assert load_store(tmp_path / "gateway.toml", environ).store.url == "sqlite:///there.db"
    (tmp_path / "gateway.toml").write_text("[store]\nurl = 7\n")
    with pytest.raises(ConfigError, match=r"^store\.url: "):
        load_store(tmp_path / "gateway.toml", {})
