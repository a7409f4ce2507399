"""The OpenAPI 3.1 document, from the same rows and types that let requests in and check them."""

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec

from gateway import __version__
from gateway.shown import schemas_of
from gateway.web.api import idempotency
from gateway.web.api.operation import EVERYONE, Nothing, Operation
from gateway.web.api.wording import (
    FIELDS,
    PARAMETERS,
    PATH_EXAMPLES,
    PATH_IDS,
    REMEDIES,
    example_of,
)
from gateway.web.problems import CODES

ALWAYS = ("bad_request", "unauthenticated", "internal")
"""What every call may answer."""

PROBLEM: Mapping[str, Any] = {
    "type": "object",
    "description": "What went wrong (RFC 9457). Programs look at `code`, people at `detail`.",
    "required": ["type", "title", "status", "code", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {
            "type": "string",
            "enum": sorted(CODES.values()),
            "x-enumDescriptions": dict(sorted(REMEDIES.items())),
        },
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
    },
}


IDEMPOTENCY_KEY: Mapping[str, Any] = {
    "name": idempotency.HEADER,
    "in": "header",
    "description": "With it the request acts once, however often it is sent: see docs/api.md.",
    "schema": idempotency.SCHEMA,
}

HEADERS: Mapping[str, Mapping[str, str]] = {
    "X-Request-Id": {"description": "The request's number, which the gateway's log has too."},
    "ETag": {"description": "What it is like now: send it as `If-Match` to change only this."},
    "Content-Disposition": {"description": "A name for the file."},
    "WWW-Authenticate": {"description": "That a key is wanted."},
    "Retry-After": {"description": "After how many seconds to try again."},
}
"""The headers of answers, beside those that every HTTP answer has."""

TOLD = {"unauthenticated": ("WWW-Authenticate",), "unavailable": ("Retry-After",)}
"""Which problems have one more."""

DONE = {201: "Made.", 202: "Taken.", 204: "Done; the answer has no body."}


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
            "schemas": {**_worded(components), "Problem": PROBLEM},
            "headers": {
                name: {"required": True, **told, "schema": {"type": "string"}}
                for name, told in HEADERS.items()
            },
        },
    }


def _worded(components: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The types, with what their fields mean where they do not say so themselves."""
    return {name: _explained(name, one) for name, one in components.items()}


def _explained(name: str, component: dict[str, Any]) -> dict[str, Any]:
    found = dict(component)
    if "description" in found:
        found["description"] = inspect.cleandoc(found["description"])
    told = FIELDS.get(name, {})
    if told:
        found["properties"] = {
            field: {"description": told[field], **schema} if field in told else schema
            for field, schema in component["properties"].items()
        }
    return found


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
        "x-roles": sorted(operation.roles),
        "x-doors": sorted(operation.doors),
        "responses": {
            **{
                str(status): _success(operation, status, known)
                for status in (operation.status, *operation.also)
            },
            **_problems(operation),
        },
    }
    parameters = [
        *_path_parameters(operation),
        *_query_parameters(operation),
        *(
            {"name": name, "in": "header", **_described(name), "schema": {"type": "string"}}
            for name in operation.headers
        ),
        *([IDEMPOTENCY_KEY] if operation.once else ()),
    ]
    if parameters:
        found["parameters"] = parameters
    content = {kind: _sample(operation, kind) for kind in operation.takes}
    if operation.body is not None:
        schema = {"schema": known[id(operation.body)]}
        content["application/json"] = schema | _sample(operation, "application/json")
    if content:
        found["requestBody"] = {"required": True, "content": content}
    return found


def _sample(operation: Operation, media: str) -> dict[str, Any]:
    example = example_of(operation.name, media)
    return {} if example is None else {"example": example}


def _success(operation: Operation, status: int, known: Mapping[int, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": DONE.get(status, "Done."),
        "headers": _headers("X-Request-Id", *operation.tells),
    }
    if operation.once:
        answer["headers"] |= {
            idempotency.REPLAYED: {
                "description": "Given for a request that was answered before.",
                "schema": {"const": "true"},
            }
        }
    schemas = [known[id(one)] for one in _answers(operation)]
    if schemas:
        schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        answer["content"] = {"application/json": {"schema": schema}}
    elif operation.status != 204:
        answer["content"] = {operation.media: {}}
    return answer


def _problems(operation: Operation) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    repeated = idempotency.CODES if operation.once else ()
    refused = () if operation.roles == EVERYONE else ("forbidden",)
    failed = ("unavailable",) if operation.stored else ()
    wanted = {*ALWAYS, *refused, *failed, *operation.codes, *repeated}
    return {
        str(status): {
            "description": f"`{code}`",
            "headers": _headers("X-Request-Id", *TOLD.get(code, ())),
            "content": content,
        }
        for status, code in CODES.items()
        if code in wanted
    }


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _path_parameters(operation: Operation) -> Iterable[dict[str, Any]]:
    known = {"description": PATH_IDS, "example": PATH_EXAMPLES}
    told = {key: words[operation.tag] for key, words in known.items() if operation.tag in words}
    for name in re.findall(r"{(\w+)}", operation.path):
        found = {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        yield found | told


def _query_parameters(operation: Operation) -> Iterable[dict[str, Any]]:
    for name, schema in _properties(operation.query).items():
        told = schema.pop("description", None)
        own = told is not None and "enum" not in schema  # an enumeration's is of the kind
        described = {"description": told} if own else _described(name)
        yield {"name": name, "in": "query", "required": False, **described, "schema": schema}


def _described(name: str) -> dict[str, str]:
    return {"description": PARAMETERS[name]} if name in PARAMETERS else {}


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
