"""Where the gateway may connect: which addresses and ports, and how a target URL is read.

It decides and never resolves or connects; `connector.py` does, and asks here first.
"""

import ipaddress
import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import quote

import msgspec

from gateway.errors import ForbiddenAddress

# Our own table, because `is_global` changed between Python releases (CVE-2024-4032).
# Source: IANA special-purpose registries (RFC 6890), RFC 7526, and Azure's wire server.
_SPECIAL_V4 = tuple(
    (IPv4Network(network), what)
    for network, what in (
        ("0.0.0.0/8", "an address of 'this network'"),
        ("10.0.0.0/8", "a private address"),
        ("100.64.0.0/10", "a shared carrier address"),
        ("127.0.0.0/8", "a loopback address"),
        ("168.63.129.16/32", "the platform address of Azure"),
        ("169.254.0.0/16", "a link-local address"),
        ("172.16.0.0/12", "a private address"),
        ("192.0.0.0/24", "a protocol assignment"),
        ("192.0.2.0/24", "a documentation address"),
        ("192.88.99.0/24", "a 6to4 relay address"),
        ("192.168.0.0/16", "a private address"),
        ("198.18.0.0/15", "a benchmarking address"),
        ("198.51.100.0/24", "a documentation address"),
        ("203.0.113.0/24", "a documentation address"),
        ("224.0.0.0/4", "a multicast address"),
        ("255.255.255.255/32", "the broadcast address"),
        ("240.0.0.0/4", "a reserved address"),
    )
)
_SPECIAL_V6 = tuple(
    (IPv6Network(network), what)
    for network, what in (
        ("::/128", "the unspecified address"),
        ("::1/128", "a loopback address"),
        ("64:ff9b:1::/48", "a local NAT64 address"),
        ("100::/64", "a discard address"),
        ("2001::/23", "a protocol assignment (Teredo, ORCHID)"),
        ("2001:db8::/32", "a documentation address"),
        ("2002::/16", "a 6to4 address"),
        ("3fff::/20", "a documentation address"),
        ("5f00::/16", "a segment routing address"),
        ("fc00::/7", "a private address"),
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a site-local address"),
        ("ff00::/8", "a multicast address"),
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_COMPATIBLE = IPv6Network("::/96")
_ISATAP = frozenset((0x00005EFE, 0x02005EFE))  # RFC 5214 6.1, bits 64 to 95

# What listens there speaks no HTTP, and might take a request's lines for commands of its own.
# Source: the Fetch standard's bad ports ("port blocking"), and IANA's registry for databases, queues
# and directories, which the former leaves out.
_SERVICES = {
    "FTP": (20, 21, 989, 990),
    "SSH": (22,),
    "Telnet": (23,),
    "SMTP": (25, 465, 587),
    "Whois": (43,),
    "DNS": (53,),
    "TFTP": (69,),
    "Finger": (79,),
    "POP3": (110, 995),
    "the port mapper": (111,),
    "NNTP": (119, 563),
    "NTP": (123,),
    "Windows RPC": (135,),
    "NetBIOS": (137, 139),
    "IMAP": (143, 993),
    "SNMP": (161,),
    "BGP": (179,),
    "LDAP": (389, 636),
    "SLP": (427,),
    "SMB": (445,),
    "syslog": (514,),
    "LPD": (515,),
    "AFP": (548,),
    "RTSP": (554,),
    "rsync": (873,),
    "SQL Server": (1433,),
    "Oracle": (1521,),
    "PPTP": (1723,),
    "NFS": (2049,),
    "ZooKeeper": (2181,),
    "MySQL": (3306,),
    "RDP": (3389,),
    "SIP": (5060, 5061),
    "PostgreSQL": (5432,),
    "AMQP": (5672,),
    "VNC": (5900,),
    "X11": (6000,),
    "Redis": (6379,),
    "IRC": (6667, 6697),
    "Cassandra": (9042,),
    "Kafka": (9092,),
    "memcached": (11211,),
    "MongoDB": (27017,),
}
_OTHER_SERVICES = {port: name for name, ports in _SERVICES.items() for port in ports}

_ALLOW = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+(?:/[0-9]{1,3})?)\]|(?P<four>[0-9.]+(?:/[0-9]{1,2})?))"
    r":(?P<port>\*|[0-9]{1,5})"
)
_MAX_PORT = 65535


class Allowed(msgspec.Struct, frozen=True):
    """One entry of `egress.allow`: a network and a port, None for every port of HTTP."""

    network: IPv4Network | IPv6Network
    port: int | None

    def covers(self, address: IPv4Address | IPv6Address, port: int) -> bool:
        """Whether this entry permits a connection to `address` and `port`."""
        return self.port in (None, port) and address in self.network


