"""What the gateway says of a delivery that ended without success."""

import json
import logging

import pytest
from msgspec.structs import replace

from gateway.desk import Desk
from gateway.events import Writer
from gateway.judge import Judge
from gateway.models import Millis, Outcome
from gateway.operations import Operations
from tests.unit.test_dispatcher import DELIVERY, STATUS, SUBSCRIPTION

NOW = Millis(1_000)


@pytest.mark.parametrize(
    ("types", "said"),
    [
        (["order.paid"], True),
        (["gateway.source.silent"], False),  # or it could go round for ever
        (["order.paid", "gateway.source.silent"], True),
        (["gateway.source.silent", "order.paid"], True),
        # Two that get them in batches would have the other one's for ever.
        (["gateway.delivery.exhausted", "gateway.delivery.exhausted"], False),
    ],
)
def test_exhausted_is_said_of_all_but_operational_events(types: list[str], said: bool) -> None:
    clock = lambda: NOW  # noqa: E731
    judge = Judge(Operations(Writer(""), clock=clock), clock=clock, random=lambda: 0.5)
    desk = Desk(
        replace(STATUS, subscription=replace(SUBSCRIPTION, final_status=(422,))),
        clock,
        lambda: 0.5,
    )
    outcome = Outcome(started_at=NOW, duration=1.0, status=422)
    body = json.dumps([{"id": "evt_1", "type": kind, "data": {"type": 5}} for kind in types])
    delivery = replace(DELIVERY, event_type=types[0], size=len(types), body=body.encode())
    settled = judge.settlement(desk, delivery, outcome)
    told = [event.type for event in settled.events]
    assert told == (["gateway.delivery.exhausted"] if said else [])


@pytest.mark.parametrize(
    ("schedule", "said"), [((1_500,), "due in 1.5 s"), ((3_600_000,), "due in 3600 s")]
)
def test_the_log_tells_seconds_as_a_person_writes_them(
    schedule: tuple[int, ...], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = lambda: NOW  # noqa: E731
    judge = Judge(Operations(Writer(""), clock=clock), clock=clock, random=lambda: 0.5)
    subscription = replace(SUBSCRIPTION, schedule=tuple(map(Millis, schedule)))
    desk = Desk(replace(STATUS, subscription=subscription), clock, lambda: 0.5)
    with caplog.at_level(logging.INFO):
        judge.settlement(desk, DELIVERY, Outcome(started_at=NOW, duration=1.0, status=500))
    assert said in caplog.text
