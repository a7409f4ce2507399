"""`/docs`: the OpenAPI document for people, as one page that needs nothing else.

No script and nothing from outside: the page's policy lets in its own style sheet and no more.
"""

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from gateway.keys import MAY
from gateway.web.pages import curl
from gateway.web.pages.kinds import Kinds, Schema, name_of, prose
from gateway.web.problems import CODES

HOST = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
PROBLEM = "application/problem+json"
METHODS = ("get", "post", "put", "patch", "delete")
EVERYWHERE = "X-Request-Id"  # of which the page speaks once
ROOTS = 8  # addresses whose pages are kept

_templates = Environment(
    loader=PackageLoader("gateway.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter, a key of a body or a field of a type; `place` is `path`, `query`, `header` or ''."""

    name: str
    kind: Markup
    says: Markup
    required: bool
    default: str | None
    place: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A success; `kind` is what its body is, None where it has none."""

    status: str
    says: Markup
    kind: Markup | None
    headers: Sequence[str]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A problem that a call may answer with."""

    status: str
    codes: Sequence[str]


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """What a call takes; no fields where it is described in words alone."""

    media: Sequence[str]
    says: Markup
    fields: Sequence[Field]


class CallView(msgspec.Struct, frozen=True, kw_only=True):
    """One call."""

    id: str
    method: str
    path: str
    summary: Markup
    roles: Sequence[str]
    doors: Sequence[str]
    parameters: Sequence[Field]
    body: Body | None
    answers: Sequence[Answer]
    refusals: Sequence[Refusal]
    example: str


class TypeView(msgspec.Struct, frozen=True, kw_only=True):
    """A type that answers and bodies are made of."""

    name: str
    says: Markup
    fields: Sequence[Field]


class Remedy(msgspec.Struct, frozen=True, kw_only=True):
    """A code of a problem, and what to do about it."""

    code: str
    status: int
    says: Markup


def docs_page(
    document: Callable[[], Mapping[str, Any]], *, owner: bool
) -> Callable[[Request], Response]:
    """The endpoint of `/docs`; `document` makes the OpenAPI document of the same door.

    Its examples go to the address that it was asked at, those of the owner to the control socket.
    """

    @lru_cache(maxsize=ROOTS)
    def made(root: str | None) -> bytes:
        return render(document(), root)

    def answer(request: Request) -> Response:
        # Not a coroutine: so the first of them is made on a thread, and nothing waits for it.
        return Response(
            made(None if owner else _root(request)), media_type="text/html", headers=_headers()
        )

    return answer


def _root(request: Request) -> str:
    host = request.headers.get("host", "")
    return f"{request.url.scheme}://{host if HOST.fullmatch(host) else '127.0.0.1:8081'}"


@cache
def _style() -> str:
    return (files("gateway.web") / "templates" / "docs.css").read_text("utf-8")


def _headers() -> dict[str, str]:
    digest = b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    policy = [
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    return {
        "content-security-policy": "; ".join(policy),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
    }


def render(document: Mapping[str, Any], root: str | None) -> bytes:
    """The page of an OpenAPI document, UTF-8; `root` as in `curl.example`."""
    types = document["components"]["schemas"]
    views = _Views(types, root)
    remedies = types["Problem"]["properties"]["code"]["x-enumDescriptions"]
    page = _templates.get_template("docs.html").render(
        info=document["info"],
        style=_style(),
        resources=views.resources(document["paths"]),
        types=views.types(),
        remedies=[
            Remedy(code=code, status=status, says=prose(remedies[code]))
            for status, code in CODES.items()
        ],
        roles={str(role): prose(may) for role, may in MAY.items()},
        root=root,
        try_it=curl.example("GET", "/v1/me", {"responses": {}}, root),
    )
    return page.encode()


class _Views:
    """Makes what the template shows of the parts of a document."""

    def __init__(self, types: Mapping[str, Schema], root: str | None) -> None:
        self._types, self._root = types, root
        self._kind = Kinds(types)

    def resources(self, paths: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[CallView]]]:
        """The calls of each resource, both in the order of their names."""
        found: dict[str, list[CallView]] = {}
        for path, methods in sorted(paths.items()):
            for method, call in sorted(methods.items(), key=lambda one: METHODS.index(one[0])):
                view = self._call(method.upper(), path, call)
                found.setdefault(call["tags"][0], []).append(view)
        return sorted(found.items())

    def types(self) -> list[TypeView]:
        """All types that have fields."""
        return [
            TypeView(name=name, says=prose(one.get("description", "")), fields=self._fields(one))
            for name, one in sorted(self._types.items())
            if self._kind.is_listed(name)
        ]

    def _call(self, method: str, path: str, call: Mapping[str, Any]) -> CallView:
        answers = sorted(call["responses"].items())
        return CallView(
            id=call["operationId"],
            method=method,
            path=path,
            summary=prose(call["summary"]),
            roles=call["x-roles"],
            doors=call["x-doors"],
            parameters=[self._parameter(one) for one in call.get("parameters", ())],
            body=self._body(call.get("requestBody")),
            answers=[self._answer(*one) for one in answers if not _is_problem(one[1])],
            refusals=[
                Refusal(status=status, codes=re.findall("`(.+?)`", one["description"]))
                for status, one in answers
                if _is_problem(one)
            ],
            example=curl.example(method, path, call, self._root),
        )

    def _parameter(self, parameter: Mapping[str, Any]) -> Field:
        schema = parameter["schema"]
        return Field(
            name=parameter["name"],
            kind=self._kind(schema),
            says=prose(parameter.get("description", "")),
            required=parameter.get("required", False),
            default=_default(schema),
            place=parameter["in"],
        )

    def _fields(self, component: Schema) -> list[Field]:
        required = set(component.get("required", ()))
        return [
            Field(
                name=name,
                kind=self._kind(schema),
                says=prose(schema.get("description", "")),
                required=name in required,
                default=_default(schema),
            )
            for name, schema in component["properties"].items()
        ]

    def _body(self, body: Mapping[str, Any] | None) -> Body | None:
        if body is None:
            return None
        schemas = [told["schema"] for told in body["content"].values() if "schema" in told]
        named = [self._types[name_of(one["$ref"])] for one in schemas if "$ref" in one]
        return Body(
            media=list(body["content"]),
            says=prose(named[0].get("description", "") if named else ""),
            fields=self._fields(named[0]) if named else (),
        )

    def _answer(self, status: str, response: Mapping[str, Any]) -> Answer:
        kinds = [
            self._kind(told["schema"]) if "schema" in told else prose(f"`{media}`")
            for media, told in response.get("content", {}).items()
        ]
        return Answer(
            status=status,
            says=prose(response["description"]),
            kind=Markup(" or ").join(kinds) if kinds else None,
            headers=[name for name in response.get("headers", ()) if name != EVERYWHERE],
        )


def _is_problem(response: Mapping[str, Any]) -> bool:
    return PROBLEM in response.get("content", {})


def _default(schema: Schema) -> str | None:
    """As JSON; what is null or empty without being given needs no word."""
    value = schema.get("default")
    return None if value in (None, "", [], {}) else json.dumps(value, ensure_ascii=False)
