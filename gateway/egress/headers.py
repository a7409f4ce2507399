"""Headers of the operator's own, such as a consumer's token: which are taken, and how they are sent.

It decides at configuration. `sender.py` asks again before it sends, because what is stored may
come from an older program or another hand, and one bad byte in a head would be another request.
"""

import re
from base64 import b64encode
from collections.abc import Sequence

TOTAL = 16 * 1024  # bytes of all own headers of one subscription, as they stand on the wire
SHOWN = 60  # characters of a refused name that the sentence repeats

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2
_VALUE = re.compile(rb"(?:[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)?")  # RFC 9110 5.5
_CONTROL = r"\x00-\x08\x0a-\x1f\x7f"  # never part of credentials (RFC 7617 2)
_BASIC = re.compile(
    rf"(?P<scheme>basic) (?P<credentials>[^:{_CONTROL}]*:[^{_CONTROL}]*)", re.IGNORECASE
)

_HOP = "belongs to one connection (RFC 9110 7.6.1), which the gateway keeps itself"
_FRAME = "is part of how the gateway sends a request"
_BODY = "describes the body, which the gateway writes"
_REFUSED = {
    "connection": _HOP,
    "keep-alive": _HOP,
    "te": _HOP,
    "trailer": _HOP,
    "transfer-encoding": _HOP,
    "upgrade": _HOP,
    "http2-settings": _HOP,
    "host": "comes from the URL",
    "accept-encoding": _FRAME,
    "expect": _FRAME,
    "date": "would be the same for every delivery; webhook-timestamp says when one was sent",
}
_REFUSED_PREFIXES = {
    "proxy-": _HOP,
    "content-": _BODY,
    "webhook-": "is the gateway's own, and consumers trust it",
    "ce-": "is the event's own (CloudEvents HTTP binding, binary mode)",
}


def check_header(name: str, value: bytes) -> None:
    """Return when this header may be sent; else ValueError with one sentence.

    The sentence names the header and never shows its value, which is a secret. `User-Agent` is
    taken and stands in place of the gateway's.
    """
    check_header_name(name)
    check_value(name, value)
    if len(line(name, value)) > TOTAL:
        raise ValueError(f"The header {name[:SHOWN]!r} is longer than {TOTAL // 1024} KiB.")


def check_header_name(name: str) -> None:
    """Return when a header of this name may be set; else ValueError with one sentence."""
    shown = repr(name[:SHOWN])
    if _TOKEN.fullmatch(name) is None:
        raise ValueError(f"{shown} is not a header name (RFC 9110 5.6.2).")
    key = name.lower()
    prefixes = (why for prefix, why in _REFUSED_PREFIXES.items() if key.startswith(prefix))
    reason = _REFUSED.get(key) or next(prefixes, None)
    if reason is not None:
        raise ValueError(f"The header {shown} cannot be set: it {reason}.")


def check_value(name: str, value: bytes) -> None:
    """Return when `value` can stand in a header; else ValueError with one sentence, without it."""
    if _VALUE.fullmatch(value) is None:
        raise ValueError(
            f"The value of the header {name[:SHOWN]!r} must be printable ASCII on one line,"
            " without blanks at its ends."
        )


def check_headers(headers: Sequence[tuple[str, bytes]]) -> None:
    """`check_header` for each, and for all: no name twice, whatever its case, and not too long."""
    seen: set[str] = set()
    for name, value in headers:
        check_header(name, value)
        if name.lower() in seen:
            raise ValueError(f"The header {name[:SHOWN]!r} stands there twice.")
        seen.add(name.lower())
    if sum(len(line(name, value)) for name, value in headers) > TOTAL:
        raise ValueError(f"The headers are longer than {TOTAL // 1024} KiB together.")


def header_value(name: str, text: str) -> bytes:
    """The bytes of a value as it was written; `Basic USER:PASSWORD` gets its base64 (RFC 7617 2).

    A colon never stands in base64, so what is encoded already is left alone, and so is what has a
    control character. Nothing is judged here: `check_header` refuses what a header cannot hold.
    """
    found = _BASIC.fullmatch(text) if name.lower() == "authorization" else None
    if found is None:
        return text.encode("utf-8", "surrogateescape")
    credentials = found["credentials"].encode("utf-8", "surrogateescape")
    return b"%b %b" % (found["scheme"].encode(), b64encode(credentials))


def line(name: str, value: bytes) -> bytes:
    """One header as it stands on the wire."""
    return b"%b: %b\r\n" % (name.encode("ascii"), value)
