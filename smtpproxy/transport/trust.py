"""Load the authorities that peers' chains are verified against.

Source: RFC 5280 s6.1.1 (trust anchors); RFC 7468 (PEM).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from OpenSSL import crypto

from smtpproxy.errors import SmtpProxyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpproxy.transport.revocation import RevocationList

SYSTEM = "system"

MAX_FILE_OCTETS = 8 * 1024 * 1024
"""Distributions' bundles have 200 to 250 KiB."""

_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # BSD
)
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----")
_SUFFIXES = frozenset({".pem", ".crt", ".cer"})


class TrustError(SmtpProxyError):
    """The trusted authorities cannot be loaded.

    Args:
        path: the file or folder that has to be looked at.
        message: what is wrong with it and what to do, without the path.
    """

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


@dataclass(frozen=True, slots=True, eq=False)
class TrustStore:
    """The authorities' certificates and revocation lists, loaded once; one store is the same as itself only.

    They are OpenSSL's own objects, which every context shares; and it takes roots that others no longer parse (system
    bundles have one whose serial number is 0).
    """

    authorities: tuple[crypto.X509, ...]
    source: str
    lists: tuple[RevocationList, ...] = ()

    @property
    def listed(self) -> frozenset[bytes]:
        """The encoded names of the issuers that there is a revocation list of."""
        return frozenset(each.issuer for each in self.lists)

    def __repr__(self) -> str:
        return f"TrustStore({self.source}, {len(self.authorities)} authorities)"


def load_trust(source: str | Path) -> TrustStore:
    """Load the authorities of the system, of a PEM file, or of every PEM file in a folder.

    Args:
        source: ``system``, or a path.

    Raises:
        TrustError: nothing is there, it cannot be read, a certificate is damaged, or there is none at all.
    """
    path = _system_bundle() if source == SYSTEM else Path(source)
    files = sorted(_files_in(path)) if path.is_dir() else [path]
    authorities = {certificate.digest("sha256"): certificate for file in files for certificate in _load(file)}
    if not authorities:
        raise TrustError(path, "has no trusted authority, so every upstream would be refused; add PEM certificates")
    return TrustStore(tuple(authorities.values()), str(source))


def _system_bundle() -> Path:
    candidates = [os.environ.get("SSL_CERT_FILE", ""), *_SYSTEM_BUNDLES]
    for candidate in candidates:
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    raise TrustError(
        Path(_SYSTEM_BUNDLES[0]), "this system has no bundle of authorities; install ca-certificates or name a file"
    )


def _files_in(folder: Path) -> Iterator[Path]:
    try:
        yield from (file for file in folder.iterdir() if file.suffix in _SUFFIXES and file.is_file())
    except OSError as error:
        raise TrustError(folder, f"cannot be read: {error.strerror}") from None


def _load(path: Path) -> list[crypto.X509]:
    try:
        with path.open("rb") as file:
            blocks = _CERTIFICATE.findall(file.read(MAX_FILE_OCTETS))
        return [crypto.load_certificate(crypto.FILETYPE_PEM, block) for block in blocks]
    except OSError as error:
        raise TrustError(path, f"cannot be read: {error.strerror}") from None
    except crypto.Error:
        raise TrustError(path, "a certificate in it is damaged; remove or replace it") from None
