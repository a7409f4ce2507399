"""Another master key: everything opens with it, nothing with the old one, whenever it is killed."""

import asyncio
import os
import random
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from gateway.cli.main import app
from gateway.errors import StartupError
from gateway.sealing import key_text, new_key
from gateway.stores.sqlite.lock import Owner
from gateway.stores.sqlite.renewal import renew
from gateway.stores.sqlite.sealed import sealed_values
from tests.acceptance.harness import Gateway
from tests.stores.test_sealed import check_whole as check
from tests.stores.test_sealed import fill_whole as fill
from tests.stores.test_sealed import frozen, opened, refused

SEALED = 6
"""Values that `fill` makes: two signing secrets, the headers, the URL, the handshake, a source."""
KILLS = 40  # at random moments


def values(path: Path) -> list[bytes]:
    """All that is sealed, as it is stored."""
    with closing(sqlite3.connect(path)) as connection:
        check = connection.execute("SELECT sealed FROM master").fetchone()[0]
        return [check, *(value for _, value in sealed_values(connection))]


def test_a_new_key_in_the_key_file(tmp_path: Path) -> None:
    path, file = tmp_path / "gateway.db", tmp_path / "gateway.db.key"
    opened(path, fill)
    old, before = file.read_bytes(), values(path)
    done = renew(path, key=None, to=None)
    assert (done.secrets, done.path, done.left) == (SEALED, file, None)
    assert file.read_bytes() != old
    assert file.stat().st_mode & 0o777 == 0o600
    opened(path, check)
    refused(path, key=old)
    assert len(before) == SEALED + 1
    assert not set(before) & set(values(path))
    everything = b"".join(frozen(tmp_path).values())
    assert [value for value in before if value in everything] == []


def test_a_new_key_for_the_environment(tmp_path: Path) -> None:
    path, file, to = (tmp_path / name for name in ("gateway.db", "gateway.db.key", "next.key"))
    opened(path, fill)
    done = renew(path, key=None, to=to)
    assert (done.secrets, done.path, done.left) == (SEALED, to, file)
    assert to.stat().st_mode & 0o777 == 0o600
    assert refused(path).startswith(f"the key in {file} is not the one")
    opened(path, check, key=to.read_bytes())
    third = tmp_path / "third.key"
    third.write_text(f"{key_text(new_key())}\n")  # one that the operator has made
    assert renew(path, key=to.read_bytes(), to=third).secrets == SEALED
    opened(path, check, key=third.read_bytes())
    refused(path, key=to.read_bytes())


def test_once_more_changes_nothing(tmp_path: Path) -> None:
    """As after a kill between the commit and the last word."""
    path, to = tmp_path / "gateway.db", tmp_path / "next.key"
    old = key_text(new_key()).encode()
    opened(path, fill, key=old)
    renew(path, key=old, to=to)
    before = frozen(tmp_path)
    assert renew(path, key=old, to=to).secrets == SEALED
    assert frozen(tmp_path) == before


def test_what_is_no_key_is_not_overwritten(tmp_path: Path) -> None:
    path, to = tmp_path / "gateway.db", tmp_path / "notes.txt"
    opened(path, fill)
    to.write_text("my notes\n")
    with pytest.raises(StartupError, match=r"notes\.txt holds no master key"):
        renew(path, key=None, to=to)
    assert to.read_text() == "my notes\n"
    with pytest.raises(StartupError, match="cannot be written"):
        renew(path, key=None, to=tmp_path / "nowhere" / "next.key")
    opened(path, check)


def test_not_while_a_gateway_runs(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    opened(path, fill)
    owner = Owner(path)
    owner.acquire()
    before = frozen(tmp_path)
    with pytest.raises(StartupError, match="in use by another gateway"):
        renew(path, key=None, to=None)
    assert frozen(tmp_path) == before
    owner.release()


@pytest.mark.slow
def test_killed_at_every_step_and_at_random(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    done = subprocess.run(
        (
            sys.executable,
            "-m",
            "tests.stores.killed_rotation",
            str(tmp_path),
            str(KILLS),
            str(seed),
        ),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, f"seed {seed}: {done.stderr}"
    steps, steps_to, keys = map(int, done.stdout.split())
    assert min(steps, steps_to) > 30, "a rotation has more steps than that"
    assert keys > 3, "the kills came before any rotation"


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What `gateway secrets rotate-master ARGUMENTS` prints."""
    app(["secrets", "rotate-master", *arguments], standalone_mode=False)
    return capsys.readouterr().out


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, to = tmp_path / "gateway.db", tmp_path / "next.key"
    monkeypatch.setenv("GATEWAY_STORE__URL", f"sqlite:///{path}")
    with pytest.raises(StartupError, match="is not there yet, so nothing is sealed"):
        command(capsys)
    assert list(tmp_path.iterdir()) == []
    opened(path, fill)
    assert command(capsys) == (
        f"{SEALED} secrets in {path} are sealed with the key in {path}.key.\n"
    )
    opened(path, check)
    assert command(capsys, "--to", str(to)) == (
        f"{SEALED} secrets in {path} are sealed with the key in {to}.\n"
        "Set GATEWAY_MASTER_KEY to it before the gateway starts: without it nothing opens.\n"
        f"{path}.key opens nothing but older copies of the database: take it away.\n"
    )
    monkeypatch.setenv("GATEWAY_MASTER_KEY", to.read_text("ascii").strip())
    with pytest.raises(StartupError, match="name a file for the new one with --to"):
        command(capsys)
    opened(path, check, key=to.read_bytes())


def test_the_command_beside_a_gateway_that_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = Gateway(tmp_path, [])
    asyncio.run(gateway.start())
    try:
        key = (tmp_path / "gateway.db.key").read_bytes()
        with pytest.raises(
            StartupError, match=rf"in use by another gateway \(process {gateway.pid}"
        ):
            command(capsys, "--config", str(tmp_path / "gateway.toml"))
        assert (tmp_path / "gateway.db.key").read_bytes() == key
    finally:
        gateway.kill()


def test_a_key_is_on_the_disk_before_anything_is_sealed_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, steps, fsync, replace = tmp_path / "gateway.db", [], os.fsync, os.replace

    def sealed_with() -> bytes:
        with closing(sqlite3.connect(path)) as connection:
            rows = connection.execute("SELECT sealed FROM master").fetchall()
        return rows[0][0][1:5] if rows else b""

    def syncing(descriptor: int) -> None:
        what = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        steps.append((what, sealed_with()))
        fsync(descriptor)

    def replacing(*arguments: Path) -> None:
        steps.append(("rename", sealed_with()))
        replace(*arguments)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "replace", replacing)
    opened(path)
    first = sealed_with()
    assert steps == [(what, b"") for what in ("file", "folder", "rename", "folder")]
    steps.clear()
    renew(path, key=None, to=None)
    second = sealed_with()
    assert first != second
    assert steps == [("file", first), ("folder", first), ("rename", second), ("folder", second)]
    steps.clear()
    renew(path, key=None, to=tmp_path / "next.key")
    assert steps == [(what, second) for what in ("file", "folder", "rename", "folder")]
