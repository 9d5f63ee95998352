from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.endpoint import Endpoint
from smtpproxy.proxy_header import version_1, version_2
from smtpproxy.proxy_header.crc32c import crc32c
from smtpproxy.proxy_header.header import Header, HeaderError, Local, Proxied, Tlv, Unknown
from smtpproxy.proxy_header.reader import HeaderReader
from smtpproxy.proxy_header.version_1 import to_line
from smtpproxy.proxy_header.version_2 import to_binary

IPV4 = Proxied(Endpoint("192.0.2.9", 40000), Endpoint("198.51.100.1", 25))
IPV6 = Proxied(Endpoint("2001:db8::9", 40000), Endpoint("2001:db8:1::1", 465))
ENDS = (IPV4.client, IPV4.destination)
SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
IPV4_ADDRESSES = bytes.fromhex("c0000209c63364019c400019")


def outcome(octets: bytes, at_a_time: int) -> tuple[Header | str | None, bytes]:
    """Return what is read of a connection that begins with ``octets``, and what stays there for others."""
    reader = HeaderReader()
    while octets:
        taken = octets[: min(at_a_time, reader.wanted)]
        octets = octets[len(taken) :]
        try:
            header = reader.feed(taken)
        except HeaderError as error:
            return error.reason, octets
        if header is not None:
            return header, octets
    return None, octets


def three_feeds(octets: bytes) -> Header | str | None:
    """Return what is read, whole, octet by octet and with a tail, which must be the same and leave the tail alone."""
    whole, by_octet, tailed = outcome(octets, 9999), outcome(octets, 1), outcome(octets + b"PROXY EHLO\r\n", 9999)
    assert whole[0] == by_octet[0]
    if isinstance(whole[0], Local | Proxied | Unknown):
        assert whole[1] == by_octet[1] == b""
        assert tailed == (whole[0], b"PROXY EHLO\r\n")
    return whole[0]


def ends(header: Header) -> tuple[Endpoint, Endpoint] | None:
    return (header.client, header.destination) if isinstance(header, Proxied) else None


def binary(command: int, family: int, block: bytes) -> bytes:
    return SIGNATURE + bytes([command, family]) + len(block).to_bytes(2) + block


def tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + len(value).to_bytes(2) + value


def test_a_line_names_both_ends() -> None:
    assert three_feeds(b"PROXY TCP4 192.0.2.9 198.51.100.1 40000 25\r\n") == IPV4
    assert three_feeds(b"PROXY TCP6 2001:DB8::9 2001:0db8:0001::1 40000 465\r\n") == IPV6
    assert three_feeds(b"PROXY TCP6 :: :: 0 0\r\n") == Proxied(Endpoint("::", 0), Endpoint("::", 0))
    shortest = b"PROXY TCP4 1.0.0.0 1.0.0.0 0 0\r\n"
    assert three_feeds(shortest) == Proxied(Endpoint("1.0.0.0", 0), Endpoint("1.0.0.0", 0))


def test_a_line_may_name_nobody() -> None:
    assert three_feeds(b"PROXY UNKNOWN\r\n") == Unknown()
    ends = b" ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" * 2
    longest = b"PROXY UNKNOWN" + ends + b" 65535 65535\r\n"
    assert len(longest) == 107
    assert three_feeds(longest) == Unknown()
    assert three_feeds(b"PROXY UNKNOWN whatever \x00 stands here\r\n") == Unknown()


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY TCP4 192.0.2.9 198.51.100.1 040000 25\r\n",
        b"PROXY TCP4 192.0.2.9 198.51.100.1 +1 25\r\n",
        b"PROXY TCP4 192.0.2.9 198.51.100.1 1_0 25\r\n",
        b"PROXY TCP4 192.0.2.9 198.51.100.1 65536 25\r\n",
        b"PROXY TCP4 192.0.2.9 198.51.100.1 40000 25 \r\n",
        b"PROXY TCP4 192.0.2.9  198.51.100.1 40000 25\r\n",
        b"PROXY TCP4 192.0.2.09 198.51.100.1 40000 25\r\n",
        b"PROXY TCP4 192.0.2 198.51.100.1 40000 25\r\n",
        b"PROXY TCP4 2001:db8::9 2001:db8::1 40000 25\r\n",
        b"PROXY TCP6 192.0.2.9 198.51.100.1 40000 25\r\n",
        b"PROXY TCP6 fe80::1%lo fe80::2 40000 25\r\n",
        b"PROXY TCP6 2001:db8:::9 2001:db8::1 40000 25\r\n",
        b"PROXY TCP4 192.0.2.9 198.51.100.1 40000\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY UNKNOWN a\rb\r\n",
        b"PROXY UNKNOWN a\nb\r\n",
        b"PROXY TCP4 192.0.2.9 198.51.100.1 40000 25\n\r\n",
        b"PROXY TCP5 192.0.2.9 198.51.100.1 40000 25\r\n",
        b"PROXY tcp4 192.0.2.9 198.51.100.1 40000 25\r\n",
        b"PROXY UDP4 192.0.2.9 198.51.100.1 40000 25\r\n",
        b"PROXY \xff\xff\xff\xff 192.0.2.9 198.51.100.1 40000 25\r\n",
    ],
)
def test_what_is_not_exactly_the_line_is_refused(line: bytes) -> None:
    assert three_feeds(line) == "proxy-header-syntax"


