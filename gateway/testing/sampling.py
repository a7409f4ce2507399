"""The contract of the samples that a provider may offer for `gateway send`."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from gateway.errors import Malformed, Rejected
from gateway.models import Callback, Duration, Millis, Reading
from gateway.providers.base import Occasion, Sampling
from gateway.testing.judging import ending, require, shown
from gateway.testing.readings import check_reading

OCCASION: Final = Occasion(order="1001-A", tag="a7f3", at=Millis(1_700_000_000_000))
SECRET: Final = b"a-secret-that-samples-are-signed-with"
TOLERANCE: Final = Duration(300_000)


def check_samples(provider: Sampling) -> None:
    """Hold `samples` and `sign` against `gateway.providers.base.Sampling`; `AssertionError`."""
    about = f"samples of {provider.name}"
    found = ending(partial(provider.samples, OCCASION), (), about)
    bodies: object = found
    require(isinstance(bodies, Mapping) and bodies, f"{about} must be bodies by the names of types")
    require(
        found == provider.samples(OCCASION),
        f"{about} say another thing each time: take what differs from the occasion's tag",
    )
    later = Occasion(order=OCCASION.order, tag="b8c4", at=Millis(OCCASION.at + 1000))
    again = provider.samples(later)
    require(found.keys() == again.keys(), f"{about} must be of the same types each time")
    for name, body in found.items():
        reading = _read(provider, name, body, OCCASION)
        other = _read(provider, name, again[name], later)
        require(
            reading.event_id != other.event_id,
            f"the sample {name} has the same event id for every tag: put it in there",
        )


def _read(provider: Sampling, name: str, body: object, occasion: Occasion) -> Reading:
    about = f"the sample {shown(name)} of {provider.name}"
    require(isinstance(body, bytes), f"{about} is {shown(body)}: it must be bytes")
    assert isinstance(body, bytes)
    signed = ending(
        partial(provider.sign, body, secret=SECRET, now=occasion.at), (), f"sign of {about}"
    )
    callback = Callback(
        source="samples",
        headers=[(key.lower().encode(), value.encode()) for key, value in signed.items()],
        body=body,
        received_at=occasion.at,
    )
    try:
        provider.verify(callback, secrets=(SECRET,), tolerance=TOLERANCE, now=occasion.at)
        reading = provider.normalize(callback)
    except (Rejected, Malformed) as error:
        raise AssertionError(f"{about} is not taken by its own provider: {error}") from error
    check_reading(reading, name=provider.name, about=about)
    require(
        reading.event_type == name, f"{about} is read as {reading.event_type}: name it like that"
    )
    orders = {fact.order for fact in reading.facts} - {None, occasion.order}
    require(not orders, f"{about} names the order {orders}: it must be the occasion's")
    return reading
