"""The file: TOML text into tables, and the parser's complaints into sentences that name the key."""

import ast
import re
import tomllib
from pathlib import Path

from gateway.config.reader import Place
from gateway.errors import ConfigError

HEADER = re.compile(r"\s*\[\s*([A-Za-z0-9_.-]+)\s*\]")
TABLE_TWICE = re.compile(r"Cannot declare (\(.*\)) twice \(at line (\d+)")
KEY_TWICE = re.compile(
    r"(?:Cannot overwrite a value|Duplicate inline table key .*) \(at line (\d+)"
)


def read_document(path: Path) -> dict[str, object]:
    """The tables of the file; `ConfigError` when it is missing, unreadable, not UTF-8 or not TOML."""
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = error.strerror or "it is not a file"
        raise ConfigError(str(path), f"cannot read the configuration: {reason}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(str(path), f"line {line} is not UTF-8") from None
    try:
        # A last line without its end would be reported as "end of document", without a number.
        return tomllib.loads(text + "\n")
    except RecursionError:
        raise ConfigError(str(path), "lists or tables are nested too deep") from None
    except ValueError as error:
        raise _complaint(str(error), text, path) from None


def _complaint(message: str, text: str, path: Path) -> ConfigError:
    """The parser's message as our sentence; a table or key that stands twice is named."""
    if found := TABLE_TWICE.match(message):
        place = Place("")
        for part in ast.literal_eval(found[1]):
            place = place.key(part)
        return place.error(f"the table stands twice, again in line {found[2]} of {path}")
    if found := KEY_TWICE.match(message):
        line = int(found[1])
        name = _key_at(text, line) or str(path)
        return ConfigError(name, f"the key stands twice, again in line {line} of {path}")
    return ConfigError(str(path), f"not TOML: {message[:1].lower()}{message[1:]}")


def _key_at(text: str, number: int) -> str | None:
    """The path of the key that is set in this line, as far as the line alone tells."""
    lines = text.splitlines()
    line = lines[number - 1]
    headers = [found[1] for found in map(HEADER.match, lines[:number]) if found]
    key = re.match(r"\s*([A-Za-z0-9_.-]+)\s*=", line)
    if key is None or not _is_toml(line):
        return None
    return f"{headers[-1]}.{key[1]}" if headers else key[1]


def _is_toml(line: str) -> bool:
    """Whether the line stands alone: the inside of a longer text, maybe of a secret, must not be shown."""
    try:
        tomllib.loads(line)
    except ValueError:
        return False
    return True
