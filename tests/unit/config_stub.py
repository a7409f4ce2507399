"""A provider with a key of every type, and files to read: shared by the tests of the configuration."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import msgspec

from gateway.config.load import load
from gateway.config.settings import Settings
from gateway.errors import ConfigError, NotFound
from gateway.models import Callback, Duration, Millis, Reading, Size
from gateway.providers import base

CANARY = "canary0canary0canary0canary0"
WHSEC = "whsec_" + b64encode(CANARY.encode()).decode()
ENV = {"S": CANARY, "W": WHSEC, "EMPTY": "", "BLANK": " \n"}

SOURCE = '[sources.shop]\nprovider = "stub"\nsecrets = ["${S}"]\n'
SUBSCRIPTION = '[subscriptions.sub]\nurl = "https://example.com/in"\nsecrets = ["${W}"]\n'


class StubOptions(base.Options, frozen=True, kw_only=True):
    """One key of every type that a provider may ask for."""

    flag: bool = False
    number: int = 1
    ratio: float = 0.5
    wait: Duration = Duration(60_000)
    size: Size = Size(1024)
    choice: Literal["own", "wait"] = "own"
    names: tuple[str, ...] = ("a",)
    choices: tuple[Literal["x", "y"], ...] = ()
    table: dict[str, str] = msgspec.field(default_factory=dict)
    maybe: bool | None = None
    currency: str | None = None
    b__c: str = ""

    def __post_init__(self) -> None:
        if self.currency == "bad":
            raise ConfigError("currency", "must be three letters")


class Stub:
    """A provider with keys, and nothing else."""

    name: ClassVar[str] = "stub"
    Options: ClassVar[type[base.Options]] = StubOptions

    def verify(
        self, callback: Callback, *, secrets: Sequence[bytes], tolerance: Duration, now: Millis
    ) -> None:
        raise NotImplementedError

    def normalize(self, callback: Callback) -> Reading:
        raise NotImplementedError


def find(name: str) -> type[base.Provider]:
    """The lookup that stands in for the registry."""
    if name != "stub":
        raise NotFound(f"there is no provider '{name}'; known providers are stub")
    return Stub


def read(text: str, folder: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of a file with this text."""
    path = folder / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, ENV | dict(environ or {}), providers=find)


def source(line: str) -> str:
    return SOURCE + line


def subscription(line: str) -> str:
    """The subscription with one line more, or with that key written otherwise."""
    key = line.partition(" ")[0]
    kept = [old for old in SUBSCRIPTION.splitlines() if not old.startswith(f"{key} =")]
    return "\n".join([*kept, line])
