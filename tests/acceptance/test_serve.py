"""How the gateway starts, refuses to start in one sentence, and stops."""

import asyncio
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from gateway.config.load import load
from gateway.signing import generate_secret
from gateway.stores.migrate import APPLICATION_ID
from tests.acceptance.harness import Gateway
from tests.ports import free_port

GATEWAY = (sys.executable, "-m", "gateway")
PATIENCE = 60.0  # seconds

GOOD = """\
[sources.shop]
provider = "printstudio"
secrets = ["${SHOP_SECRET}"]
"""


def environment(folder: Path, **extra: str) -> dict[str, str]:
    """The environment of an operator whose gateway takes free ports and a file in `folder`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GATEWAY_")}
    ports = {"GATEWAY_SERVER__PORT": str(free_port()), "GATEWAY_ADMIN__PORT": str(free_port())}
    # Where the tests run from may be the only place that `gateway` can be imported from.
    return kept | ports | {"PYTHONPATH": str(Path(__file__).parents[2])} | extra


def run(
    arguments: Sequence[str], folder: Path, environ: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (*GATEWAY, *arguments),
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def refusal(arguments: Sequence[str], folder: Path, **extra: str) -> str:
    """The one sentence with which a command ends, exit 2."""
    done = run(arguments, folder, environment(folder, **extra))
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("gateway: ")
    return done.stderr.removeprefix("gateway: ").strip()


def answers(port: str, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that serves all through this module."""
    gateway = Gateway(tmp_path_factory.mktemp("serve"), [])
    asyncio.run(gateway.start())
    yield gateway
    assert asyncio.run(gateway.stop()) == 0


