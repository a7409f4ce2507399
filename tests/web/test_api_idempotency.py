"""`Idempotency-Key` over real sockets: what is sent again acts once, and is answered alike."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.errors import Unavailable
from gateway.keys import Role
from gateway.web.api import idempotency
from tests.pipeline.world import World, consuming, running

KEYS, SUBSCRIPTIONS, EVENTS = "/v1/keys", "/v1/subscriptions", "/v1/events"
READER = {"role": "reader"}
EVENT = {"specversion": "1.0", "id": "1", "source": "/desk", "type": "desk.asked"}
CLOUDEVENT = {"content-type": "application/cloudevents+json"}


class Sender:
    """Posts with a key of its own, under an `Idempotency-Key`."""

    def __init__(self, world: World, text: str, root: str | None = None) -> None:
        self.world, self.text, self.root = world, text, root or world.admin

    async def post(
        self, path: str, body: object = None, name: str | None = "one", **headers: str
    ) -> httpx2.Response:
        named = {} if name is None else {idempotency.HEADER: name}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.world.client.post(
            self.root + path,
            content=content,
            headers={
                "authorization": f"Bearer {self.text}",
                "content-type": "application/json",
                **named,
                **{one.replace("_", "-"): value for one, value in headers.items()},
            },
        )


Story = Callable[[Sender], Awaitable[None]]


async def new(world: World, role: Role = Role.ADMIN, root: str | None = None) -> Sender:
    _, text = await world.gateway.keyring.create(role, world.gateway.clock())
    return Sender(world, text, root)


def play(folder: Path, story: Story) -> None:
    async def whole() -> None:
        async with consuming() as consumer, running(folder, consumer) as world:
            await story(await new(world))

    asyncio.run(whole())


def count(world: World, table: str) -> int:
    return int(world.rows(f"SELECT count(*) FROM {table}")[0][0])


def same(first: httpx2.Response, again: httpx2.Response) -> None:
    """The second is the first one, given again."""
    assert idempotency.REPLAYED not in first.headers
    assert again.headers[idempotency.REPLAYED] == "true"
    assert (again.status_code, again.content) == (first.status_code, first.content)
    for name in ("content-type", "etag", "location", "cache-control"):
        assert again.headers.get(name) == first.headers.get(name)
    assert again.headers["x-request-id"] != first.headers["x-request-id"]


def held(world: World, patch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Whether the store was asked to make a key, and when it may."""
    begun, go_on, create = asyncio.Event(), asyncio.Event(), world.gateway.store.keys.create

    async def slowly(*arguments: Any) -> None:
        begun.set()
        await go_on.wait()
        await create(*arguments)

    patch.setattr(world.gateway.store.keys, "create", slowly)
    return begun, go_on


def problem(response: httpx2.Response, status: int, code: str) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    said = response.json()
    assert (said["code"], said["request_id"]) == (code, response.headers["x-request-id"])
    return str(said["detail"])


def test_a_repeat_is_answered_alike_and_acts_once(tmp_path: Path) -> None:
    async def story(sender: Sender) -> None:
        world = sender.world
        known = count(world, "keys")
        first = await sender.post(KEYS, READER)
        assert first.status_code == 201
        for _ in range(3):
            same(first, await sender.post(KEYS, READER))
        assert count(world, "keys") == known + 1
        other = await sender.post(KEYS, READER, "two")
        assert other.json()["id"] != first.json()["id"]

        body = {"url": "https://consumer.example/hook", "name": "crm"}
        made = await sender.post(SUBSCRIPTIONS, body, "sub")
        assert (made.status_code, made.headers["etag"][:1]) == (201, '"')
        same(made, await sender.post(SUBSCRIPTIONS, body, "sub"))  # without a key it is a 200

        rotated = await sender.post(f"{SUBSCRIPTIONS}/crm/rotate", {}, "rot")
        same(rotated, await sender.post(f"{SUBSCRIPTIONS}/crm/rotate", {}, "rot"))
        assert count(world, "secrets") == 2 + len(world.gateway.settings.subscriptions) - 1

        published = await sender.post(EVENTS, EVENT, "ev", **CLOUDEVENT)
        assert published.json()["duplicate"] is False
        same(published, await sender.post(EVENTS, EVENT, "ev", **CLOUDEVENT))

        paused = await sender.post(f"{SUBSCRIPTIONS}/crm/pause", b"", "pause")
        assert paused.status_code == 200
        await sender.post(f"{SUBSCRIPTIONS}/crm/resume", b"", None)
        same(paused, await sender.post(f"{SUBSCRIPTIONS}/crm/pause", b"", "pause"))
        assert world.rows("SELECT state FROM subscriptions WHERE name = 'crm'") == [("active",)]

    play(tmp_path, story)


