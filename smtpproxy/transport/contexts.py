"""Make the OpenSSL contexts of a TLS profile: one for each certificate shown, one for all upstreams.

A context is finished here, never changed again and shared by all its connections: one per connection costs a quarter
more CPU in all.

Source: RFC 9325 (recommended versions and suites), s3.4 (session tickets); RFC 8446 s9.1; RFC 7435 (opportunistic
security).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from OpenSSL import SSL, crypto

from smtpproxy.lru import CacheFigures, Lru
from smtpproxy.policy.model import CertificateValidation, Pfs, TlsProfile
from smtpproxy.tls.facts import TlsVersion
from smtpproxy.transport.openssl import OpenSslError, set_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    from smtpproxy.tls.hello import ClientHello
    from smtpproxy.transport.trust import TrustStore

MAX_CHAIN_CERTIFICATES = 10
"""Certificates of a chain that are verified; real chains have two to four."""

MAX_SERVER_CONTEXTS = 1024
"""About 20 KiB each; one is made in 0.4 ms."""

MAX_CLIENT_CONTEXTS = 64
"""More than anyone has TLS profiles."""

TICKET_LIFETIME_S = 2 * 60 * 60
"""OpenSSL's own default. Postfix and Exim forget a session after one or two hours as well."""

TICKET_KEY_LIFETIME_S = 12 * 60 * 60
"""A context has a ticket key of its own, which opens every session of TLS 1.2 that a ticket was given in: RFC 9325 s3.4
wants it changed each week at least, and tickets to live half as long as their key at most. It goes with the context."""

_SERVER_SUITES = {
    Pfs.NONE: "kRSA+AESGCM",
    Pfs.ALLOWED: "ECDHE+AESGCM:ECDHE+CHACHA20",
    Pfs.REQUIRED: "ECDHE+AESGCM:ECDHE+CHACHA20",
}
"""Under ``allowed`` too clients have forward secrecy: one that knows AES-GCM knows ECDHE."""

_CLIENT_SUITES = {
    Pfs.NONE: "kRSA+AESGCM",
    Pfs.ALLOWED: "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+aRSA+AESGCM:kRSA+AESGCM",
    Pfs.REQUIRED: "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+aRSA+AESGCM",
}
"""Upstreams are what they are: ``allowed`` takes static RSA last, for the next thing is mail in clear."""

_LEGACY_SUITES = {
    Pfs.NONE: "kRSA+AESGCM:kRSA+AES",
    Pfs.ALLOWED: "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:kRSA+AESGCM:kRSA+AES",
    Pfs.REQUIRED: "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES",
}
"""For a minimum below TLS 1.2, whose suites all are CBC."""

_TLS13_SUITES = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
"""AES-128 first: with it a handshake's key schedule takes SHA-256, 7 % less CPU than AES-256 with SHA-384."""

_SERVER_GROUPS = "X25519MLKEM768:X25519:P-256:P-384:P-521"
_CLIENT_GROUPS = "X25519:X25519MLKEM768:P-256:P-384:P-521"
"""A share of X25519 alone: one of the hybrid too would cost a third more CPU and 1.2 KB in every hello. An upstream
that wants the hybrid asks for it (HelloRetryRequest): a round trip, and no more CPU than had it been sent at once."""

_OLD_GROUPS = "X25519:P-256:P-384:P-521"
"""For an OpenSSL before 3.5, which has no ML-KEM."""

_OP_PRIORITIZE_CHACHA = 1 << 21
"""SSL_OP_PRIORITIZE_CHACHA, which pyOpenSSL has no name for: a client without AES in hardware gets ChaCha20."""

_MODE_ENABLE_PARTIAL_WRITE = 1
"""SSL_MODE_ENABLE_PARTIAL_WRITE, which pyOpenSSL sets and has no name for: a call would write one record and return."""

_SESSION_ID_CONTEXT = b"smtpproxy"


@dataclass(frozen=True, slots=True)
class _Aging:
    context: SSL.Context
    renew_at_s: float


