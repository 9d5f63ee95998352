"""A TLS profile as a file."""

from __future__ import annotations

from itertools import chain
from typing import Annotated, Final

from pydantic import Field

from smtpproxy.config.addresses import Networks
from smtpproxy.config.forms import FilePath, Form, Switch, refusal, words
from smtpproxy.config.gateway_file import KeyPairSection
from smtpproxy.config.problems import shown
from smtpproxy.config.section import Section
from smtpproxy.policy.model import CertificateValidation, ClientCertificate, Ocsp, Pfs, SecondOpinion, TlsProfile
from smtpproxy.tls.facts import TlsVersion
from smtpproxy.transport.suites import TLS13_OPTIONAL, TLS13_SUITES

_VERSIONS = {
    "tls1.0": TlsVersion.TLS1_0,
    "tls1.1": TlsVersion.TLS1_1,
    "tls1.2": TlsVersion.TLS1_2,
    "tls1.3": TlsVersion.TLS1_3,
}

MAX_CIPHERS_CHARACTERS: Final = 2048
"""All suites of TLS 1.2 and older, one by one, are not as long."""


def _parse_ciphers(value: object) -> str:
    if not isinstance(value, str):
        raise refusal(f"{shown(value)} is not an OpenSSL cipher string; write one such as ECDHE+AESGCM:ECDHE+CHACHA20")
    if not 0 < len(value) <= MAX_CIPHERS_CHARACTERS or not (value.isascii() and value.isprintable()):
        raise refusal(f"must be one line of 1 to {MAX_CIPHERS_CHARACTERS} printable ASCII characters")
    return value


_CIPHERS: Final = Form(
    "OpenSSL cipher string",
    _parse_ciphers,
    schema={"type": "string", "minLength": 1, "maxLength": MAX_CIPHERS_CHARACTERS, "pattern": "^[ -~]*$"},
)


class ProfileFile(Section):
    """A TLS profile: the TLS of both legs, shared by many proxy actions."""

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

    ocsp: Annotated[Ocsp, words({each.value: each for each in Ocsp})] = Field(
        default=Ocsp.DISABLED,
        description="Whether it is asked if an upstream certificate was revoked: a stapled answer first, then the "
        "responder that the certificate names; one that names none passes. `lenient` refuses what was revoked; "
        "`strict` also what nobody can tell of, and a certificate that must be stapled and is not.",
    )
    ocsp_private_responders: tuple[Networks, ...] = Field(
        default=(),
        description="Networks in which a responder may be asked though they are not of the Internet.",
        json_schema_extra={"default": "none"},
    )
    chain_second_opinion: Annotated[SecondOpinion, words({each.value: each for each in SecondOpinion})] = Field(
        default=SecondOpinion.LOG,
        description="What another, stricter verifier (cryptography's, in a process of its own) has against an upstream "
        "chain that OpenSSL finds valid: `off` nobody asks it; `log` it is logged and recorded, and the session does "
        "not wait; `enforce` the session waits, and the chain counts as not valid, also if the verifier fails.",
    )

    ciphers: Annotated[str, _CIPHERS] | None = Field(
        default=None,
        description="The suites of TLS 1.2 and older that both legs may negotiate, best first; of these `pfs` takes "
        "its choice, and those that encrypt nothing or show no certificate are left out. The security level follows "
        "from `minimum_protocol`.",
        json_schema_extra={"default": "ECDHE with AES-GCM or ChaCha20; upstream also DHE, and RSA as `pfs` has it"},
    )
    tls13_ciphers: tuple[Annotated[str, words({each: each for each in (*TLS13_SUITES, TLS13_OPTIONAL)})], ...] = Field(
        default=TLS13_SUITES, description="The suites of TLS 1.3, best first.", min_length=1
    )
    trusted: FilePath | None = Field(
        default=None,
        description="The authorities that peers' certificates are checked with: `system`, a PEM file, or a directory "
        "of PEM files.",
        json_schema_extra={"default": "`certificates.trusted` of the main file"},
    )
    crl: tuple[FilePath, ...] = Field(
        default=(),
        description="Files of revocation lists, PEM or DER: a certificate whose issuer has one here must not stand in "
        "it, and while the list is out of date it does not count as valid.",
    )
    client_certificate: KeyPairSection | None = Field(
        default=None,
        description="What an upstream is shown that asks for a certificate.",
        json_schema_extra={"default": "none"},
    )

    compliance: Switch = Field(
        default=False,
        description="Whether what `allow` lets pass uninspected must really be TLS: it begins with hellos, and every "
        "record has the header of one. What is inspected must always be.",
    )

    def profile(self, name: str, ciphers: tuple[str, ...] = ()) -> TlsProfile:
        """Return the profile as policy knows it.

        Args:
            name: the file's.
            ciphers: the suites that its cipher string stands for.
        """
        pair = self.client_certificate
        return TlsProfile(
            name,
            self.minimum_protocol,
            self.pfs,
            self.certificate_validation,
            ciphers=ciphers,
            tls13_ciphers=() if self.tls13_ciphers == TLS13_SUITES else self.tls13_ciphers,
            trusted=self.trusted,
            crl=self.crl,
            client_certificate=ClientCertificate(pair.certificate, pair.key) if pair else None,
            chain_second_opinion=self.chain_second_opinion,
            ocsp=self.ocsp,
            ocsp_private_responders=tuple(chain.from_iterable(self.ocsp_private_responders)),
            compliance=self.compliance,
        )
