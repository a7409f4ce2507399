"""The contract can fail: providers with one fault each, and the sentence that its author reads."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from gateway.errors import AskFailed, Malformed, Rejected
from gateway.models import (
    Callback,
    Fact,
    Millis,
    Money,
    Page,
    Query,
    Reading,
    Reply,
    Track,
    Watched,
)
from gateway.providers.base import Options
from gateway.providers.printstudio import PrintStudio, PrintStudioOptions
from gateway.testing.calling import check_calling
from gateway.testing.polled import PageSample, check_polled
from tests.providers.callbacks import SECRET, callback, digest, envelope
from tests.providers.printstudio_replies import ORDER, answered
from tests.providers.test_contract import DATA, printstudio_order, printstudio_sample

HEADER = b"x-printstudio-signature"
SHIPPED = printstudio_sample(envelope("order.shipped", DATA))


class Sound(PrintStudio):
    """Nothing is wrong with it; what is done to `edit` and `told` is."""

    def normalize(self, callback: Callback) -> Reading:
        return self.told(super().normalize(callback))

    def read(self, watched: Watched, replies: Sequence[Reply]) -> Reading:
        return self.told(super().read(watched, replies))

    def told(self, reading: Reading) -> Reading:
        facts = [self.edit(fact) for fact in reading.facts]
        return msgspec.structs.replace(reading, facts=facts)

    def edit(self, fact: Fact) -> Fact:
        return fact


def editing(**changes: Any) -> type[Sound]:
    """A provider whose facts all say this."""

    class Edited(Sound):
        def edit(self, fact: Fact) -> Fact:
            return msgspec.structs.replace(fact, **changes)

    return Edited


def telling(change: Callable[[Reading], Reading]) -> type[Sound]:
    """A provider whose readings are changed so."""

    class Told(Sound):
        def told(self, reading: Reading) -> Reading:
            return change(reading)

    return Told


def having(**methods: Any) -> type[Sound]:
    """A provider with other methods."""
    return type("Other", (Sound,), methods)


def test_the_sound_one_passes() -> None:
    check_calling(Sound, samples=[SHIPPED], secrets=[SECRET])
    check_polled(Sound, replies=[printstudio_order()], pages=[PageSample(reply=answered([ORDER]))])


# Verifying.

Verify = Callable[..., Any]


def right(callback: Callback, secrets: Sequence[bytes]) -> bool:
    value = callback.header(HEADER) or b""
    return any(value == f"sha256={digest(callback.body, secret)}".encode() for secret in secrets)


def returning(judged: Callable[[Callback, Sequence[bytes]], bool], result: Any = None) -> Verify:
    """A `verify` that raises when this is false, and returns the result."""

    def verify(_: object, sent: Callback, *, secrets: Sequence[bytes], **__: Any) -> Any:
        if not judged(sent, secrets):
            raise Rejected("no")
        return result

    return verify


def decoding(_: object, sent: Callback, *, secrets: Sequence[bytes], **__: Any) -> None:
    if not right(sent, secrets):
        raise Rejected(dict(sent.headers)[HEADER].decode())


def answering(_: object, sent: Callback, *, secrets: Sequence[bytes], **__: Any) -> Any:
    """Says whether, and never raises."""
    return None if right(sent, secrets) else False


def last_header(sent: Callback, secrets: Sequence[bytes]) -> bool:
    last = [pair for pair in sent.headers if pair[0] == HEADER][-1:]
    return right(msgspec.structs.replace(sent, headers=last), secrets)


def unread_body(sent: Callback, secrets: Sequence[bytes]) -> bool:
    return bool(secrets) and right(msgspec.structs.replace(sent, body=SHIPPED.body), secrets)


class NeedyOptions(Options, frozen=True, kw_only=True):
    account: str


VERIFYING: Mapping[str, tuple[type[PrintStudio], str]] = {
    "all may come": (having(verify=returning(lambda *_: True)), "with byte 0 of its body changed"),
    "true": (having(verify=returning(right, result=True)), "returned True: it must return nothing"),
    "false": (having(verify=answering), "returned False and must raise Rejected"),
    "a crash": (having(verify=decoding), "raised KeyError.*let nothing but Rejected out"),
    "one secret": (
        having(verify=returning(lambda sent, secrets: right(sent, secrets[:1]))),
        "another secret stands before its own: try all",
    ),
    "no secret": (
        having(verify=returning(lambda sent, secrets: not secrets or right(sent, secrets))),
        "without a secret nothing is authentic",
    ),
    "an empty secret": (
        having(verify=returning(lambda sent, secrets: b"" in secrets or right(sent, secrets))),
        r"with the secrets \(b'',\)",
    ),
    "the body": (having(verify=returning(unread_body)), "all of its bytes as they came"),
    "two headers": (having(verify=returning(last_header)), "there twice.*exactly one value"),
    "no header": (
        having(verify=returning(lambda sent, _: sent.body == SHIPPED.body)),
        "without its headers",
    ),
    "an option": (having(Options=NeedyOptions), "give each option a default: account"),
    "other options": (having(Options=dict), "must derive from"),
    "the name": (having(name="Print:Studio"), "name is 'Print:Studio'"),
}


@pytest.mark.parametrize("fault", VERIFYING)
def test_faults_of_verifying_are_told(fault: str) -> None:
    broken, sentence = VERIFYING[fault]
    with pytest.raises(AssertionError, match=sentence):
        check_calling(broken, samples=[SHIPPED], secrets=[SECRET])


@pytest.mark.parametrize(
    ("samples", "secrets", "sentence"),
    [
        ([], [SECRET], "at least one authentic callback"),
        ([SHIPPED], [], "those that the samples are signed with"),
        ([SHIPPED], [b"other"], "authentic under its secret, was rejected"),
        ([callback(b"", SHIPPED.headers)], [SECRET], "has no body"),
        ([callback(SHIPPED.body, [(b"X-Sig", b"x")])], [SECRET], "X-Sig.*lower case"),
    ],
)
def test_samples_that_prove_nothing_are_told(
    samples: list[Callback], secrets: list[bytes], sentence: str
) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_calling(Sound, samples=samples, secrets=secrets)


# Reading.


def naive(_: object, sent: Callback) -> Reading:
    body = json.loads(sent.body)
    fact = Fact(track=Track.CREATED, state="created", at=Millis(1), order=body["data"]["orderId"])
    return Reading(event_id=body["id"], event_type=body["event"], at=Millis(1), facts=[fact])


def unread(_: object, sent: Callback) -> Reading:
    try:
        return naive(_, sent)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Malformed(str(error)) from error


def by_clock(self: PrintStudio, sent: Callback) -> Reading:
    reading = PrintStudio.normalize(self, sent)
    return msgspec.structs.replace(reading, event_id=str(sent.received_at))


def with_id(reading: Reading) -> Reading:
    return msgspec.structs.replace(reading, event_id=str(random.random()))


def silent(reading: Reading) -> Reading:
    return msgspec.structs.replace(reading, facts=())


def event(kind: str) -> dict[str, Any]:
    return {"track": Track.EVENT, "type": kind, "data": msgspec.Raw(b"{}")}


EUR = Money(value="4.90", minor=491, currency="EUR")
READING: Mapping[str, tuple[type[PrintStudio], str]] = {
    "a crash": (having(normalize=naive), "raised .*let nothing but Malformed out of it"),
    "a half character": (having(normalize=unread), "(surrogate|event_type|order has|event_id is)"),
    "chance": (telling(with_id), "says another thing each time"),
    "a repeat": (having(normalize=by_clock), "gives a repeat another event_id"),
    "no reason": (telling(silent), "say in `ignored` why"),
    "a state": (editing(state="delivered"), "'delivered': gateway.orders.tables knows cancelled"),
    "a key": (editing(key="ord-1"), r'write f"\{self.name\}:\{number\}"'),
    "a time": (editing(at=Millis(-1)), "whole milliseconds within the years 1970 to 9999"),
    "no order": (editing(order=None), "names no order"),
    "a long order": (editing(order="x" * 256), "order has 'x.*1 to 255 characters"),
    "a link": (editing(links=("pi_1",)), "links has ''"),
    "a quantity": (editing(quantity=0), "none is no fact"),
    "money": (editing(amount=EUR), "4.90 and minor 491 do not agree"),
    "a float": (editing(total=Money(value="1e2")), "no plain decimal number"),
    "a currency": (editing(total=Money(value="1", currency="eur")), "not three letters"),
    "a hold": (editing(track=Track.HOLD, state="stopped"), "a word as `state` and a `reason`"),
    "a change": (editing(track=Track.CHANGE), "needs `what` changed"),
    "a dispute": (editing(track=Track.DISPUTE, state="open", key=None), "the dispute's id"),
    "an order's type": (editing(**event("order.lost")), "made from facts only"),
    "no JSON": (editing(**event("x.y") | {"data": msgspec.Raw(b"{")}), "no event can be made"),
}


@pytest.mark.parametrize("fault", READING)
def test_faults_of_normalizing_are_told(fault: str) -> None:
    broken, sentence = READING[fault]
    with pytest.raises(AssertionError, match=sentence):
        check_calling(broken, samples=[SHIPPED], secrets=[SECRET])


# Asking.


def backwards(reading: Reading) -> Reading:
    return msgspec.structs.replace(reading, facts=reading.facts[::-1])


def late(reading: Reading) -> Reading:
    last = msgspec.structs.replace(reading.facts[-1], at=Millis(reading.at + 1))
    return msgspec.structs.replace(reading, facts=[*reading.facts[:-1], last])


def by_hour(reading: Reading) -> Reading:
    facts = [msgspec.structs.replace(fact, reason=str(fact.at)) for fact in reading.facts]
    return msgspec.structs.replace(reading, facts=facts)


def numbered(reading: Reading) -> Reading:
    return msgspec.structs.replace(reading, event_id="1")


def split(reading: Reading) -> Reading:
    other = msgspec.structs.replace(reading.facts[-1], order="another")
    return msgspec.structs.replace(reading, facts=[*reading.facts[:-1], other])


def whatever_status(self: PrintStudio, watched: Watched, replies: Sequence[Reply]) -> Reading:
    good = [msgspec.structs.replace(reply, status=200) for reply in replies]
    return PrintStudio.read(self, watched, good)


def any_order(self: PrintStudio, watched: Watched, replies: Sequence[Reply]) -> Reading:
    try:
        number = json.loads(replies[0].body)["id"]
        watched = Watched(number=str(number))
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    return PrintStudio.read(self, watched, replies)


def one_error(self: PrintStudio, watched: Watched, replies: Sequence[Reply]) -> Reading:
    if replies[0].status != 200:
        raise AskFailed("it did not work")
    return PrintStudio.read(self, watched, replies)


def direct(self: PrintStudio, watched: Watched, replies: Sequence[Reply]) -> Reading:
    if replies[0].status == 200:
        json.loads(replies[0].body)["id"]
    return PrintStudio.read(self, watched, replies)


def path(before: str) -> Any:
    return lambda _, number: Query(path=before + number)


def any_page(self: PrintStudio, reply: Reply, cursor: str | None = None) -> Page:
    return PrintStudio.read_page(self, msgspec.structs.replace(reply, status=200), cursor)


def endless(self: PrintStudio, reply: Reply, cursor: str | None = None) -> Page:
    page = PrintStudio.read_page(self, reply, cursor)
    return msgspec.structs.replace(page, cursor="1")


def first_page(_: object, cursor: str | None) -> Query | None:
    return Query(path="api/orders") if cursor is None else None


ASKING: Mapping[str, tuple[type[PrintStudio], str]] = {
    "a path": (having(order=path("api/orders/")), "percent-encoded|one segment"),
    "a slash": (having(order=path("/api/")), "must be relative to base_url"),
    "no headers": (having(authorize=lambda *_: {}), "what proves who asks"),
    "bytes": (having(authorize=lambda *_: {"x-key": b"t"}), "must be printable ASCII text"),
    "a line": (having(authorize=lambda _, token: {"x-key: a\r\nb": token}), "no name of a header"),
    "a cursor": (
        having(page=lambda _, cursor: Query(path=f"api/orders/{cursor or 1}")),
        "page.'a/b.*percent-encoded",
    ),
    "more": (having(more=lambda *_: (Query(path="x"),)), "1 replies, and its order asks for 1"),
    "the order of facts": (telling(backwards), "first fact must be CREATED"),
    "no fulfilment": (editing(track=Track.CREATED, state="created"), "tell the FULFILMENT"),
    "the future": (telling(late), "later than its reply"),
    "the hour": (telling(by_hour), "another thing an hour later"),
    "the id": (telling(numbered), "must be the number that was asked for"),
    "two orders": (telling(split), "about several orders"),
    "ids": (editing(ids={}), r'needs ids=\{"printstudio"'),
    "the key": (editing(key="printstudio:x"), 'must be "printstudio:ord-abc123"'),
    "a status": (having(read=whatever_status), "status 301.*must raise AskFailed"),
    "a token": (having(read=one_error), "status 401.*TokenRefused"),
    "another order": (having(read=any_order), "compare the number in the reply"),
    "a crash": (having(read=direct), "let nothing but AskFailed or Malformed out"),
    "a page's status": (having(read_page=any_page), "read_page of.*status 301.*AskFailed"),
    "one page": (having(read_page=endless), "leads to no other page"),
    "no second page": (
        having(page=first_page, read_page=endless),
        "cursor that page.cursor. does not take",
    ),
}


@pytest.mark.parametrize("fault", ASKING)
def test_faults_of_asking_are_told(fault: str) -> None:
    broken, sentence = ASKING[fault]
    with pytest.raises(AssertionError, match=sentence):
        check_polled(
            broken, replies=[printstudio_order()], pages=[PageSample(reply=answered([ORDER]))]
        )


def test_a_list_needs_samples() -> None:
    with pytest.raises(AssertionError, match="give its good answers in pages"):
        check_polled(Sound, replies=[printstudio_order()])


def test_options_are_the_providers_own() -> None:
    with pytest.raises(AssertionError, match="instance of PrintStudioOptions"):
        check_calling(Sound, samples=[SHIPPED], secrets=[SECRET], options=Options())
    options = PrintStudioOptions(currency="EUR")
    check_calling(Sound, samples=[SHIPPED], secrets=[SECRET], options=options)
