"""The OpenAPI 3.1 document, from the same rows and types that let requests in and check them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec

from gateway import __version__
from gateway.shown import schemas_of
from gateway.web.api.operation import Nothing, Operation
from gateway.web.problems import CODES

ALWAYS = ("bad_request", "unauthenticated", "forbidden", "internal", "unavailable")
"""What every call may answer."""

PROBLEM: Mapping[str, Any] = {
    "type": "object",
    "description": "What went wrong (RFC 9457). Programs look at `code`, people at `detail`.",
    "required": ["type", "title", "status", "code", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "enum": sorted(CODES.values())},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
    },
}


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """The whole document."""
    operations = list(operations)
    types = [one for operation in operations for one in _types(operation)]
    references, components = schemas_of(types)
    known = {id(one): reference for one, reference in zip(types, references, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(
            operation, known
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Webhook gateway",
            "version": __version__,
            "description": "What the gateway knows, and what can be done with it.",
        },
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {**components, "Problem": PROBLEM},
        },
    }


def _types(operation: Operation) -> list[Any]:
    body = [] if operation.body is None else [operation.body]
    return [*body, *_answers(operation)]


def _answers(operation: Operation) -> Sequence[Any]:
    """The types that it may answer with: several, or none where it answers with plain bytes."""
    if operation.answer is None:
        return ()
    union = get_origin(operation.answer) in {Union, UnionType}
    return get_args(operation.answer) if union else (operation.answer,)


def _operation(operation: Operation, known: Mapping[int, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": f"For keys of the roles {', '.join(sorted(operation.roles))}.",
        "responses": {
            **{
                str(status): _success(operation, known)
                for status in (operation.status, *operation.also)
            },
            **_problems(operation),
        },
    }
    parameters = [
        *_path_parameters(operation),
        *_query_parameters(operation),
        *(
            {"name": name, "in": "header", "schema": {"type": "string"}}
            for name in operation.headers
        ),
    ]
    if parameters:
        found["parameters"] = parameters
    if operation.takes:
        found["requestBody"] = {"required": True, "content": {kind: {} for kind in operation.takes}}
    if operation.body is not None:
        schema = known[id(operation.body)]
        found["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return found


def _success(operation: Operation, known: Mapping[int, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "Done."}
    schemas = [known[id(one)] for one in _answers(operation)]
    if schemas:
        schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        answer["content"] = {"application/json": {"schema": schema}}
    elif operation.status != 204:
        answer["content"] = {"application/octet-stream": {}}
    return answer


def _problems(operation: Operation) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    wanted = {*ALWAYS, *operation.codes}
    return {
        str(status): {"description": f"`{code}`", "content": content}
        for status, code in CODES.items()
        if code in wanted
    }


def _path_parameters(operation: Operation) -> Iterable[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", operation.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameters(operation: Operation) -> Iterable[dict[str, Any]]:
    for name, schema in _properties(operation.query).items():
        description = schema.pop("description", None)
        described = {} if description is None else {"description": description}
        yield {"name": name, "in": "query", "required": False, **described, "schema": schema}


def _properties(query: type[msgspec.Struct]) -> dict[str, dict[str, Any]]:
    if query is Nothing:
        return {}
    schema = msgspec.json.schema(query, ref_template="#/components/schemas/{name}")
    properties = schema["$defs"][query.__name__]["properties"] if "$defs" in schema else {}
    return {name: _plain(part, schema.get("$defs", {})) for name, part in properties.items()}


def _plain(schema: dict[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter's schema without null, which no query can say, and without references."""
    choices = [one for one in schema.get("anyOf", [schema]) if one != {"type": "null"}]
    found = dict(choices[0])
    reference = found.pop("$ref", None)
    if reference is not None:
        found |= others[reference.rsplit("/", 1)[1]]
    found.pop("title", None)
    if schema.get("default") is not None:
        found["default"] = schema["default"]
    return found


@cache
def encoded(operations: tuple[Operation, ...]) -> bytes:
    """The document as it is served."""
    return msgspec.json.encode(document(operations))