@pytest.mark.parametrize(
    "octets", [b"EHLO c.test\r\n", b"\x16\x03\x01", b"PROXIED", b"\r\n\r\nGET", b"proxy TCP4 ", b"\0"]
)
def test_what_is_no_header_is_refused_at_once(octets: bytes) -> None:
    assert three_feeds(octets) == "proxy-header-missing"


def test_a_line_without_end_is_refused_before_it_has_grown_too_long() -> None:
    line = b"PROXY UNKNOWN " + b"x" * 200
    assert three_feeds(line) == "proxy-header-too-long"
    assert three_feeds(b"PROXY UNKNOWN" + b" " * (108 - 15) + b"\r\n") == "proxy-header-too-long"
    assert len(outcome(line, 1)[1]) >= len(line) - version_1.MAX_OCTETS


def test_a_binary_header_names_both_ends() -> None:
    assert three_feeds(binary(0x21, 0x11, IPV4_ADDRESSES)) == IPV4
    packed = bytes.fromhex("20010db800000000000000000000000920010db80001000000000000000000019c4001d1")
    assert three_feeds(binary(0x21, 0x21, packed)) == IPV6


def test_further_information_is_kept_as_it_is_and_in_order() -> None:
    block = IPV4_ADDRESSES + tlv(0x02, b"mx.test") + tlv(0x04, b"") + tlv(0xE1, b"\0\xff") + tlv(0x04, b"x")
    kept = (Tlv(0x02, b"mx.test"), Tlv(0x04, b""), Tlv(0xE1, b"\0\xff"), Tlv(0x04, b"x"))
    assert three_feeds(binary(0x21, 0x11, block)) == Proxied(IPV4.client, IPV4.destination, kept)


def test_a_local_connection_is_one_whatever_stands_in_its_header() -> None:
    assert three_feeds(binary(0x20, 0x00, b"")) == Local()
    assert three_feeds(binary(0x20, 0x11, IPV4_ADDRESSES)) == Local()
    assert three_feeds(binary(0x20, 0xFF, b"\xff" * 7)) == Local()
    assert three_feeds(binary(0x20, 0x00, tlv(0x05, b"id"))) == Local((Tlv(0x05, b"id"),))


def test_who_is_not_told_of_as_tcp_over_ip_is_unknown() -> None:
    for family, block in [(0x00, b""), (0x00, b"\xff"), (0x10, IPV4_ADDRESSES), (0x01, b""), (0x12, IPV4_ADDRESSES)]:
        assert three_feeds(binary(0x21, family, block)) == Unknown()
    assert three_feeds(binary(0x21, 0x31, bytes(216) + tlv(0x05, b"id"))) == Unknown((Tlv(0x05, b"id"),))


@pytest.mark.parametrize(
    "octets",
    [
        binary(0x21, 0x11, IPV4_ADDRESSES[:-1]),
        binary(0x21, 0x21, IPV4_ADDRESSES),
        binary(0x21, 0x41, bytes(16)),
        binary(0x21, 0x13, IPV4_ADDRESSES),
        binary(0x21, 0x11, IPV4_ADDRESSES + b"\4\0"),
        binary(0x21, 0x11, IPV4_ADDRESSES + b"\4\0\2x"),
    ],
)
def test_a_binary_header_that_is_not_what_it_says_is_refused(octets: bytes) -> None:
    assert three_feeds(octets) == "proxy-header-syntax"


