"""What the contract tests share: how a provider is made, and how a call of it may end."""

import re
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from gateway.errors import GatewayError, Malformed
from gateway.providers.base import Options, Provider

T = TypeVar("T")
P = TypeVar("P", bound=Provider)

NAME: Final = re.compile(r"[a-z][a-z0-9_-]*")
_ID = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,255}")


def require(held: object, sentence: str) -> None:
    """Raise `AssertionError` with the sentence unless it holds; `python -O` keeps this one."""
    if not held:
        raise AssertionError(sentence)


def is_id(value: object) -> bool:
    """Whether this can be an id in the gateway: 1 to 255 characters, none of them a control one."""
    return matches(_ID, value)


def matches(pattern: re.Pattern[str], value: object) -> bool:
    """Whether this is text, and the pattern fits all of it."""
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def made(make: type[P], options: Options | None) -> P:
    """A provider with these options, or with the defaults of its own."""
    require(
        matches(NAME, make.name),
        f"name is {make.name!r}: give it lower-case letters, digits, - and _, a letter first",
    )
    require(
        issubclass(make.Options, Options),
        "Options must derive from gateway.providers.base.Options: the configuration is read by it",
    )
    needed = [field.name for field in msgspec.structs.fields(make.Options) if field.required]
    require(not needed, f"give each option a default: {', '.join(needed)} of Options has none")
    chosen = make.Options() if options is None else options
    require(
        isinstance(chosen, make.Options),
        f"options must be an instance of {make.Options.__name__}, the provider's own Options",
    )
    return ending(lambda: make(chosen), (), f"{make.__name__}(options)")


def ending(call: Callable[[], T], allowed: tuple[type[GatewayError], ...], about: str) -> T:
    """What the call returns; an allowed error goes on, any other is an `AssertionError`."""
    try:
        return call()
    except allowed as error:
        _check_error(error, about)
        raise
    except Exception as error:
        names = " or ".join(kind.__name__ for kind in allowed)
        mend = f"let nothing but {names} out of it" if names else "it must not fail"
        raise AssertionError(f"{about} raised {error!r}: {mend}") from error


def refused(
    call: Callable[[], object], kinds: tuple[type[GatewayError], ...], about: str, mend: str
) -> GatewayError:
    """The error of a call that must raise one of these kinds; `mend` says what to do if not."""
    try:
        found = ending(call, kinds, about)
    except kinds as error:
        return error
    names = " or ".join(kind.__name__ for kind in kinds)
    raise AssertionError(f"{about} returned {shown(found)} and must raise {names}: {mend}")


def _check_error(error: GatewayError, about: str) -> None:
    """What is kept of an error must be storable: a stranger's half characters are not."""
    try:
        str(error).encode()
    except UnicodeEncodeError as cause:
        raise AssertionError(
            f"the text of the error of {about} has a lone surrogate: show less of what was sent"
        ) from cause
    if isinstance(error, Malformed):
        require(
            error.event_id is None or is_id(error.event_id),
            f"the event_id of the Malformed of {about} is {shown(error.event_id)}: leave it None "
            "unless it has 1 to 255 characters without control characters",
        )


def shown(value: object) -> str:
    """A value for a sentence, cut short."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
