"""`/docs`: whole, well formed, shut against everything from outside, and its examples work."""

import asyncio
import hashlib
import os
import shutil
import subprocess
from base64 import b64encode
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from gateway.keys import Role
from gateway.web.api.openapi import document
from gateway.web.api.operation import Door
from gateway.web.api.table import OPERATIONS
from gateway.web.api.wording import EXAMPLES
from gateway.web.pages.docs import docs_page, render
from gateway.web.problems import CODES
from tests.web.test_api import Caller, orders, play
from tests.web.test_api_unlinked import refund

EMPTY = {"br", "hr", "img", "input", "link", "meta", "wbr"}
WANT_MORE = {  # what these need is not there in a quiet gateway, and they say so
    "releaseLane": 404,
    "skipLane": 404,
    "retryCallback": 409,
    "linkUnlinked": 409,
    "watchOrder": 404,  # the source is not polled
    "pollSource": 404,
    "reconcileSource": 404,
    "acknowledgeEvents": 400,
}
NAMED = {
    **dict.fromkeys(("fetchEvents", "acknowledgeEvents"), "pulled"),
    # Only what is made by a call can be changed by one.
    **dict.fromkeys(("changeSource", "removeSource"), EXAMPLES["createSource"]["name"]),
}
EVIL = """</style><script>alert("1")</script>`<img src=x onerror='a'>` & {{ 7 * 7 }}"""
SAID = {"summary", "description", "default", "title"}

needs_curl = pytest.mark.skipif(
    shutil.which("curl") is None and os.environ.get("CI") != "true", reason="curl is not here"
)


