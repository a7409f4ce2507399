"""Every call of the API is made, and every problem that the document lists for it is provoked.

The scenarios are in `stories_good.py` and `stories_wrong.py`. What every call may answer alike is
provoked with the same good request, spoilt in one way at a time.
"""

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.keys import Role
from gateway.models import Duration
from gateway.web.api import doors, idempotency
from gateway.web.api.operation import Operation
from gateway.web.api.table import OPERATIONS
from gateway.web.limits import Limits
from tests.web.stories import (
    DOCUMENT,
    STATUSES,
    Ask,
    Stage,
    check,
    check_sent,
    codes,
    responses,
    stage,
    with_header,
)
from tests.web.stories_good import GOOD
from tests.web.stories_wrong import WRONG

NAMES = [operation.name for operation in OPERATIONS]
ONCE = idempotency.HEADER
TEXT = {"content-type": "text/plain"}


def play(
    folder: Path,
    story: Callable[[Stage], Awaitable[None]],
    *,
    limits: Limits | None = None,
) -> None:
    async def whole() -> None:
        async with stage(folder, limits=limits) as made:
            await story(made)

    asyncio.run(whole())


class Failures:
    """Goes on behind what fails, so that one run tells all of it."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def look(self, what: str, test: Awaitable[None]) -> None:
        try:
            await test
        except (AssertionError, KeyError, IndexError, httpx2.HTTPError) as error:
            self.told.append(f"{what}: {type(error).__name__} {error}")

    def end(self) -> None:
        assert not self.told, "\n".join(self.told)


SENT = {"too_large", "unsupported_media_type"}


def own(operation: Operation) -> set[str]:
    """The problems that a call has reasons of its own for; each is a scenario that was written."""
    return set(operation.codes) - SENT


def alike(operation: Operation) -> set[str]:
    """The problems that follow from what the row says beside `codes`."""
    sent = operation.body is not None or operation.takes
    repeated = operation.once
    return {
        *("unauthenticated", "bad_request", "internal"),
        *(("forbidden",) if set(Role) - operation.roles else ()),
        *(("unavailable",) if operation.stored else ()),
        *(SENT if sent else ()),
        *(idempotency.CODES if repeated else ()),
    }


@pytest.mark.parametrize("operation", OPERATIONS, ids=NAMES)
def test_every_answer_of_a_call_has_a_scenario(operation: Operation) -> None:
    documented = {(operation.name, status) for status in responses(operation) if status < 400}
    assert {one for one in GOOD if one[0] == operation.name} == documented
    assert codes(operation) == own(operation) | alike(operation)
    written = {code for name, code in WRONG if name == operation.name}
    assert own(operation) <= written <= codes(operation)
    assert alike(operation) <= set(PROVOKED)


def test_every_scenario_is_of_a_call() -> None:
    assert {name for name, _ in (*GOOD, *WRONG)} == set(NAMES)


def test_every_call_succeeds_as_documented(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        failures = Failures()
        for (name, status), stories in GOOD.items():
            for one in stories:
                await failures.look(one.__name__, succeeds(stage, name, status, one))
        failures.end()

    async def succeeds(stage: Stage, name: str, status: int, one: Any) -> None:
        ask = await one(stage)
        assert ask.name == name
        check_sent(ask)
        response = await stage.send(ask)
        check(ask, response, status)
        if ask.operation.answer is not None:
            assert holds_something(response.json()), response.text

    play(tmp_path, story)


def holds_something(answer: Any) -> bool:
    """A list without rows would show nothing of them."""
    listed = answer.get("data", answer) if isinstance(answer, dict) else answer
    return bool(listed)


def test_every_call_refuses_what_its_row_says(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        failures = Failures()
        for (name, code), stories in WRONG.items():
            for one in stories:
                what = f"{name} {code} {one.__name__}"
                await failures.look(what, refuses(stage, name, code, one))
        failures.end()

    async def refuses(stage: Stage, name: str, code: str, one: Any) -> None:
        ask = await one(stage)
        assert ask.name == name
        check_sent(ask)
        check(ask, await stage.send(ask), STATUSES[code])

    play(tmp_path, story)


def without_a_key(_: Stage, ask: Ask) -> Ask:
    return replace(ask, role=None)


def with_anothers_key(_: Stage, ask: Ask) -> Ask:
    return replace(ask, role=min(set(Role) - ask.operation.roles))


def with_a_strange_parameter(_: Stage, ask: Ask) -> Ask:
    return replace(ask, query={**ask.query, "nothing": "1"})


def with_a_huge_body(stage: Stage, ask: Ask) -> Ask:
    """Where no body is read, it is for the sake of a repeat."""
    plain = ask.operation.body is not None
    limit = doors.BODY_LIMIT if plain else stage.world.gateway.settings.server.body_limit
    huge = replace(ask, body=None, content=b'{"x": "%b"}' % (b"x" * limit))
    if plain or ask.operation.takes:
        return with_header(huge, "content-type", ask.headers.get("content-type", JSON))
    return with_header(huge, ONCE, stage.fresh())


JSON = "application/json"


def as_a_text(_: Stage, ask: Ask) -> Ask:
    """A call that takes events knows those by their attributes too: of it no one may be packed."""
    if ask.operation.takes:
        return with_header(ask, "content-encoding", "gzip")
    content = json.dumps(ask.body).encode() if ask.content is None else ask.content
    return replace(ask, body=None, content=content, headers={**ask.headers, **TEXT})


SPOILT: dict[str, Callable[[Stage, Ask], Ask]] = {
    "unauthenticated": without_a_key,
    "forbidden": with_anothers_key,
    "bad_request": with_a_strange_parameter,
    "too_large": with_a_huge_body,
    "unsupported_media_type": as_a_text,
}
"""Each is the same request, but for what makes it that problem."""

IN_A_BUG = ("internal", "conflict", "unprocessable")
PROVOKED = (*SPOILT, *IN_A_BUG, "unavailable")
"""What is provoked at every call whose document lists it."""

STORED_FOR_REPEATS = {"testSubscription", "pollSource", "reconcileSource"}
"""An answer that has begun tells in its lines that the store failed; a test keeps nothing."""


def test_every_call_refuses_what_all_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(stage: Stage) -> None:
        failures = Failures()
        asks = {name: await stories[0](stage) for (name, _), stories in GOOD.items()}
        for ask in asks.values():
            for code in sorted(alike(ask.operation) & set(SPOILT)):
                await failures.look(f"{ask.name} {code}", refuses_alike(stage, ask, code))
            if ask.id:
                await failures.look(f"{ask.name} of nothing", is_told_of(stage, ask))
        with monkeypatch.context() as patch:
            patch.setattr(doors, "_query", bug)
            for ask in asks.values():
                await failures.look(f"{ask.name} in a bug", meets_a_bug(stage, ask, patch))
        await fail(stage)
        for ask in asks.values():
            if "unavailable" in codes(ask.operation):
                await failures.look(f"{ask.name} unavailable", is_unavailable(stage, ask))
            else:
                await failures.look(f"{ask.name} goes on", goes_on(stage, ask))
        failures.end()

    play(tmp_path, story)


async def refuses_alike(stage: Stage, ask: Ask, code: str) -> None:
    check(ask, await stage.send(SPOILT[code](stage, ask)), STATUSES[code])


async def is_told_of(stage: Stage, ask: Ask) -> None:
    """Whatever becomes of what is not there, the document has it."""
    response = await stage.send(replace(ask, id="nothing"))
    check(ask, response, response.status_code)
    assert response.status_code < 500, response.text


def bug(*_: object) -> None:
    raise ZeroDivisionError("a bug")


async def meets_a_bug(stage: Stage, ask: Ask, patch: pytest.MonkeyPatch) -> None:
    """A repeat while the first one is under way, another request of its name, and its own end."""
    if not ask.operation.once:
        check(ask, await stage.send(ask), 500)
        return
    answers = stage.world.gateway.store.answers
    begun, go_on, begin = asyncio.Event(), asyncio.Event(), answers.begin

    async def slowly(*arguments: Any) -> Any:
        known = await begin(*arguments)
        if known is None:
            begun.set()
            await go_on.wait()
        return known

    named = with_header(ask, ONCE, stage.fresh())
    with patch.context() as slow:
        slow.setattr(answers, "begin", slowly)
        first = asyncio.create_task(stage.send(named))
        try:
            await asyncio.wait_for(begun.wait(), 30)
            again = await stage.send(named)
            check(ask, again, 409)
            assert again.headers["retry-after"] == "1"
            check(ask, await stage.send(with_a_strange_parameter(stage, named)), 422)
        finally:
            go_on.set()
            response = await first
    check(ask, response, 500)


async def fail(stage: Stage) -> None:
    """The store writes nothing any more, and its file is no database."""
    await stage.world.gateway.store.close()
    for path in stage.world.folder.glob("gateway.db*"):
        if path.name in {"gateway.db", "gateway.db-wal", "gateway.db-shm"}:
            path.write_bytes(b"damaged " * 1_000)


async def is_unavailable(stage: Stage, ask: Ask) -> None:
    named = with_header(ask, ONCE, stage.fresh())
    check(ask, await stage.send(named if ask.name in STORED_FOR_REPEATS else ask), 503)


async def goes_on(stage: Stage, ask: Ask) -> None:
    check(ask, await stage.send(ask), ask.operation.status)


def test_what_fails_while_it_is_read_is_unavailable(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        with closing(sqlite3.connect(stage.world.folder / "gateway.db")) as connection:
            connection.execute("ALTER TABLE replays RENAME TO lost")
        ask = Ask(name="listReplays")
        check(ask, await stage.send(ask), 503)

    play(tmp_path, story)


def test_codes_that_no_call_lists_are_provoked_too(tmp_path: Path) -> None:
    """They come before any call is chosen."""
    listed = {code for operation in OPERATIONS for code in codes(operation)}
    told = set(DOCUMENT["components"]["schemas"]["Problem"]["properties"]["code"]["enum"])
    assert told - listed == {"method_not_allowed", "too_slow"}

    async def story(stage: Stage) -> None:
        response = await stage.world.client.delete(f"{stage.world.admin}/v1/events")
        problem = response.json()
        assert (response.status_code, problem["code"]) == (405, "method_not_allowed")
        assert problem["request_id"] == response.headers["x-request-id"]
        assert "GET" in response.headers["allow"]
        status, problem = await unfinished(stage)
        assert (status, problem["status"], problem["code"]) == (408, 408, "too_slow")

    play(tmp_path, story, limits=Limits(body_timeout=Duration(1_000)))


async def unfinished(stage: Stage) -> tuple[int, Any]:
    """What is answered to a request whose body does not come."""
    host, _, port = stage.world.admin.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    key = stage.keys[Role.ADMIN]
    head = f"POST /v1/keys HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n"
    writer.write(f"{head}content-length: 9\r\n\r\n".encode())
    data = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    await writer.wait_closed()
    said, _, body = data.partition(b"\r\n\r\n")
    return int(said.split()[1]), json.loads(body)