class Contexts:
    """Makes and keeps contexts.

    Args:
        limit: how many server contexts are kept; one for each certificate shown lately and profile.
        monotonic: a clock that is never set, in seconds.
    """

    def __init__(self, limit: int = MAX_SERVER_CONTEXTS, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._servers: Lru[tuple[TlsProfile, str], _Aging] = Lru(limit)
        self._clients: Lru[tuple[TlsProfile, TrustStore], SSL.Context] = Lru(MAX_CLIENT_CONTEXTS)
        self._monotonic = monotonic

    @property
    def figures(self) -> dict[str, CacheFigures]:
        """How its caches do, by name."""
        return {"server-contexts": self._servers.figures, "client-contexts": self._clients.figures}

    def server(
        self,
        profile: TlsProfile,
        certificates: Sequence[x509.Certificate],
        key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
        fingerprint: str,
    ) -> SSL.Context:
        """Return the context of the client leg that shows ``certificates``; its tickets open no session of another.

        Args:
            profile: versions and suites.
            certificates: the chain to send, the leaf first.
            key: the leaf's.
            fingerprint: what tells this chain from every other.
        """
        aging, now_s = self._servers.get((profile, fingerprint)), self._monotonic()
        if aging is None or now_s >= aging.renew_at_s:
            aging = _Aging(_server_context(profile, certificates, key), now_s + TICKET_KEY_LIFETIME_S)
            self._servers.put((profile, fingerprint), aging)
        return aging.context

    def client(self, profile: TlsProfile, trust: TrustStore) -> SSL.Context:
        """Return the context of every upstream leg under ``profile``, which verifies against ``trust``."""
        context = self._clients.get((profile, trust))
        if context is None:
            context = _client_context(profile, trust)
            self._clients.put((profile, trust), context)
        return context


def limit_tickets(connection: SSL.Connection, hello: ClientHello) -> None:
    """Have the handshake with a client give no ticket that nobody is likely to use.

    A ticket costs a tenth of a handshake. Without it OpenSSL still sends a client of TLS 1.3 two of 32 octets, which
    nothing here can open; a client that offers one of them has shown that it keeps sessions.
    """
    if not hello.takes_tickets:
        connection.set_options(SSL.OP_NO_TICKET)


def validation_of(context: SSL.Context) -> CertificateValidation:
    """Return what the profile behind a context wants of the peer's certificate: off on the client leg."""
    validation = context.get_app_data()
    return validation if isinstance(validation, CertificateValidation) else CertificateValidation.OFF


def _server_context(
    profile: TlsProfile,
    certificates: Sequence[x509.Certificate],
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
) -> SSL.Context:
    context = _context(profile, _suites(profile, _SERVER_SUITES))
    _set_groups(context, _SERVER_GROUPS)
    context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE | _OP_PRIORITIZE_CHACHA)
    # Sessions resume by tickets alone: OpenSSL's cache would hold 20,480 of them in each context, and that cannot be
    # changed from here. A ticket says nothing of who the client is: no certificate of a client is asked for.
    context.set_session_id(_SESSION_ID_CONTEXT)
    context.set_timeout(TICKET_LIFETIME_S)
    leaf, *issuers = certificates
    context.use_certificate(leaf)
    for issuer in issuers:
        context.add_extra_chain_cert(issuer)
    context.use_privatekey(key)
    # No ALPN callback on purpose: an offer is then passed over, and not answered with a fatal alert.
    return context


def _client_context(profile: TlsProfile, trust: TrustStore) -> SSL.Context:
    context = _context(profile, _suites(profile, _CLIENT_SUITES))
    _set_groups(context, _CLIENT_GROUPS)
    context.set_app_data(profile.certificate_validation)
    _trust(context, trust)
    context.set_verify_depth(MAX_CHAIN_CERTIFICATES)
    # Without a callback OpenSSL verifies under VERIFY_NONE all the same, goes on, and keeps the first error for
    # SSL_get_verify_result, in the session too. A callback costs, and leaves no trace of an error that it lets pass.
    enforce = profile.certificate_validation is CertificateValidation.ENFORCE
    context.set_verify(SSL.VERIFY_PEER if enforce else SSL.VERIFY_NONE)
    return context


def _trust(context: SSL.Context, trust: TrustStore) -> None:
    store = context.get_cert_store()
    if store is None:  # as pyOpenSSL's types have it; a new context always has one
        raise OpenSslError("a new context has no certificate store")
    for authority in trust.authorities:
        store.add_cert(authority)
    store.set_flags(crypto.X509StoreFlags.X509_STRICT)


def _context(profile: TlsProfile, suites: str) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(profile.minimum_version)
    if profile.pfs is Pfs.NONE:
        context.set_max_proto_version(SSL.TLS1_2_VERSION)  # TLS 1.3 has forward secrecy always
    context.set_cipher_list(suites.encode("ascii"))
    context.set_tls13_ciphersuites(_TLS13_SUITES)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.clear_mode(_MODE_ENABLE_PARTIAL_WRITE)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


def _set_groups(context: SSL.Context, groups: str) -> None:
    if not set_groups(context, groups):
        set_groups(context, _OLD_GROUPS)


def _is_legacy(profile: TlsProfile) -> bool:
    return profile.minimum_version < TlsVersion.TLS1_2


def _suites(profile: TlsProfile, modern: Mapping[Pfs, str]) -> str:
    if profile.minimum_version >= TlsVersion.TLS1_2:
        return f"{modern[profile.pfs]}:@SECLEVEL=2"
    return f"{_LEGACY_SUITES[profile.pfs]}:!AESCCM8:@SECLEVEL=0"  # level 1 refuses the SHA-1 that TLS 1.0 is made of
