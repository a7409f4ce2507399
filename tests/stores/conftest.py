"""One behaviour suite over every store; each backend is an entry of `BACKENDS`."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from gateway.models import Subscription
from gateway.stores.registry import Store, make_store

BACKENDS = ("sqlite",)

Story = Callable[[Store], Coroutine[Any, Any, None]]


@pytest.fixture(params=BACKENDS)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., None]:
    """Run a story against an open store with the subscriptions `a` and `b`."""
    urls = {"sqlite": f"sqlite:///{tmp_path}/store.db"}

    def runner(story: Story) -> None:
        async def whole() -> None:
            fatal: list[str] = []
            store = make_store(urls[request.param], on_fatal=fatal.append)
            store.open()
            await store.start()
            await store.catalog.sync(
                [Subscription(id=0, name=name, url=f"http://{name}.example/") for name in "ab"]
            )
            try:
                await story(store)
            finally:
                await store.close()
            assert fatal == []

        asyncio.run(whole())

    return runner
