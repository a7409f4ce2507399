"""What is shown once goes to a terminal, else into a new file that only its owner reads."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from gateway.errors import Conflict, StartupError

SUFFIX = ".secret"
PART_SUFFIX = ".new"  # of a file that is not complete
T = TypeVar("T")
MOST = 100  # files of one name before a person has to choose


class Kept(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """What was done, and in words where its secret is; `file` unless a terminal shows it."""

    done: T
    where: str
    file: str | None = None


def keep_once(
    act: Callable[[], T],
    secret_of: Callable[[T], str],
    called: str,
    *,
    to: Path | None,
    name: Path,
    option: str,
    show: bool = True,
) -> Kept[T]:
    """Do it, and say where the secret is that came of it. Where a file is needed, it is made before.

    `called` begins the sentence, as in `Its secret`. The file is `to`, which `option` names on the
    command line, or is called after `name`. Unless it may `show` it, it goes into a file in any
    case. Raises `Conflict`, `StartupError`, and what `act` raises.
    """
    if show and to is None and sys.stdout.isatty():
        done = act()
        return Kept(done=done, where=f"{called}, which is shown this once: {secret_of(done)}")
    path = to or free_name(name.parent, name.name)
    with new_secret_file(path, option=option) as put:
        done = act()
        put(secret_of(done))
    where = f"{called} is in {path}, and nowhere else to be read."
    return Kept(done=done, where=where, file=str(path))


def replace_secret_file(path: Path, secret: str) -> None:
    """Put a secret into a file of ours, durably and whole, in place of what was there.

    Raises `StartupError`.
    """
    part = path.with_name(path.name + PART_SUFFIX)
    try:
        part.unlink(missing_ok=True)  # or it would keep its mode
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{secret}\n")
            file.flush()
            os.fsync(descriptor)
        part.replace(path)
    except OSError as error:
        raise StartupError(f"{path} cannot be written: {error.strerror}") from None


@contextmanager
def new_secret_file(
    path: Path, *, option: str = "--secret-file"
) -> Iterator[Callable[[str], None]]:
    """Make the file at once, and fill it durably by the function that is given.

    It is taken away again unless something was put into it; `option` names it on the command line.
    Raises `Conflict` for a file that is there, and `StartupError`.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Conflict(
            f"{path} is there already and is not overwritten: name another file with {option}"
        ) from None
    except OSError as error:
        raise StartupError(f"{path} cannot be written: {error.strerror}") from None
    kept: list[str] = []

    def put(secret: str) -> None:
        try:
            file.write(f"{secret}\n")
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            raise StartupError(f"{path} cannot be written: {error.strerror}") from None
        kept.append(secret)

    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        try:
            yield put
        finally:
            if not kept:
                path.unlink(missing_ok=True)


def free_name(folder: Path, name: str) -> Path:
    """A file for a secret of `name` that is not there yet: `NAME.secret`, `NAME.2.secret` ..."""
    names = [f"{name}{SUFFIX}", *(f"{name}.{number}{SUFFIX}" for number in range(2, MOST))]
    return next((folder / one for one in names if not (folder / one).exists()), folder / names[0])
