"""Part `receive`: a bare Starlette endpoint under plain uvicorn that reads the body and answers 202."""

import sys

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks import traffic


class Params(msgspec.Struct, frozen=True):
    port: int


async def take(request: Request) -> Response:
    """Read the whole body; answer about as much as a receipt has."""
    await request.body()
    return Response(b'{"accepted":true}', status_code=202, media_type="application/json")


def main() -> None:
    """Serve until SIGTERM."""
    params = msgspec.json.decode(sys.argv[1], type=Params)
    app = Starlette(routes=[Route(traffic.PATH, take, methods=["POST"])])
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=params.port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
