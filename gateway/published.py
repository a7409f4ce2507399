"""Reads CloudEvents that others publish, strictly: what is wrong is said with its path, never mended.

CloudEvents 1.0.2, the HTTP protocol binding (3.1 to 3.3) and the JSON event format (2 and 3). An
event that comes in structured mode, alone or in a batch, is kept byte for byte; one in binary mode
is put into the envelope of the JSON format.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw

from gateway.errors import BadRequest
from gateway.media import check_data_type, is_json
from gateway.models import Millis

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"
MOST = 100  # events in a batch

_NAME = re.compile(r"[a-z0-9]{1,64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")
_ESCAPED = re.compile(rb"%[0-9A-Fa-f]{2}")
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef]|[\ufffe\uffff]")
LARGEST_INTEGER = 2**31 - 1
_YEAR_10000 = 253_402_300_800_000  # in milliseconds; a fraction may round up to it

_object = msgspec.json.Decoder(dict[str, Raw])
_array = msgspec.json.Decoder(list[Raw])
_value = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """One CloudEvent; `envelope` is it in the JSON format, `data` the JSON of its data, if any.

    `attributes` are all that it has, extensions too.
    """

    id: str
    source: str
    type: str
    subject: str | None
    time: Millis | None
    attributes: Mapping[str, str | int | bool]
    envelope: bytes
    data: bytes | None


def read(content_type: str, headers: Sequence[tuple[str, str]], body: bytes) -> list[Published]:
    """The events of a request in structured, batched or binary mode; `BadRequest` names what is wrong.

    `headers` are those of the request, names in lower case, values as they came.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind.startswith("application/cloudevents"):
        _check_utf8(body)
    if kind == BATCHED:
        return _batch(body)
    if kind.startswith("application/cloudevents"):
        if kind != STRUCTURED:
            raise BadRequest(f"content-type: {kind} is not taken; send {STRUCTURED}")
        return [_structured(body, "$")]
    return [_binary(content_type, headers, body)]


def why(error: Exception) -> str:
    """Why JSON could not be read, in words for its sender."""
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _check_utf8(body: bytes) -> None:
    """The whole of it: what is passed on byte for byte is not looked at again."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"$: the body is no UTF-8: {error}") from None


def _batch(body: bytes) -> list[Published]:
    try:
        parts = _array.decode(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadRequest(f"$: a batch is a JSON array of events: {why(error)}") from None
    if len(parts) > MOST:
        raise BadRequest(f"$: a batch has {MOST} events at most")
    return [_structured(bytes(part), f"$[{place}]") for place, part in enumerate(parts)]


def _structured(body: bytes, path: str) -> Published:
    try:
        fields = _object.decode(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadRequest(f"{path}: an event is a JSON object: {why(error)}") from None
    data = {name: fields.pop(name) for name in ("data", "data_base64") if name in fields}
    if len(data) == 2:
        raise BadRequest(f"{path}: data and data_base64 exclude each other")
    attributes = {name: _attribute(name, raw, path) for name, raw in fields.items()}
    if "data_base64" in data:
        _check_base64(data["data_base64"], path)
    found = {name: value for name, value in attributes.items() if value is not None}
    kind = str(found.get("datacontenttype", "application/json"))
    raw = data.get("data")
    return _published(
        found, bytes(body), None if raw is None or not is_json(kind) else bytes(raw), path
    )


def _attribute(name: str, raw: Raw, path: str) -> str | int | bool | None:
    """The value of an attribute; null is as if it were not there (JSON format, 2.2)."""
    value = _decoded_part(raw)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not -LARGEST_INTEGER - 1 <= value <= LARGEST_INTEGER:
            raise BadRequest(f"{path}.{name}: an integer of more than 32 bits")
        return value
    if not isinstance(value, str):
        raise BadRequest(f"{path}.{name}: an attribute is a string, an integer or a boolean")
    return value


def _decoded_part(raw: Raw) -> Any:
    """A part of what was decoded; an empty list for one that is nested too deeply to be looked at."""
    try:
        return _value.decode(raw)
    except RecursionError:
        return []


def _check_base64(raw: Raw, path: str) -> None:
    text, wrong = _decoded_part(raw), BadRequest(f"{path}.data_base64: expected a string in base64")
    if not isinstance(text, str):
        raise wrong
    try:
        b64decode(text, validate=True)
    except (Base64Error, ValueError):
        raise wrong from None


def _binary(content_type: str, headers: Sequence[tuple[str, str]], body: bytes) -> Published:
    attributes: dict[str, str | int | bool] = {}
    for header, value in headers:
        name = header.removeprefix("ce-")
        if name == header:
            continue
        if name in attributes:
            raise BadRequest(f"{header}: it came twice")
        if name == "datacontenttype":
            raise BadRequest("ce-datacontenttype: Content-Type says it")
        attributes[name] = _decoded(header, value)
    if "specversion" not in attributes:
        raise BadRequest(
            f"no event: send {STRUCTURED}, {BATCHED}, or the attributes as ce-... headers"
        )
    if content_type:
        attributes["datacontenttype"] = content_type
    carried: dict[str, Raw | str] = {}
    data = None
    if body and is_json(content_type or "application/json"):
        try:
            _value.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            told = f"$: the data are no JSON, as Content-Type says: {why(error)}"
            raise BadRequest(told) from None
        carried["data"], data = Raw(body), body
    elif body:
        carried["data_base64"] = b64encode(body).decode()
    return _published(attributes, _encoder.encode({**attributes, **carried}), data, "ce-")


def _decoded(header: str, value: str) -> str:
    """A header's value without its percent-encoding, once (HTTP binding, 3.1.3.2)."""
    raw = value.encode("latin-1", "replace")
    text = _ESCAPED.sub(lambda found: bytes([int(found[0][1:], 16)]), raw)
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise BadRequest(f"{header}: no UTF-8 behind its percent-encoding") from None


