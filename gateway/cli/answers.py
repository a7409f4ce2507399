"""What a gateway answered, as the rows of this version."""

from typing import TypeVar

import msgspec

from gateway.cli.following import name_of
from gateway.cli.options import Place
from gateway.cli.remote import Answer
from gateway.errors import GatewayError
from gateway.shown import taken

R = TypeVar("R", bound=msgspec.Struct)


def understood(place: Place, answer: Answer, row: type[R]) -> R:
    """The row that was answered; `GatewayError` when another version's is."""
    try:
        return taken(answer, row)
    except (msgspec.ValidationError, TypeError, ValueError):
        raise GatewayError(
            f"{name_of(place)} answered what this version does not understand:"
            " compare its version with that of `gateway version`"
        ) from None
