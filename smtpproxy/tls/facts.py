"""What a handshake established, or why it failed, as plain values.

Source: RFC 8446 s4.1.2 (versions); RFC 8460 s4.3 (result types, whose tokens are used where one fits).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from smtpproxy.enums import IdentityEnum


class TlsVersion(IntEnum):
    """A protocol version by its number on the wire, so that versions compare."""

    TLS1_0 = 0x0301
    TLS1_1 = 0x0302
    TLS1_2 = 0x0303
    TLS1_3 = 0x0304

    __hash__ = int.__hash__  # as they compare; that of `Enum` is a Python function, and facts are looked up in tables

    @property
    def text(self) -> str:
        """The version as OpenSSL and Postfix write it."""
        return self.name.replace("TLS1_", "TLSv1.").removesuffix(".0")


class Chain(IdentityEnum):
    """What was found of a peer's certificate chain: issuers, dates, purpose and strength, not names."""

    VALID = "valid"
    INVALID = "invalid"
    UNCHECKED = "unchecked"
    ABSENT = "absent"


class Revocation(IdentityEnum):
    """What is known of a chain's revocation."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"  # it was asked for, and nobody answered as they should
    NOT_STAPLED = "not-stapled"  # its certificate says that an answer is stapled, and no good one was
    NOT_APPLICABLE = "not-applicable"  # neither responder nor list is named
    UNCHECKED = "unchecked"


class TlsReason(IdentityEnum):
    """Why a chain is not valid, a name does not match or a handshake failed."""

    STARTTLS_NOT_SUPPORTED = "starttls-not-supported"  # RFC 8460 s4.3.1
    STARTTLS_REFUSED = "starttls-refused"  # it is offered, and answered with an error
    CERTIFICATE_HOST_MISMATCH = "certificate-host-mismatch"  # RFC 8460 s4.3.1
    CERTIFICATE_EXPIRED = "certificate-expired"  # RFC 8460 s4.3.1; not yet valid counts too
    CERTIFICATE_NOT_TRUSTED = "certificate-not-trusted"  # RFC 8460 s4.3.1
    VALIDATION_FAILURE = "validation-failure"  # RFC 8460 s4.3.1, all other failures of a chain
    CERTIFICATE_REVOKED = "certificate-revoked"
    REVOCATION_LIST_EXPIRED = "revocation-list-expired"  # of an issuer in the chain; not yet valid counts too
    CERTIFICATE_TOO_WEAK = "certificate-too-weak"  # key or digest below the security level
    CERTIFICATE_WRONG_PURPOSE = "certificate-wrong-purpose"
    CHAIN_TOO_LONG = "chain-too-long"
    NOT_TLS = "not-tls"  # what came is no TLS record
    HELLO_TOO_LONG = "hello-too-long"
    NO_COMMON_VERSION = "no-common-version"
    NO_COMMON_CIPHER = "no-common-cipher"
    CLIENT_CERTIFICATE_REQUIRED = "client-certificate-required"  # upstream asked for one, and there was none to show
    CERTIFICATE_UNAVAILABLE = "certificate-unavailable"  # to be shown to a client: it cannot be signed now
    PEER_ALERT = "peer-alert"  # the peer refused us; the detail names its alert
    CONNECTION_CLOSED = "connection-closed"
    TIMED_OUT = "timed-out"
    HANDSHAKE_FAILED = "handshake-failed"  # any other failure; the detail has the library's words


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """The end-entity certificate that a peer showed.

    Args:
        der: the certificate's octets, from which a leaf copies the names verbatim.
        fingerprint: SHA-256 of ``der`` in lower-case hex.
        dns_names: DNS names of the subject alternative name, A-labels in lower case; the CN is never a name.
        ip_addresses: textual IP addresses of the subject alternative name.
        not_after: end of validity, seconds since the epoch.
        issuers: the octets of the certificates that the peer sent behind it, in its order.
    """

    der: bytes
    fingerprint: str
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    not_after: int
    issuers: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return f"PeerCertificate({self.fingerprint[:16]}, {', '.join(self.dns_names)})"


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """What a finished handshake established on one leg.

    Args:
        version: the negotiated version.
        cipher: OpenSSL's name of the suite.
        resumed: whether an earlier session was resumed.
        server_name: the SNI sent (upstream leg) or received (client leg), ``None`` without.
        peer: the peer's certificate, ``None`` if it showed none.
        chain: the verdict on its chain.
        reason: why the chain is not valid, ``None`` otherwise.
        revocation: whether anything of it was revoked.
        second_opinion: what another verifier has against a chain that OpenSSL finds valid, as a token; else ``None``.
    """

    version: TlsVersion
    cipher: str
    resumed: bool = False
    server_name: str | None = None
    peer: PeerCertificate | None = None
    chain: Chain = Chain.ABSENT
    reason: TlsReason | None = None
    revocation: Revocation = Revocation.UNCHECKED
    second_opinion: str | None = None


@dataclass(frozen=True, slots=True)
class TlsFailure:
    """Why a handshake did not come about.

    Args:
        reason: the token for records.
        detail: the library's words (alert, version), printable ASCII, for the log only.
        certificate: whether our refusal of the peer's certificate is the cause: then there is no fall-back.
    """

    reason: TlsReason
    detail: str = ""
    certificate: bool = False
