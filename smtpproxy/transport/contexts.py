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

from OpenSSL import SSL

from smtpproxy.lru import CacheFigures, Lru
from smtpproxy.policy.model import Pfs, TlsProfile
from smtpproxy.transport.openssl import note_certificate_requests, set_groups
from smtpproxy.transport.suites import client_suites, server_suites, tls13_suites
from smtpproxy.transport.vetting import ask_client, vet_upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    from smtpproxy.tls.hello import ClientHello
    from smtpproxy.transport.profile_files import OwnCertificate
    from smtpproxy.transport.trust import TrustStore

MAX_SERVER_CONTEXTS = 1024
"""About 20 KiB each; one is made in 0.4 ms."""

MAX_CLIENT_CONTEXTS = 64
"""More than anyone has TLS profiles."""

TICKET_LIFETIME_S = 2 * 60 * 60
"""OpenSSL's own default. Postfix and Exim forget a session after one or two hours as well."""

TICKET_KEY_LIFETIME_S = 12 * 60 * 60
"""A context has a ticket key of its own, which opens every session of TLS 1.2 that a ticket was given in: RFC 9325 s3.4
wants it changed each week at least, and tickets to live half as long as their key at most. It goes with the context."""

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
_ASKING_SESSION_ID_CONTEXT = b"smtpproxy, client certificates"


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
        self._servers: Lru[tuple[TlsProfile, str, TrustStore | None], _Aging] = Lru(limit)
        self._clients: Lru[tuple[TlsProfile, TrustStore, OwnCertificate | None], SSL.Context] = Lru(MAX_CLIENT_CONTEXTS)
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
        asking: TrustStore | None = None,
    ) -> SSL.Context:
        """Return the context of the client leg that shows ``certificates``; its tickets open no session of another.

        Args:
            profile: versions and suites.
            certificates: the chain to send, the leaf first.
            key: the leaf's.
            fingerprint: what tells this chain from every other.
            asking: clients are asked for a certificate, which is verified against these; ``None`` to ask for none.
        """
        wanted, now_s = (profile, fingerprint, asking), self._monotonic()
        aging = self._servers.get(wanted)
        if aging is None or now_s >= aging.renew_at_s:
            context = _server_context(profile, certificates, key)
            if asking is not None:
                _ask(context, profile, asking)
            aging = _Aging(context, now_s + TICKET_KEY_LIFETIME_S)
            self._servers.put(wanted, aging)
        return aging.context

    def client(self, profile: TlsProfile, trust: TrustStore, shown: OwnCertificate | None = None) -> SSL.Context:
        """Return the context of every upstream leg under ``profile``.

        Args:
            profile: versions, suites, and what a chain that is not valid leads to.
            trust: whom upstream's chain is verified against.
            shown: what an upstream that asks is shown, ``None`` for nothing.
        """
        context = self._clients.get((profile, trust, shown))
        if context is None:
            context = _client_context(profile, trust, shown)
            self._clients.put((profile, trust, shown), context)
        return context


def limit_tickets(connection: SSL.Connection, hello: ClientHello) -> None:
    """Have the handshake with a client give no ticket that nobody is likely to use.

    A ticket costs a tenth of a handshake. Without it OpenSSL still sends a client of TLS 1.3 two of 32 octets, which
    nothing here can open; a client that offers one of them has shown that it keeps sessions.
    """
    if not hello.takes_tickets:
        connection.set_options(SSL.OP_NO_TICKET)


def _server_context(
    profile: TlsProfile,
    certificates: Sequence[x509.Certificate],
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
) -> SSL.Context:
    context = _context(profile, server_suites(profile))
    _set_groups(context, _SERVER_GROUPS)
    context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE | _OP_PRIORITIZE_CHACHA)
    # Sessions resume by tickets alone: OpenSSL's cache would hold 20,480 of them in each context, and that cannot be
    # changed from here. A ticket says nothing of who the client is: where a certificate is asked for there is none.
    context.set_session_id(_SESSION_ID_CONTEXT)
    context.set_timeout(TICKET_LIFETIME_S)
    _show(context, certificates, key)
    # No ALPN callback on purpose: an offer is then passed over, and not answered with a fatal alert.
    return context


def _ask(context: SSL.Context, profile: TlsProfile, trust: TrustStore) -> None:
    """Ask clients for a certificate in each handshake: a session that is resumed would vouch for nobody."""
    ask_client(context, profile.certificate_validation, trust)
    context.set_options(SSL.OP_NO_TICKET)
    context.set_session_id(_ASKING_SESSION_ID_CONTEXT)


def _client_context(profile: TlsProfile, trust: TrustStore, shown: OwnCertificate | None) -> SSL.Context:
    context = _context(profile, client_suites(profile))
    _set_groups(context, _CLIENT_GROUPS)
    vet_upstream(context, profile.certificate_validation, trust)
    if shown is None:
        note_certificate_requests(context)
    else:
        _show(context, shown.certificates, shown.key)
    return context


def _show(
    context: SSL.Context,
    certificates: Sequence[x509.Certificate],
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
) -> None:
    leaf, *issuers = certificates
    context.use_certificate(leaf)
    for issuer in issuers:
        context.add_extra_chain_cert(issuer)
    context.use_privatekey(key)


def _context(profile: TlsProfile, suites: str) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(profile.minimum_version)
    if profile.pfs is Pfs.NONE:
        context.set_max_proto_version(SSL.TLS1_2_VERSION)  # TLS 1.3 has forward secrecy always
    context.set_cipher_list(suites.encode("ascii"))
    context.set_tls13_ciphersuites(tls13_suites(profile))
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.clear_mode(_MODE_ENABLE_PARTIAL_WRITE)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


def _set_groups(context: SSL.Context, groups: str) -> None:
    if not set_groups(context, groups):
        set_groups(context, _OLD_GROUPS)
