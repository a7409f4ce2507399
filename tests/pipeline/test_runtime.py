"""A part of the gateway that dies is missed at once, and not only by who asks /readyz."""

import asyncio
from pathlib import Path

import pytest

from gateway.config.load import load
from gateway.runtime import build


def test_a_dispatcher_that_dies_ends_the_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        fatal: list[str] = []
        environ = {"GATEWAY_STORE__URL": f"sqlite:///{tmp_path}/gateway.db"}
        gateway = build(load(None, environ), on_fatal=fatal.append)

        async def broken() -> None:
            raise LookupError("made by a test")

        gateway.store.open()
        await gateway.start()
        await asyncio.sleep(0.01)
        assert gateway.dispatcher.running
        gateway.dispatcher._claim = broken  # type: ignore[method-assign]
        gateway.dispatcher._wake.set()
        for _ in range(1_000):
            await asyncio.sleep(0.01)
            if fatal:
                break
        assert fatal == ["the dispatcher met a bug and ended: restart, and report it"]
        assert not gateway.dispatcher.running
        await gateway.stop(0)

    asyncio.run(story())
    assert "made by a test" in caplog.text
