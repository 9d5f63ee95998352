"""Read from a connection what its handshake established, or why it failed.

OpenSSL verifies the chain in the handshake, as its context says: X509_STRICT, server purpose, security level, depth.
Names are never asked of it: `tls/names.py` matches them.

Source: RFC 5280 s6 (chains); RFC 8446 s6 (alerts); RFC 8460 s4.3 (result types).
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256

from cryptography import x509
from OpenSSL import SSL, crypto

from smtpproxy.lru import CacheFigures
from smtpproxy.tls.facts import Chain, PeerCertificate, Revocation, TlsFacts, TlsFailure, TlsReason, TlsVersion
from smtpproxy.tls.names import ascii_name, parse_address
from smtpproxy.transport.openssl import (
    certificate_was_requested,
    peer_chain,
    session_reused,
    verify_error_text,
    verify_result,
)
from smtpproxy.transport.vetting import first_error, vetting_of

MAX_CACHED_CERTIFICATES = 4096
"""Peers' certificates whose names are kept, 2 to 4 KiB each: parsing one takes longer than everything else here."""

MAX_CACHED_OCTETS = 8 * 1024
"""A certificate with a hundred names has 4 to 6 KiB; OpenSSL takes 100 KiB, which is not worth keeping."""

MAX_SHARED_ISSUERS = 1024
"""Certificates of authorities, 1 to 2 KiB each."""

MAX_SENT_CERTIFICATES = 10
"""Certificates of a chain, the leaf included, that are looked at beyond OpenSSL's own verdict; two to four are sent."""

MAX_SENT_OCTETS = 32 * 1024
"""The same in octets: 3 to 6 KiB as a rule, 15 KiB with RSA-4096 throughout."""

MAX_DETAIL_OCTETS = 200
"""A log line's share for the library's words."""

_UNREADABLE = (ValueError, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType)
"""What parsing a certificate raises that OpenSSL takes."""

_CERTIFICATE_REFUSED = "certificate verify failed"

_CHAIN_REASONS = {
    9: TlsReason.CERTIFICATE_EXPIRED,  # not yet valid
    10: TlsReason.CERTIFICATE_EXPIRED,
    2: TlsReason.CERTIFICATE_NOT_TRUSTED,  # issuer not found
    18: TlsReason.CERTIFICATE_NOT_TRUSTED,  # self-signed
    19: TlsReason.CERTIFICATE_NOT_TRUSTED,  # root not trusted
    20: TlsReason.CERTIFICATE_NOT_TRUSTED,  # issuer not found locally
    21: TlsReason.CERTIFICATE_NOT_TRUSTED,  # nothing but a leaf of an unknown issuer
    27: TlsReason.CERTIFICATE_NOT_TRUSTED,
    11: TlsReason.REVOCATION_LIST_EXPIRED,  # not yet valid
    12: TlsReason.REVOCATION_LIST_EXPIRED,
    22: TlsReason.CHAIN_TOO_LONG,
    23: TlsReason.CERTIFICATE_REVOKED,
    26: TlsReason.CERTIFICATE_WRONG_PURPOSE,
    66: TlsReason.CERTIFICATE_TOO_WEAK,  # key of the leaf
    67: TlsReason.CERTIFICATE_TOO_WEAK,  # key of an authority
    68: TlsReason.CERTIFICATE_TOO_WEAK,  # digest
}
"""By number of X509_V_ERR (x509_vfy.h, never renumbered); what is not here is a validation failure."""

