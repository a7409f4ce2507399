"""What `gateway doctor` finds on a machine, from what it looks at."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.cli import checks, checks_live
from gateway.cli.checks_live import Place
from gateway.cli.checkup import places, read_setup
from gateway.cli.findings import Finding, State, in_thread, sized
from gateway.dispatcher import IN_FLIGHT
from gateway.models import Millis
from gateway.stores.upkeep import Examined, Standing

GIB = 1 << 30
NOW = Millis(1_700_000_000_000)
OK, WARNING, PROBLEM = State.OK, State.WARNING, State.PROBLEM
SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


def states(found: Iterator[Finding] | list[Finding]) -> list[State]:
    return [one.state for one in found]


def disk(*, free: int, files: int = 10**6, left: int = 10**6) -> Callable[[Path], SimpleNamespace]:
    return lambda _: SimpleNamespace(
        f_bavail=free // 4096, f_frsize=4096, f_files=files, f_favail=left
    )


@pytest.mark.parametrize(
    ("free", "database", "left", "expected"),
    [
        (10 * GIB, GIB, 10**6, [OK, OK]),
        (10 * GIB, 6 * GIB, 10**6, [WARNING, OK]),
        (GIB - 4096, 0, 10**6, [WARNING, OK]),
        (1 << 20, 0, 10**6, [PROBLEM, OK]),
        (10 * GIB, 0, 10, [OK, WARNING]),
    ],
)
def test_disk(
    monkeypatch: pytest.MonkeyPatch, free: int, database: int, left: int, expected: list[State]
) -> None:
    monkeypatch.setattr(os, "statvfs", disk(free=free, left=left))
    assert states(checks.disk_findings(Path("data"), database)) == expected


def test_a_disk_that_counts_no_inodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", disk(free=10 * GIB, files=0, left=0))
    assert states(checks.disk_findings(Path("data"), 0)) == [OK]


@pytest.mark.parametrize(
    ("version", "state", "words"),
    [
        ((3, 36, 0), PROBLEM, "too old"),
        ((3, 40, 1), OK, "has the WAL-reset bug that 3.51.3 mends"),
        ((3, 51, 3), OK, "without the WAL-reset bug"),
        ((4, 0, 0), OK, "without"),
    ],
)
def test_sqlite(version: tuple[int, int, int], state: State, words: str) -> None:
    (found,) = checks.sqlite_findings(version)
    assert found.state is state
    assert words in found.found


def test_open_files() -> None:
    assert states(checks.descriptor_findings(IN_FLIGHT)) == [WARNING]
    assert states(checks.descriptor_findings(4096)) == [OK]
    assert states(checks.descriptor_findings(-1)) == [OK]  # RLIM_INFINITY


def examined(**changed: object) -> Examined:
    known = {
        "version": 5,
        "newest": 5,
        "pages": 10,
        "free_pages": 1,
        "wal": 0,
        "last_received": NOW,
        "subscriptions": {},
        "undeclared": {},
        "standings": (),
        "paused_sources": {},
        "made_sources": (),
    }
    return Examined(**(known | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "check"),
    [
        ({"version": 4}, "schema"),
        ({"wal": 300 << 20}, "log"),
        ({"last_received": NOW + 60_000}, "clock"),
        ({"last_received": NOW + 10_000}, None),
        ({"last_received": None}, None),
    ],
)
def test_the_database(changed: dict[str, object], check: str | None) -> None:
    found = list(checks.database_findings(examined(**changed), Path("gateway.db"), NOW))
    told = [(one.check, one.state) for one in found if one.state is not OK]
    assert told == ([(check, WARNING)] if check else [])


@pytest.mark.parametrize(
    ("standing", "told"),
    [
        ({}, []),
        ({"state": "gone", "reason": "answered 410"}, [(PROBLEM, "it is gone: answered 410")]),
        ({"state": "paused", "reason": "paused by the operator"}, [(WARNING, "paused by the op")]),
        ({"state": "paused", "reason": "answered 415"}, [(PROBLEM, "it is paused: answered 415")]),
        ({"failing_since": NOW}, [(WARNING, "it has been failing since ")]),
        ({"parked": 2}, [(WARNING, "2 orders parked")]),
    ],
)
def test_what_keeps_deliveries_is_told(
    standing: dict[str, Any], told: list[tuple[State, str]]
) -> None:
    known = {"subscription": "crm", "state": "active", "reason": "", "failing_since": None}
    one = Standing(**({**known, "parked": 0} | standing))
    found = checks.database_findings(examined(standings=[one]), Path("gateway.db"), NOW)
    bad = [(one.check, one.state, one.found) for one in found if one.state is not OK]
    assert [(check, state) for check, state, _ in bad] == [
        ("subscription crm", state) for state, _ in told
    ]
    assert all(words in said for (_, _, said), (_, words) in zip(bad, told, strict=True))


def test_a_large_database_is_read_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "large.db"
    with path.open("wb") as file:
        file.truncate(checks.SMALL + 1)
    seldom = checks.integrity_finding(path, deep=False, read=lambda: pytest.fail("it was read"))
    assert (seldom.state, seldom.advice) == (OK, "--deep reads all of it")
    deep = checks.integrity_finding(path, deep=True, read=lambda: ["row 3 missing"])
    assert deep.state is PROBLEM
    assert "row 3 missing" in deep.found


def test_files_that_others_may_read(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    for name in ("", "-wal", ".key", ".sock"):
        path.with_name(path.name + name).touch(0o600)
    (tmp_path / "gateway.dbase").touch(0o644)
    assert list(checks.file_findings(path)) == []
    path.with_name("gateway.db.key").chmod(0o640)
    (found,) = checks.file_findings(path)
    assert (found.state, found.advice) == (WARNING, f"chmod 600 {path}.key")


def test_a_place_without_a_database(tmp_path: Path) -> None:
    assert states(checks.file_findings(tmp_path / "gateway.db")) == [OK]
    assert states(checks.file_findings(tmp_path / "none" / "gateway.db")) == [PROBLEM]
    assert states(checks.file_findings(tmp_path)) == [PROBLEM]


def test_secret_files(tmp_path: Path) -> None:
    one, other = tmp_path / "one.secret", tmp_path / "other.secret"
    one.touch(0o600)
    other.touch(0o600)
    document = {"a": {"b": ["${file:one.secret}"], "c": "Bearer ${file:other.secret} ${NAME}"}}

    def look() -> list[State]:
        return states(checks.secret_file_findings(document, tmp_path, tmp_path / "gateway.toml"))

    assert look() == [OK]
    other.chmod(0o640)
    assert look() == [WARNING]


def test_proxies_of_the_environment() -> None:
    environ = {"HTTPS_PROXY": "http://user:canary@proxy", "http_proxy": "", "PATH": "/bin"}
    (found,) = checks.proxy_findings("", environ)
    assert (found.state, found.advice[:16]) == (WARNING, "set egress.proxy")
    assert "HTTPS_PROXY of" in found.found
    assert "canary" not in found.found
    assert states(checks.proxy_findings("http://proxy:3128", environ)) == [OK]
    assert states(checks.proxy_findings("", {})) == [OK]


def test_a_clock_that_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks_live, "BETWEEN", 0.0)
    steady = asyncio.run(checks_live.clock_findings(lambda: 50.0, lambda: 7.0))
    assert states(list(steady)) == [OK]
    times = iter([50.0, 50.0, 49.0, 49.0, 49.0, 49.0, 49.0])
    (found,) = asyncio.run(checks_live.clock_findings(lambda: next(times), lambda: 7.0))
    assert found.state is PROBLEM
    assert "jumped by 1.0 s" in found.found


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [(None, []), (29_000, []), (-31_000, [WARNING]), (31_000, [WARNING]), (-301_000, [PROBLEM])],
)
def test_the_clock_of_another(ahead: int | None, expected: list[State]) -> None:
    place = Place(check="source tiger", key="k", url="https://tiger.example")
    told = None if ahead is None else Millis(ahead)
    assert states(checks_live._clock(place, told)) == expected


@pytest.mark.parametrize(("days", "state"), [(15, OK), (13, WARNING), (-1, WARNING)])
def test_the_end_of_a_certificate(days: int, state: State) -> None:
    from gateway.egress.probe import Reached
    from gateway.egress.rules import parse_target

    end = Millis(NOW + days * 86_400_000)
    reached = Reached(address="192.0.2.1:443", took=3.0, tls="TLSv1.3", expires=end)
    place = Place(check="subscription one", key="k", url="https://one.example/x?token=canary")
    found = checks_live._reached(place, parse_target(place.url), reached, NOW)
    assert found.state is state
    assert "canary" not in found.found


def test_whom_the_gateway_connects_to(tmp_path: Path) -> None:
    """Those of the configuration and the store; of the last start where it cannot be read."""
    config = tmp_path / "gateway.toml"
    text = (
        f'[subscriptions.one]\nurl = "https://one.example/"\nsecrets = ["{SECRET}"]\n'
        f'[subscriptions.off]\nurl = "https://off.example/"\nsecrets = ["{SECRET}"]\n'
        "enabled = false\n"
        '[sources.tiger]\nprovider = "marketiger"\nbase_url = "https://t.example"\ntoken = "t"\n'
    )
    known = examined(
        subscriptions={"one": "https://older.example", "gone": "https://gone.example"},
        undeclared={"made": "https://made.example"},
    )

    def told() -> dict[str, tuple[str, bool]]:
        setup = read_setup(config, {})
        return {one.check: (one.url, one.asked) for one in places(setup, known)}

    config.write_text(text)
    assert told() == {
        "subscription one": ("https://one.example/", False),
        "subscription made": ("https://made.example", False),
        "source tiger": ("https://t.example", True),
    }
    config.write_text(text + "nonsense = 1\n")
    assert told() == {
        "subscription one": ("https://older.example", False),
        "subscription gone": ("https://gone.example", False),
        "subscription made": ("https://made.example", False),
    }


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("[server]\nport = 9000\n[sources.a]\nprovider = 'nope'\n", 9000),
        ("[server]\nport = 'x'\n", 8080),
        ("[server\n", 8080),
        ("[store]\nurl = 'mysql:x'\n", 8080),
    ],
)
def test_of_a_bad_configuration_the_good_part_is_used(tmp_path: Path, text: str, port: int) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(text)
    setup = read_setup(config, {})
    assert [one.state for one in setup.findings] == [PROBLEM]
    assert (setup.whole, setup.settings.server.port) == (False, port)


def test_who_gives_up_does_not_wait_for_a_thread() -> None:
    disk, woken = threading.Event(), []

    def hanging() -> None:
        woken.append(disk.wait(20))

    async def hasty() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await in_thread(hanging)

    asyncio.run(hasty())
    assert woken == []
    disk.set()


def test_sizes() -> None:
    assert [sized(n) for n in (0, 1023, 2048, 5 << 20, 3 * GIB, 5000 * GIB)] == [
        *("0 bytes", "1023 bytes", "2.0 KiB", "5.0 MiB", "3.0 GiB", "5000.0 GiB")
    ]