def _published(
    attributes: Mapping[str, str | int | bool], envelope: bytes, data: bytes | None, path: str
) -> Published:
    prefix = path if path == "ce-" else f"{path}."
    for name, value in attributes.items():
        if _NAME.fullmatch(name) is None:
            raise BadRequest(f"{prefix}{name}: a name of an attribute has only a-z and 0-9")
        if isinstance(value, str) and _UNFIT.search(value):
            raise BadRequest(f"{prefix}{name}: a control character or no character at all")
    if attributes.get("specversion") != "1.0":
        raise BadRequest(f'{prefix}specversion: expected "1.0"')
    required = {name: _text(attributes, name, prefix) for name in ("id", "source", "type")}
    subject = _text(attributes, "subject", prefix) if "subject" in attributes else None
    kind = attributes.get("datacontenttype", "application/json")
    try:
        check_data_type(str(kind))
    except ValueError as error:
        raise BadRequest(f"{_named_type(prefix)}: {error}") from None
    return Published(
        **required,
        subject=subject,
        time=_time(attributes, prefix),
        attributes=attributes,
        envelope=envelope,
        data=data,
    )


def _named_type(prefix: str) -> str:
    """Where the content type of the data stands."""
    return "content-type" if prefix == "ce-" else f"{prefix}datacontenttype"


def _text(attributes: Mapping[str, Any], name: str, prefix: str) -> str:
    value = attributes.get(name)
    if not isinstance(value, str) or not value:
        raise BadRequest(f"{prefix}{name}: expected a string that is not empty")
    return value


def _time(attributes: Mapping[str, Any], prefix: str) -> Millis | None:
    value = attributes.get("time")
    if value is None:
        return None
    wrong = BadRequest(f"{prefix}time: expected an RFC 3339 time")
    if not (isinstance(value, str) and _TIME.fullmatch(value)):
        raise wrong
    try:
        at = round(datetime.fromisoformat(value.upper()).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise wrong from None
    if not 0 <= at < _YEAR_10000:
        raise BadRequest(f"{prefix}time: before 1970, or after the year 9999")
    return Millis(at)
