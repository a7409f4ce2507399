"""A property-based tester against every call of a real gateway: `python -m tests.acceptance.api_tester`.

It reads `/openapi.json` and makes requests from it, good ones and bad ones; whatever comes back must
be what the document says. The tester, schemathesis, is a program of its own (`--tester PATH`).
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx2

from tests.acceptance.harness import Gateway

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)


async def run(tester: Path, *, examples: int) -> int:
    """Start a gateway, let it know a few orders, and test; the tester's exit code."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        gateway = Gateway(folder, ())
        await gateway.start()
        try:
            _publish_some(gateway, _key(folder))
            return _test(tester, gateway, _key(folder), examples)
        finally:
            await gateway.stop()


def _key(folder: Path) -> str:
    """A new key of the role admin, made by the command line."""
    path = folder / f"key-{len(list(folder.iterdir()))}"
    command = [sys.executable, "-m", "gateway", "keys", "create", "--role", "admin"]
    config = ["--config", str(folder / "gateway.toml"), "--to", str(path)]
    subprocess.run([*command, *config], check=True, capture_output=True)
    return path.read_text().strip()


def _publish_some(gateway: Gateway, key: str) -> None:
    for number in range(5):
        event = {"specversion": "1.0", "id": str(number), "source": "/t", "type": "t.asked"}
        answer = httpx2.post(
            f"http://127.0.0.1:{gateway.port}/v1/events",
            json=event,
            headers={
                "authorization": f"Bearer {key}",
                "content-type": "application/cloudevents+json",
            },
            trust_env=False,
        )
        answer.raise_for_status()


def _test(tester: Path, gateway: Gateway, key: str, examples: int) -> int:
    root = f"http://127.0.0.1:{gateway.admin_port}"
    command = [
        *(str(tester), "run", f"{root}/openapi.json"),
        *("--header", f"Authorization: Bearer {key}"),
        *("--checks", ",".join(CHECKS)),
        *("--max-examples", str(examples)),
        *("--exclude-operation-id", "revokeKey"),  # it would lock the tester out
        *("--exclude-operation-id", "streamEvents"),  # its answer has no end
        *("--phases", "examples,coverage,fuzzing"),
        "--no-color",
    ]
    return subprocess.run(command, check=False).returncode


def main() -> int:
    """0 when every answer was as the document says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tester", type=Path, required=True)
    parser.add_argument("--examples", type=int, default=30)
    options = parser.parse_args()
    return asyncio.run(run(options.tester, examples=options.examples))


if __name__ == "__main__":
    sys.exit(main())