class Page(HTMLParser):
    """A page as its tags; refuses what is not closed in the order in which it was opened."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self.examples: dict[str, str] = {}
        self._article = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = [name for name, _ in attrs]
        assert len(set(given)) == len(given), (tag, attrs)
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "article":
            self._article = dict(attrs).get("id") or ""
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)
        if self.open[-2:] == ["pre", "code"] and self._article:
            self.examples[self._article] = self.examples.get(self._article, "") + data

    def all(self, attribute: str) -> list[str]:
        return [attributes[attribute] for _, attributes in self.tags if attribute in attributes]


def page_of(root: str | None = "http://127.0.0.1:8081") -> Page:
    return Page(render(document(OPERATIONS), root).decode())


def test_every_call_is_there_once() -> None:
    page = page_of()
    articles = [attributes["id"] for tag, attributes in page.tags if tag == "article"]
    calls = Counter(one for one in articles if not one.startswith("type-"))
    assert calls == Counter(operation.name for operation in OPERATIONS)
    assert set(page.examples) == {operation.name for operation in OPERATIONS}


def test_every_anchor_leads_somewhere() -> None:
    page = page_of()
    ids = page.all("id")
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    targets = {link[1:] for link in page.all("href") if link.startswith("#")}
    assert targets <= set(ids)
    assert {operation.name for operation in OPERATIONS} <= targets
    assert {f"error-{code}" for code in CODES.values()} <= set(ids)
    assert {*page.all("aria-labelledby")} <= set(ids)


def test_nothing_comes_from_outside() -> None:
    page = page_of()
    assert {link for link in page.all("href") if not link.startswith("#")} == {"/openapi.json"}
    assert page.all("src") == page.all("style") == page.all("action") == []
    assert {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object"} == set()
    assert [name for _, told in page.tags for name in told if name.startswith("on")] == []
    (style,) = page.texts["style"]
    assert all(word not in style for word in ("url(", "@import", "://"))


def test_people_find_their_way_by_keyboard_and_ear() -> None:
    page = page_of()
    tags = Counter(tag for tag, _ in page.tags)
    assert (tags["h1"], tags["main"], tags["nav"]) == (1, 1, 1)
    levels = [int(tag[1]) for tag, _ in page.tags if tag in {"h1", "h2", "h3", "h4"}]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert next(told for tag, told in page.tags if tag == "a")["href"] == "#content"
    scrolling = [told for tag, told in page.tags if tag == "pre"]
    assert all(told["tabindex"] == "0" and told["aria-label"] for told in scrolling)
    assert next(told for tag, told in page.tags if tag == "html")["lang"] == "en"


def test_the_page_says_who_may_and_what_goes_in() -> None:
    text = render(document(OPERATIONS), "http://127.0.0.1:8081").decode()
    call = text.partition('<article id="rotateSubscription"')[2].partition("</article>")[0]
    for word in ("admin, operator, subscriber", "admin, public", "overlap", "24h", "not_found"):
        assert word in call, word
    assert "integer, 1 to 200" in text


def test_all_text_is_escaped() -> None:
    def spoiled(part: Any) -> Any:
        if isinstance(part, dict):
            return {
                name: EVIL if name in SAID and not isinstance(one, dict) else spoiled(one)
                for name, one in part.items()
            }
        return [spoiled(one) for one in part] if isinstance(part, list) else part

    told = spoiled(document(OPERATIONS))
    schema = told["components"]["schemas"]
    schema["Rotation"]["properties"] = {EVIL: {"enum": [EVIL]}}
    for answers in (one["responses"] for path in told["paths"].values() for one in path.values()):
        answers["200"] = {"description": EVIL, "headers": {EVIL: {}}}
    page = Page(render(told, "http://127.0.0.1:8081").decode())
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in page_of().tags}
    assert page.texts["style"] == page_of().texts["style"]
    assert '<script>alert("1")</script>' in "".join(page.texts["p"])
    assert "49" not in "".join(page.texts["p"])


def test_the_policy_lets_in_the_style_and_nothing_else(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        response = await caller.get("/docs", role=None)
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        (style,) = Page(response.text).texts["style"]
        digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
        policy = response.headers["content-security-policy"].split("; ")
        assert policy[:2] == ["default-src 'none'", f"style-src 'sha256-{digest}'"]
        assert {*policy[2:]} == {"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"}
        assert response.headers["x-content-type-options"] == "nosniff"
        assert caller.world.admin in response.text

        assert (await caller.get("/docs", door=Door.PUBLIC)).status_code == 404
        owner = (await caller.get("/docs", role=None, door=None)).text
        assert "GATEWAY_KEY" not in owner
        assert "--unix-socket" in owner

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("gateway.example:8443", "http://gateway.example:8443/v1/me"),
        ("[::1]:8081", "http://[::1]:8081/v1/me"),
        ('x"$(id)"', "http://127.0.0.1:8081/v1/me"),
        ("x/`id`", "http://127.0.0.1:8081/v1/me"),
    ],
)
def test_the_examples_go_where_the_page_came_from(host: str, shown: str) -> None:
    """But for a host that a shell would read as more than a name."""
    headers = [(b"host", host.encode())]
    scope: dict[str, Any] = {"type": "http", "scheme": "http", "path": "/docs", "headers": headers}
    scope |= {"query_string": b"", "server": ("gateway", 80)}
    answer = docs_page(lambda: document(OPERATIONS), owner=False)
    page = Page(bytes(answer(Request(scope)).body).decode())
    assert page.examples["me"].startswith(f'curl "{shown}"')


@needs_curl
def test_the_examples_work(tmp_path: Path) -> None:
    """Each is run as it stands, with `$GATEWAY_KEY` and the `$ID` of something that is there."""

    async def story(caller: Caller) -> None:
        ids = await things(caller)
        page = Page((await caller.get("/docs")).text)
        deletes_last = sorted(OPERATIONS, key=lambda one: one.method == "DELETE")
        for operation in deletes_last:
            command = page.examples[operation.name]
            if "--no-buffer" in command:
                continue  # a stream has no end
            wanted = NAMED.get(operation.name, ids.get(operation.tag, ""))
            environ = {"GATEWAY_KEY": caller.keys[Role.ADMIN], "ID": wanted}
            said = await asyncio.to_thread(run, command, environ, tmp_path)
            fine = {WANT_MORE.get(operation.name, operation.status), *operation.also}
            assert said[0] in fine, (operation.name, command, said)

    play(tmp_path, story)


async def things(caller: Caller) -> dict[str, str]:
    """The id of one thing of each kind, by the resource."""
    await orders(caller, 1)

    async def newest(path: str) -> str:
        return str((await caller.read(path))["data"][0]["id"])

    async def made(path: str, body: object) -> str:
        response = await caller.ask(path, method="POST", body=body)
        assert response.status_code < 300, response.text
        return str(response.json()["id"])

    await made("/v1/subscriptions", {"pull": True, "name": "pulled"})
    url = f"http://127.0.0.1:{caller.world.consumer.port}/made"
    callback = await newest("/v1/callbacks")
    await caller.world.stripe(refund(1))  # of no known order
    return {
        "callbacks": callback,
        "deliveries": await newest("/v1/deliveries"),
        "events": await newest("/v1/events"),
        "explain": "ord-0",
        "orders": "ord-0",
        "sources": "shop",
        "keys": await made("/v1/keys", {"role": "reader"}),
        "replays": await made("/v1/replays", {"order": "ord-0"}),
        "subscriptions": await made("/v1/subscriptions", {"url": url, "types": ["order.paid"]}),
        "unlinked": await newest("/v1/unlinked"),
    }


def run(command: str, environ: dict[str, str], folder: Path) -> tuple[int, str]:
    """The status of the answer, and all that curl said."""
    path = {"PATH": os.environ["PATH"], "HOME": str(folder), "no_proxy": "*"}
    done = subprocess.run(
        ["sh", "-c", f"{command} -sS -D head --max-time 20"],
        env=path | environ,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (command, done.stderr)
    return int((folder / "head").read_text().split()[1]), done.stdout
