"""Developers: what is on a page of docs/consumers, pasted into a folder and run; and the shop beside it."""

import asyncio
import hmac
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.acceptance.consumers import callback
from tests.acceptance.harness import Gateway, ask
from tests.acceptance.load import SECRET
from tests.acceptance.shell import run as cli

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs/consumers"
IN_CI = os.environ.get("CI", "").lower() == "true"
PATIENCE = 60.0  # seconds
INSTALL_PATIENCE = 200.0  # seconds; from a slow registry, and the first build of Go's own library
FILE = re.compile(r"^```(\w+)\n((?:#|//) (\S+\.\w+)\n.*?)^```$", re.DOTALL | re.MULTILINE)


class Language(NamedTuple):
    """A page, and what runs its files: a tool, and how it is called."""

    page: str
    ending: str
    tool: str


PYTHON = Language("python.md", "py", sys.executable)
NODE = Language("node.md", "mjs", "node")
GO = Language("go.md", "go", "go")

FILES = {
    PYTHON: ("subscribe.py", "receive.py", "receive_asgi.py", "publish.py", "pull.py"),
    NODE: ("subscribe.mjs", "receive.mjs", "receive-libraries.mjs", "publish.mjs", "pull.mjs"),
    GO: ("subscribe.go", "receive.go", "receive_libraries.go", "publish.go", "pull.go"),
}
INSTALLS = {"receive-libraries.mjs", "receive_libraries.go"}  # what is not here yet


def files_of(language: Language) -> dict[str, str]:
    """The page's files by their names, which stand in their first lines."""
    text = (PAGES / language.page).read_text("utf-8")
    return {name: code for _, code, name in FILE.findall(text)}


class Workshop:
    """A folder in which a developer has pasted the files of a page."""

    def __init__(self, language: Language, folder: Path) -> None:
        self.folder = folder
        self._language = language
        if shutil.which(language.tool) is None:
            pytest.skip(
                f"THE FILES OF {language.page.upper()} ARE NOT TESTED:"
                f" {language.tool} is not installed here"
            )
        self._environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith("GATEWAY_")},
            "PYTHONPATH": str(ROOT),
            "GOTOOLCHAIN": "local",
            "GOFLAGS": "-mod=mod",
        }

    def paste(self, name: str, **instead: str) -> None:
        """Write a file of the page, with some words put in instead of others."""
        code = files_of(self._language)[name]
        for old, new in instead.items():
            assert old in code
            code = code.replace(old, new)
        (self.folder / name).write_text(code, "utf-8")

    def install(self) -> None:
        """Run what the page says about its libraries; CI insists that it works."""
        if self._language is NODE:  # else npm looks for a folder above that has one
            (self.folder / "package.json").write_text("{}", "utf-8")
        text = (PAGES / self._language.page).read_text("utf-8")
        for line in re.findall(r"^(?:npm install|go mod|go get) .+$", text, re.MULTILINE):
            try:
                done = self.said(*line.split(), patience=INSTALL_PATIENCE)
                why = None if done.returncode == 0 else done.stdout + done.stderr
            except subprocess.TimeoutExpired:
                why = f"it took over {INSTALL_PATIENCE:.0f} s"
            if why is not None and IN_CI:
                pytest.fail(f"{line}: {why}")
            if why is not None:
                pytest.skip(f"THE LIBRARIES OF {self._language.page.upper()}: {line}: {why}")

    def command(self, name: str) -> Sequence[str]:
        """What starts a file of the page; in Go it is built first, so that one process runs."""
        if self._language is not GO:
            return (self._language.tool, name)
        program = self.folder / name.removesuffix(".go")
        offline = {} if name in INSTALLS else {"GOPROXY": "off"}
        for arguments in (("vet", name), ("build", "-o", str(program), name)):
            done = self.said("go", *arguments, environ=offline, patience=INSTALL_PATIENCE)
            assert done.returncode == 0, done.stderr
        return (str(program),)

    def said(
        self, *command: str, environ: Mapping[str, str] | None = None, patience: float = PATIENCE
    ) -> "subprocess.CompletedProcess[str]":
        """What a command says that ends by itself."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**self._environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
        )

    @contextmanager
    def running(self, name: str, environ: Mapping[str, str]) -> Iterator["Terminal"]:
        """A file of the page that runs until it is killed."""
        command = self.command(name)
        printed = self.folder / f"{name}.printed"
        with printed.open("wb") as file:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self._environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        try:
            yield Terminal(process, printed)
        finally:
            process.kill()
            process.wait()


class Terminal:
    """A program that runs, and what it has printed."""

    def __init__(self, process: "subprocess.Popen[bytes]", printed: Path) -> None:
        self._process, self._printed = process, printed

    @property
    def lines(self) -> list[str]:
        """What it printed of events."""
        text = self._printed.read_text("utf-8")
        return [line for line in text.splitlines() if line.startswith("order.")]

    def until(self, done: Callable[[], bool]) -> None:
        """Wait for it; fails with what was printed, at once when the program has ended."""
        deadline = time.monotonic() + PATIENCE
        while not done():
            assert self._process.poll() is None, self._printed.read_text("utf-8")
            assert time.monotonic() < deadline, self._printed.read_text("utf-8")
            time.sleep(0.02)


class Shop:
    """A gateway that runs, its keys, and the shop that calls it."""

    def __init__(self, folder: Path) -> None:
        self.gateway = Gateway(folder, [])
        self._config = folder / "gateway.toml"
        text = self._config.read_text("utf-8")
        source = 'provider = "printstudio"\n'
        self._config.write_text(text.replace(source, f'{source}currency = "EUR"\n'), "utf-8")
        self._folder = folder
        asyncio.run(self.gateway.start())

    def key(self, role: str) -> str:
        """A key of a role, made when it is first wanted."""
        path = self._folder / f"{role}.key"
        if not path.exists():
            words = ("keys", "create", "--role", role, "--to", str(path))
            said = cli(*words, "--config", str(self._config))
            assert said.code == 0, said.error
        return path.read_text("ascii").strip()

    def environ(self, role: str) -> dict[str, str]:
        """What a consumer is told."""
        url = f"http://127.0.0.1:{self.gateway.port}"
        return {"GATEWAY_URL": url, "GATEWAY_KEY": self.key(role)}

    def call(self, request: str, role: str = "subscriber", body: object = None) -> Any:
        """What the API answers; null where that is not 2xx."""
        headers = {"Authorization": f"Bearer {self.key(role)}", "Content-Type": "application/json"}
        port = self.gateway.admin_port if role == "reader" else self.gateway.port
        sent = b"" if body is None else json.dumps(body).encode()
        answer = asyncio.run(ask(port, request, headers=headers, body=sent))
        return json.loads(answer.body or b"{}") if answer.status < 300 else None

    def tell(self, order: str) -> None:
        """The shop tells of a new order of 49.26, and that it was paid."""
        made = callback(order)
        body = made.body.replace(b'"orderId"', b'"total":49.26,"orderId"')
        self._post(body)
        self._post(callback(order, "order.paid", 2).body)

    def _post(self, body: bytes) -> None:
        digest = hmac.new(SECRET.encode(), body, "sha256").hexdigest()
        headers = {"X-PrintStudio-Signature": f"sha256={digest}"}
        sent = ask(self.gateway.port, "POST /hooks/shop", headers=headers, body=body)
        answer = asyncio.run(sent)
        assert answer.status == 200, answer.body
