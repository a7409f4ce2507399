"""What `gateway sources add` and `set` make of a command line: secrets are filled in here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import making
from gateway.cli.control import Done
from gateway.config.settings import Settings
from gateway.errors import ConfigError, StartupError

CANARY = "whsec_canary"
ANSWER = {
    "provider": "stripe",
    "shop": "default",
    "enabled": True,
    "kind": "called",
    "callbacks": "/hooks/pay",
    "keys": {},
    "asking": None,
    "paused_at": None,
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What the gateway was asked for, in a folder of its own."""
    seen: dict[str, Any] = {}

    def act_on(_: object, path: str, __: object, **more: Any) -> Done:
        seen.update(path=path, body=more["body"], method=more["method"])
        return Done(answer=ANSWER, live=seen.get("live", True))

    monkeypatch.setattr(making, "act_on", act_on)
    monkeypatch.chdir(tmp_path)
    return seen


def add(*pairs: str) -> tuple[str, Mapping[str, Any]]:
    told = making.add(Settings(), "pay", pairs, config=None)
    return told.text, told.answer


def test_secrets_are_filled_in_from_here_and_nothing_else_is(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PAYS", f"{CANARY},with-a-comma")
    (tmp_path / "next").write_text("[next]\n")
    (tmp_path / "next").chmod(0o600)
    text, answer = add(
        *("provider=printstudio", "secrets=${PAYS}, ${file:next},plain", "token=a${PAYS}"),
        "shop=${PAYS}",
    )
    assert (asked["method"], asked["path"]) == ("POST", "/v1/sources")
    assert asked["body"] == {
        "name": "pay",
        "provider": "printstudio",
        "secrets": [f"{CANARY},with-a-comma", "[next]", "plain"],
        "token": f"a{CANARY},with-a-comma",
        "shop": "${PAYS}",  # it is no secret: the gateway says what it makes of it
    }
    assert CANARY not in f"{text}{answer}"
    assert text == (
        "Source pay is made. Callbacks to /hooks/pay of the public listener are received from now on."
    )


def test_what_needs_no_filling_is_sent_as_it_stands(asked: dict[str, Any]) -> None:
    add("provider=stripe", 'secrets=["a,b"]', "token=")
    assert asked["body"]["secrets"] == '["a,b"]'
    assert asked["body"]["token"] == ""


def test_a_file_that_others_may_read_is_told(
    asked: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "open").write_text("x")
    (tmp_path / "open").chmod(0o644)
    add("provider=stripe", "secrets=${file:open}")
    assert "gateway: warning: secrets[0]: everybody on this machine can read open" in (
        capsys.readouterr().err
    )
    assert asked["body"]["secrets"] == ["x"]


@pytest.mark.parametrize(
    ("pairs", "kind", "words"),
    [
        (["secrets=${NOT_SET}"], ConfigError, "secrets[0]: the environment variable NOT_SET is"),
        (["secrets=x,${NOT_SET}"], ConfigError, "secrets[1]: the environment variable NOT_SET"),
        (["token=${file:none}"], ConfigError, "token: cannot read the file none: No such file"),
        (["token=${"], ConfigError, "token: ${ must go on as ${NAME} or ${file:PATH}"),
        (["secrets=${RAW}"], ConfigError, "secrets[0]: is no UTF-8: only the configuration file"),
        ([CANARY], StartupError, "expected KEY=VALUE, as in provider=stripe"),
        ([f"={CANARY}"], StartupError, "expected KEY=VALUE"),
        (["shop=a", "shop=b"], StartupError, "shop: is given twice"),
        (["name=other"], StartupError, "name: stands before the keys"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_is_never_sent(
    asked: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    pairs: list[str],
    kind: type[Exception],
    words: str,
) -> None:
    monkeypatch.setenv("RAW", f"{CANARY}\udcff")
    with pytest.raises(kind) as error:
        add("provider=stripe", *pairs)
    assert str(error.value).startswith(words)
    assert CANARY not in str(error.value)
    assert asked == {}


def test_a_key_gets_its_default_again(asked: dict[str, Any]) -> None:
    asked["live"] = False
    told = making.change(Settings(), "pay", ["shop=a", "livemode="], ["include"], config=None)
    assert (asked["method"], asked["path"]) == ("PATCH", "/v1/sources/pay")
    assert asked["body"] == {"shop": "a", "livemode": "", "include": None}
    assert told.text == (
        "Source pay is changed: shop, livemode, include. Callbacks to /hooks/pay of the public"
        " listener are received when `gateway serve` runs."
    )
    assert (told.answer["source"], told.answer["live"]) == ("pay", False)
    with pytest.raises(StartupError, match="--default shop: it is given a value too"):
        making.change(Settings(), "pay", ["shop=a"], ["shop"], config=None)
    with pytest.raises(StartupError, match="nothing to change"):
        making.change(Settings(), "pay", [], [], config=None)
