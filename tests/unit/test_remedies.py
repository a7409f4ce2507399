"""Advice for typical answers, and none where nobody can know."""

from typing import Any

import msgspec
import pytest

from gateway.models import Failure, Millis, Mode, Outcome, Subscription
from gateway.remedies import advice_of

SERVICE = Subscription(id=1, name="a", url="https://e.example/in")
N8N = msgspec.structs.replace(SERVICE, url="https://n8n.example/webhook/x/webhook", mode=Mode.JSON)
TEST = msgspec.structs.replace(SERVICE, url="https://n8n.example/webhook-test/x", mode=Mode.JSON)
KEYED = msgspec.structs.replace(SERVICE, headers=(("Authorization", b"Bearer secret"),))


def outcome(failure: Failure | None, status: int | None = None, **more: Any) -> Outcome:
    known = {"address": "192.0.2.1:443", **more}
    return Outcome(started_at=Millis(0), duration=1.0, status=status, failure=failure, **known)


@pytest.mark.parametrize(
    ("subscription", "status", "word"),
    [
        (SERVICE, 404, "mistake in the path"),
        (SERVICE, 405, "no POST"),
        (SERVICE, 410, "gone"),
        (SERVICE, 415, 'try mode = "json"'),
        (N8N, 415, 'try mode = "structured"'),
        (SERVICE, 401, "Authorization"),
        (SERVICE, 403, "Authorization"),
        (KEYED, 401, "compare the values"),
        (SERVICE, 429, "slots"),
        (SERVICE, 500, "log"),
        (SERVICE, 502, "proxy"),
        (SERVICE, 503, "starting"),
        (SERVICE, 599, "log"),
        (N8N, 404, "active workflow"),
        (N8N, 403, "Header Auth"),
        (N8N, 500, "executions"),
        (TEST, 404, "Listen for test event"),
    ],
)
def test_an_answer_that_fails(subscription: Subscription, status: int, word: str) -> None:
    said = advice_of(subscription, outcome(Failure.STATUS, status))
    assert said is not None
    assert word in said
    assert said.endswith(".")
    assert "secret" not in said.replace("the secret", "").replace("secrets", "")


@pytest.mark.parametrize("status", [400, 402, 418, 422])
def test_what_only_the_endpoint_knows(status: int) -> None:
    assert advice_of(SERVICE, outcome(Failure.STATUS, status)) is None


@pytest.mark.parametrize(
    "failure", [one for one in Failure if one not in {Failure.STATUS, Failure.INTERNAL}]
)
def test_every_other_failure_has_advice(failure: Failure) -> None:
    status = 301 if failure is Failure.REDIRECT else None
    said = advice_of(SERVICE, outcome(failure, status))
    assert said is not None
    assert said.endswith(".")


def test_being_late() -> None:
    slow = outcome(Failure.TIMEOUT, connected=3.0)
    assert "within 15 s" in str(advice_of(SERVICE, slow))
    assert "respond immediately" in str(advice_of(N8N, slow))
    assert "firewall" in str(advice_of(SERVICE, outcome(Failure.TIMEOUT)))


def test_a_request_that_cannot_be_made_says_so_itself() -> None:
    assert advice_of(SERVICE, outcome(Failure.PROTOCOL, address=None)) is None


@pytest.mark.parametrize("mode", list(Mode))
def test_what_n8n_takes_and_does_not_read(mode: Mode) -> None:
    """Its Webhook node answers 200 to every content type (measured)."""
    taken = outcome(None, 200)
    assert advice_of(msgspec.structs.replace(SERVICE, mode=mode), taken) is None
    said = advice_of(msgspec.structs.replace(N8N, mode=mode), taken)
    assert (said is None) is (mode in {Mode.JSON, Mode.BINARY})
    assert said is None or 'mode = "json"' in said
