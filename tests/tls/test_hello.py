from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from smtpproxy.errors import ProtocolError
from smtpproxy.tls.facts import TlsVersion
from smtpproxy.tls.hello import ClientHello, HelloCollector, parse_client_hello

SNI, GROUPS, ALGORITHMS, PRE_SHARED_KEY, VERSIONS = 0, 10, 13, 41, 43


def vector(length_octets: int, octets: bytes) -> bytes:
    return len(octets).to_bytes(length_octets) + octets


def numbers(*values: int) -> bytes:
    return b"".join(value.to_bytes(2) for value in values)


def server_name(name: bytes, kind: int = 0) -> bytes:
    return vector(2, bytes([kind]) + vector(2, name))


def hello(
    extensions: list[tuple[int, bytes]] | None, *, ciphers: bytes = b"\x13\x01", legacy: int = 0x0303, tail: bytes = b""
) -> bytes:
    body = legacy.to_bytes(2) + bytes(32) + vector(1, bytes(32)) + vector(2, ciphers) + vector(1, b"\0")
    if extensions is not None:
        body += vector(2, b"".join(kind.to_bytes(2) + vector(2, value) for kind, value in extensions))
    return b"\x01" + vector(3, body + tail)


def library_hello(configure: str = "", server_name: bytes = b"mx.example.net") -> bytes:
    """Return the first flight of the OpenSSL that this package uses."""
    context = SSL.Context(SSL.TLS_METHOD)
    if configure:
        context.set_cipher_list(configure.encode())
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    connection.set_tlsext_host_name(server_name)
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    return connection.bio_read(65536)


def collected(flight: bytes) -> bytes:
    message = HelloCollector().feed(flight)
    assert message is not None
    return message


def parsed(flight: bytes) -> ClientHello:
    return parse_client_hello(collected(flight))


def reason(message: bytes) -> str:
    with pytest.raises(ProtocolError) as caught:
        parse_client_hello(message)
    return caught.value.reason


def test_reads_the_hello_of_our_own_library() -> None:
    seen = parsed(library_hello())
    assert seen.server_name == "mx.example.net"
    assert seen.highest_version is TlsVersion.TLS1_3
    assert 0x0403 in seen.signature_algorithms
    assert 0x1301 in seen.ciphers
    assert seen.has_ecdsa


def test_a_client_of_tls13_that_offers_a_session_takes_tickets() -> None:
    tls13 = (VERSIONS, vector(1, numbers(0x0304, 0x0303)))
    for extensions, offers, takes in (
        ([tls13], False, False),
        ([tls13, (PRE_SHARED_KEY, b"not looked into")], True, True),
        ([], False, True),  # TLS 1.2 tells it in an extension of its own
    ):
        seen = parse_client_hello(hello(extensions))
        assert (seen.offers_session, seen.takes_tickets) == (offers, takes)


def test_reads_a_tls12_hello_without_ecdsa() -> None:
    seen = parsed(library_hello("ECDHE-RSA-AES128-GCM-SHA256"))
    assert seen.highest_version is TlsVersion.TLS1_2
    assert not seen.has_ecdsa


def test_reads_the_hello_of_the_standard_library() -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="a_b.example.org").do_handshake()
    seen = parsed(outgoing.read())
    assert seen.server_name == "a_b.example.org"
    assert seen.highest_version is TlsVersion.TLS1_3


