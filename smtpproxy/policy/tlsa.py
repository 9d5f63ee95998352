"""Match TLSA records against certificates.

Source: RFC 6698 s2.1 (fields); RFC 7671 s9 (digest algorithm agility); RFC 7672 s3.1 (usages of SMTP).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256, sha512
from typing import Final

from smtpproxy.policy.knowledge import Tlsa
from smtpproxy.tls.public_key import CertificateSyntaxError, subject_public_key

DANE_TA: Final = 2
"""Usage: a certificate or key that the server's certificate must chain up to."""

DANE_EE: Final = 3
"""Usage: the server's own certificate or key."""

CERTIFICATE: Final = 0
"""Selector: the whole certificate."""

PUBLIC_KEY: Final = 1
"""Selector: its SubjectPublicKeyInfo."""

FULL: Final = 0
"""Matching type: what was selected, as it is."""

MAX_RECORDS: Final = 20
"""Of one host: two keys in each of the twelve forms would be more than anybody needs."""

_DIGESTS: Final = {1: sha256, 2: sha512}
"""By matching type; the greater, the stronger."""

_DIGEST_OCTETS: Final = {1: 32, 2: 64}
_MAX_FULL_OCTETS: Final = 16 * 1024


def usable(records: Sequence[Tlsa]) -> tuple[Tlsa, ...]:
    """Return the records that can be used for SMTP, of the digests only the strongest of each usage and selector.

    PKIX-TA and PKIX-EE are not: a mail server knows no authorities that all of them agree on (RFC 7672 s3.1.3).
    """
    known = [record for record in records[:MAX_RECORDS] if _is_known(record)]
    strongest: dict[tuple[int, int], int] = {}
    for record in known:
        form = (record.usage, record.selector)
        strongest[form] = max(strongest.get(form, FULL), record.matching)
    return tuple(each for each in known if each.matching in {FULL, strongest[each.usage, each.selector]})


def fits(record: Tlsa, certificate: bytes) -> bool:
    """Return whether a record is of this certificate, given as DER, or of its public key."""
    try:
        selected = subject_public_key(certificate) if record.selector == PUBLIC_KEY else certificate
    except CertificateSyntaxError:
        return False
    digest = _DIGESTS.get(record.matching)
    return record.data == (digest(selected).digest() if digest else selected)


def _is_known(record: Tlsa) -> bool:
    if record.usage not in {DANE_TA, DANE_EE} or record.selector not in {CERTIFICATE, PUBLIC_KEY}:
        return False
    if record.matching == FULL:
        return 0 < len(record.data) <= _MAX_FULL_OCTETS
    return len(record.data) == _DIGEST_OCTETS.get(record.matching)
