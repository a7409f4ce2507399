"""The contract of a provider whose API is asked, as one function for its author's tests.

It needs no test framework: what does not hold is an `AssertionError` that says what to mend.
"""

import re
from collections.abc import Sequence
from functools import partial
from typing import Final
from urllib.parse import unquote

import msgspec

from gateway.errors import AskFailed, Malformed, Throttled, TokenRefused
from gateway.models import Fact, Millis, Page, Query, Reading, Reply, Track, Watched
from gateway.providers.base import Options, Polled
from gateway.testing.damage import damaged
from gateway.testing.judging import ending, is_id, made, matches, refused, require, shown
from gateway.testing.readings import check_reading

TOKEN: Final = "a-token-0123456789"  # noqa: S105 - nobody's
STRANGE: Final = ("a/b?c#d", "a b", "a&b=c", "a%2Fb", "ü", "x/../../y", "a;b", "a\\b", "{id}")
STATUSES: Final = (301, 400, 401, 403, 404, 429, 500, 503)
HTML: Final = b"<!doctype html><html><body><h1>Sign in</h1></body></html>"
ERRORS: Final = (b"", b"{}", b"[]", b'{"error":"no","message":"no"}', b'{"detail":"no"}', HTML)
KINDS: Final = {401: TokenRefused, 429: Throttled}
HOUR: Final = 3_600_000
EARLY: Final = Millis(1_000)  # before anything that an API tells of
NO: Final = (AskFailed, Malformed)

# In which order the facts of one poll stand; partial cancels stand with either of two.
ORDER: Final = (Track.CREATED, Track.PAYMENT, Track.HOLD, Track.FULFILMENT, Track.CHANGE)
CANCELLED, AFTER = len(ORDER), len(ORDER) + 1

