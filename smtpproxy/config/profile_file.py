"""A TLS profile as a file."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from smtpproxy.config.forms import words
from smtpproxy.config.section import Section
from smtpproxy.policy.model import CertificateValidation, Pfs, TlsProfile
from smtpproxy.tls.facts import TlsVersion

_VERSIONS = {
    "tls1.0": TlsVersion.TLS1_0,
    "tls1.1": TlsVersion.TLS1_1,
    "tls1.2": TlsVersion.TLS1_2,
    "tls1.3": TlsVersion.TLS1_3,
}


class ProfileFile(Section):
    """A TLS profile: the TLS of both legs, shared by many proxy actions."""

    later: ClassVar[frozenset[str]] = frozenset({"compliance", "ocsp", "chain_second_opinion"})

    minimum_protocol: Annotated[TlsVersion, words(_VERSIONS)] = Field(
        default=TlsVersion.TLS1_2, description="The oldest protocol version that either leg may negotiate."
    )
    pfs: Annotated[Pfs, words({each.value: each for each in Pfs})] = Field(
        default=Pfs.ALLOWED,
        description="Key exchanges with perfect forward secrecy: none at all, beside others, or no others.",
    )
    certificate_validation: Annotated[
        CertificateValidation, words({each.value: each for each in CertificateValidation})
    ] = Field(
        default=CertificateValidation.AUDIT,
        description="What an upstream certificate that is not valid leads to: `off` it is not looked at; `audit` it is "
        "recorded, and outbound clients see a leaf of the untrusted authority; `enforce` the leg is refused.",
    )

    def profile(self, name: str) -> TlsProfile:
        """Return the profile as policy knows it."""
        return TlsProfile(name, self.minimum_protocol, self.pfs, self.certificate_validation)
