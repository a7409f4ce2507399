"""Links by hand what waits for its order (design 6.3): what a provider never says, a person may know."""

from collections.abc import Callable

from gateway.errors import BadRequest
from gateway.models import Millis
from gateway.orders.decide import Orders
from gateway.stores.linking import Link, Linked, Links

LONGEST_NAME = 255  # characters of an order's id, as normalizers allow


class Linker:
    """Asks the store to link, and the order state engine what follows."""

    def __init__(self, links: Links, orders: Orders, *, clock: Callable[[], Millis]) -> None:
        self._links, self._orders, self._clock = links, orders, clock

    async def link(self, wanted: Link) -> Linked:
        """Do it, as a callback would that names the order; `BadRequest`, `NotFound`, `Conflict`."""
        if not (0 < len(wanted.order) <= LONGEST_NAME and wanted.order.isprintable()):
            raise BadRequest(f"order: expected 1 to {LONGEST_NAME} printable characters")
        return await self._links.link(wanted, self._orders.link, self._clock())
