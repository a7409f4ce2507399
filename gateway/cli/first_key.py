"""The admin key that the first start makes."""

import logging
import sys

from gateway.cli.secret_files import replace_secret_file
from gateway.config.settings import Settings
from gateway.keyring import Keyring
from gateway.keys import Role
from gateway.models import Millis
from gateway.stores.registry import database_path

SUFFIX = ".admin-key"  # behind the name of the database
NAME = "made at the first start"

logger = logging.getLogger("gateway")


async def make_first_key(keyring: Keyring, settings: Settings, now: Millis) -> None:
    """Make an admin key where there never was one, and show it on the terminal, else put it in a file.

    The file is beside the database. What a start that was broken off left there is replaced: its
    key is not one of this database. Raises `StartupError`, `Unavailable`.
    """
    if any(key.role is Role.ADMIN for key in await keyring.all()):
        return
    database = database_path(settings.store.url)
    path = database.with_name(database.name + SUFFIX).absolute()

    def keep(key: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"The admin key of the API, which is shown this once: {key}\n")
        else:
            replace_secret_file(path, key)
            logger.info("the admin key of the API is in %s, and nowhere else to be read", path)

    await keyring.create(Role.ADMIN, now, name=NAME, keep=keep)
