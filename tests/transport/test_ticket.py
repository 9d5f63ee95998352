from __future__ import annotations

import pytest
from OpenSSL import SSL

from smtpproxy.tls.facts import TlsVersion
from smtpproxy.transport.openssl import encoded_session
from smtpproxy.transport.ticket import Ticket, ticket_of
from tests.handshakes import plain_client, plain_server, shake
from tests.pki import Wanted, make_leaf

each_version = pytest.mark.parametrize(
    "version", [TlsVersion.TLS1_2, TlsVersion.TLS1_3], ids=lambda version: version.name
)
OTHERWISE_S = 77


def session_with(version: TlsVersion, timeout_s: int | None = None, *, options: int = 0, cached: bool = True) -> bytes:
    """Return the encoded session of a client, its tickets read."""
    server = plain_server(make_leaf(None, Wanted(names=("x" * 60 + ".test",) * 5)))
    server.set_session_id(b"test")
    server.set_options(options)
    if not cached:
        server.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    if timeout_s is not None:
        server.set_timeout(timeout_s)
    return encoded_session(shake(server, plain_client(highest=version)).client.connection)


@each_version
@pytest.mark.parametrize("timeout_s", [1, 127, 128, 300, 7200, 604800])
def test_a_ticket_has_its_servers_lifetime(version: TlsVersion, timeout_s: int) -> None:
    ticket = ticket_of(session_with(version, timeout_s), OTHERWISE_S)
    assert ticket is not None
    assert ticket.lifetime_s == timeout_s
    assert len(ticket.octets) > 100


def test_each_ticket_is_another() -> None:
    server, client = plain_server(make_leaf(None)), plain_client()
    tickets = {ticket_of(encoded_session(shake(server, client).client.connection), 0) for _ in range(3)}
    assert len(tickets) == 3


def test_before_tls13_a_server_may_name_no_lifetime_or_keep_the_session_itself() -> None:
    without_ticket = session_with(TlsVersion.TLS1_2, options=SSL.OP_NO_TICKET)
    assert ticket_of(without_ticket, OTHERWISE_S) == Ticket(b"", OTHERWISE_S)
    assert ticket_of(session_with(TlsVersion.TLS1_2, options=SSL.OP_NO_TICKET, cached=False), OTHERWISE_S) is None


def test_in_tls13_a_lifetime_of_0_is_none() -> None:
    assert ticket_of(without_hint(session_with(TlsVersion.TLS1_3, 300), 300), OTHERWISE_S) is None
    untold = ticket_of(without_hint(session_with(TlsVersion.TLS1_2, 300), 300), OTHERWISE_S)
    assert untold is not None
    assert untold.lifetime_s == OTHERWISE_S


def test_a_session_whose_ticket_has_not_come_cannot_be_resumed() -> None:
    server, client = (SSL.Connection(context, None) for context in (plain_server(make_leaf(None)), plain_client()))
    client.set_connect_state()
    server.set_accept_state()
    for one, other in ((client, server), (server, client)):
        with pytest.raises(SSL.WantReadError):
            one.do_handshake()
        other.bio_write(one.bio_read(65536))
    client.do_handshake()
    assert ticket_of(encoded_session(client), OTHERWISE_S) is None


def without_hint(encoded: bytes, hint: int) -> bytes:
    """Return the session as the library writes it when the hint is 0: without the field."""
    field = b"\xa9\x04\x02\x02" + hint.to_bytes(2)
    assert encoded.count(field) == 1
    assert encoded.startswith(b"\x30\x82")
    body = encoded[4:].replace(field, b"")
    return b"\x30\x82" + len(body).to_bytes(2) + body
