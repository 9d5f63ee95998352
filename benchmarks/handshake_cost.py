"""Measure what each choice in the TLS contexts costs a handshake: CPU of either side and octets on the wire.

Run: python benchmarks/handshake_cost.py [ROUNDS]. Variants take turns, and the least of the rounds counts, so that a
busy machine spoils little.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING

from OpenSSL import SSL, crypto

from smtpproxy.authority.create import create_authority, create_server_credential
from smtpproxy.policy.model import CertificateValidation, TlsProfile
from smtpproxy.transport.contexts import Contexts
from smtpproxy.transport.openssl import set_groups
from smtpproxy.transport.resumption import TlsSessions
from smtpproxy.transport.trust import TrustStore
from smtpproxy.transport.upstream_handshake import UpstreamHandshake
from smtpproxy.transport.verification import facts_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpproxy.authority.credentials import Credential

HANDSHAKES = 200
LIBRARY_DEFAULT = "X25519MLKEM768:X25519:P-256"
OLD = "X25519:P-256:P-384"


@dataclass
class Variant:
    """Two contexts, and the least cost of a handshake between them so far, in microseconds.

    ``before`` and ``after`` belong to the client, ``accept`` to the server's side of its beginning.
    """

    name: str
    server: SSL.Context
    client: SSL.Context
    after: Callable[[SSL.Connection], object] = lambda _: None
    before: Callable[[SSL.Connection], object] = lambda _: None
    accept: Callable[[SSL.Connection], object] = lambda _: None
    server_us: float = float("inf")
    client_us: float = float("inf")
    octets: tuple[int, int] = field(default=(0, 0))

    def measure(self) -> None:
        """Shake hands many times and keep the cost if it is the least yet."""
        spent = {"client": 0.0, "server": 0.0}
        for _ in range(HANDSHAKES):
            self.octets = self._shake(spent)
        self.client_us = min(self.client_us, spent["client"] / HANDSHAKES * 1e6)
        self.server_us = min(self.server_us, spent["server"] / HANDSHAKES * 1e6)

    def _shake(self, spent: dict[str, float]) -> tuple[int, int]:
        start = perf_counter()
        client = SSL.Connection(self.client, None)
        client.set_connect_state()
        self.before(client)
        spent["client"] += perf_counter() - start
        start = perf_counter()
        server = SSL.Connection(self.server, None)
        server.set_accept_state()
        self.accept(server)
        spent["server"] += perf_counter() - start
        flights: dict[str, bytes] = {"client": b"", "server": b""}
        octets = {"client": 0, "server": 0}
        for _ in range(4):
            for side, connection, other in (("client", client, "server"), ("server", server, "client")):
                start = perf_counter()
                flights[side] = step(connection, flights[other])
                spent[side] += perf_counter() - start
                octets[side] += len(flights[side])
        start = perf_counter()
        self.after(client)
        spent["client"] += perf_counter() - start
        return octets["client"], octets["server"]


class Upstream:
    """The upstream leg as the package has it: a session is kept, and offered again where ``resumes`` says so."""

    def __init__(self, context: SSL.Context, *, resumes: bool) -> None:
        self._context = context
        self._resumes = resumes
        self._sessions = TlsSessions()
        self._handshake: UpstreamHandshake | None = None

    def before(self, connection: SSL.Connection) -> None:
        """Prepare a handshake."""
        if not self._resumes:
            self._sessions = TlsSessions()
        self._handshake = UpstreamHandshake(self._sessions, self._context, ("192.0.2.1", 25), None)
        self._handshake.prepare(connection)

    def after(self, connection: SSL.Connection) -> None:
        """Take facts and session."""
        if self._handshake is not None:
            self._handshake.established(connection)
            self._handshake.octets_came()
        connection.shutdown()


class Returning:
    """A client that offers its last session."""

    def __init__(self) -> None:
        self._session: SSL.Session | None = None

    def before(self, connection: SSL.Connection) -> None:
        """Offer it."""
        if self._session is not None:
            connection.set_session(self._session)

    def after(self, connection: SSL.Connection) -> None:
        """Keep the next."""
        self._session = connection.get_session()
        connection.shutdown()


def without_tickets(connection: SSL.Connection) -> None:
    """Begin as with a client that offers no session."""
    connection.set_options(SSL.OP_NO_TICKET)


def step(connection: SSL.Connection, received: bytes) -> bytes:
    """Take a flight, go on with the handshake, return the flight that answers it."""
    if received:
        connection.bio_write(received)
    try:
        connection.do_handshake()
        connection.recv(1)
    except SSL.WantReadError:
        pass
    try:
        return connection.bio_read(65536)
    except SSL.WantReadError:
        return b""


def server_context(credential: Credential, groups: str) -> SSL.Context:
    """Return a server as the library has it, but for its groups."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate(credential.certificate)
    context.use_privatekey(credential.key)
    context.set_session_id(b"benchmark")
    if not set_groups(context, groups):
        raise SystemExit(f"groups not known: {groups}")
    return context


