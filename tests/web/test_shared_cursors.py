"""Cursors are signed once, however many readers get them, and anew with another secret."""

from pathlib import Path
from typing import Any

import pytest
from itsdangerous import URLSafeSerializer

from gateway.errors import BadRequest
from gateway.web.api import cursors
from gateway.web.api.cursors import Cursors
from tests.web.test_api import Caller, play
from tests.web.test_pulling import orders
from tests.web.test_streaming import streaming_from


def test_readers_of_the_same_events_share_their_cursors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed: list[object] = []

    class Counting(URLSafeSerializer):
        def dumps(self, obj: Any, salt: Any = None) -> Any:
            signed.append(obj)
            return super().dumps(obj, salt)

    monkeypatch.setattr(cursors, "URLSafeSerializer", Counting)

    async def story(caller: Caller) -> None:
        await orders(caller, "a", "b", "c")
        last = set()
        for _ in range(4):
            async with streaming_from(caller, "?from=beginning") as reader:
                assert await reader.orders(3) == ["a", "b", "c"]
                last.add(reader.last)
        assert len(last) == 1
        assert len(signed) == len(set(signed)) == 3
        async with streaming_from(caller, f"?cursor={last.pop()}") as reader:
            await orders(caller, "d")
            assert await reader.orders(1) == ["d"]

    play(tmp_path, story)


def test_each_secret_and_each_list_has_its_own() -> None:
    secret = b"one"
    made = Cursors(lambda: secret)
    texts = {made.make("events", 1), made.make("events", 2), made.make("stream", 1)}
    before = made.make("events", 1)
    secret = b"two"
    texts.add(made.make("events", 1))
    assert len(texts) == 4
    assert made.read("events", made.make("events", 1)) == 1
    with pytest.raises(BadRequest):
        made.read("events", before)