# Start and stop.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_starts_without_configuration_and_stops_on_signal(
    tmp_path: Path, number: signal.Signals
) -> None:
    environ = environment(tmp_path)
    process = subprocess.Popen(
        (*GATEWAY, "serve"),
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while not answers(environ["GATEWAY_ADMIN__PORT"], "/readyz"):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert answers(environ["GATEWAY_SERVER__PORT"], "/healthz")
        assert (tmp_path / "gateway.db.sock").is_socket()
        process.send_signal(number)
        output, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert not (tmp_path / "gateway.db.sock").exists()
    address = f"http://127.0.0.1:{environ['GATEWAY_SERVER__PORT']}"
    assert f"Listening on {address}; callbacks go to {address}/hooks/SOURCE" in output
    assert f"Database {tmp_path.resolve() / 'gateway.db'}" in output
    assert "[sources.stripe-live]" in output
    assert "Documentation: " in output


def first_words(folder: Path, *arguments: str, **extra: str) -> str:
    """What `gateway serve` prints before it is stopped."""
    environ = environment(folder, **extra)
    with subprocess.Popen(
        (*GATEWAY, "serve", *arguments),
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Documentation: "):
                break
        while process.poll() is None and not answers(environ["GATEWAY_ADMIN__PORT"], "/readyz"):
            time.sleep(0.05)
        process.terminate()
        assert process.wait(PATIENCE) == 0
    return "".join(lines)


def test_first_words_without_configuration_lead_to_one_that_works(tmp_path: Path) -> None:
    said = first_words(tmp_path)
    tables = "\n".join(line for line in said.splitlines() if line.startswith("    "))
    (tmp_path / "gateway.toml").write_text(tables)
    settings = load(
        tmp_path / "gateway.toml",
        {"STRIPE_WEBHOOK_SECRET": "x", "FULFILMENT_SECRET": generate_secret()},
    )
    assert (len(settings.sources), len(settings.subscriptions)) == (1, 1)
    assert "run `" in said
    assert f"{Path(sys.executable).name} -m gateway serve --config gateway.toml`" in said
    named = re.findall(r"/\S+\.(?:md|toml)", said.partition("Documentation: ")[2])
    assert [Path(one).name for one in named] == ["README.md", "config.example.toml"]
    assert all(Path(one).is_file() for one in named)


def test_first_words_tell_what_is_configured_but_no_path_of_a_url(tmp_path: Path) -> None:
    off = GOOD.replace("shop]", "old]") + "enabled = false\n"
    wanted = f"""[subscriptions.in]
url = "https://example.com/webhook/token"
secrets = ["{generate_secret()}"]
"""
    (tmp_path / "shop.toml").write_text(GOOD + off)
    said = first_words(tmp_path, "-c", "shop.toml", SHOP_SECRET="x")
    assert re.search(r"^Source shop: POST http://127.0.0.1:\d+/hooks/shop$", said, re.MULTILINE)
    assert "\nSource old: disabled\n" in said
    assert "No sources yet" not in said
    assert "Write one into shop.toml, as in\n    [subscriptions." in said
    (tmp_path / "shop.toml").write_text(GOOD + wanted)
    said = first_words(tmp_path, "-c", "shop.toml", SHOP_SECRET="x")
    told = "Subscription in: order.* to https://example.com:443 (profile n8n, mode json)"
    assert told in said.splitlines()
    assert "yet" not in said
    assert "token" not in said


def test_second_gateway_on_one_file_is_refused(running: Gateway, tmp_path: Path) -> None:
    url = f"sqlite:///{running.database}"
    sentence = refusal(["serve"], tmp_path, GATEWAY_STORE__URL=url)
    assert sentence.startswith(
        f"{running.database} is in use by another gateway (process {running.pid})"
    )
    assert running.database.with_name("gateway.db.sock").is_socket()
    assert answers(str(running.admin_port), "/readyz")


@pytest.mark.parametrize("listener", ["server", "admin"])
def test_busy_port_is_refused(tmp_path: Path, listener: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        sentence = refusal(["serve"], tmp_path, **{f"GATEWAY_{listener.upper()}__PORT": str(port)})
    assert sentence.startswith(f"{listener}.port: 127.0.0.1:{port} is in use by another program")
    assert list(tmp_path.iterdir()) == []


# Files that cannot be the database.


def foreign(path: Path, *, application: int, version: int) -> None:
    """A database that this gateway did not make."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
        connection.execute(f"PRAGMA application_id = {application}")
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()


@pytest.mark.parametrize(
    ("application", "version", "words"),
    [
        (0, 0, "is a database of another program"),
        (1234, 1, "is a database of another program"),
        (APPLICATION_ID, 9999, "has schema 9999, and this gateway knows schemas up to"),
    ],
)
def test_foreign_or_newer_database_is_refused_and_unchanged(
    tmp_path: Path, application: int, version: int, words: str
) -> None:
    path = tmp_path / "gateway.db"
    foreign(path, application=application, version=version)
    before = path.read_bytes()
    assert words in refusal(["serve"], tmp_path)
    assert path.read_bytes() == before
    assert not (tmp_path / "gateway.db.sock").exists()


def test_other_file_is_refused_and_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    path.write_text("Dear diary, " * 100)
    assert "is not a SQLite database" in refusal(["serve"], tmp_path)
    assert path.read_text() == "Dear diary, " * 100


def test_database_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sentence = refusal(["serve"], tmp_path, GATEWAY_STORE__URL="sqlite:///file/gateway.db")
    assert "there is no folder" in sentence
    assert "store.url" in sentence


def test_database_in_no_folder_is_refused(tmp_path: Path) -> None:
    sentence = refusal(["serve"], tmp_path, GATEWAY_STORE__URL="sqlite:///none/gateway.db")
    assert "there is no folder" in sentence
    assert "store.url" in sentence


def test_unwritable_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("this user may write everywhere")
    assert "store.url" in refusal(["serve"], tmp_path)


# Configurations.


def test_check_shows_a_good_configuration_without_its_secrets(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text(GOOD)
    environ = environment(tmp_path, SHOP_SECRET="hunter22", GATEWAY_CONFIG="gateway.toml")
    done = run(["check"], tmp_path, environ)
    counted = "sources: 1, subscriptions: 0"
    assert (done.returncode, done.stderr) == (0, f"gateway.toml is good; {counted}.\n")
    assert f"server.port = {environ['GATEWAY_SERVER__PORT']}\n" in done.stdout
    assert 'sources.shop.provider = "printstudio"\n' in done.stdout
    assert "hunter22" not in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["gateway.toml"]


def test_the_configuration_of_the_folder_is_read_when_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text(GOOD)
    done = run(["check"], tmp_path, environment(tmp_path, SHOP_SECRET="hunter22"))
    assert done.stderr == "gateway.toml is good; sources: 1, subscriptions: 0.\n"
    (tmp_path / "gateway.toml").unlink()
    done = run(["check"], tmp_path, environment(tmp_path))
    assert done.stderr.startswith("Without a configuration all is default; sources: 0")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (GOOD, "sources.shop.secrets"),  # the variable is not set
        ('server.host = "x\\u001b[2J"', "server.host"),
        ("server.port = ", "gateway.toml"),
    ],
)
def test_bad_configuration_is_refused(tmp_path: Path, text: str, path: str) -> None:
    (tmp_path / "gateway.toml").write_text(text)
    sentence = refusal(["check", "--config", "gateway.toml"], tmp_path)
    assert path in sentence
    assert "\x1b" not in sentence


def test_serve_refuses_what_check_refuses(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text("server.prot = 1")
    said = [refusal([name, "-c", "gateway.toml"], tmp_path) for name in ("check", "serve")]
    assert said[0] == said[1]


def test_unreadable_configuration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(GOOD)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")
    said = refusal(["check", "--config", str(path)], tmp_path)
    assert said == f"{path}: cannot read the configuration: Permission denied"


def test_missing_configuration_is_refused(tmp_path: Path) -> None:
    assert "none.toml" in refusal(["check", "--config", "none.toml"], tmp_path)
