"""What can happen to a body on its way, and what a stranger may put into it: data for contracts."""

import json
from collections.abc import Iterator
from random import Random
from typing import Any, Final, NamedTuple

STEP: Final = 10  # bytes between two cuts, and between two flipped bits
CUTS: Final = 400  # at most, of one body
MEMBERS: Final = 3  # of a list whose places are all tried
PLACES: Final = 300  # at most, of one body
HERE: Final = "\x01"  # stands for what is put in; json writes it as \u0001

# JSON, and what only looks like it, put at every place of a body.
ODD: Final = (
    *("null", "true", "false", "0", "-1", "1.5", "-0", "1e400", "-1e400", "NaN", "Infinity"),
    *("18446744073709551616", "-9223372036854775809", "253402300800", "9" * 400, "9" * 5_000),
    *('""', '" "', '"x"', '"0"', '"a/b?c#d"', '"' + "é" * 300 + '"', '"' + "x" * 5_000 + '"'),
    *(r'"\u0000"', r'"\ud800"', r'"x\udc00\ud800"', r'"\u001f"', r'"\u202e"', r'"\q"', '"'),
    *('"2024-01-15T10:50:00Z"', '"9999-12-31T23:59:59-23:59"', '"0001-01-01T00:00:00+23:59"'),
    *("[]", "{}", "[null]", "[{}]", "[[[]]]", '{"id":null}', '{"id":1,"id":"x"}', "[1,]"),
    *("[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900, "[" * 2_000, ""),
)
# Bodies of their own.
WHOLE: Final = (
    *(text.encode() for text in ODD),
    *(b"\xff", b"\0", b'{"id":"\xff"}', b'{"id":"\xed\xa0\x80"}', b"{}{}", b"<html></html>"),
    *("{}".encode(code) for code in ("utf-8-sig", "utf-16", "utf-32")),
    *(b"id=1&status=2", b"[" * 100_000, b'{"a":' * 100_000, b'{"' + b"k" * 1_000_000 + b'":1}'),
)


class Damaged(NamedTuple):
    """A body, and in words what was done to it."""

    how: str
    body: bytes


def damaged(body: bytes) -> Iterator[Damaged]:
    """Some thousand bodies in place of this one; always the same ones for the same body."""
    step = max(STEP, len(body) // CUTS)
    random = Random(0)  # noqa: S311 - the same damage at every run
    for place in range(0, len(body), step):
        yield Damaged(f"its body cut after {place} bytes", body[:place])
        mask = 1 << random.randrange(8)
        flipped = body[:place] + bytes([body[place] ^ mask]) + body[place + 1 :]
        yield Damaged(f"a bit of byte {place} of its body flipped", flipped)
    yield Damaged("its body sent twice in one", body + body)
    yield from (Damaged(f"the body {_cut(whole)}", whole) for whole in WHOLE)
    yield from _replaced(body)


def _replaced(body: bytes) -> Iterator[Damaged]:
    """Every place of a JSON body left out, and filled with everything odd."""
    try:
        tree = json.loads(body)
    except ValueError:
        return
    for path in [path for path in _places(tree) if path][:PLACES]:
        where = "$" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
        yield Damaged(f"{where} left out", _without(body, path))
        template = _marked(body, path)
        for odd in ODD:
            filled = template.replace(json.dumps(HERE), odd).encode("utf-8", "surrogatepass")
            yield Damaged(f"{where} replaced by {_cut(odd)}", filled)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from _places(value[key], (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value[:MEMBERS]):
            yield from _places(below, (*path, index))


def _marked(body: bytes, path: tuple[Any, ...]) -> str:
    tree = json.loads(body)
    _holder(tree, path)[path[-1]] = HERE
    return json.dumps(tree)


def _without(body: bytes, path: tuple[Any, ...]) -> bytes:
    tree = json.loads(body)
    del _holder(tree, path)[path[-1]]
    return json.dumps(tree).encode()


def _holder(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        tree = tree[key]
    return tree


def _cut(value: str | bytes) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]}... ({len(value)} long)"
