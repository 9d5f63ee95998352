"""Make the leaf that a client of an outbound policy sees: upstream's names verbatim, a short life, one of two signers.

Source: RFC 5280 s4.1.2.5 (validity), s4.2.1.6 (names); RFC 9525 s2.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509

from smtpproxy.authority.create import BACKDATE, general_name
from smtpproxy.authority.leaf import LeafRequest, sign_leaf

if TYPE_CHECKING:
    from smtpproxy.authority.credentials import Authority, Credential, PublicKey
    from smtpproxy.policy.certificates import Leaf

MAX_COPIED_OCTETS = 32 * 1024
"""Upstream certificates beyond it lend no names: a leaf is kept and shown often, and clients bound what they take."""

LIFETIME = timedelta(days=7)
"""From start to end: short, for nobody can revoke it; long enough for clients with a wrong date."""

_ONE_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class LeafFacts:
    """What a leaf says of the server that it stands for.

    Args:
        common_name: the subject's CN, empty for none.
        names: DNS names and IP addresses, in their order.
        ends: when upstream's certificate ends, ``None`` if that is no bound.
    """

    common_name: str
    names: tuple[x509.GeneralName, ...]
    ends: datetime | None


def facts_of(leaf: Leaf, now: datetime) -> LeafFacts:
    """Return what the leaf that was decided on has to say."""
    return LeafFacts(*_names_of(leaf), _end_of(leaf, now))


def make_leaf(facts: LeafFacts, key: PublicKey, signer: Credential, now: datetime) -> x509.Certificate:
    """Return a leaf that lives neither longer than its signer nor than what it stands for.

    Raises:
        ValueError: there is no certificate that says so.
    """
    start = now - BACKDATE
    end = start + LIFETIME - _ONE_SECOND  # both ends of a validity belong to it
    bounds = [end, signer.certificate.not_valid_after_utc, *filter(None, [facts.ends])]
    return sign_leaf(LeafRequest(facts.common_name, facts.names, key, start, min(bounds)), signer)


def renewal_of(leaf: x509.Certificate, now: datetime) -> datetime:
    """Return when a leaf that was made just now is to be made anew: in the middle of a whole life.

    One that ends with upstream's certificate would not live longer if it were made anew.
    """
    is_whole = leaf.not_valid_after_utc - leaf.not_valid_before_utc >= LIFETIME - _ONE_SECOND
    return now + LIFETIME / 2 if is_whole else leaf.not_valid_after_utc


def issuers_to_send(authority: Authority | Credential) -> tuple[x509.Certificate, ...]:
    """Return what goes behind a leaf: the cross-certificate first, for clients that trust only the authority before.

    Clients have the root: only an intermediate, and what certifies it, is worth its octets.
    """
    return tuple(each for each in (*authority.crosses, *authority.certificates) if each.issuer != each.subject)


def _end_of(leaf: Leaf, now: datetime) -> datetime | None:
    if leaf.certificate is None or leaf.certificate.not_after <= now.timestamp():
        return None
    return datetime.fromtimestamp(leaf.certificate.not_after, now.tzinfo)


def _names_of(leaf: Leaf) -> tuple[str, tuple[x509.GeneralName, ...]]:
    """Return the common name and the subject alternative names.

    Upstream's certificate: its own common name and its DNS names and IP addresses as they stand, none if it has
    none, so that the client's name check comes out as it would without us. No certificate: the one name.
    """
    if leaf.certificate is None:
        return _single_name(leaf.name)
    if len(leaf.certificate.der) > MAX_COPIED_OCTETS:
        return "", ()
    try:
        with warnings.catch_warnings(action="ignore"):  # a peer's odd serial number is no concern of the log
            certificate = x509.load_der_x509_certificate(leaf.certificate.der)
            return _common_name(certificate), _alternative_names(certificate)
    except (ValueError, x509.InvalidVersion):  # OpenSSL took what cryptography does not parse
        return "", ()


def _single_name(name: str) -> tuple[str, tuple[x509.GeneralName, ...]]:
    try:
        return name, (general_name(name),)
    except ValueError:  # a server name that is no DNS name: then the leaf bears none
        return "", ()


def _common_name(certificate: x509.Certificate) -> str:
    try:
        attributes = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    except ValueError:
        return ""
    value = attributes[0].value if attributes else ""
    return value if isinstance(value, str) else ""


def _alternative_names(certificate: x509.Certificate) -> tuple[x509.GeneralName, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return ()
    return tuple(name for name in names if isinstance(name, x509.DNSName | x509.IPAddress))
