"""A power cut at any point loses no answered callback; and the test that says so can fail."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.acceptance import power_cut, trace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _tracing_works() -> None:
    reason = trace.missing_tool()
    if reason is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; it is needed under CI")
    pytest.skip(reason)


def cut(folder: Path, *, fault: str = "none") -> power_cut.Report:
    plan = power_cut.Plan(events=300, cuts=40, seed=7, fault=fault)
    return asyncio.run(power_cut.run(plan, folder))


def test_full_keeps_every_answered_callback(tmp_path: Path) -> None:
    report = cut(tmp_path)
    assert not report.problems, str(report)
    assert report.answered >= 300


def test_normal_is_seen_to_lose_some(tmp_path: Path) -> None:
    report = cut(tmp_path, fault="synchronous-normal")
    assert report.lossy_cuts > 0, str(report)


def test_answer_before_commit_is_seen(tmp_path: Path) -> None:
    report = cut(tmp_path, fault="ack-before-commit")
    assert report.lossy_cuts > 0, str(report)


@pytest.mark.timeout(600)
def test_long_run(tmp_path: Path) -> None:
    plan = power_cut.Plan(events=2000, cuts=150, seed=2026)
    report = asyncio.run(power_cut.run(plan, tmp_path))
    assert not report.problems, str(report)
