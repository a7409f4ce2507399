"""What a provider sent, as it is passed on in an event to whom asks for it."""

from typing import Any

import msgspec

from gateway.errors import Malformed

NESTING_LIMIT = 64  # of what is passed on unread: far below what any consumer's parser stands

_anything: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


def original_of(body: bytes, event_id: str) -> msgspec.Raw:
    """The body, for the event; `Malformed` when some consumer's parser would not take it.

    A normalizer looks at what it reads: a number of a million digits elsewhere would go out unseen.
    """
    try:
        level: list[Any] = [[_anything.decode(body)]]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        message = f"the original cannot be passed on: {error}"
        raise Malformed(message, event_id=event_id) from error
    for _ in range(NESTING_LIMIT + 1):
        parts = (value.values() if isinstance(value, dict) else value for value in level)
        level = [below for part in parts for below in part if isinstance(below, dict | list)]
        if not level:
            return msgspec.Raw(body)
    message = f"the original is nested deeper than {NESTING_LIMIT} levels"
    raise Malformed(message, event_id=event_id)
