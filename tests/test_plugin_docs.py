"""The plugin in the docs is complete: installed as it stands there, tested, configured, and called."""

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.models import Track
from gateway.signing import verify
from gateway.testing.doubles import Receiver
from gateway.testing.readings import STATES
from tests.ports import free_port

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "plugins.md").read_text("utf-8")
FILES = dict(re.findall(r"^```\w+ (\S+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
PATIENCE = 60.0  # seconds
TOOLS = ("bash", "curl", "openssl")

needs_tools = pytest.mark.skipif(
    os.environ.get("CI") != "true" and not all(map(shutil.which, TOOLS)),
    reason=f"needs {', '.join(TOOLS)}",
)


class Plugin:
    """The files of the page in a folder that is a place of installed packages as well."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("pyproject.toml", "gateway_inkworks.py", "test_inkworks.py"):
            (folder / name).write_text(FILES[name], "utf-8")
        self._install(tomllib.loads(FILES["pyproject.toml"]))
        self.port, self.admin = free_port(), free_port()
        kept = {key: value for key, value in os.environ.items() if not key.startswith("GATEWAY_")}
        self.environ = kept | {
            "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "GATEWAY_SERVER__PORT": str(self.port),
            "GATEWAY_ADMIN__PORT": str(self.admin),
        }

    def _install(self, project: Mapping[str, dict[str, object]]) -> None:
        """Write what pip would of the project: its metadata and its entry points."""
        about = project["project"]
        info = self.folder / f"{str(about['name']).replace('-', '_')}-{about['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n"
        )
        groups = about["entry-points"]
        assert isinstance(groups, dict)
        points = "".join(
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in found.items())
            for group, found in groups.items()
        )
        (info / "entry_points.txt").write_text(points)

    def python(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run Python where the plugin is installed."""
        return subprocess.run(
            (sys.executable, *arguments),
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def shell(self, script: str) -> str:
        """The page's line of a shell, with ports and the way to Python put in."""
        script = script.replace("8080", str(self.port))
        command = f"{shlex.quote(sys.executable)} -m gateway"
        return re.sub(r"\.venv/bin/gateway\b", lambda _: command, script)

    def send(self) -> str:
        """The page's callback; what it is answered."""
        done = subprocess.run(
            ("bash", "-ec", self.shell(FILES["send"])),
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        return done.stdout

    @contextmanager
    def serving(self, consumer: int) -> Iterator[Path]:
        """The page's start, until it is ended; the file of all that was said."""
        configuration = FILES["gateway.toml"].replace("5678", str(consumer))
        (self.folder / "gateway.toml").write_text(configuration, "utf-8")
        said = self.folder / "said.txt"
        # The shell becomes the gateway, so that to end the one is to end the other.
        script = self.shell(re.sub(r"^(?=\S+ serve )", "exec ", FILES["start"], flags=re.MULTILINE))
        with said.open("wb") as file:
            process = subprocess.Popen(
                ("bash", "-ec", script),
                cwd=self.folder,
                env=self.environ,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        try:
            until(self._ready, lambda: f"{process.poll()}: {said.read_text()}")
            yield said
        finally:
            process.terminate()
            process.wait(PATIENCE)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.admin}/readyz", timeout=2
            ) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def until(done: Callable[[], bool], told: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, told()
        time.sleep(0.02)


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


def test_its_tests_pass(plugin: Plugin) -> None:
    done = plugin.python("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", ".")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("right", "wrong", "sentence"),
    [
        ("if not is_signed(", "if False and is_signed(", "of its body changed returned None"),
        ('required_id(event.id, "$.id")', "event.id", "event_id is "),
        ('f"{self.name}:{number}",\n            at', "number,\n            at", "has the key"),
        ('f"{occasion.tag}-{kind}"', "kind", "has the same event id for every tag"),
        (
            'hmac.digest(secret, body, "sha256")',
            'hmac.digest(b"x", body, "sha256")',
            "is not taken",
        ),
    ],
)
def test_its_contract_sees_faults(plugin: Plugin, right: str, wrong: str, sentence: str) -> None:
    source = FILES["gateway_inkworks.py"]
    assert right in source
    (plugin.folder / "gateway_inkworks.py").write_text(source.replace(right, wrong), "utf-8")
    done = plugin.python("-m", "pytest", "-q", "-p", "no:cacheprovider", ".")
    assert done.returncode == 1
    assert sentence in done.stdout


def test_the_contract_needs_nothing_but_the_gateway(plugin: Plugin) -> None:
    """As from a wheel: the package alone, without tests/ and without any test framework."""
    site = plugin.folder / "site"
    shutil.copytree(ROOT / "gateway", site / "gateway")
    plugin.environ["PYTHONPATH"] = f"{plugin.folder}{os.pathsep}{site}"
    script = (
        "import sys\n"
        "import gateway, test_inkworks, gateway.testing.polled, gateway.testing.doubles\n"
        "test_inkworks.test_the_contract()\n"
        f"assert gateway.__file__.startswith({str(site)!r}), gateway.__file__\n"
        "assert not {'pytest', '_pytest', 'hypothesis', 'tests'} & set(sys.modules)\n"
    )
    done = plugin.python("-P", "-c", script)
    assert done.returncode == 0, done.stderr


def test_its_types_are_the_contracts(plugin: Plugin) -> None:
    script = (
        "from gateway.providers.base import calls, is_polled\n"
        "from gateway.providers.registry import provider_class\n"
        "found = provider_class('inkworks')\n"
        "assert calls(found) and not is_polled(found) and found.name == 'inkworks'\n"
    )
    done = plugin.python("-c", script)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@needs_tools
def test_its_samples_are_sent(plugin: Plugin) -> None:
    with plugin.serving(free_port()):
        done = subprocess.run(
            ("bash", "-ec", plugin.shell(FILES["again"])),
            cwd=plugin.folder,
            env=plugin.environ | {"INKWORKS_SECRET": "a-secret-from-inkworks"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
    lines = done.stdout.splitlines()
    assert lines[:5] == [
        *("order.accepted", "order.printing", "order.packed", "order.dispatched", "order.cancelled")
    ]
    assert re.search(r"order +1002\n", done.stdout), done.stdout
    assert re.search(r"verdict +event\n", done.stdout), done.stdout


@pytest.mark.slow
@needs_tools
def test_one_real_callback(plugin: Plugin) -> None:
    asyncio.run(one_real_callback(plugin))


async def one_real_callback(plugin: Plugin) -> None:
    async with Receiver() as receiver:
        with plugin.serving(receiver.port) as said:
            receipt = json.loads(await asyncio.to_thread(plugin.send))
            await receiver.wait_for(2, seconds=PATIENCE)
            explaining = ("-m", "gateway", "explain", "1001", "--config", "gateway.toml")
            explained = await asyncio.to_thread(plugin.python, *explaining)
    checked = said.read_text("utf-8")
    assert 'sources.press.provider = "inkworks"' in checked
    assert "sources.press.test_orders = true" in checked
    assert (receipt["verdict"], len(receipt["events"])) == ("event", 2)
    secret = (plugin.folder / "fulfilment.secret").read_text("utf-8").strip()
    told = {}
    for one in receiver.received:
        verify(one.body, one.headers, secret, now=time.time())
        event = json.loads(one.body)
        told[event["type"]] = event["data"]
    assert set(told) == {"order.created", "order.shipped"}
    assert told["order.created"]["change"]["implied"]
    assert told["order.shipped"]["parts"][0]["shipment"]["tracking_number"] == "1Z999"
    assert re.search(r"ev-1 +order\.dispatched", explained.stdout), explained


def test_the_table_of_facts_is_the_codes() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \| .*\|$", PAGE, re.MULTILINE))
    assert set(rows) == set(Track)
    for track, states in STATES.items():
        assert re.findall(r"`(\w+)`", rows[track]) == sorted(states)
