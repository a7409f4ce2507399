"""Media types as the content type of an event's data names them (RFC 2046, RFC 9110 8.3.1)."""

import re

import msgspec

_JSON = re.compile(r"(application|text)/([a-z0-9.!#$&^_-]+\+)?json", re.ASCII)


def is_json(content_type: str) -> bool:
    """Whether data of this media type are JSON (CloudEvents JSON format, 3.1)."""
    return _JSON.fullmatch(content_type.partition(";")[0].strip().lower()) is not None


def out_of_json(data: bytes, content_type: str) -> bytes:
    """Data of the JSON format as they are without it: text that is no JSON is a string there (3.1.1)."""
    if not data.startswith(b'"') or is_json(content_type):
        return data
    return msgspec.json.decode(data, type=str).encode()
