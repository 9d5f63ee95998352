"""Have OpenSSL look at a peer's chain, and keep what it found where its own verdict would be lost.

A callback costs, so there is one only where revocation lists are looked at, or where a client is asked for its
certificate: that never fails a handshake, since the rules judge it.

Source: SSL_CTX_set_verify(3), SSL_CTX_set_client_CA_list(3); X509_VERIFY_PARAM_set_flags(3); RFC 5280 s6.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from OpenSSL import SSL, crypto

from smtpproxy.policy.model import CertificateValidation
from smtpproxy.transport import openssl

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpproxy.transport.trust import TrustStore

MAX_CHAIN_CERTIFICATES: Final = 10
"""Certificates of a chain that are verified; real chains have two to four."""

MAX_AUTHORITIES_NAMED: Final = 16
"""Authorities that a client is told of, so that it picks the right certificate: about 100 octets each in every
handshake. Told of none, it sends what it has."""

_NO_ERROR: Final = 0
_UNABLE_TO_GET_CRL: Final = 3
"""Of X509_V_ERR (x509_vfy.h, never renumbered)."""


@dataclass(frozen=True, slots=True)
class Vetting:
    """What a context does about its peers' certificates.

    Args:
        validation: what the profile says of upstreams.
        asks_client: whether the peer is a client, whose certificate is looked at whatever the profile says.
        listed: the encoded names of the issuers that a revocation list is at hand of.
    """

    validation: CertificateValidation
    asks_client: bool = False
    listed: frozenset[bytes] = frozenset()

    def covers(self, certificate: crypto.X509) -> bool:
        """Return whether a revocation list of the certificate's issuer is at hand."""
        return bool(self.listed) and openssl.issuer_name(certificate) in self.listed

    def passes(self, certificate: crypto.X509, number: int) -> bool:
        """Return whether an error is none: that there is no list of an issuer of whom none was given."""
        return number == _UNABLE_TO_GET_CRL and not self.covers(certificate)


_LOOKS_AT_NOTHING: Final = Vetting(CertificateValidation.OFF)


def vetting_of(context: SSL.Context) -> Vetting:
    """Return what a context does about its peers' certificates; nothing, if it asks for none."""
    vetting = context.get_app_data()
    return vetting if isinstance(vetting, Vetting) else _LOOKS_AT_NOTHING


def vet_upstream(context: SSL.Context, validation: CertificateValidation, trust: TrustStore) -> None:
    """Have handshakes with upstreams look at their chains.

    Without a callback OpenSSL verifies under VERIFY_NONE all the same, goes on, and keeps the first error for
    SSL_get_verify_result, in the session too. An error that a callback lets pass leaves no trace.
    """
    vetting = Vetting(validation, listed=trust.listed)
    _prepare(context, vetting, trust)
    mode = SSL.VERIFY_PEER if validation is CertificateValidation.ENFORCE else SSL.VERIFY_NONE
    context.set_verify(mode, _let_pass(vetting) if vetting.listed else None)


def ask_client(context: SSL.Context, validation: CertificateValidation, trust: TrustStore) -> None:
    """Have handshakes with clients ask for a certificate and look at its chain; whatever that is, they go on."""
    vetting = Vetting(validation, asks_client=True, listed=trust.listed)
    _prepare(context, vetting, trust)
    authorities = trust.authorities
    for authority in authorities if len(authorities) <= MAX_AUTHORITIES_NAMED else ():
        openssl.name_authority(context, authority)
    context.set_verify(SSL.VERIFY_PEER, _take_note(vetting))


def first_error(connection: SSL.Connection) -> int | None:
    """Return the first error of a peer's chain as a number of ``X509_V_ERR``, 0 for none.

    ``None`` if it was not looked at: by the profile's will, or since a client resumed a session.
    """
    vetting = vetting_of(connection.get_context())
    if vetting.asks_client:
        noted = connection.get_app_data()
        return noted if isinstance(noted, int) else None
    if vetting.validation is CertificateValidation.OFF:
        return None
    return openssl.verify_result(connection)


def _prepare(context: SSL.Context, vetting: Vetting, trust: TrustStore) -> None:
    context.set_app_data(vetting)
    context.set_verify_depth(MAX_CHAIN_CERTIFICATES)
    store = context.get_cert_store()
    if store is None:  # as pyOpenSSL's types have it; a new context always has one
        raise openssl.OpenSslError("a new context has no certificate store")
    for authority in trust.authorities:
        store.add_cert(authority)
    for each in trust.lists:
        openssl.add_crl(store, each.parsed)
    flags = crypto.X509StoreFlags
    store.set_flags(flags.X509_STRICT | (flags.CRL_CHECK | flags.CRL_CHECK_ALL if trust.lists else 0))


def _let_pass(vetting: Vetting) -> Callable[[SSL.Connection, crypto.X509, int, int, int], bool]:
    def judge(_connection: SSL.Connection, certificate: crypto.X509, number: int, _depth: int, ok: int) -> bool:
        return bool(ok) or vetting.passes(certificate, number)

    return judge


def _take_note(vetting: Vetting) -> Callable[[SSL.Connection, crypto.X509, int, int, int], bool]:
    """A chain is good if its leaf was reached in the end, and nothing was found before."""

    def judge(connection: SSL.Connection, certificate: crypto.X509, number: int, depth: int, ok: int) -> bool:
        if not ok and not vetting.passes(certificate, number):
            connection.set_app_data(connection.get_app_data() or number)
        elif ok and depth == 0 and connection.get_app_data() is None:
            connection.set_app_data(_NO_ERROR)
        return True

    return judge
