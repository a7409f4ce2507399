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

    Relative paths are relative to the folder of `file`, the configuration; without one, to the
    working directory. Without `environ` nothing is filled in: `${` is refused.
    """

    def __init__(self, environ: Mapping[str, str] | None, file: Path | None) -> None:
        self._environ = environ
        self._folder = Path() if file is None else file.parent
        self._open_file = file if file is not None and _everybody_reads(file) else None
        self.warnings: list[str] = []

    def fill(
        self,
        written: Sequence[Secret],
        place: Place,
        parse: Callable[[str], bytes],
        origin: str,
    ) -> tuple[Secret, ...]:
        """The secrets for what was written at `place`; one at least, none of them empty.

        `parse` makes the key bytes of a text; its `ValueError` must not show the text. `origin`
        says where the operator gets such a secret.
        """
        if not written:
            raise place.error(f"at least one secret is needed: {origin}")
        return tuple(
            self.fill_one(secret, place.item(index), parse, origin)
            for index, secret in enumerate(written)
        )

    def fill_one(
        self,
        secret: Secret,
        place: Place,
        parse: Callable[[str], bytes],
        origin: str,
        *,
        hidden: bool = True,
    ) -> Secret:
        """One secret, never empty; see `fill`. Others may read one in the file that is not `hidden`."""
        written = text_of(secret)
        if "${" in PLACEHOLDER.sub("", written):
            raise place.error("${ must go on as ${NAME} or ${file:PATH}")
        text = PLACEHOLDER.sub(lambda found: self._value(found, place), written)
        if not text.strip():
            raise place.error("the secret is empty")
        if hidden and text == written and place.variable is None:
            self._warn_of_open_file()
        try:
            return Secret(parse(text))
        except ValueError as error:
            sentence = f"{error}: {origin}"
        raise place.error(sentence)

    def _warn_of_open_file(self) -> None:
        """A secret stands in the configuration itself: say once that others can read it."""
        if self._open_file is not None:
            sentence = "everybody on this machine can read the secrets in it; chmod 600"
            self.warnings.append(f"{self._open_file}: {sentence}, or write ${{NAME}}")
            self._open_file = None

    def _value(self, found: re.Match[str], place: Place) -> str:
        name, file = found["name"], found["file"]
        if self._environ is None:
            raise place.error("${ is filled in in the configuration file only: write the value")
        if file is not None:
            return self._from_file(file, place)
        if name not in self._environ:
            raise place.error(f"the environment variable {name} is not set: export it first")
        value = self._environ[name]
        if not value.strip():
            raise place.error(f"the environment variable {name} is empty")
        return value

    def _from_file(self, name: str, place: Place) -> str:
        path = self._folder / name
        try:
            with path.open("rb") as file:
                content = file.read(FILE_LIMIT + 1)
        except OSError as error:
            reason = error.strerror or "it cannot be read"
            raise place.error(f"cannot read the file {path}: {reason}") from None
        if len(content) > FILE_LIMIT:
            raise place.error(f"the file {path} is longer than 64 KiB")
        if not content.strip():
            raise place.error(f"the file {path} is empty")
        if _everybody_reads(path):
            where = f"everybody on this machine can read {path}"
            self.warnings.append(f"{place.path}: {where}; chmod 600")
        return content.decode("utf-8", "surrogateescape").rstrip("\r\n")


def _everybody_reads(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & stat.S_IROTH)


def text_of(secret: bytes) -> str:
    """A secret as text; bytes that are not UTF-8 survive the way there and back."""
    return secret.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    """The bytes of a secret that its provider uses as they are."""
    return text.encode("utf-8", "surrogateescape")
