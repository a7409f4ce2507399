"""`gateway keys`, beside a gateway that runs and without one; and the admin key of the first start."""

import asyncio
import json
import os
import pty
import re
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.keys import digest_of, parse_key
from tests.acceptance.harness import DidNotStart, Gateway

KEY = re.compile(r"gwk_[a-z2-7]{8}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}")
ID = re.compile(r"^Key ([a-z2-7]{8}) has the role (\w+)", re.MULTILINE)


class Place:
    """A folder with a configuration; `run` is the operator at its shell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gateway = Gateway(folder, [])
        self.admin_key = folder / "gateway.db.admin-key"

    def start(self) -> None:
        asyncio.run(self.gateway.start())

    def stop(self) -> None:
        assert asyncio.run(self.gateway.stop()) == 0

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            (sys.executable, "-m", "gateway", "keys", *arguments),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def run(self, *arguments: str) -> str:
        """What `gateway keys ARGUMENTS` prints into a pipe."""
        done = self.command(*arguments)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    def refused(self, *arguments: str) -> str:
        done = self.command(*arguments)
        assert done.returncode in {1, 2}
        assert done.stdout == ""
        return done.stderr

    def list(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self.run("list", "--json"))
        return rows

    def holds(self, key: str) -> bool:
        """Whether the database has this very key, not revoked."""
        parsed = parse_key(key)
        assert parsed is not None
        connection = sqlite3.connect(self.gateway.database)
        try:
            rows = connection.execute(
                "SELECT digest FROM keys WHERE id = ? AND revoked_at IS NULL", (parsed.id,)
            ).fetchall()
        finally:
            connection.close()
        return rows == [(digest_of(parsed.secret),)]

    def canary(self, *keys: str) -> None:
        """None of these keys is in the database, its log, or the log of the process."""
        paths = [*self.folder.glob("gateway.db"), *self.folder.glob("gateway.db-*")]
        kept = b"".join(path.read_bytes() for path in [*paths, self.gateway.log])
        assert len(kept) > 10_000
        for key in keys:
            assert key.split("_")[2].encode() not in kept


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    try:
        yield place
    finally:
        place.gateway.kill()


def on_terminal(command: Sequence[str], folder: Path, *, stream: str) -> tuple[int, str]:
    """Run something with one stream at a terminal; its exit code, and what the terminal shows.

    A gateway is told to stop when it is ready.
    """
    leader, follower = pty.openpty()
    out, err = (follower if stream == name else None for name in ("stdout", "stderr"))
    with subprocess.Popen(
        command, cwd=folder, stdout=out or subprocess.DEVNULL, stderr=err or subprocess.DEVNULL
    ) as process:
        os.close(follower)
        output, stopping = b"", False
        try:
            while chunk := os.read(leader, 65536):
                output += chunk
                if b"INFO gateway: ready" in output and not stopping:
                    stopping = True
                    process.send_signal(signal.SIGTERM)
        except OSError:
            pass  # Linux says EIO when the last writer is gone
        os.close(leader)
        return process.wait(60), output.decode()


@pytest.mark.slow
def test_keys_are_made_shown_and_revoked(place: Place) -> None:
    place.start()
    said = place.run("create", "--role", "publisher", "--name", "the ERP", "--expires", "90d")
    found = ID.match(said)
    assert found is not None
    assert found[2] == "publisher"
    path = place.folder / "publisher.secret"
    assert f"is in {path.name}" in said
    assert KEY.search(said) is None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = path.read_text().strip()
    assert KEY.fullmatch(key)
    assert key.startswith(f"gwk_{found[1]}_")
    assert place.holds(key)
    row, first = place.list()
    assert (row["id"], row["role"], row["name"]) == (found[1], "publisher", "the ERP")
    assert first["role"] == "admin"
    table = place.run("list")
    assert re.search(rf"^{found[1]} +publisher +active .* the ERP$", table, re.MULTILINE)
    for _ in range(2):
        assert place.run("revoke", found[1]) == (
            f"Key {found[1]} is revoked: it opens nothing any more.\n"
        )
    assert re.search(rf"^{found[1]} +publisher +revoked ", place.run("list"), re.MULTILINE)
    assert not place.holds(key)
    place.canary(key, place.admin_key.read_text().strip())


@pytest.mark.slow
def test_without_a_gateway_it_is_done_on_the_store(place: Place) -> None:
    assert "is not there yet" in place.refused("create", "--role", "reader")
    assert not list(place.folder.glob("*.secret"))
    place.start()
    place.stop()
    place.run("create", "--role", "reader", "--to", "mine.secret")
    key = (place.folder / "mine.secret").read_text().strip()
    assert place.holds(key)
    assert [row["role"] for row in place.list()] == ["reader", "admin"]
    # Whoever found a key where it should not be has the whole of it.
    assert key not in place.run("revoke", key)
    assert not place.holds(key)
    place.canary(key)


def test_a_terminal_is_shown_the_key_once(place: Place) -> None:
    place.start()
    command = (sys.executable, "-m", "gateway", "keys", "create", "--role", "subscriber")
    code, said = on_terminal(command, place.folder, stream="stdout")
    assert code == 0
    (key,) = KEY.findall(said)
    assert place.holds(key)
    assert list(place.folder.glob("*.secret")) == []
    code, said = on_terminal((*command[:4], "list"), place.folder, stream="stdout")
    assert (code, key.split("_")[1] in said, KEY.search(said)) == (0, True, None)


@pytest.mark.slow
def test_refusals_change_nothing_and_leave_no_file(place: Place) -> None:
    place.start()
    before = place.list()
    mine = place.folder / "mine.secret"
    mine.write_text("kept")
    reader = ("create", "--role", "reader")
    assert "with --to" in place.refused(*reader, "--to", "mine.secret")
    assert mine.read_text() == "kept"
    assert "--expires: expected a time" in place.refused(*reader, "--expires", "soon")
    assert "a time to come" in place.refused(*reader, "--expires", "0s")
    assert "name: expected" in place.refused(*reader, "--name", "two\nlines")
    assert "operator" in place.refused("create", "--role", "root")
    assert "there is no key aaaaaaaa" in place.refused("revoke", "aaaaaaaa")
    assert "half-a-secret" not in place.refused("revoke", "gwk_half-a-secret")
    assert place.list() == before
    assert [path.name for path in place.folder.glob("*.secret")] == ["mine.secret"]


@pytest.mark.slow
def test_an_empty_list_says_what_to_do(place: Place) -> None:
    place.start()
    place.stop()
    connection = sqlite3.connect(place.gateway.database)
    with connection:
        connection.execute("DELETE FROM keys")
    connection.close()
    assert "gateway keys create --role ROLE" in place.run("list")
    assert place.list() == []


def test_the_first_start_makes_an_admin_key(place: Place) -> None:
    place.start()
    assert stat.S_IMODE(place.admin_key.stat().st_mode) == 0o600
    key = place.admin_key.read_text().strip()
    assert KEY.fullmatch(key)
    assert place.holds(key)
    log = place.gateway.log.read_text()
    assert f"the admin key of the API is in {place.admin_key}" in log
    (row,) = place.list()
    assert (row["role"], row["name"]) == ("admin", "made at the first start")
    assert row["id"] == key.split("_")[1]
    place.canary(key)

    # Only the first one: not even when there is none any more, for somebody wanted it so.
    place.run("revoke", row["id"])
    place.stop()
    place.admin_key.unlink()
    place.start()
    assert not place.admin_key.exists()
    assert len(place.list()) == 1


def test_what_a_broken_start_left_is_replaced(place: Place) -> None:
    place.admin_key.write_text("of another database")
    place.admin_key.chmod(0o644)
    half = place.admin_key.with_name(place.admin_key.name + ".new")
    half.write_text("half")
    half.chmod(0o644)
    place.start()
    assert stat.S_IMODE(place.admin_key.stat().st_mode) == 0o600
    assert place.holds(place.admin_key.read_text().strip())
    assert not half.exists()


@pytest.mark.slow
def test_a_place_where_the_key_cannot_be_put(place: Place) -> None:
    place.admin_key.mkdir()
    with pytest.raises(DidNotStart) as refused:
        place.start()
    code, last = re.split(r"\n", str(refused.value))[0], str(refused.value).splitlines()[-1]
    assert code == "exit 2"
    assert last == f"gateway: {place.admin_key} cannot be written: Is a directory"
    assert "Traceback" not in str(refused.value)
    place.admin_key.rmdir()
    place.start()
    assert place.holds(place.admin_key.read_text().strip())


def test_a_terminal_is_shown_the_first_key(place: Place) -> None:
    """Standard error at a terminal; at the next start it is not shown, nor made, again."""
    command = (sys.executable, "-m", "gateway", "serve", "--config", "gateway.toml")
    code, said = on_terminal(command, place.folder, stream="stderr")
    assert code == 0, said
    (key,) = KEY.findall(said)
    assert place.holds(key)
    assert not place.admin_key.exists()
    code, said = on_terminal(command, place.folder, stream="stderr")
    assert (code, KEY.findall(said)) == (0, [])


@pytest.mark.slow
def test_a_database_of_before_gets_one_at_its_next_start(place: Place) -> None:
    place.start()
    place.stop()
    place.admin_key.unlink()
    connection = sqlite3.connect(place.gateway.database)
    with connection:
        connection.execute("DELETE FROM keys")
    connection.close()
    place.run("create", "--role", "operator")
    place.start()
    assert place.holds(place.admin_key.read_text().strip())
    assert [row["role"] for row in place.list()] == ["admin", "operator"]
