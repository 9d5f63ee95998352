"""Make the certificates of a new home that are missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpproxy.admin.exits import CommandError, ExitStatus
from smtpproxy.authority.create import create_authority, create_server_credential
from smtpproxy.authority.credentials import load_authority, save_credential

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from smtpproxy.authority.credentials import Credential

_MAX_COMMON_NAME = 64  # ub-common-name of RFC 5280, appendix A.1


class CertificateFolder:
    """A folder of certificates, each ``NAME.pem`` with ``NAME.key``; what is there is kept.

    Args:
        path: the folder, made when the first certificate is.
        now: the present, aware.
    """

    def __init__(self, path: Path, now: datetime) -> None:
        self._path = path
        self._now = now

    def make_authority(self, name: str, common_name: str, path_length: int = 0) -> Iterator[Path]:
        """Make an authority unless it is there; yield the files made."""
        if self._is_missing(name):
            authority = create_authority(common_name[:_MAX_COMMON_NAME], self._now, path_length=path_length)
            yield from self._save(name, authority)

    def make_server(self, name: str, names: Sequence[str], authority: str) -> Iterator[Path]:
        """Make a server's certificate, signed by an authority of the folder, unless it is there; yield the files."""
        if self._is_missing(name):
            signer = load_authority(*self._files(authority))
            yield from self._save(name, create_server_credential(names, signer, self._now))

    def _files(self, name: str) -> tuple[Path, Path]:
        return self._path / f"{name}.pem", self._path / f"{name}.key"

    def _is_missing(self, name: str) -> bool:
        there = [path for path in self._files(name) if path.exists()]
        if len(there) == 1:
            message = f"{there[0]} is there without its other half; restore that, or move {there[0].name} away"
            raise CommandError(message, ExitStatus.DATA)
        return not there

    def _save(self, name: str, credential: Credential) -> Iterator[Path]:
        self._path.mkdir(parents=True, exist_ok=True)
        save_credential(credential, *self._files(name))
        yield from self._files(name)
