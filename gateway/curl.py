"""A signed request as a curl command for POSIX sh.

It is ASCII on any terminal, and its body goes through `printf`, whose escapes carry every byte.
Values of own headers are secrets and never printed, nor is the query of a URL that is not shown
whole: the command takes them from the environment.
"""

import re
import shlex
from collections.abc import Collection, Iterator, Sequence

import msgspec

from gateway.sender import Request

VARIABLE = "GATEWAY_HEADER_"
QUERY = "GATEWAY_URL_QUERY"
SIGNATURE = "webhook-signature"

_PLAIN = frozenset(range(0x20, 0x7F)) - set(b"%'\\")
_ESCAPED = {ord("%"): "%%", ord("\\"): "\\\\"}


class Command(msgspec.Struct, frozen=True):
    """What to paste, and the environment variables that must be set before."""

    text: str
    variables: Sequence[str]


def command_of(
    request: Request, *, own: Collection[str], unsigned: str = "", whole: bool = True
) -> Command:
    """The command that sends `request`; `own` names the headers whose values are secrets.

    Where it is not signed, `unsigned` says why, in a comment. Not `whole`: the query of the URL is
    a secret, too.
    """
    target = request.target
    url = f"{target.scheme}://{target.host_header.decode()}{target.path.decode()}"
    head, mark, query = url.partition("?")
    variables: dict[str, str] = {}
    names = {name.lower() for name in own}
    if query and not whole:
        variables[""] = QUERY  # no header has this name
        shown = f'{shlex.quote(head + mark)}"${{{QUERY}:?}}"'
    else:
        shown = shlex.quote(url)
    lines = [f"curl --http1.1 --globoff --path-as-is --request POST {shown}"]
    for name, value in _headers(request.head):
        if name.lower() in names:
            variables[name] = _variable(name, variables.values())
            # Without a value curl would leave the header out: the shell complains instead.
            lines.append(f'--header {shlex.quote(f"{name}: ")}"${{{variables[name]}:?}}"')
        elif not (unsigned and name == SIGNATURE):
            lines.append(f"--header {shlex.quote(f'{name}: {value}' if value else f'{name};')}")
    told = {name.lower() for name, _ in _headers(request.head)}
    lines += [f"--header {name}:" for name in ("Accept", "Expect") if name.lower() not in told]
    lines += ["--header 'Accept-Encoding: identity'", "--data-binary @-"]
    text = f"printf '{_escaped(request.body)}' |\n  " + " \\\n  ".join(lines)
    if unsigned:
        text = f"# not signed: {unsigned}\n{text}"
    return Command(text, list(variables.values()))


def _headers(head: bytes) -> Iterator[tuple[str, str]]:
    for line in head.decode("ascii").split("\r\n")[:-1]:
        name, _, value = line.partition(": ")
        yield name, value


def _variable(name: str, taken: Collection[str]) -> str:
    variable = VARIABLE + re.sub(r"[^A-Z0-9]", "_", name.upper())
    while variable in taken:
        variable += "_"
    return variable


def _escaped(body: bytes) -> str:
    """The body as a format of printf(1): octal escapes, of three digits each, where needed."""
    text = "".join(
        chr(byte) if byte in _PLAIN else _ESCAPED.get(byte, f"\\{byte:03o}") for byte in body
    )
    # Some printf take a leading minus for an option.
    return f"\\055{text[1:]}" if text.startswith("-") else text
