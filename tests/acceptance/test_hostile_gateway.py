"""A whole gateway among hostile peers keeps its promises; and the test that says so can fail."""

import asyncio
from pathlib import Path

import pytest

from tests.acceptance import hostile_gateway
from tests.acceptance.hostile_attempts import Result
from tests.acceptance.hostile_gateway import Plan, Report, Seen
from tests.acceptance.hostile_peers import MANNERS
from tests.acceptance.isolation import more_files


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_gateway_with_two_hundred_hostile_peers(tmp_path: Path) -> None:
    more_files()
    report = asyncio.run(hostile_gateway.run(Plan(seconds=25, warm_up=10), tmp_path))
    assert not report.problems, str(report)
    assert report.attempts.attempts > 1_000, str(report)
    assert report.seen.sent, str(report)
    assert report.seen.resumed, str(report)


def report_of(*, overrun: float, at_end: float, cold: float, found: list[str]) -> Report:
    """A run that met every manner once."""
    ends = {
        name: {(end or "delivered"): 1 for end in manner.ends} for name, manner in MANNERS.items()
    }
    attempts = Result(overrun=overrun, overrun_of="silent", at_start=60, at_end=at_end, ends=ends)
    seen = Seen(memory=[60, at_end], files=[9, 9], cold=[30, cold], found=found)
    worst = dict.fromkeys(MANNERS, overrun)
    return Report(attempts=attempts, worst=worst, seen=seen, warm=1, late=0.1)


def test_a_broken_promise_is_told() -> None:
    assert report_of(overrun=0.9, at_end=80, cold=0, found=[]).problems == []
    bad = report_of(overrun=1.1, at_end=81, cold=0, found=["healthy-1 did not get 2 events"])
    assert bad.problems == [
        "memory grew by more than 20 MiB",
        "an attempt lasted more than 1 s over its timeout",
        "healthy-1 did not get 2 events",
    ]
    assert "NOT WELL: healthy-1 did not get 2 events" in str(bad)


def test_a_page_cache_that_fills_is_no_growth() -> None:
    assert report_of(overrun=0, at_end=90, cold=10, found=[]).problems == []
    assert report_of(overrun=0, at_end=91, cold=10, found=[]).problems