def test_another_request_under_the_same_name_is_refused(tmp_path: Path) -> None:
    async def story(sender: Sender) -> None:
        binary = {"ce-specversion": "1.0", "ce-source": "/desk", "ce-type": "a.b"}
        published = await sender.post(EVENTS, b"{}", **binary, ce_id="1", ce_x="y")
        assert published.status_code == 202, published.text
        kept = count(sender.world, "answers"), count(sender.world, "events")
        good = {**binary, "ce_id": "1", "ce_x": "y"}
        for path, body, headers in (
            (KEYS, b"{}", good),
            (f"{EVENTS}?shop=berlin", b"{}", good),
            (EVENTS, b"{ }", good),
            (EVENTS, b"{}", {**good, "ce_id": "2"}),
            (EVENTS, b"{}", {**good, "ce_x": "z"}),
            (EVENTS, b"{}", {**good, "content-type": "text/plain"}),
            (KEYS, b"nonsense", {}),
        ):
            answer = await sender.post(path, body, **headers)
            assert "came with another request" in problem(answer, 422, "unprocessable")
            assert idempotency.REPLAYED not in answer.headers
        assert (count(sender.world, "answers"), count(sender.world, "events")) == kept
        more = {**dict(reversed(good.items())), "user_agent": "another"}
        same(published, await sender.post(EVENTS, b"{}", **more))

        good_paused = await sender.post(f"{SUBSCRIPTIONS}/good/pause", b"", "two")
        assert good_paused.status_code == 200
        other = await sender.post(f"{SUBSCRIPTIONS}/good/resume", b"", "two")
        problem(other, 422, "unprocessable")
        same(good_paused, await sender.post(f"{SUBSCRIPTIONS}/good/pause", b"", "two"))

    play(tmp_path, story)


def test_while_it_is_answered_a_repeat_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(sender: Sender) -> None:
        begun, go_on = held(sender.world, monkeypatch)
        known = count(sender.world, "keys")
        first = asyncio.create_task(sender.post(KEYS, READER))
        await begun.wait()
        repeat = await sender.post(KEYS, READER)
        assert "repeat it in a second" in problem(repeat, 409, "conflict")
        assert repeat.headers["retry-after"] == "1"
        problem(await sender.post(KEYS, {"role": "admin"}), 422, "unprocessable")
        go_on.set()
        made = await first
        assert made.status_code == 201
        same(made, await sender.post(KEYS, READER))
        assert count(sender.world, "keys") == known + 1

    play(tmp_path, story)


def test_of_many_at_once_one_acts(tmp_path: Path) -> None:
    async def story(sender: Sender) -> None:
        known = count(sender.world, "keys")
        control = Sender(sender.world, sender.text, sender.world.public)
        answers = await asyncio.gather(*(sender.post(KEYS, READER) for _ in range(20)))
        assert {one.status_code for one in answers} <= {201, 409}
        assert all(one.headers["retry-after"] == "1" for one in answers if one.status_code == 409)
        assert len({one.content for one in answers if one.status_code == 201}) == 1
        assert count(sender.world, "keys") == known + 1

        # Both listeners have the same names.
        both = [(sender, control)[number % 2] for number in range(20)]
        published = await asyncio.gather(
            *(one.post(EVENTS, EVENT, "ev", **CLOUDEVENT) for one in both)
        )
        told = [one.json() for one in published if one.status_code == 202]
        assert told
        assert not any(one["duplicate"] for one in told)

    play(tmp_path, story)


