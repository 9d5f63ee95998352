"""Handshakes between two connections over memory, with what each side made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from OpenSSL import SSL

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.pki import Pair

MAX_FLIGHTS = 10


@dataclass
class Side:
    """One end: its connection, the error that ended it, and how many octets it sent."""

    connection: SSL.Connection
    error: SSL.Error | None = None
    done: bool = False
    octets: int = 0

    def step(self) -> None:
        if self.error is not None:
            return
        try:
            if self.done:
                self.connection.recv(1)
            else:
                self.connection.do_handshake()
                self.done = True
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            self.error = error

    def flight(self) -> bytes:
        try:
            octets = self.connection.bio_read(1 << 20)
        except SSL.WantReadError:
            return b""
        self.octets += len(octets)
        return octets


@dataclass
class Handshake:
    """Both ends after all flights."""

    client: Side
    server: Side

    @property
    def done(self) -> bool:
        return self.client.done and self.server.done and not (self.client.error or self.server.error)


def shake(
    server: SSL.Context,
    client: SSL.Context,
    session: SSL.Session | None = None,
    on_hello: Callable[[SSL.Connection, bytes], object] | None = None,
) -> Handshake:
    """Carry flights until nobody has any left, those behind the handshake included.

    Args:
        server: the server's context.
        client: the client's.
        session: what the client offers to resume.
        on_hello: is given the server's connection and the client's first flight, before the server sees it.
    """
    result = Handshake(Side(SSL.Connection(client, None)), Side(SSL.Connection(server, None)))
    result.client.connection.set_connect_state()
    result.server.connection.set_accept_state()
    if session is not None:
        result.client.connection.set_session(session)
    for _ in range(MAX_FLIGHTS):
        for side, other in ((result.client, result.server), (result.server, result.client)):
            side.step()
            octets = side.flight()
            if octets and on_hello is not None:
                on_hello(result.server.connection, octets)
                on_hello = None
            if octets:
                other.connection.bio_write(octets)
    return result


def plain_server(pair: Pair, suites: str = "ALL:@SECLEVEL=0") -> SSL.Context:
    """Return a server of anything: every version, every suite, the weakest certificate."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_cipher_list(suites.encode())
    context.use_certificate(pair.certificate)
    for issuer in pair.issuers:
        context.add_extra_chain_cert(issuer)
    context.use_privatekey(pair.key)
    return context


def plain_client(suites: str = "ALL:@SECLEVEL=0", lowest: int = SSL.TLS1_VERSION, highest: int = 0) -> SSL.Context:
    """Return a client that takes any certificate."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_cipher_list(suites.encode())
    context.set_min_proto_version(lowest)
    context.set_max_proto_version(highest)
    return context
