"""What the commands that need the configuration tell a script, colours, and what a shell completes."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from typer.main import get_command

from gateway.cli import secret_files
from gateway.cli.main import app
from gateway.cli.tables import Column, View, drawn
from gateway.signing import parse_secret
from tests.acceptance.shell import run

pytestmark = pytest.mark.slow

CONSUMER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CONFIGURATION = f"""
store.url = "sqlite:///gateway.db"
[sources.shop]
provider = "printstudio"
secrets = ["a-secret"]
[sources.tiger]
provider = "marketiger"
token = "a-token"
base_url = "https://tiger.example/api"
[subscriptions.fulfilment]
url = "https://fulfilment.example/in?key=1"
secrets = ["{CONSUMER}"]
filters = [{{ exact = {{ type = "order.paid" }} }}]
[subscriptions.audit]
url = "https://audit.example/in"
secrets = ["{CONSUMER}"]
"""
HERE: Sequence[tuple[str, ...]] = (
    ("version",),
    ("secret",),
    ("check",),
    ("watch", "tiger", "123", "--order", "1001"),
    ("sources",),
    ("rejected", "shop"),
    ("subscriptions", "show", "fulfilment"),
    ("subscriptions", "pause", "audit"),
    ("keys", "create", "--role", "admin"),
    ("secrets", "rotate-master"),
)
"""One after the other, where no gateway runs."""
SHELL = "import sys; sys.argv[0] = 'gateway'; from gateway.cli.main import main; main()"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, and with a database that no gateway serves."""
    (tmp_path / "gateway.toml").write_text(CONFIGURATION)
    (tmp_path / "gateway.toml").chmod(0o600)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEWAY_CONFIG", "gateway.toml")
    made = """
import asyncio, os
from pathlib import Path
from gateway.cli.control import owning
from gateway.config.load import load
async def make():
    async with owning(load(Path("gateway.toml"), os.environ)):
        pass
asyncio.run(make())
"""
    subprocess.run([sys.executable, "-c", made], check=True, timeout=60)
    return tmp_path


def test_every_command_tells_a_script_what_it_did(shop: Path) -> None:
    told: list[Any] = []
    for command in HERE:
        said = run(*command, "--json")
        assert said.code == 0, (command, said.error)
        assert CONSUMER not in said.text
        told.append(json.loads(said.text))
    version, secret, check, watch, sources, rejected, shown, paused, key, rotated = told
    assert list(version) == ["version"]
    assert parse_secret(secret["secret"])
    assert (check["file"], check["settings"]["sources.shop.secrets"]) == ("gateway.toml", ["***"])
    some = [check["settings"][f"server.{key}"] for key in ("host", "port", "allowed_hosts")]
    assert some == ["127.0.0.1", 8080, []]
    assert check["settings"]["sources.shop.silent_after"] is None
    assert isinstance(check["warnings"], list)
    assert (watch["id"], watch["order"], watch["new"], watch["live"]) == (
        "123",
        "1001",
        True,
        False,
    )
    assert [one["name"] for one in sources] == ["shop", "tiger"]
    assert rejected == []
    assert shown[0]["settings"]["filters"] == [{"exact": {"type": "order.paid"}}]
    assert (paused["subscription"], paused["state"], paused["live"]) == ("audit", "paused", False)
    assert (key["role"], key["key_file"], key["live"]) == ("admin", "admin.secret", False)
    assert re.fullmatch(r"[0-9T:.-]{23}Z", key["made_at"])
    assert (shop / key["key_file"]).read_text().startswith(f"gwk_{key['id']}_")
    assert rotated["key_file"].endswith("gateway.db.key")


def test_filters_are_shown_as_json(shop: Path) -> None:
    text = run("subscriptions", "show", "fulfilment").text
    assert re.search(r'^filters +\[\{"exact": \{"type": "order.paid"\}\}\]$', text, re.MULTILINE)
    assert not re.search("^filters", run("subscriptions", "show", "audit").text, re.MULTILINE)


def test_a_key_for_a_script_is_in_a_file_on_a_terminal_too(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = SimpleNamespace(stdout=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(secret_files, "sys", terminal)
    assert "gwk_" in run("keys", "create", "--role", "reader").text
    said = run("keys", "create", "--role", "reader", "--json")
    assert json.loads(said.text)["key_file"] == "reader.secret"
    assert "gwk_" not in said.text


# What a shell completes.


def completed(line: str) -> list[str]:
    """What bash is told to choose from at the end of a line."""
    asked = {
        "_GATEWAY_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(line.count(" ")),
    }
    output, error = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, asked),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(error),
        pytest.raises(SystemExit) as ended,
    ):
        get_command(app)(prog_name="gateway")
    assert (ended.value.code, error.getvalue()) == (0, "")
    return output.getvalue().split()


def test_the_command_itself_answers_a_shell(shop: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHELL],
        env={**os.environ, "_GATEWAY_COMPLETE": "source_bash"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "complete -o default -F _gateway_completion gateway" in done.stdout


@pytest.mark.parametrize(
    ("line", "choices"),
    [
        ("gateway subscriptions pause ", ["fulfilment", "audit"]),
        ("gateway subscriptions pause f", ["fulfilment"]),
        ("gateway deliveries --subscription a", ["audit"]),
        ("gateway deliveries --state dea", ["dead"]),
        ("gateway lanes skip f", ["fulfilment"]),
        ("gateway rejected ", ["shop", "tiger"]),
        ("gateway events --type order.pa", ["order.paid", "order.payment_failed"]),
        ("gateway replay --type gateway.fact", ["gateway.fact.superseded"]),
        ("gateway keys create --role re", ["reader"]),
        ("gateway quar", ["quarantine"]),
        ("gateway rejected --config nowhere.toml ", []),
        ("gateway rejected --config broken.toml ", []),
    ],
)
def test_a_shell_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, choices: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gateway.toml").write_text(CONFIGURATION.replace("a-secret", "${NOT_SET}"))
    (tmp_path / "broken.toml").write_text("this is no TOML")
    assert completed(line) == choices


def test_a_shell_completes_what_was_made_at_run_time(shop: Path) -> None:
    assert run("sources", "add", "pay", "provider=stripe", "secrets=a-secret").code == 0
    for name in ("crm", "gone"):
        url = f"url=https://{name}.example/in"
        assert run("subscriptions", "add", name, url).code == 0
    assert run("subscriptions", "remove", "gone").code == 0
    (shop / "gateway.db.key").unlink()  # names are no secrets
    assert completed("gateway sources show ") == ["shop", "tiger", "pay"]
    assert completed("gateway subscriptions show ") == ["fulfilment", "audit", "crm"]
    (shop / "gateway.db").write_text("no database")
    assert completed("gateway sources show ") == ["shop", "tiger"]


def test_completion_is_installed_only_when_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "--install-completion" in run("--help").text
    assert run("version").code == 0
    assert run("--version").text == run("version").text != ""
    assert list(tmp_path.iterdir()) == []


# Colours.


def test_colours_are_for_a_terminal_that_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    view = View(columns=[Column("state")], rows=[("delivered",)])
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[32m" in drawn(view, width=80)
    assert "\x1b" not in drawn(view, width=None)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in drawn(view, width=80)
