"""Load the authorities with their keys and nothing else of a configuration: for the process that signs with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpproxy.authority.credentials import Credential
from smtpproxy.config.certificates import CertificateLoader
from smtpproxy.config.document import read_document
from smtpproxy.config.gateway_file import CertificatesSection, MainFile
from smtpproxy.config.home import Home
from smtpproxy.config.problems import Report
from smtpproxy.config.section import part, problems

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class KeptAuthority:
    """An authority, and where it was loaded from."""

    credential: Credential
    certificate: Path
    key: Path


def load_authorities(path: Path) -> list[KeptAuthority]:
    """Load the Proxy Authority, then the untrusted one.

    Args:
        path: the main file.

    Raises:
        ConfigurationErrors: one cannot be used, or the file says not which.
    """
    document, home, report = read_document(path), Home.of(path), Report()
    section = part(CertificatesSection, document, "certificates")
    if section is None:
        report.problems.extend(problems(MainFile, document))
        report.conclude()
        raise AssertionError("a file with a bad section has mistakes")
    loader, found = CertificateLoader(document, home, report), []
    for name in ("proxy_authority", "untrusted_authority"):
        pair = getattr(section, name)
        credential = loader.authority(pair, ("certificates", name))
        if isinstance(credential, Credential):
            found.append(KeptAuthority(credential, home.resolve(pair.certificate), home.resolve(pair.key)))
    report.conclude()
    return found