def parse_allow(text: str) -> Allowed:
    """Read `NETWORK:PORT`, `[NETWORK6]:PORT` or `NETWORK:*`; else ValueError with one sentence."""
    found = _ALLOW.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text!r} is not NETWORK:PORT, such as '10.0.0.0/8:443', '[fd00::/8]:80', '10.1.2.3:*'."
        )
    try:
        network = ipaddress.ip_network(found["six"] or found["four"])
    except ValueError as error:
        raise ValueError(f"{text!r} does not name a network: {error}.") from None
    if network.version != (6 if found["six"] else 4):
        raise ValueError(f"{text!r}: only an IPv6 network stands in brackets.")
    port = None if found["port"] == "*" else int(found["port"])
    if port is not None and not 0 < port <= _MAX_PORT:
        raise ValueError(f"{text!r}: the port must lie between 1 and {_MAX_PORT}, or be '*'.")
    return Allowed(network, port)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A URL, taken apart: `path` is the origin form with the query, as it stands on the wire.

    `host` is lower-case ASCII, an IPv6 literal without brackets; `origin` names the server.
    """

    scheme: str
    host: str
    port: int
    path: bytes
    host_header: bytes
    tls: bool
    origin: str


class Rules:
    """Decides about addresses; never changes. `allow` lists the exceptions, see `parse_allow`."""

    __slots__ = ("_allowed",)

    def __init__(self, allow: Sequence[str] = ()) -> None:
        self._allowed = tuple(parse_allow(text) for text in allow)

    def check(self, address: str, port: int) -> None:
        """Return when a connection there is permitted; else `ForbiddenAddress` names the rule.

        Only the strict spelling of a literal is read; whatever else is refused.
        """
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            raise ForbiddenAddress(f"{address!r} is not an IP address.") from None
        if isinstance(parsed, IPv6Address) and parsed.scope_id is not None:
            raise ForbiddenAddress(f"{address} has a scope id; those are never connected to.")
        real = _reaches(parsed)
        covering = [
            entry for entry in self._allowed for a in (parsed, real) if entry.covers(a, port)
        ]
        if port in _OTHER_SERVICES and not any(entry.port for entry in covering):
            raise ForbiddenAddress(
                f'{_other(port)}; allow it with egress.allow = ["{_entry(real, port)}"].'
            )
        if covering:
            return
        reason = _forbidden(parsed)
        if reason is not None:
            raise ForbiddenAddress(
                f'{address} {reason}; allow it with egress.allow = ["{_entry(real, port)}"].'
            )

    def check_target(self, target: Target) -> None:
        """Like `check` when the host is a literal; a name is not resolved, only its port is judged."""
        port = target.port
        if is_literal(target.host):
            self.check(target.host, port)
        elif port in _OTHER_SERVICES and all(entry.port != port for entry in self._allowed):
            raise ForbiddenAddress(f"{_other(port)}; egress.allow may name the network with it.")


def _other(port: int) -> str:
    return f"port {port} is that of {_OTHER_SERVICES[port]}, which speaks no HTTP"


def is_literal(host: str) -> bool:
    """Whether `host` is an IP address in its strict spelling, which needs no resolver."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _entry(address: IPv4Address | IPv6Address, port: int) -> str:
    if address.version == 4:
        return f"{address}/32:{port}"
    return f"[{address}/128]:{port}"


