"""The command line in this process, as `gateway` would run it: quick enough for many commands."""

import contextlib
import io
import sys
from unittest import mock

from gateway.cli.main import main
from tests.acceptance.test_look import Said


def run(*arguments: str) -> Said:
    """`gateway ARGUMENTS`: its exit code and what it wrote."""
    output, error = io.StringIO(), io.StringIO()
    code = 0
    with (
        mock.patch.object(sys, "argv", ["gateway", *arguments]),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(error),
    ):
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Said(code, output.getvalue().encode(), error.getvalue())
