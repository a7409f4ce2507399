"""The environment's say: `GATEWAY_SERVER__PORT` overrides the key `server.port`.

A variable's name is the key's path in upper case, `__` for the dots and `_` for `-`. Variables
without `__`, such as GATEWAY_CONFIG, are not keys.
"""

from collections.abc import Iterable, Mapping

from gateway.config.reader import Given, Place, suggestion
from gateway.errors import ConfigError

PREFIX = "GATEWAY_"


class Overrides:
    """The variables that override keys; each must turn out to be a known key."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._given = {
            name: text for name, text in environ.items() if name.startswith(PREFIX) and "__" in name
        }
        self._known: dict[str, str] = {}

    def apply(
        self, table: Mapping[str, object], keys: Iterable[str], path: tuple[str, ...]
    ) -> dict[str, object]:
        """`table`, which stands at `path`, with those of `keys` replaced that a variable sets."""
        result = dict(table)
        for key in keys:
            name = variable(*path, key)
            self._know(name, ".".join((*path, key)))
            if name in self._given:
                result[key] = Given(self._given[name], name)
        return result

    def _know(self, name: str, path: str) -> None:
        other = self._known.setdefault(name, path)
        if other != path and name in self._given:
            raise ConfigError(name, f"could mean {other} or {path}, set the key in the file")

    def refuse_unknown(self) -> None:
        """Raise for the first variable that is no key; call it when all keys were applied."""
        for name in sorted(self._given):
            if name not in self._known:
                near = suggestion(name, self._known)
                raise Place(name).error(
                    f"no key has this name{near}; sources and subscriptions are named in the file"
                )


def variable(*path: str) -> str:
    """The name of the variable that sets the key at `path`."""
    return PREFIX + "__".join(path).upper().replace("-", "_")
