import ipaddress
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.egress.connector import verified_context
from gateway.egress.rules import Rules, parse_allow, parse_target
from gateway.errors import ForbiddenAddress

FORBIDDEN = [  # address, a part of the sentence that names the rule
    ("127.0.0.1", "is a loopback address"),
    ("127.255.255.254", "is a loopback address"),
    ("0.0.0.0", "'this network'"),
    ("0.1.2.3", "'this network'"),
    ("10.0.0.1", "is a private address"),
    ("10.255.255.255", "is a private address"),
    ("172.16.0.1", "is a private address"),
    ("172.31.255.255", "is a private address"),
    ("192.168.0.1", "is a private address"),
    ("169.254.169.254", "is a link-local address"),
    ("100.64.0.1", "is a shared carrier address"),
    ("100.100.100.200", "is a shared carrier address"),
    ("192.0.0.1", "is a protocol assignment"),
    ("192.0.0.9", "is a protocol assignment"),
    ("192.0.2.1", "is a documentation address"),
    ("192.88.99.1", "is a 6to4 relay address"),
    ("198.18.0.1", "is a benchmarking address"),
    ("198.19.255.255", "is a benchmarking address"),
    ("198.51.100.1", "is a documentation address"),
    ("203.0.113.1", "is a documentation address"),
    ("224.0.0.1", "is a multicast address"),
    ("239.255.255.255", "is a multicast address"),
    ("240.0.0.1", "is a reserved address"),
    ("255.255.255.255", "is the broadcast address"),
    ("168.63.129.16", "is the platform address of Azure"),
    ("::", "is the unspecified address"),
    ("::1", "is a loopback address"),
    ("::ffff:7f00:1", "carries 127.0.0.1 inside, a loopback address"),
    ("::ffff:127.0.0.1", "carries 127.0.0.1 inside, a loopback address"),
    ("::ffff:a9fe:a9fe", "carries 169.254.169.254 inside"),
    ("::7f00:1", "carries 127.0.0.1 inside, a loopback address"),
    ("::8.8.8.8", "lies outside of 2000::/3"),
    ("64:ff9b::a9fe:a9fe", "carries 169.254.169.254 inside, a link-local address"),
    ("64:ff9b:1::a9fe:a9fe", "carries 169.254.169.254 inside"),
    ("64:ff9b:1::808:808", "is a local NAT64 address"),
    ("2002:7f00:1::", "carries 127.0.0.1 inside"),
    ("2002:7f00:1::1", "carries 127.0.0.1 inside"),
    ("2002:808:808::1", "is a 6to4 address"),
    ("2001:0:7f00:1::", "carries 127.0.0.1 inside"),  # Teredo, the server
    ("2001:0:808:808::80ff:fffe", "carries 127.0.0.1 inside"),  # Teredo, the client, inverted
    ("2001:0:808:808::f7f7:f7f7", "is a protocol assignment"),
    ("2a00:1450:4001:801:0:5efe:10.0.0.1", "carries 10.0.0.1 inside, a private address"),  # ISATAP
    ("2a00:1450:4001:801:200:5efe:10.0.0.1", "carries 10.0.0.1 inside, a private address"),
    ("fe80::5efe:10.0.0.1", "carries 10.0.0.1 inside"),
    ("fe80::1", "is a link-local address"),
    ("fe80::1%eth0", "has a scope id"),
    ("2a00:1450:4001:801::200e%1", "has a scope id"),
    ("fec0::1", "is a site-local address"),
    ("fd00:ec2::254", "is a private address"),
    ("fc00::1", "is a private address"),
    ("ff02::1", "is a multicast address"),
    ("100::1", "is a discard address"),
    ("2001:2::1", "is a protocol assignment"),
    ("2001:db8::1", "is a documentation address"),
    ("3fff::1", "is a documentation address"),
    ("5f00::1", "is a segment routing address"),
    ("4000::1", "lies outside of 2000::/3"),
    ("1::1", "lies outside of 2000::/3"),
]
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "93.184.216.34",
    "172.32.0.1",
    "168.63.129.17",
    "2a00:1450:4001:801::200e",
    "2606:4700:4700::1111",
    "2a00:1450:4001:801:0:5efe:8.8.8.8",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]
UNPARSED = [
    *("127.1", "0177.0.0.1", "2130706433", "0x7f.1", "0", "127。0。0。1", "①②⑦.⓪.⓪.①", "ⓛocalhost"),
    *("", "localhost", "127.0.0.01", "8.8.8.8/32", "[::1]", "8.8.8.8 ", "08.8.8.8", "::ffff:1.2.3"),
]


