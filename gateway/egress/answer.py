"""What an attempt brought: an answer, or why there is none."""

from collections.abc import Mapping

import msgspec

from gateway.models import Failure


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A complete answer. `body` holds the first bytes, raw; `truncated` says that there were more.

    Header names are lower case, repeated values joined by `, ` (RFC 9110 5.3). The three times
    are milliseconds since the attempt began; `connected` is 0 on a connection that was open.
    `address` is where the bytes came from, as in `1.2.3.4:443`.
    """

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes
    truncated: bool
    address: str
    connected: float
    first_byte: float
    done: float


class AttemptFailed(Exception):
    """No complete answer: `failure` is the class, `detail` one sentence for the operator.

    `address` is None when no connection was tried. `connected` and `first_byte` are times as those
    of an `Answer`, None when the attempt did not come so far.
    """

    def __init__(
        self,
        failure: Failure,
        detail: str,
        *,
        address: str | None = None,
        connected: float | None = None,
        first_byte: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.failure = failure
        self.detail = detail
        self.address = address
        self.connected = connected
        self.first_byte = first_byte
