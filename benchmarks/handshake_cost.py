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
from smtpproxy.transport.trust import TrustStore
from smtpproxy.transport.verification import facts_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpproxy.authority.credentials import Credential

HANDSHAKES = 200
LIBRARY_DEFAULT = "X25519MLKEM768:X25519:P-256"
OLD = "X25519:P-256:P-384"


@dataclass
class Variant:
    """Two contexts, and the least cost of a handshake between them so far, in microseconds."""

    name: str
    server: SSL.Context
    client: SSL.Context
    after: Callable[[SSL.Connection], object] = lambda _: None
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
        spent["client"] += perf_counter() - start
        start = perf_counter()
        server = SSL.Connection(self.server, None)
        server.set_accept_state()
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


def server_context(credential: Credential, groups: str, options: int = SSL.OP_NO_TICKET) -> SSL.Context:
    """Return a server as the library has it, but for its groups."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate(credential.certificate)
    context.use_privatekey(credential.key)
    context.set_options(options)
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
    return [
        Variant("upstream leg, ours, upstream without ML-KEM", old_upstream, ours),
        Variant("  and facts_of", old_upstream, ours, lambda connection: facts_of(connection, None)),
        Variant("  hybrid share sent too", old_upstream, client_context("*X25519MLKEM768:*X25519:P-256", trust)),
        Variant("  AES-256 with SHA-384", old_upstream, client_context(OLD, trust, aes256)),
        Variant("upstream leg, ours, upstream prefers ML-KEM", server_context(leaf, "X25519MLKEM768/X25519"), ours),
        Variant("  hybrid share sent too", new_upstream, client_context("*X25519MLKEM768:*X25519:P-256", trust)),
        Variant("client leg, ours, client without ML-KEM", shown, client_context(OLD)),
        Variant("  with tickets", server_context(leaf, OLD, 0), client_context(OLD)),
        Variant("client leg, ours, client sends hybrid share", shown, client_context("*X25519MLKEM768:*X25519:P-256")),
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
