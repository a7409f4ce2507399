"""Subscriptions whose consumers fetch their events, in the configuration file."""

from pathlib import Path

import pytest

from gateway.config.describe import describe
from gateway.config.load import load
from gateway.config.settings import Settings
from gateway.errors import ConfigError

URL = 'url = "https://example.com/in"'


def read(folder: Path, *lines: str) -> Settings:
    path = folder / "gateway.toml"
    path.write_text("\n".join(["[subscriptions.desk]", *lines]), "utf-8")
    return load(path, {})


def test_it_needs_neither_url_nor_secrets(tmp_path: Path) -> None:
    settings = read(tmp_path, "pull = true", 'types = ["order.paid"]', "flat = true")
    desk = settings.subscriptions["desk"]
    assert (desk.pull, desk.url, desk.secrets, desk.flat) == (True, "", (), True)
    assert settings.warnings == ()
    shown = dict(describe(settings))
    assert shown["subscriptions.desk.pull"] == "true"
    assert "subscriptions.desk.timeout" not in shown


def test_the_environment_may_say_it(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("[subscriptions.desk]\n", "utf-8")
    found = load(path, {"GATEWAY_SUBSCRIPTIONS__DESK__PULL": "true"})
    assert found.subscriptions["desk"].pull


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (URL, "subscriptions.desk.url"),
        ('secrets = ["x"]', "subscriptions.desk.secrets"),
        ("headers = {}", "subscriptions.desk.headers"),
        ('schedule = ["5s"]', "subscriptions.desk.schedule"),
        ('rate = "none"', "subscriptions.desk.rate"),
        ("batch_size = 2", "subscriptions.desk.batch_size"),
        ('on_exhausted = "skip"', "subscriptions.desk.on_exhausted"),
        ("final_status = []", "subscriptions.desk.final_status"),
        ('mode = "batch"', "subscriptions.desk.mode"),
    ],
)
def test_what_is_about_sending_does_not_go_with_it(tmp_path: Path, line: str, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, "pull = true", line)
    assert caught.value.path == path
    assert "pull = true" in str(caught.value)


def test_without_either_both_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"url = .* or pull = true"):
        read(tmp_path, 'types = ["order.paid"]')
