"""A home with authorities, and the signing process that has their keys, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from smtpproxy.authority.create import create_authority
from smtpproxy.authority.credentials import Authority, load_authority_certificate, save_credential
from tests.pki import NOW

if TYPE_CHECKING:
    from smtpproxy.authority.credentials import Credential

NAMES = ("proxy", "untrusted")


class House:
    """The files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "config").mkdir()
        (folder / "certs").mkdir()
        self.configuration = folder / "config" / "smtpproxy.yaml"
        self.move_in("a")

    def move_in(self, name: str) -> list[Credential]:
        """Make two new authorities, and have them configured."""
        made = [create_authority(f"{each} {name}", NOW) for each in NAMES]
        for each, authority in zip(NAMES, made, strict=True):
            save_credential(authority, *self.files(each, name))
        pairs = {each: "{{certificate: {}, key: {}}}".format(*self.files(each, name)) for each in NAMES}
        text = f"certificates: {{proxy_authority: {pairs['proxy']}, untrusted_authority: {pairs['untrusted']}}}\n"
        self.configuration.write_text(text)
        return made

    def files(self, which: str, name: str) -> tuple[Path, Path]:
        stem = self.folder / "certs" / f"{which}-{name}"
        return stem.with_suffix(".pem"), stem.with_suffix(".key")

    def authorities(self, name: str = "a") -> list[Authority]:
        """What a worker knows of them."""
        return [load_authority_certificate(*self.files(each, name)) for each in NAMES]

    def fingerprints(self, name: str = "a") -> list[str]:
        return [each.fingerprint for each in self.authorities(name)]
