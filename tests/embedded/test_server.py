from __future__ import annotations

import errno
import smtplib
import socket
import ssl
import threading
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from smtpproxy.embedded.server import Server, Settings
from smtpproxy.embedded.smtp import LINE_LIMIT_OCTETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import trustme


@pytest.fixture
def settings(tmp_path: Path, internet_ca: trustme.CA) -> Settings:
    issued = internet_ca.issue_cert("localhost", "127.0.0.1")
    certificate, key = tmp_path / "upstream.pem", tmp_path / "upstream.key"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return Settings("127.0.0.1", 0, 0, certificate, key, tmp_path / "maildir")


@pytest.fixture
def server(settings: Settings) -> Iterator[Server]:
    running = Server(settings)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def trusting(internet_ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    internet_ca.configure_trust(context)
    return context


def _clear(server: Server) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", server.smtp_port, "client.test", timeout=10)


def _implicit(server: Server, context: ssl.SSLContext) -> smtplib.SMTP_SSL:
    return smtplib.SMTP_SSL("127.0.0.1", server.smtps_port, "client.test", timeout=10, context=context)


def _send_raw(client: smtplib.SMTP, stuffed: bytes) -> tuple[int, bytes]:
    """Send content as it stands: smtplib's own ``data`` would rewrite its newlines."""
    client.ehlo_or_helo_if_needed()
    client.mail("a@client.test")
    client.rcpt("b@server.test")
    assert client.docmd("DATA")[0] == 354
    client.send(stuffed + b".\r\n")
    return client.getreply()


def _open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _stored(settings: Settings) -> list[bytes]:
    return [entry.read_bytes() for entry in (settings.maildir / "new").iterdir()]


ODD_CONTENTS = {
    "dots": (b"..one\r\n...two\r\na.b\r\n", b".one\r\n..two\r\na.b\r\n"),
    "empty": (b"", b""),
    "eight bits": (bytes(range(128, 256)) + b"\r\n", bytes(range(128, 256)) + b"\r\n"),
    "nul": (b"a\0b\r\n\0\r\n", b"a\0b\r\n\0\r\n"),
    "bare newlines": (b"a\nb\rc\n.\nd\r.\r\n\r\n", b"a\nb\rc\n.\nd\r.\r\n\r\n"),
    "long line": (b"x" * 200_000 + b"\r\n", b"x" * 200_000 + b"\r\n"),
}


@pytest.mark.parametrize("case", ODD_CONTENTS)
def test_content_arrives_octet_for_octet(server: Server, settings: Settings, case: str) -> None:
    sent, expected = ODD_CONTENTS[case]
    with _clear(server) as client:
        assert _send_raw(client, sent)[0] == 250
    assert _stored(settings) == [expected]


def test_starttls_and_implicit_tls_take_mail_too(server: Server, settings: Settings, trusting: ssl.SSLContext) -> None:
    with _clear(server) as client:
        client.starttls(context=trusting)
        assert not client.has_extn("starttls")
        client.sendmail("a@client.test", ["b@server.test"], b"over STARTTLS\r\n")
    with _implicit(server, trusting) as client:
        client.ehlo()
        assert not client.has_extn("starttls")
        client.sendmail("a@client.test", ["b@server.test"], b"over 465\r\n")
    assert sorted(_stored(settings)) == [b"over 465\r\n", b"over STARTTLS\r\n"]


def test_what_is_offered(server: Server, trusting: ssl.SSLContext) -> None:
    with _clear(server) as client:
        client.ehlo()
        assert {"starttls", "smtputf8", "8bitmime", "size"} <= client.esmtp_features.keys()
        client.starttls(context=trusting)
        client.ehlo()
        assert "auth" not in client.esmtp_features


def test_internationalised_addresses_are_taken(server: Server, settings: Settings) -> None:
    with _clear(server) as client:
        client.sendmail(
            "ä@client.test", ["ü@server.test"], "grüß\r\n".encode(), mail_options=["SMTPUTF8", "BODY=8BITMIME"]
        )
    assert _stored(settings) == ["grüß\r\n".encode()]


def test_the_reply_names_the_file(server: Server, settings: Settings) -> None:
    with _clear(server) as client:
        _, reply = _send_raw(client, b"hello\r\n")
    (entry,) = (settings.maildir / "new").iterdir()
    assert reply.endswith(entry.name.encode())


def test_a_full_store_is_a_temporary_failure(server: Server, settings: Settings) -> None:
    settings.maildir.write_text("a file where the folder should be")
    with _clear(server) as client:
        assert _send_raw(client, b"hello\r\n")[0] == 451
        assert client.noop()[0] == 250


def test_a_line_without_end_is_refused_and_the_session_goes_on(server: Server) -> None:
    with _clear(server) as client:
        assert _send_raw(client, b"x" * (2 * LINE_LIMIT_OCTETS) + b"\r\n")[0] == 500
        assert client.noop()[0] == 250


def test_old_tls_is_refused(server: Server, trusting: ssl.SSLContext) -> None:
    trusting.set_ciphers("ALL:@SECLEVEL=0")
    trusting.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        trusting.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        _implicit(server, trusting)


def test_stop_ends_threads_and_sockets_whatever_clients_do(settings: Settings, trusting: ssl.SSLContext) -> None:
    before = (threading.active_count(), _open_descriptors())
    server = Server(settings)
    server.start()
    ports = server.smtp_port, server.smtps_port
    idle, encrypted = _clear(server), _implicit(server, trusting)
    half_open = socket.create_connection(("127.0.0.1", server.smtps_port))
    server.stop()
    for client in (idle, encrypted, half_open):
        client.close()
    assert (threading.active_count(), _open_descriptors()) == before
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def test_it_can_be_started_again_and_stopped_twice(settings: Settings) -> None:
    server = Server(settings)
    for _ in range(2):
        server.start()
        with _clear(server) as client:
            assert client.noop()[0] == 250
        server.stop()
        server.stop()
    with pytest.raises(RuntimeError):
        _ = server.smtp_port


def test_a_taken_port_is_the_callers_error_and_leaves_nothing_open(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        before = _open_descriptors()
        port: int = taken.getsockname()[1]
        server = Server(Settings("127.0.0.1", 0, port, settings.certificate, settings.key, settings.maildir))
        with pytest.raises(OSError, match="in use") as raised:
            server.start()
        assert raised.value.errno == errno.EADDRINUSE
        assert _open_descriptors() == before


def test_a_successor_takes_over_the_ports_and_leaves_sessions_alone(settings: Settings, tmp_path: Path) -> None:
    before = (threading.active_count(), _open_descriptors())
    first = Server(settings)
    first.start()
    idle = _clear(first)
    following = replace(
        settings, smtp_port=first.smtp_port, smtps_port=first.smtps_port, maildir=tmp_path / "other maildir"
    )
    second = Server(following)
    second.succeed([first])
    second.bind()
    with _clear(first) as client:  # until the successor starts, the first serves
        assert _send_raw(client, b"to the first\r\n")[0] == 250
    second.start()
    for _ in range(20):
        with _clear(second) as client:
            assert _send_raw(client, b"to the second\r\n")[0] == 250
    assert _send_raw(idle, b"to the first again\r\n")[0] == 250
    idle.close()
    first.stop()
    with _clear(second) as client:
        assert client.noop()[0] == 250
    second.stop()
    assert sorted(_stored(settings)) == [b"to the first\r\n", b"to the first again\r\n"]
    assert _stored(following) == [b"to the second\r\n"] * 20
    assert (threading.active_count(), _open_descriptors()) == before


def test_a_successor_that_is_given_up_takes_nothing(settings: Settings) -> None:
    before = (threading.active_count(), _open_descriptors())
    first = Server(settings)
    first.start()
    second = Server(replace(settings, smtp_port=first.smtp_port))
    second.succeed([first])
    second.bind()
    second.stop()
    with _clear(first) as client:
        assert client.noop()[0] == 250
    first.stop()
    assert (threading.active_count(), _open_descriptors()) == before


def test_a_successor_on_other_ports_leaves_the_first_where_it_is(settings: Settings) -> None:
    first, second = Server(settings), Server(settings)
    first.start()
    second.succeed([first])
    second.start()
    for server in (first, second):
        with _clear(server) as client:
            assert client.noop()[0] == 250
        server.stop()
