"""`gateway doctor`: beside a gateway that runs and without one, over real files and sockets."""

import asyncio
import hashlib
import json
import os
import pty
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.harness import Gateway
from tests.acceptance.shell import run
from tests.acceptance.test_look import CONSUMER
from tests.ports import free_port

pytestmark = pytest.mark.slow

CANARY = "a-canary-of-a-secret"


class Patient:
    """A gateway in a folder, its configuration, and who listens for its subscription `good`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.gateway = folder, Gateway(folder, [])
        self.config = folder / "gateway.toml"
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.good = self.listener.getsockname()[1]
        self.closed = free_port()
        self.configure()

    def configure(self, more: str = "") -> None:
        port, admin, good = self.gateway.port, self.gateway.admin_port, self.good
        secret = f'secrets = ["{CONSUMER}"]'
        self.config.write_text(
            f'store.url = "sqlite:///{self.gateway.database}"\n'
            f"[server]\nport = {port}\n[admin]\nport = {admin}\n"
            f'[egress]\nallow = ["127.0.0.1/32:{good}", "127.0.0.1/32:{self.closed}"]\n'
            f'[sources.shop]\nprovider = "printstudio"\nsecrets = ["{CANARY}"]\n'
            f'[subscriptions.good]\nurl = "http://127.0.0.1:{good}/{CANARY}?t={CANARY}"\n{secret}\n'
            + more
        )
        self.config.chmod(0o600)

    def doctor(self, *arguments: str, code: int = 0) -> dict[str, list[dict[str, Any]]]:
        """The findings by their check."""
        said = run("doctor", "--json", "--config", str(self.config), *arguments)
        assert CANARY not in said.text + said.error
        assert CONSUMER not in said.text
        assert said.code == code, said.text + said.error
        found: dict[str, list[dict[str, Any]]] = {}
        for one in json.loads(said.text):
            found.setdefault(one["check"], []).append(one)
        return found

    def state(self, found: Mapping[str, list[dict[str, Any]]], check: str) -> str:
        (one,) = found[check]
        return str(one["state"])

    def files(self) -> dict[str, str]:
        """All that lies in the folder, but the index of the log, which is no content."""
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.folder.iterdir()
            if path.is_file() and not path.name.endswith(("-shm", ".log"))
        }


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Patient]:
    patient = Patient(tmp_path)
    try:
        yield patient
    finally:
        patient.gateway.kill()
        patient.listener.close()


def worst(found: Mapping[str, list[dict[str, Any]]]) -> dict[str, str]:
    """What is not well."""
    return {
        check: one["state"]
        for check, all_of in found.items()
        for one in all_of
        if one["state"] != "ok"
    }


def test_without_a_configuration_and_without_a_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for key, port in (("SERVER", free_port()), ("ADMIN", free_port())):
        monkeypatch.setenv(f"GATEWAY_{key}__PORT", str(port))
    said = run("doctor")
    assert said.code == 0, said.text
    assert "All is well." in said.text or "warning" in said.text
    assert "`gateway serve` makes it" in said.text
    assert list(tmp_path.iterdir()) == []


def test_a_gateway_that_runs_is_well_and_is_left_alone(patient: Patient) -> None:
    asyncio.run(patient.gateway.start())
    before = patient.files()
    found = patient.doctor()
    assert worst(found) == {}
    assert found["gateway"][0]["found"] == "it runs and is ready"
    for port in ("server.port", "admin.port"):
        assert found[port][0]["found"].endswith("is the gateway's, and answers")
    assert "without TLS" in found["subscription good"][0]["found"]
    assert {"gateway.db", "gateway.db-wal"} < set(before)
    changed = {name for name, was in patient.files().items() if was != before.get(name)}
    assert changed <= {"gateway.db-wal"}  # the gateway's own heartbeat of /readyz
    patient.listener.settimeout(0.5)
    connection, _ = patient.listener.accept()
    with pytest.raises(TimeoutError):
        patient.listener.accept()
    with connection:
        connection.settimeout(5)
        assert connection.recv(100) == b""  # connected, and nothing was sent
    assert asyncio.run(patient.gateway.stop()) == 0


@pytest.mark.slow
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_nothing_changes_when_none_runs(patient: Patient, end: str) -> None:
    """Also the log of one that was killed stays as it is, though what is in it is read."""

    async def live() -> None:
        await patient.gateway.start()
        if end == "stop":
            await patient.gateway.stop()
        else:
            patient.gateway.kill()

    asyncio.run(live())
    before = patient.files()
    assert ("gateway.db-wal" in before) is (end == "kill")
    found = patient.doctor()
    assert patient.files() == before
    assert worst(found) == {}
    assert found["gateway"][0]["found"] == "none runs on this database"
    assert patient.state(found, "server.port") == "ok"
    assert patient.state(found, "integrity") == "ok"


def test_each_failure_of_a_subscription_has_its_advice(patient: Patient) -> None:
    secret = f'secrets = ["{CONSUMER}"]'
    patient.configure(
        f'[subscriptions.down]\nurl = "http://127.0.0.1:{patient.closed}/"\n{secret}\n'
        f'[subscriptions.name]\nurl = "http://nowhere.invalid/{CANARY}"\n{secret}\n'
        f'[subscriptions.local]\nurl = "http://localhost:{patient.closed + 1}/"\n{secret}\n'
        f'[subscriptions.tls]\nurl = "https://127.0.0.1:{patient.closed}/"\n{secret}\n'
        f'[subscriptions.off]\nurl = "http://nowhere.invalid/"\nenabled = false\n{secret}\n'
    )
    found = patient.doctor(code=1)
    assert "subscription off" not in found
    words = {
        "down": ("connect: No connection to 127.0.0.1", "subscriptions.down.url"),
        "name": ("dns: The name nowhere.invalid", "subscriptions.name.url"),
        "local": ("forbidden: localhost is", "egress.allow"),
        "tls": ("connect: ", "subscriptions.tls.url"),
    }
    for name, (said, advice) in words.items():
        (one,) = found[f"subscription {name}"]
        assert one["state"] == "problem"
        assert said in one["found"]
        assert advice in one["advice"]
    left = patient.doctor("--offline")
    assert not [check for check in left if check.startswith("subscription")]


def test_a_subscription_that_speaks_no_tls(patient: Patient) -> None:
    async def scene() -> dict[str, list[dict[str, Any]]]:
        async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(plain, "127.0.0.1", patient.closed):
            return await asyncio.to_thread(patient.doctor, code=1)

    patient.configure(
        f'[subscriptions.tls]\nurl = "https://127.0.0.1:{patient.closed}/"\n'
        f'secrets = ["{CONSUMER}"]\n'
    )
    (one,) = asyncio.run(scene())["subscription tls"]
    assert one["found"].startswith("tls: ")
    assert "SSL_CERT_FILE" in one["advice"]


@pytest.mark.slow
def test_a_subscription_of_the_store_is_tried_too(patient: Patient) -> None:
    asyncio.run(patient.gateway.start())
    url = f"http://127.0.0.1:{patient.closed}/{CANARY}"
    said = run(
        *("subscriptions", "add", "made", f"url={url}", "--config", str(patient.config)),
        *("--secret-file", str(patient.folder / "made.secret")),
    )
    assert said.code == 0, said.error
    found = patient.doctor(code=1)
    assert worst(found) == {"subscription made": "problem"}


@pytest.mark.slow
def test_what_is_paused_is_told(patient: Patient) -> None:
    asyncio.run(patient.gateway.start())
    for command, name in (("subscriptions", "good"), ("sources", "shop")):
        run(command, "pause", name, "--config", str(patient.config))
    for running in (True, False):
        found = patient.doctor("--offline")
        for check, what in (("subscription good", "subscriptions"), ("source shop", "sources")):
            (one,) = found[check]
            assert one["state"] == "warning"
            assert f"gateway {what} resume" in one["advice"]
        if running:
            assert asyncio.run(patient.gateway.stop()) == 0


def test_the_pause_of_a_source_that_is_no_more_is_not_told(patient: Patient) -> None:
    config = ("--config", str(patient.config))
    asyncio.run(patient.gateway.start())
    assert run("sources", "add", "pay", "provider=stripe", "secrets=a-secret", *config).code == 0
    for name in ("shop", "pay"):
        assert run("sources", "pause", name, *config).code == 0
    assert asyncio.run(patient.gateway.stop()) == 0
    text = patient.config.read_text()
    patient.config.write_text(text.replace("[sources.shop]", "[sources.other]"))
    assert run("sources", "resume", "shop", *config).code == 1  # so nobody is to be sent there
    found = patient.doctor("--offline")
    assert ("source shop" in found, found["source pay"][0]["state"]) == (False, "warning")


def test_a_subscription_that_is_pulled_is_connected_to_by_nobody(patient: Patient) -> None:
    """Whether the file declares it or a command added it, and where the file is not good."""
    patient.configure("[subscriptions.fetched]\npull = true\n")
    asyncio.run(patient.gateway.start())
    config = ("--config", str(patient.config))
    assert run("subscriptions", "add", "made", "pull=true", *config).code == 0
    for more, state in (("", {}), ("[nonsense]\n", {"configuration": "problem"})):
        patient.config.write_text(patient.config.read_text() + more)
        found = patient.doctor(code=int(bool(state)))
        assert worst(found) == state
        named = [check for check in found if check.startswith("subscription")]
        assert named == ["subscription good"]
    assert asyncio.run(patient.gateway.stop()) == 0


def test_a_port_of_another_and_a_gateway_of_another(patient: Patient, tmp_path: Path) -> None:
    asyncio.run(patient.gateway.start())
    beside = tmp_path / "beside"
    beside.mkdir()
    other = beside / "gateway.toml"
    text = patient.config.read_text().replace(str(patient.gateway.database), str(beside / "x.db"))
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        other.write_text(text.replace(f"port = {patient.gateway.port}", f"port = {port}"))
        other.chmod(0o600)
        patient.config = other
        mute = asyncio.run(_closing(stranger, patient))
    assert "another program" in mute["server.port"][0]["found"]
    assert "a gateway with another database" in mute["admin.port"][0]["found"]


async def _closing(stranger: socket.socket, patient: Patient) -> dict[str, list[dict[str, Any]]]:
    """The findings, beside a listener that answers with what is no HTTP."""

    async def rude(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    async with await asyncio.start_server(rude, sock=stranger.dup()):
        return await asyncio.to_thread(patient.doctor, code=1)


@pytest.mark.slow
def test_files_that_others_may_read_and_a_bad_configuration(patient: Patient) -> None:
    asyncio.run(patient.gateway.start())
    asyncio.run(patient.gateway.stop())
    patient.gateway.database.chmod(0o644)
    found = patient.doctor()
    assert worst(found) == {"database": "warning"}
    patient.config.write_text(patient.config.read_text() + "nonsense = 1\n")
    found = patient.doctor(code=1)
    assert "nonsense" in found["configuration"][0]["found"]
    assert "subscription good" in found  # as the database knows it of the last start


@pytest.mark.slow
def test_a_damaged_database_and_a_foreign_one(patient: Patient) -> None:
    asyncio.run(patient.gateway.start())
    asyncio.run(patient.gateway.stop())
    database = patient.gateway.database
    whole = database.read_bytes()
    with closing(sqlite3.connect(database)) as connection, connection:
        root = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'subscriptions'"
        ).fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.close()
    damaged = bytearray(whole)
    damaged[root * size - 200 : root * size] = b"\xff" * 200
    database.write_bytes(damaged)
    found = patient.doctor("--offline", code=1)
    assert "problem" in {
        one["state"] for check in ("database", "integrity") for one in found.get(check, [])
    }
    database.write_bytes(b"no database at all" * 100)
    found = patient.doctor("--offline", code=1)
    assert worst(found) == {"database": "problem"}
    assert "file is not a database" in found["database"][0]["found"]


@pytest.mark.slow
def test_a_person_sees_a_table(patient: Patient) -> None:
    """On a terminal: coloured, and with progress; through a pipe: neither."""
    command = (sys.executable, "-m", "gateway", "doctor", "--config", str(patient.config))
    master, slave = pty.openpty()
    with os.fdopen(master, "rb", buffering=0) as reading:
        process = subprocess.Popen(
            command, stdout=slave, stderr=slave, stdin=slave, env={**os.environ, "TERM": "xterm"}
        )
        os.close(slave)
        shown = b""
        try:
            while part := reading.read(4096):
                shown += part
        except OSError:
            pass  # the terminal's other end is closed
        assert process.wait(60) == 0
    assert b"checking" in shown
    assert b"\x1b[32mok" in shown
    done = subprocess.run(
        command, capture_output=True, env={**os.environ, "FORCE_COLOR": "1"}, timeout=60, check=True
    )
    assert b"\x1b" not in done.stdout
    assert b"checking" not in done.stdout + done.stderr
    assert done.stdout.startswith(b"state")
