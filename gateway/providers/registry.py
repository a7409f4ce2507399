"""Which providers there are: entry points of the group `gateway.providers`, ours and plugins'."""

import sys
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points

from gateway.errors import NotFound, StartupError
from gateway.providers.base import Provider

GROUP = "gateway.providers"


def provider_names() -> tuple[str, ...]:
    """The names of all installed providers, sorted."""
    return tuple(sorted({point.name for point in _installed(tuple(sys.path))}))


def provider_class(name: str) -> type[Provider]:
    """The class of the provider of this name.

    Raises `NotFound` when none is installed, and `StartupError` when two packages claim the
    name or when the package cannot be imported.
    """
    found = _installed(tuple(sys.path)).select(name=name)
    points = {point.value: point for point in found}
    if not points:
        known = ", ".join(provider_names()) or "none"
        raise NotFound(f"there is no provider {name!r}; known providers are {known}")
    if len(points) > 1:
        claims = " and ".join(sorted(points))
        raise StartupError(f"the provider {name!r} is claimed by {claims}; uninstall all but one")
    return _load(next(iter(points.values())))


def provider_version(name: str) -> str:
    """The package that brings the provider, and its version: `webhook-gateway 1.0.0`."""
    for point in _installed(tuple(sys.path)).select(name=name):
        if point.dist is not None:
            return f"{point.dist.name} {point.dist.version}"
    return ""


@cache
def _installed(path: tuple[str, ...]) -> EntryPoints:  # noqa: ARG001 - what is found depends on it
    """The metadata of every installed package is read for this: once is enough for all sources."""
    return entry_points(group=GROUP)


def _load(point: EntryPoint) -> type[Provider]:
    try:
        loaded: type[Provider] = point.load()
    except (ImportError, AttributeError) as error:
        raise StartupError(f"the provider {point.name!r} cannot be loaded: {error}") from error
    return loaded
