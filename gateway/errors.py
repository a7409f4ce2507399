"""The error tree: every way in which the gateway says no.

GatewayError
├── ConfigError(path)      a key of the configuration is wrong; exit 2
├── StartupError           the gateway cannot run here (busy port, foreign database ...); exit 2
├── Rejected               the sender did not prove who it is; 401
├── Unauthenticated        the request has no valid key; 401
├── Forbidden              its key is not for this; 403
├── BadRequest             the request is not one that this route takes; 400
├── TooLarge               the body is over the limit; 413
├── UnsupportedMedia       the body is encoded in a way that is not taken; 415
├── Unprocessable          what was sent is well-formed, but not to be taken; 422
├── Malformed(path)        authentic, but it cannot be normalized; quarantined, 202
├── NotFound               no such source, delivery, subscription ...; 404
├── Conflict               it cannot be done in the present state; 409
├── PreconditionFailed     it was changed since it was read; 412
├── AskFailed              a provider's API gave no usable answer: it is asked again later
│   ├── Unreached          nothing was sent: no connection was made
│   ├── TokenRefused       it does not take our token: the source asks no more until it is changed
│   ├── Denied             this order is not ours to read
│   ├── Missing            it knows no such order
│   └── Throttled          too many requests
├── Unavailable            not now: queue full, store failed; 503 and Retry-After
└── ForbiddenAddress       the egress rules refuse this address; an outcome of an attempt
"""

from collections.abc import Collection

SOME = 20  # names that a sentence has at most


def some_of(names: Collection[str]) -> str:
    """The first names, and how many more there are, in words."""
    first = ", ".join(list(names)[:SOME]) or "none"
    return f"{first} and {len(names) - SOME} more" if len(names) > SOME else first


class GatewayError(Exception):
    """Base of all errors of the gateway; its text is one sentence for a person."""


class ConfigError(GatewayError):
    """A key of the configuration is wrong; `path` names it, as in `sources.shop.secrets`."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path


class StartupError(GatewayError):
    """The gateway cannot start here; the text says why and what to do."""


class Rejected(GatewayError):
    """The callback is not authentic; the text is for the operator, never for the sender."""


class Unauthenticated(GatewayError):
    """The request has no valid key."""


class Forbidden(GatewayError):
    """The request has a key that is not for this."""


class BadRequest(GatewayError):
    """The request is not one that this route takes."""


class TooLarge(GatewayError):
    """The body is over the limit."""


class UnsupportedMedia(GatewayError):
    """The body is encoded in a way that is not taken."""


class Unprocessable(GatewayError):
    """What was sent is well-formed, but cannot be taken; the text has its path."""


class Malformed(GatewayError):
    """An authentic callback that cannot be normalized; `path` points into its JSON."""

    def __init__(self, message: str, *, path: str = "$", event_id: str | None = None) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.event_id = event_id


class NotFound(GatewayError):
    """There is no such thing."""


class Conflict(GatewayError):
    """It cannot be done in the present state."""


class PreconditionFailed(GatewayError):
    """It was changed since the caller has read it."""


class Unavailable(GatewayError):
    """Not now; try again after `retry_after` seconds."""

    def __init__(self, message: str, *, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class AskFailed(GatewayError):
    """A provider's API gave no usable answer; the text says what it did instead."""


class Unreached(AskFailed):
    """No connection was made, so nothing was sent."""


class TokenRefused(AskFailed):
    """The API does not take our token, or no longer: asking on would only lock us out."""


class Denied(AskFailed):
    """The token is taken, but this order is not its owner's to read."""


class Missing(AskFailed):
    """The API knows no such order."""


class Throttled(AskFailed):
    """The API has had too many requests; the reply's headers may say until when."""


class ForbiddenAddress(GatewayError):
    """The egress rules refuse this address; the text names the rule, for the operator only."""
