"""What may become of the upstream leg, as facts that a session would have."""

from __future__ import annotations

from enum import Enum

from smtpproxy.policy.encryption import Plan
from smtpproxy.policy.legs import LegFacts, Reached
from smtpproxy.policy.model import PortKind
from smtpproxy.policy.selection import Address
from smtpproxy.session.rulebook import Rulebook
from smtpproxy.session.terms import Terms
from smtpproxy.tls.facts import Chain, PeerCertificate, TlsFacts, TlsReason, TlsVersion

_OTHER_NAME = "another.name.invalid"
CLIENT_TLS = TlsFacts(TlsVersion.TLS1_3, "")
"""A client on TLS that shows no certificate."""


class Case(Enum):
    """One way in which the upstream leg may come out."""

    VERIFIED = "TLS, certificate valid and for a wanted name"
    OTHER_NAME = "TLS, certificate valid but for another name"
    NOT_VALID = "TLS, certificate not valid"
    NOT_OFFERED = "STARTTLS not offered"
    HANDSHAKE_FAILED = "handshake failed"
    CLEAR = "in clear, by plan"
    LEFT_TO_CLIENT = "in clear, while STARTTLS is left to the client"

    @property
    def is_encrypted(self) -> bool:
        """Whether the handshake came about."""
        return self in _ENCRYPTED


_ENCRYPTED = frozenset({Case.VERIFIED, Case.OTHER_NAME, Case.NOT_VALID})
_IMPLICIT = (Case.VERIFIED, Case.OTHER_NAME, Case.NOT_VALID, Case.HANDSHAKE_FAILED)
_STARTTLS = (Case.VERIFIED, Case.OTHER_NAME, Case.NOT_VALID, Case.NOT_OFFERED, Case.HANDSHAKE_FAILED)


def cases_of(kind: PortKind, rulebook: Rulebook, *, client_tls: bool) -> tuple[Case, ...]:
    """Return what can become of the upstream leg under a plan."""
    if rulebook.passes_starttls:
        return (Case.LEFT_TO_CLIENT, Case.CLEAR)
    plan = rulebook.plan
    if kind is PortKind.SMTPS:
        return _IMPLICIT
    begins = plan is Plan.EAGER or (plan is Plan.MIRROR and client_tls)
    return _STARTTLS if begins else (Case.CLEAR,)


def legs_of(case: Case, terms: Terms, names: tuple[str, ...], address: Address | None, *, client_tls: bool) -> LegFacts:
    """Return the facts of both legs in a case.

    Args:
        case: what became of the upstream leg.
        terms: of the session.
        names: that are wanted of the certificate.
        address: where upstream was dialled.
        client_tls: whether the client leg is on TLS.
    """
    upstream = _facts(case, terms, names) if case.is_encrypted else None
    refused = upstream is not None and _is_refused(case, terms)
    return LegFacts(
        client=CLIENT_TLS if client_tls else None,
        reached=Reached.CERTIFICATE_REFUSED if refused else _REACHED[case],
        upstream=None if refused else upstream,
        address=address,
        learns_name=terms.upstream_name is None,
    )


_REACHED = {
    Case.VERIFIED: Reached.ENCRYPTED,
    Case.OTHER_NAME: Reached.ENCRYPTED,
    Case.NOT_VALID: Reached.ENCRYPTED,
    Case.NOT_OFFERED: Reached.NOT_OFFERED,
    Case.HANDSHAKE_FAILED: Reached.HANDSHAKE_FAILED,
    Case.CLEAR: Reached.CLEAR,
    Case.LEFT_TO_CLIENT: Reached.LEFT_TO_CLIENT,
}


def _is_refused(case: Case, terms: Terms) -> bool:
    """Whether the profile breaks the handshake off; names are its affair where the policy names the host."""
    fault = case is Case.NOT_VALID or (case is Case.OTHER_NAME and terms.upstream_name is not None)
    return terms.enforces and fault


def _facts(case: Case, terms: Terms, names: tuple[str, ...]) -> TlsFacts:
    own = (terms.upstream_name,) if terms.upstream_name else ()
    borne = (_OTHER_NAME,) if case is Case.OTHER_NAME else (*names, *own)
    invalid = case is Case.NOT_VALID
    return TlsFacts(
        TlsVersion.TLS1_3,
        "",
        server_name=terms.upstream_name,
        peer=PeerCertificate(der=b"", fingerprint="", dns_names=borne, ip_addresses=borne, not_after=0),
        chain=Chain.INVALID if invalid else Chain.VALID,
        reason=TlsReason.CERTIFICATE_NOT_TRUSTED if invalid else None,
    )