def test_other_versions_and_commands_are_refused() -> None:
    for command in (0x00, 0x11, 0x22, 0x2F, 0x31, 0x01):
        assert three_feeds(binary(command, 0x11, IPV4_ADDRESSES)) == "proxy-header-version"


def test_a_header_that_announces_too_much_is_refused_before_it_comes() -> None:
    fits = IPV4_ADDRESSES + tlv(0x04, bytes(4096 - 16 - 12 - 3))
    assert isinstance(three_feeds(binary(0x21, 0x11, fits)), Proxied)
    announced = SIGNATURE + b"\x21\x11" + (4096 - 15).to_bytes(2)
    assert outcome(announced + bytes(9), 9999) == ("proxy-header-too-long", bytes(9))


def test_the_checksum_is_the_one_of_the_standards_examples() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720 appendix B.4
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


def test_no_flipped_bit_puts_another_in_the_place_of_who_is_named() -> None:
    octets = to_binary(IPV4, checksum=True)
    for place in range(len(octets) * 8):
        flipped = bytearray(octets)
        flipped[place // 8] ^= 1 << place % 8
        read = outcome(bytes(flipped), 9999)[0]
        assert read is None or isinstance(read, str | Unknown) or ends(read) == ENDS, place


def test_a_header_turned_local_by_a_flipped_bit_is_refused_by_its_checksum() -> None:
    octets = bytearray(to_binary(IPV4, checksum=True))
    octets[12] ^= 1
    assert three_feeds(bytes(octets)) == "proxy-header-checksum"


def test_a_checksum_of_another_length_or_for_nothing_is_refused() -> None:
    assert three_feeds(binary(0x21, 0x11, IPV4_ADDRESSES + tlv(3, b"\0\0\0"))) == "proxy-header-checksum"
    assert three_feeds(binary(0x21, 0x11, IPV4_ADDRESSES + tlv(3, b"\0\0\0\0"))) == "proxy-header-checksum"


ENDPOINTS = {
    version: st.builds(Endpoint, st.ip_addresses(v=version).map(str), st.integers(0, 65535)) for version in (4, 6)
}
TLVS = st.lists(
    st.builds(Tlv, st.integers(0, 255).filter(lambda kind: kind != version_2.CRC32C), st.binary(max_size=80)),
    max_size=5,
).map(tuple)
PROXIED = st.sampled_from([4, 6]).flatmap(lambda v: st.builds(Proxied, ENDPOINTS[v], ENDPOINTS[v], TLVS))
HEADERS = st.one_of(PROXIED, st.builds(Local, TLVS), st.builds(Unknown, TLVS))


@given(HEADERS, st.booleans(), st.integers(1, 40))
def test_what_is_written_is_read(header: Header, checksum: bool, at_a_time: int) -> None:  # noqa: FBT001 - drawn
    assert outcome(to_binary(header, checksum=checksum) + b"QUIT", at_a_time) == (header, b"QUIT")


@given(st.sampled_from([4, 6]).flatmap(lambda v: st.builds(Proxied, ENDPOINTS[v], ENDPOINTS[v])), st.integers(1, 40))
def test_what_is_written_as_a_line_is_read(header: Proxied, at_a_time: int) -> None:
    assert outcome(to_line(header) + b"\r\n", at_a_time) == (header, b"\r\n")


@given(st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(lambda rest: SIGNATURE + rest),
                 st.binary(max_size=120).map(lambda rest: b"PROXY " + rest)), st.integers(1, 40))  # fmt: skip
def test_any_octets_are_a_header_or_refused_or_waited_for(octets: bytes, at_a_time: int) -> None:
    read, behind = outcome(octets, at_a_time)
    assert read is not None or behind == b""


def test_ends_of_two_families_are_written_as_ipv6() -> None:
    header = Proxied(IPV4.client, IPV6.destination)
    read = outcome(to_binary(header), 9999)[0]
    assert isinstance(read, Proxied)
    assert ip_address(read.client.host) == ip_address("::ffff:192.0.2.9")
    assert read.destination == IPV6.destination


def test_nobody_is_written_as_a_line_without_ends() -> None:
    assert to_line(Local()) == to_line(Unknown()) == b"PROXY UNKNOWN\r\n"


def test_more_than_the_header_is_never_written() -> None:
    with pytest.raises(ValueError, match="too long"):
        to_binary(Local((Tlv(0xE0, bytes(5000)),)))


def test_more_than_was_wanted_is_never_taken() -> None:
    with pytest.raises(ValueError, match="wanted"):
        HeaderReader().feed(bytes(16))