_FAILURES = (
    ("unexpected eof", TlsReason.CONNECTION_CLOSED),
    ("unsupported protocol", TlsReason.NO_COMMON_VERSION),
    ("version too low", TlsReason.NO_COMMON_VERSION),
    ("no protocols available", TlsReason.NO_COMMON_VERSION),
    ("no shared", TlsReason.NO_COMMON_CIPHER),
    ("no suitable", TlsReason.NO_COMMON_CIPHER),
    ("no ciphers", TlsReason.NO_COMMON_CIPHER),
    ("wrong version number", TlsReason.NOT_TLS),
    ("http request", TlsReason.NOT_TLS),
    ("https proxy request", TlsReason.NOT_TLS),
    ("packet length too long", TlsReason.NOT_TLS),
    ("bad record type", TlsReason.NOT_TLS),
)
"""By a part of OpenSSL's words; they have no numbers that outlive a version."""

_REFUSALS = frozenset({TlsReason.PEER_ALERT, TlsReason.CONNECTION_CLOSED})
"""How a server ends a handshake in which it misses our certificate: `handshake_failure`, from TLS 1.3 on
`certificate_required`, or without a word."""


def facts_of(connection: SSL.Connection, server_name: str | None) -> TlsFacts:
    """Return what a finished handshake established.

    Args:
        connection: after the handshake.
        server_name: the SNI that was sent or received.
    """
    peer = _peer_certificate(connection)
    chain, reason = _verdict(connection, peer)
    return TlsFacts(
        version=TlsVersion(connection.get_protocol_version()),
        cipher=connection.get_cipher_name() or "",
        resumed=session_reused(connection),
        server_name=server_name,
        peer=peer,
        chain=chain,
        reason=reason,
        revocation=_revocation(connection, chain, reason),
    )


def facts_of_resumed(connection: SSL.Connection, kept: TlsFacts) -> TlsFacts:
    """Return what a resumed handshake established.

    OpenSSL verified nothing in it, and reports of the peer whatever the session brought along: certificate and verdict
    are those that were kept.

    Args:
        connection: after the handshake.
        kept: the facts of the handshake that the session comes from.
    """
    return replace(
        kept,
        version=TlsVersion(connection.get_protocol_version()),
        cipher=connection.get_cipher_name() or "",
        resumed=True,
    )


def set_server_name(connection: SSL.Connection, name: str | None) -> str | None:
    """Have the handshake ask for ``name``, before it begins; return the SNI that will be sent.

    An IP address is no server name (RFC 6066 s3), nor is what is no DNS name: then none is sent.
    """
    server_name = None if name is None or parse_address(name) else ascii_name(name)
    if server_name:
        connection.set_tlsext_host_name(server_name.encode("ascii"))
    return server_name


def failure_of(error: BaseException | TlsFailure, connection: SSL.Connection | None) -> TlsFailure:
    """Return why a handshake failed.

    Args:
        error: what the handshake raised, or a failure that is known already, which comes back as it is.
        connection: the one that failed, for the verdict on the peer's certificate.
    """
    failure = _failure_of(error, connection)
    if connection is not None and failure.reason in _REFUSALS and certificate_was_requested(connection):
        return replace(failure, reason=TlsReason.CLIENT_CERTIFICATE_REQUIRED)
    return failure


def _failure_of(error: BaseException | TlsFailure, connection: SSL.Connection | None) -> TlsFailure:
    if isinstance(error, TlsFailure):
        return error
    if isinstance(error, SSL.ZeroReturnError | SSL.SysCallError):
        return TlsFailure(TlsReason.CONNECTION_CLOSED, _printable(*map(str, error.args)))
    words = _words(error)
    if _CERTIFICATE_REFUSED in words and connection is not None:
        return _certificate_failure(verify_result(connection))
    return TlsFailure(_failure_reason(words), _printable(words))


def _certificate_failure(number: int) -> TlsFailure:
    return TlsFailure(chain_reason(number), _printable(verify_error_text(number)), certificate=True)


def chain_reason(number: int) -> TlsReason:
    """Return the token for a number of X509_V_ERR other than 0."""
    return _CHAIN_REASONS.get(number, TlsReason.VALIDATION_FAILURE)


