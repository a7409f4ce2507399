"""Statuses whose place and words are configured: JSON pointers (RFC 6901), and the words to map to.

Pure, and for any document as decoded from JSON; what is not there is None, never an error.
"""

import re
from typing import Final

STATES: Final = frozenset(
    {
        "created",
        "paid",
        "processing",
        "printing",
        "post_processing",
        "ready",
        "shipped",
        "cancelled",
        "on_hold",
        "refunded",
    }
)
"""The words that `status_map` may lead to; a provider that knows fewer takes fewer."""

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)
_LOOSE = re.compile(r"~(?![01])")


def check_pointer(path: str) -> None:
    """Raise `ValueError` with a sentence when this is no JSON pointer."""
    if path and not path.startswith("/"):
        raise ValueError('must be a JSON pointer: empty, or beginning with "/", such as "/status"')
    if _LOOSE.search(path):
        raise ValueError('"~" must be written "~0" in a JSON pointer, and "/" in a name "~1"')


def pointer(document: object, path: str) -> object | None:
    """The value that a pointer of RFC 6901 leads to; None when it leads to nothing, or to null.

    "" is the whole document; `~1` and `~0` in a part are `/` and `~`. An array is entered by its
    index from 0, without leading zeros; `-`, the place after its end, is nothing.
    """
    found = document
    for part in path.split("/")[1:]:
        found = _below(found, part.replace("~1", "/").replace("~0", "~"))
    return found


def _below(value: object, part: str) -> object | None:
    below: object | None = None
    if isinstance(value, dict):
        below = value.get(part)
    elif isinstance(value, list) and _INDEX.fullmatch(part) and int(part) < len(value):
        below = value[int(part)]
    return below
