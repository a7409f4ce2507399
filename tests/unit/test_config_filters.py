"""The key `filters`: as TOML, as text, as JSON; and what is said of wrong ones."""

from pathlib import Path
from typing import Any

import pytest

from gateway.config.describe import describe
from gateway.config.reader import sentence_of
from gateway.config.settings import Settings
from gateway.config.subscription import read_subscription, subscription_of
from gateway.errors import ConfigError
from tests.unit.config_stub import read, subscription

WRITTEN = (
    '[{ prefix = { subject = "B-" } }, '
    '{ any = [{ data = { "/total/value" = { ge = 49.5, ne = 60 } } }, '
    '{ not = { exact = { type = "order.paid" } } }] }]'
)
PLAIN: tuple[dict[str, Any], ...] = (
    {"prefix": {"subject": "B-"}},
    {
        "any": [
            {"data": {"/total/value": {"ge": 49.5, "ne": 60}}},
            {"not": {"exact": {"type": "order.paid"}}},
        ]
    },
)
URL = "https://example.com/in"
VARIABLE = "GATEWAY_SUBSCRIPTIONS__SUB__FILTERS"


def test_they_are_an_array_of_tables_of_the_file(tmp_path: Path) -> None:
    found = read(subscription(f"filters = {WRITTEN}"), tmp_path)
    wanted = found.subscriptions["sub"]
    assert wanted.filters == PLAIN
    made = subscription_of("sub", wanted, found, declared=True)
    assert made.filters == PLAIN
    tables = '[[subscriptions.sub.filters]]\nprefix = { subject = "B-" }'
    assert read(subscription(tables), tmp_path).subscriptions["sub"].filters == PLAIN[:1]
    assert read(subscription("filters = []"), tmp_path).subscriptions["sub"].filters == ()


def test_they_are_shown_as_they_are_written(tmp_path: Path) -> None:
    found = read(subscription(f"filters = {WRITTEN}"), tmp_path)
    assert dict(describe(found))["subscriptions.sub.filters"] == WRITTEN


def test_a_variable_overrides_them(tmp_path: Path) -> None:
    text = subscription("filters = [{ exact = { type = 'a' } }]")
    assert read(text, tmp_path, {VARIABLE: WRITTEN}).subscriptions["sub"].filters == PLAIN
    assert read(text, tmp_path, {VARIABLE: " "}).subscriptions["sub"].filters == ()
    with pytest.raises(ConfigError) as refused:
        read(text, tmp_path, {VARIABLE: "[{ exact = 1 }]"})
    assert str(refused.value).startswith(
        "subscriptions.sub.filters[0].exact: expected at least one"
    )
    assert str(refused.value).endswith(f" (from {VARIABLE})")


@pytest.mark.parametrize("given", [WRITTEN, list(PLAIN)], ids=["text", "JSON"])
def test_a_command_and_json_give_them(given: object) -> None:
    found = read_subscription("crm", {"url": URL, "filters": given}, Settings())
    assert found.filters == PLAIN


@pytest.mark.parametrize(
    ("given", "path", "says"),
    [
        ("order.paid", "filters", "expected a list of filters"),
        ("[{", "filters", "expected a list of filters"),
        ({"exact": {"type": "a"}}, "filters", "expected a list of filters"),
        (None, "filters", "expected a list of filters"),
        ([{"any": [{"exact": {"type": 1}}]}], "filters[0].any[0].exact.type", "got 1"),
        (
            "[{ data = { '/a' = { eq = 2026-03-01 } } }]",
            'filters[0].data."/a".eq',
            "something else",
        ),
        ([{"sql": "a = 1"}], "filters[0]", "expected one of exact, prefix, suffix, all"),
    ],
)
def test_wrong_ones_are_named(given: object, path: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_subscription("crm", {"url": URL, "filters": given}, Settings())
    assert refused.value.path == f"subscriptions.crm.{path}"
    assert says in sentence_of(refused.value)
