"""Server-sent events as HTML 9.2 has them, wherever the chunks end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.sse import BOM, Message, Parser


def message(data: str, number: str = "", event: str = "message") -> Message:
    return Message(id=number, data=data.encode(), event=event)


TABLE: list[tuple[str, bytes, list[Message]]] = [
    ("one", b"data: a\n\n", [message("a")]),
    ("CR", b"data: a\r\rdata: b\r\r", [message("a"), message("b")]),
    ("CRLF", b"data: a\r\n\r\ndata: b\r\n\r\n", [message("a"), message("b")]),
    ("line ends mixed", b"id: 1\rdata: a\r\ndata: b\n\r", [message("a\nb", "1")]),
    ("the example of 9.2.6", b"data: YHOO\ndata: +2\ndata: 10\n\n", [message("YHOO\n+2\n10")]),
    (
        "another one: comments, ids that stay and that end, one blank",
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        [message("first event", "1"), message("second event"), message(" third event")],
    ),
    ("data without values", b"data\n\ndata\ndata\n\ndata:", [message(""), message("\n")]),
    ("a blank behind the colon or none", b"data:test\n\ndata: test\n\n", [message("test")] * 2),
    ("an id stays", b"id: 1\ndata: a\n\ndata: b\n\n", [message("a", "1"), message("b", "1")]),
    ("an id alone counts for the next", b"id: 7\n\ndata: a\n\n", [message("a", "7")]),
    ("an id with NUL is none", b"id: 1\nid: 2\x003\ndata: a\n\n", [message("a", "1")]),
    ("no event without data", b"event: x\nid: 1\n\ndata: a\n\n", [message("a", "1")]),
    (
        "a name is for one event",
        b"event: x\ndata: a\n\ndata: b\n\n",
        [message("a", event="x"), message("b")],
    ),
    ("unknown fields", b"data: a\nData: b\n data: c\nretry: 2000\nfoo\n\n", [message("a")]),
    ("colons in values", b'data: {"a":1}\n\n', [message('{"a":1}')]),
    ("ping", b": ping\n\n:\n\n", []),
    ("what is not ended is none", b"data: a\n\ndata: b\n", [message("a")]),
    ("a BOM at the beginning", BOM + b"data: a\n\n", [message("a")]),
    ("a BOM elsewhere", b"\n" + BOM + b"data: a\n\n", []),
    ("two", BOM + BOM + b"data: a\n\n", []),
    (
        "no line end",
        "data: a\u2028\u0085\x0b\x0cb\n\n".encode(),
        [message("a\u2028\u0085\x0b\x0cb")],
    ),
    ("nothing", b"", []),
    (
        "as the gateway sends it",
        b'retry: 2000\n\nid: MQ.x\ndata: {"id":"\xc3\xa9"}\n\nid: Mg.y\ndata: {}\n\n: ping\n\n',
        [message('{"id":"é"}', "MQ.x"), message("{}", "Mg.y")],
    ),
]
CASES = [pytest.param(text, wanted, id=name) for name, text, wanted in TABLE]


def fed(*chunks: bytes) -> list[Message]:
    parser = Parser()
    return [one for chunk in chunks for one in parser.feed(chunk)]


@pytest.mark.parametrize(("text", "wanted"), CASES)
def test_streams(text: bytes, wanted: list[Message]) -> None:
    assert fed(text) == wanted


@pytest.mark.parametrize(("text", "wanted"), CASES)
def test_chunks_may_end_anywhere(text: bytes, wanted: list[Message]) -> None:
    assert fed(*(text[place : place + 1] for place in range(len(text)))) == wanted
    for place in range(len(text) + 1):
        assert fed(text[:place], b"", text[place:]) == wanted


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"data", b"id", b": ", b"1", b"\xc3\xa9"])),
    st.data(),
)
def test_any_stream_is_the_same_in_any_chunks(parts: list[bytes], data: st.DataObject) -> None:
    text = b"".join(parts)
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    ends = zip([0, *places], [*places, len(text)], strict=True)
    assert fed(*(text[start:end] for start, end in ends)) == fed(text)
