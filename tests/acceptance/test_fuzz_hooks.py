"""Whatever is sent to `POST /hooks/{source}` of a real process, signed or not: 2xx or 4xx."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.acceptance.bad_input import (
    GROWTH,
    Answer,
    Stage,
    is_stripe,
    renamed,
    signature,
    staged,
)
from tests.providers.test_fuzz import JSON, NASTY, VALID, places, replaced

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SECONDS = 60.0  # for one request and its repeat, on a busy machine
STRIPE = ("stripe", "curious-stripe")
SHOPS = ("shop", "second", "other", "curious")
HEADERS = (b"traceparent", b"content-type", b"content-encoding", b"x-forwarded-for", b"cookie")

Case = tuple[str, bytes]


class Player:
    """A stage on a loop in a thread, for tests that hypothesis calls again and again."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._staged = staged(folder)
        self.stage: Stage = self.run(self._staged.__aenter__)

    def run(self, act: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """What `act` returns."""
        return asyncio.run_coroutine_threadsafe(act(), self._loop).result(SECONDS)

    def close(self) -> None:
        """End the stage; nothing may be wrong with it."""
        try:
            self.run(lambda: self._staged.__aexit__(None, None, None))
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


@pytest.fixture
def player(tmp_path: Path) -> Iterator[Player]:
    player = Player(tmp_path)
    for _ in range(100):
        player.run(lambda: player.stage.neighbour(player.stage.sender))
    before = player.stage.memory()
    yield player
    grown = player.stage.memory() - before
    player.close()
    assert grown < GROWTH, f"{grown >> 20} MiB more"


def fuzz(examples: int) -> settings:
    """Settings for tests that talk to a process."""
    unfit = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(deadline=None, max_examples=examples, suppress_health_check=unfit)


@st.composite
def events(draw: st.DrawFn) -> Case:
    """A valid event of either provider with up to three of its subtrees replaced."""
    event = draw(st.sampled_from(VALID))
    tree: Any = event | {"id": f"evt-{draw(st.integers(0, 2**64))}"}
    path = draw(st.sampled_from(list(places(event))))
    for _ in range(draw(st.integers(0, 2))):
        other = draw(st.sampled_from(list(places(event))))
        if other and other != path[: len(other)]:
            tree = _put(tree, other, draw(LEAF))
    body = replaced(tree, path, draw(JSON | st.sampled_from(NASTY)))
    source = draw(st.sampled_from(STRIPE if is_stripe(event) else SHOPS))
    return source, renamed(body) if draw(st.booleans()) else body


LEAF = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=300) | st.floats()
)


def _put(value: Any, path: Sequence[Any], by: Any) -> Any:
    """A copy of the value with another leaf; a path that leads nowhere changes nothing."""
    if not path:
        return by
    copy = value.copy() if isinstance(value, dict | list) else value
    keys = copy if isinstance(copy, dict) else range(len(copy) if isinstance(copy, list) else 0)
    if path[0] in keys:
        copy[path[0]] = _put(copy[path[0]], path[1:], by)
    return copy


async def _twice(stage: Stage, case: Case) -> None:
    """A callback, and its repeat: the same receipt."""
    source, body = case
    first = await stage.sender.signed(source, body)
    stage.judge(f"{source} {body[:500]!r}", first)
    if first.status not in (200, 202):
        return
    again = await stage.sender.signed(source, body)
    stage.judge(f"again {source} {body[:500]!r}", again)
    one, two = first.receipt, again.receipt
    assert (first.status, one["id"]) == (again.status, two["id"])
    assert two["duplicate"] is True
    if one["verdict"] != "unlinked":  # the next callback may have linked it
        assert (one["events"], one["verdict"]) == (two["events"], two["verdict"])
    if one["verdict"] == "event":
        marks = ", ".join("?" for _ in one["events"])
        found = stage.rows(f"SELECT 1 FROM events WHERE event_id IN ({marks})", *one["events"])
        assert len(found) == len(one["events"]) > 0


def _play(player: Player, case: Case) -> None:
    player.run(lambda: _twice(player.stage, case))
    assert not player.stage.problems, player.stage.problems[0]


@given(case=events())
@fuzz(5_000)
def test_any_subtree_may_be_anything(player: Player, case: Case) -> None:
    _play(player, case)


@given(source=st.sampled_from(STRIPE + SHOPS), body=st.binary(max_size=300) | JSON.map(str.encode))
@fuzz(2_500)
def test_any_bytes_may_be_signed(player: Player, source: str, body: bytes) -> None:
    _play(player, (source, body))


VALUE = st.binary(max_size=80) | st.text(max_size=30).map(str.encode) | st.sampled_from([b"gzip"])


@given(
    source=st.sampled_from(STRIPE + SHOPS),
    number=st.integers(0, 2**64),
    extra=st.lists(st.tuples(st.sampled_from(HEADERS) | VALUE, VALUE), max_size=4),
)
@fuzz(3_000)
def test_any_header_may_be_anything(
    player: Player, source: str, number: int, extra: list[tuple[bytes, bytes]]
) -> None:
    body = b'{"id":"evt-%d","event":"x"}' % number

    async def act() -> Answer:
        client = player.stage.client()
        answer = await client.post(source, body, [signature(source, body), *extra])
        client.close()
        return answer

    player.stage.judge(f"{source} {extra!r}", player.run(act))
    assert not player.stage.problems, player.stage.problems[0]


@given(data=st.data(), source=st.sampled_from(STRIPE + SHOPS))
@fuzz(3_000)
def test_a_signature_that_differs_anywhere_is_refused(
    player: Player, data: st.DataObject, source: str
) -> None:
    body = b'{"id":"evt-never","event":"x"}'
    name, value = signature(source, body)
    place = data.draw(st.integers(0, len(value) - 1))
    new = data.draw(st.binary(max_size=2))
    changed = value[:place] + new + value[place + data.draw(st.integers(0, 2)) :]
    if changed.strip(b" \t").lower() == value.lower():
        return

    async def act() -> Answer:
        client = player.stage.client()
        answer = await client.post(source, body, [(name, changed)])
        client.close()
        return answer

    answer = player.run(act)
    assert answer.status in (400, 401), (changed, answer)
    assert not player.stage.rows("SELECT 1 FROM callbacks WHERE event_id = 'evt-never'")
