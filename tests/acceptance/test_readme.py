"""The README's five minutes, as they are written: only ports and the way to Python are put in."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
TITLE = "## Five minutes to your own delivered event\n"
PATIENCE = 60.0  # seconds
TOOLS = ("bash", "curl", "openssl")
PYTHON = shlex.quote(sys.executable)

needs_tools = pytest.mark.skipif(
    os.environ.get("CI") != "true" and not all(map(shutil.which, TOOLS)),
    reason=f"needs {', '.join(TOOLS)}",
)


class Steps(NamedTuple):
    """The fenced blocks of the section, in their order."""

    bare: str
    configuration: str
    serve: str
    program: str
    consume: str
    send: str
    receipt: str
    printed: str
    explain: str


KINDS = ("sh", "toml", "sh", "python", "sh", "sh", "json", "text", "sh")


def blocks() -> list[tuple[str, str]]:
    """Language and text of every fenced block of the section."""
    section = (ROOT / "README.md").read_text("utf-8").partition(TITLE)[2].partition("\n## ")[0]
    found = re.findall(r"^ *```(\w+)\n(.*?)^ *```$", section, re.DOTALL | re.MULTILINE)
    return [(kind, textwrap.dedent(text)) for kind, text in found]


class Reader:
    """Who follows the README in an empty folder, each terminal a shell of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.consumer_port, admin = free_port(), free_port(), free_port()
        kept = {key: value for key, value in os.environ.items() if not key.startswith("GATEWAY_")}
        self._environ = kept | {
            "GATEWAY_SERVER__PORT": str(self.port),
            "GATEWAY_ADMIN__PORT": str(admin),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",  # a file stands here for the terminal
        }
        self._ready = f"http://127.0.0.1:{admin}/readyz"
        self.steps = Steps(*(self._here(text) for _, text in blocks()))

    def _here(self, text: str) -> str:
        text = text.replace("8080", str(self.port)).replace("5678", str(self.consumer_port))
        ways = {"gateway": f"{PYTHON} -m gateway", "python": PYTHON}
        return re.sub(r"\.venv/bin/(gateway|python)\b", lambda found: ways[found[1]], text)

    def run(self, script: str) -> str:
        """What a block prints that ends by itself."""
        done = subprocess.run(
            ("bash", "-ec", script),
            cwd=self.folder,
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    @contextmanager
    def terminal(self, script: str, ready: Callable[[], bool]) -> Iterator[Path]:
        """A block that goes on until Ctrl-C; the file of all that it printed."""
        printed = self.folder / f"terminal-{time.monotonic_ns()}"
        with printed.open("wb") as file:
            shell = subprocess.Popen(
                ("bash", "-ec", script),
                cwd=self.folder,
                env=self._environ,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            until(ready, lambda: f"{shell.poll()}: {printed.read_text()}")
            yield printed
        finally:
            os.killpg(shell.pid, signal.SIGINT)
            shell.wait(PATIENCE)

    def serving(self) -> bool:
        """Whether the gateway is ready."""
        try:
            with urllib.request.urlopen(self._ready, timeout=2) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def consuming(self) -> bool:
        """Whether the consumer listens."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.consumer_port)) == 0


def until(done: Callable[[], bool], told: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, told()
        time.sleep(0.02)


def pattern(text: str) -> str:
    """What the README shows, with any id for `evt_...`."""
    return re.escape(text.strip()).replace(re.escape("evt_..."), "evt_[0-9a-f]{40}")


def lines(file: Path) -> list[str]:
    return [line for line in file.read_text("utf-8").splitlines() if line.startswith("verified")]


def test_the_section_has_these_steps() -> None:
    assert tuple(kind for kind, _ in blocks()) == KINDS


@needs_tools
def test_five_minutes_to_a_delivered_event(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    steps = reader.steps
    with reader.terminal(steps.bare, reader.serving) as said:
        pass
    assert "[sources." in said.read_text("utf-8")
    (tmp_path / "gateway.toml").write_text(steps.configuration, "utf-8")
    (tmp_path / "consumer.py").write_text(steps.program, "utf-8")
    with (
        reader.terminal(steps.serve, reader.serving) as served,
        reader.terminal(steps.consume, reader.consuming) as consumed,
    ):
        assert re.fullmatch(pattern(steps.receipt), reader.run(steps.send).strip())
        until(lambda: len(lines(consumed)) == 2, lambda: consumed.read_text() + served.read_text())
        assert sorted(lines(consumed)) == steps.printed.splitlines()
        # The consumer has it a moment before its answer is written down.
        until(lambda: reader.run(steps.explain).count(" delivered ") == 2, served.read_text)
        explained = reader.run(steps.explain)
    assert explained.startswith("order 1001 of shop default\n")
    assert re.search(r"^cb_1 .* evt-1 +order\.paid +\d+ +event$", explained, re.MULTILINE)
    for number, event in (("1", "order.created #1"), ("2", "order.paid #2")):
        row = rf"^dl_{number} +fulfilment +{event} +delivered +1 "
        assert re.search(row, explained, re.MULTILINE), explained
    assert "warning" not in served.read_text("utf-8")
    assert (tmp_path / "fulfilment.secret").stat().st_mode & 0o077 == 0


@needs_tools
def test_the_consumer_refuses_what_is_not_signed(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    (tmp_path / "consumer.py").write_text(reader.steps.program, "utf-8")
    secret = next(line for line in reader.steps.serve.splitlines() if "gateway secret" in line)
    reader.run(secret)
    with reader.terminal(reader.steps.consume, reader.consuming) as consumed:
        status = reader.run(
            f"curl -s -o answer -w '%{{http_code}}' http://127.0.0.1:{reader.consumer_port}/"
            " -H 'webhook-id: evt_1' -H \"webhook-timestamp: $(date +%s)\""
            " -H 'webhook-signature: v1,AAAA' -d '{}'"
        )
    assert status == "401"
    assert lines(consumed) == []
