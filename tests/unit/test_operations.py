"""Operational events: each that happens is an event of its own."""

from gateway.events import Writer
from gateway.models import Millis
from gateway.operations import Operations


def test_the_same_thing_twice_within_a_millisecond_is_two_events() -> None:
    operations = Operations(Writer(""), clock=lambda: Millis(9))
    events = [operations.source("failing", "shop", "why") for _ in range(3)]
    assert len({event.id for event in events}) == 3
    assert {event.recorded for event in events} == {9}


def test_a_clock_that_was_set_back_does_not_give_an_id_twice() -> None:
    times = iter([10, 11, 10, 11])
    operations = Operations(Writer(""), clock=lambda: Millis(next(times)))
    events = [operations.source("failing", "shop", "why") for _ in range(4)]
    assert len({event.id for event in events}) == 4
