"""What makes the run quick, and what keeps tests apart."""

import contextlib
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Where it is not kept (as many containers set it), each worker would compile every test, and each
# gateway that a test starts all of `gateway`: a second of work a start. Children inherit this.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Hypothesis would measure each example, and fail one that a busy machine keeps waiting for 200 ms.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _levels_are_put_back() -> Iterator[None]:
    """A command that a test runs in this process sets the levels of all that is logged after it."""
    loggers = [logging.getLogger(name) for name in ("root", "uvicorn", "httpx2")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Import this worker's share of the test modules before all of them are collected.

    All workers collect everything in the same order: on a fresh checkout each would rewrite every
    module at the same moment as the others. So each leaves bytecode of its share to them.
    """
    config = session.config
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    if not worker:
        return
    folders = [path for arg in config.args if (path := config.rootpath / arg).is_dir()]
    modules = sorted({module for folder in folders for module in folder.rglob("test_*.py")})
    for module in modules[int(worker) :: int(os.environ["PYTEST_XDIST_WORKER_COUNT"])]:
        # An error is told when the module is collected.
        with warnings.catch_warnings(), contextlib.suppress(Exception, pytest.skip.Exception):
            warnings.simplefilter("error")
            importlib.import_module(_name(module, config.rootpath))


def _name(module: Path, root: Path) -> str:
    return ".".join(module.relative_to(root).with_suffix("").parts)
