"""Load revocation lists, and say what is wrong with them before a chain is refused because of it.

Source: RFC 5280 s5 (lists), s6.3 (their use); RFC 7468 s6 (PEM).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from smtpproxy.errors import SmtpProxyError
from smtpproxy.transport import openssl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from smtpproxy.transport.trust import TrustStore

MAX_FILE_OCTETS: Final = 64 * 1024 * 1024
"""The largest lists of public authorities have 10 to 30 MiB."""

_PEM: Final = re.compile(rb"-----BEGIN X509 CRL-----[^-]*-----END X509 CRL-----")


class RevocationListError(SmtpProxyError):
    """A revocation list cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class RevocationList:
    """A list, loaded once.

    Args:
        issuer: the encoded name of who issued it.
        der: its octets, for another process.
        parsed: OpenSSL's own, which every context shares.
        notices: what an administrator should hear although it works.
    """

    issuer: bytes
    der: bytes = field(repr=False)
    parsed: Any
    notices: tuple[str, ...] = ()


def load_revocation_lists(path: Path, trust: TrustStore, now: datetime) -> list[RevocationList]:
    """Load the lists of a file, one in DER or any number in PEM.

    Args:
        path: the file.
        trust: the authorities whose lists they may be.
        now: the time for notices on validity.

    Raises:
        RevocationListError: the file cannot be read, a list is damaged, a delta, or not signed by the authority whose
            name it bears.
    """
    data = _read(path)
    blocks = _PEM.findall(data)
    try:
        lists = [x509.load_pem_x509_crl(block) for block in blocks] if blocks else [x509.load_der_x509_crl(data)]
        return [_checked(each, trust, now) for each in lists]
    except (ValueError, x509.DuplicateExtension, x509.InvalidVersion, openssl.OpenSslError):
        raise RevocationListError("is no revocation list in PEM or DER, or a damaged one; fetch it anew") from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_OCTETS + 1)
    except OSError as error:
        raise RevocationListError(f"cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_OCTETS:
        raise RevocationListError(f"longer than {MAX_FILE_OCTETS} octets; name a smaller list")
    return data


def _checked(crl: x509.CertificateRevocationList, trust: TrustStore, now: datetime) -> RevocationList:
    if any(extension.oid == x509.DeltaCRLIndicator.oid for extension in crl.extensions):
        raise RevocationListError("a delta list, which is of no use alone; name the full one")
    issuer = crl.issuer.public_bytes()
    of_its_name = [each for each in trust.authorities if openssl.subject_name(each) == issuer]
    if of_its_name and not any(_is_signed_by(crl, each.to_cryptography()) for each in of_its_name):
        raise RevocationListError(
            f"not signed by the trusted authority of its name, {crl.issuer.rfc4514_string()}; fetch it anew"
        )
    notices = tuple(_notices(crl, now, is_known=bool(of_its_name)))
    der = crl.public_bytes(Encoding.DER)
    return RevocationList(issuer, der, openssl.parse_crl(der), notices)


def _is_signed_by(crl: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False


def _notices(crl: x509.CertificateRevocationList, now: datetime, *, is_known: bool) -> Iterator[str]:
    name = crl.issuer.rfc4514_string()
    if not is_known:
        yield (
            f"its issuer {name} is none of the trusted authorities, so its signature is checked only when a chain "
            "brings that issuer"
        )
    end, start = crl.next_update_utc, crl.last_update_utc
    if end is None:
        yield "it names no next update, so it never counts as expired; see that it is renewed"
    elif end <= now or start > now:
        yield (
            f"valid only from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC, so no certificate of {name} counts "
            "as valid; fetch it anew"
        )
