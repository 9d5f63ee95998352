"""Which authorities sign at present, as administrators see them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from smtpproxy.authority.credentials import Authority, Credential
from smtpproxy.authority.description import describe
from smtpproxy.net.documents import Document
from smtpproxy.policy.certificates import Signer

Signers: TypeAlias = Mapping[Signer, Authority] | Mapping[Signer, Credential]
"""Who signs what, its key here or elsewhere."""

_NAMES: Final = {Signer.PROXY_AUTHORITY: "proxy", Signer.UNTRUSTED_AUTHORITY: "untrusted"}


def authority_documents(signers: Signers) -> list[Document]:
    """Return each authority with its name, fingerprint and end, and until when it has a cross-certificate."""
    return [{"authority": _NAMES[signer], **_document(signers[signer])} for signer in signers]


def authority_ends(signers: Signers) -> dict[str, float]:
    """Return when each authority ends, in seconds since the epoch."""
    return {_NAMES[signer]: signers[signer].certificate.not_valid_after_utc.timestamp() for signer in signers}


def _document(authority: Authority | Credential) -> Document:
    described = describe(authority.certificate)
    crossed = min((each.not_valid_after_utc for each in authority.crosses), default=None)
    return {
        "name": described.subject if described else "",
        "sha256": described.sha256 if described else "",
        "valid_until": authority.certificate.not_valid_after_utc.isoformat(),
        "crossed_until": crossed.isoformat() if crossed else None,
    }
