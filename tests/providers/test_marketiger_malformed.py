from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import AskFailed, Denied, Malformed, Missing, Throttled, TokenRefused
from gateway.providers.marketiger import ERRORS, Marketiger, MarketigerOptions
from tests.providers.marketiger_replies import (
    NUMBER,
    STAGES,
    TRACKING,
    WATCHED,
    found,
    model,
    order,
    refusal,
    reply,
)
from tests.providers.test_fuzz import JSON, NASTY, WHOLE, check, places, replaced

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "$"),
        ({"success": True, "data": None}, "$.data"),
        ({"success": True, "data": {}}, "$.data"),
        ({"success": True, "data": {"order": None}}, "$.data.order"),
        ({"success": True, "data": {"order": {"id": NUMBER}}}, "$.data.order"),
        (found(id=None), "$.data.order.id"),
        (found(id=""), "$.data.order.id"),
        (found(status=None), "$.data.order.status"),
        (found(status="5"), "$.data.order.status"),
        (found(status=True), "$.data.order.status"),
        (found(status=5.5), "$.data.order.status"),
        (found(status=2**31), "$.data.order.status"),
    ],
)
def test_what_cannot_be_read_is_malformed(body: Any, path: str) -> None:
    with pytest.raises(Malformed) as caught:
        Marketiger(MarketigerOptions()).read(WATCHED, [reply(body)])
    assert caught.value.path == path


REFUSALS: list[tuple[Any, type[AskFailed], str]] = [
    (refusal("AUTHENTICATION"), TokenRefused, r"AUTHENTICATION \(Text\.\): put a valid one"),
    (refusal("NOT_FOUND", "User not found."), TokenRefused, "check base_url, then put another"),
    (refusal("NOT_FOUND", " user NOT found"), TokenRefused, "the token's user does not exist"),
    (refusal("NOT_FOUND", "Order not found."), Missing, "check that the number is its orderId"),
    (refusal("NOT_FOUND", None), Missing, "check that the number"),
    (refusal("NO_PERMISSION"), Denied, "use the token of who ordered it"),
    (refusal("INCORRECT_PARAMETERS"), Missing, "a GUID"),
    (refusal("OPERATION_FAILED"), AskFailed, "is asked again; tell Marketiger"),
    (refusal("SOMETHING_ELSE", "x\ny"), AskFailed, r"SOMETHING_ELSE \(x y\): its documentation"),
    (refusal(None), AskFailed, "an error without a type"),
    (refusal(["AUTHENTICATION"]), AskFailed, "an error without a type"),
    ({"success": False}, AskFailed, "an error without a type"),
    ({"success": False, "error": "no", "data": {"order": order()}}, AskFailed, "without a type"),
    ({"error": {"type": "NO_PERMISSION"}}, Denied, "NO_PERMISSION: only its owner"),
]


@pytest.mark.parametrize("status", [400, 200, 403, 404])
@pytest.mark.parametrize(("body", "kind", "text"), REFUSALS)
def test_an_error_is_judged_by_its_type(
    status: int, body: Any, kind: type[AskFailed], text: str
) -> None:
    with pytest.raises(AskFailed, match=text) as caught:
        Marketiger(MarketigerOptions()).read(WATCHED, [reply(body, status)])
    assert type(caught.value) is kind


def test_the_advice_differs() -> None:
    advice = [text for _, text in ERRORS.values()]
    assert len(set(advice)) == len(advice)


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (400, AskFailed, "400 Bad Request"),
        (401, TokenRefused, "the token is not taken"),
        (403, AskFailed, "is base_url right, with the version"),
        (404, AskFailed, "is base_url right, with the version"),
        (429, Throttled, "429"),
        (500, AskFailed, "500"),
        (302, AskFailed, "leads to"),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"title": "Not Found", "status": 404}'])
def test_what_is_no_error_of_theirs_is_judged_by_its_status(
    status: int, kind: type[AskFailed], text: str, body: bytes
) -> None:
    with pytest.raises(AskFailed, match=text) as caught:
        Marketiger(MarketigerOptions()).read(WATCHED, [reply(body, status)])
    assert type(caught.value) is kind


@pytest.mark.parametrize("status", [401, 429, 503])
def test_a_status_that_needs_no_body_counts_before_it(status: int) -> None:
    with pytest.raises(AskFailed) as caught:
        Marketiger(MarketigerOptions()).read(WATCHED, [reply(refusal("NOT_FOUND"), status)])
    assert not isinstance(caught.value, Missing)


# Any bytes.

ALL = MarketigerOptions(
    currency="EUR", price_unit="minor", shipped_when="tracking", line_status=STAGES
)
VALID = [
    found(status=5, trackAndTrace=TRACKING, paymentLink="https://c.example/cs_test_1"),
    found(status=7, orderModels=[model(status=20)]),
    refusal("NOT_FOUND", "User not found."),
]


def survives(body: bytes, status: int = 200) -> None:
    for options in (MarketigerOptions(), ALL):
        try:
            reading = Marketiger(options).read(WATCHED, [reply(body, status)])
        except (Malformed, AskFailed) as error:
            str(error).encode()
        else:
            check(reading)


@pytest.mark.parametrize("status", [200, 400, 404])
def test_hostile_bodies(status: int) -> None:
    for body in WHOLE:
        survives(body, status)


def test_every_subtree_may_be_hostile() -> None:
    for body in VALID:
        for path in places(body):
            for nasty in ("[" * 2000, r'"\u0000"', r'"\ud800"', "1e400", "9" * 5000, '""', "{}"):
                survives(replaced(body, path, nasty))


@given(body=st.binary(max_size=300), status=st.integers(0, 999))
@settings(deadline=None, max_examples=150)
def test_any_bytes(body: bytes, status: int) -> None:
    survives(body, status)


@given(data=st.data())
@settings(deadline=None, max_examples=200)
def test_any_subtree_may_be_anything(data: st.DataObject) -> None:
    body = data.draw(st.sampled_from(VALID))
    path = data.draw(st.sampled_from(list(places(body))))
    status = data.draw(st.sampled_from([200, 400]))
    survives(replaced(body, path, data.draw(JSON | st.sampled_from(NASTY))), status)
