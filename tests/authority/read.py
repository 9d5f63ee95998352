"""What a certificate says, read back from its octets for tests to compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

if TYPE_CHECKING:
    from datetime import datetime

USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
)


@dataclass(frozen=True)
class Read:
    """A certificate's fields; ``flags`` has name, criticality and value of each extension in order."""

    flags: list[tuple[str, bool, str]]
    names: list[x509.GeneralName]
    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    key_identifier: str


def read(certificate: x509.Certificate) -> Read:
    parsed = x509.load_der_x509_certificate(certificate.public_bytes(Encoding.DER))
    alternative = [each.value for each in parsed.extensions if isinstance(each.value, x509.SubjectAlternativeName)]
    return Read(
        flags=[(each.oid._name, each.critical, _value(each.value)) for each in parsed.extensions],
        names=list(alternative[0]) if alternative else [],
        subject=parsed.subject.rfc4514_string(),
        issuer=parsed.issuer.rfc4514_string(),
        not_before=parsed.not_valid_before_utc,
        not_after=parsed.not_valid_after_utc,
        key_identifier=x509.SubjectKeyIdentifier.from_public_key(parsed.public_key()).digest.hex(),
    )


def _value(value: x509.ExtensionType) -> str:
    match value:
        case x509.BasicConstraints(ca=True):
            return f"CA:TRUE, pathlen {value.path_length}"
        case x509.BasicConstraints():
            return "CA:FALSE"
        case x509.KeyUsage():
            return ", ".join(usage for usage in USAGES if getattr(value, usage))
        case x509.ExtendedKeyUsage():
            return ", ".join(purpose.dotted_string for purpose in value)
        case x509.SubjectKeyIdentifier():
            return value.digest.hex()
        case x509.AuthorityKeyIdentifier(key_identifier=bytes(identifier)):
            return identifier.hex()
        case _:
            return ""