@pytest.mark.parametrize(
    "command",
    [
        ["openssl", "s_client", "-servername", "mx.example.net", "-connect"],
        ["gnutls-cli", "--insecure", "--sni-hostname", "mx.example.net"],
    ],
    ids=["openssl", "gnutls"],
)
def test_reads_the_hello_of_a_real_client(command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        port = listener.getsockname()[1]
        target = [f"127.0.0.1:{port}"] if command[0] == "openssl" else ["-p", str(port), "127.0.0.1"]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([*command, *target], **quiet) as client:  # type: ignore[call-overload]
            connection = listener.accept()[0]
            with connection:
                seen = parse_client_hello(read_hello(connection))
            client.wait(10)
    assert seen.server_name == "mx.example.net"
    assert seen.highest_version is TlsVersion.TLS1_3
    assert seen.has_ecdsa


def read_hello(connection: socket.socket) -> bytes:
    connection.settimeout(10)
    collector = HelloCollector()
    while True:
        message = collector.feed(connection.recv(4096))
        if message is not None:
            return message


def test_a_hello_may_have_no_extensions() -> None:
    seen = parse_client_hello(hello(None, legacy=0x0302))
    assert seen.server_name is None
    assert seen.versions == (0x0302, 0x0301)
    assert seen.signature_algorithms == ()


def test_reserved_values_are_kept_and_do_not_count() -> None:
    seen = parse_client_hello(hello([(0x0A0A, b""), (VERSIONS, vector(1, numbers(0x7A7A, 0x0304)))]))
    assert seen.highest_version is TlsVersion.TLS1_3
    assert parse_client_hello(hello([(VERSIONS, vector(1, numbers(0x7A7A)))])).highest_version is None


@pytest.mark.parametrize(
    ("ciphers", "extensions", "expected"),
    [
        (numbers(0x1301), [(VERSIONS, vector(1, numbers(0x0304))), (ALGORITHMS, vector(2, numbers(0x0403)))], True),
        (numbers(0x1301), [(VERSIONS, vector(1, numbers(0x0304))), (ALGORITHMS, vector(2, numbers(0x0503)))], False),
        (numbers(0xC02B), [(ALGORITHMS, vector(2, numbers(0x0503)))], True),
        (numbers(0xC02B), [(ALGORITHMS, vector(2, numbers(0x0401)))], False),
        (numbers(0xC02F), [(ALGORITHMS, vector(2, numbers(0x0403)))], False),
        (numbers(0xC02B), [(GROUPS, vector(2, numbers(0x001D)))], False),
        (numbers(0xC02B), [(GROUPS, vector(2, numbers(0x001D, 0x0017)))], True),
        (numbers(0xC009), None, True),
        (numbers(0x002F), None, False),
    ],
    ids=["1.3", "1.3 other curve", "1.2", "1.2 rsa only", "1.2 rsa suite", "1.2 no p256", "1.2 p256", "1.0", "1.0 rsa"],
)
def test_says_whether_an_ecdsa_certificate_will_do(
    ciphers: bytes, extensions: list[tuple[int, bytes]] | None, *, expected: bool
) -> None:
    assert parse_client_hello(hello(extensions, ciphers=ciphers)).has_ecdsa is expected


@pytest.mark.parametrize(
    "value",
    [
        server_name(b""),
        server_name(b"a" * 256),
        server_name(b"evil\0.example"),
        server_name(b"evil\r\n250 ok"),
        server_name("b\u00fccher.example".encode()),
        server_name(b"mx.example", kind=1),
        server_name(b"mx.example") + b"x",
        vector(2, b"\0" + vector(2, b"a") + b"\0" + vector(2, b"b")),
        b"",
        b"\0\0",
    ],
)
def test_a_malformed_server_name_is_refused(value: bytes) -> None:
    assert reason(hello([(SNI, value)])) == "malformed-server-name"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x02" + hello([])[1:],
        hello([])[:-1],
        hello([]) + b"x",
        hello([], tail=b"x"),
        hello([], ciphers=b""),
        hello([], ciphers=b"\0"),
        hello([(ALGORITHMS, b"\0\3\4\3\4")]),
        hello([(VERSIONS, b"\3\3\4")]),
        hello([(23, b""), (23, b"")]),
    ],
)
def test_what_does_not_add_up_is_refused(message: bytes) -> None:
    assert reason(message) == "malformed-hello"


@given(st.binary(max_size=300))
def test_random_octets_raise_protocol_errors_only(octets: bytes) -> None:
    with suppress(ProtocolError):
        parse_client_hello(b"\x01" + vector(3, octets))


@given(st.integers(0, 600), st.binary(min_size=1, max_size=8))
def test_a_damaged_real_hello_raises_protocol_errors_only(at: int, damage: bytes) -> None:
    message = bytearray(collected(library_hello()))
    message[at : at + len(damage)] = damage
    with suppress(ProtocolError):
        parse_client_hello(bytes(message))
