"""`kill -9` right after an answer: what was made, changed or removed is so after the start."""

import asyncio
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.acceptance.harness import Gateway

pytestmark = pytest.mark.slow

FIRST, SECOND = "first-secret", "second-secret"
SOURCE = {"provider": "printstudio", "secrets": [FIRST]}


class Operator:
    """Asks with the admin key of the first start."""

    def __init__(self, folder: Path) -> None:
        self.gateway = Gateway(folder, [])
        self._key_file = folder / "gateway.db.admin-key"

    def ask(self, method: str, path: str = "", body: object = None) -> httpx2.Response:
        headers = {"authorization": f"Bearer {self._key_file.read_text('ascii').strip()}"}
        url = f"http://127.0.0.1:{self.gateway.admin_port}/v1/sources{path}"
        with httpx2.Client(trust_env=False, timeout=60) as client:
            return client.request(method, url, headers=headers, json=body)

    def call(self, source: str, number: str, secret: str) -> int:
        """The status that a signed callback is answered with."""
        event: dict[str, Any] = {"id": f"evt-{number}", "event": "order.created"}
        event |= {"timestamp": "2026-01-15T14:30:00Z", "data": {"orderId": f"ord-{number}"}}
        body = json.dumps(event).encode()
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {"x-printstudio-signature": f"sha256={signature}"}
        url = f"http://127.0.0.1:{self.gateway.port}/hooks/{source}"
        with httpx2.Client(trust_env=False, timeout=60) as client:
            return client.post(url, content=body, headers=headers).status_code

    def killed(self) -> None:
        self.gateway.kill()
        asyncio.run(self.gateway.start())


def test_what_was_answered_is_kept(tmp_path: Path) -> None:
    operator = Operator(tmp_path)
    asyncio.run(operator.gateway.start())
    try:
        for turn in range(3):
            name = f"s{turn}"
            made = operator.ask("POST", "", {"name": name, **SOURCE})
            operator.killed()
            assert made.status_code == 201
            again = operator.ask("GET", f"/{name}")
            assert (again.json(), again.headers["etag"]) == (made.json(), made.headers["etag"])
            assert operator.call(name, f"{name}-1", FIRST) == 200

            changed = operator.ask("PATCH", f"/{name}", {"secrets": [SECOND], "currency": "EUR"})
            operator.killed()
            assert changed.status_code == 200
            assert operator.ask("GET", f"/{name}").headers["etag"] == changed.headers["etag"]
            assert operator.call(name, f"{name}-2", FIRST) == 401
            assert operator.call(name, f"{name}-2", SECOND) == 200

            removed = operator.ask("DELETE", f"/{name}")
            operator.killed()
            assert removed.status_code == 204
            assert operator.ask("GET", f"/{name}").status_code == 404
            assert operator.call(name, f"{name}-3", SECOND) == 404
    finally:
        operator.gateway.kill()
