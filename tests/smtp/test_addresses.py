from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.smtp.addresses import AddressError, Path, parse_forward_path, parse_reverse_path


@pytest.mark.parametrize(
    ("octets", "path"),
    [
        (b"<a@b>", Path(b"a@b", b"", b"a", b"b")),
        (
            b"<John.Q.Public+tag@mail.example.com>",
            Path(b"John.Q.Public+tag@mail.example.com", b"", b"John.Q.Public+tag", b"mail.example.com"),
        ),
        (
            b"<!#$%&'*+-/=?^_`{|}~@example.com>",
            Path(b"!#$%&'*+-/=?^_`{|}~@example.com", b"", b"!#$%&'*+-/=?^_`{|}~", b"example.com"),
        ),
        (b"<a@under_score.example>", Path(b"a@under_score.example", b"", b"a", b"under_score.example")),
        (b"<a@xn--mnchen-3ya.example>", Path(b"a@xn--mnchen-3ya.example", b"", b"a", b"xn--mnchen-3ya.example")),
        (b"<a@1-2--3.4>", Path(b"a@1-2--3.4", b"", b"a", b"1-2--3.4")),
        (b'<"">', None),
        (b'<""@b>', Path(b'""@b', b"", b'""', b"b")),
        (b'<"a b"@b>', Path(b'"a b"@b', b"", b'"a b"', b"b")),
        (b'<"a\\"b\\\\"@b>', Path(b'"a\\"b\\\\"@b', b"", b'"a\\"b\\\\"', b"b")),
        (b'<"a@b>c"@d>', Path(b'"a@b>c"@d', b"", b'"a@b>c"', b"d")),
        (b"<a@[192.0.2.1]>", Path(b"a@[192.0.2.1]", b"", b"a", b"[192.0.2.1]")),
        (b"<a@[IPv6:2001:db8::1]>", Path(b"a@[IPv6:2001:db8::1]", b"", b"a", b"[IPv6:2001:db8::1]")),
        (b"<a@[ipv6:::ffff:192.0.2.1]>", Path(b"a@[ipv6:::ffff:192.0.2.1]", b"", b"a", b"[ipv6:::ffff:192.0.2.1]")),
        (b"<a@[tag-1:any{thing}>]>", Path(b"a@[tag-1:any{thing}>]", b"", b"a", b"[tag-1:any{thing}>]")),
        (b"<@r1.example:a@b>", Path(b"@r1.example:a@b", b"@r1.example", b"a", b"b")),
        (b"<@r1,@r2,@r3:a@b>", Path(b"@r1,@r2,@r3:a@b", b"@r1,@r2,@r3", b"a", b"b")),
        (
            "<jörg@büro.example>".encode(),
            Path("jörg@büro.example".encode(), b"", "jörg".encode(), "büro.example".encode()),
        ),
        ('<"用 户"@例え>'.encode(), Path('"用 户"@例え'.encode(), b"", '"用 户"'.encode(), "例え".encode())),
        (b"<" + b"l" * 256 + b"@b>", Path(b"l" * 256 + b"@b", b"", b"l" * 256, b"b")),
        (b"<" + b"l" * 257 + b"@b>", None),
        (b"<a@" + b"d" * 255 + b">", Path(b"a@" + b"d" * 255, b"", b"a", b"d" * 255)),
        (b"<a@" + b"d" * 256 + b">", None),
        (b"<@" + b"r" * 1020 + b":a@b>", None),
        (b"<a@[192.0.2.256]>", None),
        (b"<a@[192.0.2]>", None),
        (b"<a@[192.0.2.1.5]>", None),
        (b"<a@[IPv6:2001:db8:::1]>", None),
        (b"<a@[IPv6:fe80::1%eth0]>", None),
        (b"<a@[]>", None),
        (b"<a@[tag-:x]>", None),
        (b"<a>", None),
        (b"<@b>", None),
        (b"<a@>", None),
        (b"<a@b@c>", None),
        (b"<.a@b>", None),
        (b"<a.@b>", None),
        (b"<a..b@c>", None),
        (b"<a b@c>", None),
        (b"<a@b c>", None),
        (b"<a@-b>", None),
        (b"<a@b->", None),
        (b"<a@b.>", None),
        (b"<a@.b>", None),
        (b"<a@b..c>", None),
        (b"< a@b>", None),
        (b"<a@b >", None),
        (b"<<a@b>>", None),
        (b"<a@b", None),
        (b"a@b", None),
        (b"<a\t@b>", None),
        (b"<a@b\x7f>", None),
        (b'<"a@b>', None),
        (b'<"a"b@c>', None),
        (b'<"\x01"@b>', None),
        (b"<@r1:>", None),
        (b"<@r1 ,@r2:a@b>", None),
        (b"<@r1@r2:a@b>", None),
        (b"<\xe4@b>", None),
        (b"<a@\xff\xfe>", None),
        (b"<\xed\xa0\x80@b>", None),
        (b"<\xc0\xae@b>", None),
        (b"", None),
    ],
)
def test_path(octets: bytes, path: Path | None) -> None:
    for parse in (parse_reverse_path, parse_forward_path):
        if path is None:
            with pytest.raises(AddressError):
                parse(octets)
        else:
            assert parse(octets) == (path, b"")
            assert parse(octets + b" SIZE=1>") == (path, b" SIZE=1>")


