"""`gateway subscriptions set`: other values for keys of a subscription that no file declares."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.cli.control import LATER, act_on, subscription_path
from gateway.cli.look import Told
from gateway.cli.options import Place
from gateway.cli.subscribing import advise, read_pairs
from gateway.config.made import change_subscription
from gateway.config.settings import Settings
from gateway.errors import StartupError
from gateway.keyring import OWNER
from gateway.runtime import Gateway
from gateway.shown import shown
from gateway.web.api.subscriptions import ShownSubscription, fields_of

ADVISED = ("types", "sources", "shops", "filters")  # what looks wrong in them is said
SENT = ("url", "mode", "ordering", "on_exhausted", "batch_size", "batch_wait")


def change(place: Place, name: str, pairs: Sequence[str], *, config: Path | None) -> Told:
    """Give keys other values; what was done, for a script with all keys as the API shows them.

    `pairs` are `KEY=VALUE`, as for a new one. What looks like a mistake in what it has now is said
    on standard error. Raises what the gateway raises: `Conflict` for one of
    the configuration.
    """
    keys = read_pairs(pairs)
    if "name" in keys:
        raise StartupError("name: cannot be changed: add another subscription, and remove this one")
    done = act_on(
        place,
        subscription_path(name),
        lambda gateway: _directly(gateway, name, keys),
        body=keys,
        method="PATCH",
    )
    if isinstance(place, Settings):
        names = ("pull", *ADVISED) if done.answer["pull"] else (*SENT, *ADVISED)
        advise(place, name, {key: done.answer[key] for key in names}, config)
    after = "" if done.live else LATER
    text = f"Subscription {name} is changed: {', '.join(keys)}{after}."
    return Told(text, {"subscription": name, **done.answer, "live": done.live})


async def _directly(gateway: Gateway, name: str, keys: Mapping[str, str]) -> dict[str, object]:
    given = dict(keys)
    description = given.pop("description", None)
    status = await gateway.store.catalog.change(
        name,
        lambda before: change_subscription(
            before, given, gateway.settings, gateway.clock(), description=description
        ),
    )
    return dict(shown(ShownSubscription(**fields_of(status, OWNER))))
