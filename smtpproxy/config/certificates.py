"""Load the certificates that the main file names, and blame the key that names a bad one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeVar

from smtpproxy.authority.checks import ending
from smtpproxy.authority.credentials import (
    Authority,
    Credential,
    CredentialError,
    load_authority,
    load_authority_certificate,
    load_credential,
    load_undated_authority,
)
from smtpproxy.authority.crossing import common_key, ended, load_cross
from smtpproxy.config.values import Certificates
from smtpproxy.transport.trust import SYSTEM, TrustError, TrustStore, load_trust

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from smtpproxy.config.document import Document, Loc
    from smtpproxy.config.gateway_file import CertificatesSection, KeyPairSection, ProxyAuthoritySection
    from smtpproxy.config.home import Home
    from smtpproxy.config.problems import Report


class Keys(Enum):
    """Where the keys of the authorities are used; where they are not, they are not opened either."""

    HERE = auto()
    ELSEWHERE = auto()
    NOWHERE = auto()
    """Nothing is signed, so that no authority need be in date; the clock may not be set yet."""


_Loaded = TypeVar("_Loaded", Authority, Credential)


class CertificateLoader:
    """Loads what a document names, relative to a home; what is wrong goes into a report.

    Args:
        document: the main file.
        home: where its paths start.
        report: takes mistakes and notices.
        keys: where those of the authorities are used.
    """

    def __init__(self, document: Document, home: Home, report: Report, keys: Keys = Keys.HERE) -> None:
        self._document = document
        self._home = home
        self._report = report
        self._keys = keys

    def load(self, section: CertificatesSection) -> Certificates | None:
        """Return all certificates, ``None`` if one of them cannot be used."""
        loc = ("certificates",)
        servers = [
            self.credential(pair, (*loc, "proxy_server", number)) for number, pair in enumerate(section.proxy_server)
        ]
        proxy = self.proxy_authority(section.proxy_authority, (*loc, "proxy_authority"))
        untrusted = self.authority(section.untrusted_authority, (*loc, "untrusted_authority"))
        trusted = self.trusted(section.trusted, (*loc, "trusted"))
        found = tuple(server for server in servers if server)
        if proxy is None or untrusted is None or trusted is None or len(found) < len(servers):
            return None
        self._check_distinct(proxy, untrusted)
        return Certificates(found, proxy, untrusted, trusted)

    def credential(self, pair: KeyPairSection, loc: Loc) -> Credential | None:
        """Return a certificate that a server shows, ``None`` if it cannot be used."""
        return self._load(pair, loc, load_credential)

    def proxy_authority(self, section: ProxyAuthoritySection, loc: Loc) -> Credential | Authority | None:
        """Return the Proxy Authority with its cross-certificate, ``None`` if either cannot be used."""
        authority = self.authority(section, loc)
        written = section.cross_certificate
        if authority is None or written is None or self._keys is Keys.NOWHERE:
            return authority
        loc = (*loc, "cross_certificate")
        try:
            crosses = load_cross(self._home.resolve(written), authority.certificate)
        except CredentialError as error:
            self._report.problem(self._document.problem(loc, f"{written}: {error.message}"))
            return None
        if message := ended(crosses, datetime.now(UTC)):
            self._report.notice(self._document.problem(loc, f"{written}: {message}"))
            return authority
        return replace(authority, crosses=crosses)

    def authority(self, pair: KeyPairSection, loc: Loc) -> Credential | Authority | None:
        """Return an authority, ``None`` if it cannot sign."""
        found: Credential | Authority | None
        if self._keys is Keys.NOWHERE:
            return self._load(pair, loc, load_undated_authority)
        if self._keys is Keys.ELSEWHERE:
            found = self._load(pair, loc, load_authority_certificate)
        else:
            found = self._load(pair, loc, load_authority)
        if found and (message := ending(found.certificate, datetime.now(UTC))):
            told = f"{pair.certificate}: {message}; 'smtpproxy ca make' makes the next one"
            self._report.notice(self._document.problem((*loc, "certificate"), told))
        return found

    def trusted(self, text: str, loc: Loc) -> TrustStore | None:
        """Return the authorities that peers are checked with, ``None`` if they cannot be used."""
        try:
            return load_trust(SYSTEM if text == SYSTEM else self._home.resolve(text))
        except TrustError as error:
            self._report.problem(self._document.problem(loc, f"{error.path}: {error.message}"))
            return None

    def _load(self, pair: KeyPairSection, loc: Loc, load: Callable[[Path, Path], _Loaded]) -> _Loaded | None:
        certificate, key = self._home.resolve(pair.certificate), self._home.resolve(pair.key)
        try:
            credential = load(certificate, key)
        except CredentialError as error:
            blamed = "certificate" if error.path == certificate else "key"
            message = f"{getattr(pair, blamed)}: {error.message}"
            self._report.problem(self._document.problem((*loc, blamed), message))
            return None
        for notice in credential.notices:
            self._report.notice(self._document.problem(loc, notice))
        return credential

    def _check_distinct(self, proxy: Credential | Authority, untrusted: Credential | Authority) -> None:
        """A client that trusts one authority must not thereby trust the other."""
        message = common_key(proxy, untrusted)
        if message:
            self._report.problem(self._document.problem(("certificates", "untrusted_authority"), message))
