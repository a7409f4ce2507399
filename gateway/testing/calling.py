"""The contract of a provider that sends callbacks, as one function for its author's tests.

It needs no test framework: what does not hold is an `AssertionError` that says what to mend.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from random import Random
from typing import Final, NamedTuple

import msgspec

from gateway.errors import Malformed, Rejected
from gateway.models import Callback, Duration, Millis, Reading
from gateway.providers.base import Calling, Options, can_sample
from gateway.testing.damage import damaged
from gateway.testing.judging import ending, made, refused, require, shown
from gateway.testing.readings import check_reading
from gateway.testing.sampling import check_samples

TOLERANCE: Final = Duration(300_000)
WRONG: Final = b"a-secret-of-somebody-else-0123456789abcdef"
FLIPS: Final = 16  # places of a body whose change must be seen
LONG: Final = 100_000  # bytes of a header that no provider sends
YEARS: Final = 10 * 365 * 86_400_000


def check_calling(
    make: type[Calling],
    *,
    samples: Sequence[Callback],
    secrets: Sequence[bytes],
    options: Options | None = None,
) -> None:
    """Hold a provider against the contract of `gateway.providers.base.Calling`.

    `samples` are authentic callbacks as the provider would send them, one of each kind at least:
    header names in lower case, signed with one of `secrets` at about their `received_at`.
    `options` are those of a source, None for the defaults. Raises `AssertionError` with one
    sentence for the first thing that does not hold; a few thousand calls a sample are made. What the
    provider itself offers as samples is held against `gateway.providers.base.Sampling`.
    """
    require(samples, "give at least one authentic callback in samples")
    require(secrets and all(secrets), "give in secrets those that the samples are signed with")
    provider = made(make, options)
    for number, sample in enumerate(samples):
        about = f"sample {number} of {make.name}"
        _check_sample(sample, about)
        _check_authentic(provider, sample, secrets, about)
        _check_forged(provider, sample, secrets, about)
        _check_reading(provider, made(make, options), sample, about)
        _check_damaged(provider, sample, about)
    if can_sample(provider):
        check_samples(provider)


class _Forged(NamedTuple):
    """A callback that must be rejected: what is wrong with it, and how a provider sees that."""

    how: str
    callback: Callback
    mend: str


def _check_sample(sample: Callback, about: str) -> None:
    require(sample.body, f"{about} has no body")
    for name, _ in sample.headers:
        require(
            name == name.lower(),
            f"{about} has the header {name.decode('latin-1')}: the gateway hands header names over "
            "in lower case, so write it so",
        )


# Verifying.


def _verify(
    provider: Calling, callback: Callback, secrets: Sequence[bytes], *, now: Millis | None = None
) -> object:
    """What `verify` returns, as whatever a provider makes of it."""
    verify: Callable[..., object] = provider.verify
    return verify(
        callback,
        secrets=secrets,
        tolerance=TOLERANCE,
        now=callback.received_at if now is None else now,
    )


def _check_authentic(
    provider: Calling, sample: Callback, secrets: Sequence[bytes], about: str
) -> None:
    tries = (
        ("under its secret", tuple(secrets)),
        ("when another secret stands before its own: try all of them", (WRONG, *secrets)),
        ("when another secret stands after its own: try all of them", (*secrets, WRONG)),
        ("when an empty secret stands before its own: pass it over", (b"", *secrets)),
    )
    for how, given in tries:
        called = f"verify of {about}, authentic {how}"
        try:
            found = ending(partial(_verify, provider, sample, given), (Rejected,), called)
        except Rejected as error:
            raise AssertionError(f"{called}, was rejected: {error}") from error
        require(found is None, f"{called}, returned {shown(found)}: it must return nothing")


def _check_forged(
    provider: Calling, sample: Callback, secrets: Sequence[bytes], about: str
) -> None:
    for how, callback, mend in _forged(provider, sample, secrets, about):
        _must_reject(provider, callback, secrets, f"verify of {about} {how}", mend)
    for given in ((WRONG,), (), (b"",), (b"", WRONG)):
        mend = (
            "compare with every secret that is not empty, and raise when none of them fits"
            if given
            else "without a secret nothing is authentic"
        )
        _must_reject(provider, sample, given, f"verify of {about} with the secrets {given}", mend)
    for now in (0, sample.received_at - YEARS, sample.received_at + YEARS):
        called = f"verify of {about} at another time"
        moment = Millis(max(now, 0))
        try:
            ending(partial(_verify, provider, sample, secrets, now=moment), (Rejected,), called)
        except Rejected:
            continue  # the scheme signs the time


def _must_reject(
    provider: Calling, callback: Callback, secrets: Sequence[bytes], about: str, mend: str
) -> None:
    refused(lambda: _verify(provider, callback, secrets), (Rejected,), about, mend)


def _forged(
    provider: Calling, sample: Callback, secrets: Sequence[bytes], about: str
) -> Iterator[_Forged]:
    yield from _changed_bodies(sample)
    yield _Forged("without its headers", _with(sample, ()), "no signature is no proof")
    needed = _needed(provider, sample, secrets, about)
    for name in needed:
        yield from _changed_headers(sample, name)


def _changed_bodies(sample: Callback) -> Iterator[_Forged]:
    body, mend = sample.body, "sign and compare callback.body, all of its bytes as they came"
    step = max(1, len(body) // FLIPS)
    for place in sorted({*range(0, len(body), step), len(body) - 1}):
        changed = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
        yield _Forged(f"with byte {place} of its body changed", _body(sample, changed), mend)
    for how, changed in (("a byte more", body + b" "), ("a byte less", body[:-1]), ("none", b"")):
        yield _Forged(f"with {how} in its body", _body(sample, changed), mend)


def _needed(
    provider: Calling, sample: Callback, secrets: Sequence[bytes], about: str
) -> Sequence[bytes]:
    """The headers without which the sample is rejected."""
    found = []
    for name in dict.fromkeys(name for name, _ in sample.headers):
        left = _with(sample, [pair for pair in sample.headers if pair[0] != name])
        called = f"verify of {about} without its header {name.decode('latin-1')}"
        try:
            ending(partial(_verify, provider, left, secrets), (Rejected,), called)
        except Rejected:
            found.append(name)
    require(found, f"no header of {about} is needed by verify: which of them holds the signature?")
    return found


def _changed_headers(sample: Callback, name: bytes) -> Iterator[_Forged]:
    shown_name = name.decode("latin-1")
    others = [pair for pair in sample.headers if pair[0] != name]
    own = [pair for pair in sample.headers if pair[0] == name]
    value = own[0][1]
    mend = f"take exactly one value of {shown_name}; gateway.providers.reading.only_header does"
    yield _Forged(
        f"with the header {shown_name} there twice", _with(sample, [*others, *own, *own]), mend
    )
    mend = f"check the form of {shown_name} before it is used"
    random = Random(0)  # noqa: S311 - the same values at every run
    values = [b"", b" ", b"=", b",", b"x" * LONG, b"0" * 64, b"\xff" * 8]
    values += [value + "é".encode(), b"\xe9" + value, value[: len(value) // 2]]
    values += [random.randbytes(40) for _ in range(20)]
    for changed in values:
        how = f"with {shown(changed)} as its header {shown_name}"
        yield _Forged(how, _with(sample, [*others, (name, changed)]), mend)


# Reading.


def _check_reading(provider: Calling, twin: Calling, sample: Callback, about: str) -> None:
    called = f"normalize of {about}"
    try:
        reading = _normalized(provider, sample, called)
    except Malformed as error:
        raise AssertionError(f"{called} raised Malformed for an authentic one: {error}") from error
    require(
        reading == provider.normalize(sample) == twin.normalize(sample),
        f"{called} says another thing each time: no clock, no chance and no memory may decide",
    )
    later = msgspec.structs.replace(sample, received_at=Millis(sample.received_at + 60_000))
    require(
        reading.event_id == provider.normalize(later).event_id,
        f"{called} gives a repeat another event_id: take the provider's, or a hash of the body",
    )


def _check_damaged(provider: Calling, sample: Callback, about: str) -> None:
    bodies = ((how, _body(sample, body)) for how, body in damaged(sample.body))
    bare = ("no headers", _with(sample, ()))
    odd = ("odd headers", _with(sample, [(name, b"\xff\0") for name, _ in sample.headers]))
    for how, callback in (*bodies, bare, odd):
        try:
            _normalized(provider, callback, f"normalize of {about} with {how}")
        except Malformed:
            continue


def _normalized(provider: Calling, callback: Callback, about: str) -> Reading:
    """A reading that keeps the contract; `Malformed` passes."""
    reading = ending(lambda: provider.normalize(callback), (Malformed,), about)
    check_reading(reading, name=provider.name, about=about)
    return reading


def _with(sample: Callback, headers: Sequence[tuple[bytes, bytes]]) -> Callback:
    return msgspec.structs.replace(sample, headers=headers)


def _body(sample: Callback, body: bytes) -> Callback:
    return msgspec.structs.replace(sample, body=body)
