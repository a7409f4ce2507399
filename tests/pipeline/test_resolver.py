"""Names whose servers are silent block nobody else's."""

import asyncio
import socket
import threading
import time
from typing import Any

import pytest

from gateway.egress import resolver
from gateway.egress.resolver import SystemResolver

ANSWER = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]


class Servers:
    """Name servers: those of `silent.*` never answer until they are let go."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gone = threading.Event()

    def __call__(self, host: str, *_: Any, **__: Any) -> Any:
        self.asked.append(host)
        if host.startswith("silent"):
            self.gone.wait(20)
        if host.startswith("unknown"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return ANSWER


def test_many_silent_names_delay_no_other() -> None:
    async def story() -> None:
        servers = Servers()
        ask = SystemResolver(servers)
        silent = [asyncio.create_task(ask(f"silent{n}.example", 80)) for n in range(100)]
        await asyncio.sleep(0.05)
        begun = time.monotonic()
        assert await ask("good.example", 80) == ["192.0.2.1"]
        assert time.monotonic() - begun < 5  # the silent ones take twenty
        servers.gone.set()
        assert await asyncio.gather(*silent) == [["192.0.2.1"]] * 100

    asyncio.run(story())


def test_one_name_is_looked_up_once_at_a_time_and_never_remembered() -> None:
    async def story() -> None:
        servers = Servers()
        ask = SystemResolver(servers)
        waiting = [asyncio.create_task(ask("silent.example", 80)) for _ in range(50)]
        await asyncio.sleep(0.05)
        waiting[0].cancel()  # who gives up does not take the answer from the others
        servers.gone.set()
        await asyncio.gather(*waiting[1:])
        assert servers.asked == ["silent.example"]
        await ask("silent.example", 80)
        assert servers.asked == ["silent.example"] * 2

    asyncio.run(story())


def test_errors_reach_everyone_who_waits() -> None:
    async def story() -> None:
        ask = SystemResolver(Servers())
        found = await asyncio.gather(
            *(ask("unknown.example", 80) for _ in range(3)), return_exceptions=True
        )
        assert [type(error) for error in found] == [socket.gaierror] * 3

    asyncio.run(story())


def test_too_many_names_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "MOST", 3)

    async def story() -> None:
        servers = Servers()
        ask = SystemResolver(servers)
        silent = [asyncio.create_task(ask(f"silent{n}.example", 80)) for n in range(3)]
        await asyncio.sleep(0.05)
        with pytest.raises(OSError, match="3 other names"):
            await ask("good.example", 80)
        servers.gone.set()
        await asyncio.gather(*silent)

    asyncio.run(story())


def test_localhost_is_found_by_the_system() -> None:
    found = asyncio.run(SystemResolver()("localhost", 80))
    assert "127.0.0.1" in found or "::1" in found
