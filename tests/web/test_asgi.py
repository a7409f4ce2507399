"""The application for other ASGI servers: it opens the store, takes callbacks, closes the store."""

import asyncio
import hashlib
import hmac
from pathlib import Path

import httpx2
import pytest

from gateway.asgi import application

BODY = (
    b'{"id":"evt-1","event":"order.created","timestamp":"2026-01-15T14:30:00Z",'
    b'"data":{"orderId":"1"}}'
)


def test_the_application_takes_callbacks_in_its_lifespan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '[sources.shop]\nprovider = "printstudio"\nsecrets = ["${SHOP}"]\n'
    (tmp_path / "gateway.toml").write_text(text)
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "gateway.toml"))
    monkeypatch.setenv("GATEWAY_STORE__URL", f"sqlite:///{tmp_path}/gateway.db")
    monkeypatch.setenv("SHOP", "secret")
    signature = "sha256=" + hmac.new(b"secret", BODY, hashlib.sha256).hexdigest()

    async def story() -> None:
        for duplicate in (False, True):
            app = application()
            transport = httpx2.ASGITransport(app=app)
            async with (
                app.router.lifespan_context(app),
                httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client,
            ):
                answer = await client.post(
                    "/hooks/shop", content=BODY, headers={"x-printstudio-signature": signature}
                )
                assert (answer.status_code, answer.json()["duplicate"]) == (200, duplicate)
                assert (await client.get("/healthz")).json() == {"status": "alive"}
                assert (await client.get("/schemas/v1/order.json")).status_code == 200
                unknown = await client.get("/schemas/v1/nothing.json")
                assert unknown.headers["content-type"] == "application/problem+json"

    asyncio.run(story())
