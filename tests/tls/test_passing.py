from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from smtpproxy.errors import ProtocolError
from smtpproxy.tls.passing import Passing, passing_client, passing_server
from smtpproxy.tls.server_hello import ServerHello, parse_server_hello
from smtpproxy.tls.suite_names import alert_name, suite_name, version_text
from tests.handshakes import plain_client, plain_server
from tests.pki import make_leaf
from tests.tls.test_hello import hello, numbers, vector

RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")


def server_hello(
    extensions: list[tuple[int, bytes]] | None = None, *, random: bytes = bytes(32), tail: bytes = b""
) -> bytes:
    body = b"\3\3" + random + vector(1, bytes(32)) + b"\xc0\x2f" + b"\0"
    if extensions is not None:
        body += vector(2, b"".join(kind.to_bytes(2) + vector(2, value) for kind, value in extensions))
    return b"\2" + vector(3, body + tail)


def record(fragment: bytes, kind: int = 22) -> bytes:
    return bytes([kind]) + b"\3\3" + vector(2, fragment)


def real_flights(highest: int) -> tuple[bytes, bytes, SSL.Connection]:
    """Return what either end sends in a handshake of the library's, and the client's end."""
    server, client = plain_server(make_leaf(None)), plain_client(highest=highest)
    server.set_alpn_select_callback(lambda _, offered: offered[0])
    client.set_alpn_protos([b"smtp", b"other"])
    asking, answering = SSL.Connection(client, None), SSL.Connection(server, None)
    asking.set_connect_state()
    asking.set_tlsext_host_name(b"mx.example.net")
    answering.set_accept_state()
    sent = {asking: b"", answering: b""}
    for _ in range(3):
        for end, other in ((asking, answering), (answering, asking)):
            with suppress(SSL.WantReadError):
                end.do_handshake()
            with suppress(SSL.WantReadError):
                octets = end.bio_read(65536)
                sent[end] += octets
                other.bio_write(octets)
    return sent[asking], sent[answering], asking


@pytest.mark.parametrize(("highest", "protocol"), [(SSL.TLS1_3_VERSION, None), (SSL.TLS1_2_VERSION, b"smtp")])
def test_both_hellos_of_a_real_handshake_are_read(highest: int, protocol: bytes | None) -> None:
    from_client, from_server, library = real_flights(highest)
    client, server = passing_client(strict=True), passing_server(strict=True)
    client.feed(from_client)
    server.feed(from_server)
    assert client.hello is not None
    assert server.hello is not None
    assert (client.hello.server_name, client.hello.protocols) == ("mx.example.net", (b"smtp", b"other"))
    assert version_text(server.hello.version) == library.get_protocol_version_name()
    assert suite_name(server.hello.cipher) == library.get_cipher_name()
    assert server.hello.protocol == protocol  # TLS 1.3 encrypts it
    assert not server.hello.is_retry


def test_a_retry_says_the_same_as_the_hello_behind_it() -> None:
    parsed = parse_server_hello(server_hello([(43, numbers(0x0304))], random=RETRY))
    assert parsed == ServerHello(0x0304, 0xC02F, None, is_retry=True)


def test_a_hello_without_extensions_is_one() -> None:
    assert parse_server_hello(server_hello()) == ServerHello(0x0303, 0xC02F, None, is_retry=False)


@pytest.mark.parametrize(
    "message",
    [
        hello([]),
        server_hello([], tail=b"x"),
        server_hello([(43, b"\3")]),
        server_hello([(43, numbers(0x0304, 0x0303))]),
        server_hello([(16, vector(2, vector(1, b"a") + vector(1, b"b")))]),
        server_hello([(16, b"")]),
        server_hello([(16, vector(2, vector(1, b"a"))), (16, vector(2, vector(1, b"a")))]),
        server_hello()[:-1],
    ],
)
def test_what_does_not_add_up_is_no_hello(message: bytes) -> None:
    with pytest.raises(ProtocolError, match="malformed-hello"):
        parse_server_hello(message)


def outcome(side: Passing[ServerHello], *pieces: bytes) -> tuple[ServerHello | None, int | None] | str:
    try:
        for piece in pieces:
            side.feed(piece)
    except ProtocolError as error:
        return error.reason
    return side.hello, side.alert


def test_a_server_may_answer_with_an_alert() -> None:
    flight = record(b"\2\x28", 21)
    for strict in (True, False):
        assert outcome(passing_server(strict=strict), flight) == (None, 40)
        assert outcome(passing_server(strict=strict), *(flight[at : at + 1] for at in range(7))) == (None, 40)
    assert alert_name(40) == "handshake failure"


def test_a_client_may_not() -> None:
    with pytest.raises(ProtocolError, match="not-tls"):
        passing_client(strict=True).feed(record(b"\2\x28", 21))


def test_what_is_no_tls_breaks_a_strict_tunnel_and_passes_another() -> None:
    banner = b"220 mx.test ESMTP\r\n"
    assert outcome(passing_server(strict=True), banner) == "not-tls"
    assert outcome(passing_server(strict=False), banner, banner * 9000) == (None, None)


def test_a_strict_tunnel_wants_a_hello_first() -> None:
    for first in (record(b"octets", 23), record(b"\x10\0\0\1x"), record(server_hello([], tail=b"x"))):
        assert isinstance(outcome(passing_server(strict=True), first), str)
        assert outcome(passing_server(strict=False), first) == (None, None)


def test_a_hello_that_never_ends_is_not_kept() -> None:
    endless = record(b"\2\xff\xff\xff" + bytes(1000))
    assert outcome(passing_server(strict=True), endless) == "hello-too-long"
    assert outcome(passing_server(strict=False), endless) == (None, None)


@given(st.data())
def test_any_cut_leads_to_the_same(data: st.DataObject) -> None:
    flight = record(server_hello([(43, numbers(0x0304))])) + record(b"\1", 20) + record(b"secret", 23) + b"\x17"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(flight)), max_size=6)))
    pieces = [flight[start:end] for start, end in zip([0, *cuts], [*cuts, len(flight)], strict=True)]
    expected = ServerHello(0x0304, 0xC02F, None, is_retry=False), None
    assert outcome(passing_server(strict=True), *pieces) == expected
    assert outcome(passing_server(strict=False), *pieces) == expected
    assert outcome(passing_server(strict=True), *pieces, b"\2") == "not-tls"
