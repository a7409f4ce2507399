"""The OpenAPI document: names, words, examples that fit, and headers that answers really have."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gateway.keys import Role
from gateway.web.api.openapi import HEADERS, document
from gateway.web.api.operation import Operation
from gateway.web.api.table import OPERATIONS
from gateway.web.api.wording import EXAMPLES, FIELDS, PARAMETERS, PATH_EXAMPLES, PATH_IDS, REMEDIES
from gateway.web.problems import CODES
from tests.web.test_api import Caller, play
from tests.web.test_docs_page import things

DOCUMENT = document(OPERATIONS)
SCHEMAS = DOCUMENT["components"]["schemas"]
NAMES = [operation.name for operation in OPERATIONS]


def told(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][operation.path][operation.method.lower()]
    return found


def bodies(operation: Operation) -> dict[str, Any]:
    content: dict[str, Any] = told(operation).get("requestBody", {}).get("content", {})
    return content


@pytest.mark.parametrize("operation", OPERATIONS, ids=NAMES)
def test_everything_that_goes_in_is_told_of(operation: Operation) -> None:
    """What has no `Meta(description=...)` of its own has its words in `wording.py`."""
    parameters = told(operation).get("parameters", ())
    assert [one["name"] for one in parameters if not one.get("description")] == []
    for content in bodies(operation).values():
        schema = (
            SCHEMAS[content["schema"]["$ref"].rpartition("/")[2]] if "schema" in content else {}
        )
        fields = schema.get("properties", {})
        assert [name for name, one in fields.items() if not described(one)] == []


def described(schema: dict[str, Any]) -> bool:
    return bool(schema.get("description")) or any(map(described, schema.get("anyOf", ())))


@pytest.mark.parametrize("operation", OPERATIONS, ids=NAMES)
def test_every_body_has_an_example_that_fits(operation: Operation) -> None:
    for content in bodies(operation).values():
        schema = content.get("schema", {})
        jsonschema.validate(content["example"], {**schema, "components": DOCUMENT["components"]})


def test_no_words_are_left_over() -> None:
    """Of what is no longer there nothing is said."""
    parameters = {
        one["name"] for operation in OPERATIONS for one in told(operation).get("parameters", ())
    }
    assert set(PARAMETERS) <= parameters
    assert set(EXAMPLES) == {one.name for one in OPERATIONS if bodies(one)}
    assert {*PATH_IDS, *PATH_EXAMPLES} == {one.tag for one in OPERATIONS if "{" in one.path}
    for name, fields in FIELDS.items():
        assert set(fields) <= set(SCHEMAS[name]["properties"])
    assert set(REMEDIES) == set(CODES.values())


def test_lists_have_names_that_say_what_they_hold() -> None:
    for row in ("Event", "Delivery", "Callback"):
        schema = SCHEMAS[f"{row}List"]
        assert schema["properties"]["data"]["items"] == {"$ref": f"#/components/schemas/{row}Row"}
        assert schema["required"] == ["data", "cursor", "done"]
    assert SCHEMAS["EventRow"]["properties"]["recorded"]["format"] == "date-time"
    assert [name for name in SCHEMAS if not name.isidentifier()] == []


def test_every_answer_has_the_headers_that_are_told_of(tmp_path: Path) -> None:
    """And none of those that the document knows beside them."""
    seen: set[str] = set()

    def check(operation: Operation, status: int, headers: Any) -> None:
        documented = set(told(operation)["responses"][str(status)]["headers"])
        known = {name for name in HEADERS if name in headers}
        assert known == documented & set(HEADERS), (operation.name, status)
        seen.update(known)

    async def story(caller: Caller) -> None:
        ids = await things(caller)
        for operation in OPERATIONS:
            path = operation.path.replace("{type}", "order.paid")
            path = path.replace("{id}", ids.get(operation.tag, ""))
            response = await caller.ask(path, method=operation.method, role=None)
            assert response.status_code == 401
            check(operation, 401, response.headers)
            if operation.method == "GET" and operation.tag != "stream":
                response = await caller.get(path, role=Role.ADMIN)
                check(operation, response.status_code, response.headers)
        await changes(caller, ids["subscriptions"], check)

    play(tmp_path, story)
    assert seen == set(HEADERS) - {"Retry-After"}


async def changes(caller: Caller, subscription: str, check: Any) -> None:
    named = {operation.name: operation for operation in OPERATIONS}
    path = f"/v1/subscriptions/{subscription}"
    url = {"url": "https://consumer.example.com/in"}
    for name, method, at, body, status in (
        ("createSubscription", "POST", "/v1/subscriptions", url, 201),
        ("createSubscription", "POST", "/v1/subscriptions", url, 200),
        ("changeSubscription", "PATCH", path, {"types": ["order.paid"]}, 200),
        ("rotateSubscription", "POST", f"{path}/rotate", {}, 200),
        ("pauseSubscription", "POST", f"{path}/pause", None, 200),
        ("removeSubscription", "DELETE", path, None, 204),
    ):
        response = await caller.ask(at, method=method, body=body)
        assert response.status_code == status, response.text
        check(named[name], status, response.headers)
