"""A call of the API as a curl command that works once its variables are set."""

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

SOCKET = "GATEWAY_SOCKET"
KEY = "GATEWAY_KEY"
FLAGS = {"text/event-stream": "--no-buffer", "application/octet-stream": "--output body.bin"}
"""What curl needs for some kinds of answers."""


def example(method: str, path: str, call: Mapping[str, Any], root: str | None) -> str:
    """The command for one operation of the OpenAPI document, for POSIX sh.

    `root` is where the API is reached, None for the owner's socket. What has no example there comes
    from a variable: `{id}` from `$ID`.
    """
    parameters = call.get("parameters", ())
    base = "http://gateway" if root is None else root
    lines = [
        " ".join(["curl", *_flags(method, call)]),
        f'"{base}{_path(path, parameters)}{_query(parameters)}"',
        f'--unix-socket "${SOCKET}"' if root is None else f'-H "Authorization: Bearer ${KEY}"',
        *_body(call.get("requestBody", {}).get("content", {})),
    ]
    first = f"{lines[0]} {lines[1]}"
    return " \\\n  ".join([first, *lines[2:]])


def _flags(method: str, call: Mapping[str, Any]) -> list[str]:
    kinds = {kind for answer in call["responses"].values() for kind in answer.get("content", ())}
    wanted = [] if method == "GET" else [f"-X {method}"]
    return wanted + [flag for kind, flag in FLAGS.items() if kind in kinds]


def _path(path: str, parameters: Any) -> str:
    known = {one["name"]: one["example"] for one in parameters if "example" in one}
    return re.sub(r"{(\w+)}", lambda found: known.get(found[1], f"${found[1].upper()}"), path)


def _query(parameters: Any) -> str:
    """What is needed, and a small page of a list."""
    asked = [one for one in parameters if one["in"] == "query"]
    wanted = [f"{one['name']}=${one['name'].upper()}" for one in asked if one["required"]]
    wanted += ["limit=10" for one in asked if one["name"] == "limit" and not one["required"]]
    return f"?{'&'.join(wanted)}" if wanted else ""


def _body(content: Mapping[str, Mapping[str, Any]]) -> list[str]:
    for media, told in content.items():
        if "example" in told:
            text = json.dumps(told["example"], ensure_ascii=False)
            return [f'-H "Content-Type: {media}"', f"-d {shlex.quote(text)}"]
    return []
