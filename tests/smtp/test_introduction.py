from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.endpoint import Endpoint
from smtpproxy.smtp.introduction import Introduced, xclient_line, xforward_commands

ALL = b"NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT IDENT SOURCE"
WHO = Introduced(Endpoint("192.0.2.9", 40000), Endpoint("198.51.100.1", 25), b"client.test", extended=True)
WHO_IPV6 = Introduced(Endpoint("2001:db8::9", 40000), Endpoint("2001:db8::1", 465), b"c", extended=False)


def attributes(line: bytes) -> dict[str, bytes]:
    pairs = (word.split(b"=") for word in line.split()[1:])
    return {
        name.decode(): re.sub(rb"\+([0-9A-F]{2})", lambda hexed: bytes([int(hexed[1], 16)]), v) for name, v in pairs
    }


def forwarded(offered: bytes | None, who: Introduced) -> dict[str, bytes]:
    told: dict[str, bytes] = {}
    for command in xforward_commands(offered, who):
        assert len(command.to_wire()) <= 512
        told |= attributes(command.to_wire())
    return told


def test_all_that_is_known_is_told_where_it_is_taken() -> None:
    line = xclient_line(ALL, WHO_IPV6)
    assert line is not None
    assert attributes(line) == {
        "ADDR": b"IPV6:2001:db8::9",
        "NAME": b"[UNAVAILABLE]",
        "PORT": b"40000",
        "DESTADDR": b"IPV6:2001:db8::1",
        "DESTPORT": b"465",
        "PROTO": b"SMTP",
        "HELO": b"c",
    }
    assert forwarded(ALL, WHO) == {
        "ADDR": b"192.0.2.9",
        "NAME": b"[UNAVAILABLE]",
        "PORT": b"40000",
        "PROTO": b"ESMTP",
        "SOURCE": b"REMOTE",
        "HELO": b"client.test",
    }


def test_only_what_is_offered_is_told() -> None:
    assert xclient_line(b"addr Proto", WHO) == b"XCLIENT ADDR=192.0.2.9 PROTO=ESMTP\r\n"
    assert forwarded(b"ADDR HELO", WHO) == {"ADDR": b"192.0.2.9", "HELO": b"client.test"}


@pytest.mark.parametrize("offered", [None, b"", b"NAME PORT HELO", b"ADDRESS", b"\xff"])
def test_nothing_is_told_to_who_takes_no_address(offered: bytes | None) -> None:
    assert xclient_line(offered, WHO) is None
    assert xforward_commands(offered, WHO) == ()


NAMES = st.binary(min_size=1, max_size=255).map(lambda octets: bytes(33 + octet % 94 for octet in octets))


@given(NAMES)
def test_no_name_makes_a_line_too_long_or_another_command_of_it(name: bytes) -> None:
    who = Introduced(WHO_IPV6.client, WHO_IPV6.destination, name, extended=True)
    line = xclient_line(ALL, who)
    assert line is not None
    assert len(line) <= 512
    told = attributes(line)
    assert told["ADDR"] == b"IPV6:2001:db8::9"
    assert told.get("HELO", name) == name
    assert forwarded(ALL, who).get("HELO", name) == name


@given(st.binary(max_size=40))
def test_whatever_the_name_is_it_ends_no_line(name: bytes) -> None:
    who = Introduced(WHO.client, WHO.destination, name, extended=True)
    line = xclient_line(ALL, who)
    assert line is not None
    assert line.count(b"\r") == line.count(b"\n") == 1
    assert line.isascii()


def test_a_long_name_takes_a_second_line_of_the_log_or_is_left_to_ehlo() -> None:
    long = Introduced(
        Endpoint("2001:db8:1234:5678:9abc:def0:1234:5678", 40000), WHO_IPV6.destination, b"n" * 255, extended=True
    )
    assert forwarded(ALL, long)["HELO"] == b"n" * 255
    assert b"n" * 255 in (xclient_line(ALL, long) or b"")
    too_long = Introduced(long.client, long.destination, b"n" * 256, extended=True)
    assert "HELO" not in attributes(xclient_line(ALL, too_long) or b"")