def test_null_path_is_for_mail_only() -> None:
    path, rest = parse_reverse_path(b"<> BODY=7BIT")
    assert (path.is_null, rest) == (True, b" BODY=7BIT")
    with pytest.raises(AddressError):
        parse_forward_path(b"<>")


@pytest.mark.parametrize("octets", [b"<Postmaster>", b"<postmaster>", b"<POSTMASTER>"])
def test_postmaster_without_domain_is_for_rcpt_only(octets: bytes) -> None:
    path, rest = parse_forward_path(octets + b" X")
    assert (path, rest) == (Path(octets[1:-1], b"", octets[1:-1], b""), b" X")
    assert not path.is_null
    with pytest.raises(AddressError):
        parse_reverse_path(octets)


def test_facts_of_a_path() -> None:
    plain, routed = parse_reverse_path(b"<a@b>")[0], parse_reverse_path(b"<@r:a@b>")[0]
    assert (plain.has_route, plain.is_8bit, plain.is_null) == (False, False, False)
    assert routed.has_route
    assert parse_reverse_path("<ä@b>".encode())[0].is_8bit


@pytest.mark.parametrize(
    "reason_and_octets",
    [("path-syntax", b"<a>"), ("path-too-long", b"<" + b"x" * 300 + b"@b>"), ("path-not-utf8", b"<\xff@b>")],
)
def test_reason_is_a_token_and_never_the_peers_octets(reason_and_octets: tuple[str, bytes]) -> None:
    reason, octets = reason_and_octets
    with pytest.raises(AddressError) as caught:
        parse_reverse_path(octets)
    assert caught.value.reason == str(caught.value) == reason


address_octets = st.lists(
    st.sampled_from(
        [
            b"a",
            b"-",
            b".",
            b"@",
            b",",
            b":",
            b'"',
            b"\\",
            b"[",
            b"]",
            b"<",
            b">",
            b"IPv6:",
            b"::1",
            b"\xc3\xa4",
            b"\xe4",
            b" ",
        ]
    )
).map(b"".join)


@given(st.one_of(st.binary(max_size=300), address_octets))
def test_what_is_parsed_is_what_was_sent(octets: bytes) -> None:
    for parse in (parse_reverse_path, parse_forward_path):
        try:
            path, rest = parse(b"<" + octets)
        except AddressError:
            continue
        assert b"<" + path.octets + b">" + rest == b"<" + octets
        at, colon = b"@" if path.domain else b"", b":" if path.route else b""
        assert path.route + colon + path.local + at + path.domain == path.octets
        path.octets.decode()


@pytest.mark.parametrize(
    "hostile",
    [
        b"<" + b"a." * 1000,
        b"<a@" + b"a-" * 1000 + b">",
        b"<a@" + b"a." * 1000 + b">",
        b"<" + b"@a," * 700 + b":a@b>",
        b'<"' + b"\\a" * 1000,
        b"<@" + b"a-a." * 500 + b":",
        b"<a@[" + b"a-" * 1000 + b":x]>",
    ],
)
def test_a_hostile_line_costs_no_backtracking(hostile: bytes) -> None:
    begun = time.process_time()
    for _ in range(20):
        with pytest.raises(AddressError):
            parse_forward_path(hostile)
    assert time.process_time() - begun < 1
