"""What is shown once goes to a terminal, else into a new file that only its owner reads."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.errors import Conflict, StartupError

SUFFIX = ".secret"
MOST = 100  # files of one name before a person has to choose


@contextmanager
def new_secret_file(path: Path) -> Iterator[Callable[[str], None]]:
    """Make the file at once, and fill it durably by the function that is given.

    It is taken away again unless something was put into it. Raises `Conflict` for a file that is
    there, and `StartupError`.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Conflict(
            f"{path} is there already and is not overwritten: name another file with --secret-file"
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