def _verdict(connection: SSL.Connection, peer: PeerCertificate | None) -> tuple[Chain, TlsReason | None]:
    if peer is None:
        return Chain.ABSENT, None
    number = first_error(connection)
    if number is None:
        return Chain.UNCHECKED, None
    return (Chain.INVALID, chain_reason(number)) if number else (Chain.VALID, None)


def _revocation(connection: SSL.Connection, chain: Chain, reason: TlsReason | None) -> Revocation:
    """What revocation lists say; of a valid chain it is known only if there is one of the leaf's issuer."""
    if reason is TlsReason.CERTIFICATE_REVOKED:
        return Revocation.REVOKED
    vetting = vetting_of(connection.get_context())
    certificate = connection.get_peer_certificate() if vetting.listed and chain is Chain.VALID else None
    is_listed = certificate is not None and vetting.covers(certificate)
    return Revocation.GOOD if is_listed else Revocation.UNCHECKED


def _peer_certificate(connection: SSL.Connection) -> PeerCertificate | None:
    certificate = connection.get_peer_certificate()
    if certificate is None:
        return None
    der = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
    sent = peer_chain(connection, MAX_SENT_CERTIFICATES, MAX_SENT_OCTETS)
    issuers = sent[1:] if sent[:1] == (der,) else sent
    if len(der) + sum(map(len, issuers)) > MAX_CACHED_OCTETS:
        return parse_peer_certificate(der, issuers)
    return _cached(der, issuers)


def parse_peer_certificate(der: bytes, issuers: tuple[bytes, ...] = ()) -> PeerCertificate:
    """Return the facts of a certificate that OpenSSL took; where cryptography is stricter it has no names, no end.

    Args:
        der: the certificate.
        issuers: what was sent behind it.
    """
    names, not_after = _names_and_end(der)
    return PeerCertificate(
        der=der,
        fingerprint=sha256(der).hexdigest(),
        dns_names=tuple(name.value.lower() for name in names if isinstance(name, x509.DNSName)),
        ip_addresses=tuple(str(name.value) for name in names if isinstance(name, x509.IPAddress)),
        not_after=not_after,
        issuers=issuers,
    )


@lru_cache(maxsize=MAX_CACHED_CERTIFICATES)
def _cached(der: bytes, issuers: tuple[bytes, ...]) -> PeerCertificate:
    """By both, as the same leaf may come with other issuers."""
    return parse_peer_certificate(der, tuple(map(_shared, issuers)))


@lru_cache(maxsize=MAX_SHARED_ISSUERS)
def _shared(issuer: bytes) -> bytes:
    """A few authorities stand behind most leaves: each is kept once."""
    return issuer


def certificate_figures() -> CacheFigures:
    """Return how the cache of peers' certificates does, which is the process's and no configuration's."""
    hits, misses, limit, size = _cached.cache_info()
    return CacheFigures(size, limit or 0, hits, misses)


def _names_and_end(der: bytes) -> tuple[list[x509.GeneralName], int]:
    end = 0
    try:
        with warnings.catch_warnings(action="ignore"):  # a peer's odd serial number is no concern of the log
            certificate = x509.load_der_x509_certificate(der)
            end = int(certificate.not_valid_after_utc.timestamp())
            return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value), end
    except (x509.ExtensionNotFound, *_UNREADABLE):
        return [], end


def _words(error: BaseException) -> str:
    """Return OpenSSL's reasons, from ``SSL.Error([(library, function, reason), ...])``."""
    entries = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return "; ".join(str(entry[-1]) for entry in entries) or type(error).__name__


def _failure_reason(words: str) -> TlsReason:
    if " alert " in f" {words}":
        return TlsReason.PEER_ALERT
    return next((reason for part, reason in _FAILURES if part in words), TlsReason.HANDSHAKE_FAILED)


def _printable(*words: str) -> str:
    text = " ".join(words)[:MAX_DETAIL_OCTETS]
    return "".join(character if character.isascii() and character.isprintable() else "?" for character in text)
