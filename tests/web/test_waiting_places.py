"""Places for streams and long polls: one API key has not all of them."""

import asyncio
from pathlib import Path

from gateway.keys import Role
from gateway.news import MOST_OF_A_KEY
from tests.web.test_api import Caller, play
from tests.web.test_pulling import pull, subscribe, until


def test_one_key_cannot_take_all_places(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        path = await subscribe(caller)
        news = caller.world.gateway.store.news
        mine, other = (caller.keys[role].split("_")[1] for role in (Role.SUBSCRIBER, Role.ADMIN))
        listeners = [news.listen(key=mine) for _ in range(MOST_OF_A_KEY - 1)]
        waiting = asyncio.create_task(pull(caller, path, "?wait=60"))
        await until(lambda: len(news._listeners) == MOST_OF_A_KEY)
        full = await caller.get(f"{path}/events?wait=5", role=Role.SUBSCRIBER)
        assert (full.status_code, full.headers["retry-after"]) == (503, "5")
        assert f"this key has {MOST_OF_A_KEY} streams" in full.json()["detail"]
        assert (await caller.get(f"{path}/events", role=Role.SUBSCRIBER)).status_code == 200
        listeners += [news.listen(key=other) for _ in range(MOST_OF_A_KEY)]
        assert (await caller.get("/v1/stream")).status_code == 503
        listeners += [news.listen() for _ in range(MOST_OF_A_KEY + 1)]  # the owner's
        listeners.pop(0).close()
        listeners.append(news.listen(key=mine))
        for listener in listeners:
            listener.close()
        caller.world.gateway.end_waiting()
        await waiting

    play(tmp_path, story)