def _reaches(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address where a mapped or NAT64 address ends, else the address itself.

    The other forms that embed an IPv4 address end at a tunnel: an entry for the inner
    address must not open them.
    """
    if isinstance(address, IPv6Address) and (address.ipv4_mapped or address in _NAT64):
        return _low(address)
    return address


def _low(address: IPv6Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFFFFFF)


def _embedded(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """Every IPv4 address that an IPv6 address carries inside (RFC 4291, 6052, 3056, 4380, 5214)."""
    if address.ipv4_mapped or address in _NAT64 or address in _NAT64_LOCAL:
        return (_low(address),)
    if address in _COMPATIBLE and int(address) > 1:
        return (_low(address),)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return (_low(address),)
    return ()


def _forbidden(address: IPv4Address | IPv6Address) -> str | None:
    """Why nothing may connect there, as the predicate of a sentence; None for a public address."""
    if isinstance(address, IPv4Address):
        reason = _special_v4(address)
        return None if reason is None else f"is {reason}"
    for inner in _embedded(address):
        reason = _special_v4(inner)
        if reason is not None:
            return f"carries {inner} inside, {reason}"
    if address.ipv4_mapped or address in _NAT64:
        return None
    return _special_v6(address)


def _special_v4(address: IPv4Address) -> str | None:
    for network, what in _SPECIAL_V4:
        if address in network:
            return what
    return None if address.is_global else "not a public address"


def _special_v6(address: IPv6Address) -> str | None:
    for network, what in _SPECIAL_V6:
        if address in network:
            return f"is {what}"
    if address not in _GLOBAL_V6:
        return "lies outside of 2000::/3, the public addresses"
    return None if address.is_global else "is not a public address"


# What parsers strip or read differently: whitespace, controls, invisible characters, surrogates.
_UNCLEAN = re.compile(
    r"[\s\x00-\x20\x7f-\xa0\xad\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ud800-\udfff]"
)
_URL = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?]*)(?P<path>[/?].*)?", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?:\[(?P<six>[^\]]*)\]|(?P<name>[^:\[\]]*))(?::(?P<port>[0-9]+))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORTS = {"http": 80, "https": 443}
_DEVIATIONS = re.compile("[\u00df\u03c2]")
_PATH_SAFE = "/?:@!$&'()*+,;=%[]"  # RFC 3986 3.3 and 3.4; brackets as real consumers use them
_MAX_NAME = 253


def parse_target(url: str) -> Target:
    """Read a URL strictly, so that no other parser reads another host from it (RFC 3986, 9112).

    Raises ValueError with one sentence. No address is judged here: see `Rules.check_target`.
    """
    if _UNCLEAN.search(url) or "\\" in url:
        raise ValueError("The URL contains whitespace, a control character or a backslash.")
    if "#" in url:
        raise ValueError("The URL has a fragment ('#'), which is never sent; leave it out.")
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError("The URL must begin with http:// or https:// and a host.")
    scheme = found["scheme"].lower()
    host, port = _authority(found["authority"], _PORTS[scheme])
    path = found["path"] or "/"
    path = path if path.startswith("/") else f"/{path}"
    shown = f"[{host}]" if ":" in host else host
    header = shown if port == _PORTS[scheme] else f"{shown}:{port}"
    return Target(
        scheme=scheme,
        host=host,
        port=port,
        path=quote(path, safe=_PATH_SAFE).encode("ascii"),
        host_header=header.encode("ascii"),
        tls=scheme == "https",
        origin=f"{scheme}://{shown}:{port}",
    )


def parse_proxy(url: str) -> Target:
    """Read `http://HOST:PORT` of a forward proxy; else ValueError with one sentence.

    Where it lies is the operator's word, so its address is not judged; it may well be private.
    """
    target = parse_target(url)
    if target.tls:
        raise ValueError("The proxy's URL must begin with http://; https targets get a tunnel.")
    if target.path != b"/":
        raise ValueError("The proxy's URL ends after its port, as in http://proxy:3128.")
    return target


def _authority(text: str, default: int) -> tuple[str, int]:
    if "@" in text:
        raise ValueError("The URL carries a user name or password; use a header instead.")
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not HOST or HOST:PORT; IPv6 addresses stand in brackets.")
    port = default if found["port"] is None else int(found["port"][:6])
    if not 0 < port <= _MAX_PORT:
        raise ValueError(f"The port must lie between 1 and {_MAX_PORT}.")
    if found["six"] is None:
        return _name(found["name"]), port
    try:
        address = IPv6Address(found["six"])
    except ValueError:
        raise ValueError(f"[{found['six']}] is not an IPv6 address.") from None
    if address.scope_id is not None:
        raise ValueError(f"[{found['six']}] has a scope id; those are never connected to.")
    return str(address), port


def _name(text: str) -> str:
    """A host name or IPv4 literal in lower-case ASCII; a final dot is kept."""
    if not text:
        raise ValueError("The URL has no host.")
    name = text.lower() if text.isascii() else _idna(text)
    labels = name.removesuffix(".").split(".")
    if len(name) > _MAX_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{text!r} is not a host name.")
    # No top-level domain is a number; resolvers read '127.1' or '0x7f.1' as an address.
    if _NUMBER.fullmatch(labels[-1]) and not is_literal(name):
        raise ValueError(f"{text!r} is a number but not a full IPv4 address such as 192.0.2.1.")
    return name


def _idna(text: str) -> str:
    # These two became other domains in IDNA 2008; the codec here knows IDNA 2003.
    if len(text) > _MAX_NAME or _DEVIATIONS.search(text):
        raise ValueError(f"{text[:_MAX_NAME]!r} must be written in its ASCII form ('xn--...').")
    try:
        return text.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise ValueError(f"{text!r} cannot be written as an international domain name.") from None
