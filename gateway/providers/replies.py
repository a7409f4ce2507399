"""How polled providers read an API's replies safely: by HTTP's own words first, then as JSON.

Whatever the bytes are, nothing but `AskFailed` and its kinds, and `Malformed`, comes out of here.
"""

from http import HTTPStatus
from typing import Any, Final

import msgspec

from gateway.errors import AskFailed, Denied, Malformed, Missing, Throttled, TokenRefused
from gateway.models import Reply
from gateway.providers.reading import check_unicode, decoded, no_float

SHOWN: Final = 120  # characters of a stranger's message that a log line repeats

_OBJECT: Final = msgspec.json.Decoder(dict[str, Any], float_hook=no_float)
_OBJECT_OR_ARRAY: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(
    dict[str, Any] | list[Any], float_hook=no_float
)


def check_status(reply: Reply) -> None:
    """Raise what a status other than 2xx means by RFC 9110; the text says what the API answered."""
    status = reply.status
    if 200 <= status < 300:
        return
    said = f"it answered {status}{_phrase(status)}{_message(reply)}"
    if 300 <= status < 400:
        where = quoted(reply.headers.get("location")) or "nowhere"
        raise AskFailed(f"it answered {status} and leads to {where}: is base_url right?")
    if status == 401:
        raise TokenRefused(f"{said}: the token is not taken")
    if status == 403:
        raise Denied(f"{said}: the token may not read this")
    if status == 404 and error_body(reply) is not None:
        raise Missing(said)
    if status == 404:
        raise AskFailed(f"{said}, and no JSON: is base_url right?")
    if status == 429:
        raise Throttled(said)
    raise AskFailed(said)


def body_of(reply: Reply, *, arrays: bool = False) -> bytes:
    """The body of a 2xx reply that holds a JSON object; `AskFailed` for HTML, half a JSON and such.

    `arrays` takes a JSON array as well.
    """
    check_status(reply)
    try:
        check_unicode(reply.body)
        decoded(_OBJECT_OR_ARRAY if arrays else _OBJECT, reply.body)
    except Malformed as error:
        kind = quoted(reply.headers.get("content-type")) or "no content type"
        wanted = "object or array" if arrays else "object"
        raise AskFailed(f"it answered no JSON {wanted} ({kind}): {error}") from error
    return reply.body


def error_body(reply: Reply) -> dict[str, Any] | None:
    """The JSON object of an error reply; None for HTML and the rest."""
    try:
        return decoded(_OBJECT, reply.body)
    except Malformed:
        return None


def quoted(value: object) -> str:
    """A stranger's short text for a log line; empty for everything else."""
    if not isinstance(value, str) or not value.strip():
        return ""
    shown = "".join(letter if letter.isprintable() else " " for letter in value[: 10 * SHOWN])
    return " ".join(shown.split())[:SHOWN]


def _phrase(status: int) -> str:
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""


def _message(reply: Reply) -> str:
    body = error_body(reply) or {}
    error = body.get("error")
    inner = error.get("message") if isinstance(error, dict) else error
    found = quoted(inner) or quoted(body.get("detail")) or quoted(body.get("message"))
    return f" ({found})" if found else ""
