"""Media types as the content type of an event's data names them (RFC 2046, RFC 9110 8.3.1)."""

import re

import msgspec

EVENTS = "application/cloudevents"  # how the content types begin that are no data's, but an event's

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_TYPE = re.compile(rf"{_WORD}/{_WORD}([ \t]*;([\x20-\x7e\t]*[\x21-\x7e])?)?", re.ASCII)
_JSON = re.compile(r"(application|text)/([a-z0-9.!#$&^_-]+\+)?json", re.ASCII)


def check_data_type(content_type: str) -> None:
    """Return when data of this media type can be sent in every mode; else ValueError with one sentence.

    In binary mode it is the `Content-Type` of the request, and that alone tells a consumer whether
    the body is data or an event (HTTP binding 3): data of an event's type would be read as another
    event, that nobody has looked at, under our signature.
    """
    if _TYPE.fullmatch(content_type) is None:
        raise ValueError('expected a content-type such as "text/plain; charset=utf-8"')
    if content_type.lower().startswith(EVENTS):
        raise ValueError(
            "an event within an event would be read as another event: name another type"
        )


def is_json(content_type: str) -> bool:
    """Whether data of this media type are JSON (CloudEvents JSON format, 3.1)."""
    return _JSON.fullmatch(content_type.partition(";")[0].strip().lower()) is not None


def out_of_json(data: bytes, content_type: str) -> bytes:
    """Data of the JSON format as they are without it: text that is no JSON is a string there (3.1.1)."""
    if not data.startswith(b'"') or is_json(content_type):
        return data
    return msgspec.json.decode(data, type=str).encode()
