"""Names whose servers are silent block nobody else's."""

import asyncio
import socket
import threading
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
            self.gone.wait(60)
        if host.startswith("unknown"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return ANSWER

    async def heard(self, count: int) -> None:
        """Wait until so many names were asked for: a thread may be late."""
        async with asyncio.timeout(20):
            while len(self.asked) < count:  # noqa: ASYNC110  # it is threads that ask
                await asyncio.sleep(0.005)


def test_many_silent_names_delay_no_other() -> None:
    async def story() -> None:
        servers = Servers()
        ask = SystemResolver(servers)
        silent = [asyncio.create_task(ask(f"silent{n}.example", 80)) for n in range(100)]
        await servers.heard(1)
        assert await ask("good.example", 80) == ["192.0.2.1"]
        assert not any(task.done() for task in silent)
        servers.gone.set()
        assert await asyncio.gather(*silent) == [["192.0.2.1"]] * 100

    asyncio.run(story())


def test_one_name_is_looked_up_once_at_a_time_and_never_remembered() -> None:
    async def story() -> None:
        servers = Servers()
        ask = SystemResolver(servers)
        waiting = [asyncio.create_task(ask("silent.example", 80)) for _ in range(50)]
        await servers.heard(1)
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


def test_a_name_too_many_waits_for_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "MOST", 3)

    async def story() -> None:
        servers = Servers()
        ask = SystemResolver(servers)
        silent = [asyncio.create_task(ask(f"silent{n}.example", 80)) for n in range(3)]
        late = [asyncio.create_task(ask(f"good{n}.example", 80)) for n in (0, 0, 1, 2, 3, 4)]
        await servers.heard(3)
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in late)
        late[0].cancel()  # another one still wants this name
        late[2].cancel()  # nobody else wants this one
        servers.gone.set()
        assert await asyncio.gather(*silent) == [["192.0.2.1"]] * 3
        stayed = [task for task in late if task not in (late[0], late[2])]
        assert await asyncio.gather(*stayed) == [["192.0.2.1"]] * 4
        assert sorted(servers.asked[3:]) == [f"good{n}.example" for n in (0, 2, 3, 4)]
        # Nobody took a place with him: there are three again, and no more than three.
        servers.gone.clear()
        tasks = [asyncio.create_task(ask(f"silent{n}.example", 80)) for n in range(4)]
        await servers.heard(10)
        await asyncio.sleep(0.05)
        assert len(servers.asked) == 10
        servers.gone.set()
        await asyncio.gather(*tasks)
        assert len(servers.asked) == 11

    asyncio.run(story())


def test_the_deadline_of_who_asks_ends_the_wait_for_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "MOST", 1)

    async def story() -> None:
        servers = Servers()
        ask = SystemResolver(servers)
        silent = asyncio.create_task(ask("silent.example", 80))
        await asyncio.sleep(0)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await ask("good.example", 80)
        servers.gone.set()
        await silent
        assert servers.asked == ["silent.example"]
        assert await ask("good.example", 80) == ["192.0.2.1"]

    asyncio.run(story())


def test_localhost_is_found_by_the_system() -> None:
    found = asyncio.run(SystemResolver()("localhost", 80))
    assert "127.0.0.1" in found or "::1" in found
