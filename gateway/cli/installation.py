"""What this installation knows of itself: how it was called, and where its documentation lies."""

import shlex
import shutil
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

NAME = "webhook-gateway"
README, EXAMPLE = "README.md", "config.example.toml"


def command() -> str:
    """How the person called us, so that the next command can be copied as it stands."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{Path(sys.executable).name} -m gateway"
    found = shutil.which(called.name)
    return called.name if found and Path(found) == called else shlex.quote(str(called))


def documentation() -> str:
    """One line with files that are there: of the checkout, else the README that was installed."""
    for folder in (Path(__file__).parents[2], _installed_from()):
        if folder is not None and (folder / README).is_file() and (folder / EXAMPLE).is_file():
            return f"Documentation: {folder / README}; every key: {folder / EXAMPLE}"
    metadata = _installed("METADATA")
    return f"Documentation: {metadata or 'the README of ' + NAME}"


def _installed_from() -> Path | None:
    """The folder that was installed from, as pip notes it (PEP 610)."""
    note = _installed("direct_url.json")
    if note is None:
        return None
    url = urlsplit(msgspec.json.decode(note.read_bytes())["url"])
    return Path(unquote(url.path)) if url.scheme == "file" else None


def _installed(name: str) -> Path | None:
    """A file of the installed package's metadata; METADATA ends with the whole README."""
    try:
        files = distribution(NAME).files or ()
    except PackageNotFoundError:
        return None
    found = (Path(str(file.locate())) for file in files if file.name == name)
    return next((path for path in found if path.is_file()), None)
