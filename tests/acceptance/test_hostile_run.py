"""Two hundred hostile peers cost neither memory nor time; and the test that says so can fail."""

import asyncio

import pytest

from tests.acceptance import hostile_run
from tests.acceptance.hostile_attempts import Result
from tests.acceptance.hostile_peers import MANNERS


@pytest.mark.slow
def test_two_hundred_hostile_peers() -> None:
    result = asyncio.run(hostile_run.run(seconds=40, warm_up=10))
    assert not hostile_run.problems(result), hostile_run.report(result)
    assert result.attempts > 1_000, hostile_run.report(result)


def test_a_broken_promise_is_told() -> None:
    ends = {
        name: {(end or "delivered"): 1 for end in manner.ends} for name, manner in MANNERS.items()
    }
    good = Result(attempts=1, overrun=0.9, overrun_of="silent", at_start=30, at_end=50, ends=ends)
    assert hostile_run.problems(good) == []
    bad = Result(overrun=1.1, at_start=30, at_end=51, ends=ends | {"silent": {"reset": 3}})
    del bad.ends["10 GB"]
    assert sorted(hostile_run.problems(bad)) == [
        "10 GB: never met",
        "an attempt lasted more than 1 s over its timeout",
        "memory grew by more than 20 MiB",
        "silent: 3 ended as reset",
    ]
    assert "NOT WELL: 10 GB: never met" in hostile_run.report(bad)


def test_a_busy_machine_may_bring_a_deadline_first_but_not_often() -> None:
    ends = {
        name: {(end or "delivered"): 9 for end in manner.ends} for name, manner in MANNERS.items()
    }
    for late, busy, problems in (
        (3, 0.3, []),
        (4, 0.3, ["garbage: 4 ended as timeout"]),
        (1, 0.05, ["garbage: 1 ended as timeout"]),
    ):
        met = ends | {"garbage": {"protocol": 9, "timeout": late}}
        assert hostile_run.problems(Result(overrun=0.1, busy=busy, ends=met)) == problems
