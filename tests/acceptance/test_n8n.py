"""The n8n node as a package: built and linted by n8n's own tool, and tried with a gateway that runs.

The tools are installed into `integrations/n8n/node_modules` by the lock file that stands there.
"""

import asyncio
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.harness import Gateway
from tests.acceptance.load import SECRET

FOLDER = Path(__file__).parents[2] / "integrations" / "n8n"
PACKAGE = FOLDER / "n8n-nodes-webhook-gateway"
LOCK = FOLDER / "package-lock.json"
INSTALLED = FOLDER / "node_modules" / ".package-lock.json"
CI = os.environ.get("CI") == "true"
PATIENCE = 500.0  # seconds, for all that is fetched and built

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(
    *command: str, folder: Path = FOLDER, environ: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """A command of Node's; its output and its errors as one text."""
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1", **(environ or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture(scope="module")
def tools() -> None:
    """What the lock file names is installed. Where Node is, only CI insists that it can be."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("THE N8N NODE IS NOT TESTED: node and npm are not installed here")
    if INSTALLED.exists() and INSTALLED.stat().st_mtime >= LOCK.stat().st_mtime:
        return
    done = run("npm", "ci", "--no-audit", "--no-fund")
    if done.returncode == 0:
        return
    why = "\n".join(done.stdout.splitlines()[-20:])
    if CI:
        pytest.fail(f"npm ci failed:\n{why}")
    pytest.skip(f"THE N8N NODE IS NOT TESTED: npm ci failed (no network?):\n{why}")


@pytest.fixture(scope="module")
def built(tools: None) -> Path:
    """The package's `dist`, freshly built."""
    done = run("npm", "run", "build")
    assert done.returncode == 0, done.stdout
    return PACKAGE / "dist"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Where a gateway is, and a key to subscribe with, as the tests in Node are told of them."""
    gateway = Gateway(tmp_path, [])
    asyncio.run(gateway.start())
    try:
        key = tmp_path / "n8n.key"
        asyncio.run(gateway.run("keys", "create", "--role", "subscriber", "--to", str(key)))
        yield {
            "GATEWAY_URL": f"http://127.0.0.1:{gateway.port}",
            "GATEWAY_KEY": key.read_text("ascii").strip(),
            "SHOP_SECRET": SECRET,
        }
    finally:
        gateway.kill()


def test_it_lints_as_n8n_wants_it(tools: None) -> None:
    """In its strict mode, which is what a package has to pass to be verified."""
    manifest = json.loads((PACKAGE / "package.json").read_text("utf-8"))
    assert manifest["n8n"]["strict"] is True
    done = run("npm", "run", "lint")
    assert done.returncode == 0, done.stdout
    assert "warning" not in done.stdout.replace("npm warn", "")


def test_it_packs_what_n8n_loads(built: Path, tmp_path: Path) -> None:
    done = run("npm", "pack", "--pack-destination", str(tmp_path), folder=PACKAGE)
    assert done.returncode == 0, done.stdout
    (file,) = tmp_path.glob("*.tgz")
    with tarfile.open(file) as archive:
        names = {member.name.removeprefix("package/") for member in archive}
        packed = archive.extractfile("package/package.json")
        assert packed is not None
        manifest: dict[str, Any] = json.load(packed)
    assert {*manifest["n8n"]["nodes"], *manifest["n8n"]["credentials"]} <= names
    assert {"dist/icons/gateway.svg", "dist/icons/gateway.dark.svg", "README.md"} <= names
    assert not any(name.endswith(".ts") and not name.endswith(".d.ts") for name in names)
    # What would run or be fetched when a shop installs it.
    assert {"dependencies", "overrides", "bundledDependencies"}.isdisjoint(manifest)
    assert {"preinstall", "install", "postinstall", "prepare"}.isdisjoint(manifest["scripts"])


def test_it_subscribes_verifies_and_unsubscribes(built: Path, served: dict[str, str]) -> None:
    done = run("npm", "test", environ=served)
    assert done.returncode == 0, done.stdout
    assert "# fail 0" in done.stdout
    assert "# skipped 0" in done.stdout