def client_context(groups: str, trust: TrustStore | None = None, suites: bytes | None = None) -> SSL.Context:
    """Return a client as the library has it, but for its groups, suites and trust."""
    context = SSL.Context(SSL.TLS_METHOD)
    store = context.get_cert_store()
    for authority in trust.authorities if trust and store else ():
        store.add_cert(authority)  # type: ignore[union-attr]
    if suites:
        context.set_tls13_ciphersuites(suites)
    if not set_groups(context, groups):
        raise SystemExit(f"groups not known: {groups}")
    return context


def variants() -> list[Variant]:
    """Return what is compared."""
    now = datetime.now(UTC)
    authority = create_authority("Benchmark", now)
    leaf = create_server_credential(["mx.example.net"], authority, now)
    trust = TrustStore((crypto.X509.from_cryptography(authority.certificate),), "benchmark")
    contexts = Contexts()
    profile = TlsProfile("benchmark", certificate_validation=CertificateValidation.ENFORCE)
    ours = contexts.client(profile, trust)
    shown = contexts.server(profile, leaf.certificates, leaf.key, leaf.fingerprint)
    old_upstream, new_upstream = server_context(leaf, OLD), server_context(leaf, LIBRARY_DEFAULT)
    aes256 = b"TLS_AES_256_GCM_SHA384"
    hybrid = "*X25519MLKEM768:*X25519:P-256"
    full, resumed = Upstream(ours, resumes=False), Upstream(ours, resumes=True)
    again, hybrid_again, old_again = Returning(), Returning(), Returning()
    tls12 = client_context(OLD)
    tls12.set_max_proto_version(SSL.TLS1_2_VERSION)
    return [
        Variant("upstream leg, ours, upstream without ML-KEM", old_upstream, ours),
        Variant("  and facts_of", old_upstream, ours, lambda connection: facts_of(connection, None)),
        Variant("  and the session kept", old_upstream, ours, full.after, full.before),
        Variant("  resumed", old_upstream, ours, resumed.after, resumed.before),
        Variant("  hybrid share sent too", old_upstream, client_context(hybrid, trust)),
        Variant("  AES-256 with SHA-384", old_upstream, client_context(OLD, trust, aes256)),
        Variant("upstream leg, ours, upstream prefers ML-KEM", server_context(leaf, "X25519MLKEM768/X25519"), ours),
        Variant("  hybrid share sent too", new_upstream, client_context(hybrid, trust)),
        Variant("client leg, ours, client without ML-KEM", shown, client_context(OLD), accept=without_tickets),
        Variant("  with tickets", shown, client_context(OLD)),
        Variant("  resumed", shown, client_context(OLD), again.after, again.before),
        Variant("client leg, ours, client sends hybrid share", shown, client_context(hybrid), accept=without_tickets),
        Variant("  with tickets", shown, client_context(hybrid)),
        Variant("  resumed", shown, client_context(hybrid), hybrid_again.after, hybrid_again.before),
        Variant("client leg, ours, TLS 1.2", shown, tls12, accept=without_tickets),
        Variant("  with tickets", shown, tls12),
        Variant("  resumed", shown, tls12, old_again.after, old_again.before),
    ]


def main() -> None:
    """Measure in turns and print a table."""
    compared = variants()
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 10):
        for variant in compared:
            variant.measure()
    print(f"{'':46} client us  server us  octets: client  server")
    for variant in compared:
        sent, received = variant.octets
        print(f"{variant.name:46} {variant.client_us:9.0f} {variant.server_us:10.0f} {sent:15} {received:7}")


if __name__ == "__main__":
    main()
