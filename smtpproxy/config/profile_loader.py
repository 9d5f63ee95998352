"""Load the files that TLS profiles name, and blame the key that names a bad one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from smtpproxy.config.certificates import CertificateLoader
from smtpproxy.config.gateway_file import KeyPairSection
from smtpproxy.transport.profile_files import OwnCertificate, ProfileFiles
from smtpproxy.transport.revocation import RevocationList, RevocationListError, load_revocation_lists
from smtpproxy.transport.trust import TrustStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpproxy.config.document import Document
    from smtpproxy.config.home import Home
    from smtpproxy.config.problems import Report
    from smtpproxy.policy.model import TlsProfile

_NOBODY: Final = TrustStore((), "")


class ProfileLoader:
    """Loads what profiles name, relative to a home.

    Args:
        documents: the profiles as they were written, ``None`` for one that cannot be read.
        profiles: what was made of them, ``None`` for one with mistakes.
        home: where relative paths start.
        report: takes what is found.
    """

    def __init__(
        self,
        documents: Mapping[str, Document | None],
        profiles: Mapping[str, TlsProfile | None],
        home: Home,
        report: Report,
    ) -> None:
        self._documents = documents
        self._profiles = profiles
        self._home = home
        self._report = report

    def load(self, trusted: TrustStore | None) -> dict[str, ProfileFiles]:
        """Return what goes with each profile that names files, but for those whose files cannot be used.

        Args:
            trusted: the gateway's authorities, ``None`` if they cannot be used.
        """
        found = {}
        for name, profile in self._profiles.items():
            document = self._documents[name]
            if profile and document and profile.names_files:
                files = _OneProfile(document, self._home, self._report).load(profile, trusted)
                if files is not None:
                    found[name] = files
        return found


class _OneProfile:
    def __init__(self, document: Document, home: Home, report: Report) -> None:
        self._document = document
        self._home = home
        self._report = report
        self._certificates = CertificateLoader(document, home, report)

    def load(self, profile: TlsProfile, trusted: TrustStore | None) -> ProfileFiles | None:
        if profile.trusted is not None:
            trusted = self._certificates.trusted(profile.trusted, ("trusted",))
        lists = self._lists(profile, trusted)
        shown = self._shown(profile)
        if trusted is None:
            return None
        return ProfileFiles(replace(trusted, lists=lists) if lists else trusted, shown)

    def _lists(self, profile: TlsProfile, trusted: TrustStore | None) -> tuple[RevocationList, ...]:
        found: list[RevocationList] = []
        for number, text in enumerate(profile.crl):
            try:
                lists = load_revocation_lists(self._home.resolve(text), trusted or _NOBODY, datetime.now(UTC))
            except RevocationListError as error:
                self._report.problem(self._document.problem(("crl", number), f"{text}: {error}"))
                continue
            for notice in (notice for each in lists for notice in each.notices if trusted):
                self._report.notice(self._document.problem(("crl", number), f"{text}: {notice}"))
            found += lists
        return tuple(found)

    def _shown(self, profile: TlsProfile) -> OwnCertificate | None:
        pair, loc = profile.client_certificate, ("client_certificate",)
        if pair is None:
            return None
        section = KeyPairSection(certificate=pair.certificate, key=pair.key)
        credential = self._certificates.credential(section, loc)
        if credential is None:
            return None
        if not _is_for_clients(credential.certificate):
            message = "its extended key usage does not allow it for a TLS client, so upstreams will refuse it"
            self._report.notice(self._document.problem(loc, message))
        return OwnCertificate(credential.certificates, credential.key)


def _is_for_clients(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.CLIENT_AUTH in usage
