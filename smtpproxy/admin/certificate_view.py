"""What is in files of certificates, whatever state they are in."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpproxy.authority.checks import chain_problems
from smtpproxy.authority.credentials import CredentialError, is_key_of, read_chain
from smtpproxy.authority.description import Description, describe

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509


@dataclass(frozen=True, slots=True)
class KeyView:
    """The file of a private key.

    Args:
        file: where it is.
        mode: its permissions in octal, ``None`` if they cannot be seen.
        matches: whether it belongs to the certificate, ``None`` if that cannot be told.
        problem: why it cannot be told.
    """

    file: Path
    mode: str | None
    matches: bool | None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class FileView:
    """A file of certificates.

    Args:
        role: what it is configured as.
        file: where it is.
        chain: its certificates, ``None`` for one that is damaged.
        key: the key that is configured with it, ``None`` for none.
        sni: the names by which clients are shown it, ``None`` if it is not chosen by name.
        default: whether it is shown where no other fits.
        problem: what keeps the chain from being used.
    """

    role: str
    file: Path
    chain: tuple[Description | None, ...] = ()
    key: KeyView | None = None
    sni: tuple[str, ...] | None = None
    default: bool = False
    problem: str | None = None


def view_file(role: str, certificate: Path, key: Path | None = None) -> FileView:
    """Return what is in a file of certificates, and whether ``key`` belongs to the first of them."""
    try:
        chain = read_chain(certificate)
    except CredentialError as error:
        return FileView(role, certificate, problem=error.message)
    described = tuple(map(describe, chain))
    return FileView(
        role,
        certificate,
        described,
        key=_view_key(chain[0], key) if key and described[0] else None,
        problem=next(chain_problems(chain), None),
    )


def _view_key(certificate: x509.Certificate, key: Path) -> KeyView:
    try:
        return KeyView(key, _mode(key), is_key_of(certificate, key))
    except CredentialError as error:
        return KeyView(key, _mode(key), None, error.message)


def _mode(path: Path) -> str | None:
    try:
        return f"{stat.S_IMODE(path.stat().st_mode):04o}"
    except OSError:
        return None