_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%-][A-Za-z0-9._~!$&'()*+,;=:@%/-]*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_PRINTABLE = re.compile(r"[\x20-\x7e]*")


class OrderSample(msgspec.Struct, frozen=True, kw_only=True):
    """What the API answers about one order: to `order(number)` first, then to each of `more`."""

    number: str
    replies: Sequence[Reply]


class PageSample(msgspec.Struct, frozen=True, kw_only=True):
    """What the API answers to `page(cursor)`."""

    reply: Reply
    cursor: str | None = None


def check_polled(
    make: type[Polled],
    *,
    replies: Sequence[OrderSample],
    pages: Sequence[PageSample] = (),
    options: Options | None = None,
) -> None:
    """Hold a provider against the contract of `gateway.providers.base.Polled`.

    `replies` are good answers, one of each status at least; `pages` are needed when there is a
    list. `options` are those of a source, None for the defaults. Raises `AssertionError` with one
    sentence for the first thing that does not hold; a few thousand calls a sample are made.
    """
    require(replies, "give the good answers about at least one order in replies")
    provider = made(make, options)
    _check_headers(provider)
    _check_queries(provider)
    for place, sample in enumerate(replies):
        about = f"order sample {place} of {make.name}"
        _check_order(provider, made(make, options), sample, about)
        _check_refusals(provider, sample, about)
        _check_damaged(provider, sample, about)
    listed = provider.page(None) is not None
    require(pages or not listed, "page(None) asks for a list: give its good answers in pages")
    for place, page in enumerate(pages):
        _check_page(provider, page, f"page sample {place} of {make.name}")


# What is asked.


def _check_headers(provider: Polled) -> None:
    headers = ending(lambda: provider.authorize(TOKEN), (), "authorize")
    require(headers, "authorize returned no headers: what proves who asks?")
    for name, value in headers.items():
        require(
            matches(_HEADER, name),
            f"authorize: {shown(name)} is no name of a header",
        )
        require(
            matches(_PRINTABLE, value),
            f"authorize: the value of {name} must be printable ASCII text",
        )


def _check_queries(provider: Polled) -> None:
    plain = ending(lambda: provider.order("x"), (), 'order("x")')
    _check_query(plain, 'order("x")')
    for number in STRANGE:
        about = f"order({number!r})"
        query = ending(partial(provider.order, number), (), about)
        _check_query(query, about)
        parts = [unquote(part) for part in query.path.split("/")]
        parts += [value for _, value in query.params]
        inside = any(number in part for part in parts)
        require(
            inside and query.path.count("/") == plain.path.count("/"),
            f"{about} asks for {shown(query.path)}: a number must stay within one segment of the "
            'path, by urllib.parse.quote(number, safe=""), or within one parameter',
        )
    for cursor in (None, "2", *STRANGE):
        about = f"page({cursor!r})"
        page = ending(partial(provider.page, cursor), (), about)
        if page is not None:
            _check_query(page, about)


def _check_query(query: Query, about: str) -> None:
    require(isinstance(query, Query), f"{about} returned {shown(query)}, not a Query")
    require(
        _PATH.fullmatch(query.path) and "//" not in query.path,
        f"{about} has the path {shown(query.path)}: it must be relative to base_url, without / at "
        "its beginning, and percent-encoded",
    )
    require(
        all(isinstance(part, str) for pair in query.params for part in pair),
        f"{about}: names and values of params must be text; they are encoded by who asks",
    )


# What is read of an order.


def _check_order(provider: Polled, twin: Polled, sample: OrderSample, about: str) -> None:
    first = sample.replies[0]
    more = ending(lambda: provider.more(first), (), f"more of {about}")
    for query in more:
        _check_query(query, f"more of {about}")
    require(
        len(sample.replies) == 1 + len(more),
        f"{about} has {len(sample.replies)} replies, and its order asks for {len(more)} more",
    )
    reading = _good(provider, sample, about)
    require(reading.facts, f"read of {about} tells no facts, at least CREATED is known of an order")
    require(
        reading == _good(provider, sample, about) == _good(twin, sample, about),
        f"read of {about} says another thing each time: no clock, no chance, no memory may decide",
    )
    later = _good(provider, _at(sample, Millis(first.at + HOUR)), about)
    require(
        _timeless(reading) == _timeless(later),
        f"read of {about} says another thing an hour later, of the same bytes: only `at` may differ",
    )
    _good(provider, _at(sample, EARLY), f"{about}, asked before its times,")
    named = Watched(number=sample.number, order="a-name-of-the-shop")
    _checked(provider, named, sample.replies, f"{about}, watched under a name,")
    refused(
        lambda: provider.read(Watched(number=f"{sample.number}0"), sample.replies),
        NO,
        f"read of {about} for another order's number",
        "compare the number in the reply with watched.number",
    )


def _good(provider: Polled, sample: OrderSample, about: str) -> Reading:
    try:
        return _checked(provider, Watched(number=sample.number), sample.replies, about)
    except NO as error:
        raise AssertionError(f"read of {about} raised {error!r} for a good answer") from error


def _checked(provider: Polled, watched: Watched, replies: Sequence[Reply], about: str) -> Reading:
    """A reading that keeps the contract; `AskFailed` and `Malformed` pass."""
    about = f"read of {about}"
    reading = ending(lambda: provider.read(watched, replies), NO, about)
    check_reading(reading, name=provider.name, about=about)
    require(
        reading.event_id == watched.number,
        f"{about}: event_id is {reading.event_id!r}: it must be the number that was asked for",
    )
    _check_facts(reading.facts, name=provider.name, number=watched.number, about=about)
    at = replies[0].at
    for fact in reading.facts:
        require(
            fact.at <= at,
            f"{about}: the {fact.track} fact is later than its reply: take the reply's time then",
        )
    return reading


def _check_facts(facts: Sequence[Fact], *, name: str, number: str, about: str) -> None:
    if not facts:
        return
    require(facts[0].track is Track.CREATED, f"{about}: the first fact must be CREATED")
    places = [_place(fact) for fact in facts if not _is_partial_cancel(fact)]
    require(
        places == sorted(places),
        f"{about}: put the facts in the order created, payment, hold, fulfilment, change, "
        "cancelled, refund",
    )
    orders = {(fact.order, fact.own, fact.links) for fact in facts}
    require(len(orders) == 1, f"{about}: its facts are about several orders")
    for fact in facts:
        require(
            number in fact.ids.get(name, ()),
            f'{about}: the {fact.track} fact needs ids={{"{name}": (number, ...)}}',
        )
        if fact.track is Track.FULFILMENT:
            require(
                fact.key == f"{name}:{number}",
                f'{about}: the key of the fulfilment must be "{name}:{number}", so that callbacks '
                "and polls tell of one provider order",
            )
    whole = any(fact.track is Track.FULFILMENT for fact in facts)
    require(whole, f'{about}: tell the FULFILMENT as far as it is known, "created" at least')


def _place(fact: Fact) -> int:
    if fact.track is Track.FULFILMENT and fact.state == "cancelled":
        return CANCELLED
    return ORDER.index(fact.track) if fact.track in ORDER else AFTER


def _is_partial_cancel(fact: Fact) -> bool:
    return fact.state == "cancelled" and fact.quantity is not None


def _timeless(reading: Reading) -> tuple[str, list[Fact]]:
    facts = [msgspec.structs.replace(fact, at=Millis(0)) for fact in reading.facts]
    return reading.event_type, facts


def _check_refusals(provider: Polled, sample: OrderSample, about: str) -> None:
    """Statuses that say no, whatever else is said: never a reading, but an error of its kind."""
    first, *others = sample.replies
    watched = Watched(number=sample.number)
    for reply, how in _refusals(first):
        kind = KINDS.get(reply.status, AskFailed)
        refused(
            partial(provider.read, watched, [reply, *others]),
            (kind,),
            f"read of {about} with {how}",
            "begin with gateway.providers.replies.body_of, or check_status",
        )
        _asked_more(provider, reply, f"{about} with {how}")
        for place in range(len(others)):
            changed = [*others[:place], reply, *others[place + 1 :]]
            _read_anything(provider, watched, [first, *changed], f"{about}, later reply: {how}")


def _refusals(good: Reply) -> Sequence[tuple[Reply, str]]:
    return [
        (_reply(good, body, status=status), f"status {status} and the body {shown(body)}")
        for status in STATUSES
        for body in (good.body, *ERRORS)
    ]


def _check_damaged(provider: Polled, sample: OrderSample, about: str) -> None:
    watched = Watched(number=sample.number)
    for place, reply in enumerate(sample.replies):
        for how, body in (*damaged(reply.body), *(("a stranger's body", body) for body in ERRORS)):
            replies = list(sample.replies)
            replies[place] = _reply(reply, body)
            said = f"{about}, reply {place} with {how}"
            _asked_more(provider, replies[0], said)
            _read_anything(provider, watched, replies, said)


def _asked_more(provider: Polled, reply: Reply, about: str) -> Sequence[Query]:
    try:
        more = ending(lambda: provider.more(reply), NO, f"more of {about}")
    except NO:
        return ()
    for query in more:
        _check_query(query, f"more of {about}")
    return more


def _read_anything(
    provider: Polled, watched: Watched, replies: Sequence[Reply], about: str
) -> None:
    try:
        _checked(provider, watched, replies, about)
    except NO:
        return


# What is read of a list.


def _check_page(provider: Polled, sample: PageSample, about: str) -> None:
    called = f"read_page of {about}"
    try:
        page = _checked_page(provider, sample.reply, sample.cursor, called)
    except NO as error:
        raise AssertionError(f"{called} raised {error!r} for a good answer") from error
    require(page == provider.read_page(sample.reply, sample.cursor), f"{called} differs each time")
    if page.cursor is not None:
        following = provider.page(page.cursor)
        require(
            following is not None and following != provider.page(sample.cursor),
            f"{called} has a cursor that leads to no other page: let page(cursor) ask for it",
        )
    for listed in page.orders:
        if listed.body is not None:
            whole = _reply(sample.reply, listed.body)
            if not provider.more(whole):
                one = OrderSample(number=listed.number, replies=[whole])
                _good(provider, one, f"{about}, the entry {listed.number}")
    for reply, how in _refusals(sample.reply):
        refused(
            partial(provider.read_page, reply, sample.cursor),
            (KINDS.get(reply.status, AskFailed),),
            f"{called} with {how}",
            "begin with gateway.providers.replies.body_of, or check_status",
        )
    for how, body in damaged(sample.reply.body):
        reply = _reply(sample.reply, body)
        try:
            _checked_page(provider, reply, sample.cursor, f"{called} with {how}")
        except NO:
            continue


def _checked_page(provider: Polled, reply: Reply, cursor: str | None, about: str) -> Page:
    """A page that keeps the contract, its entries too; `AskFailed` and `Malformed` pass."""
    page = ending(lambda: provider.read_page(reply, cursor), NO, about)
    require(isinstance(page, Page), f"{about} returned {shown(page)}, not a Page")
    if page.cursor is not None:
        following = ending(lambda: provider.page(page.cursor), (), f"page of {about}")
        require(following is not None, f"{about} has a cursor that page(cursor) does not take")
    for listed in page.orders:
        require(is_id(listed.number), f"{about} lists the number {shown(listed.number)}")
        _check_query(provider.order(listed.number), f"order of {about}")
        if listed.body is not None:
            whole = _reply(reply, listed.body)
            said = f"{about}, the entry {listed.number}"
            if not _asked_more(provider, whole, said):
                _read_anything(provider, Watched(number=listed.number), [whole], said)
    return page


def _reply(like: Reply, body: bytes, *, status: int = 200) -> Reply:
    return msgspec.structs.replace(like, body=body, status=status)


def _at(sample: OrderSample, at: Millis) -> OrderSample:
    replies = [msgspec.structs.replace(reply, at=at) for reply in sample.replies]
    return OrderSample(number=sample.number, replies=replies)
