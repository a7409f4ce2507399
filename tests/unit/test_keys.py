"""API keys as text: made, read back, told from typos; and the one comparison of a secret."""

import hashlib
import hmac
import random
import re
import secrets
import string
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import keys
from gateway.keys import (
    DIGITS,
    MAY,
    KeyRecord,
    KeyState,
    Role,
    digest_of,
    is_secret_of,
    make_key,
    named_key,
    parse_key,
)
from gateway.models import Millis

SHAPE = re.compile(r"gwk_[a-z2-7]{8}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}")
KEY = make_key(lambda count: bytes(range(count)))


@given(st.integers())
def test_what_is_made_is_read_back(seed: int) -> None:
    text = make_key(random.Random(seed).randbytes)
    assert SHAPE.fullmatch(text)
    parsed = parse_key(text)
    assert parsed is not None
    assert text.startswith(f"gwk_{parsed.id}_{parsed.secret}_")
    assert [named_key(given) for given in (parsed.id, f"gwk_{parsed.id}", text, f" {text}\n")] == [
        parsed.id
    ] * 4


@given(st.text())
def test_other_text_is_no_key(text: str) -> None:
    assert parse_key(text) is None


@given(
    st.integers(0, len(KEY) - 1), st.sampled_from(string.ascii_letters + string.digits + "_-é\0")
)
def test_one_wrong_character_is_a_typo(place: int, character: str) -> None:
    changed = KEY[:place] + character + KEY[place + 1 :]
    assert (parse_key(changed) is None) == (changed != KEY)


@given(st.integers(0, len(KEY) - 2))
def test_two_characters_that_changed_places_are_a_typo(place: int) -> None:
    swapped = KEY[:place] + KEY[place + 1] + KEY[place] + KEY[place + 2 :]
    assert (parse_key(swapped) is None) == (swapped != KEY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gwk_",
        KEY[:-1],
        f"{KEY} ",
        f" {KEY}",
        f"{KEY}\n",
        KEY.upper(),
        KEY * 2,
        "x" * 10_000_000,
    ],
)
def test_what_is_around_a_key_counts(text: str) -> None:
    assert parse_key(text) is None


def test_the_format_is_the_one_that_is_documented() -> None:
    """Read by hand, so that keys which are out there stay good whatever the code becomes."""
    head, key_id, secret, checksum = KEY.split("_")
    assert (head, key_id, len(secret)) == ("gwk", "aaaqeaye", 43)
    assert string.digits + string.ascii_uppercase + string.ascii_lowercase == DIGITS

    def value(digits: str) -> int:
        total = 0
        for digit in digits:
            total = total * 62 + DIGITS.index(digit)
        return total

    assert value(secret).to_bytes(32, "big") == bytes(range(32))
    assert value(checksum) == zlib.crc32(f"gwk_{key_id}_{secret}".encode())


def test_two_keys_are_not_the_same() -> None:
    made = {make_key(secrets.token_bytes) for _ in range(100)}
    assert len({text.split("_")[2] for text in made}) == 100


@pytest.mark.parametrize("text", ["", "abc", "ABCDEFGH", "abcdefgh1", "dl_7", "gwk_", "gwk_x_y"])
def test_what_names_no_key(text: str) -> None:
    assert named_key(text) is None


def test_a_secret_is_compared_once_whether_its_id_is_known_or_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[bytes, bytes]] = []

    def spy(left: bytes, right: bytes) -> bool:
        seen.append((left, right))
        return hmac.compare_digest(left, right)

    monkeypatch.setattr(keys, "compare_digest", spy)
    digest = digest_of("right")
    assert digest == hashlib.sha256(b"right").digest()
    assert [is_secret_of("right", digest), is_secret_of("wrong", digest)] == [True, False]
    assert is_secret_of("right", None) is False
    assert [len(left) == len(right) == 32 for left, right in seen] == [True] * 3


def test_no_digest_is_no_secrets_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even if somebody found one."""
    monkeypatch.setattr(keys, "NO_DIGEST", digest_of("found"))
    assert is_secret_of("found", None) is False


def test_how_a_key_stands() -> None:
    record = KeyRecord(id="a", role=Role.READER, made_at=Millis(5), expires_at=Millis(10))
    assert record.state(Millis(9)) is KeyState.ACTIVE
    assert record.state(Millis(10)) is KeyState.EXPIRED
    ended = KeyRecord(id="a", role=Role.READER, made_at=Millis(5), revoked_at=Millis(7))
    assert ended.state(Millis(6)) is KeyState.REVOKED


def test_every_role_is_described() -> None:
    assert set(MAY) == set(Role)