def test_names_are_each_keys_own(tmp_path: Path) -> None:
    async def story(sender: Sender) -> None:
        world = sender.world
        first = await sender.post(KEYS, READER)
        second = await (await new(world)).post(KEYS, READER)
        assert second.status_code == 201
        assert idempotency.REPLAYED not in second.headers
        owner = Sender(world, "none", world.control)
        third = await owner.post(KEYS, READER)
        same(third, await owner.post(KEYS, READER))
        assert len({one.json()["id"] for one in (first, second, third)}) == 3
        # Who may not do it gets nothing of what another call has kept either.
        nobody = await (await new(world, Role.READER)).post(KEYS, READER)
        problem(nobody, 403, "forbidden")
        problem(await Sender(world, "x").post(KEYS, READER), 401, "unauthenticated")
        assert world.rows("SELECT principal FROM answers ORDER BY id")[2] == ("",)

    play(tmp_path, story)


@pytest.mark.parametrize("name", ["", " ", "x" * 256, "caf\xe9", "tab\there"])
def test_a_name_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    async def story(sender: Sender) -> None:
        known = count(sender.world, "keys")
        _, port = sender.root.rsplit(":", 1)
        headers = {
            "Authorization": f"Bearer {sender.text}",
            "Content-Type": "application/json",
            idempotency.HEADER: name,
        }
        body = json.dumps(READER).encode()

        async def status(request: str) -> int:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
            lines = {"Host": "x", "Connection": "close", "Content-Length": len(body), **headers}
            head = "".join(f"{one}: {value}\r\n" for one, value in lines.items())
            writer.write(f"{request} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
            answer = await reader.read()
            writer.close()
            assert b"printable ASCII" in answer or "GET" in request
            return int(answer.split(b" ", 2)[1])

        assert await status(f"POST {KEYS}") == 400
        assert await status(f"GET {KEYS}") == 200  # where it means nothing, it is not looked at
        assert count(sender.world, "keys") == known

    play(tmp_path, story)


def test_a_name_is_given_once_and_may_be_long(tmp_path: Path) -> None:
    async def story(sender: Sender) -> None:
        headers = [("authorization", f"Bearer {sender.text}"), ("content-type", "application/json")]
        twice = [*headers, (idempotency.HEADER, "a"), (idempotency.HEADER, "a")]
        url = sender.root + KEYS
        answer = await sender.world.client.post(url, headers=twice, content=b'{"role":"reader"}')
        assert "send it once" in problem(answer, 400, "bad_request")
        name = '"' + "~ !" * 84 + '"'
        assert len(name) == 254
        same(await sender.post(KEYS, READER, name), await sender.post(KEYS, READER, name))
        assert sender.world.rows("SELECT 1 FROM answers WHERE instr(key, '~')") == []

    play(tmp_path, story)


def test_what_was_refused_may_be_mended(tmp_path: Path) -> None:
    async def story(sender: Sender) -> None:
        for path, wrong, headers, status in (
            (KEYS, b"{", {}, 400),
            (KEYS, b'{"role":"king"}', {}, 400),
            (KEYS, b'{"role":"reader","expires_at":"2001-01-01T00:00:00Z"}', {}, 400),
            (f"{KEYS}?x=1", b'{"role":"reader"}', {}, 400),
            (SUBSCRIPTIONS, b'{"url":"nonsense"}', {}, 400),
            (KEYS, b'{"role":"reader"}', {"content-type": "text/plain"}, 415),
            (KEYS, b'{"role":"reader"}' + b" " * (300 << 10), {}, 413),
            (KEYS, b'{"role":"reader"}' + b" " * (3 << 20), {}, 413),
            (EVENTS, json.dumps({**EVENT, "type": "gateway.x"}).encode(), CLOUDEVENT, 422),
        ):
            answer = await sender.post(path, wrong, **headers)
            assert answer.status_code == status, answer.text
            assert "came with another" not in answer.text
        assert count(sender.world, "answers") == 0
        first = await sender.post(KEYS, READER)
        assert first.status_code == 201
        same(first, await sender.post(KEYS, READER))

    play(tmp_path, story)


def test_what_failed_is_done_when_it_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(sender: Sender) -> None:
        keys = sender.world.gateway.store.keys
        for error, status in ((Unavailable("not now"), 503), (ValueError("a bug"), 500)):

            async def failing(*_: Any, error: Exception = error) -> None:
                raise error

            with monkeypatch.context() as patch:
                patch.setattr(keys, "create", failing)
                assert (await sender.post(KEYS, READER)).status_code == status
        same(await sender.post(KEYS, READER), await sender.post(KEYS, READER))

    play(tmp_path, story)


def test_what_was_in_the_way_is_still_said(tmp_path: Path) -> None:
    async def story(sender: Sender) -> None:
        missing = await sender.post(f"{SUBSCRIPTIONS}/crm/pause", b"")
        problem(missing, 404, "not_found")
        body = {"url": "https://consumer.example/hook", "name": "crm"}
        assert (await sender.post(SUBSCRIPTIONS, body, None)).status_code == 201
        same(missing, await sender.post(f"{SUBSCRIPTIONS}/crm/pause", b""))
        taken = await sender.post(SUBSCRIPTIONS, {**body, "url": "https://other.example/"}, "two")
        problem(taken, 409, "conflict")
        assert "retry-after" not in taken.headers
        assert count(sender.world, "answers") == 1
        await sender.world.gateway.unsubscribe("crm")
        # What is in the way may pass by itself, and nothing was done: so it is done now.
        again = await sender.post(SUBSCRIPTIONS, {**body, "url": "https://other.example/"}, "two")
        assert (again.status_code, idempotency.REPLAYED in again.headers) == (201, False)

    play(tmp_path, story)


def test_what_changes_nothing_is_done_again(tmp_path: Path) -> None:
    async def story(sender: Sender) -> None:
        for types in (["order.paid"], ["order.created"]):  # neither kept, nor held against another
            body = {"types": types, "type": "order.paid"}
            answers = [await sender.post(f"{SUBSCRIPTIONS}/test-filter", body) for _ in range(2)]
            for answer in answers:
                assert answer.status_code == 200, answer.text
                assert answer.json()["matched"] is (types == ["order.paid"])
                assert idempotency.REPLAYED not in answer.headers
        assert count(sender.world, "answers") == 0

    play(tmp_path, story)


def test_without_the_header_nothing_is_asked_of_the_store(tmp_path: Path) -> None:
    async def story(sender: Sender) -> None:
        sender.world.gateway.store.answers = None  # type: ignore[assignment]
        assert (await sender.post(KEYS, READER, None)).status_code == 201
        assert (await sender.post(KEYS, READER)).status_code == 500
        assert count(sender.world, "answers") == 0

    play(tmp_path, story)


def test_who_hung_up_gets_the_answer_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(sender: Sender) -> None:
        begun, go_on = held(sender.world, monkeypatch)
        known = count(sender.world, "keys")
        hurried = asyncio.create_task(sender.post(KEYS, READER))
        await begun.wait()
        hurried.cancel()
        await asyncio.gather(hurried, return_exceptions=True)
        await asyncio.sleep(0.1)
        go_on.set()
        await sender.world.until(lambda: count(sender.world, "answers"))
        again = await sender.post(KEYS, READER)
        assert (again.status_code, again.headers[idempotency.REPLAYED]) == (201, "true")
        assert count(sender.world, "keys") == known + 1

    play(tmp_path, story)
