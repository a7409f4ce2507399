"""Which providers there are: entry points of the group `gateway.providers`, ours and plugins'."""

from importlib.metadata import EntryPoint, entry_points

from gateway.errors import NotFound, StartupError
from gateway.providers.base import Provider

GROUP = "gateway.providers"


def provider_names() -> tuple[str, ...]:
    """The names of all installed providers, sorted."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def provider_class(name: str) -> type[Provider]:
    """The class of the provider of this name.

    Raises `NotFound` when none is installed, and `StartupError` when two packages claim the
    name or when the package cannot be imported.
    """
    points = {point.value: point for point in entry_points(group=GROUP, name=name)}
    if not points:
        known = ", ".join(provider_names()) or "none"
        raise NotFound(f"there is no provider {name!r}; known providers are {known}")
    if len(points) > 1:
        claims = " and ".join(sorted(points))
        raise StartupError(f"the provider {name!r} is claimed by {claims}; uninstall all but one")
    return _load(next(iter(points.values())))


def _load(point: EntryPoint) -> type[Provider]:
    try:
        loaded: type[Provider] = point.load()
    except (ImportError, AttributeError) as error:
        raise StartupError(f"the provider {point.name!r} cannot be loaded: {error}") from error
    return loaded
