"""Say what clients would refuse of a certificate that is to become a Proxy Server certificate.

Source: RFC 5280 s4.2.1.6 (names), s4.2.1.9 (CA flag), s4.2.1.12 (purposes); RFC 9525 s2 (the CN is never a name).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from smtpproxy.authority.checks import date_problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from smtpproxy.authority.credentials import Credential

E = TypeVar("E", bound=x509.ExtensionType)

_PURPOSES = frozenset({ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})


def server_problems(credential: Credential, now: datetime) -> Iterator[str]:
    """Yield what clients would refuse of a certificate that a server shows."""
    extensions = credential.certificate.extensions
    constraints = _value(extensions, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        yield "a CA certificate (basicConstraints says CA:TRUE), which is no server's; give the server's own first"
    purposes = _value(extensions, x509.ExtendedKeyUsage)
    if purposes is not None and not _PURPOSES.intersection(purposes):
        yield "not for servers (extendedKeyUsage lacks serverAuth); have one issued that is"
    if not names_of(credential):
        yield "without any DNS name (subjectAltName), so no client finds its server in it; have it issued anew"
    yield from filter(None, (date_problem(certificate, now) for certificate in credential.certificates))


def names_of(credential: Credential) -> list[str]:
    """Return the DNS names that a certificate is for, in its order."""
    names = _value(credential.certificate.extensions, x509.SubjectAlternativeName)
    return [] if names is None else names.get_values_for_type(x509.DNSName)


def _value(extensions: x509.Extensions, kind: type[E]) -> E | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
