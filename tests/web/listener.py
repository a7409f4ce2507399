"""A server in a thread, the application behind it, and a client of bare sockets."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import msgspec
import uvloop
from starlette.types import Message, Receive, Scope, Send

from gateway.models import Duration
from gateway.web.direct import Answer
from gateway.web.limits import Limits
from gateway.web.problems import CODES
from gateway.web.server import bind, make_server

# Far more than a busy machine takes between two lines of a test; but many wait for an idle
# connection to be closed, where nothing more is to come.
LIMITS = Limits(
    head_timeout=Duration(20_000),
    body_timeout=Duration(20_000),
    idle_timeout=Duration(600),
    write_timeout=Duration(20_000),
    linger_timeout=Duration(20_000),
)
KEPT = msgspec.structs.replace(LIMITS, idle_timeout=Duration(20_000))  # used again after a pause
HEAD = b"POST /echo HTTP/1.1\r\nHost: a.example\r\n"
GET = b"GET /echo HTTP/1.1\r\nHost: a.example\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
CAP = 1 << 20


class Plain:
    """Echoes; keeps what it was told: a whole body, or a disconnect."""

    def __init__(self) -> None:
        self.whole: list[bytes] = []
        self.disconnects = 0
        self.requests = 0
        self.begun = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += 1
        if scope["path"] == "/early":
            await self.answer(send, 413, b"early")
            return
        if scope["path"] == "/slow":
            await asyncio.sleep((int(scope["query_string"] or 0) or 200) / 1000)
        if scope["path"] == "/large":
            await self.pour(send)
            return
        if scope["path"] == "/bulk":
            await self.answer(send, 200, b"x" * (32 << 20))
            return
        body = b""
        while True:
            message: Message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnects += 1
                return
            body += message["body"]
            if len(body) > CAP:
                await self.answer(send, 413, b"over the cap")
                return
            if not message["more_body"]:
                break
        if scope["path"] == "/wait":
            await receive()
            self.disconnects += 1
            return
        self.whole.append(body)
        names = b",".join(name for name, _ in scope["headers"])
        await self.answer(send, 200, scope["query_string"] + b"|" + body + b"|" + names)

    async def pour(self, send: Send) -> None:
        headers = [(b"content-length", b"%d" % (32 << 20))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for left in range(31, -1, -1):
            body = b"x" * (1 << 20)
            await send({"type": "http.response.body", "body": body, "more_body": left > 0})

    async def answer(self, send: Send, status: int, body: bytes) -> None:
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class App(Plain):
    """The same, but what is whole below `/direct` is answered the short way, a moment later."""

    def begin(
        self, scope: Scope, body: bytes, answer: Answer, otherwise: Callable[[], None]
    ) -> bool:
        self.begun += 1
        if not scope["path"].startswith("/direct"):
            return False
        loop, how = asyncio.get_running_loop(), scope["query_string"]
        if how == b"otherwise":
            loop.call_soon(otherwise)
        else:
            loop.call_later(int(how or 1) / 1000, answer, 202, b"direct|" + body)
        return True


class Listener:
    """A server in a thread of its own."""

    def __init__(self, limits: Limits, sock: socket.socket, app: Plain) -> None:
        self.app = app
        self.address = sock.getsockname()
        self.family = sock.family
        self.server = make_server(self.app, limits=limits, sock=sock)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            self.loop = runner.get_loop()
            runner.run(self.server.serve())

    def connect(self) -> socket.socket:
        sock = socket.socket(self.family, socket.SOCK_STREAM)
        sock.settimeout(30)
        try:
            sock.connect(self.address)
        except OSError:
            sock.close()
            raise
        return sock

    def stop(self, grace: int = 2_000) -> None:
        wait_for(lambda: self.server.started)
        self.loop.call_soon_threadsafe(self.server.stop, Duration(grace))
        self.thread.join(30)
        assert not self.thread.is_alive()


def wait_for(done: Callable[[], bool], seconds: float = 30) -> None:
    limit = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.01)


@contextlib.contextmanager
def listening(limits: Limits = LIMITS, app: type[Plain] = App) -> Iterator[Listener]:
    listener = Listener(limits, bind("127.0.0.1", 0, path="server"), app())
    try:
        yield listener
    finally:
        if listener.thread.is_alive():
            listener.stop(0)


def read_all(sock: socket.socket) -> bytes:
    """Everything until the server closes; a reset ends it too."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(65536):
            data += piece
    return data


def ask(listener: Listener, *parts: bytes, pause: float = 0) -> bytes:
    """Send and read until the server closes; what it no longer takes is not sent."""
    with listener.connect() as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for part in parts:
                sock.sendall(part)
                time.sleep(pause)
        return read_all(sock)


def answers(data: bytes) -> list[tuple[int, bytes]]:
    """Status and body of every response in order; each must be complete."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in lines[1:])
        size = int(fields[b"content-length"])
        assert len(data) >= size
        found.append((int(lines[0].split()[1]), data[:size]))
        data = data[size:]
    return found


def good(listener: Listener, body: bytes = b"ok") -> bool:
    request = HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    [(status, echoed)] = answers(ask(listener, request))
    return status == 200 and body in echoed


def refused(data: bytes, status: int) -> None:
    [(found, body)] = answers(data)
    assert found == status
    head = data.partition(b"\r\n\r\n")[0].lower()
    assert b"\r\nconnection: close" in head
    assert b"\r\ncontent-type: application/problem+json" in head
    problem = json.loads(body)
    assert set(problem) == {"type", "title", "status", "code", "detail"}
    assert problem["code"] == CODES.get(status, "refused")
    assert (problem["type"], problem["status"]) == ("about:blank", status)
