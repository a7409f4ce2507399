import pytest

from gateway.orders.tables import RANKS
from gateway.providers.pointer import STATES, check_pointer, pointer

# The document and the pointers of RFC 6901, section 5.
DOCUMENT = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
}
RFC: list[tuple[str, object]] = [
    ("", DOCUMENT),
    ("/foo", ["bar", "baz"]),
    ("/foo/0", "bar"),
    ("/", 0),
    ("/a~1b", 1),
    ("/c%d", 2),
    ("/e^f", 3),
    ("/g|h", 4),
    ("/i\\j", 5),
    ('/k"l', 6),
    ("/ ", 7),
    ("/m~0n", 8),
]


@pytest.mark.parametrize(("path", "value"), RFC)
def test_the_examples_of_the_rfc(path: str, value: object) -> None:
    check_pointer(path)
    assert pointer(DOCUMENT, path) == value


@pytest.mark.parametrize(
    ("document", "path", "value"),
    [
        ({"a": {"b": [{"c": "x"}]}}, "/a/b/0/c", "x"),
        ({"~1": 1, "/": 2}, "/~01", 1),
        ({"0": "name"}, "/0", "name"),
        ({"": {"": 1}}, "//", 1),
        ([[1], [2, 3]], "/1/1", 3),
        ({"a": False}, "/a", False),
    ],
)
def test_what_is_there_is_found(document: object, path: str, value: object) -> None:
    assert pointer(document, path) == value


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/foo/2",
        "/foo/-",
        "/foo/-1",
        "/foo/00",
        "/foo/01",
        "/foo/+1",
        "/foo/1 ",
        "/foo/\u0661",  # a digit, but no ASCII one
        "/foo/" + "1" * 5000,
        "/foo/0/0",  # a text is no array
        "/a~1b/x",
        "/nothing/x/y",
        "/null",
        "/null/x",
    ],
)
def test_what_is_not_there_is_none(path: str) -> None:
    assert pointer(DOCUMENT | {"null": None}, path) is None


@pytest.mark.parametrize("document", [None, 1, "text", True, 1.5, []])
def test_a_document_without_members_has_nothing_below(document: object) -> None:
    assert pointer(document, "/a/0") is None


@pytest.mark.parametrize("path", ["status", "#/status", "$.status", " /status", "/a~", "/a~2b/c"])
def test_no_pointer(path: str) -> None:
    with pytest.raises(ValueError, match=r"JSON pointer"):
        check_pointer(path)


def test_every_state_of_an_order_may_be_mapped_to() -> None:
    assert set(RANKS) | {"cancelled"} < STATES
    assert STATES - set(RANKS) == {"cancelled", "paid", "on_hold", "refunded"}
