"""Sources made, changed and removed over the API: who may, what is said, what is refused."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.errors import Unavailable
from gateway.keys import Role
from gateway.stores.sqlite import sources
from tests.web.test_api import Caller, play

PATH = "/v1/sources"
SECRET, OTHER, TOKEN = "canary-secret-11", "canary-secret-22", "canary-token-33"
CANARIES = (SECRET, OTHER, TOKEN)
BERLIN = {"name": "berlin", "provider": "printstudio", "secrets": [SECRET]}
TIGER = {
    "name": "tiger",
    "provider": "marketiger",
    "base_url": "http://127.0.0.1:9/v2",
    "token": TOKEN,
    "interval": "1d",
}


class Asker:
    """Asks with a key of one role, and looks through each answer for what must not be in it."""

    def __init__(self, caller: Caller, role: Role = Role.OPERATOR) -> None:
        self.caller, self.role = caller, role

    async def ask(
        self, method: str, path: str = "", body: object = None, **headers: str
    ) -> httpx2.Response:
        content = body if isinstance(body, bytes) else None
        response = await self.caller.world.client.request(
            method,
            f"{self.caller.world.admin}{PATH}{path}",
            headers={
                "authorization": f"Bearer {self.caller.keys[self.role]}",
                **({"content-type": "application/json"} if content is not None else {}),
                **{name.replace("_", "-"): value for name, value in headers.items()},
            },
            json=None if content is not None else body,
            content=content,
        )
        assert [one for one in CANARIES if one in response.text] == [], response.text
        assert [one for one in CANARIES if one in str(response.headers)] == []
        return response

    async def done(self, method: str, path: str = "", body: object = None, **more: str) -> Any:
        response = await self.ask(method, path, body, **more)
        assert response.is_success, response.text
        return response.json() if response.content else None

    async def refused(self, status: int, method: str, path: str, body: object, **more: str) -> str:
        response = await self.ask(method, path, body, **more)
        assert response.status_code == status, response.text
        assert response.json()["code"] in {"bad_request", "conflict", "not_found", "forbidden"} | {
            "precondition_failed"
        }
        return str(response.json()["detail"])

    async def tag(self, name: str) -> str:
        return str((await self.ask("GET", f"/{name}")).headers["etag"])


def told(folder: Path, story: Callable[[Asker], Awaitable[None]]) -> None:
    async def whole(caller: Caller) -> None:
        await story(Asker(caller))

    play(folder, whole)


def test_a_source_from_its_making_to_its_end(tmp_path: Path) -> None:
    async def story(asker: Asker) -> None:
        response = await asker.ask("POST", "", BERLIN)
        assert response.status_code == 201
        made = response.json()
        told = {"name": "berlin", "provider": "printstudio", "shop": "default", "enabled": True}
        told |= {"declared": False, "problem": None, "kind": "called", "asking": None}
        assert {key: made[key] for key in told} == told
        assert made["callbacks"] == "/hooks/berlin"
        assert made["keys"] == {
            "provider": "printstudio",
            "shop": "default",
            "enabled": True,
            "tolerance": "5m",
            "include": [],
            "rejection_status": 401,
            "silent_after": None,
            "currency": None,
        }
        assert await asker.done("GET", "/berlin") == made
        assert await asker.tag("berlin") == response.headers["etag"]
        listed = (await asker.done("GET"))["data"]
        assert [one["name"] for one in listed] == ["shop", "stripe", "berlin"]
        assert [one["declared"] for one in listed] == [True, True, False]

        changes = {"shop": "berlin", "silent_after": "6h", "currency": "EUR", "tolerance": "1m"}
        changed = await asker.done("PATCH", "/berlin", changes)
        assert changed["keys"] == made["keys"] | changes
        assert changed["shop"] == "berlin"
        default = dict.fromkeys(changes)
        assert await asker.done("PATCH", "/berlin", default) == made
        rests = await asker.done("PATCH", "/berlin", {"enabled": False})
        assert (rests["enabled"], rests["callbacks"]) == (False, "/hooks/berlin")

        assert await asker.done("DELETE", "/berlin") is None
        assert (await asker.ask("DELETE", "/berlin")).status_code == 204
        await asker.refused(404, "GET", "/berlin", None)
        await asker.refused(404, "PATCH", "/berlin", {})
        again = await asker.ask("POST", "", BERLIN)
        assert (again.status_code, again.json()) == (201, made)

    told(tmp_path, story)


def test_what_is_shown_of_its_keys_makes_another_one_like_it(tmp_path: Path) -> None:
    async def story(asker: Asker) -> None:
        given = {"line_status": {"20": "printing"}, "currency": "EUR", "price_unit": "minor"}
        made = await asker.done("POST", "", {**TIGER, **given, "requests_per_minute": 7})
        assert made["kind"] == "polled"
        assert made["asking"]["host"] == "127.0.0.1:9"
        assert made["keys"].items() >= given.items()
        copy = await asker.done("POST", "", {"name": "copy", "token": TOKEN, **made["keys"]})
        assert copy["keys"] == made["keys"]

    told(tmp_path, story)


def test_a_reader_is_told_of_no_keys(tmp_path: Path) -> None:
    async def story(asker: Asker) -> None:
        for body in (BERLIN, TIGER):
            await asker.done("POST", "", body)
        for role, known in ((Role.ADMIN, True), (Role.OPERATOR, True), (Role.READER, False)):
            other = Asker(asker.caller, role)
            one = await other.done("GET", "/tiger")
            assert (one["keys"] is not None) == known
            assert one["asking"]["host"] == "127.0.0.1:9"
            everything = json.dumps(await other.done("GET"))
            assert ("/v2" in everything) == known

    told(tmp_path, story)


@pytest.mark.parametrize("role", [Role.READER, Role.SUBSCRIBER, Role.PUBLISHER])
def test_only_operators_and_admins_may(tmp_path: Path, role: Role) -> None:
    async def story(asker: Asker) -> None:
        await asker.done("POST", "", BERLIN)
        before = await asker.tag("berlin")
        other = Asker(asker.caller, role)
        for method, path, body in (
            ("POST", "", {**BERLIN, "name": "x"}),
            ("PATCH", "/berlin", {"enabled": False}),
            ("DELETE", "/berlin", None),
        ):
            await other.refused(403, method, path, body)
        assert await asker.tag("berlin") == before
        assert (await Asker(asker.caller, Role.ADMIN).ask("DELETE", "/berlin")).status_code == 204

    told(tmp_path, story)


def test_nothing_is_changed_that_somebody_else_has_changed(tmp_path: Path) -> None:
    async def story(asker: Asker) -> None:
        first = (await asker.ask("POST", "", BERLIN)).headers["etag"]
        assert (
            first
            == await asker.tag("berlin")
            == await Asker(asker.caller, Role.READER).tag("berlin")
        )
        changed = await asker.ask("PATCH", "/berlin", {"shop": "b"}, if_match=f'"x", {first}')
        second = changed.headers["etag"]
        assert second not in {first, ""}
        detail = await asker.refused(412, "PATCH", "/berlin", {"shop": "c"}, if_match=first)
        assert "read it again" in detail
        for wrong in (f"W/{second}", second.strip('"'), ""):
            await asker.refused(412, "PATCH", "/berlin", {"shop": "c"}, if_match=wrong)
        assert (await asker.done("GET", "/berlin"))["shop"] == "b"
        # Other secrets are another source, though nothing of it shows.
        await asker.done("PATCH", "/berlin", {"secrets": [OTHER]}, if_match=second)
        third = await asker.tag("berlin")
        assert third not in {first, second}
        await asker.done("PATCH", "/berlin", {"secrets": [SECRET]}, if_match="*")
        assert await asker.tag("berlin") == second
        # And of two sources with the same secrets nobody learns that they are the same.
        await asker.done("POST", "", {**BERLIN, "name": "twin", "shop": "b"})
        assert await asker.tag("twin") != second

    told(tmp_path, story)


def test_a_tag_says_nothing_of_secrets_to_who_guesses_them(tmp_path: Path) -> None:
    """It is another one at another gateway: its own key is in it."""
    tags: list[str] = []

    async def story(asker: Asker) -> None:
        tags.append((await asker.ask("POST", "", BERLIN)).headers["etag"])

    for name in "ab":
        (tmp_path / name).mkdir()
        told(tmp_path / name, story)
    assert tags[0] != tags[1]


def test_of_two_changes_on_the_same_state_one_is_made(tmp_path: Path) -> None:
    async def story(asker: Asker) -> None:
        tag = (await asker.ask("POST", "", BERLIN)).headers["etag"]
        answers = await asyncio.gather(
            *(
                asker.ask("PATCH", "/berlin", {"shop": f"s{number}"}, if_match=tag)
                for number in range(8)
            )
        )
        assert sorted(one.status_code for one in answers) == [200, *[412] * 7]
        (done,) = [one for one in answers if one.status_code == 200]
        assert (await asker.done("GET", "/berlin"))["shop"] == done.json()["shop"]

    told(tmp_path, story)


def test_a_repeat_under_the_same_name_makes_it_once(tmp_path: Path) -> None:
    async def story(asker: Asker) -> None:
        first = await asker.ask("POST", "", BERLIN, idempotency_key="a")
        again = await asker.ask("POST", "", BERLIN, idempotency_key="a")
        assert (again.status_code, again.content) == (201, first.content)
        assert again.headers["etag"] == first.headers["etag"]
        assert again.headers["idempotency-replayed"] == "true"
        other = {**BERLIN, "secrets": [OTHER]}
        assert (await asker.ask("POST", "", other, idempotency_key="a")).status_code == 422
        await asker.refused(409, "POST", "", BERLIN, idempotency_key="b")

    told(tmp_path, story)


WRONG: tuple[tuple[dict[str, object], str], ...] = (
    ({"name": None}, "name: is required"),
    ({"name": 7}, "name: is required"),
    ({"name": ""}, "name: not a name"),
    ({"name": "Berlin"}, "name: not a name"),
    ({"name": "../shop"}, "name: not a name"),
    ({"name": "gateway"}, "name: is the gateway's own name"),
    ({"name": "published"}, "name: is the gateway's own name"),
    ({"provider": None}, "provider: is required"),
    ({"provider": ["stripe"]}, "provider: expected text"),
    ({"provider": "printstudi"}, "provider: there is no provider 'printstudi'"),
    ({"provider": "\0"}, "provider: there is no provider"),
    ({"secrets": None}, "secrets: at least one secret is needed"),
    ({"secrets": []}, "secrets: at least one secret is needed"),
    ({"secrets": [SECRET, ""]}, "secrets[1]: the secret is empty"),
    ({"secrets": [f"${{{SECRET}}}"]}, "secrets[0]: ${ "),
    ({"secrets": {SECRET: 1}}, "secrets: expected a list"),
    ({"token": TOKEN}, "base_url: is required"),
    ({"base_url": "https://api.example.com"}, "token: is required"),
    ({"base_url": "http://[::1]/", "token": TOKEN}, "base_url: "),
    ({"base_url": "http://10.1.2.3/", "token": TOKEN}, "base_url: "),
    ({"base_url": "javascript:alert(1)", "token": TOKEN}, "base_url: "),
    ({"shop": ""}, "shop: expected"),
    ({"enabled": 1}, "enabled: expected true or false"),
    ({"rejection_status": 500}, "rejection_status: expected a status"),
    ({"rejection_status": 10**40}, "rejection_status: expected a status"),
    ({"tolerance": "soon"}, "tolerance: expected a time"),
    ({"silent_after": 5}, "silent_after: expected a time"),
    ({"include": "all"}, "include[0]: expected"),
    ({"currency": "Euro"}, "currency: must be three letters"),
    ({"options": {"currency": "EUR"}}, "options: unknown key"),
    ({"poll": {"token": TOKEN}}, "poll: unknown key"),
    ({"sekrets": [SECRET]}, 'sekrets: unknown key (did you mean "secrets"?)'),
    ({"sekrets": None}, 'sekrets: unknown key (did you mean "secrets"?)'),
    ({"line_status": {}}, "line_status: unknown key"),
    ({"\0": 1}, '"\\u0000": unknown key'),
)


def test_every_wrong_key_is_told_by_its_path(tmp_path: Path) -> None:
    async def story(asker: Asker) -> None:
        made = await asker.done("POST", "", {**BERLIN, "name": "made"})
        for keys, detail in WRONG:
            said = await asker.refused(400, "POST", "", {**BERLIN, **keys})
            assert said.startswith(detail), (keys, said)
            if "name" not in keys:
                said = await asker.refused(400, "PATCH", "/made", keys)
                assert said.startswith(detail), (keys, said)
        assert "cannot be changed" in await asker.refused(400, "PATCH", "/made", {"name": "x"})
        assert await asker.done("GET", "/made") == made
        assert len((await asker.done("GET"))["data"]) == 3

    told(tmp_path, story)


def test_a_provider_may_be_changed_when_all_of_the_other_is_taken_away(tmp_path: Path) -> None:
    async def story(asker: Asker) -> None:
        await asker.done("POST", "", {**TIGER, "line_status": {"20": "ready"}})
        change = {"provider": "stripe", "secrets": [SECRET], "livemode": True}
        said = await asker.refused(400, "PATCH", "/tiger", change)
        assert said.startswith("base_url: unknown key")
        gone = dict.fromkeys(["base_url", "token", "interval", "line_status"])
        changed = await asker.done("PATCH", "/tiger", change | gone)
        assert (changed["provider"], changed["kind"]) == ("stripe", "called")

    told(tmp_path, story)


def test_a_token_is_sent_to_no_other_host_than_it_was_given_for(tmp_path: Path) -> None:
    async def story(asker: Asker) -> None:
        assert (await asker.ask("POST", "", TIGER)).status_code == 201
        for url in ("http://127.0.0.1:8/v2", "https://127.0.0.1:9/v2", "https://api.example.com"):
            said = await asker.refused(400, "PATCH", "/tiger", {"base_url": url})
            assert said.startswith("token: give it again"), url
        path = {"base_url": "http://127.0.0.1:9/v3"}
        assert (await asker.done("PATCH", "/tiger", path))["keys"]["base_url"] == path["base_url"]
        other = {"base_url": "https://api.example.com", "token": OTHER}
        assert (await asker.done("PATCH", "/tiger", other))["asking"]["host"] == "api.example.com"

    told(tmp_path, story)


def test_names_that_are_taken(tmp_path: Path) -> None:
    async def story(asker: Asker) -> None:
        await asker.done("POST", "", BERLIN)
        said = await asker.refused(409, "POST", "", {**BERLIN, "secrets": [OTHER]})
        assert said == "name: there is a source berlin already: choose another name"
        said = await asker.refused(409, "POST", "", {**BERLIN, "name": "shop"})
        assert said.startswith("name: the configuration declares a source shop")
        for method, body in (("PATCH", {"enabled": False}), ("DELETE", None)):
            said = await asker.refused(409, method, "/shop", body)
            assert "change it there" in said

    told(tmp_path, story)


def test_there_is_an_end_to_how_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST", 3)

    async def story(asker: Asker) -> None:
        answers = await asyncio.gather(
            *(asker.ask("POST", "", {**BERLIN, "name": f"s{number}"}) for number in range(6))
        )
        assert sorted(one.status_code for one in answers) == [201] * 3 + [409] * 3
        assert len((await asker.done("GET"))["data"]) == 5
        known = {one["name"] for one in (await asker.done("GET"))["data"]}
        kept = asker.caller.world.rows("SELECT name FROM made_sources")
        assert {name for (name,) in kept} == known - {"shop", "stripe"}
        await asker.done("DELETE", f"/{kept[0][0]}")
        await asker.done("POST", "", {**BERLIN, "name": "last"})

    told(tmp_path, story)


def test_of_many_sources_some_are_named(tmp_path: Path) -> None:
    async def story(asker: Asker) -> None:
        for number in range(30):
            await asker.done("POST", "", {**BERLIN, "name": f"s{number}"})
        said = await asker.refused(404, "GET", "/nobody", None)
        assert said.startswith("there is no source nobody: known are shop, stripe, s0, s1")
        assert said.endswith(" and 12 more")

    told(tmp_path, story)


def test_what_the_store_does_not_take_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(asker: Asker) -> None:
        gateway = asker.caller.world.gateway
        tag = (await asker.ask("POST", "", BERLIN)).headers["etag"]

        async def full(*_: object) -> None:
            raise Unavailable("the disk is full")

        for name, calls in (
            ("put", (("POST", "", {**BERLIN, "name": "new"}), ("PATCH", "/berlin", {"shop": "b"}))),
            ("remove", (("DELETE", "/berlin", None),)),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(gateway.store.sources, name, full)
                for method, path, body in calls:
                    response = await asker.ask(method, path, body)
                    assert response.status_code == 503
                    assert response.headers["retry-after"]
        assert await asker.tag("berlin") == tag
        assert list(gateway.sources.all) == ["shop", "stripe", "berlin"]
        assert gateway.receiver.source("berlin").shop == "default"
        await asker.done("POST", "", {**BERLIN, "name": "new"})
        # What was stored is done and said, whatever fails behind it.
        with monkeypatch.context() as patch:
            patch.setattr(gateway.store.sources, "read_by", full)
            await asker.done("PATCH", "/berlin", {"currency": "EUR"})
            await asker.done("PATCH", "/berlin", {"currency": "USD"})
        assert gateway.receiver.source("berlin").shop == "default"
        assert noted(asker) == [None]
        await asker.done("PATCH", "/new", {"shop": "b"})
        assert noted(asker) == [None, "EUR", "USD"]

    def noted(asker: Asker) -> list[str | None]:
        rows = asker.caller.world.rows(
            "SELECT options FROM mappings WHERE source = 'berlin' ORDER BY id"
        )
        return [json.loads(options)["currency"] for (options,) in rows]

    told(tmp_path, story)
