"""Ports for what is stopped and started again on the same one."""

import os
import socket
from pathlib import Path
from random import SystemRandom

FIRST = 10_000  # below it are the well-known ones
SHARES = 16  # of the room, for workers side by side

_given: set[int] = set()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that no outgoing connection will be given.

    The kernel takes the ports of outgoing connections from its ephemeral range (ip(7),
    ip_local_port_range): a port from there can be lost between a stop and the next start. So this
    one is from below that range, each worker of pytest-xdist looks in a part of its own, and no
    port is given twice.
    """
    first, room = _room()
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    share = room // SHARES
    first += share * (int(worker) % SHARES if worker else SHARES - 1)
    for _ in range(10 * share):
        port = first + SystemRandom().randrange(share)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise OSError(f"no port from {first} to {first + share - 1} of 127.0.0.1 is free")


def _room() -> tuple[int, int]:
    """The first port to choose from, and how many there are."""
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
        ephemeral = int(text.split()[0])
    except OSError:
        ephemeral = 32_768  # it is no Linux; most begin higher
    end = ephemeral if ephemeral >= FIRST + 100 * SHARES else 2**16  # there is no room below it
    return FIRST, end - FIRST


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
