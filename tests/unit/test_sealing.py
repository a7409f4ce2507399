"""Sealing: what opens where, and how a key is written."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sealing import (
    PREFIX,
    Sealer,
    SealError,
    key_id,
    key_text,
    new_key,
    parse_key,
)

KEY = bytes(range(32))
OTHER = bytes(32)
SECRET = b"whsec_c2VjcmV0"


@given(record=st.text(st.characters(codec="utf-8"), max_size=40), secret=st.binary(max_size=200))
def test_what_was_sealed_opens(record: str, secret: bytes) -> None:
    sealed = Sealer(KEY).seal(record, secret)
    assert Sealer(KEY).open(record, sealed) == secret
    assert len(sealed) == 1 + 4 + 12 + len(secret) + 16
    assert sealed[:5] == b"\x01" + key_id(KEY)


def test_it_opens_at_its_own_place_alone() -> None:
    sealed = Sealer(KEY).seal("subscription:3:headers", SECRET)
    with pytest.raises(
        SealError, match=r"^subscription:4:headers was changed, or belongs elsewhere$"
    ):
        Sealer(KEY).open("subscription:4:headers", sealed)


def test_any_changed_byte_is_noticed() -> None:
    sealed = Sealer(KEY).seal("secret:7", SECRET)
    for place in range(len(sealed)):
        changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises(SealError):
            Sealer(KEY).open("secret:7", changed)
    for length in range(len(sealed)):
        with pytest.raises(SealError):
            Sealer(KEY).open("secret:7", sealed[:length])


def test_the_key_id_is_authenticated() -> None:
    """A value cannot be made to be opened by another key of the same sealer."""
    sealed = Sealer(KEY).seal("secret:7", SECRET)
    with pytest.raises(SealError, match="changed"):
        Sealer(KEY, OTHER).open("secret:7", sealed[:1] + key_id(OTHER) + sealed[5:])


def test_the_same_secret_never_looks_the_same() -> None:
    assert len({Sealer(KEY).seal("secret:7", SECRET) for _ in range(100)}) == 100


def test_older_keys_open_and_the_current_one_seals() -> None:
    sealed = Sealer(OTHER).seal("a", SECRET)
    both = Sealer(KEY, OTHER)
    assert both.open("a", sealed) == SECRET
    assert Sealer(KEY).open("a", both.seal("a", SECRET)) == SECRET
    with pytest.raises(SealError, match=f"another key, whose id is {key_id(OTHER).hex()}"):
        Sealer(KEY).open("a", sealed)


def test_what_was_never_sealed() -> None:
    with pytest.raises(SealError, match="not sealed as this gateway seals"):
        Sealer(KEY).open("a", SECRET)


def test_errors_show_no_secret() -> None:
    for changed in (SECRET, Sealer(OTHER).seal("a", SECRET), Sealer(KEY).seal("b", SECRET)):
        with pytest.raises(SealError) as caught:
            Sealer(KEY).open("a", changed)
        assert "whsec" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_a_key_as_text() -> None:
    text = key_text(KEY)
    assert text.startswith(PREFIX)
    assert len(text) == 52
    assert parse_key(text) == KEY
    made = {new_key() for _ in range(10)}
    assert len(made) == 10
    assert all(parse_key(key_text(key)) == key for key in made)


def test_a_mistyped_key_is_refused() -> None:
    text = key_text(KEY)
    alphabet = "ABab01-_"
    for place in range(len(PREFIX), len(text)):
        for letter in alphabet.replace(text[place], ""):
            with pytest.raises(ValueError, match="missing or mistyped"):
                parse_key(text[:place] + letter + text[place + 1 :])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gwm_",
        key_text(KEY)[:-1],
        key_text(KEY) + "A",
        key_text(KEY) + "====",
        key_text(KEY)[:20] + "\n" + key_text(KEY)[20:],
        key_text(KEY).upper(),
        "gwm_ü" + key_text(KEY)[5:],
        PREFIX + base64.urlsafe_b64encode(KEY).decode(),
        KEY.hex(),
    ],
)
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match="a master key") as caught:
        parse_key(text)
    assert len(text) < 10 or text not in str(caught.value)
