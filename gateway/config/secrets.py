"""Secrets: `${NAME}` and `${file:PATH}` are filled in here, and nowhere else.

No error, warning or representation made here shows a secret, only the name of what was missing.
"""

import re
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gateway.config.reader import Place
from gateway.config.values import Secret

PLACEHOLDER = re.compile(r"\$\{(?:file:(?P<file>[^{}\0]+)|(?P<name>[A-Za-z_][A-Za-z0-9_]*))\}")
FILE_LIMIT = 65_536  # bytes; more is no secret but the wrong file


class Vault:
    """Fills in secrets; `warnings` collects what the operator should hear.

    Relative paths are relative to `folder`, the configuration file's.
    """

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self._environ = environ
        self._folder = folder
        self.warnings: list[str] = []

    def fill(
        self,
        written: Sequence[Secret],
        place: Place,
        parse: Callable[[str], bytes],
    ) -> tuple[Secret, ...]:
        """The secrets for what was written at `place`; one at least, none of them empty.

        `parse` makes the key bytes of a text; its `ValueError` must not show the text.
        """
        if not written:
            raise place.error("at least one secret is needed")
        return tuple(
            self._fill_one(text_of(secret), place.item(index), parse)
            for index, secret in enumerate(written)
        )

    def _fill_one(self, written: str, place: Place, parse: Callable[[str], bytes]) -> Secret:
        if "${" in PLACEHOLDER.sub("", written):
            raise place.error("${ must go on as ${NAME} or ${file:PATH}")
        text = PLACEHOLDER.sub(lambda found: self._value(found, place), written)
        if not text.strip():
            raise place.error("the secret is empty")
        try:
            return Secret(parse(text))
        except ValueError as error:
            sentence = str(error)
        raise place.error(sentence)

    def _value(self, found: re.Match[str], place: Place) -> str:
        name, file = found["name"], found["file"]
        if file is not None:
            return self._from_file(file, place)
        if name not in self._environ:
            raise place.error(f"the environment variable {name} is not set")
        value = self._environ[name]
        if not value.strip():
            raise place.error(f"the environment variable {name} is empty")
        return value

    def _from_file(self, name: str, place: Place) -> str:
        path = self._folder / name
        try:
            with path.open("rb") as file:
                content = file.read(FILE_LIMIT + 1)
            mode = path.stat().st_mode
        except OSError as error:
            reason = error.strerror or "it cannot be read"
            raise place.error(f"cannot read the file {path}: {reason}") from None
        if len(content) > FILE_LIMIT:
            raise place.error(f"the file {path} is longer than 64 KiB")
        if not content.strip():
            raise place.error(f"the file {path} is empty")
        if mode & stat.S_IROTH:
            self.warnings.append(f"{place.path}: everybody on this machine can read {path}")
        return content.decode("utf-8", "surrogateescape").rstrip("\r\n")


def text_of(secret: bytes) -> str:
    """A secret as text; bytes that are not UTF-8 survive the way there and back."""
    return secret.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    """The bytes of a secret that its provider uses as they are."""
    return text.encode("utf-8", "surrogateescape")
