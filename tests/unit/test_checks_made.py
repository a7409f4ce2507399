"""What `gateway doctor` makes of sources that no file declares; the database is as it was after it."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import checks_made
from gateway.cli.checks_live import Place
from gateway.cli.checks_made import made_findings
from gateway.cli.findings import Finding, State
from gateway.config.settings import Settings, StoreSettings
from gateway.errors import StartupError, Unavailable
from gateway.models import Millis
from gateway.stores.sqlite.store import SqliteStore

TIGER = b'{"provider":"marketiger","base_url":"https://t.example/v2","token":"a-canary"}'
SOURCES: Mapping[str, bytes] = {
    "tiger": TIGER,
    "off": TIGER[:-1] + b',"enabled":false}',
    "pay": b'{"provider":"stripe","secrets":["a-canary"]}',
    "lost": b'{"provider":"nobodys"}',
    "hidden": TIGER,
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a database that has some, and that no gateway serves."""
    path = tmp_path / "gateway.db"

    async def make() -> None:
        store = SqliteStore(path, on_fatal=pytest.fail)
        store.open()
        await store.start()
        for name, keys in SOURCES.items():
            await store.sources.put(name, keys, Millis(1))
        await store.close()

    asyncio.run(make())
    return Settings(store=StoreSettings(url=f"sqlite:///{path}"))


def told(settings: Settings) -> tuple[list[Finding], list[Place]]:
    places: list[Place] = []
    return list(made_findings(settings, {"hidden"}, places)), places


def test_whom_they_ask_is_tried_and_what_rests_is_told(settings: Settings, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    findings, places = told(settings)
    assert places == [
        Place(
            check="source tiger",
            key="the base_url of tiger",
            url="https://t.example/v2",
            asked=True,
        )
    ]
    (lost,) = findings
    assert (lost.check, lost.state) == ("source lost", State.PROBLEM)
    assert lost.found.startswith("it rests: sources.lost.provider: there is no provider 'nobodys'")
    assert "gateway sources set lost" in lost.advice
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_log_that_was_left_is_left_alone(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "gateway.db-wal").write_bytes(b"as it is")
    findings, places = told(settings)
    assert ([one.state for one in findings], places) == ([State.OK], [])
    assert "are not looked at" in findings[0].found
    assert (tmp_path / "gateway.db-wal").read_bytes() == b"as it is"


def test_without_their_key_it_is_said(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "gateway.db.key").unlink()
    with pytest.raises(StartupError, match="is not here: put it back"):
        told(settings)


def test_the_gateway_that_runs_tells_of_them(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    source: dict[str, Any] = {
        "name": "elsewhere",
        "provider": "marketiger",
        "shop": "default",
        "enabled": True,
        "declared": False,
        "problem": None,
        "kind": "polled",
        "callbacks": None,
        "rejected": 0,
        **dict.fromkeys(("heard_at", "silent_since", "rejected_reason", "paused_at")),
        "keys": {"base_url": "https://e.example"},
        "asking": {
            "host": "e.example",
            "watched": 0,
            "failures": 0,
            "asked_at": None,
            **dict.fromkeys(("answered_at", "next_at", "problem", "refused")),
        },
    }
    declared = source | {"name": "of-the-file", "declared": True}
    monkeypatch.setattr(checks_made, "ask", lambda *_, **__: {"data": [declared, source]})
    findings, places = told(settings)
    assert (findings, [place.url for place in places]) == ([], ["https://e.example"])

    def silent(*_: object, **__: object) -> None:
        raise Unavailable("the running gateway gave no answer")

    monkeypatch.setattr(checks_made, "ask", silent)
    assert told(settings) == ([], [])
