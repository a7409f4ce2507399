"""Each check of the crash test finds what it is there for, in records made by hand."""

import msgspec
import pytest

from tests.acceptance import checks
from tests.acceptance.load import Acked, Receipt, Sent
from tests.acceptance.peers import Arrival

SENT = Sent(id="evt-1", order="ord-1", body=b"{}", signature="")


def body(event_id: str = "evt_1", **changes: object) -> bytes:
    event = {"id": event_id, "type": "order.created", "subject": "ord-1", "orderseq": 1}
    return msgspec.json.encode({**event, "data": {"cause": {"event_id": "evt-1"}}, **changes})


def arrival(at: float = 10.0, **changes: object) -> Arrival:
    fine = Arrival(event_id="evt_1", body=body(), arrived=at, answered=at + 0.1, status=200)
    return msgspec.structs.replace(fine, **changes)


def problems(
    *arrivals: Arrival,
    events: tuple[str, ...] = ("evt_1",),
    kills: tuple[float, ...] = (),
    starts: tuple[float, ...] = (1.0,),
    types: tuple[str, ...] = ("order.*",),
    ordered: bool = False,
) -> list[str]:
    receipt = Receipt(id="cb_1", events=events, duplicate=False, verdict="event")
    evidence = checks.Evidence(
        sent={"evt-1": SENT},
        acked={"evt-1": Acked(sent=SENT, receipt=receipt)},
        heard=[
            checks.Heard(name="good", types=types, timeout=2.0, arrivals=arrivals, ordered=ordered)
        ],
        kills=kills,
        starts=starts,
    )
    return checks.problems(evidence)


def second(at: float, **changes: object) -> Arrival:
    """The next event of the same order."""
    return arrival(at, event_id="evt_2", body=body("evt_2", orderseq=2), **changes)


def lane(*arrivals: Arrival, kills: tuple[float, ...] = ()) -> list[str]:
    return problems(*arrivals, events=("evt_1", "evt_2"), kills=kills, ordered=True)


def test_a_good_run() -> None:
    assert problems(arrival()) == []


def test_a_retry_after_a_failure() -> None:
    assert problems(arrival(status=500), arrival(12)) == []


def test_a_repeat_that_a_kill_explains() -> None:
    assert problems(arrival(10), arrival(12), kills=(10.2,)) == []


def test_a_repeat_after_an_answer_that_came_too_late() -> None:
    assert problems(arrival(10, answered=11.9), arrival(12.2)) == []


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (problems(), "I1: event evt_1 is missing at good"),
        (problems(arrival(status=500)), "I1: event evt_1 is missing at good"),
        (problems(arrival(answered=None)), "I1: event evt_1 is missing at good"),
        (problems(arrival(fault="bad")), "I2: evt_1 is not signed: bad"),
        (problems(arrival(), events=()), "I2: evt_1 arrived but stands in no receipt"),
        (problems(arrival(body=body("evt_2"))), "I2: webhook-id evt_1 carries the event evt_2"),
        (
            problems(arrival(), types=("order.paid",)),
            "I2: evt_1 of type order.created came to good",
        ),
        (
            problems(arrival(body=body(subject="ord-2"))),
            "I2: evt_1 is of ord-2, its callback of ord-1",
        ),
        (
            problems(arrival(body=body(data={"cause": {"event_id": "evt-9"}}))),
            "I2: evt_1 was made by no callback that was sent",
        ),
        (
            problems(arrival(status=500), arrival(12, body=body(extra=1))),
            "I2: the bytes of evt_1 changed between two arrivals",
        ),
        (problems(arrival(10), arrival(12)), "I3: event evt_1 came again to good after its 2xx"),
        (
            problems(arrival(10), arrival(20), kills=(15.0,)),
            "I3: event evt_1 came again to good after its 2xx",
        ),
        (problems(arrival(body=body(orderseq=2))), "I7: orderseq of ord-1 is [2]"),
        (problems(arrival(body=body(type="order.paid"))), "I7: ord-1 begins with order.paid"),
        (problems(arrival(), starts=(1.0, 6.0)), "I9: ready only after 6.0 s"),
    ],
)
def test_each_fault_is_found(found: list[str], says: str) -> None:
    assert says in found


def test_an_order_one_after_the_other() -> None:
    assert lane(arrival(10), second(11)) == []
    assert lane(arrival(10, status=500), arrival(11), second(12)) == []


def test_a_repeat_of_an_earlier_one_after_a_kill_is_no_disorder() -> None:
    assert lane(arrival(10), second(10.3, status=500), arrival(11), second(12), kills=(10.2,)) == []


@pytest.mark.parametrize(
    "found",
    [
        lane(second(9), arrival(10)),
        lane(arrival(10), second(10.05)),
        lane(arrival(10, status=500), second(11), arrival(12)),
        lane(arrival(10, answered=None), second(11), arrival(12)),
    ],
)
def test_an_event_that_overtakes_is_found(found: list[str]) -> None:
    assert found == ["I7: ord-1 came to good without the success of its 1 first"]


def test_without_order_events_may_overtake() -> None:
    assert problems(second(9), arrival(10), events=("evt_1", "evt_2")) == []
