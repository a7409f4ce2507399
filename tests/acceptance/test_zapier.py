"""The Zapier app in `integrations/zapier`: its own tests against a gateway that runs; and its page."""

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from gateway.catalogue import MEANINGS, example, in_mode
from gateway.models import Mode
from tests.acceptance.harness import Gateway
from tests.acceptance.load import SECRET

ROOT = Path(__file__).parents[2]
APP = ROOT / "integrations/zapier"
PAGE = ROOT / "docs/consumers/zapier.md"
IN_CI = os.environ.get("CI", "").lower() == "true"
INSTALL_TIMEOUT = 100  # seconds
PASSED = re.compile(r"^# (pass|fail|skipped|cancelled) (\d+)$", re.MULTILINE)


def flat(event_type: str) -> dict[str, object]:
    """The catalogue's example as a Zap gets it."""
    made: dict[str, object] = json.loads(in_mode(example(event_type), Mode.JSON, flat=True)[1])
    return made


def installed(folder: Path) -> Path:
    """A copy of the app with what it needs; a skip that says why where that cannot be had."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("THE ZAPIER APP IS NOT TESTED: node and npm are not installed")
    version = tuple(map(int, re.findall(r"\d+", said(node, "--version"))))
    if version < (20,):
        pytest.skip(f"THE ZAPIER APP IS NOT TESTED: it needs Node 20, this is {version[0]}")
    app = folder / "app"
    shutil.copytree(APP, app, ignore=shutil.ignore_patterns("node_modules", "build"))
    command = (npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
    try:
        done = subprocess.run(
            command, cwd=app, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, check=False
        )
        why = None if done.returncode == 0 else done.stderr[-2000:]
    except subprocess.TimeoutExpired:
        why = f"it took over {INSTALL_TIMEOUT} s"
    if why is not None and IN_CI:
        pytest.fail(f"npm ci: {why}")
    if why is not None:
        pytest.skip(f"THE ZAPIER APP IS NOT TESTED: npm could not install what it needs: {why}")
    return app


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def counts_of(app: Path, environment: Mapping[str, str]) -> dict[str, int]:
    """What Node's test runner counted; it has to succeed."""
    done = subprocess.run(
        ("node", "--test", "--test-reporter=tap", *sorted(map(str, app.glob("test/*.test.js")))),
        cwd=app,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {word: int(count) for word, count in PASSED.findall(done.stdout)}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    started = Gateway(tmp_path, [])
    asyncio.run(started.start())
    try:
        yield started
    finally:
        started.kill()


def key(gateway: Gateway, folder: Path, role: str) -> str:
    path = folder / f"{role}.secret"
    asyncio.run(gateway.run("keys", "create", "--role", role, "--to", str(path)))
    return path.read_text("ascii").strip()


@pytest.mark.slow
@pytest.mark.timeout(300)  # an install from a slow registry, and the tests
def test_the_app_works_with_a_gateway_that_runs(gateway: Gateway, tmp_path: Path) -> None:
    counted = counts_of(
        installed(tmp_path),
        {
            "GATEWAY_URL": f"http://127.0.0.1:{gateway.port}",
            "SUBSCRIBER_KEY": key(gateway, tmp_path, "subscriber"),
            "PUBLISHER_KEY": key(gateway, tmp_path, "publisher"),
            "PRINTSTUDIO_SECRET": SECRET,
        },
    )
    assert counted["pass"] >= 14
    assert counted["fail"] == counted["skipped"] == counted["cancelled"] == 0


@pytest.mark.slow
def test_the_pages_commands_do_what_it_says(gateway: Gateway, tmp_path: Path) -> None:
    lines = re.findall(r"^ *\$ gateway (.+)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        asyncio.run(gateway.run(*shlex.split(line)))
    (made,) = json.loads(asyncio.run(gateway.run("subscriptions", "--json")))
    shown = asyncio.run(gateway.run("subscriptions", "show", made["name"]))
    for words in ("hooks.zapier.com", "zapier", "flat", "order.paid, order.refunded"):
        assert words in shown


def test_the_sample_is_the_catalogues_example() -> None:
    assert json.loads((APP / "sample.json").read_text("utf-8")) == flat("order.paid")


def test_the_pages_fields_are_those_of_events() -> None:
    rows = re.findall(r"^\| (`.*?) \| .+ \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    named = [name for cell in rows for name in re.findall(r"`([a-z_0-9]+)`", cell)]
    assert len(named) >= 10
    known = {field for event_type in MEANINGS for field in flat(event_type)}
    assert [name for name in named if name not in known] == []


def test_the_lock_file_names_no_registry() -> None:
    packages = json.loads((APP / "package-lock.json").read_text("utf-8"))["packages"]
    assert [path for path, one in packages.items() if "resolved" in one] == []
    assert [path for path, one in packages.items() if path and "integrity" not in one] == []
    wanted = json.loads((APP / "package.json").read_text("utf-8"))["dependencies"]
    assert packages[""]["dependencies"] == wanted