MAPPED = str(ipaddress.ip_address("::ffff:1.2.3.4"))


@pytest.mark.parametrize(("address", "reason"), FORBIDDEN)
def test_check_refuses_the_address_and_names_the_rule(address: str, reason: str) -> None:
    with pytest.raises(ForbiddenAddress) as caught:
        Rules().check(address, 443)
    assert reason in str(caught.value)
    assert str(caught.value).startswith(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_check_permits_public_addresses(address: str) -> None:
    Rules().check(address, 443)


@pytest.mark.parametrize("address", UNPARSED)
def test_check_refuses_every_other_spelling_even_with_everything_allowed(address: str) -> None:
    with pytest.raises(ForbiddenAddress, match="is not an IP address"):
        Rules(["0.0.0.0/0:*", "[::/0]:*"]).check(address, 80)


@given(st.integers(min_value=0, max_value=2**32 - 1))
def test_what_the_library_calls_local_is_never_permitted(number: int) -> None:
    address = ipaddress.IPv4Address(number)
    special = not address.is_global or address.is_multicast or address.is_reserved
    for shown in (str(address), f"::ffff:{address}", f"64:ff9b::{address}"):
        try:
            Rules().check(shown, 80)
        except ForbiddenAddress:
            continue
        assert not special


@given(st.integers(min_value=0, max_value=2**128 - 1))
def test_no_ipv6_address_outside_the_public_range_is_permitted(number: int) -> None:
    address = ipaddress.IPv6Address(number)
    try:
        Rules().check(str(address), 80)
    except ForbiddenAddress:
        return
    assert (
        address in ipaddress.IPv6Network("2000::/3")
        or address.ipv4_mapped
        or number >> 32 == (0x0064FF9B << 64)
    )


def test_the_hint_of_a_refusal_works_when_it_is_followed() -> None:
    for address, reason in FORBIDDEN:
        if "scope id" in reason:
            continue
        with pytest.raises(ForbiddenAddress) as caught:
            Rules().check(address, 5678)
        hint = str(caught.value).split('["')[1].split('"]')[0]
        Rules([hint]).check(address, 5678)
        with pytest.raises(ForbiddenAddress):
            Rules([hint]).check(address, 5679)


def test_the_refusal_is_one_clear_sentence() -> None:
    with pytest.raises(ForbiddenAddress) as caught:
        Rules().check("127.0.0.1", 5678)
    assert str(caught.value) == (
        '127.0.0.1 is a loopback address; allow it with egress.allow = ["127.0.0.1/32:5678"].'
    )


@pytest.mark.parametrize(
    ("entry", "address", "port", "permitted"),
    [
        ("127.0.0.0/8:5678", "127.0.0.1", 5678, True),
        ("127.0.0.0/8:5678", "127.0.0.1", 5679, False),
        ("127.0.0.0/8:5678", "::ffff:127.0.0.1", 5678, True),
        ("127.0.0.0/8:5678", "64:ff9b::7f00:1", 5678, True),
        ("127.0.0.0/8:*", "2002:7f00:1::1", 80, False),  # a tunnel, not 127.0.0.1
        ("127.0.0.0/8:*", "::7f00:1", 80, False),
        ("127.0.0.0/8:*", "::1", 80, False),
        ("10.0.0.7:80", "10.0.0.7", 80, True),
        ("10.0.0.7:80", "10.0.0.8", 80, False),
        ("[fd00::/8]:443", "fd12::1", 443, True),
        ("[fd00::/8]:443", "fd12::1", 80, False),
        ("[fd00::1]:443", "fd00::1", 443, True),
        ("192.168.0.0/16:*", "192.168.3.4", 1, True),
        ("192.168.0.0/16:*", "192.169.3.4", 1, True),  # public anyway
        ("192.168.0.0/16:*", "10.0.0.1", 1, False),
    ],
)
def test_an_entry_permits_its_network_and_port_only(
    entry: str, address: str, port: int, permitted: bool
) -> None:
    rules = Rules([entry])
    if permitted:
        rules.check(address, port)
        return
    with pytest.raises(ForbiddenAddress):
        rules.check(address, port)


@pytest.mark.parametrize(
    "text",
    [
        *("", "*", "*:80", "127.0.0.1", "127.0.0.0/8", "fd00::/8", "fd00::1:80", "localhost:80"),
        *("[fd00::/8]", "[fd00::/8]:", "10.0.0.0/8:", "10.0.0.0/8:0", "10.0.0.0/8:65536"),
        *("10.0.0.0/8:80-90", "10.0.0.0/33:80", "10.0.0.1/8:80", "[10.0.0.0/8]:80", "10.0.0:80"),
        *(
            "10.0.0.0/255.0.0.0:80",
            " 10.0.0.0/8:80",
            "10.0.0.0/8:80\n",
            "10.0.0.0/8:٣",
            "[::1%1]:80",
        ),
    ],
)
def test_parse_allow_refuses_with_one_sentence(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_allow(text)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "header"),
    [
        ("http://example.com", "example.com", 80, b"/", b"example.com"),
        ("HTTPS://Example.COM/", "example.com", 443, b"/", b"example.com"),
        ("https://example.com:443/a", "example.com", 443, b"/a", b"example.com"),
        ("http://example.com:443/a", "example.com", 443, b"/a", b"example.com:443"),
        ("http://a?b=c/d", "a", 80, b"/?b=c/d", b"a"),
        ("http://a/x//y?q=1&r=%20?", "a", 80, b"/x//y?q=1&r=%20?", b"a"),
        ("http://a/ä?ö", "a", 80, b"/%C3%A4?%C3%B6", b"a"),
        ('http://a/{"}', "a", 80, b"/%7B%22%7D", b"a"),
        (
            "http://n8n_main:5678/webhook/1",
            "n8n_main",
            5678,
            b"/webhook/1",
            b"n8n_main:5678",
        ),
        ("http://127.0.0.1:1/", "127.0.0.1", 1, b"/", b"127.0.0.1:1"),
        ("http://[FD00:0::1]:8080/", "fd00::1", 8080, b"/", b"[fd00::1]:8080"),
        # Python 3.13 writes it with dots, before that with digits only.
        ("https://[::ffff:1.2.3.4]/", MAPPED, 443, b"/", f"[{MAPPED}]".encode()),
        (
            "https://bücher.example/",
            "xn--bcher-kva.example",
            443,
            b"/",
            b"xn--bcher-kva.example",
        ),
        ("https://example.com./", "example.com.", 443, b"/", b"example.com."),
        ("http://127。0。0。1/", "127.0.0.1", 80, b"/", b"127.0.0.1"),
        ("http://①②⑦.⓪.⓪.①/", "127.0.0.1", 80, b"/", b"127.0.0.1"),
        ("http://ⓛocalhost/", "localhost", 80, b"/", b"localhost"),
    ],
)
def test_parse_target_reads(url: str, host: str, port: int, path: bytes, header: bytes) -> None:
    target = parse_target(url)
    tls = url.lower().startswith("https:")
    assert (target.host, target.port, target.path) == (host, port, path)
    assert (target.host_header, target.tls) == (header, tls)
    assert target.scheme == ("https" if tls else "http")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "must begin with"),
        ("example.com", "must begin with"),
        ("//example.com", "must begin with"),
        ("file:///etc/passwd", "must begin with"),
        ("gopher://a/", "must begin with"),
        ("unix:/run/x", "must begin with"),
        ("ftp://a/", "must begin with"),
        ("http:/a", "must begin with"),
        ("http:a", "must begin with"),
        ("javascript:alert(1)", "must begin with"),
        ("http://", "no host"),
        ("http:///a", "no host"),
        ("http://:80/", "no host"),
        ("http://user@a/", "user name or password"),
        ("http://user:pass@a/", "user name or password"),
        ("http://8.8.8.8@127.0.0.1/", "user name or password"),
        ("http://8.8.8.8\\@127.0.0.1/", "backslash"),
        ("http://a\\b", "backslash"),
        ("http://8.8.8.8#@127.0.0.1/", "fragment"),
        ("http://a/#x", "fragment"),
        (" http://a/", "whitespace"),
        ("http://a/ ", "whitespace"),
        ("http://a/b c", "whitespace"),
        ("http://a\t/", "whitespace"),
        ("ht\ntp://a/", "whitespace"),
        ("http://a/\r\nX: y", "whitespace"),
        ("http://a/\x00", "control"),
        ("http://a/\x7f", "control"),
        ("http://a/\u0085", "control"),
        ("http://a\u3000/", "whitespace"),
        ("http://a\u00ad.example/", "control"),
        ("http://a\u200b.example/", "control"),
        ("http://a/\ud800", "control"),
        ("http://a:0/", "between 1 and 65535"),
        ("http://a:65536/", "between 1 and 65535"),
        (f"http://a:{'9' * 5000}/", "between 1 and 65535"),
        ("http://a:/", "HOST or HOST:PORT"),
        ("http://a:80:81/", "HOST or HOST:PORT"),
        ("http://a:+80/", "HOST or HOST:PORT"),
        ("http://a:８０/", "HOST or HOST:PORT"),
        ("http://::1/", "HOST or HOST:PORT"),
        ("http://[::1/", "HOST or HOST:PORT"),
        ("http://[::1]a/", "HOST or HOST:PORT"),
        ("http://[]/", "is not an IPv6 address"),
        ("http://[127.0.0.1]/", "is not an IPv6 address"),
        ("http://[fe80::1%eth0]/", "scope id"),
        ("http://a%2eb/", "is not a host name"),
        ("http://a..b/", "is not a host name"),
        ("http://.a/", "is not a host name"),
        ("http://./", "is not a host name"),
        ("http://-a/", "is not a host name"),
        ("http://a,b/", "is not a host name"),
        (f"http://{'a' * 64}.example/", "is not a host name"),
        (f"http://{'a.' * 130}example/", "is not a host name"),
        ("http://straße.example/", "ASCII form"),
        (f"http://{'ä' * 300}/", "ASCII form"),
        ("http://ä..b/", "international domain name"),
        (f"http://{'ä' * 70}.example/", "international domain name"),
        ("http://127.1/", "not a full IPv4 address"),
        ("http://0177.0.0.1/", "not a full IPv4 address"),
        ("http://2130706433/", "not a full IPv4 address"),
        ("http://0x7f.1/", "not a full IPv4 address"),
        ("http://127.0x1/", "not a full IPv4 address"),
        ("http://0/", "not a full IPv4 address"),
        ("http://127.0.0.1./", "not a full IPv4 address"),
        ("http://256.0.0.1/", "not a full IPv4 address"),
    ],
)
def test_parse_target_refuses_with_one_sentence(url: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_target(url)
    assert reason in str(caught.value)
    assert not isinstance(caught.value, UnicodeError)


@given(st.text())
def test_parse_target_raises_nothing_but_its_own_refusal(text: str) -> None:
    for url in (text, f"http://{text}", f"https://a/{text}"):
        try:
            target = parse_target(url)
        except UnicodeError:
            raise
        except ValueError:
            continue
        wire = target.path + target.host_header + target.host.encode("ascii")
        assert all(0x20 < byte < 0x7F for byte in wire)
        assert target.path.startswith(b"/")


@pytest.mark.parametrize("port", [22, 25, 465, 587, 1433, 3306, 5432, 6379, 11211, 27017])
def test_ports_of_other_services_are_refused_unless_they_are_named(port: int) -> None:
    """Security facts, S3c: neither a literal nor a name, and not by a `*` either."""
    literal = parse_target(f"http://8.8.8.8:{port}/")
    name = parse_target(f"https://example.com:{port}/")
    for rules in (Rules(), Rules(["0.0.0.0/0:*"]), Rules(["8.8.8.8/32:443"])):
        for target in (literal, name):
            with pytest.raises(
                ForbiddenAddress, match=f"^port {port} is that of .*no HTTP; .*allow"
            ):
                rules.check_target(target)
        with pytest.raises(ForbiddenAddress, match="speaks no HTTP"):
            rules.check("8.8.8.8", port)
    named = Rules([f"8.8.8.8/32:{port}"])
    named.check_target(literal)
    named.check_target(name)  # which network it lies in is seen when it is resolved
    named.check("8.8.8.8", port)
    named.check("::ffff:8.8.8.8", port)
    with pytest.raises(ForbiddenAddress, match="speaks no HTTP"):
        named.check("8.8.4.4", port)


def test_check_target_judges_literals_and_leaves_names_to_the_connector() -> None:
    for url in ("http://127.0.0.1/", "http://127。0。0。1/", "http://[::1]/", "http://[::7f00:1]/"):
        with pytest.raises(ForbiddenAddress):
            Rules().check_target(parse_target(url))
    Rules(["127.0.0.1:80"]).check_target(parse_target("http://127.0.0.1/"))
    Rules().check_target(parse_target("http://8.8.8.8/"))
    Rules().check_target(parse_target("http://localhost/"))


def test_tls_is_verified_and_modern_by_default() -> None:
    context = verified_context()
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
