"""What the API takes and shows of a subscription: the keys of the configuration, also as text."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from gateway.config.settings import SubscriptionSettings
from gateway.keys import Role
from gateway.web.api.openapi import document
from gateway.web.api.subscribing import SUBSCRIBING
from gateway.web.api.subscriptions import SubscriptionKeys
from tests.pipeline.world import World
from tests.web.test_api_subscriptions import PATH, new_key, play, url


def test_keys_are_those_of_the_configuration_also_as_text(tmp_path: Path) -> None:
    texts: dict[str, Any] = {
        "types": "order.paid,order.shipped",
        "sources": "shop",
        "slots": "3",
        "flat": "true",
        "rate": "20/s",
        "timeout": "7s",
        "schedule": "1s,5m",
        "mode": "json",
        "final_status": "422",
        "from": "2026-01-01T00:00:00Z",
        "filters": '[{ prefix = { type = "order." } }]',
    }

    async def story(world: World) -> None:
        key = await new_key(world)
        one = await key.subscribe(url="https://e.example/one", name="one", **texts)
        assert one["types"] == ["order.paid", "order.shipped"]
        assert one["schedule"] == ["1s", "5m"]
        assert (one["slots"], one["rate"], one["timeout"]) == (3, "20/s", "7s")
        typed = {name: one[name] for name in texts}
        two = await key.subscribe(url="https://e.example/two", name="two", **typed)
        assert {name: two[name] for name in texts} == typed
        etag = (await key.ask("GET", f"{PATH}/one")).headers["etag"]
        assert (await key.ask("PATCH", f"{PATH}/one", {})).headers["etag"] == etag
        made = (await key.subscribe(url="https://hooks.e.example/x"))["name"]
        assert made.startswith("hooks-e-example-")
        response = await key.ask("PATCH", f"{PATH}/{made}", {"profile": "n8n", "slots": 7})
        profile = {name: response.json()[name] for name in ("profile", "mode", "slots", "timeout")}
        assert profile == {"profile": "n8n", "mode": "json", "slots": 7, "timeout": "30s"}

    play(tmp_path, story)
    keys = {field.encode_name for field in msgspec.structs.fields(SubscriptionSettings)}
    described = {field.encode_name for field in msgspec.structs.fields(SubscriptionKeys)}
    extra = {"name", "description", "hookUrl", "target_url"}
    assert described == keys - {"secrets"} | extra


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "url: is required"),
        ({"url": "https://e.example/", "urll": 1}, 'urll: unknown key (did you mean "url"?)'),
        ({"url": "https://e.example/", "secrets": ["whsec_x"]}, "secrets: is not chosen here"),
        ({"url": "https://e.example/", "hookUrl": "https://e.example/"}, "url: is given twice"),
        ({"url": "http://192.168.0.1/"}, "url: "),
        ({"url": 1}, "url: expected text"),
        ({"url": "https://e.example/", "slots": None}, "slots: expected"),
        ({"url": "https://e.example/", "types": ["A"]}, "types[0]: expected"),
        ({"url": "https://e.example/", "name": "Crm"}, "name: not a name"),
        ({"url": "https://e.example/", "description": 1}, "description: expected"),
        ({"url": "https://e.example/", "headers": {"X-A": "${HOME}"}}, "headers.X-A: "),
        ([], "body: "),
    ],
)
def test_wrong_bodies_are_refused_with_the_path(
    tmp_path: Path, body: object, sentence: str
) -> None:
    async def story(world: World) -> None:
        key = await new_key(world)
        response = await key.ask("POST", PATH, body)
        assert response.status_code == 400
        assert response.json()["detail"].startswith(sentence), response.text
        assert "whsec_" not in response.text
        assert await key.listed() == []
        made = await key.subscribe(url="https://e.example/")
        changed = await key.ask("PATCH", f"{PATH}/{made['id']}", body)
        assert changed.status_code in {200, 400}
        assert "whsec_" not in changed.text

    play(tmp_path, story)


def test_answers_are_as_the_document_says(tmp_path: Path) -> None:
    described = document(SUBSCRIBING)

    def check(method: str, path: str, status: int, answer: object) -> None:
        told = described["paths"][path][method]["responses"][str(status)]["content"]
        schema = told["application/json"]["schema"]
        Draft202012Validator({**schema, "components": described["components"]}).validate(answer)

    async def story(world: World) -> None:
        key, admin = await new_key(world), await new_key(world, Role.ADMIN)
        one = f"{PATH}/{{id}}"
        body = {
            "url": url(world.consumer, "/webhook-test/1"),
            "filters": [{"not": {"exact": {"type": "order.paid"}}}],
            "headers": {"X-Key": "k"},
            "final_status": [422],
        }
        for status in (201, 200):
            made = await key.subscribe(status, **body)
            check("post", PATH, status, made)
        check("get", PATH, 200, await admin.get(PATH))
        check("get", one, 200, await key.get(f"{PATH}/{made['id']}"))
        check("get", one, 200, await admin.get(f"{PATH}/good"))
        for method, verb, sent in (
            ("patch", "", {"rate": "5/m"}),
            ("post", "/rotate", {}),
            ("post", "/pause", None),
            ("post", "/resume", None),
        ):
            response = await key.ask(method.upper(), f"{PATH}/{made['id']}{verb}", sent)
            check(method, f"{one}{verb}", response.status_code, response.json())

    play(tmp_path, story)
