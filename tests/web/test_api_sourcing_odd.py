"""Whatever is sent where a source is made or changed: it is refused or taken, and never a bug."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.keys import Role
from tests.web.test_api import Caller, calling
from tests.web.test_api_sourcing import BERLIN, PATH, TIGER, Asker, told

WORDS = [
    "name",
    "provider",
    "secrets",
    "shop",
    "enabled",
    "tolerance",
    "include",
    "rejection_status",
    "silent_after",
    "base_url",
    "token",
    "interval",
    "requests_per_minute",
    "currency",
    "order_id",
    "link_wait",
    "livemode",
    "status_map",
    "line_status",
    "order_path",
    "options",
    "poll",
    "keys",
    "declared",
    "__class__",
]
NAMES = st.sampled_from([*WORDS, "", "\0"])
PROVIDERS = ["stripe", "printstudio", "marketiger", "threeyourmind", "printeers"]
NUMBERS = [None, True, 0, -1, 10**18, 10**40, 0.5, 1e300]
URLS = ["http://127.0.0.1:9", "https://a.example.com/v1", "//"]
TEXTS = [
    "",
    "\0",
    "a,b",
    "[",
    "[1, 2",
    "[" * 300,
    "{" * 300,
    "${A}",
    "5m",
    "365d",
    "\udcff",
    "\u202e",
]
ODD = st.sampled_from([*NUMBERS, *PROVIDERS, *URLS, *TEXTS, "x" * 500])
VALUES = st.recursive(
    ODD | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)
GOOD = st.sampled_from([{}, BERLIN, TIGER, {**BERLIN, "name": "made"}])


def dumped(body: object) -> bytes:
    """JSON as anybody may write it: half a surrogate pair is written out."""
    return json.dumps(body).encode()


def fuzzed(caller: Caller, run: Callable[[Awaitable[None]], None], examples: int) -> None:
    """Bodies that are nearly sources: whatever comes, it is never a bug."""
    asker = Asker(caller)
    run(asker.done("POST", "", {**BERLIN, "name": "made"}))

    @settings(
        max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(GOOD, st.dictionaries(NAMES, VALUES, max_size=4), st.sampled_from(["POST", "PATCH"]))
    def each(good: dict[str, object], odd: dict[str, object], method: str) -> None:
        run(_never_a_bug(asker, method, dumped({**good, **odd})))

    each()


async def _never_a_bug(asker: Asker, method: str, body: bytes) -> None:
    client = asker.caller.world.client
    headers = {"authorization": f"Bearer {asker.caller.keys[Role.OPERATOR]}"}
    headers["content-type"] = "application/json"
    path = PATH if method == "POST" else f"{PATH}/made"
    url = f"{asker.caller.world.admin}{path}"
    response = await client.request(method, url, headers=headers, content=body)
    assert response.status_code in {200, 201, 400, 409}, (body, response.text)
    if response.status_code == 201:
        made = response.json()
        await asker.done("GET")
        await asker.done("DELETE", f"/{made['name']}")
    elif response.status_code == 400:
        assert response.json()["detail"], body


def fuzz(folder: Path, examples: int) -> None:
    with asyncio.Runner() as runner:
        stage = calling(folder)
        caller = runner.run(stage.__aenter__())
        try:
            fuzzed(caller, lambda work: runner.run(_awaited(work)), examples)
        finally:
            runner.run(stage.__aexit__(None, None, None))


async def _awaited(work: Awaitable[Any]) -> None:
    await work


def test_no_body_is_ever_a_bug(tmp_path: Path) -> None:
    fuzz(tmp_path, 40)


@pytest.mark.slow
def test_no_body_is_ever_a_bug_at_length(tmp_path: Path) -> None:
    fuzz(tmp_path, 2_000)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"null", 400),
        (b'{"name": "a", "name": "b"}', 400),
        (b'{"a": NaN}', 400),
        (b'{"a": 1e400}', 400),
        (b'{"provider": "\\ud800"}', 400),
        (b'{"\xff": 1}', 400),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
        (b'{"name": "a", "provider": ' + b"[" * 900 + b"]" * 900 + b"}", 400),
        (b'{"a": "' + b"x" * (256 << 10) + b'"}', 413),
    ],
)
def test_odd_json_is_refused(tmp_path: Path, body: bytes, status: int) -> None:
    async def story(asker: Asker) -> None:
        await asker.done("POST", "", BERLIN)
        for method, path in (("POST", ""), ("PATCH", "/berlin")):
            response = await asker.ask(method, path, body)
            empty = method == "PATCH" and not body  # no change is a change, too
            assert response.status_code == (200 if empty else status), response.text

    told(tmp_path, story)
